"""Plans over HTTP: what a job would do and take, for a source that is here or is fetched for it."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from pydantic import SecretStr

from tests.support.bad_source import BadSource
from tests.support.clip_spec import Clip, Picture, Sound
from tests.support.clip_writer import write_clip
from tests.support.job_parts import Stoppable
from tests.support.killing import wait_until
from tests.support.served import LOADED, LookingPool, Served, finish_next, serving, settings_in
from upscale_server.calibration import Calibration
from upscale_server.errors import Canceled, DiskFull, UpscaleError
from upscale_server.estimate import Estimate, estimate_of
from upscale_server.events import Event, FramesDone
from upscale_server.jobs.folder import sources_folder
from upscale_server.measured import Measured
from upscale_server.models.load import load
from upscale_server.pipeline import Executor
from upscale_server.plan import Plan, make_plan
from upscale_server.service import VideoService, planning
from upscale_server.stopping import Stop
from upscale_server.web import video_app
from upscale_server.wire_sources import PlanView
from upscale_server.wish import Limits, Wish
from upscale_server.workers.in_process import InProcess
from upscale_server.workers.status import LaneState

ANNA, BERT = "anna-has-a-long-key", "bert-has-another-one"
QUICK = {"model": "lanczos", "codec": "h264"}


@dataclass(slots=True)
class MeasuringPool(LookingPool):
    """Workers that also make segments, in this process; each event passes a gate at which a test can hold the work.

    Equal plans of a file are made once: PyAV's log, which a probe reads, must not be listened to while the same process
    encodes.
    """

    gate: threading.Event = field(default_factory=threading.Event)
    at_work: list[str] = field(default_factory=list)
    plans: dict[tuple[int, Wish], Plan] = field(default_factory=dict)
    fault: UpscaleError | None = None
    asked_to_stop: Stop | None = None
    lanes: int = 1

    def most_lanes(self, task: str | None) -> int:
        """Return as many lanes as the test wants jobs to have."""
        del task
        return self.lanes

    @property
    def is_left(self) -> bool:
        """Tell whether whoever asked for segments has gone."""
        return self.asked_to_stop is not None and bool(self.asked_to_stop())

    def plan(self, source: Path, wish: Wish, limits: Limits, stop: Stop) -> Plan:
        """Plan for the quickest encoder."""
        if stop():
            raise Canceled(stop())
        known = source.stat().st_ino, wish
        if known not in self.plans:
            self.plans[known] = make_plan(source, replace(wish, preset="ultrafast"), limits)
        plan = self.plans[known]
        return replace(plan, source=replace(plan.source, path=str(source)))

    def executor(self, task: str | None, stop: Stop) -> Executor:
        """Make segments here."""
        del task
        self.at_work.append("begun")
        self.asked_to_stop = stop

        def hold(event: Event) -> None:
            if self.fault is not None:
                raise self.fault
            if isinstance(event, FramesDone):
                self.gate.wait(60)

        return Stoppable(InProcess(lambda _plan, one: load(one.card)), stop, hold)


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """Give four seconds of video with sound."""
    path = tmp_path_factory.mktemp("clip") / "clip.mp4"
    picture = Picture(frame_count=100, options={"g": "25"})
    return write_clip(Clip(pictures=(picture,), sounds=(Sound(seconds=4.0),)), path).read_bytes()


@pytest.fixture
def pool() -> MeasuringPool:
    """Give workers."""
    return MeasuringPool()


@pytest.fixture
def served(tmp_path: Path, pool: MeasuringPool) -> Iterator[Served]:
    """Give a running server that plans and measures."""
    with serving(VideoService(settings_in(tmp_path), pool)) as running:
        yield running


def source_in(served: Served, content: bytes, **headers: str) -> str:
    """Bring a source and return its id."""
    reply = served.client.post("/v1/sources", files={"file": ("holiday.mp4", content)}, headers=headers)
    reply.raise_for_status()
    return str(reply.json()["id"])


def planned(served: Served, **body: Any) -> httpx.Response:  # noqa: ANN401 - whatever a body holds
    """Ask for a plan."""
    return served.client.post("/v1/plan", json={**QUICK, **body})


def test_a_plan_tells_what_a_job_would_do(served: Served, clip: bytes) -> None:
    """Sizes, passes, model and why, where it runs; the estimate is rough before anything ran here."""
    source = source_in(served, clip)

    reply = planned(served, source_id=source, scale=4)

    plan = reply.json()
    assert 200 == reply.status_code, reply.text
    PlanView.model_validate(plan)
    assert (source, "384x256", "lanczos", "asked for", "CPU") == tuple(
        plan[name] for name in ("source_id", "target", "model", "model_because", "device")
    )
    assert [{"model": "lanczos", "scale": 4, "size_in": "96x64", "size_out": "384x256"}] == plan["passes"]
    assert "path" not in plan["plan"]["source"]
    assert str(served.service.uploads.parent) not in reply.text
    estimate = plan["estimate"]
    assert {"seconds": "rough", "byte_count": "rough"} == estimate["basis"]
    assert 0 <= estimate["seconds"]
    assert 0 < estimate["byte_count"] < estimate["disk_bytes"]
    assert 0 == estimate["jobs_known"]


def test_a_plan_has_the_words_of_the_job_that_follows(served: Served, clip: bytes, tmp_path: Path) -> None:
    """The same fields lead to the same plan, and the same file: the job is made from the same source."""
    source = source_in(served, clip)
    plan = planned(served, source_id=source, target="1080p").json()["plan"]

    job = served.client.post("/v1/jobs", json={**QUICK, "source_id": source, "target": "1080p"})

    assert (1620, 1080) == (plan["target"]["width"], plan["target"]["height"])
    assert 202 == job.status_code
    assert job.json()["id"] == finish_next(served.service, tmp_path)


def test_a_source_by_address_is_kept_for_the_job_that_follows(served: Served, clip: bytes) -> None:
    """It is fetched once; the answer tells its name."""
    with BadSource(body=clip) as elsewhere:
        first = planned(served, payload_url=elsewhere.url("ok")).json()
    again = planned(served, source_id=first["source_id"])
    job = served.client.post("/v1/jobs", json={"source_id": first["source_id"]})

    assert (200, 202) == (again.status_code, job.status_code)
    assert first["plan"]["frame_count"] == again.json()["plan"]["frame_count"] == 100


def test_measuring_runs_pieces_of_this_very_source(served: Served, pool: MeasuringPool, clip: bytes) -> None:
    """The figures rest on it from then on, also for a plan without measuring; nothing of the pieces stays."""
    pool.gate.set()
    source = source_in(served, clip)

    measured = planned(served, source_id=source, measure=True).json()["estimate"]
    later = planned(served, source_id=source).json()["estimate"]

    assert {"seconds": "measured", "byte_count": "measured"} == measured["basis"] == later["basis"]
    assert measured["byte_count"] == later["byte_count"]
    assert 1 == len(pool.at_work)
    folder = sources_folder(served.service.settings.state_dir / "video" / "temp") / source
    assert {"source", "source.json"} >= {path.name for path in folder.iterdir() if path.is_file()}
    assert [] == list(folder.rglob("segment*"))


@pytest.mark.slow
def test_the_time_is_for_the_lanes_that_the_job_will_have(
    served: Served, pool: MeasuringPool, clip: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With measuring and without; pieces are made on one lane, whatever a job gets."""
    asked: list[int] = []

    def noting(*given: Any, lanes: int) -> Estimate:  # noqa: ANN401 - handed on
        asked.append(lanes)
        return estimate_of(*given, lanes=lanes)

    monkeypatch.setattr(planning, "estimate_of", noting)
    pool.gate.set()
    pool.lanes = 3
    source = source_in(served, clip)

    planned(served, source_id=source, measure=True).raise_for_status()
    planned(served, source_id=source).raise_for_status()

    assert [3, 3] == asked


def test_where_memory_does_not_suffice_the_plan_that_worked_is_told(
    served: Served, pool: MeasuringPool, clip: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The figures are of its precision, and not of the one that was tried first."""
    make = MeasuringPool.plan
    monkeypatch.setattr(
        MeasuringPool, "plan", lambda *given: replace(make(*given), precision="f32", lower_precisions=("bf16",))
    )
    measure = planning.measure_pieces

    def short(plan: Plan, *given: Any) -> tuple[Plan, Measured | None]:  # noqa: ANN401 - handed on
        return measure(plan.in_precision("bf16"), *given)

    monkeypatch.setattr(planning, "measure_pieces", short)
    pool.gate.set()

    told = planned(served, source_id=source_in(served, clip), measure=True).json()

    assert ("bf16", "bf16", "measured") == (
        told["precision"], told["plan"]["precision"], told["estimate"]["basis"]["byte_count"]
    )  # fmt: skip


@pytest.mark.slow
def test_one_caller_measures_at_a_time(served: Served, pool: MeasuringPool, clip: bytes) -> None:
    """The next one waits for it, so that they do not measure each other; plain plans go on beside them."""
    source = source_in(served, clip)
    for scale in (2, 4):
        planned(served, source_id=source, scale=scale)
    replies: list[int] = []

    def ask(scale: int) -> None:
        replies.append(planned(served, source_id=source, scale=scale, measure=True).status_code)

    callers = [threading.Thread(target=ask, args=(scale,)) for scale in (2, 4)]
    for one in callers:
        one.start()
    wait_until(lambda: bool(pool.at_work))
    plain = planned(served, source_id=source)
    begun = len(pool.at_work)
    pool.gate.set()
    for one in callers:
        one.join()

    assert (200, 1) == (plain.status_code, begun)
    assert [200, 200] == replies
    assert 2 == len(pool.at_work)


@pytest.mark.slow
def test_a_caller_that_hangs_up_stops_measuring(served: Served, pool: MeasuringPool, clip: bytes) -> None:
    """The lanes are free again, and the next caller is answered."""
    source = source_in(served, clip)
    body = f'{{"source_id": "{source}", "measure": true, "model": "lanczos", "codec": "h264"}}'
    head = f"POST /v1/plan HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {len(body)}"
    host, _, port = served.url.removeprefix("http://").partition(":")
    with socket.create_connection((host, int(port)), timeout=30) as connection:
        connection.sendall(f"{head}\r\n\r\n{body}".encode())
        wait_until(lambda: bool(pool.at_work))

    wait_until(lambda: pool.is_left)
    pool.gate.set()
    wait_until(lambda: served.service.planning._measuring.is_free)

    known = Calibration.in_folder(served.service.settings.state_dir).measured(next(iter(pool.plans.values())))
    assert known is None
    assert 200 == planned(served, source_id=source, measure=True).status_code


def measuring(served: Served, source: str, threads: ThreadPoolExecutor, key: str = "") -> Future[httpx.Response]:
    """Ask for a plan with pieces, and do not wait for it."""
    body = {**QUICK, "source_id": source, "measure": True}
    return threads.submit(served.client.post, "/v1/plan", json=body, headers={"X-API-Key": key} if key else {})


@pytest.mark.slow
def test_who_measures_takes_no_place_from_others(tmp_path: Path, pool: MeasuringPool, clip: bytes) -> None:
    """One key may wait with so many; another measures after it, and all plain plans are made at once."""
    settings = settings_in(tmp_path, api_keys=SecretStr(f"{ANNA},{BERT}"))
    with serving(VideoService(settings, pool)) as served, ThreadPoolExecutor(3) as threads:
        hers, his = (source_in(served, clip, **{"X-API-Key": key}) for key in (ANNA, BERT))
        plain = {**QUICK, "source_id": his}
        first = served.client.post("/v1/plan", json=plain, headers={"X-API-Key": BERT})
        served.client.post("/v1/plan", json={**QUICK, "source_id": hers}, headers={"X-API-Key": ANNA})
        turns = served.service.planning._measuring
        waiting = [measuring(served, hers, threads, ANNA) for _ in range(video_app.MOST_MEASURING_EACH)]
        wait_until(lambda: len(turns._waiting) == len(waiting) - 1 and bool(pool.at_work))
        refused = measuring(served, hers, threads, ANNA).result()
        other = measuring(served, his, threads, BERT)
        wait_until(lambda: len(turns._waiting) == len(waiting))
        second = served.client.post("/v1/plan", json=plain, headers={"X-API-Key": BERT})
        begun = len(pool.at_work)
        pool.gate.set()
        replies = [one.result().status_code for one in (*waiting, other)]

    assert (200, 200, 1) == (first.status_code, second.status_code, begun)
    assert (429, "rate_limited") == (refused.status_code, refused.json()["code"])
    assert refused.headers["retry-after"]
    assert [200, 200, 200] == replies


@pytest.mark.slow
def test_who_measures_while_jobs_keep_the_lanes_busy_is_answered_at_once(
    served: Served, pool: MeasuringPool, clip: bytes
) -> None:
    """Jobs may take hours: nobody waits for them, nothing is made, and the warning says why and what to do."""
    pool.gate.set()
    source, turns = source_in(served, clip), served.service._runner.turns
    with turns.taken(0, lambda: None):
        plan = planned(served, source_id=source, measure=True).json()
    later = planned(served, source_id=source, measure=True).json()

    assert "not_measured" == plan["warnings"][-1]["code"]
    assert "jobs keep the lanes busy; ask again when they are done" in plan["warnings"][-1]["detail"]
    assert "rough" == plan["estimate"]["basis"]["byte_count"]
    assert ("measured", 1) == (later["estimate"]["basis"]["byte_count"], len(pool.at_work))


@pytest.mark.slow
@pytest.mark.parametrize(("state", "basis"), [("ready", "measured"), ("busy", "rough")])
def test_pieces_are_made_beside_a_job_that_leaves_a_lane_idle(
    state: LaneState, basis: str, served: Served, pool: MeasuringPool, clip: bytes
) -> None:
    """A long job on a machine of two lanes keeps nobody from measuring, unless its segments fill both."""
    (lane,) = LOADED.lanes
    pool.said = replace(LOADED, lanes=(replace(lane, state="busy"), replace(lane, index=1, state=state)))
    pool.gate.set()
    source, turns = source_in(served, clip), served.service._runner.turns

    with turns.taken(0, lambda: None):
        plan = planned(served, source_id=source, measure=True).json()

    assert basis == plan["estimate"]["basis"]["byte_count"]


@pytest.mark.slow
def test_the_limit_of_measuring_includes_the_wait_for_others(
    served: Served, pool: MeasuringPool, clip: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever comes third does not wait three times as long."""
    source, now = source_in(served, clip), [0.0]
    monkeypatch.setattr(planning, "time", SimpleNamespace(monotonic=lambda: now[0]))
    with ThreadPoolExecutor(2) as threads:
        first = measuring(served, source, threads)
        wait_until(lambda: bool(pool.at_work))
        second = measuring(served, source, threads)
        wait_until(lambda: bool(served.service.planning._measuring._waiting))
        now[0] = planning.MOST_SECONDS
        told = second.result().json()
        is_first_at_work = not first.done()
        pool.gate.set()
        first.result().raise_for_status()

    assert is_first_at_work
    assert "not done within 120 seconds" in told["warnings"][-1]["detail"]


@pytest.mark.slow
def test_a_job_that_comes_ends_the_pieces_that_are_made(served: Served, pool: MeasuringPool, clip: bytes) -> None:
    """It has the lanes at the next frame, and not when the pieces are done; whoever measures is told so at once."""
    source, turns = source_in(served, clip), served.service._runner.turns
    with ThreadPoolExecutor(1) as threads:
        reply = measuring(served, source, threads)
        wait_until(lambda: pool.asked_to_stop is not None)
        before = pool.is_left
        with turns.taken(0, lambda: None):
            wait_until(lambda: pool.is_left)
            pool.gate.set()
            plan = reply.result().json()

    assert (False, 1) == (before, len(pool.at_work))
    assert "jobs keep the lanes busy" in plan["warnings"][-1]["detail"]
    assert "rough" == plan["estimate"]["basis"]["byte_count"]
    assert served.service.planning._measuring.is_free


@pytest.mark.slow
def test_pieces_that_take_too_long_are_given_up(
    served: Served, pool: MeasuringPool, clip: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The plan comes all the same, with what is known without them and a warning; the lanes are free again."""
    source, now = source_in(served, clip), [0.0]
    monkeypatch.setattr(planning, "time", SimpleNamespace(monotonic=lambda: now[0]))
    with ThreadPoolExecutor(1) as threads:
        reply = measuring(served, source, threads)
        wait_until(lambda: bool(pool.at_work))
        now[0] = planning.MOST_SECONDS
        pool.gate.set()
        plan = reply.result().json()

    assert "not_measured" == plan["warnings"][-1]["code"]
    assert "rough" == plan["estimate"]["basis"]["byte_count"]
    assert served.service.planning._measuring.is_free


@pytest.mark.slow
def test_a_source_may_go_while_it_is_measured(served: Served, pool: MeasuringPool, clip: bytes) -> None:
    """The pieces are made of a link of their own, and nothing of that stays."""
    source = source_in(served, clip)
    with ThreadPoolExecutor(1) as threads:
        reply = measuring(served, source, threads)
        wait_until(lambda: bool(pool.at_work))
        removed = served.client.delete(f"/v1/sources/{source}")
        pool.gate.set()
        measured = reply.result()

    assert (204, 200) == (removed.status_code, measured.status_code)
    assert "measured" == measured.json()["estimate"]["basis"]["byte_count"]
    assert [] == list(sources_folder(served.service.settings.state_dir / "video" / "temp").iterdir())


@pytest.mark.slow
def test_a_fault_of_a_piece_tells_no_path(served: Served, pool: MeasuringPool, clip: bytes) -> None:
    """Where our folders are is nobody's business outside."""
    folder = sources_folder(served.service.settings.state_dir / "video" / "temp")
    source = source_in(served, clip)
    planned(served, source_id=source)
    begin = pool.executor

    def failing(task: str | None, stop: Stop) -> Executor:
        (own,) = (path for path in folder.iterdir() if path.name != source)
        pool.fault = DiskFull(f"no space left for {own}/pieces/pieces-1/segment-00000.part.mkv: really")
        return begin(task, stop)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(MeasuringPool, "executor", lambda _pool, task, stop: failing(task, stop))
        reply = planned(served, source_id=source, measure=True)

    assert 507 == reply.status_code
    assert "no space left for the server's disk: really" == reply.json()["detail"]
    assert str(folder.parent) not in reply.text


@pytest.mark.slow
def test_plans_have_places(tmp_path: Path, clip: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """One more is answered with 429 and what to do."""
    monkeypatch.setattr(video_app, "MOST_PLANS", 0)
    with serving(VideoService(settings_in(tmp_path), MeasuringPool())) as served:
        refused = planned(served, source_id=source_in(served, clip))

    assert (429, "rate_limited") == (refused.status_code, refused.json()["code"])
    assert refused.headers["retry-after"]


@pytest.mark.parametrize(
    ("body", "refusal"),
    [
        ({}, (400, "bad_request", "field payload_url is missing; give it, or source_id")),
        ({"source_id": "a", "payload_url": "http://a/b"}, (400, "bad_request", "choose one")),
        ({"source_id": "0" * 32}, (404, "not_found", "there is no source")),
        ({"source_id": "{id}", "scale": 3}, (400, "bad_scale", "expected 2 or 4")),
        ({"source_id": "{id}", "model": "none"}, (400, "bad_request", "field model is")),
        ({"source_id": "{id}", "target": "20000x20000"}, (413, "too_many_pixels", "MAX_OUTPUT_SIDE")),
        ({"source_id": "{id}", "target": "64x48"}, (422, "nothing_to_upscale", "")),
        ({"source_id": "{id}", "measure": "yes"}, (400, "bad_request", "field measure")),
        ({"payload_url": "file:///etc/passwd"}, (400, "bad_scheme", "")),
    ],
)
def test_what_cannot_be_planned_is_told_by_name(
    served: Served, clip: bytes, body: dict[str, Any], refusal: tuple[int, str, str]
) -> None:
    """The same codes as a job's refusals and failures."""
    if body.get("source_id") == "{id}":
        body = {**body, "source_id": source_in(served, clip)}

    reply = planned(served, **body)

    status, code, text = refusal
    assert (status, code) == (reply.status_code, reply.json()["code"]), reply.text
    assert text in reply.json()["detail"]


@pytest.mark.slow
def test_a_fetched_source_that_cannot_be_planned_does_not_stay(served: Served, clip: bytes) -> None:
    """Nobody was told its name."""
    with BadSource(body=clip) as elsewhere:
        reply = planned(served, payload_url=elsewhere.url("ok"), target="64x48")

    assert 422 == reply.status_code
    assert [] == list(sources_folder(served.service.settings.state_dir / "video" / "temp").iterdir())


@pytest.mark.slow
def test_a_plan_is_made_of_own_sources_alone(tmp_path: Path, clip: bytes) -> None:
    """Another key's source is not there."""
    settings = settings_in(tmp_path, api_keys=SecretStr(f"{ANNA},{BERT}"))
    with serving(VideoService(settings, MeasuringPool())) as served:
        source = source_in(served, clip, **{"X-API-Key": ANNA})
        replies = [
            served.client.post("/v1/plan", json={**QUICK, "source_id": source}, headers=headers)
            for headers in ({"X-API-Key": BERT}, {"X-API-Key": ANNA}, {})
        ]

    assert [404, 200, 401] == [reply.status_code for reply in replies]
