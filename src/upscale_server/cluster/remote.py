"""How nodes are reached: the promise that `fleet` relies on, and that `ray` keeps.

It names what is asked and knows no framework.
"""

from __future__ import annotations

from typing import Protocol

from upscale_server.cluster.orders import Needs, News, NodeFacts, NodeOrder


class NodeLost(Exception):
    """A node does not answer: it is gone, or was begun anew and knows of nothing; the text says what was heard."""


class Remote(Protocol):
    """A node as it is reached from here; every method may raise `NodeLost`."""

    def facts(self) -> NodeFacts:
        """Return how it is."""

    def lacks(self, needs: Needs) -> str:
        """Return what it lacks of what a plan needs; empty where that is nothing."""

    def begin(self, order: NodeOrder) -> None:
        """Begin an order."""

    def heard(self, number: str, seconds: float) -> News:
        """Return what happened to an order, at its end or after so many seconds."""

    def stop(self, number: str, reason: str) -> None:
        """Stop an order."""


class Cluster(Protocol):
    """The machines that there are."""

    def nodes(self) -> dict[str, Remote]:
        """Return the devices that are here now, by a name that stays theirs; it may take a while.

        Raises:
            UpscaleError: the cluster cannot be asked.
        """

    def close(self) -> None:
        """Let go of the cluster; its nodes stay for other servers. Safe to call twice."""
