"""The chain's side of a miner: telling the network where the Axon is, and learning who may ask it.

Nothing else in the product talks to the chain; without a network and a subnet it is not used.
"""

from __future__ import annotations

import threading
import time

from upscale_server.logs import get_logger
from upscale_server.subnet.untyped import Axon, Subtensor

_FRESH_SECONDS = 1200.0
"""Age at which the list of validators is read again: permits change once an epoch, of 72 minutes."""


class Chain:
    """One subnet of one network; safe to use from several threads.

    Args:
        subtensor: a connection, `bittensor.Subtensor`.
        netuid: number of the subnet.
    """

    def __init__(self, subtensor: Subtensor, netuid: int) -> None:
        self._subtensor = subtensor
        self._netuid = netuid
        self._permitted: frozenset[str] = frozenset()
        self._read_at = float("-inf")
        self._lock = threading.Lock()

    def announce(self, axon: Axon) -> None:
        """Write the Axon's address to the chain."""
        axon.serve(netuid=self._netuid, subtensor=self._subtensor)

    def permits(self, hotkey: str) -> bool:
        """Tell whether a hotkey is a validator's; a chain that does not answer keeps the last list."""
        self.refresh()
        return hotkey in self._permitted

    def refresh(self) -> None:
        """Read the list again when it is old."""
        with self._lock:
            if time.monotonic() - self._read_at < _FRESH_SECONDS:
                return
            self._read_at = time.monotonic()
            try:
                graph = self._subtensor.metagraph(self._netuid)
                self._permitted = frozenset(
                    str(hotkey) for hotkey, permit in zip(graph.hotkeys, graph.validator_permit, strict=True) if permit
                )
            except Exception as err:  # noqa: BLE001 - the connection's errors are many and not ours
                get_logger().warning("chain_unreadable", netuid=self._netuid, reason=str(err))
