"""Spandrel starts with torchvision, without it, and with a broken one; nobody else ever sees what is lent to it."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from tests.support import tiny_checkpoints
from upscale_server.errors import ModelInvalid
from upscale_server.models.extras import installed

if not installed("torch"):
    pytest.skip("the extra [torch] is not installed", allow_module_level=True)

import torch

from upscale_server.models.engines.torch import architectures

MISSING = "import sys; sys.modules['torchvision'] = None"
BROKEN = "raise RuntimeError('operator torchvision::nms does not exist')"
WHOLE = "InterpolationMode = rotate = normalize = None"


def _started(folder: Path, first: str = "") -> list[str]:
    """Start spandrel in a process of its own, with a folder before all packages; return what it tells."""
    program = textwrap.dedent(f"""
        import sys
        sys.path.insert(0, {str(folder)!r})
        {first}
        from upscale_server.models.engines.torch import architectures
        print(len(architectures._SPANDREL.MAIN_REGISTRY))
        print(*[getattr(sys.modules[name], "__file__", "")
                for name in sorted(sys.modules) if name.startswith("torchvision")])
    """)
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert 0 == ran.returncode, ran.stderr
    return ran.stdout.splitlines()


def _package(folder: Path, init: str, functional: str = "") -> Path:
    for path, text in (("", init), ("transforms", ""), ("transforms/functional.py", functional)):
        target = folder / "torchvision" / path
        target = target if target.suffix else target / "__init__.py"
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text, encoding="utf-8")
    return folder


def test_it_starts_without_torchvision(tmp_path: Path) -> None:
    """All architectures are there, and no module is left that says it is torchvision."""
    count, modules = _started(tmp_path, MISSING)

    assert int(count) > 30
    assert "" == modules.strip()


def test_it_starts_with_a_torchvision_that_does_not_import(tmp_path: Path) -> None:
    """One built for another torch raises when it is imported."""
    count, modules = _started(_package(tmp_path, BROKEN))

    assert int(count) > 30
    assert "" == modules.strip()


def test_a_torchvision_that_works_is_left_alone(tmp_path: Path) -> None:
    """What is there is used, and stays."""
    folder = _package(tmp_path, "", WHOLE)

    count, modules = _started(folder)

    assert int(count) > 30
    assert [str(folder / "torchvision")] * 3 == [
        path.split("/torchvision/")[0] + "/torchvision" for path in modules.split()
    ]


def test_what_is_lent_is_taken_back_whatever_happens() -> None:
    """A failing start leaves nothing behind either, and what is lent does nothing."""
    before = sorted(name for name in sys.modules if name.startswith("torchvision"))

    with pytest.raises(RuntimeError, match="needs torchvision, which is not here"), architectures.lent_torchvision():
        sys.modules["torchvision.transforms.functional"].rotate(1)

    assert [] == [name for name in sys.modules if name.startswith("torchvision") and name not in before]


@pytest.mark.parametrize(
    ("weights", "said"),
    [
        ({"some.weight": torch.zeros(3)}, "no architecture that is known"),
        ({}, "no architecture that is known"),
        ({**tiny_checkpoints.compact(), "body.2.weight": torch.zeros(1, 2, 3, 3)}, "do not fit their architecture"),
        ({**tiny_checkpoints.compact(), "body.0.weight": torch.zeros(8, 3)}, "do not fit their architecture"),
        (tiny_checkpoints.compact(2, 4), "takes 4 channels and gives 4"),
    ],
)
def test_weights_of_nothing_that_is_known_are_refused(weights: dict[str, torch.Tensor], said: str) -> None:
    """One line each."""
    with pytest.raises(ModelInvalid, match=f"^mine.pth .*{said}") as caught:
        architectures.described(weights, "mine.pth")

    assert "\n" not in caught.value.detail


def test_a_network_for_something_else_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Spandrel also knows networks that restore faces or paint holes."""
    monkeypatch.setattr(architectures, "_PURPOSES", frozenset({"SR"}))

    with pytest.raises(ModelInvalid, match="is a RealESRGAN Compact for Restoration, not for super-resolution"):
        architectures.described(tiny_checkpoints.compact(1), "mine.pth")
