"""Ray: the one place that knows it. It keeps one actor on each device of each machine of a cluster.

An actor stays when its server goes, with its networks loaded, for the next one and for other servers; it ends itself
when nobody has asked it anything for a while. Only values of `orders` go through Ray.
"""

from __future__ import annotations

import math
import os
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, cast

from upscale_server import __version__
from upscale_server.cluster.joining import OUTLAST_THE_HEAD, Membership, is_member
from upscale_server.cluster.node import Node
from upscale_server.cluster.opening import transport_of
from upscale_server.cluster.orders import Needs, News, NodeFacts, NodeOrder
from upscale_server.cluster.remote import NodeLost, Remote
from upscale_server.cluster_settings import RaySettings
from upscale_server.errors import MissingExtra, StorageError
from upscale_server.logs import configure, get_logger
from upscale_server.settings import load_settings

NAMESPACE = "upscale"
_CALLS_AT_ONCE = 64
"""Of one actor: each order is waited for by one, and most lanes of a machine are fewer."""
_ANSWER_SECONDS = 60.0
"""How long a node may take to answer what it need not wait for; its machine may be away without a word."""
_IDLE_LOOK_SECONDS = 5.0


class NodeActor:
    """A `Node` as an actor of Ray; its settings are those of the machine that it runs on.

    Args:
        idle_seconds: after so long without a question it ends.
        slot: which of the actors of its machine it is.
        cores: how many cores each of them has for itself.
        has_gpu: whether it may use one.
    """

    def __init__(self, idle_seconds: float, slot: int, cores: int, *, has_gpu: bool) -> None:
        _forget_main()
        _keep_to_share(slot, cores)
        if not has_gpu:
            os.environ["CUDA_VISIBLE_DEVICES"] = ""  # the machine has none, or was told to lend none
        settings = load_settings()
        configure(settings.log_level, settings.log_style)
        self._node = Node(settings, transport_of(settings))
        threading.Thread(target=self._end_when_idle, args=(idle_seconds,), name="idle", daemon=True).start()

    def facts(self) -> NodeFacts:
        """Return how the node is."""
        return self._node.facts()

    def lacks(self, needs: Needs) -> str:
        """Return what the node lacks."""
        return self._node.lacks(needs)

    def begin(self, order: NodeOrder) -> None:
        """Begin an order."""
        self._node.begin(order)

    def heard(self, number: str, seconds: float) -> News:
        """Return what happened to an order."""
        return self._node.heard(number, seconds)

    def stop(self, number: str, reason: str) -> None:
        """Stop an order."""
        self._node.stop(number, reason)

    def _end_when_idle(self, idle_seconds: float) -> None:
        import ray  # noqa: PLC0415 - an extra; here it is installed

        while self._node.idle_seconds < idle_seconds:
            threading.Event().wait(_IDLE_LOOK_SECONDS)
        get_logger().info("node_idle", seconds=idle_seconds)
        self._node.close()
        ray.kill(ray.get_runtime_context().current_actor, no_restart=True)


def _forget_main() -> None:
    """Let the processes that this one spawns not import Ray's own main module: it takes a second and has no use."""
    main = sys.modules["__main__"]
    main.__spec__ = None
    if hasattr(main, "__file__"):
        del main.__file__


def _keep_to_share(slot: int, each: int) -> None:
    """Leave the other actors of this machine their cores; where there are too few, all are shared."""
    share = sorted(os.sched_getaffinity(0))[slot * each : (slot + 1) * each]
    if each and len(share) == each:
        os.sched_setaffinity(0, share)


def shares_of(resources: dict[str, float], settings: RaySettings) -> list[dict[str, float]]:
    """Return what each actor of a machine takes: a share of a GPU, or where there is none of its cores."""
    gpus, cpus = math.floor(resources.get("GPU", 0.0)), resources.get("CPU", 0.0)
    if gpus:
        count = gpus * math.floor(1 / settings.gpus_per_actor)
        return [{"num_gpus": settings.gpus_per_actor, "num_cpus": cpus // count}] * count
    share = settings.cpus_per_actor or cpus
    return [{"num_cpus": share, "num_gpus": 0}] * math.floor(cpus / share) if cpus >= 1 else []


class RayCluster:
    """The devices of a Ray cluster, each with its actor.

    Raises:
        MissingExtra: Ray is not installed.
        UpscaleError: from every method, when the cluster cannot be asked.
    """

    def __init__(self, settings: RaySettings) -> None:
        self._settings = settings
        self._ray = _ray()
        self._actors: dict[str, Remote] = {}
        self._membership: Membership | None = None
        self._is_closed = False

    def nodes(self) -> dict[str, Remote]:
        """Return the devices that are here now; those that are new get their actor."""
        if self._is_closed:
            return {}
        if not self._ray.is_initialized():
            self._connect()
        places = {place.name: place for place in self._places()}
        come = {name: _Actor(self._ray, partial(self._hired, place)) for name, place in places.items()}
        self._actors = come | {name: actor for name, actor in self._actors.items() if name in places}
        return dict(self._actors)

    def close(self) -> None:
        """Let go of the cluster; its actors stay for other servers."""
        if not self._is_closed:
            self._is_closed = True
            self._ray.shutdown()
            if self._membership is not None:
                self._membership.leave()

    def _connect(self) -> None:
        address = self._settings.address
        if address != "auto" and not is_member(address):  # Ray lets nobody in who is no member
            self._membership = Membership(address, cpus=0, gpus=0)
            self._membership.join()
        quiet = {"log_to_driver": False, "logging_level": "error", "configure_logging": False}
        try:
            self._ray.init(address=address, namespace=NAMESPACE, **quiet)
        except Exception as err:
            raise StorageError(
                f"the Ray cluster at {address} cannot be reached: {_first_line(err)}",
                hint="is UPSCALE_RAY__ADDRESS the address of its head?",
            ) from err
        get_logger().info("cluster_joined", address=address, version=self._ray.__version__)

    def _places(self) -> Iterator[_Place]:
        """Yield each device's place."""
        for node in self._ray.nodes():
            shares = shares_of(node["Resources"], self._settings) if node["Alive"] else []
            for slot, share in enumerate(shares):
                name = f"upscale-{__version__}-{node['NodeID'][:16]}-{slot}"
                yield _Place(name, node["NodeID"], slot, share)

    def _hired(self, place: _Place) -> Any:  # noqa: ANN401 - Ray's handle
        """Return the actor of a place: the one that another server has made, or a new one."""
        kept_to_it = self._ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy(place.node_id, soft=False)
        kind = self._ray.remote(NodeActor).options(
            name=place.name, namespace=NAMESPACE, lifetime="detached", get_if_exists=True, max_restarts=-1,
            max_concurrency=_CALLS_AT_ONCE, scheduling_strategy=kept_to_it, **place.share,
        )  # fmt: skip
        cores, has_gpu = int(place.share["num_cpus"]), place.share["num_gpus"] > 0
        return kind.remote(self._settings.idle_seconds, place.slot, cores, has_gpu=has_gpu)


@dataclass(frozen=True, slots=True)
class _Place:
    """Where an actor belongs: its name, its machine, which one it is there, and what it takes."""

    name: str
    node_id: str
    slot: int
    share: dict[str, float]


class _Actor:
    """A node behind an actor's handle; a `Remote`. An actor that has ended for good is begun again when asked."""

    def __init__(self, ray: Any, hire: Callable[[], Any]) -> None:  # noqa: ANN401 - Ray's module and handles have no types
        self._ray = ray
        self._hire = hire
        self._handle: Any = None

    def facts(self) -> NodeFacts:
        """Return how it is."""
        return cast("NodeFacts", self._asked("facts"))

    def lacks(self, needs: Needs) -> str:
        """Return what it lacks."""
        return cast("str", self._asked("lacks", needs))

    def begin(self, order: NodeOrder) -> None:
        """Begin an order."""
        self._asked("begin", order)

    def heard(self, number: str, seconds: float) -> News:
        """Return what happened to an order."""
        return cast("News", self._asked("heard", number, seconds))

    def stop(self, number: str, reason: str) -> None:
        """Stop an order."""
        self._asked("stop", number, reason)

    def _asked(self, method: str, *values: object) -> object:
        faults = self._ray.exceptions
        try:
            handle = self._handle = self._handle or self._hire()
            return cast("object", self._ray.get(getattr(handle, method).remote(*values), timeout=_ANSWER_SECONDS))
        except faults.RayTaskError as err:
            raise NodeLost(_first_line(err.cause or err)) from err
        except faults.ActorDiedError as err:
            self._handle = None
            raise NodeLost(_first_line(err)) from err
        except (Exception, SystemExit) as err:  # the latter by Ray, where it is let go of meanwhile
            raise NodeLost(f"{type(err).__name__}: {_first_line(err)}") from err


def _ray() -> Any:  # noqa: ANN401 - Ray's module has no types
    """Return Ray, told to call nobody, to outlast its head's restart, and to connect to nothing by itself.

    Raises:
        MissingExtra: it is not installed.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    for name, value in OUTLAST_THE_HEAD.items():
        os.environ.setdefault(name, value)
    os.environ.setdefault("RAY_ENABLE_AUTO_CONNECT", "0")  # who asks after the end must not begin a cluster of his own
    try:
        import ray  # noqa: PLC0415 - an extra, imported on use
        import ray.util.scheduling_strategies  # noqa: PLC0415 - as above
    except ImportError as err:
        raise MissingExtra("a cluster needs Ray", hint="pip install 'upscale-server[ray]'") from err
    return ray


def _first_line(err: object) -> str:
    return next(iter(str(err).strip().splitlines()), type(err).__name__)[:300]
