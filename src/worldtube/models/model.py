"""The protocol that every model speaks, so that the engine, the server and the measures take any of them.

Owns the seam. Knows nothing of requests, tasks or HTTP.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np
from torch import Tensor

from worldtube.tokens import Grid, Layout, Words
from worldtube.video import Clip, Size

if TYPE_CHECKING:
    from worldtube.models.parts import StateParts
    from worldtube.text.encoder import TextEncoder

ABILITIES: dict[str, str] = {
    "known frames": "see frames that are known before those that they make",
    "known parts": "keep a part of a picture and make the rest",
    "pieces": "see frames that are known after those that they make, cuts between shots, or a number of known"
    " frames that their codec does not hold",
    "staircase": "make later frames after earlier ones (lag)",
    "causal": "hide later frames (causal)",
    "long": "make a clip in hops; it must not be longer than they see at once",
    "state": "know the physical state of what is seen",
}
"""What weights may be able to do beyond making or remaking a whole clip from words: name -> "its weights cannot ...".
What a request needs of these follows from its tokens (`generate.layout`)."""


@dataclass(frozen=True, kw_only=True)
class Footprint:
    """Working memory in bytes, beyond the weights."""

    token: float
    """Per token that the network looks at."""
    pair: float
    """Per pair of such tokens."""
    remembered: float
    """Per token of a causal clip that is done."""
    decoded: float
    """Per pixel that is decoded at once."""
    encoded: float
    """Per pixel of a given clip."""
    together: int = 1
    """Latent frames that the codec can decode at once at least; more than a clip has: all of them."""


@runtime_checkable
class VideoModel(Protocol):
    """Pixels to tokens and back, words to states, noisy tokens to velocity."""

    name: str
    fps: float
    """Native frame rate."""
    size: Size
    """Native picture size."""
    token_width: int
    """Numbers in a token, P."""
    stride: tuple[int, int]
    """Pixel frames per latent frame after the first, and pixels per token side."""
    window: int
    """Latent frames of a shot that are seen at once; a longer clip is made in hops."""
    abilities: frozenset[str]
    """Those of ABILITIES that the weights have."""
    defaults: Mapping[str, Any]
    """Options of a request that suit the weights better than its own defaults."""

    def grid(self, size: Size, num_frames: int, fps: float, *, start: float = 0.0) -> Grid:
        """The lattice for a clip. Raises RequestError when the size does not fit the stride."""
        ...

    def layout(self, grid: Grid, *, causal: bool = False) -> Layout:
        """Where that lattice's tokens are."""
        ...

    def encode(self, clip: Clip) -> Tensor:
        """(n, P) clean tokens of a clip whose number of frames is 1 + k * stride."""
        ...

    def decoder(self, grid: Grid) -> Callable[[Tensor], np.ndarray]:
        """A function from the tokens of a clip's next latent frames, in order, to the frames they stand for, uint8
        (T, H, W, 3). It remembers what it must of what came before, and no more.
        """
        ...

    def pixels(self, grid: Grid) -> Size:
        """The picture size that a lattice decodes to."""
        ...

    def footprint(self, *, causal: bool = False) -> Footprint:
        """What it takes in memory to compute; causal: tokens see no later frames."""
        ...

    def doubts(self, prompt: str) -> list[str]:
        """What whoever asks should be told of a prompt: that it is foreign to the weights."""
        ...

    def unread(self, prompt: str) -> str:
        """The end of a prompt that is too long for the text encoder; empty for one that is read whole."""
        ...

    def embed(self, prompts: Sequence[str]) -> Words:
        """Packed text states, one prompt for each piece; the empty string is 'no words'."""
        ...

    def read(self, words: Words) -> Any:
        """What the network needs of the words at every step; made once per prompt."""
        ...

    def velocity(
        self, x: Tensor, sigma: Tensor, layout: Layout, reading: Any, past: Any = None
    ) -> Tensor:
        """x (N, P), one level per token (N,) -> velocity (N, P), on the device where x is.

        `past`, from `recall`, are earlier tokens of the rows, which are causal: they see none of those in x.
        """
        ...

    def remember(self, x: Tensor, layout: Layout, reading: Any, past: Any = None) -> Tensor:
        """Clean tokens x (N, P) of causal rows -> (N, ...) what the model must keep of each for later ones."""
        ...

    def recall(self, kept: Tensor, layout: Layout) -> Any:
        """What was kept of earlier tokens (M, ...), and where they are now, as `velocity` and `remember` take it;
        a row of theirs, which may be empty, for every row of x. Made once, used at every step.
        """
        ...


class StateModel(VideoModel, Protocol):
    """A model with the ability `state`: it makes a clip's physical state first, then the picture from it."""

    state_size: Size
    """Native picture size of clips that are made so."""
    parts: "StateParts"
    text: "TextEncoder"

    def covers(self, prompt: str) -> bool:
        """Whether its states know of what a prompt speaks of."""
        ...

    def tokens(self, latents: Tensor) -> Tensor:
        """(C, t, h, w) latents of the codec -> (n, P) tokens."""
        ...
