"""One ONNX Runtime session for a named provider, which afterwards tells where each node really ran.

It knows values and providers, not pixels or tiles.

The trap: ONNX Runtime gives work that a provider cannot or will not do to the CPU and says so in a log line at most.
So the first runs are profiled, and the profile, which names the provider of every node, is held against the request.
"""

from __future__ import annotations

import json
import tempfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray
from onnxruntime.capi import onnxruntime_pybind11_state as states

from upscale_server.errors import DeviceUnused, MissingExtra, ModelInvalid, OutOfMemory
from upscale_server.models.base import EngineOptions
from upscale_server.models.device import usable_cores

CPU = "CPUExecutionProvider"

PROVIDERS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "onnxruntime": (CPU,),
        "cuda": ("CUDAExecutionProvider", CPU),
        "tensorrt": ("TensorrtExecutionProvider", "CUDAExecutionProvider", CPU),
    }
)
"""The providers of each engine name; the first must do the work, the rest may compute shapes."""

# TF32 keeps 10 bits of a factor; f32 is what we call f32.
_PROVIDER_OPTIONS: Mapping[str, dict[str, str]] = MappingProxyType({"CUDAExecutionProvider": {"use_tf32": "0"}})

_ELEMENTS: Mapping[str, type[np.generic]] = MappingProxyType(
    {
        "tensor(float)": np.float32,
        "tensor(float16)": np.float16,
        "tensor(double)": np.float64,
        "tensor(uint8)": np.uint8,
        "tensor(uint16)": np.uint16,
    }
)
_HEAVY = ("Conv", "MatMul", "Gemm", "Attention")
_OUT_OF_MEMORY = ("bad alloc", "bad_alloc", "out of memory", "failed to allocate", "cudaerrormemoryallocation")
_ONLY_ERRORS_THAT_END_THE_PROCESS = 4  # what fails a call is raised, and must not be on stderr too
# These have no base of their own but Exception.
_FAULTS = (
    states.EPFail,
    states.Fail,
    states.InvalidArgument,
    states.InvalidGraph,
    states.InvalidProtobuf,
    states.NoSuchFile,
    states.NotImplemented,
    states.RuntimeException,
)


class Session:
    """A loaded network; as many threads as there are lanes may run it at once, more wait."""

    def __init__(
        self, path: str, engine: str, options: EngineOptions, provider_options: Mapping[str, str] | None = None
    ) -> None:
        """Load a network.

        Raises:
            MissingExtra: the installed ONNX Runtime does not have the engine's provider.
            DeviceUnused: it has, and cannot use it here.
            ModelInvalid: the file is no model that ONNX Runtime runs.
        """
        self._wanted = PROVIDERS[engine][0]
        self._told = dict(provider_options or {})
        refuse_missing(engine)
        self._lanes = threading.BoundedSemaphore(options.lanes)
        self._profiles = tempfile.TemporaryDirectory(prefix="upscale-profile-")
        try:
            self._session = self._started(path, engine, options)
            self._name, self.element = _input_of(self._session, path)
        except BaseException:
            self.close()
            raise

    def run(self, values: NDArray[np.generic]) -> NDArray[np.generic]:
        """Run one picture, in the network's own layout and element type, and return the first output.

        Raises:
            OutOfMemory: the device has not enough memory for this size.
            ModelInvalid: the network does not take this shape.
        """
        with self._lanes, _faults_are_named():
            outputs = self._session.run(None, {self._name: values})
        result: NDArray[np.generic] = outputs[0]
        return result

    def prove(self) -> None:
        """Look where the nodes of all runs so far were computed; call it once, after the self-test.

        Raises:
            DeviceUnused: heavy nodes, or all, ran elsewhere than asked.
        """
        profile = Path(self._session.end_profiling())
        nodes = placed(json.loads(profile.read_text(encoding="utf-8")))
        self._profiles.cleanup()
        refuse_misplaced(nodes, self._wanted)

    def _started(self, path: str, engine: str, options: EngineOptions) -> ort.InferenceSession:
        settings = _settings(options, Path(self._profiles.name))
        providers = [(name, dict(_PROVIDER_OPTIONS.get(name, {}))) for name in PROVIDERS[engine]]
        providers[0][1].update(self._told)
        with _faults_are_named():
            session = ort.InferenceSession(path, settings, providers=providers, enable_fallback=0)
        if self._wanted not in session.get_providers():
            raise DeviceUnused(
                f"{engine} was asked for and {self._wanted} could not be started here",
                hint="see that the driver and the CUDA libraries fit the installed onnxruntime-gpu",
            )
        return session

    def close(self) -> None:
        """Remove what an unfinished self-test left; safe to call twice."""
        self._profiles.cleanup()


def library_version() -> str:
    """Return the version of the installed ONNX Runtime, whichever of its packages brought it."""
    return str(ort.__version__)


def available_engines() -> tuple[str, ...]:
    """Return the engines whose provider the installed ONNX Runtime has; whether it works, only loading tells."""
    available = ort.get_available_providers()
    return tuple(engine for engine, providers in PROVIDERS.items() if providers[0] in available)


def placed(events: list[dict[str, Any]]) -> dict[tuple[str, str], int]:  # JSON values of many types
    """Count a profile's nodes by operator and provider."""
    counts: dict[tuple[str, str], int] = {}
    for event in events:
        facts = event.get("args", {})
        if event.get("cat") == "Node" and "provider" in facts and facts["provider"]:
            key = (str(facts.get("op_name", "")), str(facts["provider"]))
            counts[key] = counts.get(key, 0) + 1
    return counts


def refuse_misplaced(nodes: Mapping[tuple[str, str], int], wanted: str) -> None:
    """Hold the nodes' places against the provider that was asked for.

    Raises:
        DeviceUnused: heavy nodes, or all, ran elsewhere.
    """
    elsewhere = {operator: provider for operator, provider in nodes if provider != wanted}
    heavy = sorted(name for name in elsewhere if any(kind in name for kind in _HEAVY))
    if heavy:
        raise DeviceUnused(f"{wanted} was asked for, and {heavy[0]} ran on {elsewhere[heavy[0]]}")
    if not any(provider == wanted for _, provider in nodes):
        raise DeviceUnused(f"{wanted} was asked for, and no node ran on it")


def refuse_missing(engine: str) -> None:
    """Refuse an engine whose provider is not in the installed ONNX Runtime.

    Raises:
        MissingExtra: with what is in it.
    """
    wanted = PROVIDERS[engine][0]
    available = ort.get_available_providers()
    if wanted not in available:
        raise MissingExtra(
            f"engine {engine} needs {wanted}; the installed ONNX Runtime has {', '.join(available)}",
            hint="pip uninstall onnxruntime; pip install 'upscale-server[cuda]'",
        )


def _input_of(session: ort.InferenceSession, path: str) -> tuple[str, type[np.generic]]:
    """Return name and element type of the network's input."""
    given, *others = session.get_inputs()
    if others:
        names = ", ".join([given.name, *(one.name for one in others)])
        raise ModelInvalid(f"{path} takes {1 + len(others)} inputs ({names}); expected one picture")
    if given.type not in _ELEMENTS:
        raise ModelInvalid(f"{path} takes a {given.type}; expected one of {', '.join(_ELEMENTS)}")
    return given.name, _ELEMENTS[given.type]


def _settings(options: EngineOptions, profiles: Path) -> ort.SessionOptions:
    """Say everything that decides speed and bytes; nothing is left to a default that differs between machines."""
    settings = ort.SessionOptions()
    settings.intra_op_num_threads = options.threads or usable_cores()
    settings.inter_op_num_threads = 1
    settings.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
    settings.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
    settings.log_severity_level = _ONLY_ERRORS_THAT_END_THE_PROCESS
    settings.enable_profiling = True
    settings.profile_file_prefix = str(profiles / "run")
    return settings


@contextmanager
def _faults_are_named() -> Iterator[None]:
    """Raise OutOfMemory where ONNX Runtime runs out of it, ModelInvalid where it cannot run the network."""
    try:
        yield
    except MemoryError as err:
        raise OutOfMemory("the network's tile does not fit into memory") from err
    except _FAULTS as err:
        text = str(err)
        if any(sign in text.lower() for sign in _OUT_OF_MEMORY):
            raise OutOfMemory("the network's tile does not fit into memory") from err
        raise ModelInvalid(f"ONNX Runtime cannot run the model: {text.splitlines()[0][:200]}") from err
