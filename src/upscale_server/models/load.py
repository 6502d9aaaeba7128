"""From a card to a running upscaler, on the engine that suits it.

It chooses and checks; the engines do the work. A runtime is imported only when it is used.
"""

from __future__ import annotations

from pathlib import Path

from upscale_server.errors import BadRequest
from upscale_server.models.base import EngineOptions, Precision, Upscaler
from upscale_server.models.card import ModelCard
from upscale_server.models.catalogue import BUILTIN, CHECKPOINT, CLASSICAL, is_file_name, verify
from upscale_server.models.engines.classical import ClassicalUpscaler
from upscale_server.models.extras import require

TORCH_ENGINES = ("torch", "torch-cuda")
"""torch on the CPU and on a GPU; they run checkpoints, and our own family."""

NETWORK_ENGINES = ("openvino", "onnxruntime", "cuda", "tensorrt", *TORCH_ENGINES)
"""The engines that run networks; `cuda` and `tensorrt` are ONNX Runtime's."""

ENGINES = ("auto", *NETWORK_ENGINES, *CLASSICAL)
"""The engines that can be asked for by name."""


def load(
    card: ModelCard, *, engine: str = "auto", precision: Precision = "auto", lanes: int = 1, threads: int = 0
) -> Upscaler:
    """Load a model, self-tested and ready; close it when done (`contextlib.closing` suits).

    Args:
        card: from `catalogue.find`.
        engine: one of `ENGINES` that can run the card; `auto` is OpenVINO for a network and torch for a
            checkpoint, without measuring.
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
    fitting = engines_for(card)
    if engine not in {"auto", *fitting}:
        raise BadRequest(f"engine {engine} cannot run the model {card.name}; {' or '.join(fitting)} can")
    if is_classical(card):
        return ClassicalUpscaler(card)
    verify(card)
    return _load_network(card, engine, options)


def engines_for(card: ModelCard) -> tuple[str, ...]:
    """Return the engines that can be asked to run a model."""
    if is_classical(card):
        return (card.name,)
    return TORCH_ENGINES if is_checkpoint(card) else NETWORK_ENGINES


def can_run(engine: str, model: str) -> bool:
    """Tell whether an engine can run a model, which is named as `catalogue.find` takes it.

    torch has no operations but those of checkpoints and of our own family; the others run no checkpoint.
    """
    if model.endswith(CHECKPOINT):
        return engine in TORCH_ENGINES
    ours = not is_file_name(model) or Path(model).parent == BUILTIN
    return ours or engine not in TORCH_ENGINES


def is_classical(card: ModelCard) -> bool:
    """Tell whether a model is a kernel without weights, which is an engine of the same name."""
    return card.name in CLASSICAL and not card.path


def is_checkpoint(card: ModelCard) -> bool:
    """Tell whether a model is weights of a known architecture, and not a network with its operations."""
    return Path(card.path).suffix == CHECKPOINT


def _load_network(card: ModelCard, engine: str, options: EngineOptions) -> Upscaler:
    """Load a network; imports stand here because a runtime takes up to half a second to start."""
    if is_checkpoint(card) or engine in TORCH_ENGINES:
        require(engine if engine in TORCH_ENGINES else "torch", "" if engine in TORCH_ENGINES else card.name)
        from upscale_server.models.engines.torch import TorchUpscaler  # noqa: PLC0415 - see above

        return TorchUpscaler(card, options, engine)
    if engine in {"auto", "openvino"}:
        from upscale_server.models.engines.openvino import OpenVinoUpscaler  # noqa: PLC0415 - see above

        return OpenVinoUpscaler(card, options)
    require(engine)
    if engine == "tensorrt":
        from upscale_server.models.engines.onnxruntime import tensorrt  # noqa: PLC0415 - see above

        return tensorrt.opened(card, options)
    from upscale_server.models.engines.onnxruntime import OnnxRuntimeUpscaler  # noqa: PLC0415 - see above

    return OnnxRuntimeUpscaler(card, options, engine)
