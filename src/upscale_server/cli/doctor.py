"""`upscale doctor`: what this machine can really do, found by trying it.

Nothing is repaired; each check says what is wrong and what to do.
"""

from __future__ import annotations

import os
import platform
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import typer

from upscale_server.cli import options, talk
from upscale_server.cli.session import session_of
from upscale_server.errors import ModelMissing, UpscaleError

if TYPE_CHECKING:
    from upscale_server.calibration import Judged

Verdict = Literal["ok", "warning", "broken"]

# PyAV 19 is the first to bundle FFmpeg 9.0.2, where these are fixed; 18.1 bundles 8.1.2. pip gives Python 3.11 no 19.
_FIXED_IN_PYAV_19 = "CVE-2026-107697, CVE-2026-107695, CVE-2026-125267"
_LITTLE_SPACE_GB = 5.0
"""A two-hour film at 4K is about this large; less deserves a word before the work begins."""


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was tried."""

    name: str
    verdict: Verdict
    found: str
    advice: str = ""


def doctor(context: typer.Context, as_json: options.Json = False) -> None:
    """Try what this machine can do: decoders, encoders, network, disk."""
    checks = list(_checks(session_of(context).settings.state_dir))
    if as_json:
        ok = all(check.verdict != "broken" for check in checks)
        talk.result_json({"ok": ok, "checks": [asdict(check) for check in checks]})
    else:
        talk.result_table("", ("", "check", "found"), [(one.verdict, one.name, one.found) for one in checks])
        for one in checks:
            if one.advice:
                talk.say(f"{one.name}: {one.advice}")
    if any(check.verdict == "broken" for check in checks):
        raise typer.Exit(ModelMissing.exit_code)  # what is wrong is this machine, not the request and not the program


def _checks(state_dir: Path) -> Iterator[Check]:
    yield Check("upscale-server", "ok", _version_of("upscale-server"))
    yield Check("python", "ok", f"{platform.python_version()} on {platform.system()} {platform.machine()}")
    yield _tried("PyAV", _pyav)
    yield _tried("FFmpeg", _ffmpeg)
    yield Check("cores", "ok", f"{len(os.sched_getaffinity(0))} usable of {os.cpu_count()}")
    yield _tried("OpenVINO and device", _openvino)
    yield _tried("ONNX Runtime", _onnxruntime)
    yield _tried("torch", _torch)
    yield _tried("default model", _default_model)
    yield from _encoders()
    yield _tried("free disk here", lambda: _disk(Path.cwd()))
    yield _tried("free disk for temporary files", lambda: _disk(Path(tempfile.gettempdir())))
    yield _tried("state folder", lambda: _state(state_dir))
    yield _tried("estimates", lambda: _estimates(state_dir))


def _tried(name: str, check: Callable[[], tuple[Verdict, str, str]]) -> Check:
    """Run a check; one that fails is a finding, not the end."""
    try:
        verdict, found, advice = check()
    except UpscaleError as err:
        return Check(name, "broken", err.detail, err.hint or "")
    except (ImportError, OSError, RuntimeError, ValueError) as err:
        return Check(name, "broken", f"{type(err).__name__}: {err}")
    return Check(name, verdict, found, advice)


def _version_of(package: str) -> str:
    from upscale_server import __version__

    return __version__ if package == "upscale-server" else version(package)


def _pyav() -> tuple[Verdict, str, str]:
    found = version("av")
    if int(found.split(".")[0]) >= 19:
        return "ok", found, ""
    newer = "PyAV 19 needs Python 3.12" if sys.version_info < (3, 12) else "pip install --upgrade av"
    advice = f"it bundles an FFmpeg older than 9.0.2 ({_FIXED_IN_PYAV_19} are fixed there); {newer}"
    return "warning", found, advice


def _ffmpeg() -> tuple[Verdict, str, str]:
    from upscale_server.media.versions import ffmpeg_libraries

    return "ok", ", ".join(f"{name} {number}" for name, number in ffmpeg_libraries()), ""


def _openvino() -> tuple[Verdict, str, str]:
    from upscale_server.models.engines.openvino.runner import device_name, device_precisions

    return "ok", f"{version('openvino')}; CPU: {device_name()} ({', '.join(device_precisions())})", ""


def _onnxruntime() -> tuple[Verdict, str, str]:
    """Tell which engines of ONNX Runtime are installed; a GPU is proved when a model is loaded on it."""
    from upscale_server.models.extras import installed

    if not installed("onnxruntime"):
        return "ok", "not installed (extra [onnxruntime], or [cuda])", ""
    from upscale_server.models.engines.onnxruntime.session import available_engines, library_version

    return "ok", f"{library_version()}; engines {', '.join(available_engines())}", ""


def _torch() -> tuple[Verdict, str, str]:
    """Tell what torch can compute on; a GPU is proved when a model is loaded on it."""
    from upscale_server.models.device import nvidia_gpus
    from upscale_server.models.extras import installed

    if not installed("torch"):
        return "ok", "not installed (extra [torch], for checkpoints)", ""
    from upscale_server.models.engines.torch.devices import engines_here, library_versions

    found = ", ".join(f"{name} {number}" for name, number in library_versions())
    engines = engines_here()
    if nvidia_gpus() and "torch-cuda" not in engines:
        advice = "install torch for your CUDA version to use the GPU with --engine torch-cuda"
        return "warning", f"{found}; engines {', '.join(engines)}; the GPU is not usable", advice
    return "ok", f"{found}; engines {', '.join(engines)}", ""


def _default_model() -> tuple[Verdict, str, str]:
    """Load the default model as a job would, and tell how it really works here."""
    from upscale_server.models.at_hand import Models
    from upscale_server.models.catalogue import family

    cards = family(None)
    card = cards[min(cards)]
    with Models() as models:
        working = models.get(card, "auto", "auto").working
    found = f"{card.name} ×{card.scale} on {working.device} with {working.engine} in {working.precision}"
    return "ok", f"{found}, self-test {working.self_test_psnr:.1f} dB", ""


def _encoders() -> Iterator[Check]:
    from upscale_server.media.encoders import DEFAULTS, encoder_opens

    working = [name for name in DEFAULTS if encoder_opens(name)]
    missing = [name for name in DEFAULTS if name not in working]
    found = ", ".join(working) or "none opens"
    yield Check("encoders", "ok" if working else "broken", found)
    if missing:
        yield Check("encoders that do not open", "ok", ", ".join(missing))


def _disk(folder: Path) -> tuple[Verdict, str, str]:
    free = shutil.disk_usage(folder).free / 1e9
    found = f"{free:.1f} GB in {folder}"
    if free < _LITTLE_SPACE_GB:
        return "warning", found, "long videos may not fit; --work-dir moves unfinished work to another disk"
    return "ok", found, ""


def _state(folder: Path) -> tuple[Verdict, str, str]:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return "ok", str(folder), ""
    except OSError as err:
        reason = (err.strerror or str(err)).lower()
        return "broken", f"{folder} is not writable: {reason}", "set UPSCALE_STATE_DIR to a folder of yours"


def _estimates(state_dir: Path) -> tuple[Verdict, str, str]:
    """Tell how right this machine's predictions were, of those that were made from its own measurements."""
    from upscale_server.calibration import Calibration

    found = Calibration.in_folder(state_dir).errors()
    if not found.seconds.count and not found.byte_count.count:
        return "ok", "no finished job yet had a measured or calibrated prediction", ""
    return "ok", f"time {_judged_text(found.seconds)}, size {_judged_text(found.byte_count)}", ""


def _judged_text(judged: Judged) -> str:
    if judged.median is None:
        return "not judged yet"
    return f"off by {judged.median:.0%} (median of {judged.count})"
