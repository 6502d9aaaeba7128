"""What this machine is, read from what its kernel and drivers tell."""

from __future__ import annotations

from pathlib import Path

import pytest

from upscale_server.models import device


@pytest.mark.parametrize(
    ("flags", "computes"),
    [
        ("flags\t\t: fpu avx512f avx512_bf16", True),
        ("flags : fpu amx_bf16 amx_tile", True),
        ("Features : fp asimd bf16", True),
        ("flags : fpu avx2 avx512f", False),
        ("", False),
    ],
)
def test_bf16_is_what_the_processor_says(monkeypatch: pytest.MonkeyPatch, flags: str, *, computes: bool) -> None:
    """Others compute it too, slower than f32."""
    monkeypatch.setattr(device, "_cpu_lines", lambda: ["model name : a processor", flags])

    assert computes == device.cpu_computes_bf16()
    assert "a processor" == device.cpu_name()


def test_gpus_are_named_by_their_driver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the order of their addresses."""
    for place, model in (("0000:02", "NVIDIA B"), ("0000:01", "NVIDIA A")):
        (tmp_path / place).mkdir()
        (tmp_path / place / "information").write_text(f"Model: \t\t {model}\nIRQ: 5\n", encoding="utf-8")
    monkeypatch.setattr(device, "_DRIVER", tmp_path)

    assert ("NVIDIA A", "NVIDIA B") == device.nvidia_gpus()


def test_a_gpu_of_which_only_the_device_shows_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Containers and WSL hide the driver's files."""
    monkeypatch.setattr(device, "_DRIVER", tmp_path / "nothing")
    monkeypatch.setattr(device, "_DEVICES", tmp_path)

    assert () == device.nvidia_gpus()
    (tmp_path / "dxg").touch()
    assert ("NVIDIA GPU",) == device.nvidia_gpus()
