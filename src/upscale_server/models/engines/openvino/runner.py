"""One compiled network and its infer requests: as many threads as there are lanes may use it at once.

It knows shapes and requests, not tiles or models.
"""

from __future__ import annotations

import os
import queue
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import openvino as ov
from numpy.typing import NDArray

from upscale_server.errors import ModelInvalid, OutOfMemory
from upscale_server.models.base import EngineOptions
from upscale_server.models.engines.openvino.core import core

_OUT_OF_MEMORY = ("bad_alloc", "out of memory", "cannot allocate", "failed to allocate", "could not create a memory")
_PRECISIONS = {"bfloat16": "bf16", "bf16": "bf16", "float32": "f32", "f32": "f32", "fp32": "f32"}
_HEAVY = ("Convolution", "Deconvolution", "MatMul", "FullyConnected", "GroupConvolution")


def device_precisions() -> tuple[str, ...]:
    """Return what the CPU computes fast, as OpenVINO says: f32 and, with AMX or AVX512-BF16, bf16."""
    capabilities = core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    return ("bf16", "f32") if "BF16" in capabilities else ("f32",)


def device_name() -> str:
    """Return the name of the processor."""
    return str(core().get_property("CPU", "FULL_DEVICE_NAME")).strip()


class Runner:
    """A compiled network with `lanes` requests; safe for any number of threads, which wait for a free request."""

    def __init__(self, model: ov.Model, precision: str, options: EngineOptions) -> None:
        with _out_of_memory_is_named():
            self._compiled = core().compile_model(model, "CPU", _settings(precision, options))
            requests = [self._compiled.create_infer_request() for _ in range(options.lanes)]
        self._free: queue.LifoQueue[Any] = queue.LifoQueue()
        for request in requests:
            self._free.put(request)

    @property
    def precision(self) -> str:
        """Return what the heavy layers really compute in, read from the compiled network.

        A network without heavy layers has nothing to tell, nor has one whose maker quantized all of them; then it is
        what the engine says of itself.
        """
        found = {_layer_precision(node) for node in self._compiled.get_runtime_model().get_ordered_ops()}
        if found.isdisjoint({"bf16", "f32"}):
            return _named_precision(self._compiled.get_property("INFERENCE_PRECISION_HINT").to_string())
        return "bf16" if "bf16" in found else "f32"

    def run(self, picture: NDArray[np.generic]) -> list[NDArray[np.generic]]:
        """Run one picture and return copies of the outputs.

        Raises:
            OutOfMemory: the device has not enough memory for this size.
        """
        request = self._free.get()
        try:
            with _out_of_memory_is_named():
                request.infer({0: picture}, share_inputs=True)
                return [np.array(tensor.data) for tensor in request.output_tensors]
        finally:
            self._free.put(request)


def _settings(precision: str, options: EngineOptions) -> dict[str, Any]:
    """Say everything that decides speed and bytes; nothing is left to a default that differs between machines."""
    threads = options.threads or len(os.sched_getaffinity(0))
    return {
        "INFERENCE_PRECISION_HINT": precision,
        "NUM_STREAMS": str(min(options.lanes, threads)),
        "INFERENCE_NUM_THREADS": threads,
        # Two pinned processes would share the first cores and leave the others idle.
        "ENABLE_CPU_PINNING": False,
    }


def _layer_precision(node: Any) -> str:  # noqa: ANN401 - OpenVINO's nodes have no types
    """Return the precision of a heavy layer of a compiled network, else an empty text."""
    info = node.get_rt_info()
    kind = str(info["layerType"].value) if "layerType" in info else ""
    return _named_precision(str(info["runtimePrecision"].value)) if kind in _HEAVY else ""


def _named_precision(text: str) -> str:
    """Translate OpenVINO's name of a type into ours."""
    return _PRECISIONS.get(text.lower(), text.lower())


@contextmanager
def _out_of_memory_is_named() -> Iterator[None]:
    """Raise OutOfMemory where OpenVINO runs out of it, ModelInvalid where it cannot run the network."""
    try:
        yield
    except MemoryError as err:
        raise OutOfMemory("the network's tile does not fit into memory") from err
    except RuntimeError as err:
        text = str(err)
        if any(sign in text.lower() for sign in _OUT_OF_MEMORY):
            raise OutOfMemory("the network's tile does not fit into memory") from err
        raise ModelInvalid(f"OpenVINO cannot run the model: {text.splitlines()[-1][:200]}") from err
