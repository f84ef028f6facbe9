"""The optimizer: Muon for matrices inside the blocks, AdamW for the rest, float32 masters, EMA.

The network computes in the run's dtype; float32 masters are what is trained, averaged and saved. Where the network
itself is in float32, or keeps parts of its weights as FSDP2 does, its own weights are the masters. Knows
nothing of data or of the loss.
"""

import math
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.nn.utils import clip_grads_with_norm_, get_total_norm

from worldtube.train.parallel import ALONE, Ranks, local, whole


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

    ema_steps: the average looks back over about this many steps (less at the start). dtype: what Muon's matrix
    products are computed in; the network's own when None.
    """

    def __init__(
        self,
        module: nn.Module,
        *,
        muon: bool = True,
        weight_decay: float = 0.01,
        ema_steps: float = 500,
        ranks: Ranks = ALONE,
        dtype: torch.dtype | None = None,
    ):
        self.module, self.ranks = module, ranks
        trained = [(name, p) for name, p in module.named_parameters() if p.requires_grad]
        self.names = [name for name, _ in trained]
        self.working = [p for _, p in trained]
        self.masters = [
            p if p.dtype == torch.float32 else p.detach().float().requires_grad_()
            for p in self.working
        ]
        self.ema = [m.detach().clone() for m in self.masters]
        self.ema_steps = ema_steps
        self.updates = 0
        hidden = [
            muon and m.ndim == 2 and "blocks." in name and "table" not in name
            for name, m in zip(self.names, self.masters, strict=True)
        ]
        matrices = [m for m, yes in zip(self.masters, hidden, strict=True) if yes]
        others = [m for m, yes in zip(self.masters, hidden, strict=True) if not yes]
        self.parts: list[torch.optim.Optimizer] = []
        if others:
            self.parts.append(
                torch.optim.AdamW(others, lr=1.0, betas=(0.9, 0.98), weight_decay=0.0, fused=True)
            )
            for p in others:  # at once, so that a checkpoint has somewhere to go
                self.parts[0].state[p] = {
                    "step": torch.zeros((), device=p.device),
                    "exp_avg": torch.zeros_like(p.detach()),
                    "exp_avg_sq": torch.zeros_like(p.detach()),
                }
        if matrices:
            self.parts.append(
                Muon(matrices, weight_decay=weight_decay, dtype=dtype or self.working[0].dtype)
            )

    def step(self, rate: float, *, clip: float = 1.0) -> float:
        """Apply the working copies' gradients; returns their norm. Nothing changes if it is not finite."""
        for p, master in zip(self.working, self.masters, strict=True):
            if p is not master:
                master.grad = None if p.grad is None else p.grad.float()
        there = [master for master in self.masters if master.grad is not None]
        gradients = [master.grad for master in there if master.grad is not None]
        self.ranks.add_up(gradients)
        total = whole(get_total_norm(gradients))
        clip_grads_with_norm_(there, clip, total)
        norm = float(total)
        if math.isfinite(norm):
            for part in self.parts:
                for group in part.param_groups:
                    group["lr"] = rate
                part.step()
            self.updates += 1
            keep = min(1 - 1 / self.ema_steps, self.updates / (self.updates + 9))
            with torch.no_grad():
                masters = [local(master) for master in self.masters]
                torch._foreach_lerp_([local(ema) for ema in self.ema], masters, 1 - keep)
                self._spread()
        for master in self.masters:
            master.grad = None
        self.module.zero_grad(set_to_none=True)
        return norm

    def _spread(self) -> None:
        for p, master in zip(self.working, self.masters, strict=True):
            if p is not master:
                p.copy_(master)

    def averaged(self) -> dict[str, Tensor]:
        """The running average by parameter name, float32 and whole; every process must ask."""
        return {name: whole(ema) for name, ema in zip(self.names, self.ema, strict=True)}

    def state_dict(self) -> dict[str, Any]:
        """Tensors alone, by name of the parameter, so that any number of processes can load them."""
        names = {id(m): name for name, m in zip(self.names, self.masters, strict=True)}
        moments = {names[id(p)]: values for part in self.parts for p, values in part.state.items()}
        return {
            "masters": dict(zip(self.names, (m.detach() for m in self.masters), strict=True)),
            "ema": dict(zip(self.names, self.ema, strict=True)),
            "moments": moments,
            "updates": torch.tensor(self.updates),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over what `state_dict` told; its tensors may be the own ones, filled in place."""
        own = self.state_dict()
        with torch.no_grad():
            for kind in ("masters", "ema"):
                for name, value in own[kind].items():
                    value.copy_(state[kind][name])
            for name, values in own["moments"].items():
                for what, value in values.items():
                    value.copy_(state["moments"][name][what])
            self.updates = int(state["updates"])
            self._spread()


class Muon(torch.optim.Optimizer):
    """Momentum whose matrix is made orthogonal (Jordan et al. 2024), for whole matrices or parts of them.

    The update is scaled to AdamW's usual size (Liu et al. 2025, equation 4), so both share one learning rate.
    Of a matrix that processes have parts of, each gathers the whole update, in float32, and does the same
    products: exact, and dear where there are many processes, since they do not share this work.
    """

    def __init__(
        self,
        matrices: Iterable[Tensor],
        *,
        weight_decay: float,
        momentum: float = 0.95,
        dtype: torch.dtype = torch.float32,
    ):
        self.dtype = dtype
        super().__init__(matrices, {"lr": 1.0, "weight_decay": weight_decay, "momentum": momentum})
        for group in self.param_groups:
            for p in group["params"]:
                self.state[p] = {"momentum": torch.zeros_like(p.detach())}

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # ty: ignore[incompatible-method-override]
        for group in self.param_groups:
            rate, keep = group["lr"], group["momentum"]
            for p in group["params"]:
                if p.grad is None:
                    continue
                momentum = self.state[p]["momentum"]
                local(momentum).lerp_(local(p.grad), 1 - keep)
                update = p.grad.lerp(momentum, keep)  # Nesterov's
                change = orthogonal(whole(update), dtype=self.dtype)
                if isinstance(p, DTensor):
                    mesh, places = p.device_mesh, p.placements
                    change = distribute_tensor(change, mesh, places, src_data_rank=None)
                scale = 0.2 * math.sqrt(max(p.shape))
                mine = local(p.detach())
                mine.mul_(1 - rate * group["weight_decay"])
                mine.add_(local(change), alpha=-rate * scale)


def orthogonal(matrix: Tensor, steps: int = 5, *, dtype: torch.dtype = torch.float32) -> Tensor:
    """About U V^T of U S V^T, computed in `dtype`: Newton-Schulz with the coefficients of Jordan et al. 2024."""
    a, b, c = 3.4445, -4.7750, 2.0315
    x = matrix.to(dtype)
    tall = len(x) > x.shape[1]
    x = x.T if tall else x
    x = x / x.norm().clamp(min=1e-7)
    for _ in range(steps):
        gram = x @ x.T
        x = torch.addmm(x, torch.addmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x.T if tall else x
