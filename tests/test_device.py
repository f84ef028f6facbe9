"""What is chosen for a machine: by its flags, by a measurement, by the environment, by the user."""

import json
import os
import subprocess
import sys

import pytest
import torch

from worldtube import device, records
from worldtube.errors import RequestError

FAST = device.Measurement(bfloat16=3.0, packed=1.2)
SLOW = device.Measurement(bfloat16=0.1, packed=0.9)
AVX2_ONLY = ("sse4_2", "avx", "fma", "avx2")


@pytest.fixture(autouse=True)
def no_choice_from_outside(monkeypatch):
    monkeypatch.delenv(device.VARIABLE, raising=False)
    device.has_fast_bfloat16.cache_clear()
    yield
    device.has_fast_bfloat16.cache_clear()


def pretend(monkeypatch, sets, measured=None):
    """A CPU of these instruction sets and speeds; without speeds, measuring fails the test."""

    def measurement():
        assert measured is not None, "measured although the flags are enough"
        return measured

    monkeypatch.setattr(device, "instruction_sets", lambda: sets)
    monkeypatch.setattr(device, "measurement", measurement)


def run_python(code: str, **environment: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip()


@pytest.mark.parametrize(
    ("sets", "measured", "dtype", "reason"),
    [
        (AVX2_ONLY, None, "float32", "no bfloat16 instructions"),
        ((*AVX2_ONLY, "avx512_bf16", "amx_bf16"), FAST, "bfloat16", "3.0 times as fast"),
        ((*AVX2_ONLY, "avx512_bf16"), SLOW, "float32", "10.0 times as fast"),
        (("asimd", "bf16"), FAST, "bfloat16", "3.0 times as fast"),
        (("asimd",), None, "float32", "no bfloat16 instructions"),
        (None, FAST, "bfloat16", "3.0 times as fast"),
        (None, SLOW, "float32", "10.0 times as fast"),
    ],
)
def test_dtype_of_a_cpu_follows_flags_and_measurement(monkeypatch, sets, measured, dtype, reason):
    pretend(monkeypatch, sets, measured)
    assert device.explain_dtype("cpu")[0] == dtype
    assert reason in device.explain_dtype("cpu")[1]
    assert device.find_dtype("auto", "cpu") == getattr(torch, dtype)
    assert device.has_fast_bfloat16() == (dtype == "bfloat16")
    kernel = device.attention_kernel("cpu", torch.bfloat16)
    assert kernel == ("tiled" if dtype == "bfloat16" else "fused")


def test_narrow_networks_train_in_float32_on_a_cpu(monkeypatch):
    pretend(monkeypatch, (*AVX2_ONLY, "amx_bf16"), FAST)
    assert device.find_dtype("auto", trained_width=64) == torch.float32
    assert device.find_dtype("auto", trained_width=192) == torch.bfloat16
    assert device.find_dtype("bfloat16", trained_width=64) == torch.bfloat16
    assert device.find_dtype("auto") == torch.bfloat16


def test_float16_is_never_chosen_nor_a_name(monkeypatch):
    assert "float16" not in device.DTYPES
    with pytest.raises(RequestError, match="dtype must be one of auto, float32, bfloat16, got 'f"):
        device.find_dtype("float16")
    assert device.find_dtype(torch.float16) == torch.float16  # but torch's own is the caller's word


def test_a_named_dtype_is_not_questioned(monkeypatch):
    pretend(monkeypatch, AVX2_ONLY)
    assert device.find_dtype("bfloat16") == torch.bfloat16
    assert device.find_dtype("float32") == torch.float32


def test_the_environment_replaces_auto_alone(monkeypatch):
    pretend(monkeypatch, AVX2_ONLY)
    monkeypatch.setenv(device.VARIABLE, "bfloat16")
    assert device.find_dtype("auto") == torch.bfloat16
    assert device.find_dtype("float32") == torch.float32
    monkeypatch.setenv(device.VARIABLE, "bf16")
    with pytest.raises(RequestError, match=r"WORLDTUBE_DTYPE must be one of .*, got 'bf16'"):
        device.find_dtype("auto")


def test_devices(monkeypatch):
    assert device.find_device("cpu") == torch.device("cpu")
    if not torch.cuda.is_available():
        assert device.find_device("auto") == torch.device("cpu")
    for name in ("cuda:77", "tpu", "gpu"):
        with pytest.raises(RequestError, match=f"device must be one of auto, cpu.*, got '{name}'"):
            device.find_device(name)


@pytest.mark.gpu
def test_a_gpu_is_found_and_its_dtype_follows_its_capability():
    assert device.find_device("auto").type == "cuda"
    fast = torch.cuda.get_device_capability()[0] >= device.MIN_CUDA_CAPABILITY
    assert device.find_dtype("auto", "cuda") == (torch.bfloat16 if fast else torch.float32)
    assert device.attention_kernel("cuda", torch.bfloat16) == "fused"


def test_the_measurement_is_made_once_and_stored(monkeypatch, tmp_path):
    monkeypatch.setenv("WORLDTUBE_HOME", str(tmp_path))
    device.measurement.cache_clear()
    calls = []
    monkeypatch.setattr(device, "_measure", lambda: calls.append(1) or FAST)
    assert device.measurement() == FAST
    device.measurement.cache_clear()
    assert device.measurement() == FAST and len(calls) == 1
    (path,) = (tmp_path / "device").iterdir()
    assert json.loads(path.read_text())["machine"]["torch"] == torch.__version__
    path.write_text("half a file")
    device.measurement.cache_clear()
    assert device.measurement() == FAST and len(calls) == 2
    device.measurement.cache_clear()


def test_a_home_that_cannot_be_written_is_no_error(monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("WORLDTUBE_HOME", str(tmp_path / "file"))
    monkeypatch.setattr(device, "_measure", lambda: SLOW)
    device.measurement.cache_clear()
    assert device.measurement() == SLOW
    device.measurement.cache_clear()


def test_measuring_leaves_threads_and_the_random_state_alone():
    before, state = torch.get_num_threads(), torch.get_rng_state()
    measured = device._measure()
    assert torch.get_num_threads() == before and torch.equal(torch.get_rng_state(), state)
    assert measured.packed >= 0 and measured.bfloat16 >= 0


def test_importing_it_needs_no_torch():
    code = "import sys, worldtube.device as d; d.machine(); print('torch' in sys.modules)"
    assert run_python(code) == "False"


def test_records_name_the_cpu_and_its_instruction_sets():
    machine = records.header({})["machine"]
    assert machine["processor"] == device.cpu_name()
    assert set(machine["instruction_sets"].split()) == set(device.instruction_sets() or ["unknown"])


def test_a_library_that_is_kept_from_the_instructions_is_noticed(tmp_path):
    """oneDNN without bfloat16 kernels is many times slower in it, whatever the CPU's flags say."""
    if not torch.backends.mkldnn.is_available():
        pytest.skip("this torch has no oneDNN")
    told = run_python(
        "import worldtube.device as d; print(*d.explain_dtype('cpu'))",
        ONEDNN_MAX_CPU_ISA="AVX2",
        WORLDTUBE_HOME=str(tmp_path),
    )
    assert told.startswith("float32"), told


def test_packed_weights_are_for_float32_where_they_are_faster(monkeypatch):
    pretend(monkeypatch, AVX2_ONLY, FAST)
    assert device.uses_packed_weights("cpu", torch.float32)
    assert not device.uses_packed_weights("cpu", torch.bfloat16)
    assert not device.uses_packed_weights("cuda", torch.float32)
    pretend(monkeypatch, AVX2_ONLY, SLOW)
    assert not device.uses_packed_weights("cpu", torch.float32)
