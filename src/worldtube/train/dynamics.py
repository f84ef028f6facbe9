"""Training of the learned dynamics on simulated motion, and its measures against the engine.

Short windows with noise on the first instant: first single steps, then unrolled ones, so that the network learns to
come back from its own errors (Sanchez-Gonzalez et al. 2020, section 3).
"""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from worldtube.dynamics import Bodies, Dynamics, DynamicsConfig, Motion, rollout
from worldtube.dynamics.bodies import rotation_from_vector
from worldtube.dynamics.rollout import overlaps
from worldtube.errors import RequestError
from worldtube.models.parts import save_part
from worldtube.train.run import RunConfig, fit
from worldtube.train.simulations import INSTANTS, Simulations, Window, WindowSampler
from worldtube.train.steps import Progress

WEIGHTS = "dynamics.safetensors"
MOVED = 0.04
"""Metres from which on a body counts as moving."""
FALLEN = -0.3
"""Height in metres below which a body has left the table; it is not measured from there on."""


@dataclass(frozen=True, kw_only=True)
class DynamicsTrainConfig:
    """Everything that decides the numbers of a run."""

    model: DynamicsConfig = field(default_factory=DynamicsConfig)
    """Sizes of the network."""
    run: RunConfig = field(default_factory=lambda: RunConfig(steps=6000))
    """Length and rate."""
    batch: int = 512
    """Windows in a batch of single steps; unrolled batches have fewer, for about the same time."""
    unroll: int = 3
    """Steps that are unrolled in the second part of the run."""
    unroll_from: float = 0.5
    """Share of the run after which steps are unrolled."""
    noise: float = 1.0
    """Factor on the noise of the first instant; about 2 mm, 15 mm/s, half a degree and 0.06 rad/s at 1."""

    def __post_init__(self) -> None:
        if not 1 <= self.unroll <= 12:
            raise RequestError(f"unroll must be between 1 and 12, got {self.unroll}")
        if not 0 <= self.unroll_from <= 1:
            raise RequestError(f"unroll_from must be between 0 and 1, got {self.unroll_from}")
        if self.batch < 1:
            raise RequestError(f"batch must be at least 1, got {self.batch}")


def motion_loss(bodies: Bodies, predicted: Motion, target: Motion) -> dict[str, Tensor]:
    """Mean pseudo-Huber errors of position (in units of 1 cm), velocity (10 cm/s), rotation (0.04 rad) and spin
    (0.6 rad/s); rotations that cannot be seen on round bodies do not count, bodies on the floor neither."""
    relative = target.rotation @ predicted.rotation.transpose(1, 2)
    turned = torch.stack(
        [
            relative[:, 2, 1] - relative[:, 1, 2],
            relative[:, 0, 2] - relative[:, 2, 0],
            relative[:, 1, 0] - relative[:, 0, 1],
        ],
        dim=-1,
    )
    tilted = torch.linalg.cross(predicted.rotation[..., 2], target.rotation[..., 2])
    rotation = torch.where(bodies.is_box[:, None], turned / 2, tilted)
    rotation = torch.where(bodies.is_ball[:, None], torch.zeros(()), rotation)
    matters = (target.position[:, 2] > -0.6).float()

    def mean(error: Tensor, scale: float) -> Tensor:
        huber = ((error / scale).square().sum(-1) + 1).sqrt() - 1
        return (huber * matters).mean()

    return {
        "position": mean(predicted.position - target.position, 0.01),
        "velocity": mean(predicted.velocity - target.velocity, 0.1),
        "rotation": mean(rotation, 0.04),
        "spin": mean(predicted.spin - target.spin, 0.6) / 2,
    }


def add_noise(window: Window, amount: float, generator: torch.Generator) -> Motion:
    """The first instant of a window, off by an amount that each scene draws for itself (none for one in five)."""
    scenes = int(window.bodies.scene[-1]) + 1
    level = (torch.rand(scenes, generator=generator) * 1.3 - 0.3).clamp(min=0) * amount
    level = level[window.bodies.scene][:, None]
    shape = (len(window.bodies), 3)

    def noise(size: float) -> Tensor:
        return size * level * torch.randn(shape, generator=generator)

    position, rotation, velocity, spin = (value[:, 0] for value in window.motion)
    return Motion(
        position + noise(0.002),
        rotation_from_vector(noise(0.008)) @ rotation,
        velocity + noise(0.015),
        spin + noise(0.06),
    )


def train_dynamics(
    config: DynamicsTrainConfig,
    simulations: Simulations,
    folder: Path,
    *,
    validation: Simulations | None = None,
    start: Dynamics | None = None,
    progress: Progress | None = None,
    until: Callable[[], bool] = lambda: False,
) -> Dynamics:
    """Train in `folder`, going on where a run there stopped.

    Leaves `dynamics.safetensors`, `run.jsonl` and checkpoints.

    Args:
        start: begin with these weights
    """
    torch.manual_seed(config.run.seed)  # the only use of the global generator: initial weights
    model = Dynamics(config.model)
    if start is not None:
        model.load_state_dict(start.state_dict())
    stride = round(12 * INSTANTS / config.model.steps_per_second)
    samplers = {
        steps: WindowSampler(simulations.weights(stride, steps)) for steps in {1, config.unroll}
    }

    def loss(step: int, generator: torch.Generator) -> tuple[Tensor, Mapping[str, Tensor]]:
        steps = config.unroll if step >= config.unroll_from * config.run.steps else 1
        count = config.batch if steps == 1 else max(1, 2 * config.batch // (steps + 1))
        scenes, starts = samplers[steps](count, generator)
        window = simulations.window(scenes, starts, stride=stride, steps=steps, generator=generator)
        motion, parts = add_noise(window, config.noise, generator), {}
        for k in range(1, steps + 1):
            motion = model(window.bodies, motion)
            target = Motion(*(value[:, k] for value in window.motion))
            for name, value in motion_loss(window.bodies, motion, target).items():
                parts[name] = parts.get(name, 0) + value / steps
        return torch.stack(list(parts.values())).sum(), parts

    def save(weights: Mapping[str, Tensor]) -> None:
        save_part("dynamics", config.model, weights, folder / WEIGHTS)

    def validate(_: int) -> dict[str, float]:
        return {} if validation is None else measure(model, validation)

    fit(
        model,
        folder,
        config.run,
        loss,
        save=save,
        validate=validate,
        identity={
            "model": asdict(config.model),
            "batch": config.batch,
            "simulations": len(simulations),
        },
        progress=progress,
        until=until,
    )
    return model.eval()


def measure(
    model: Callable[[Bodies, Motion], Motion],
    simulations: Simulations,
    *,
    num_frames: int = 25,
) -> dict[str, float]:
    """Rollouts from true first states, without pushes, against the engine.

    Returns:
        `position_0.5s`, `_1s`, `_2s`: median error of bodies that move, metres (`_mean` likewise, clamped at 1 m);
        `rest_drift`: largest distance in the clip of bodies that rest, metres, median, and `rest_kept` the share
        below 4 cm; `overlapping_pairs`, `sunk_bodies`: share that overlap by more than 1 cm at some frame, with
        `true_` the engine's own.
    """
    chosen = (simulations.push < 0).nonzero()[:, 0]
    window = simulations.window(
        chosen,
        torch.zeros(len(chosen), dtype=torch.long),
        stride=INSTANTS,
        steps=num_frames - 1,
        generator=None,
    )
    bodies = window.bodies
    truth = Motion(*(value.transpose(0, 1) for value in window.motion))  # (T, N, ...)
    start = Motion(*(value[0] for value in truth))
    made = rollout(model, bodies, start, num_frames - 1)
    error = (made.position - truth.position).norm(dim=-1)  # (T, N)
    moves = (truth.position - truth.position[:1]).norm(dim=-1).amax(0) > MOVED
    numbers = {}
    for name, frame in (("0.5s", 6), ("1s", 12), ("2s", 24)):
        if frame < num_frames:
            counted = error[frame, moves & (truth.position[frame, :, 2] > FALLEN)]
            numbers[f"position_{name}"] = float(counted.median())
            numbers[f"position_{name}_mean"] = float(counted.clamp(max=1).mean())
    drift = (made.position - made.position[:1]).norm(dim=-1).amax(0)[~moves]
    numbers["rest_drift"] = float(drift.median())
    numbers["rest_kept"] = float((drift < MOVED).float().mean())
    for name, motion in (("", made), ("true_", truth)):
        pairs, sunk = zip(
            *(overlaps(bodies, Motion(*(value[t] for value in motion))) for t in range(num_frames)),
            strict=True,
        )
        numbers[f"{name}overlapping_pairs"] = float(
            (torch.stack(pairs).amax(0) > 0.01).float().mean()
        )
        numbers[f"{name}sunk_bodies"] = float((torch.stack(sunk).amax(0) > 0.01).float().mean())
    return numbers
