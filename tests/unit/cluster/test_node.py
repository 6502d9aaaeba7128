"""A node does a segment from its source's key to its file's key, tells what happens, and leaves nothing."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.support import tiny_models
from tests.support.killing import wait_until
from tests.support.tiny_models import Form
from upscale_server.checkpoint import digest_of
from upscale_server.cluster import node as node_module
from upscale_server.cluster.at_node import lacking, localized
from upscale_server.cluster.node import Node
from upscale_server.cluster.orders import News, NodeOrder, needs_of
from upscale_server.cluster.remote import NodeLost
from upscale_server.cluster.sources import own_folder
from upscale_server.cluster.transport import FolderTransport
from upscale_server.errors import Canceled, ModelMissing, StorageError
from upscale_server.events import FramesDone, SegmentDone
from upscale_server.plan import Plan, make_plan
from upscale_server.server_settings import Workers
from upscale_server.settings import Settings
from upscale_server.wish import Wish


@pytest.fixture(scope="module")
def plan(bundled_clip: Path) -> Plan:
    """Give a plan of five segments."""
    return make_plan(bundled_clip, Wish(scale=2, model="lanczos", segment_seconds=1.0))


def go_on() -> None:
    """Find no reason to stop."""


def order_of(plan: Plan, number: str, index: int = 0, source_key: str = "work/aa/source") -> NodeOrder:
    """Return an order for one of a plan's segments."""
    return NodeOrder(number, plan, plan.segments[index], source_key, f"work/aa/{number}.mkv", is_watched=True)


def end_of(node: Node, number: str) -> News:
    """Return the last news of an order, with all events."""
    events: list[object] = []
    ends_at = time.monotonic() + 60
    while time.monotonic() < ends_at:
        news = node.heard(number, 0.5)
        events += news.events
        if news.is_last:
            return replace(news, events=tuple(events))  # type: ignore[arg-type]  # events
    raise AssertionError(f"order {number} does not end")


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give the folder through which pictures travel."""
    return tmp_path_factory.mktemp("shared")


@pytest.fixture(scope="module")
def state(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give the node's own folder."""
    return tmp_path_factory.mktemp("state")


@pytest.fixture(scope="module")
def node(shared: Path, state: Path, bundled_clip: Path) -> Iterator[Node]:
    """Give a node that has loaded."""
    transport = FolderTransport(shared)
    transport.offer(bundled_clip, "work/aa/source", go_on)
    node = Node(Settings(state_dir=state, model_path="lanczos", workers=Workers(lanes=1)), transport)
    try:
        wait_until(lambda: node.facts().is_ready)
        yield node
    finally:
        node.close()


@pytest.mark.slow
def test_it_makes_a_segment_and_its_copies(node: Node, plan: Plan, shared: Path) -> None:
    """The file is the one of the record; frames are told of on the way, and the end once."""
    node.begin(order := order_of(plan, "1"))
    node.begin(order)  # asked twice, done once

    news = end_of(node, "1")

    assert news.made is not None
    assert news.made.done.sha256 == digest_of(shared / order.result_key)
    assert news.made.has_copy
    assert all((shared / key).stat().st_size for key in ("work/aa/1.mkv.mp4", "work/aa/1.mkv.jpg"))
    assert len(news.made.done.times) == sum(one.count for one in news.events if isinstance(one, FramesDone))
    assert 1 == sum(isinstance(one, SegmentDone) for one in news.events)
    with pytest.raises(NodeLost):
        node.heard("1", 0)


@pytest.mark.slow
def test_it_tells_what_it_is(node: Node) -> None:
    """Its lanes, what they run, and the cores of each."""
    facts = node.facts()

    assert ["lanczos"] == [lane.engine for lane in facts.lanes]
    assert facts.settled is not None
    assert "lanczos" == facts.settled.cards[0].name
    assert facts.threads >= 1
    assert node.idle_seconds < 5


@pytest.mark.slow
def test_a_stopped_order_ends_with_the_reason(node: Node, plan: Plan) -> None:
    """At once, and its lane is free for the next."""
    node.begin(order_of(plan, "2"))
    node.stop("2", "canceled")

    assert isinstance(end_of(node, "2").fault, Canceled)
    node.begin(order_of(plan, "3", 4))
    assert end_of(node, "3").made is not None


@pytest.mark.slow
def test_an_order_that_nobody_asks_about_is_stopped(node: Node, plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its server is gone; another may want the device."""
    monkeypatch.setattr(node_module, "FORGOTTEN_SECONDS", 0.0)
    node.begin(order_of(plan, "4"))
    time.sleep(0.2)

    assert "nobody asks" in str(end_of(node, "4").fault)


@pytest.mark.slow
def test_a_source_that_is_not_there_or_another_is_a_fault(node: Node, plan: Plan, shared: Path) -> None:
    """With words that say which."""
    node.begin(order_of(plan, "5", source_key="work/bb/source"))
    assert isinstance(end_of(node, "5").fault, StorageError)

    (shared / "work" / "cc").mkdir()
    (shared / "work" / "cc" / "source").write_bytes(b"something else")
    node.begin(order_of(plan, "6", source_key="work/cc/source"))
    assert "has 14 bytes here" in str(end_of(node, "6").fault)


@pytest.mark.slow
def test_nothing_is_left_of_orders(node: Node, state: Path) -> None:
    """Only the log, and an empty folder for sources."""
    del node
    assert ["server.log"] == [path.name for path in state.rglob("*") if path.is_file()]


def test_a_plan_gets_this_machines_paths(plan: Plan, tmp_path: Path) -> None:
    """The source lies elsewhere and is younger here; all that bytes depend on stays."""
    here = tmp_path / "here.mp4"
    here.write_bytes(Path(plan.source.path).read_bytes())
    fast = make_plan(Path(plan.source.path), Wish(scale=2, model="fast", engine="openvino", precision="f32"))
    elsewhere = replace(
        fast, passes=tuple(replace(one, card=replace(one.card, path="/elsewhere/fast.onnx")) for one in fast.passes)
    )

    found = localized(elsewhere, here, Settings(state_dir=tmp_path))

    assert fast.passes == found.passes
    assert (str(here), here.stat().st_mtime_ns) == (found.source.path, found.source.modified_ns)
    assert (fast.encoder, fast.spec, fast.segments) == (found.encoder, found.spec, found.segments)


def test_what_the_plans_card_says_counts_and_not_the_card_beside_the_file_here(plan: Plan, tmp_path: Path) -> None:
    """The same network with another card would give other pixels on this machine alone."""
    file = tiny_models.convolutional(tmp_path / "mine.onnx", Form())
    planned = make_plan(Path(plan.source.path), Wish(scale=2, model=str(file), engine="openvino", precision="f32"))
    file.with_suffix(".json").write_text(json.dumps({"value_range": 255.0, "receptive_field": 3}))

    found = localized(planned, Path(plan.source.path), Settings(state_dir=tmp_path, model_path=str(file)))

    assert (1.0, planned.passes) == (planned.passes[0].card.value_range, found.passes)


def test_a_network_that_is_not_here_is_named(plan: Plan, tmp_path: Path) -> None:
    """By its digest: another file of the same name is another network."""
    fast = make_plan(Path(plan.source.path), Wish(scale=2, model="fast", engine="openvino", precision="f32"))
    other = replace(fast, passes=(replace(fast.passes[0], card=replace(fast.passes[0].card, sha256="0" * 64)),))
    settings = Settings(state_dir=tmp_path)

    assert "" == lacking(needs_of(fast), settings)
    assert "model fast of scale 2 (SHA-256 000000000000…) is not here" == lacking(needs_of(other), settings)
    with pytest.raises(ModelMissing):
        localized(other, Path(plan.source.path), settings)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"engine": "cuda"}, "engine cuda"),
        ({"precision": "f16"}, "engine openvino in f16 does not run here"),
        ({"decoder": "cuda"}, "no GPU to decode with"),
        ({"made_with": {"upscale-server": "0.0.1"}}, "the job was planned with 0.0.1"),
        ({"made_with": {"onnxruntime-gpu": "1.0"}}, "not installed"),
    ],
)
def test_what_a_plan_needs_and_is_not_here_is_named(
    change: dict[str, object], said: str, plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bytes depend on it, so nothing else will do."""
    monkeypatch.setattr("upscale_server.cluster.at_node.nvidia_gpus", lambda: ())
    monkeypatch.setattr("upscale_server.models.select.nvidia_gpus", lambda: ())
    fast = make_plan(Path(plan.source.path), Wish(scale=2, model="fast", engine="openvino", precision="f32"))

    assert said in lacking(needs_of(replace(fast, **change)), Settings(state_dir=tmp_path))  # type: ignore[arg-type]


def test_a_folder_is_ones_own_and_the_dead_ones_go(tmp_path: Path) -> None:
    """One process's stays beside another's; what nobody holds is removed."""
    (tmp_path / "dead").mkdir()
    (tmp_path / "dead" / "file").write_bytes(b"left")

    first, second = own_folder(tmp_path), own_folder(tmp_path)

    assert {first, second} == set(tmp_path.iterdir())
