"""What this machine can do, and what is chosen for it: device, compute dtype, attention kernel, packed weights.

Owns every decision that depends on the hardware. Knows nothing of models or requests, and imports torch only
inside functions, so that asking for the CPU's name costs nothing.

The compute dtype of a CPU is decided in two steps. Where its instruction sets have no bfloat16 arithmetic, float32 is
up to 60 times faster, and nothing is measured. Where they have it, both dtypes are timed once: a CPU may have the
instructions and gain nothing (AVX512_BF16 without AMX on some Intel CPUs), and a library may be kept from using them
(`ONEDNN_MAX_CPU_ISA`). The times are stored in WORLDTUBE_HOME/device, because a choice that changed from run to run
would change the bytes of a clip.
"""

import hashlib
import importlib.util
import json
import os
import platform
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from worldtube.errors import RequestError
from worldtube.files import atomic_write, home

if TYPE_CHECKING:
    import torch

DTYPES = ("auto", "float32", "bfloat16")
"""Names of compute dtypes. float16 is none of them: it has no fast path on CPUs and overflows without loss scaling."""
DEVICES = ("auto", "cpu", "cuda", "mps")
"""Names of devices; `cuda:1` and so on are accepted too."""
VARIABLE = "WORLDTUBE_DTYPE"
"""Environment variable that replaces `auto` as the dtype."""
BFLOAT16_SETS = frozenset({"avx512_bf16", "amx_bf16", "bf16", "svebf16"})
"""Instruction sets with bfloat16 arithmetic, x86 and ARM."""
_SHOWN_SETS = (
    *("sse4_2", "avx", "fma", "f16c", "avx2", "avx_vnni", "avx512f", "avx512_vnni"),
    *("avx512_fp16", "avx512_bf16", "amx_int8", "amx_bf16"),
    *("asimd", "asimdhp", "asimddp", "i8mm", "bf16", "sve", "sve2", "svebf16", "sme"),
)
LIMITS = (
    *("ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA"),
    *("ATEN_CPU_CAPABILITY", "MKL_ENABLE_INSTRUCTIONS"),
)
"""Environment variables that keep torch from using instructions that the CPU has."""
MIN_CUDA_CAPABILITY = 8
"""Compute capability (Ampere) from which GPUs have bfloat16 arithmetic; older ones emulate it."""
MIN_TRAINED_WIDTH = 128
"""Networks narrower than this train in float32 on a CPU: their time goes to small operators, and to copies between
masters and weights. The recipe `tiny`, 64 wide, takes 0.08 s a step in float32 and 0.10 in bfloat16 on a CPU
with AMX, where `laptop`, 192 wide, takes 0.88 and 0.57."""
PACKED_GAIN = 1.05
"""How many times faster prepacked weights must be to be used: packing itself takes time and memory."""
_ROUNDS = 7


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """Speeds of this CPU, relative to plain float32; above 1 is faster."""

    bfloat16: float
    """Of bfloat16: matrix products and attention as one block of a transformer has them."""
    packed: float
    """Of float32 linear layers with weights that are prepacked for oneDNN; 0 where torch cannot."""


def _sysctl(name: str) -> str:
    """A value that macOS tells of the machine; empty where it does not."""
    try:
        told = subprocess.run(["sysctl", "-n", name], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return ""
    return told.stdout.strip()


def _cpuinfo() -> dict[str, str]:
    """The first processor's entries of /proc/cpuinfo; empty where there is no such file."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return {}
    pairs = (line.split(":", 1) for line in text.split("\n\n")[0].splitlines() if ":" in line)
    return {name.strip().lower(): value.strip() for name, value in pairs}


@cache
def cpu_name() -> str:
    """The CPU's model name, `unknown` where the system does not tell it."""
    info = _cpuinfo()
    name = info.get("model name") or info.get("cpu model") or info.get("hardware")
    if not name and sys.platform == "darwin":
        name = _sysctl("machdep.cpu.brand_string")
    return name or platform.processor() or platform.machine() or "unknown"


@cache
def instruction_sets() -> tuple[str, ...] | None:
    """The CPU's vector and matrix instruction sets by Linux's names; None where the system does not tell them."""
    info = _cpuinfo()
    flags = set((info.get("flags") or info.get("features") or "").split())
    if not flags and sys.platform == "darwin":
        flags = set(_sysctl("machdep.cpu.features").lower().replace(".", "_").split())
        flags |= set(_sysctl("machdep.cpu.leaf7_features").lower().split())
        names = {"FEAT_BF16": "bf16", "FEAT_I8MM": "i8mm", "FEAT_DotProd": "asimddp"}
        names |= {"AdvSIMD": "asimd", "FEAT_SME": "sme"}
        flags |= {flag for name, flag in names.items() if _sysctl(f"hw.optional.arm.{name}") == "1"}
    if not flags:
        return None
    return tuple(name for name in _SHOWN_SETS if name in flags)


def num_cores() -> int:
    """CPU cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def machine() -> dict[str, Any]:
    """The machine as run records name it: system, CPU model, instruction sets, cores."""
    sets = instruction_sets()
    named: dict[str, Any] = {
        "system": f"{platform.system()} {platform.machine()}",
        "processor": cpu_name(),
        "instruction_sets": "unknown" if sets is None else " ".join(sets),
        "cores": num_cores(),
    }
    return named | {name.lower(): os.environ[name] for name in LIMITS if os.environ.get(name)}


def find_device(name: "str | torch.device" = "auto") -> "torch.device":
    """The device of a name of DEVICES or such as `cuda:1`; `auto` is a CUDA device where there is one, else the CPU.

    `auto` never chooses `mps`: no clip has been compared with the CPU's there.

    Raises:
        RequestError: the name is not accepted, or this machine does not have the device.
    """
    import torch

    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (AssertionError, RuntimeError, NotImplementedError) as error:
        other = torch.accelerator.current_accelerator(check_available=True)
        count = torch.accelerator.device_count() if other else 0
        known = ["auto", "cpu", *(f"{other}:{number}" for number in range(count))]
        raise RequestError(
            f"device must be one of {', '.join(known)}, got {str(name)!r}"
        ) from error
    return device


def check_dtype(name: str) -> None:
    """Raise RequestError for a name that is none of DTYPES."""
    if name not in DTYPES:
        raise RequestError(f"dtype must be one of {', '.join(DTYPES)}, got {name!r}")


def find_dtype(
    name: "str | torch.dtype" = "auto",
    device: "str | torch.device" = "cpu",
    *,
    trained_width: int | None = None,
) -> "torch.dtype":
    """The compute dtype of a name of DTYPES on a device; `auto` is the fastest there that is right.

    A torch.dtype is returned as it is. The environment variable WORLDTUBE_DTYPE replaces `auto`.

    Args:
        trained_width: width of the network that is to be trained; None for inference.

    Raises:
        RequestError: the name, or that in WORLDTUBE_DTYPE, is none of DTYPES.
    """
    import torch

    if isinstance(name, torch.dtype):
        return name
    check_dtype(name)
    return getattr(torch, explain_dtype(device, trained_width)[0] if name == "auto" else name)


def explain_dtype(
    device: "str | torch.device" = "cpu", trained_width: int | None = None
) -> tuple[str, str]:
    """The name of the dtype that `auto` chooses on a device, and why."""
    import torch

    asked = os.environ.get(VARIABLE, "auto")
    if asked not in DTYPES:
        raise RequestError(f"{VARIABLE} must be one of {', '.join(DTYPES)}, got {asked!r}")
    if asked != "auto":
        return asked, f"{VARIABLE} says so"
    device = torch.device(device)
    if device.type == "cuda":
        major, minor = torch.cuda.get_device_capability(device)
        fast = major >= MIN_CUDA_CAPABILITY or torch.version.hip is not None
        arithmetic = "has" if fast else "has no"
        reason = f"compute capability {major}.{minor} {arithmetic} bfloat16 arithmetic"
        return ("bfloat16" if fast else "float32"), reason
    if device.type != "cpu":
        return "float32", f"bfloat16 has not been measured on {device.type}"
    if not _has_bfloat16_instructions():
        return "float32", "the CPU has no bfloat16 instructions"
    if trained_width is not None and trained_width < MIN_TRAINED_WIDTH:
        return "float32", f"a network {trained_width} wide trains faster in it"
    speed = measurement().bfloat16
    if speed > 1:
        return "bfloat16", f"measured {speed:.1f} times as fast as float32"
    return "float32", f"measured {1 / speed:.1f} times as fast as bfloat16"


def autocast(device: "torch.device", dtype: "str | torch.dtype") -> "torch.autocast":
    """A context in which float32 networks compute in a dtype, given as for `find_dtype`; float32 changes nothing."""
    import torch

    found = find_dtype(dtype, device)
    low = found != torch.float32
    return torch.autocast(device.type, found if low else torch.bfloat16, enabled=low)


def _has_bfloat16_instructions() -> bool:
    """Whether the CPU may have bfloat16 arithmetic: by its flags, yes where the system does not tell them."""
    sets = instruction_sets()
    return sets is None or bool(BFLOAT16_SETS & set(sets))


@cache
def has_fast_bfloat16() -> bool:
    """Whether bfloat16 beats float32 on this CPU, whatever dtype was chosen."""
    return _has_bfloat16_instructions() and measurement().bfloat16 > 1


def uses_packed_weights(device: "str | torch.device", dtype: "torch.dtype") -> bool:
    """Whether linear layers should compute with weights prepacked for oneDNN: float32 on CPUs where it is faster."""
    import torch

    on_cpu = torch.device(device).type == "cpu" and dtype == torch.float32
    return on_cpu and measurement().packed > PACKED_GAIN


def attention_kernel(device: "str | torch.device", dtype: "torch.dtype") -> str:
    """The attention kernel of long rows, a key of `transformer.attention.KERNELS`."""
    import torch

    on_cpu = torch.device(device).type == "cpu"
    return "tiled" if on_cpu and dtype == torch.bfloat16 and has_fast_bfloat16() else "fused"


@cache
def cxx_compiler() -> str | None:
    """The C++ compiler that torch.compile would use on a CPU; None where there is none."""
    named = os.environ.get("CXX")
    names = [named] if named else ["g++", "clang++", "cl"]
    return next((name for name in names if shutil.which(name)), None)


def can_compile(device: "str | torch.device" = "cpu") -> bool:
    """Whether torch.compile has what it needs here: a C++ compiler on a CPU, Triton on a GPU."""
    import torch

    if torch.device(device).type == "cpu":
        return cxx_compiler() is not None
    return importlib.util.find_spec("triton") is not None


def describe(
    device: "str | torch.device" = "auto", dtype: "str | torch.dtype" = "auto"
) -> dict[str, Any]:
    """What was found and what is chosen, in the words of `worldtube info`."""
    import torch

    place = find_device(device)
    chosen = find_dtype(dtype, place)
    reason = explain_dtype(place)[1] if dtype == "auto" else "asked for"
    return {
        **machine(),
        "device": str(place),
        "dtype": str(chosen).removeprefix("torch."),
        "dtype_reason": reason,
        "threads": torch.get_num_threads(),
        "attention": attention_kernel(place, chosen),
        "packed_weights": uses_packed_weights(place, chosen),
        "compile": can_compile(place),
    }


@cache
def measurement() -> Measurement:
    """The speeds of this CPU: from WORLDTUBE_HOME/device, or measured in about 0.1 s and stored there.

    The file's name is a hash of what the speeds depend on: CPU, instruction sets, torch's version and the environment
    variables that limit it.
    """
    import torch

    key = machine() | {"torch": torch.__version__}
    del key["cores"]
    name = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:16]
    path = home() / "device" / f"{name}.json"
    if (stored := _stored(path)) is not None:
        return stored
    measured = _measure()
    if (stored := _stored(path)) is not None:  # of another process, meanwhile
        return stored
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        atomic_write(path, json.dumps(asdict(measured) | {"machine": key}, indent=1))
    except (OSError, RequestError):  # a home that cannot be written: measured again next time
        pass
    return measured


def _stored(path: Path) -> Measurement | None:
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
        return Measurement(bfloat16=float(told["bfloat16"]), packed=float(told["packed"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _measure() -> Measurement:
    """Time the arms in turn on one thread, by that thread's own clock, which a busy machine disturbs least."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.inference_mode():
            arms = {"float32": _block(torch.float32)}
            if _has_bfloat16_instructions():
                arms["bfloat16"] = _block(torch.bfloat16)
            block = _in_turn(arms)
            linear = _in_turn(_linears())
    finally:
        torch.set_num_threads(threads)
    return Measurement(
        bfloat16=round(block["float32"] / block["bfloat16"], 3) if "bfloat16" in block else 0.0,
        packed=round(linear["plain"] / linear["packed"], 3) if "packed" in linear else 0.0,
    )


def _in_turn(arms: dict[str, Callable[[], Any]]) -> dict[str, float]:
    """The least seconds of each arm; the first round, in which kernels are chosen, does not count."""
    seconds: dict[str, list[float]] = {name: [] for name in arms}
    for _ in range(1 + _ROUNDS):
        for name, run in arms.items():
            began = time.thread_time()
            run()
            seconds[name].append(time.thread_time() - began)
    return {name: max(min(each[1:]), 1e-9) for name, each in seconds.items()}


def _random(*shape: int) -> "torch.Tensor":
    import torch

    generator = torch.Generator().manual_seed(0)  # the global one belongs to whoever calls
    return torch.randn(*shape, generator=generator)


def _block(dtype: "torch.dtype") -> Callable[[], Any]:
    """An MLP and the attention of 256 tokens, four heads of 64."""
    import torch
    import torch.nn.functional as F

    x, q = _random(256, 256).to(dtype), _random(4, 256, 64).to(dtype)
    inner, outer = _random(1024, 256).to(dtype), _random(256, 1024).to(dtype)

    def run() -> None:
        F.linear(F.silu(F.linear(x, inner)), outer)
        torch.bmm(torch.bmm(q, q.transpose(1, 2)).softmax(-1), q)

    return run


def _linears() -> dict[str, Callable[[], Any]]:
    """The same float32 linear layers with plain and, where torch can pack them, with packed weights."""
    import torch.nn.functional as F

    x, weights = _random(512, 256), [_random(768, 256), _random(1408, 256)]
    arms: dict[str, Callable[[], Any]] = {"plain": lambda: [F.linear(x, w) for w in weights]}
    try:
        packed = [pack_weight(weight) for weight in weights]
        packed_linear(x, packed[0], None)
    except (AttributeError, RuntimeError, NotImplementedError):
        return arms
    return arms | {"packed": lambda: [packed_linear(x, w, None) for w in packed]}


ROWS = 512
"""Rows of the input for which weights are packed; others are right too."""


def pack_weight(weight: "torch.Tensor") -> "torch.Tensor":
    """A (D', D) float32 weight in the memory layout that oneDNN computes fastest with.

    Raises RuntimeError, NotImplementedError or AttributeError where this torch has no oneDNN.
    """
    import torch

    return torch.ops.mkldnn._reorder_linear_weight(weight.detach().contiguous(), ROWS)


def packed_linear(
    x: "torch.Tensor", packed: "torch.Tensor", bias: "torch.Tensor | None"
) -> "torch.Tensor":
    """`F.linear` of x (..., D) with what `pack_weight` returned -> (..., D')."""
    import torch

    return torch.ops.mkldnn._linear_pointwise(x, packed, bias, "none", [], "")
