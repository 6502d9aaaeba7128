"""From a card to a running upscaler, on the engine that suits it.

It chooses and checks; the engines do the work. A runtime is imported only when it is used.
"""

from __future__ import annotations

from importlib.util import find_spec

from upscale_server.errors import BadRequest, MissingExtra
from upscale_server.models.base import EngineOptions, Precision, Upscaler
from upscale_server.models.card import ModelCard
from upscale_server.models.catalogue import LANCZOS, verify
from upscale_server.models.engines.lanczos import LanczosUpscaler

NETWORK_ENGINES = ("openvino", "onnxruntime", "cuda", "tensorrt")
"""The engines that run networks; `cuda` and `tensorrt` are ONNX Runtime's."""

ENGINES = ("auto", *NETWORK_ENGINES, LANCZOS)
"""The engines that can be asked for by name."""

_EXTRAS = {"onnxruntime": "onnxruntime", "cuda": "cuda", "tensorrt": "cuda"}


def load(
    card: ModelCard, *, engine: str = "auto", precision: Precision = "auto", lanes: int = 1, threads: int = 0
) -> Upscaler:
    """Load a model, self-tested and ready; close it when done (`contextlib.closing` suits).

    Args:
        card: from `catalogue.find`.
        engine: one of `ENGINES` that can run the card; `auto` is OpenVINO for a network, without measuring.
        precision: what the network computes in; an explicit one is kept or refused, never replaced.
        lanes: batches worked on at once; more callers than lanes wait for each other.
        threads: cores for all lanes together, 0 for all that this process may use.

    Raises:
        BadRequest: the engine does not exist or cannot run this card.
        MissingExtra: the engine's package is not installed.
        ModelMissing: the card's file is gone.
        ModelInvalid: the file was changed, is no model, or fails its self-test.
        DeviceUnused: the engine's device did not do the work.
    """
    if lanes < 1 or threads < 0:
        raise BadRequest(f"lanes is {lanes} and threads is {threads}; expected at least 1 and at least 0")
    return load_with(card, engine, EngineOptions(precision, lanes, threads))


def load_with(card: ModelCard, engine: str, options: EngineOptions) -> Upscaler:
    """Load a model as `load` does, with everything that an engine can be told."""
    if engine not in ENGINES:
        raise BadRequest(f"engine is {engine!r}; expected one of {', '.join(ENGINES)}")
    fitting = (LANCZOS,) if card.name == LANCZOS and not card.path else NETWORK_ENGINES
    if engine not in {"auto", *fitting}:
        raise BadRequest(f"engine {engine} cannot run the model {card.name}; {' or '.join(fitting)} can")
    if fitting == (LANCZOS,):
        return LanczosUpscaler(card)
    verify(card)
    return _load_network(card, engine, options)


def installed(engine: str) -> bool:
    """Tell whether an engine's package is here; whether its device is, only loading tells."""
    return engine not in _EXTRAS or find_spec("onnxruntime") is not None


def _load_network(card: ModelCard, engine: str, options: EngineOptions) -> Upscaler:
    """Load a network; imports stand here because a runtime takes up to half a second to start."""
    if engine in {"auto", "openvino"}:
        from upscale_server.models.engines.openvino import OpenVinoUpscaler  # noqa: PLC0415 - see above

        return OpenVinoUpscaler(card, options)
    if not installed(engine):
        extra = _EXTRAS[engine]
        raise MissingExtra(
            f"engine {engine} needs the extra [{extra}], which is not installed",
            hint=f"pip install 'upscale-server[{extra}]'",
        )
    from upscale_server.models.engines.onnxruntime import OnnxRuntimeUpscaler  # noqa: PLC0415 - see above

    return OnnxRuntimeUpscaler(card, options, engine)
