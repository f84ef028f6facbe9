"""How the processes of a run share it: rows, weights, and the tokens of each row.

Owns what processes say to each other; the network and the loop know only `Ranks` and two hooks. A run is one
process, or as many as `torchrun`, Slurm or Ray started: nothing but torch.distributed's environment is read.
Three ways, which may be mixed:

- `ddp`: every process has all weights and some rows; gradients are summed.
- `fsdp`: every process keeps a part of each weight and gets the others as it needs them (FSDP2).
- `sequence` n: n processes have the same rows, each some of the tokens; within attention each has all tokens
  and some of the heads instead (Jacobs et al. 2023, DeepSpeed-Ulysses, section 3.2).
"""

import os
import warnings
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Any, Literal, cast

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed._functional_collectives import all_to_all_single_autograd
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import (
    FSDPModule,
    MixedPrecisionPolicy,
    fully_shard,
    register_fsdp_forward_method,
)
from torch.distributed.tensor import DTensor

from worldtube.device import find_device
from worldtube.errors import RequestError
from worldtube.transformer import Block, Transformer, attend

Kind = Literal["none", "ddp", "fsdp"]
PATIENCE = timedelta(minutes=30)
"""How long a process waits for the others: while the first makes a sheet of samples they do."""


@dataclass(frozen=True, kw_only=True)
class Ranks:
    """Which of the processes of a run this is, and what they tell each other. Alone, where none are said."""

    kind: Kind = "none"
    rank: int = 0
    world: int = 1
    sequence: int = 1
    """How many neighbouring processes share each row."""
    device: str = "cpu"
    mesh: DeviceMesh | None = None
    """(rows, tokens) of the processes; None for one."""
    quiet: Any = None
    """A group beside the usual one, for what goes on in the background."""

    @property
    def share(self) -> tuple[int, int]:
        """Which part of a batch's rows is this process's, of how many."""
        return self.rank // self.sequence, self.world // self.sequence

    def total(self, numbers: Tensor) -> Tensor:
        """The sum over all processes."""
        if self.world > 1:
            numbers = numbers.to(self.device, copy=True)
            dist.all_reduce(numbers)
        return numbers

    def add_up(self, gradients: Sequence[Tensor]) -> None:
        """Each becomes its sum over all processes; parts of weights have been summed already."""
        if self.world > 1 and self.kind != "fsdp":
            for work in [dist.all_reduce(one, async_op=True) for one in gradients]:
                work.wait()

    def first_says(self, value: Any) -> Any:
        """What the first process says here."""
        if self.world == 1:
            return value
        said = [value]
        dist.broadcast_object_list(said, src=0, device=torch.device(self.device))
        return said[0]

    def anyone(self, flag: bool) -> bool:
        """Whether it is so in some process."""
        return bool(self.total(torch.tensor(float(flag))))

    def gathered(self, value: Sequence[Any]) -> list[Any]:
        """The items of all processes that have rows of their own, in the order of the processes."""
        if self.world == 1:
            return list(value)
        each: list[Any] = [None] * self.world
        dist.all_gather_object(each, list(value))
        return [item for one in each[:: self.sequence] for item in one]


ALONE = Ranks()


@contextmanager
def joined(kind: Kind, *, sequence: int = 1, device: str = "auto") -> Generator[Ranks]:
    """The processes that this one was started among, as long as the context lasts.

    Raises RequestError where their number does not go with what was asked for, and for a device that is not there.
    """
    world = dist.get_world_size() if dist.is_initialized() else int(os.environ.get("WORLD_SIZE", 1))
    if world == 1 and sequence == 1:
        yield Ranks(kind=kind, device=str(find_device(device)))
        return
    if sequence < 1 or world % sequence:
        raise RequestError(
            f"sequence {sequence} is not accepted for {world} processes; a divisor of their number is"
        )
    if kind == "none" and sequence < world:
        raise RequestError(
            f"{world} processes were started and parallel is none (accepted: ddp or fsdp)"
        )
    begun = not dist.is_initialized()
    if device == "auto":
        device = find_device(device).type
    if device == "cuda":
        device = f"cuda:{os.environ.get('LOCAL_RANK', 0)}"
    find_device(device)  # of this process, so that none leaves a context on another's
    if device.startswith("cuda"):
        torch.cuda.set_device(device)
    if begun:
        backend = "cpu:gloo,cuda:nccl" if device.startswith("cuda") else "gloo"
        # After a restart torchrun's store still holds the addresses of the processes that died.
        store, rank, world = next(dist.rendezvous("env://", timeout=PATIENCE))
        store = dist.PrefixStore(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0"), store)
        dist.init_process_group(backend, store=store, rank=rank, world_size=world, timeout=PATIENCE)
    try:
        mesh = init_device_mesh(
            device.partition(":")[0],
            (world // sequence, sequence),
            mesh_dim_names=("rows", "tokens"),
        )
        quiet = dist.new_group(backend="gloo")
        yield Ranks(
            kind=kind,
            rank=dist.get_rank(),
            world=world,
            sequence=sequence,
            device=device,
            mesh=mesh,
            quiet=quiet,
        )
    finally:
        if begun:
            dist.destroy_process_group()


def distribute(transformer: Transformer, ranks: Ranks, dtype: torch.dtype) -> None:
    """Put a float32 network where it is to compute, in what: its weights and its tokens as `ranks` share them.

    Raises RequestError where the heads cannot be shared.
    """
    if ranks.sequence > 1:
        share_tokens(transformer, cast(DeviceMesh, ranks.mesh)["tokens"])
    if ranks.kind == "fsdp" and ranks.world > 1:
        transformer.to(ranks.device)
        share_weights(transformer, cast(DeviceMesh, ranks.mesh)._flatten("all"), dtype)
    else:
        transformer.to(ranks.device, dtype)


def share_weights(transformer: Transformer, mesh: DeviceMesh, dtype: torch.dtype) -> None:
    """FSDP2, a block at a time: masters stay in float32, gradients are summed in it."""
    policy = MixedPrecisionPolicy(
        param_dtype=dtype, reduce_dtype=torch.float32, cast_forward_inputs=False
    )
    # What a block reads of the words is asked for before the block is called, so it is a unit of its own.
    warnings.filterwarnings("ignore", message="FSDP2-wrapped module .* returned a view")
    blocks = [cast(Block, block) for block in transformer.blocks]
    readers = [block.words for block in blocks]
    units: list[nn.Module] = [*transformer.text_blocks, *readers, *blocks, transformer]
    for unit in units:
        fully_shard(unit, mesh=mesh, mp_policy=policy)
    for unit in [*readers, transformer]:
        register_fsdp_forward_method(unit, "read")
    for unit in units:  # sums, not means: the loss of each is its part of the mean
        cast(FSDPModule, unit).set_gradient_divide_factor(1.0)
        cast(FSDPModule, unit).set_force_sum_reduction_for_comms(True)


def share_tokens(transformer: Transformer, mesh: DeviceMesh) -> None:
    """Ulysses: each process of `mesh` works on some tokens of the packed row; attention, on some heads of all."""
    parts, heads = mesh.size(), transformer.config.width // transformer.config.head_width
    if heads % parts:
        raise RequestError(
            f"sequence {parts} is not accepted for {heads} heads; a divisor of their number is"
        )
    exchange = Exchange(mesh)
    transformer.mine = exchange.mine
    for block in cast(Iterable[Block], transformer.blocks):
        block.attention.attend = partial(exchange.attend, shared=True)
        block.words.attend = partial(exchange.attend, shared=False)


class Exchange:
    """Tokens for heads and back, among the processes of `mesh`."""

    def __init__(self, mesh: DeviceMesh):
        self.mesh, self.part, self.parts = mesh, mesh.get_local_rank(), mesh.size()
        self.lengths: list[int] = []
        """Tokens of each process."""

    def mine(self, z: Tensor) -> Tensor:
        """(N, ...) -> this process's tokens; neighbours, as many as the others', but for one."""
        parts = z.tensor_split(self.parts)
        self.lengths = [len(one) for one in parts]
        return parts[self.part]

    def attend(self, q: Tensor, k: Tensor, v: Tensor, runs: Any, *, shared: bool) -> Tensor:
        """As the transformer's own. shared: keys and values are of this process's tokens too, or else all there."""
        if shared:
            q, k, v = (self.heads(z) for z in (q, k, v))
        else:
            q, (k, v) = self.heads(q), (z.chunk(self.parts, dim=1)[self.part] for z in (k, v))
        out = attend(q, k, v, runs)  # (N, D / parts)
        mine = self.lengths[self.part]
        back = all_to_all_single_autograd(
            out.contiguous(), [mine] * self.parts, self.lengths, self.mesh
        )
        return torch.cat(back.split(mine), dim=-1)  # (n, D)

    def heads(self, z: Tensor) -> Tensor:
        """(n, H, d) of this process's tokens -> (N, H / parts, d)."""
        pieces = torch.cat(z.chunk(self.parts, dim=1))
        return all_to_all_single_autograd(pieces, self.lengths, [len(z)] * self.parts, self.mesh)


def local(z: Tensor) -> Tensor:
    """What this process has of a tensor; they share memory."""
    return z.to_local() if isinstance(z, DTensor) else z


def whole(z: Tensor) -> Tensor:
    """All of a tensor that the processes have parts of; each must ask for it."""
    return z.full_tensor() if isinstance(z, DTensor) else z


Reporter = Callable[[int, dict[str, float]], None]
"""Called in every process with (step, newest numbers) when a checkpoint has been begun."""
