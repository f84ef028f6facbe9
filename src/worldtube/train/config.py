"""What decides the numbers of a transformer's run. Knows nothing of the loop."""

from dataclasses import dataclass, field

from worldtube.data.batches import Mix
from worldtube.device import check_dtype
from worldtube.errors import RequestError
from worldtube.train.parallel import Kind
from worldtube.train.student import StudentConfig
from worldtube.transformer import TransformerConfig


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """Everything that decides the numbers of a run. Raises RequestError for what no run can have."""

    model: TransformerConfig = field(default_factory=TransformerConfig)
    """Sizes of the network."""
    size: int = 64
    """Native picture side, pixels."""
    patch: int = 2
    """Latent cells per token side."""
    rows: int = 32
    """Clips in a packed batch."""
    steps: int = 10_000
    """Optimizer steps in all."""
    rate: float = 2e-3
    """Peak learning rate."""
    warmup: int = 100
    """Steps of warm-up."""
    decay: float = 0.2
    """Share of the steps over which the rate falls to 0 at the end."""
    muon: bool = True
    """Muon for the matrices of the blocks; AdamW for all when false."""
    weight_decay: float = 0.01
    """Of the matrices of the blocks."""
    ema_steps: float = 500
    """The average of the weights looks back over about this many steps."""
    level_mean: float = 1.3
    """Mean of the logit of the noise level: high, since a clip's tokens tell so much about each other
    that what stands where is decided above 0.9."""
    level_spread: float = 1.3
    """Spread of the logit of the noise level."""
    truth_weight: float = 0.1
    """Of the truth that a middle block also predicts, where the network has `truth_width`: supervision that
    engine-made clips give free (in the spirit of Yu et al. 2024, REPA)."""
    mix: Mix = field(default_factory=Mix)
    """What rows are made of the clips."""
    view: str = ""
    """Saved view that clips must be in, of datasets that have one of this name; all clips when empty."""
    weights: tuple[float, ...] = ()
    """How often each data folder is drawn, relative to the others; by size when empty."""
    seed: int = 0
    """Of the initial weights, the order and the noise."""
    dtype: str = "auto"
    """What the network computes in: float32 or bfloat16; auto is the fastest here. Masters are float32."""
    device: str = "auto"
    """Where it computes: auto, cpu, cuda, mps, or such as cuda:1."""
    sample_prompts: tuple[str, ...] = (
        "a large red ball rolls to the right",
        "a small blue box falls onto the table",
        "two green cylinders stand side by side",
        "a large yellow cup stands still",
        "an orange ball hits a purple cylinder",
        "a white ball knocks over a cup of water",
    )
    """What the sheets of samples show; the seed is the place."""
    sample_every: int = 1000
    """Steps between sheets of samples; 0 for none."""
    sample_steps: int = 16
    """Sampler steps for those."""
    parallel: Kind = "none"
    """How several processes share the run: `ddp`, all weights in each, or `fsdp`, parts of them."""
    sequence: int = 1
    """How many processes share the tokens of a row; a divisor of their number and of the heads."""
    gradient_checkpointing: bool = False
    """Compute blocks once more for the gradients instead of keeping what they made: less memory, more time."""
    compile: bool = False
    """Compile the blocks; pays where many batches have few different shapes."""
    lora: int = 0
    """Train adapters of this rank beside the matrices of the blocks, in place of the weights; 0 for none."""
    student: StudentConfig | None = None
    """Learn to do in a few steps what the weights it starts from do in many; None to learn from clips."""
    log_every: int = 20
    """Steps between lines of the record."""
    log_samples: bool = False
    """Also write which clips every step learned from, into samples.jsonl."""
    validate_every: int = 500
    """Steps between measurements of the averaged weights on the validation clips, where there are some."""
    checkpoint_minutes: float = 3.0
    """Time between checkpoints."""
    checkpoints: int = 2
    """How many of the newest stay."""

    def __post_init__(self) -> None:
        counts = (
            "rows",
            "steps",
            "patch",
            "ema_steps",
            "log_every",
            "validate_every",
            "checkpoints",
        )
        check(self.dtype, **{name: getattr(self, name) for name in counts})


def check(dtype: str, **counts: float) -> None:
    """Raises RequestError for a type that no network computes in, and for counts below 1."""
    check_dtype(dtype)
    for name, count in counts.items():
        if count < 1:
            raise RequestError(f"{name} {count} is not accepted (accepted: 1 or more)")
