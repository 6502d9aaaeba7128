"""Checks of what runs networks: the engines that are installed, and each on its device, proved by running one on it.

Which is the fastest is found by `upscale models bench`; nothing is remembered here.
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib.metadata import version
from typing import TYPE_CHECKING

from upscale_server.cli.checks import REINSTALL, Check, tried

if TYPE_CHECKING:
    from upscale_server.models.select import Measured

_LITTLE_MEMORY_BYTES = 1 << 30
"""The built-in network needs 300 MiB for a lane at 1080p, the rest of a server as much again."""
_EXTRA_OF = {"onnxruntime": "onnxruntime", "cuda": "cuda", "tensorrt": "cuda", "torch": "torch", "torch-cuda": "torch"}


def engine_checks() -> Iterator[Check]:
    """Try what networks run on."""
    yield tried("memory", _memory)
    yield tried("OpenVINO and device", _openvino, "pip install --force-reinstall openvino")
    yield tried("ONNX Runtime", onnxruntime_check, "pip install --force-reinstall 'upscale-server[onnxruntime]'")
    yield tried("torch", torch_check, "pip install --force-reinstall 'upscale-server[torch]'")
    yield tried("default model", _default_model, REINSTALL)
    yield from _each_engine()


def _memory() -> Check:
    from upscale_server.models.host_memory import free_bytes

    free = free_bytes()
    if free is None:
        return Check("memory", "ok", "the system does not say how much is free")
    found = f"{free / 2**30:.1f} GiB free"
    if free < _LITTLE_MEMORY_BYTES:
        advice = "jobs may fail with out_of_memory; fewer lanes need less"
        return Check("memory", "warning", found, advice, "export UPSCALE_WORKERS__LANES=1")
    return Check("memory", "ok", found)


def _openvino() -> Check:
    from upscale_server.models.engines.openvino.runner import device_name, device_precisions

    found = f"{version('openvino')}; CPU: {device_name()} ({', '.join(device_precisions())})"
    return Check("OpenVINO and device", "ok", found)


def onnxruntime_check() -> Check:
    """Tell which engines of ONNX Runtime are installed."""
    from upscale_server.models.device import nvidia_gpus
    from upscale_server.models.extras import installed

    if not installed("onnxruntime"):
        found = "not installed (extra [onnxruntime], or [cuda])"
        if nvidia_gpus() and not installed("torch"):
            advice = "there is a GPU, and nothing here computes on it"
            return Check("ONNX Runtime", "warning", found, advice, "pip install 'upscale-server[cuda]'")
        return Check("ONNX Runtime", "ok", found)
    from upscale_server.models.engines.onnxruntime.session import available_engines, library_version

    return Check("ONNX Runtime", "ok", f"{library_version()}; engines {', '.join(available_engines())}")


def torch_check() -> Check:
    """Tell what torch can compute on."""
    from upscale_server.models.device import nvidia_gpus
    from upscale_server.models.extras import installed

    if not installed("torch"):
        return Check("torch", "ok", "not installed (extra [torch], for checkpoints)")
    from upscale_server.models.engines.torch.devices import engines_here, library_versions

    engines = engines_here()
    found = ", ".join(f"{name} {number}" for name, number in library_versions())
    found = f"{found}; engines {', '.join(engines)}"
    if nvidia_gpus() and "torch-cuda" not in engines:
        advice = "install torch for your CUDA version to use the GPU with --engine torch-cuda"
        fix = "pip install --force-reinstall torch"
        return Check("torch", "warning", f"{found}; the GPU is not usable", advice, fix)
    return Check("torch", "ok", found)


def _default_model() -> Check:
    """Load the default model as a job would, and tell how it really works here."""
    from upscale_server.models.at_hand import Models
    from upscale_server.models.catalogue import family

    cards = family(None)
    card = cards[min(cards)]
    with Models() as models:
        working = models.get(card, "auto", "auto").working
    found = f"{card.name} ×{card.scale} on {working.device} with {working.engine} in {working.precision}"
    return Check("default model", "ok", f"{found}, self-test {working.self_test_psnr:.1f} dB")


def _each_engine() -> Iterator[Check]:
    """Run the default model on every engine that is here; TensorRT's is built in minutes and left out."""
    from upscale_server.media.types import Size
    from upscale_server.models.at_hand import MEASURED_SIZE
    from upscale_server.models.catalogue import family
    from upscale_server.models.choices import Candidate
    from upscale_server.models.select import candidates, measure

    cards = family(None)
    card = cards[min(cards)]
    try:
        measured = measure(card, candidates(card, Candidate("auto", "auto")), Size.parse(MEASURED_SIZE))
    except Exception as err:  # noqa: BLE001 - as in `tried`; the model itself was tried before
        yield Check("engines", "broken", f"{type(err).__name__}: {err}", fix="upscale models bench")
        return
    for one in measured:
        yield _ran(one)


def _ran(one: Measured) -> Check:
    name = f"engine {one.engine} {one.precision}"
    if not one.fault:
        return Check(
            name, "ok", f"{one.device}, {one.pixels / one.seconds / 1e6:.1f} LR MP/s, {one.psnr:.0f} dB from f32"
        )
    if one.device:  # it ran, and is not near enough to be chosen: nothing to mend
        return Check(name, "ok", f"{one.device}; not taken by auto: {one.fault}")
    extra = f"'upscale-server[{_EXTRA_OF[one.engine]}]'" if one.engine in _EXTRA_OF else one.engine
    advice = f"--engine {one.engine} fails here; auto takes another"
    return Check(name, "warning", one.fault, advice, f"pip install --force-reinstall {extra}")
