"""The codec's laws, for every entry of CODECS, with random weights in every layer."""

import pytest
import torch

from worldtube.codec import CODECS, Codec, CodecConfig, VideoCodec
from worldtube.codec.autoencoder import deepen, fold, group_frames, patchify, unfold, unpatchify
from worldtube.errors import DataError, RequestError

TINY = CodecConfig(
    channels=6,
    encoder_widths=(16, 24),
    encoder_blocks=(1, 2),
    decoder_widths=(16, 24),
    decoder_blocks=(2, 1),
)


@pytest.fixture(params=sorted(CODECS))
def codec(request: pytest.FixtureRequest) -> VideoCodec:
    torch.manual_seed(0)
    codec = CODECS[request.param](TINY)
    for weight in codec.parameters():  # the zero layers too, or nothing temporal would be tested
        if weight.ndim > 1:
            torch.nn.init.normal_(weight, std=weight[0].numel() ** -0.5)
        else:
            torch.nn.init.normal_(weight, std=0.1)
    codec.shift.normal_()
    codec.scale.fill_(1.7)
    return codec


def pixels(frames: int = 13, height: int = 24, width: int = 16, batch: int = 2) -> torch.Tensor:
    generator = torch.Generator().manual_seed(frames + 100 * height)
    return torch.rand(batch, 3, frames, height, width, generator=generator) * 2 - 1


def test_shapes_and_protocol(codec: VideoCodec) -> None:
    assert isinstance(codec, Codec)
    x = pixels(9, 24, 16)
    latents = codec.encode(x)
    assert latents.shape == (2, codec.channels, 3, 3, 2)
    made = codec.decode(latents)
    assert made.shape == x.shape
    assert made.abs().max() <= 1
    assert made.std() > 0.05


@pytest.mark.parametrize("frame", range(13))
def test_a_changed_frame_leaves_earlier_latents_equal(codec: VideoCodec, frame: int) -> None:
    x = pixels()
    changed = x.clone()
    changed[:, :, frame] = -changed[:, :, frame]
    before, after = codec.encode(x), codec.encode(changed)
    first = (frame + 3) // 4  # the group that holds the frame
    assert torch.equal(before[:, :, :first], after[:, :, :first])
    for later in range(first, min(first + 2, 4)):  # and it is seen, in its group and in the next
        assert (before[:, :, later] - after[:, :, later]).abs().max() > 1e-3


def test_a_changed_latent_leaves_earlier_frames_equal(codec: VideoCodec) -> None:
    latents = codec.encode(pixels())
    changed = latents.clone()
    changed[:, :, 2] += 1
    before, after = codec.decode(latents), codec.decode(changed)
    assert torch.equal(before[:, :, :5], after[:, :, :5])
    assert (before[:, :, 5:] - after[:, :, 5:]).abs().amax((0, 1, 3, 4)).min() > 1e-3


def test_an_image_is_a_clip_of_one_frame(codec: VideoCodec) -> None:
    x = pixels()
    image = codec.encode(x[:, :, :1])
    assert image.shape[2] == 1
    torch.testing.assert_close(image, codec.encode(x)[:, :, :1], rtol=0, atol=1e-5)
    picture = codec.decode(image)
    assert picture.shape[2] == 1
    torch.testing.assert_close(picture, codec.decode(codec.encode(x))[:, :, :1], rtol=0, atol=1e-5)


@pytest.mark.parametrize("pieces", [(1, 4, 4, 4), (5, 8), (9, 4)])
def test_in_pieces_equals_whole(codec: VideoCodec, pieces: tuple[int, ...]) -> None:
    x = pixels()
    latents = codec.encode(x)
    stream = codec.encoder_stream()
    made = torch.cat([stream(piece) for piece in x.split(pieces, dim=2)], dim=2)
    torch.testing.assert_close(made, latents, rtol=0, atol=1e-5)

    back = codec.decoder_stream()
    groups = [(piece + 3) // 4 for piece in pieces]
    frames = [back(piece) for piece in latents.split(groups, dim=2)]
    assert [piece.shape[2] for piece in frames] == list(pieces)
    torch.testing.assert_close(torch.cat(frames, 2), codec.decode(latents), rtol=0, atol=1e-5)


def test_a_stream_needs_constant_memory(codec: VideoCodec) -> None:
    stream, back = codec.encoder_stream(), codec.decoder_stream()
    sizes = []
    for piece in pixels(81, 8, 8, batch=1).split([1] + [16] * 5, dim=2):
        back(stream(piece))
        kept = [*stream.memory.values(), *back.memory.values()]
        assert all(tensor.untyped_storage().nbytes() == tensor.nbytes for tensor in kept)
        sizes.append(sum(tensor.nbytes for tensor in kept))
    assert len(set(sizes)) == 1
    assert sizes[0] > 0


def test_patches_go_there_and_back() -> None:
    x = group_frames(pixels())
    patches = patchify(x)
    assert torch.equal(unpatchify(patches), x)
    assert torch.equal(unfold(fold(patches)), patches)


def test_it_starts_at_the_linear_optimum() -> None:
    """Before any training the codec is the projection on the principal components."""
    torch.manual_seed(0)
    codec = VideoCodec(TINY)
    mixing = torch.randn(9, 3 * 4 * 8 * 8)  # nine causes for 768 numbers: six components lose some
    causes = torch.randn(400, 9) * torch.tensor([3.0, 2, 1, 1, 1, 0.5, 0.3, 0.2, 0.1])
    patches = causes @ mixing * 0.01 + 0.1
    kept = codec.fit_linear(patches)
    latents = codec.encoder.linear(patches)
    error = (codec.decoder.linear(latents) - patches).square().sum()
    assert 0.9 < kept < 0.9999
    share = (error / (patches - patches.mean(0)).square().sum()).item()
    assert share == pytest.approx(1 - kept, rel=1e-3)
    assert latents.var(0).mean().item() == pytest.approx(1, rel=0.02)
    steps = latents.var(0)  # half-whitened: the spread is the square root of the data's
    singular = torch.linalg.svdvals(patches - patches.mean(0))[:6]
    torch.testing.assert_close(steps / steps[0], singular / singular[0], rtol=0.02, atol=0)


def test_scale_is_inside(codec: VideoCodec) -> None:
    x = pixels(25, 32, 32)
    before = codec.decode(codec.encode(x))
    codec.set_scale(codec.encode(x).permute(0, 2, 3, 4, 1).flatten(0, 3))
    latents = codec.encode(x)
    assert latents.mean((0, 2, 3, 4)).abs().max() < 1e-4
    assert latents.square().mean().item() == pytest.approx(1, rel=1e-4)
    torch.testing.assert_close(codec.decode(latents), before, rtol=0, atol=1e-4)


def test_a_deeper_decoder_begins_as_the_same_function() -> None:
    torch.manual_seed(0)
    codec = VideoCodec(TINY)
    for weight in codec.parameters():
        torch.nn.init.normal_(weight, std=0.1)
    deeper = deepen(codec, (3, 3))
    latents = codec.encode(pixels())
    assert torch.equal(deeper.encode(pixels()), latents)
    assert torch.equal(deeper.decode(latents), codec.decode(latents))
    assert deeper.config.decoder_blocks == (3, 3)
    assert sum(p.numel() for p in deeper.parameters()) > sum(p.numel() for p in codec.parameters())
    with pytest.raises(RequestError, match="fewer"):
        deepen(codec, (3, 0))


def test_the_decoder_alone_may_compute_in_bfloat16(codec: VideoCodec) -> None:
    x = pixels()
    latents, whole = codec.encode(x), codec.decode(codec.encode(x))
    codec.decoder.bfloat16()
    assert torch.equal(codec.encode(x), latents)
    made = codec.decode(latents)
    assert made.dtype == torch.float32
    assert 0 < (made - whole).abs().mean() < 0.02


def test_configuration_survives_json() -> None:
    assert CodecConfig.from_dict(TINY.to_dict()) == TINY
    with pytest.raises(DataError, match="colour"):
        CodecConfig.from_dict({"colour": 3})


@pytest.mark.parametrize(
    ("shape", "words"),
    [
        ((1, 3, 4, 16, 16), "4 frames"),
        ((1, 3, 5, 12, 16), "16x12"),
        ((1, 1, 5, 16, 16), r"\(1, 1, 5, 16, 16\)"),
        ((3, 5, 16, 16), r"\(3, 5, 16, 16\)"),
    ],
)
def test_what_cannot_be_coded_is_said(
    codec: VideoCodec, shape: tuple[int, ...], words: str
) -> None:
    with pytest.raises(RequestError, match=words):
        codec.encode(torch.zeros(shape))


def test_streams_say_what_they_take(codec: VideoCodec) -> None:
    stream = codec.encoder_stream()
    stream(pixels(1))
    with pytest.raises(RequestError, match="5 frames"):
        stream(pixels(5))
    with pytest.raises(RequestError, match="latents have shape"):
        codec.decode(torch.zeros(1, 99, 1, 2, 2))
