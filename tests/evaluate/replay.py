"""A model that shows known clips: the measures' test double."""

from collections.abc import Mapping

import numpy as np
import torch

from worldtube.models.gaussian import GaussianModel
from worldtube.tokens import Words
from worldtube.tokens import layout as layout_of
from worldtube.video import Size


class Replay(GaussianModel):
    """A prompt's clip is a known one, a token is a whole frame: what is made at a time is that clip's frame then.

    A shot of a storyboard shows its prompt's clip from the beginning. After its end a clip's last frame stays.
    """

    name, fps, size = "replay", 12.0, Size(64, 64)

    def __init__(self, clips: Mapping[str, np.ndarray], *, shots: bool = False):
        super().__init__()
        self.clips, self.order, self.shots = clips, list(clips), shots
        self.encoded = 0
        self.token_width = 64 * 64 * 3
        self.stride = (1, 64)
        self.asked: list[str] = []
        self.made: tuple = (None, None, None)

    def grid(self, size, num_frames, fps, *, start=0.0):
        return super().grid(Size(1, 1), num_frames, fps, start=start)

    def layout(self, grid, *, causal=False):
        return layout_of(grid, 1, causal=causal)

    def pixels(self, grid):
        return self.size

    def encode(self, clip):
        self.encoded += clip.num_frames
        return self.tokens(clip.frames)

    def tokens(self, frames):
        return torch.from_numpy(frames.reshape(len(frames), -1) / 127.5 - 1).float()

    def decoder(self, grid):
        def frames(tokens):
            pixels = ((tokens + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)
            return pixels.numpy().reshape(-1, 64, 64, 3)

        return frames

    def embed(self, prompts):
        # Without words it makes the same, so that guidance changes nothing.
        self.asked = [p for p in prompts if p] or self.asked
        told = [p or self.asked[i % len(self.asked)] for i, p in enumerate(prompts)]
        return Words.of([torch.full((1, 1), float(self.order.index(p))) for p in told])

    def read(self, words):
        return [int(one) for one in words.states[:, 0]]

    def velocity(self, x, sigma, layout, reading, past=None):
        if self.made[0] is not layout or self.made[1] != reading:
            self.made = layout, reading, self.target(layout, reading)
        return (x - self.made[2]) / sigma[:, None].clamp_min(1e-6)

    def target(self, layout, reading):
        times, shown = layout.positions[:, 0] * self.fps, []
        for which, a, b in zip(reading, layout.spans[:-1], layout.spans[1:], strict=True):
            frames = self.clips[self.order[which]]
            since = times[a:b] - times[a] * self.shots
            shown.append(self.tokens(frames[since.round().long().clamp_max(len(frames) - 1)]))
        return torch.cat(shown)
