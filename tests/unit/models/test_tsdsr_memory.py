"""What is foretold of memory is what the networks of TSD-SR take: enough, and not many times too much."""

from __future__ import annotations

import weakref
from dataclasses import replace
from typing import Any

import pytest

from upscale_server.models.extras import installed

if not installed("tsdsr"):
    pytest.skip("the extra [tsdsr] is not installed", allow_module_level=True)

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from benchmarks.tsdsr_networks import TINY, random_networks
from upscale_server.media.types import Size
from upscale_server.models import host_memory
from upscale_server.models.tsdsr import device
from upscale_server.models.tsdsr.geometry import exact
from upscale_server.models.tsdsr.memory import Maps, Point
from upscale_server.models.tsdsr.prediction import predict
from upscale_server.models.tsdsr.tiles import plan_tiles
from upscale_server.models.tsdsr.vae import Holding

AT_MOST_TIMES = 4.0
"""What is foretold too much only narrows strips; four times too much is still a useful number."""


class Live(TorchDispatchMode):
    """Counts the bytes of results that are alive; what a kernel takes within itself is not seen."""

    def __init__(self) -> None:
        super().__init__()
        self.bytes = self.most = 0
        # Views of weights come out of operators too; the weights were there before.
        every = (NETWORKS.transformer, NETWORKS.vae.encoder, NETWORKS.vae.decoder)
        kept = [one for network in every for one in (*network.parameters(), *network.buffers())]
        self._known = {one.untyped_storage().data_ptr() for one in kept}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:  # noqa: ANN401
        found = func(*args, **(kwargs or {}))
        for one in tree_leaves(found):
            if isinstance(one, torch.Tensor):
                self._add(one.untyped_storage())
        return found

    def _add(self, storage: torch.UntypedStorage) -> None:
        key, size = storage.data_ptr(), storage.nbytes()
        if key in self._known or not size:
            return
        self._known.add(key)
        self.bytes += size
        self.most = max(self.most, self.bytes)
        weakref.finalize(storage, self._drop, key, size)

    def _drop(self, key: int, size: int) -> None:
        self._known.discard(key)
        self.bytes -= size


NETWORKS = random_networks(replace(TINY, channels=(32, 64, 64, 64)), torch.device("cpu"), torch.float32)


@pytest.mark.parametrize("values", [0, 1 << 16])
def test_the_vae_takes_what_is_foretold(values: int) -> None:
    """Whole and in strips, both halves."""
    geometry = exact(Size(128, 96), 2, 64)
    foretold = NETWORKS.costs.vae_bytes(geometry, Maps(values))

    with torch.inference_mode(), Live() as live:
        NETWORKS.vae.moments(torch.zeros(1, 3, 192, 256), Holding(values))
        NETWORKS.vae.picture(torch.zeros(1, 16, 24, 32), Holding(values))

    assert foretold / AT_MOST_TIMES <= live.most <= foretold


@pytest.mark.parametrize("batch", [1, 4])
def test_the_transformer_takes_what_is_foretold(batch: int) -> None:
    """One tile and several at once."""
    geometry = exact(Size(160, 160), 2, 64)
    foretold = NETWORKS.costs.transformer_bytes(geometry, Point(batch, 16))

    with torch.inference_mode(), Live() as live:
        predict(NETWORKS.transformer, torch.zeros(1, 16, 40, 40), plan_tiles(40, 40, 16, 4, 384), batch)

    # The latent and its sums count too: three maps of 16 channels.
    assert foretold / AT_MOST_TIMES <= live.most <= foretold + 4 * 40 * 40 * 16 * 4


def test_a_containers_limit_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """In a pod on a large node it would otherwise plan for the node, and be killed where it should refuse."""
    monkeypatch.setattr(host_memory, "_free_on_machine", lambda: 64 << 30)
    monkeypatch.setattr(host_memory, "_free_in_container", lambda: 10 << 30)

    assert int(0.9 * (10 << 30)) == device.host_free_bytes()
    assert int(0.9 * (10 << 30)) == device.free_bytes(device.chosen_device("cpu"))
