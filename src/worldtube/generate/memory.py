"""Memory: what a model keeps of a causal clip's tokens that are done, from hop to hop.

Such tokens never change and see none that come later, so what later ones need of them is made once.
Owns which tokens are kept and which have left the window; knows nothing of what is kept of them.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from worldtube.generate.layout import Hop, Plan, row
from worldtube.models.model import VideoModel
from worldtube.tokens import pack

Read = Callable[[tuple[str, ...]], Any]
"""Words, one text for each piece of a pack, to what a model needs of them."""


class Memory:
    """Of one clip, made with one set of words.

    While all that came before is seen, a clip made from memory equals one that is computed anew at
    every step. Once the oldest frames have left the window, what is kept of the others still holds what
    these saw of them: so it is with every model that streams, and it reaches farther back.
    """

    def __init__(self, one: Plan, prompt: str | None = None):
        """The words are those of the plan's pieces, or `prompt` for all of them."""
        self.plan, self.prompt = one, prompt
        self.held = torch.zeros(len(one.start), dtype=torch.bool)
        """(n,) which of the plan's tokens are kept."""
        self.kept: Tensor | None = None
        """(m, ...) in the order of the plan."""

    def words(self, prompts: Sequence[str]) -> Sequence[str]:
        """For pieces whose own words are `prompts`."""
        return prompts if self.prompt is None else [self.prompt] * len(prompts)

    def forget(self, hop: Hop) -> None:
        """Let go of what a hop does not see any more."""
        stay = hop.past[self.held]
        if self.kept is not None and not bool(stay.all()):
            self.kept = self.kept[stay]
        self.held = self.held & hop.past

    def add(self, kept: Tensor, new: Tensor) -> None:
        """Keep further tokens, new (n,) bool, later than all that are held."""
        self.kept = kept if self.kept is None else torch.cat([self.kept, kept])
        self.held = self.held | new


def recall(
    model: VideoModel,
    memories: Sequence[Memory],
    hops: Sequence[Hop],
    values: Sequence[Tensor],
    read: Read,
) -> Any:
    """The past of a pack's rows at their next hops, None where nothing came before.

    What is done and not yet remembered is, all rows in one pass. values: (n, P) of each row's plan.
    """
    late = []
    for memory, hop, value in zip(memories, hops, values, strict=True):
        memory.forget(hop)
        new = hop.past & ~memory.held
        if bool(new.any()):
            late.append((memory, hop, value[new], new))
    if late:
        rows = [row(memory.plan, hop, new) for memory, hop, _, new in late]
        layout = pack([place for place, _ in rows])
        words = [memory.words(own) for (memory, *_), (_, own) in zip(late, rows, strict=True)]
        reading = read(tuple(text for own in words for text in own))
        past = _past(model, [one[0] for one in late], [one[1] for one in late])
        kept = model.remember(torch.cat([one[2] for one in late]), layout, reading, past)
        for (memory, _, _, new), part in zip(late, kept.split(layout.lengths), strict=True):
            memory.add(part, new)
    return _past(model, memories, hops)


def _past(model: VideoModel, memories: Sequence[Memory], hops: Sequence[Hop]) -> Any:
    kept = [memory.kept for memory in memories if memory.kept is not None]
    if not kept:
        return None
    pairs = zip(memories, hops, strict=True)
    return model.recall(torch.cat(kept), pack([row(m.plan, hop, m.held)[0] for m, hop in pairs]))
