"""What the driver says of the GPU becomes the numbers of `/info` and `/stats`; without one there are none."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from upscale_server.service import gpu_facts as module
from upscale_server.service.gpu_facts import GpuFacts, gpu_facts


def driver(folder: Path, *lines: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Put a driver's program in place that answers these lines."""
    program = folder / "nvidia-smi"
    program.write_text("#!/bin/sh\n" + "".join(f"echo '{line}'\n" for line in lines))
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    monkeypatch.setattr(module, "nvidia_gpus", lambda: ("NVIDIA GPU",))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.delitem(sys.modules, "torch", raising=False)


def test_without_a_gpu_nothing_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """The driver is not even asked."""
    monkeypatch.setattr(module, "nvidia_gpus", tuple)

    assert gpu_facts() is None


def test_the_first_visible_gpu_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Name and memory in GB of 2**30 bytes, of the one that CUDA_VISIBLE_DEVICES puts first."""
    driver(tmp_path, "NVIDIA A100, 40960, 8192", "NVIDIA H200, 143360, 1024", monkeypatch=monkeypatch)

    assert GpuFacts("NVIDIA A100", 40.0, 8.0, 0.0, 0.0) == gpu_facts()
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    assert GpuFacts("NVIDIA H200", 140.0, 1.0, 0.0, 0.0) == gpu_facts()


def test_a_driver_that_does_not_answer_leaves_the_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is not known is null, never a guess."""
    driver(tmp_path, "no devices", monkeypatch=monkeypatch)

    assert GpuFacts("NVIDIA GPU", reserved_gb=0.0, allocated_gb=0.0) == gpu_facts()


@pytest.mark.parametrize(
    ("visible", "expected"),
    [(None, ("A", "B")), ("1", ("B",)), ("1, 0", ("B", "A")), ("", ()), ("0,-1,1", ("A",)), ("GPU-5f", ("A",))],
)
def test_what_is_hidden_is_not_counted(
    monkeypatch: pytest.MonkeyPatch, visible: str | None, expected: tuple[str, ...]
) -> None:
    """As CUDA reads the variable: in its order, until an entry that names none."""
    monkeypatch.setattr(module, "nvidia_gpus", lambda: ("A", "B"))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible or "")
    if visible is None:
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES")

    assert expected == module.visible_gpus()
    assert bool(expected) or gpu_facts() is None


@pytest.mark.parametrize("can", [True, False])
def test_a_torch_that_cannot_use_the_gpu_has_the_last_word(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, can: bool
) -> None:
    """A driver is there, and `cuda_available` is still false with a torch that is built for the CPU."""
    driver(tmp_path, "NVIDIA A100, 40960, 8192", monkeypatch=monkeypatch)
    cuda = SimpleNamespace(is_available=lambda: can, is_initialized=lambda: False, memory_allocated=lambda: 0)
    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(cuda=cuda))

    assert can == (gpu_facts() is not None)


def test_a_torch_that_is_being_imported_says_nothing_yet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The driver's word counts until then, and asking does not fail."""
    driver(tmp_path, "NVIDIA A100, 40960, 8192", monkeypatch=monkeypatch)
    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace())

    assert GpuFacts("NVIDIA A100", 40.0, 8.0, 0.0, 0.0) == gpu_facts()
