"""The order of training clips is a pure function of (seed, step); what is cached comes back."""

import itertools
import shutil
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch

from worldtube.codec import CodecConfig, VideoCodec
from worldtube.data.batches import Batches, Mix, ready
from worldtube.data.catalog import Catalog
from worldtube.data.catalog import row as catalog_row
from worldtube.data.latents import (
    TRUTH_CHANNELS,
    cache_latents,
    cache_tails,
    cache_text,
    cache_truth,
    split_frame,
    truth_map,
)
from worldtube.data.views import save_view
from worldtube.errors import DataError, RequestError
from worldtube.text.encoder import TextEncoder
from worldtube.tokens import CUT, Grid, layout, pack, patchify
from worldtube.video import Clip
from worldtube.worlds.world import COLOURS, SHAPES, WATER_ID


@pytest.fixture(scope="module")
def codec():
    torch.manual_seed(0)
    return VideoCodec(CodecConfig(channels=4, encoder_widths=(8, 8), decoder_widths=(8, 8))).eval()


def cached(catalog, codec):
    """All that training reads of the clips, as `worldtube cache` computes it."""
    cache_latents(catalog, codec, version="one")
    cache_tails(catalog, codec, version="one")
    cache_truth(catalog, codec.stride)
    cache_text(catalog, TextEncoder())


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Two catalogs, of ten and of four clips."""
    out = []
    torch.manual_seed(0)
    codec = VideoCodec(CodecConfig(channels=4, encoder_widths=(8, 8), decoder_widths=(8, 8))).eval()
    for name, count in (("many", 10), ("few", 4)):
        folder = tmp_path_factory.mktemp("data") / name
        catalog = Catalog(folder, mode="a")
        for i in range(count):
            ids = np.zeros((5, 16, 16), np.uint8)
            ids[:, :8, :8] = 1
            frames = np.full((5, 16, 16, 3), 20 * i, np.uint8)
            captions = {c: f"{c} words {i}" for c in ("short", "medium", "long")}
            truth = {"objects": [{"colour": "red", "shape": "ball"}]}
            clip = Clip(frames=frames, fps=12.0, tracks={"ids": ids})
            catalog.append([catalog_row(name, 1, i, clip, captions, truth)])
        assert cache_latents(catalog, codec, version="one") == count
        assert cache_text(catalog, TextEncoder()) == count
        assert cache_truth(catalog, (4, 8, 8)) == count
        out.append(folder)
    return out


def test_a_view_whose_condition_ends_in_a_comment_is_learned_from(folders):
    catalog = Catalog(folders[1], mode="a")
    save_view(catalog, "some", "seed > 0 -- all but one")
    assert [len(each) for each in ready([catalog], "some")] == [3]


def batches(folders, **more):
    options = {
        "weights": None,
        "rows": 6,
        "patch": 2,
        "stride": 4,
        "seed": 0,
        "no_words": torch.zeros(1, 1280),
    }
    options |= {"tokens_of": lambda z: patchify(z, 2)}
    return Batches(folders, **(options | more))


def test_a_batch_depends_on_its_number_only(folders):
    first, second = batches(folders), batches(folders)
    for step in (7, 0, 3):
        second.batch(step)
    a, b = first.batch(3), second.batch(3)
    assert (
        a.ids == b.ids
        and torch.equal(a.tokens, b.tokens)
        and torch.equal(a.words.states, b.words.states)
    )
    assert a.ids != first.batch(4).ids
    assert a.ids != batches(folders, seed=1).batch(3).ids


def test_clips_are_read_once_while_they_fit(folders, monkeypatch):
    read = []
    take = Catalog.take
    kept, forgetful = batches(folders), batches(folders)
    monkeypatch.setattr(Catalog, "take", lambda *a: read.extend(a[1]) or take(*a))
    for step in range(20):
        again = kept.batch(step)
    assert len(read) == len(set(read)) == len(kept) and kept._bytes > 0
    monkeypatch.setattr("worldtube.data.batches.KEPT", 0)
    read.clear()
    for step in range(20):
        anew = forgetful.batch(step)
    assert len(read) > 60
    assert torch.equal(again.tokens, anew.tokens) and again.ids == anew.ids


def test_every_clip_comes_once_a_pass(folders):
    order = batches(folders[:1], rows=5)
    seen = [name for step in range(2) for _, (name,) in order.picks(step)]
    assert len(set(seen)) == 10
    assert [n for _, (n,) in order.picks(2)] != seen[:5]


def test_what_clips_will_take_is_foretold(folders):
    order = batches(folders)
    for step in range(2):
        order.batch(step)
    told, ever = order.held_at_last(1000), order.held
    assert 0 < ever < told
    for step in range(20):
        order.batch(step)
    assert order.held == pytest.approx(told, rel=0.01)
    assert order.held_at_last(1000) == order.held, "all are read"


def test_weights_are_one_for_each_dataset(folders):
    for weights in ((1.0,), (1.0, 1.0, 1.0), (0.0, 0.0), (-1.0, 2.0), (float("nan"), 1.0)):
        with pytest.raises(RequestError, match="accepted for 2 datasets"):
            batches(folders, weights=weights)


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("images", 1.5, "0 to 1"),
        ("splits", -0.1, "0 to 1"),
        ("causal", float("nan"), "0 to 1"),
        ("drop_words", 2, "0 to 1"),
        ("window", 1, "2 or more"),
        ("captions", ("dense",), "accepted: long, medium, short"),
        ("captions", (), "accepted: some of short, medium, long"),
    ],
)
def test_mixes_that_no_clip_can_be_made_of(name, value, words):
    with pytest.raises(RequestError, match=words):
        Mix(**{name: value})


def test_the_least_window_that_is_accepted(episodes):
    (shots, long), _ = episodes
    mix = Mix(images=0, splits=0.5, drop_words=0, window=2)
    for folder in (shots, long):
        assert min(batches([folder], rows=30, mix=mix).batch(0).layout.lengths) >= 1


def test_patches_divide_the_latents_of_all_clips(folders, odd, codec, tmp_path):
    with pytest.raises(
        RequestError, match=r"patch 3 .*many.* 16x16 have 2x2 latents .accepted: 1 or 2"
    ):
        batches(folders, patch=3)
    shutil.copytree(odd / "odd", tmp_path / "odd")
    catalog = Catalog(tmp_path / "odd", mode="a")
    cached(catalog, codec)
    with pytest.raises(RequestError, match=r"patch 2 .* 26x20 have 3x2 latents .accepted: 1\)"):
        batches([folders[0], tmp_path / "odd"])


def test_weights_are_kept(folders):
    order = batches(folders, weights=(1.0, 3.0), rows=20)
    count = Counter(which for step in range(10) for which, _ in order.picks(step))
    assert count[1] == pytest.approx(150, abs=3)


def test_rows(folders):
    batch = batches(folders, truth=True, mix=Mix(images=0.5, drop_words=0.5), rows=40).batch(0)
    lengths = batch.layout.lengths
    assert sorted(lengths, reverse=True) == list(lengths) and set(lengths) == {1, 2}
    words = np.diff(batch.words.bounds)
    assert (words == 1).any() and (words > 1).any()
    assert batch.truth.shape == (len(batch.tokens), 4 * TRUTH_CHANNELS)


@pytest.fixture(scope="module")
def episodes(tmp_path_factory):
    """Three episodes of nine frames from three cameras each, and two long clips."""
    torch.manual_seed(0)
    codec = VideoCodec(CodecConfig(channels=4, encoder_widths=(8, 8), decoder_widths=(8, 8))).eval()
    out = []
    for name, count, shots, frames in (("shots", 3, 3, 9), ("long", 2, 1, 57)):
        out.append(tmp_path_factory.mktemp("data") / name)
        catalog = Catalog(out[-1], mode="a")
        for i in range(count):
            for shot in range(shots):
                values = np.arange(frames, dtype=np.uint8) + 80 * i + 20 * shot
                pixels = np.broadcast_to(values[:, None, None, None], (frames, 16, 16, 3))
                captions = {c: f"shot {shot} of {i}" for c in ("short", "medium", "long")}
                clip = Clip(frames=pixels.copy(), fps=12.0)
                truth = {"objects": []}
                catalog.append([catalog_row(name, 1, i, clip, captions, truth, shot)])
        cache_latents(catalog, codec, version="one")
        cache_text(catalog, TextEncoder())
        cache_tails(catalog, codec, version="one")
    return out, codec


def test_shots_of_an_episode_make_one_row_with_cuts(episodes):
    (shots, _), _ = episodes
    order = batches([shots], rows=12, mix=Mix(images=0, drop_words=0))
    assert len(order) == 3
    batch = order.batch(0)
    each = [len(one.split("+")) for one in batch.ids]
    assert set(each) == {1, 2, 3} and each == sorted(each, reverse=True)
    assert batch.layout.lengths == tuple(3 * n for n in each)
    assert len(batch.layout.spans) == len(batch.words.bounds) == sum(each) + 1
    assert all(len({name.split(":")[2] for name in one.split("+")}) == 1 for one in batch.ids)
    first = batch.layout.positions[:9, 0].view(3, 3)
    assert first[1, 0] - first[0, 0] == pytest.approx(9 / 12 + CUT)


def test_a_split_clip_begins_anew(episodes):
    (shots, _), codec = episodes
    order = batches([shots], rows=12, mix=Mix(images=0, splits=1, drop_words=0))
    batch = order.batch(0)
    catalog = Catalog(shots)
    rows = zip(
        batch.layout.bounds[:-1], batch.layout.bounds[1:], batch.ids, batch.tokens, strict=False
    )
    found = 0
    for a, b, name, _ in rows:
        if "+" in name:
            continue
        found += 1
        at = split_frame(name, 9)
        places = batch.layout.positions[a:b, 0]
        middle = [s for s in batch.layout.spans if a < s < b]
        assert len(middle) == 1, "two pieces"
        assert places[middle[0] - a] == pytest.approx(at / 12)
        tail = torch.from_numpy(catalog.clip(name).frames[at : at + 1].copy())
        pixels = tail.permute(3, 0, 1, 2)[None].float() / 127.5 - 1
        expected = patchify(codec.encode(pixels)[0], 2)
        assert (batch.tokens[middle[0]] - expected[0]).abs().max() < 0.01
    assert found


def test_pictures_are_learned_from_whole(tmp_path, codec):
    """They cannot be split, so no recipe does."""
    captions = {c: "a picture" for c in ("short", "medium", "long")}
    catalog = Catalog(tmp_path / "pictures", mode="a")
    clip = Clip(frames=np.zeros((1, 16, 16, 3), np.uint8), fps=12.0)
    catalog.append([catalog_row("picture", 1, 0, clip, captions, {"objects": []})])
    cached(catalog, codec)
    mix = Mix(images=0, splits=1)
    batch = batches([tmp_path / "pictures"], rows=4, mix=mix, truth=True).batch(0)
    assert batch.layout.lengths == (1,) * 4


@pytest.fixture(scope="module")
def odd(tmp_path_factory, codec):
    """Clips that the codec does not take as they are, and what it takes of them."""
    folder = tmp_path_factory.mktemp("odd")
    captions = {c: "noise" for c in ("short", "medium", "long")}
    truth = {"objects": [{"colour": "red", "shape": "ball"}]}
    for name, where in (("odd", np.s_[:, :, :]), ("cut", np.s_[:9, :16, :24])):
        catalog = Catalog(folder / name, mode="a")
        for i, shot in itertools.product(range(6), range(2)):
            rng = np.random.default_rng([i, shot])
            frames = rng.integers(0, 256, (12, 20, 26, 3), np.uint8)[where]
            ids = rng.integers(0, 2, (12, 20, 26), np.uint8)[where]
            clip = Clip(frames=frames, fps=12.0, tracks={"ids": ids})
            # of one id, where its size would be part of it, so that both are drawn alike
            row = catalog_row("noise", 1, i, clip, captions, truth, shot)
            catalog.append([row | {"id": f"noise:1:{i}:26x20:{shot}"}])
    return folder


def test_clips_are_cut_to_what_the_codec_takes(odd, codec, caplog):
    """Latents, second pieces, truth, places and times are those of the cut clips, and it is said once."""
    for name in ("odd", "cut"):
        catalog = Catalog(odd / name, mode="a")
        cached(catalog, codec)
        cached(catalog, codec)
    (said,) = [record.getMessage() for record in caplog.records]
    assert "12 clips of 12 frames of 26x20" in said and "9 frames of 24x16" in said
    mix = Mix(images=0.1, splits=0.8, causal=0.3, captions=("short",))
    options = {"rows": 20, "patch": 1, "mix": mix, "truth": True}
    options |= {"tokens_of": lambda z: patchify(z, 1)}
    a, b = (batches([odd / name], **options).batch(0) for name in ("odd", "cut"))
    assert a.ids == b.ids and a.layout.spans == b.layout.spans
    assert len(a.layout.spans) > len(a.layout.bounds), "shots and second pieces are among them"
    for x, y in ((a.tokens, b.tokens), (a.layout.positions, b.layout.positions)):
        assert torch.equal(x, y)
    assert torch.equal(a.truth.nan_to_num(-1), b.truth.nan_to_num(-1))


def test_clips_are_coded_where_the_codec_is(odd, tmp_path, monkeypatch):
    """`meta` stands in for a GPU, from which nothing comes back."""
    shutil.copytree(odd / "cut", tmp_path / "cut")
    far = VideoCodec(CodecConfig(encoder_widths=(8, 8), decoder_widths=(8, 8))).to("meta")
    seen = []

    def encode(pixels):
        seen.append(pixels.device.type)
        return torch.zeros(1, 4, 3, 2, 3)

    monkeypatch.setattr(far, "encode", encode)
    catalog = Catalog(tmp_path / "cut", mode="a")
    assert cache_latents(catalog, far, version="far") == 12
    assert cache_tails(catalog, far, version="far") == 12
    assert seen == ["meta"] * 24


def test_a_clip_without_a_whole_patch_is_refused(tmp_path, codec):
    clip = Clip(frames=np.zeros((5, 16, 6, 3), np.uint8), fps=12.0)
    captions = {c: "noise" for c in ("short", "medium", "long")}
    catalog = Catalog(tmp_path / "thin", mode="a")
    catalog.append([catalog_row("thin", 1, 0, clip, captions, {"objects": []})])
    with pytest.raises(DataError, match=r"6x16, of which .* sides of 8"):
        cache_latents(catalog, codec, version="one")


def test_a_window_of_a_long_clip(episodes):
    (_, long), _ = episodes
    order = batches([long], rows=30, mix=Mix(images=0, drop_words=0, causal=0.5))
    batch = order.batch(0)
    assert min(batch.layout.lengths) >= 4 and max(batch.layout.lengths) <= 10
    rows = itertools.pairwise(batch.layout.bounds)
    firsts = [batch.layout.frames[a:b].tolist() for a, b in rows]
    assert any(f[0] > 0 for f in firsts) and any(f[0] == 0 and f[1] > 1 for f in firsts)
    assert 5 < sum(batch.layout.causal) < 25
    neighbours = [
        key
        for key, _ in itertools.groupby(zip(batch.layout.lengths, batch.layout.causal, strict=True))
    ]
    assert len(neighbours) == len(set(neighbours)), "rows that go in one call are neighbours"


def test_latents_of_another_codec_are_refused(folders):
    batches(folders, version="one")
    with pytest.raises(DataError, match="two"):
        batches(folders, version="two")


def test_a_catalog_without_latents_is_refused(tmp_path):
    catalog = Catalog(tmp_path / "empty", mode="a")
    catalog.add_column("latents", "one")
    for caption in ("short", "medium", "long"):
        catalog.add_column(f"text_{caption}", "one")
    with pytest.raises(DataError, match="worldtube cache"):
        batches([tmp_path / "empty"])


def test_truth_map():
    ids = np.zeros((5, 16, 16), np.uint8)
    ids[0, :8, :8] = 2
    ids[1:, 8:, 8:] = WATER_ID
    objects = [{"colour": "red", "shape": "ball"}, {"colour": "blue", "shape": "cup"}]
    told = truth_map(ids, objects, (4, 8, 8))
    assert told.shape == (TRUTH_CHANNELS, 2, 2, 2)
    blue, cup = COLOURS.index("blue"), len(COLOURS) + SHAPES.index("cup")
    assert told[blue, 0].tolist() == told[cup, 0].tolist() == [[1, 0], [0, 0]]
    assert told[-2, 1].tolist() == [[0, 0], [0, 1]]
    assert told.sum() == 3


def test_a_square_is_cut_from_a_wide_clip_anywhere_along_it(tmp_path):
    torch.manual_seed(0)
    codec = VideoCodec(CodecConfig(channels=4, encoder_widths=(8, 8), decoder_widths=(8, 8))).eval()
    frames = np.random.default_rng(0).integers(0, 256, (5, 16, 64, 3), np.uint8)
    captions = {c: "words" for c in ("short", "medium", "long")}
    catalog = Catalog(tmp_path / "wide", mode="a")
    clip = Clip(frames=frames, fps=12.0)
    catalog.append([catalog_row("wide", 1, 0, clip, captions, {"objects": []})])
    cache_latents(catalog, codec, version="one")
    cache_text(catalog, TextEncoder())
    options = {"patch": 1, "tokens_of": lambda z: patchify(z, 1), "rows": 20}
    mix = Mix(images=0, drop_words=0)
    whole = batches([tmp_path / "wide"], mix=mix, **options).batch(0)
    cut = batches([tmp_path / "wide"], mix=replace(mix, square=True), **options).batch(0)
    assert whole.layout.lengths == (2 * 2 * 8,) * 20 and cut.layout.lengths == (2 * 2 * 2,) * 20
    first = whole.tokens[:32].view(2, 2, 8, -1)
    found = set()
    for tokens in cut.tokens.split(8):
        square = tokens.view(2, 2, 2, -1)
        found |= {x for x in range(7) if torch.equal(square, first[:, :, x : x + 2])}
    assert len(found) > 3


@pytest.mark.parametrize("parts", [2, 3])
def test_shares_make_up_the_batch(folders, parts):
    """However many share a batch: each row has the same clips, crop, words and kind of attention."""

    def rows(batch):
        tokens = torch.split(batch.tokens, batch.layout.lengths)
        words = np.split(batch.words.states.numpy(), batch.words.bounds[1:-1])
        rest = zip(batch.ids, tokens, words, batch.layout.causal, strict=True)
        return dict(zip(batch.rows, rest, strict=True))

    mix = Mix(images=0.3, causal=0.3, drop_words=0.3)
    order = batches(folders, rows=7, mix=mix)
    whole = rows(order.batch(5))
    found = {}
    for part in range(parts):
        found |= rows(batches(folders, rows=7, mix=mix).batch(5, (part, parts)))
    assert sorted(whole) == sorted(found) == list(range(7))
    for row, (name, tokens, words, causal) in whole.items():
        other, others, read, also = found[row]
        assert name == other and causal == also
        assert torch.equal(tokens, others) and np.array_equal(words, read)


class PairCodec:
    """Latents are means over two frames, but for the first, and over 8 x 8 pixels."""

    stride, device = (2, 8, 8), torch.device("cpu")

    def encode(self, pixels: torch.Tensor) -> torch.Tensor:
        whole = torch.cat([pixels[:, :, :1], pixels], dim=2)  # (1, 3, 1 + T, H, W)
        return torch.nn.functional.avg_pool3d(whole, self.stride)


def test_a_codec_with_another_stride(tmp_path):
    """Positions and split points come from the codec's own stride."""
    frames = np.arange(9, dtype=np.uint8)[:, None, None, None].repeat(16, 1).repeat(16, 2) * 20
    captions = {c: "grey" for c in ("short", "medium", "long")}
    codec = PairCodec()
    catalog = Catalog(tmp_path / "pairs", mode="a")
    clip = Clip(frames=frames.repeat(3, 3), fps=10.0)
    for i in range(4):
        catalog.append([catalog_row("pairs", 1, i, clip, captions, {"objects": []})])
    cached(catalog, codec)

    whole = batches([tmp_path / "pairs"], stride=2, mix=Mix(images=0)).batch(0)
    grid = Grid(frames=5, height=2, width=2, seconds_per_frame=0.1, stride=2)
    expected = pack([layout(grid, 2)] * 6)
    assert torch.equal(whole.layout.positions, expected.positions)

    split = batches([tmp_path / "pairs"], stride=2, rows=12, mix=Mix(images=0, splits=1)).batch(0)
    for a, b, name in zip(
        split.layout.bounds[:-1], split.layout.bounds[1:], split.ids, strict=True
    ):
        at = split_frame(name, 9)
        (middle,) = [span for span in split.layout.spans if a < span < b]
        assert split.layout.positions[middle, 0] == pytest.approx(at / 10)
        head, tail = split.tokens[a:middle], split.tokens[middle:b]
        assert len(head) == 1 + -(-(at - 1) // 2) and len(tail) == 1 + (9 - at - 1) // 2
        assert tail[0].mean() == pytest.approx(20 * at / 127.5 - 1, abs=0.01)
