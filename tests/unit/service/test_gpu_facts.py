"""What the driver says of the GPU becomes the numbers of `/info` and `/stats`; without one there are none."""

from __future__ import annotations

from pathlib import Path

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
