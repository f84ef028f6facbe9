"""Laws 1 and 2 for several tracks: on one clock in one row, packed equals separate, an absent track changes nothing."""

import dataclasses
import json

import pytest
import torch

from worldtube.tokens import Grid, Layout, Words, join, layout, overlay, pack, select, set_layout
from worldtube.transformer import TrackConfig, Transformer, TransformerConfig

PICTURE, OBJECTS, SCENE = 8, 13, 5
CONFIG = TransformerConfig(
    token_width=PICTURE,
    text_width=12,
    width=64,
    depth=2,
    head_width=16,
    hidden=96,
    text_depth=1,
    tracks=(
        TrackConfig(name="objects", width=OBJECTS, slots=4, prediction="data"),
        TrackConfig(name="scene", width=SCENE),
    ),
)


def opened(config: TransformerConfig, seed: int = 0) -> Transformer:
    """A network of which nothing starts closed, or every law would hold for a network that says 0."""
    torch.manual_seed(seed)
    network = Transformer(config)
    with torch.no_grad():
        for p in network.parameters():
            p.add_(0.05 * torch.randn_like(p))
    return network.eval()


@pytest.fixture(scope="module")
def network():
    return opened(CONFIG)


def picture(frames: int = 2, causal: bool = False) -> Layout:
    grid = Grid(frames=frames, height=4, width=4, seconds_per_frame=0.1, stride=4)
    return layout(grid, 2, causal=causal)


def clips(causal: bool = False) -> list[Layout]:
    """Rows with all tracks, some of them, one alone."""
    seconds = (0.0, 0.25)
    objects = set_layout("objects", 3, seconds=seconds, causal=causal)
    scene = set_layout("scene", 1, causal=causal)
    return [
        overlay([picture(causal=causal), objects, scene]),
        picture(causal=causal),
        overlay([objects, scene]),
        overlay([set_layout("objects", 4, causal=causal)]),
    ]


def inputs(layouts: list[Layout], width: int = OBJECTS):
    g = torch.Generator().manual_seed(1)
    tokens = [torch.randn(row.bounds[-1], width, generator=g) for row in layouts]
    sigma = [torch.rand(row.bounds[-1], generator=g) for row in layouts]
    words = [torch.randn(3 + 2 * i, 12, generator=g) for i in range(len(layouts))]
    return tokens, sigma, words


def run(network, layouts, tokens, sigma, words):
    reading = network.read(Words.of(words))
    return network(torch.cat(tokens), torch.cat(sigma), pack(layouts), reading)[0]


def test_overlay_puts_tracks_on_one_clock():
    row = overlay(
        [picture(), set_layout("objects", 3, seconds=(0.0, 0.25)), set_layout("scene", 1)]
    )
    assert row.lengths == (2 * 4 + 6 + 1,)
    assert len(row.spans) == 2  # one piece: all read the same words
    assert row.frames.tolist() == [0] * 4 + [1] * 4 + [0] * 3 + [1] * 3 + [0]
    after = join([picture(), set_layout("objects", 3)])
    assert after.frames.max() == 2  # `join` counts on
    torch.testing.assert_close(row.positions[8:14, 0], torch.tensor([0.0] * 3 + [0.25] * 3))
    assert row.slots is not None
    assert row.slots[8:14].tolist() == [0, 1, 2, 0, 1, 2]
    kept = select(row, row.frames == 0)
    assert kept.slots is not None
    assert len(kept.slots) == kept.lengths[0] == 8
    with pytest.raises(ValueError, match="a track must be one piece of one row, got 2 pieces"):
        overlay([join([picture(), picture()])])


@pytest.mark.parametrize("causal", [False, True])
def test_packed_equals_separate_forward_and_gradients(network, causal):
    layouts = clips(causal)
    tokens, sigma, words = inputs(layouts)
    results = []
    for packed in (True, False):
        network.zero_grad()
        if packed:
            out = run(network, layouts, tokens, sigma, words)
        else:
            parts = zip(layouts, tokens, sigma, words, strict=True)
            out = torch.cat([run(network, [a], [b], [c], [d]) for a, b, c, d in parts])
        out.square().mean().backward()
        gradients = {n: p.grad.clone() for n, p in network.named_parameters() if p.grad is not None}
        results.append((out.detach(), gradients))
    torch.testing.assert_close(results[0][0], results[1][0], atol=2e-5, rtol=2e-5)
    for name, gradient in results[0][1].items():
        torch.testing.assert_close(gradient, results[1][1][name], atol=2e-5, rtol=2e-4, msg=name)


def test_a_track_that_is_absent_changes_nothing(network):
    """Picture rows of a network with tracks are, to the bit, those of the same network without."""
    plain = Transformer(dataclasses.replace(CONFIG, tracks=()))
    missing = plain.load_state_dict(network.state_dict(), strict=False)
    assert not missing.missing_keys
    layouts = [picture(), picture(3)]
    tokens, sigma, words = inputs(layouts, width=PICTURE)
    with torch.inference_mode():
        assert torch.equal(
            run(network, layouts, tokens, sigma, words),
            run(plain.eval(), layouts, tokens, sigma, words),
        )


def test_numbers_beyond_a_track_s_width_are_neither_read_nor_written(network):
    layouts = clips()
    tokens, sigma, words = inputs(layouts)
    out = run(network, layouts, tokens, sigma, words)
    row = layouts[0]
    assert bool((out[: row.bounds[-1]][row.kinds < 2, PICTURE:] == 0).all())
    changed = [value.clone() for value in tokens]
    changed[0][row.kinds < 2, PICTURE:] += 1
    torch.testing.assert_close(run(network, layouts, changed, sigma, words), out)


def test_predicted_data_becomes_a_velocity(network):
    """With data predicted as zero the velocity is x / sigma, bounded near sigma 0."""
    row = set_layout("objects", 4)
    closed = opened(CONFIG)
    with torch.no_grad():
        closed.track_out["objects"].weight.zero_()
        closed.track_out["objects"].bias.zero_()
    x = torch.randn(4, OBJECTS)
    words = [torch.randn(3, 12)]
    for level, divisor in ((0.5, 0.5), (0.01, 0.06)):
        out = run(closed, [row], [x], [torch.full((4,), level)], words)
        torch.testing.assert_close(out, x / divisor)


def test_members_of_a_set_are_told_apart(network):
    x = torch.randn(1, OBJECTS).expand(4, -1)
    out = run(
        network, [set_layout("objects", 4)], [x], [torch.full((4,), 0.5)], [torch.randn(3, 12)]
    )
    assert (out[0] - out[1]).abs().max() > 1e-3


def test_a_network_without_pictures():
    config = dataclasses.replace(CONFIG, token_width=0)
    network = opened(config)
    assert network.token_in is None
    assert config.widest == OBJECTS
    row = overlay([set_layout("objects", 4), set_layout("scene", 1)])
    tokens, sigma, words = inputs([row])
    assert run(network, [row], tokens, sigma, words).shape == (5, OBJECTS)


def test_configurations_come_back_from_json():
    again = TransformerConfig(**json.loads(json.dumps(dataclasses.asdict(CONFIG))))
    assert again == CONFIG
    with pytest.raises(ValueError, match=r"tracks must be of .*, got smell"):
        TransformerConfig(tracks=(TrackConfig(name="smell", width=3),))
