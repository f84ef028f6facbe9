"""The order of training clips is a pure function of (seed, step); what is cached comes back."""

from collections import Counter

import numpy as np
import pytest
import torch

from worldtube.codec import CodecConfig, VideoCodec
from worldtube.data.batches import Batches
from worldtube.data.catalog import Catalog
from worldtube.data.catalog import row as catalog_row
from worldtube.data.latents import TRUTH_CHANNELS, cache_latents, cache_text, cache_truth, truth_map
from worldtube.errors import DataError
from worldtube.text.encoder import TextEncoder
from worldtube.tokens import patchify
from worldtube.video import Clip
from worldtube.worlds.world import COLOURS, SHAPES, WATER_ID


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Two catalogs, of ten and of four clips."""
    out = []
    torch.manual_seed(0)
    codec = VideoCodec(CodecConfig(channels=4, encoder_widths=(8, 8), decoder_widths=(8, 8))).eval()
    for name, count in (("many", 10), ("few", 4)):
        folder = tmp_path_factory.mktemp("data") / name
        with Catalog(folder, mode="a") as catalog:
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


def batches(folders, **more):
    options = {"weights": None, "rows": 6, "patch": 2, "seed": 0, "no_words": torch.zeros(1, 1280)}
    return Batches(folders, tokens_of=lambda z: patchify(z, 2), **(options | more))


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


def test_every_clip_comes_once_a_pass(folders):
    order = batches(folders[:1], rows=5)
    seen = [name for step in range(2) for _, name in order.picks(step)]
    assert len(set(seen)) == 10
    assert [n for _, n in order.picks(2)] != seen[:5]


def test_weights_are_kept(folders):
    order = batches(folders, weights=(1.0, 3.0), rows=20)
    count = Counter(which for step in range(10) for which, _ in order.picks(step))
    assert count[1] == pytest.approx(150, abs=3)


def test_rows(folders):
    batch = batches(folders, truth=True, image_fraction=0.5, drop_words=0.5, rows=40).batch(0)
    lengths = batch.layout.lengths
    assert sorted(lengths, reverse=True) == list(lengths) and set(lengths) == {1, 2}
    words = np.diff(batch.words.bounds)
    assert (words == 1).any() and (words > 1).any()
    assert batch.truth.shape == (len(batch.tokens), 4 * TRUTH_CHANNELS)


def test_latents_of_another_codec_are_refused(folders):
    batches(folders, version="one")
    with pytest.raises(DataError, match="two"):
        batches(folders, version="two")


def test_a_catalog_without_latents_is_refused(tmp_path):
    with Catalog(tmp_path / "empty", mode="a") as catalog:
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
