"""Names of devices and precisions, and telling memory exhaustion apart."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from napari_clickseg import device as devices
from napari_clickseg.device import (
    available_bytes,
    available_devices,
    choose_device,
    choose_precision,
    forecast_bytes,
    has_native_bfloat16,
    is_out_of_memory,
    release_memory,
)
from napari_clickseg.errors import DeviceError


def pretend(monkeypatch, gpus=0, mps=False):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpus > 0)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)


@pytest.mark.parametrize(
    ("gpus", "mps", "asked", "given"),
    [
        (0, False, "auto", "cpu"),
        (0, True, "auto", "mps"),
        (2, False, "auto", "cuda:0"),
        (2, False, "cuda", "cuda:0"),
        (2, False, "CUDA:1 ", "cuda:1"),
        (2, False, "cpu", "cpu"),
        (0, True, "mps", "mps"),
        (1, False, torch.device("cuda"), "cuda:0"),
    ],
)
def test_names(monkeypatch, gpus, mps, asked, given):
    pretend(monkeypatch, gpus, mps)
    assert choose_device(asked) == torch.device(given)


@pytest.mark.parametrize("asked", ["gpu", "", "cuda:", "cuda:x", "cpu:1", "cuda:-1"])
def test_unknown_names(monkeypatch, asked):
    pretend(monkeypatch, gpus=1)
    with pytest.raises(DeviceError, match="'cuda:N'"):
        choose_device(asked)


@pytest.mark.parametrize("asked", ["cuda", "cuda:0", "mps"])
def test_devices_that_are_not_here(monkeypatch, asked):
    pretend(monkeypatch)
    with pytest.raises(DeviceError, match="is not available here; there is cpu"):
        choose_device(asked)


def test_gpu_with_a_too_high_number(monkeypatch):
    pretend(monkeypatch, gpus=2)
    with pytest.raises(DeviceError, match="cuda:0, cuda:1, cpu"):
        choose_device("cuda:2")
    assert available_devices() == ["cuda:0", "cuda:1", "cpu"]


def test_precisions(monkeypatch):
    monkeypatch.setattr(devices, "has_native_bfloat16", lambda: True)
    assert choose_precision("auto", "cpu") is torch.bfloat16
    monkeypatch.setattr(devices, "has_native_bfloat16", lambda: False)
    assert choose_precision("auto", "cpu") is torch.float32
    assert choose_precision("bfloat16", "cpu") is torch.bfloat16
    assert choose_precision(torch.float16, "cpu") is torch.float16
    assert choose_precision("Float32") is torch.float32
    pretend(monkeypatch, gpus=1)
    assert choose_precision("auto", "cuda") is torch.float32
    with pytest.raises(DeviceError, match="'bfloat16'"):
        choose_precision("int8")


def test_native_bfloat16_agrees_with_the_system():
    if not sys.platform.startswith("linux"):
        pytest.skip("reads /proc/cpuinfo")
    flags = Path("/proc/cpuinfo").read_text().split()
    expected = "avx512_bf16" in flags or "amx_bf16" in flags
    assert has_native_bfloat16() == expected


def test_real_exhaustion_is_recognised():
    with pytest.raises(RuntimeError) as caught:
        torch.empty(10**15)
    assert is_out_of_memory(caught.value)
    with pytest.raises(MemoryError) as numpy_caught:
        np.empty(10**16)
    assert is_out_of_memory(numpy_caught.value)


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
        RuntimeError("MPS backend out of memory (MPS allocated: 17 GB)"),
        RuntimeError("CUDA error: out of memory"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling x"),
        RuntimeError("not enough memory: you tried to allocate 4 bytes."),
        OSError(12, "Cannot allocate memory"),
    ],
)
def test_words_of_exhaustion(error):
    assert is_out_of_memory(error)


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("mat1 and mat2 shapes cannot be multiplied"),
        ValueError("out of memory"),  # nobody raises this for real exhaustion
        KeyError("memory"),
    ],
)
def test_other_errors_are_not_exhaustion(error):
    assert not is_out_of_memory(error)


def test_memory_questions():
    release_memory()
    release_memory("cpu")
    free = available_bytes("cpu")
    assert free is None or free > 2**20


def test_forecast_grows_with_everything():
    small = forecast_bytes((400, 400), 1, "ritm", torch.bfloat16)
    assert small < forecast_bytes((400, 400), 1, "ritm")
    assert small < forecast_bytes((400, 400), 2, "ritm", torch.bfloat16)
    assert small < forecast_bytes((400, 800), 1, "ritm", torch.bfloat16)
    assert forecast_bytes((400, 400)) >= forecast_bytes((400, 400), 1, "fbrs")


def test_importing_needs_no_torch():
    code = "import sys, napari_clickseg.device; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def resident() -> int:
    """Bytes of this process in memory."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the heap is not glibc's")
def test_released_memory_goes_back_to_the_system() -> None:
    # Below the size that is mapped apart; the last ones pin the heap's end.
    blocks = [bytearray(60_000) for _ in range(5000)]
    kept = blocks[-3:]
    full = resident()
    blocks.clear()
    release_memory("cpu")
    assert full - resident() > 200 * 2**20
    assert all(len(block) == 60_000 for block in kept)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another allocator")
def test_memory_of_a_pass_is_found_again():
    """What a pass frees is not given back to the system before the next one."""
    code = """
import resource, torch
from napari_clickseg.device import keep_heap
def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(5):
        held = [torch.ones(2**20), torch.ones(2**20), torch.ones(2**20)]
        del held
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
keep_heap()
faults()
print(faults())
"""
    # dask sets limits for its workers in this process, too: a limit that is set stays.
    unset = {k: v for k, v in os.environ.items() if not k.startswith("MALLOC_")}
    run = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env=unset,
    )
    # Else it is three tensors of 1,024 pages, five times.
    assert int(run.stdout) < 500
