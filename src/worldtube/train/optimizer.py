"""The optimizer: Muon for matrices inside the blocks, AdamW for the rest, float32 masters, EMA.

The network computes in bf16; these float32 copies are what is trained, averaged and saved. Knows
nothing of data or of the loss.
"""

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn


def learning_rate(step: int, *, peak: float, warmup: int, steps: int, decay: float) -> float:
    """Linear warm-up, plateau, then a straight line to 0 over the last `decay` share of `steps`.

    A plateau (Hu et al. 2024, MiniCPM, section 4) lets a run be continued with more steps before it is
    brought down, which is how training goes on over several sittings.
    """
    if step < warmup:
        return peak * (step + 1) / warmup
    left = (steps - step) / max(1, math.ceil(decay * steps))
    return peak * min(1.0, max(0.0, left))


class Optimizer:
    """Masters, Muon, AdamW and the running average of one module.

    ema_steps: the average looks back over about this many steps (less at the start).
    """

    def __init__(
        self,
        module: nn.Module,
        *,
        muon: bool = True,
        weight_decay: float = 0.01,
        ema_steps: float = 500,
    ):
        self.module = module
        self.names = [name for name, p in module.named_parameters() if p.requires_grad]
        self.working = [p for p in module.parameters() if p.requires_grad]
        self.masters = [p.detach().float().clone().requires_grad_() for p in self.working]
        self.ema = [m.detach().clone() for m in self.masters]
        self.ema_steps = ema_steps
        self.updates = 0
        hidden = [
            muon and m.ndim == 2 and "blocks." in name and "table" not in name
            for name, m in zip(self.names, self.masters, strict=True)
        ]
        matrices = [m for m, yes in zip(self.masters, hidden, strict=True) if yes]
        others = [m for m, yes in zip(self.masters, hidden, strict=True) if not yes]
        self.parts: list[torch.optim.Optimizer] = [
            torch.optim.AdamW(others, lr=1.0, betas=(0.9, 0.98), weight_decay=0.0, fused=True)
        ]
        if matrices:
            # match_rms_adamw scales Muon's update to AdamW's usual size, so both share one learning rate.
            self.parts.append(
                torch.optim.Muon(
                    matrices, lr=1.0, weight_decay=weight_decay, adjust_lr_fn="match_rms_adamw"
                )
            )

    def step(self, rate: float, *, clip: float = 1.0) -> float:
        """Apply the working copies' gradients; returns their norm. Nothing changes if it is not finite."""
        gradients = [p.grad for p in self.working]
        for master, gradient in zip(self.masters, gradients, strict=True):
            master.grad = None if gradient is None else gradient.float()
        norm = float(torch.nn.utils.clip_grad_norm_(self.masters, clip))
        if math.isfinite(norm):
            for part in self.parts:
                for group in part.param_groups:
                    group["lr"] = rate
                part.step()
            self.updates += 1
            keep = min(1 - 1 / self.ema_steps, self.updates / (self.updates + 9))
            with torch.no_grad():
                torch._foreach_lerp_(self.ema, self.masters, 1 - keep)
                self._spread()
        self.module.zero_grad(set_to_none=True)
        return norm

    def _spread(self) -> None:
        for p, master in zip(self.working, self.masters, strict=True):
            p.copy_(master)

    def averaged(self) -> dict[str, Tensor]:
        """The running average by parameter name, float32."""
        return dict(zip(self.names, self.ema, strict=True))

    def state_dict(self) -> dict[str, Any]:
        return {
            "masters": dict(zip(self.names, (m.detach() for m in self.masters), strict=True)),
            "ema": self.averaged(),
            "parts": [part.state_dict() for part in self.parts],
            "updates": self.updates,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        with torch.no_grad():
            for name, master, ema in zip(self.names, self.masters, self.ema, strict=True):
                master.copy_(state["masters"][name])
                ema.copy_(state["ema"][name])
            for part, saved in zip(self.parts, state["parts"], strict=True):
                part.load_state_dict(saved)
            self.updates = state["updates"]
            self._spread()
