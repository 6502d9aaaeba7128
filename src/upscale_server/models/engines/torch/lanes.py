"""One slot that runs windows, on the CPU or on a CUDA stream: it owns its copies of the network and its buffers.

A lane is used by one thread at a time (`upscaler` sees to that) and knows no tiles. The CUDA lane was written without a
GPU at hand; what it shares with the CPU lane (`pixels`, `network`) is tested there, and its own tests skip loudly.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from upscale_server.errors import OutOfMemory
from upscale_server.models.engines.torch.devices import faults_are_named, refuse_elsewhere
from upscale_server.models.engines.torch.network import Copy, Network
from upscale_server.models.engines.torch.pixels import Work, to_array, to_tensor, upscaled

# Each keeps its buffers, and a graph its activations too: a shape for each of two sources, and their f32 twins.
_MOST_SHAPES = 4
# The first calls choose kernels and allocate; a graph must see neither.
_CALLS_BEFORE_CAPTURE = 3
# One capture at a time in a process: each begins by waiting for the whole device, which fails while another captures.
_CAPTURING = threading.Lock()

_Compute = Callable[[], tuple[torch.Tensor, torch.Tensor]]


@dataclass(frozen=True, slots=True)
class _Shape:
    """The buffers of one shape: where a window lies on the device and in pinned memory, and what launches the work."""

    window: torch.Tensor
    launch: _Compute
    host_window: torch.Tensor
    host_pixels: torch.Tensor
    host_finite: torch.Tensor


class Lane(Protocol):
    """What an upscaler needs of a slot."""

    def run(self, window: NDArray[np.generic], work: Work) -> tuple[NDArray[np.generic], bool]:
        """Run one contiguous window; return its enlargement and whether every value was finite.

        Raises:
            OutOfMemory: the device has not enough memory for this size.
            ModelInvalid: the network does not take this shape.
        """

    def copy(self, precision: str) -> Copy:
        """Return this lane's copy of the network in a precision."""

    @property
    def note(self) -> str:
        """Return what is not as it should be, or an empty text."""


class CpuLane:
    """A slot on the CPU; its operations share torch's threads with the other lanes."""

    def __init__(self, network: Network) -> None:
        self._copies = _Copies(network, torch.device("cpu"))

    @property
    def note(self) -> str:
        """Return nothing: there is nothing that could be missing."""
        return ""

    def copy(self, precision: str) -> Copy:
        """Return this lane's copy of the network in a precision."""
        return self._copies.get(precision)

    def run(self, window: NDArray[np.generic], work: Work) -> tuple[NDArray[np.generic], bool]:
        """Run one window; see `Lane`."""
        with torch.inference_mode(), faults_are_named():
            pixels, finite = upscaled(self.copy(work.precision), to_tensor(window), work)
            return to_array(pixels), bool(finite)


class CudaLane:
    """A slot on a GPU: a stream, pinned buffers both ways, and a captured graph for each shape.

    A graph that cannot be captured is not the end: the lane launches kernel by kernel from then on, and `note` says so.
    """

    def __init__(self, network: Network, device: torch.device) -> None:
        self._device = device
        self._stream = torch.cuda.Stream(device)
        self._copies = _Copies(network, device)
        self._shapes: OrderedDict[tuple[object, ...], _Shape] = OrderedDict()
        self._note = ""

    @property
    def note(self) -> str:
        """Return why there are no CUDA graphs, or an empty text."""
        return self._note

    def copy(self, precision: str) -> Copy:
        """Return this lane's copy of the network in a precision."""
        return self._copies.get(precision)

    def run(self, window: NDArray[np.generic], work: Work) -> tuple[NDArray[np.generic], bool]:
        """Run one window; see `Lane`."""
        try:
            with torch.inference_mode(), torch.cuda.device(self._device), faults_are_named():
                return self._run(to_tensor(window), work)
        except OutOfMemory:
            # What other shapes hold may be what is missing; the next, smaller window gets it.
            self._shapes.clear()
            torch.cuda.empty_cache()
            raise

    def _run(self, window: torch.Tensor, work: Work) -> tuple[NDArray[np.generic], bool]:
        shape = self._shape(window, work)  # before the stream is entered: it may be replaced in there
        with torch.cuda.stream(self._stream):
            shape.host_window.copy_(window)
            shape.window.copy_(shape.host_window, non_blocking=True)
            pixels, finite = shape.launch()
            shape.host_pixels.copy_(pixels, non_blocking=True)
            shape.host_finite.copy_(finite, non_blocking=True)
        self._stream.synchronize()
        # The pinned buffer is overwritten by the next window.
        return to_array(shape.host_pixels).copy(), bool(shape.host_finite)

    def _shape(self, window: torch.Tensor, work: Work) -> _Shape:
        """Return the buffers and the graph for windows like this; the least recently used make room."""
        key = (*window.shape, window.dtype, work)
        if key not in self._shapes:
            while len(self._shapes) >= _MOST_SHAPES:
                self._shapes.popitem(last=False)
            self._shapes[key] = self._made(window, work)
        self._shapes.move_to_end(key)
        return self._shapes[key]

    def _made(self, window: torch.Tensor, work: Work) -> _Shape:
        copy = self.copy(work.precision)

        def compute() -> tuple[torch.Tensor, torch.Tensor]:
            return upscaled(copy, given, work)

        with torch.cuda.stream(self._stream):
            given = window.to(self._device, copy=True)
            for _ in range(_CALLS_BEFORE_CAPTURE):
                pixels, finite = compute()
        self._stream.synchronize()
        refuse_elsewhere(pixels.device, self._device)
        launch = compute if self._note else self._captured(compute)
        return _Shape(
            window=given,
            launch=launch,
            host_window=_pinned(window),
            host_pixels=_pinned(pixels),
            host_finite=_pinned(finite),
        )

    def _captured(self, compute: _Compute) -> _Compute:
        """Return the computation as one launch; as it is where it cannot be captured."""
        graph = torch.cuda.CUDAGraph()
        try:
            # thread_local: other lanes go on working while this one captures.
            with _CAPTURING, torch.cuda.graph(graph, stream=self._stream, capture_error_mode="thread_local"):
                results = compute()
            graph.replay()
            self._stream.synchronize()
        except torch.cuda.OutOfMemoryError:
            raise
        except RuntimeError as err:
            self._note = f"no CUDA graphs: {next(iter(str(err).splitlines()), 'not told why')[:120]}"
            self._stream = torch.cuda.Stream(self._device)  # a failed capture leaves the other one unusable
            return compute

        def replay() -> tuple[torch.Tensor, torch.Tensor]:
            graph.replay()
            return results

        return replay


def _pinned(like: torch.Tensor) -> torch.Tensor:
    """Return host memory that the device reads and writes by itself, while the host goes on."""
    return torch.empty(like.shape, dtype=like.dtype, pin_memory=True)


class _Copies:
    """A lane's copies of the network by precision, made when first used and proved to be on the device."""

    def __init__(self, network: Network, device: torch.device) -> None:
        self._network, self._device = network, device
        self._made: dict[str, Copy] = {}

    def get(self, precision: str) -> Copy:
        if precision not in self._made:
            made = self._network.copy_to(self._device, precision)
            refuse_elsewhere(made.device, self._device)
            if self._device.type == "cuda":
                # Made on another stream than it is used on, and streams do not wait for each other.
                torch.cuda.synchronize(self._device)
            self._made[precision] = made
        return self._made[precision]


def lane_on(network: Network, device: torch.device) -> Lane:
    """Return a lane on a device."""
    return CpuLane(network) if device.type == "cpu" else CudaLane(network, device)
