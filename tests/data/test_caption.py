"""Captioners: every entry fills the same column in the same way, and goes on where it stopped."""

import json
import logging
from collections import Counter

import numpy as np
import pytest
import torch

from worldtube.data import caption
from worldtube.data.catalog import Catalog, row
from worldtube.data.latents import CAPTIONS, cache_text, unpack_text, words
from worldtube.errors import DataError, MissingExtra, NotFound, RequestError
from worldtube.text.encoder import TextEncoder
from worldtube.video import Clip, encode
from worldtube.worlds.language import FIELDS, invent

FACTS = {
    "short": "A ball.",
    "medium": "A red ball rolls.",
    "long": "A red ball rolls to the right.",
    "style": "a drawing",
}


@pytest.fixture
def data(tmp_path):
    """Four clips with facts."""
    rng = np.random.default_rng(0)
    rows = []
    for seed in range(4):
        frames = rng.integers(0, 255, (5, 16, 16, 3), dtype=np.uint8)
        truth = invent(rng, "roll")
        captions = {length: f"{length} words {seed}" for length in ("short", "medium", "long")}
        rows.append(row("tabletop", 1, seed, Clip(frames=frames, fps=12), captions, truth))
    catalog = Catalog(tmp_path / "data", mode="a")
    catalog.append(rows)
    yield catalog


def told(data, by):
    return caption.captions(data, by, data.ids())


def test_truth_tells_every_field_and_the_same_each_time(data):
    assert caption.fill(data, caption.captioner("truth"), batch=3) == {"told": 4, "failed": 0}
    first = told(data, "truth")
    assert all(set(one) == set(FIELDS) for one in first)
    truths = [r["truth"] for r in data.take(data.ids(), ["truth"])]
    for one, truth in zip(first, truths, strict=True):
        assert truth["groups"][0]["colour"] in one["subject"]
    assert caption.fill(data, caption.captioner("truth")) == {"told": 0, "failed": 0}
    data.add_column("captions_truth", "another")
    caption.fill(data, caption.captioner("truth"))
    assert told(data, "truth") == first


def test_what_was_told_says_who_told_it(data, chat_server):
    server = chat_server([json.dumps(FACTS)] * 4)
    caption.fill(data, caption.captioner("endpoint", url=server.url, model="eyes"))
    (one,) = data.take(data.ids()[:1], ["captions_endpoint"])
    kept = json.loads(one["captions_endpoint"])
    assert (kept["by"], kept["model"], kept["prompt"]) == ("endpoint", "eyes", caption.INSTRUCTION)
    other = caption.captioner("endpoint", url=server.url, model="eyes", prompt="What is it?")
    assert caption.version(other) != data.columns()["captions_endpoint"]


def test_an_endpoint_is_shown_the_frames_and_asked_again_when_it_is_busy(
    data, chat_server, monkeypatch
):
    monkeypatch.setenv("WORLDTUBE_ENDPOINT_KEY", "sesame")
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    server = chat_server(
        [503, "Here it is: ```json\n" + json.dumps(FACTS) + "\n```", *[json.dumps(FACTS)] * 3]
    )
    assert (
        caption.fill(data, caption.captioner("endpoint", url=server.url, model="eyes"))["told"] == 4
    )
    assert len(server.asked) == 5
    assert server.headers[0]["Authorization"] == "Bearer sesame"
    parts = server.asked[0]["messages"][0]["content"]
    pictures = [p["image_url"]["url"] for p in parts if p["type"] == "image_url"]
    assert len(pictures) == 5 and all(p.startswith("data:image/jpeg;base64,") for p in pictures)
    assert told(data, "endpoint")[0] == FACTS


def test_a_clip_that_cannot_be_told_is_left_for_the_next_call(data, chat_server, caplog):
    server = chat_server(["no JSON at all", *[json.dumps(FACTS)] * 3, json.dumps(FACTS)])
    who = caption.captioner("endpoint", url=server.url, model="eyes")
    with caplog.at_level(logging.WARNING):
        assert caption.fill(data, who) == {"told": 3, "failed": 1}
    assert data.ids()[0] in caplog.text
    assert caption.fill(data, who) == {"told": 1, "failed": 0}


def test_an_endpoint_that_refuses_ends_the_run_and_keeps_what_was_told(data, chat_server):
    server = chat_server([json.dumps(FACTS), 401])
    with pytest.raises(RequestError, match="401"):
        caption.fill(data, caption.captioner("endpoint", url=server.url, model="eyes"), batch=1)
    assert [bool(one) for one in told(data, "endpoint")] == [True, False, False, False]


def test_answers_before_a_refusal_are_kept(data, chat_server):
    """They were paid for, also when they are of the same batch."""
    server = chat_server([json.dumps(FACTS), json.dumps(FACTS), 401])
    with pytest.raises(RequestError, match="401"):
        caption.fill(data, caption.captioner("endpoint", url=server.url, model="eyes"))
    assert [bool(one) for one in told(data, "endpoint")] == [True, True, False, False]


def test_a_prompt_that_is_not_there(data, tmp_path):
    from worldtube.cli.data import caption as command

    with pytest.raises(NotFound, match=r"no file .*missing.txt with a prompt"):
        command([str(data.path), "--prompt", str(tmp_path / "missing.txt")])
    (tmp_path / "prompt.txt").write_bytes(b"caf\xe9")
    with pytest.raises(DataError, match="cannot be read as a prompt"):
        command([str(data.path), "--prompt", str(tmp_path / "prompt.txt")])


def test_nobody_at_the_address(data, monkeypatch):
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    with pytest.raises(RequestError, match="could not be used, 4 times"):
        caption.fill(data, caption.captioner("endpoint", url="http://127.0.0.1:9/v1", model="eyes"))


def test_a_captioner_that_fails_takes_nothing_away(data, chat_server, monkeypatch, capsys):
    """Neither the captions of another model, nor the words that training reads."""
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    encoder = TextEncoder()
    cache_text(data, encoder)
    version = data.columns()["text_medium"]
    nobody = caption.captioner("endpoint", url="http://127.0.0.1:9/v1", model="nobody")
    with pytest.raises(RequestError, match="could not be used"):
        caption.fill(data, nobody)
    assert "captions_endpoint" not in data.columns() and caption.told_by(data) == []
    caption.fill(data, caption.captioner("truth"))
    data.add_column("captions_endpoint", "empty")  # as versions before left it
    assert caption.told_by(data) == ["truth"]
    with pytest.raises(
        NotFound, match=r"no clip .* captions by endpoint \(0 of 4; accepted: .*truth"
    ):
        cache_text(data, encoder, captions="endpoint")
    from worldtube.cli import main

    assert main(["cache", str(data.path), "--captions", "endpoint"]) == 2
    assert "0 of 4" in capsys.readouterr().err and "latents" not in data.columns()
    assert data.columns()["text_medium"] == version
    server = chat_server([json.dumps(FACTS)] * 4)
    eyes = caption.captioner("endpoint", url=server.url, model="eyes")
    caption.fill(data, eyes)
    with pytest.raises(RequestError, match="could not be used"):
        caption.fill(data, nobody)
    assert told(data, "endpoint")[0] == FACTS
    data.add_column("captions_endpoint", "empty")
    assert caption.fill(data, eyes) == {"told": 0, "failed": 0}, "they are there"
    assert told(data, "endpoint")[3] == FACTS


def test_text_beside_the_clips(data, tmp_path, caplog):
    names = [name.replace(":", "_") for name in data.ids()]
    (tmp_path / f"{names[0]}.txt").write_text("A cat sleeps.\n")
    (tmp_path / f"{names[2]}.txt").write_bytes(b"A caf\xe9.")
    (tmp_path / f"{names[1]}.json").write_text(json.dumps(FACTS | {"rating": 5}))
    counts = caption.fill(data, caption.captioner("sidecar", folder=tmp_path))
    assert counts == {"told": 3, "failed": 1}
    first, second, third = told(data, "sidecar")[:3]
    assert third["medium"] == "A caf\xe9." and f"{names[2]}.txt is no UTF-8" in caplog.text
    assert first == dict.fromkeys(("short", "medium", "long"), "A cat sleeps.")
    assert second == FACTS
    caption.fill(data, caption.captioner("sidecar", column="caption_long"))
    assert told(data, "sidecar")[3]["medium"] == "long words 3"


@pytest.fixture
def filmed(tmp_path):
    """Clips of films in folders: two are called alike, of one there are two clips."""
    frames = np.zeros((5, 16, 16, 3), np.uint8)
    facts = {"width": 16, "height": 16, "num_frames": 5, "fps": 12.0, "start": 0.0, "stop": 0.4}
    facts["video"] = encode(Clip(frames=frames, fps=12), lossless=True)
    sources = ["a/IMG_1.MOV", "b/IMG_1.webm", "b/IMG_2.mp4", "b/IMG_2.mp4", "c/x.mp4", "c/x.mp4"]
    catalog = Catalog(tmp_path / "filmed", mode="a")
    for i, source in enumerate(sources):
        own = {"id": f"film:1:{i:016x}:0-400", "source": source, "source_hash": f"{i:064x}"}
        if i == 3:
            own |= {"id": f"film:1:{2:016x}:400-800", "source_hash": f"{2:064x}", "start": 0.4}
        catalog.append([facts | own])
    yield catalog


def beside(folder, texts):
    for name, text in texts.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return caption.captioner("sidecar", folder=folder)


def mediums(catalog):
    rows = catalog.take(catalog.ids(), ["id", "captions_sidecar"])
    return [caption.fields_in(row["captions_sidecar"]).get("medium") for row in rows]


def test_texts_lie_beside_the_films_as_they_were_ingested(filmed, tmp_path, caplog):
    texts = {"a/IMG_1.txt": "one", "b/IMG_1.webm.txt": "two", "c/x.txt": "which"}
    texts["b/IMG_2.json"] = json.dumps({"caption": "three", "style": "a film"})
    who = beside(tmp_path / "films", texts)
    assert caption.fill(filmed, who) == {"told": 4, "failed": 2}
    assert sorted(filter(None, mediums(filmed))) == ["one", "three", "three", "two"]
    (style,) = {one.get("style") for one in told(filmed, "sidecar")} - {None}
    assert style == "a film"
    assert (
        "the text of c/x.mp4 in" in caplog.text and "of 2 films (c/x.mp4, c/x.mp4;" in caplog.text
    )
    of_clip = {f"film_1_{5:016x}_0-400.txt": "the fifth"}
    assert caption.fill(filmed, beside(tmp_path / "films", of_clip)) == {"told": 1, "failed": 1}


def killed(*_):
    raise KeyboardInterrupt


def test_folder_by_folder_keeps_what_is_told_and_guesses_nothing(
    filmed, tmp_path, caplog, monkeypatch
):
    first = beside(tmp_path / "films" / "a", {"IMG_1.txt": "one"})
    assert caption.fill(filmed, first) == {"told": 0, "failed": 6}
    assert "may be that of 2 films (a/IMG_1.MOV, b/IMG_1.webm; accepted: the folder" in caplog.text
    assert caption.fill(filmed, beside(tmp_path / "some", {"IMG_2.txt": "three"}))["told"] == 2
    assert caption.fill(filmed, beside(tmp_path / "more", {"x.txt": "of which"}))["told"] == 0
    second = beside(tmp_path / "two", {"a/IMG_1.MOV.txt": "one"})
    assert caption.fill(filmed, second)["told"] == 1
    assert Counter(mediums(filmed)) == {"three": 2, "one": 1, None: 3}
    caplog.clear()
    before = filmed.columns()["captions_sidecar"]
    other = beside(tmp_path / "other", {"IMG_2.txt": "three, edited"})
    with monkeypatch.context() as patch:
        patch.setattr(Catalog, "add_column", killed)
        with pytest.raises(KeyboardInterrupt):
            caption.fill(filmed, other)
    assert Counter(mediums(filmed))["three"] == 2 and filmed.columns()["captions_sidecar"] == before
    for _ in range(2):
        assert caption.fill(filmed, other) == {"told": 0, "failed": 3}
        assert Counter(mediums(filmed)) == {"three, edited": 2, "one": 1, None: 3}
        assert caplog.text.count("2 clips have other words in") == 1
    assert filmed.columns()["captions_sidecar"] != before
    assert caption.fill(filmed, beside(tmp_path / "two", {"b/IMG_1.txt": "two"}))["told"] == 1
    assert Counter(mediums(filmed)) == {"three, edited": 2, "one": 1, "two": 1, None: 2}


def test_training_reads_the_words_of_one_captioner(data):
    caption.fill(data, caption.captioner("sidecar", column="caption_long"))
    encoder = TextEncoder()
    cache_text(data, encoder)
    cache_text(data, encoder, captions="sidecar")
    rows = data.take(data.ids()[:1], [f"text_{length}" for length in CAPTIONS])
    (expected,) = encoder.encode(["long words 0"])
    for length in CAPTIONS:
        assert torch.allclose(unpack_text(rows[0][f"text_{length}"]), expected, atol=1e-2)
    with pytest.raises(NotFound, match="worldtube caption"):
        cache_text(data, encoder, captions="own")
    ids = data.ids()[1:3]
    assert [each["short"] for each in words(data, ids)] == ["long words 1", "long words 2"]
    cache_text(data, encoder)
    assert words(data, ids)[0] == {length: f"{length} words 1" for length in CAPTIONS}


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("trut", {}),
        ("truth", {"url": "x"}),
        ("endpoint", {}),
        ("sidecar", {}),
        ("endpoint", {"url": "x", "model": "y"}),
    ],
)
def test_options_that_do_not_fit_are_refused(name, options):
    with pytest.raises(RequestError, match=r"accepted|one of the two"):
        caption.captioner(name, **options)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ("endpoint", "endpoint needs --url and --model (accepted: --url, --model, --prompt)"),
        ("endpoint --url http://x", "endpoint needs --model (accepted"),
        (
            "transformers",
            "transformers needs --model (accepted: --model, --prompt, --device, --dtype)",
        ),
        ("own --url http://x", "own does not take --url (accepted: --model, --temperature"),
        ("truth --folder x", "truth does not take --folder (accepted: "),
        ("sidecar", "one of the two"),
        ("ow", "did you mean 'own'"),
    ],
)
def test_the_command_says_its_own_options(data, capsys, options, said):
    from worldtube.cli import main

    assert main(["caption", str(data.path), "--by", *options.split()]) == 2
    assert said in capsys.readouterr().err


def test_lengths_that_were_not_told_are_the_nearest():
    assert caption.whole({"long": "b", "subject": " "}) == {
        "short": "b",
        "medium": "b",
        "long": "b",
    }
    assert caption.whole({"short": "a", "long": "b"})["medium"] == "b"
    with pytest.raises(DataError, match="none of short"):
        caption.whole({"subject": "a ball"})
    with pytest.raises(RequestError, match="subjct"):
        caption.whole({"subjct": "a ball"})


def test_a_local_model_without_its_package_names_the_install(data, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "transformers", None)
    with pytest.raises(MissingExtra, match=r"worldtube\[transformers\]"):
        caption.fill(data, caption.captioner("transformers", model="somewhere"))


def tiny_vlm(folder):
    """A random image-text-to-text model with a chat template, as `save_pretrained` leaves one."""
    transformers = pytest.importorskip("transformers")
    tokenizers = pytest.importorskip("tokenizers")
    words = ["<unk>", "<s>", "</s>", "<pad>", "<image>", "a", "red", "ball", "describe"]
    tokenizer = tokenizers.Tokenizer(
        tokenizers.models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="<unk>")
    )
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    fast = transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        unk_token="<unk>",
        bos_token="<s>",
        eos_token="</s>",
        pad_token="<pad>",
        extra_special_tokens={"image_token": "<image>"},
    )
    sizes = {
        "hidden_size": 16,
        "intermediate_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
    }
    torch.manual_seed(0)
    config = transformers.LlavaConfig(
        vision_config=transformers.CLIPVisionConfig(**sizes, image_size=16, patch_size=8),
        text_config=transformers.LlamaConfig(
            **sizes, num_key_value_heads=2, vocab_size=len(words), pad_token_id=3
        ),
        image_token_index=4,
        vision_feature_layer=-1,
    )
    transformers.LlavaForConditionalGeneration(config).save_pretrained(folder)
    transformers.LlavaProcessor(
        image_processor=transformers.CLIPImageProcessorPil(
            size={"shortest_edge": 16}, crop_size={"height": 16, "width": 16}
        ),
        tokenizer=fast,
        patch_size=8,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template="{% for m in messages %}{% for c in m['content'] %}"
        "{% if c['type'] == 'image' %}<image> {% else %}{{ c['text'] }} {% endif %}{% endfor %}{% endfor %}",
    ).save_pretrained(folder)


@pytest.mark.filterwarnings("ignore")
def test_a_local_model_is_asked_about_the_frames(data, tmp_path, monkeypatch):
    """Random weights say nothing of use: its answers are replaced, what it was given is its own."""
    tiny_vlm(tmp_path / "vlm")
    answers = []

    def parsed(answer):
        answers.append(answer)
        return FACTS

    monkeypatch.setattr(caption, "parsed", parsed)
    who = caption.captioner(
        "transformers", model=str(tmp_path / "vlm"), prompt="describe", num_tokens=4
    )
    assert caption.fill(data, who) == {"told": 4, "failed": 0}
    assert len(answers) == 4 and all(isinstance(answer, str) for answer in answers)
    assert told(data, "transformers")[0] == FACTS


def test_a_local_model_that_is_not_there(data, tmp_path):
    pytest.importorskip("transformers")
    with pytest.raises(
        NotFound, match=r"no folder .*nowhere with a vision-language model \(accept"
    ):
        caption.fill(data, caption.captioner("transformers", model=str(tmp_path / "nowhere")))
