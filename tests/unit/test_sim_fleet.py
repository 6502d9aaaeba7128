"""The simulated fleet does all work once, loses what it must, and agrees with what is reckoned by hand."""

from __future__ import annotations

import json
import math
import statistics
from collections import Counter
from pathlib import Path
from random import Random

import pytest

pytest.importorskip("simpy", reason="the extra [bench] is not installed: pip install 'upscale-server[bench]'")

from benchmarks import figures, fleet_jobs
from benchmarks.fleet import (
    ORDERS,
    Costs,
    Ended,
    Fleet,
    Job,
    Order,
    Simulation,
    Spent,
    in_turns,
    pieces_of,
)
from benchmarks.sim_fleet import (
    Run,
    Setting,
    _desks,
    _percentiles,
    _row,
    film_alone,
    is_short,
    percentile,
    pick,
    shortest,
)

PLAIN = Costs(work=1.0, each=0.0)
BAD_DAYS = Fleet(
    20, gpus_of_a_node=4, hours_between_failures=0.5, notice_seconds=10, return_seconds=30,
    slow_share=0.1, slow_times=2.0, jitter=0.2,
)  # fmt: skip


def some_jobs(seed: int = 0) -> list[Job]:
    """Return a few hundred mixed jobs for 14 busy GPUs."""
    return fleet_jobs.mixed_jobs(3600, 1.0, 14, seed, [0.5, 1.0, 1.5])


def mean_wait(gpus: int, jobs: list[Job]) -> float:
    """Return how long jobs take on average in a fleet without failures."""
    outcome = Simulation(Fleet(gpus), Costs(1.0, 0.5, 0.1), 10).run(jobs)
    return statistics.mean(one.finished for one in outcome.ended)


@pytest.mark.parametrize("order", ORDERS.values())
def test_every_segment_is_finished_exactly_once_whatever_dies(order: Order) -> None:
    """Nothing is lost with a node and nothing is done twice, in any order of the queue."""
    jobs = some_jobs()
    wanted = Counter((job.index, place) for job in jobs for place in range(len(pieces_of(job.seconds, 10))))

    outcome = Simulation(BAD_DAYS, Costs(1.0, 0.5, 0.1), 10, order, seed=3).run(jobs)

    assert wanted == outcome.times_done
    assert len(jobs) == len(outcome.ended)
    assert outcome.redone > 0


def test_without_failures_gpus_do_the_work_and_nothing_else() -> None:
    """The seconds of use are those of the videos, and no GPU works for more time than there is."""
    jobs = some_jobs()

    spent = Simulation(Fleet(20), PLAIN, 10).run(jobs).spent

    assert sum(job.seconds * job.hardness for job in jobs) == pytest.approx(spent.useful)
    assert (0.0, 0.0, 0.0) == (spent.overhead, spent.lost, spent.down)
    assert spent.stretched == pytest.approx(0.0, abs=1e-6)
    assert 0.0 < spent.utilisation <= 1.0
    assert spent.cost == pytest.approx(1.0)


def test_a_fleet_with_too_much_work_is_always_busy() -> None:
    """The bound is reached: where jobs never end, utilisation is one, with failures by what they take."""
    jobs = [Job(place, "film", 0.0, 3600) for place in range(40)]

    calm = Simulation(Fleet(20), Costs(1.0, 0.5), 10).run(jobs, since=600, until=3600).spent
    harsh = Simulation(BAD_DAYS, Costs(1.0, 0.5), 10).run(jobs, until=3600).spent

    assert calm.utilisation == pytest.approx(1.0, abs=0.005)  # the last segments may end beside the hour
    assert harsh.utilisation + harsh.down / harsh.capacity == pytest.approx(1.0, abs=0.005)
    assert harsh.lost > 0


def test_nothing_counts_before_it_is_time_to() -> None:
    """Of twenty seconds' work on one GPU the last five are counted."""
    spent = Simulation(Fleet(1), Costs(1.0, 0.0), 10).run([Job(0, "clip", 0.0, 20.0)], since=15.0).spent

    assert (5.0, 5.0) == (spent.useful, spent.capacity)


def test_deaths_before_counting_are_not_told() -> None:
    """What they made the fleet do again belongs to the time before."""
    jobs = [Job(place, "film", 0.0, 3600) for place in range(20)]

    whole, late = (Simulation(BAD_DAYS, PLAIN, 10).run(jobs, since) for since in (0.0, 3000.0))

    assert 0 < late.redone < whole.redone
    assert 0 < late.spent.lost < whole.spent.lost
    assert 0 < late.spent.down < whole.spent.down


def test_more_gpus_are_never_slower_on_average() -> None:
    """Twice the fleet finishes the same jobs no later, for several mixtures."""
    for seed in range(4):
        jobs = some_jobs(seed)

        waits = [mean_wait(gpus, jobs) for gpus in (10, 20, 40, 80)]

        assert sorted(waits, reverse=True) == waits


def test_tiny_fleet_agrees_with_what_is_reckoned_by_hand() -> None:
    """Two GPUs take 21 s for 10 of video each, one takes 11 s more for the last 5; then the desk takes 12.5 s."""
    outcome = Simulation(Fleet(2), Costs(work=2.0, each=1.0, finish=0.5), 10).run([Job(0, "clip", 3.0, 25.0)])

    assert [(32.0, 44.5)] == [(one.rendered, one.finished) for one in outcome.ended]
    assert 47.5 == outcome.makespan
    assert (50.0, 3.0, 95.0) == (outcome.spent.useful, outcome.spent.overhead, outcome.spent.capacity)
    assert outcome.spent.utilisation == pytest.approx(53 / 95)


def test_a_dead_node_costs_its_running_segments_and_the_time_until_it_is_back() -> None:
    """One GPU dies once at a moment that is known: what it was at is lost, and done again when another is ready."""
    chance = Random("0 node 0")
    first, second = (chance.expovariate(1 / 3600) for _ in range(2))
    seconds = math.ceil(first / 10) * 10 + 10
    fleet = Fleet(1, hours_between_failures=1, notice_seconds=5, return_seconds=7)
    assert second > 30, "another seed is needed: the node dies again before the end"

    outcome = Simulation(fleet, PLAIN, 10).run([Job(0, "film", 0.0, seconds)])

    assert 1 == outcome.redone
    assert outcome.spent.lost == pytest.approx(first % 10)
    assert outcome.spent.down == pytest.approx(12.0)
    assert outcome.makespan == pytest.approx(seconds + first % 10 + 12.0)


@pytest.mark.parametrize(("order", "rendered"), [("turns", 14.0), ("oldest", 104.0), ("largest", 104.0)])
def test_who_comes_first_decides_how_long_a_clip_waits_behind_a_film(order: str, rendered: float) -> None:
    """In turns it waits for one segment of the film; otherwise for all of them."""
    jobs = [Job(0, "film", 0.0, 100.0), Job(1, "clip", 1.0, 5.0)]

    ended = Simulation(Fleet(1), PLAIN, 10, ORDERS[order]).run(jobs).ended

    assert [rendered] == [one.rendered for one in ended if one.job.kind == "clip"]


def test_jobs_wait_for_a_desk_where_there_are_too_few() -> None:
    """Two jobs are rendered at the same moment; the second ends when the first was audited."""
    jobs = [Job(0, "clip", 0.0, 10.0), Job(1, "clip", 0.0, 10.0)]

    ended = Simulation(Fleet(2, desks=1), Costs(1.0, 0.0, finish=0.5), 10).run(jobs).ended

    assert [(10.0, 15.0), (10.0, 20.0)] == [(one.rendered, one.finished) for one in ended]


def test_slow_gpus_and_jitter_are_counted_apart_from_use() -> None:
    """Half of the GPUs take three times as long: the two in excess of each second are what it stretched."""
    fleet = Fleet(2, slow_share=0.5, slow_times=3.0)

    spent = Simulation(fleet, PLAIN, 10).run([Job(0, "clip", 0.0, 20.0)]).spent

    assert (20.0, 20.0) == (spent.useful, spent.stretched)


def test_one_seed_gives_one_history() -> None:
    """A figure in a document can be had again; another seed is another history."""
    found = [Simulation(BAD_DAYS, PLAIN, 10, in_turns, seed).run(some_jobs()).ended for seed in (5, 5, 6)]

    assert found[0] == found[1]
    assert found[0] != found[2]


@pytest.mark.parametrize(
    ("seconds", "pieces"), [(5, [5]), (10, [10]), (21, [10, 11]), (25, [10, 10, 5]), (12, [10, 2]), (11.9, [11.9])]
)
def test_a_short_rest_joins_the_segment_before(seconds: float, pieces: list[float]) -> None:
    """As where plans are cut."""
    assert pytest.approx(pieces) == pieces_of(seconds, 10)


def test_jobs_that_come_keep_as_many_gpus_busy_as_was_asked() -> None:
    """The load is what it is called, within what so few films scatter."""
    jobs = fleet_jobs.mixed_jobs(1_000_000, 2.0, 50, seed=1)

    busy = sum(job.seconds * 2.0 for job in jobs) / 1_000_000

    assert busy == pytest.approx(50, rel=0.05)


def test_the_shortest_length_that_costs_little_is_picked() -> None:
    """Starts and lost work count together; where no length is good, none is, and none of a fleet that is overloaded."""
    rows = [
        {"seconds": 2.0, "overhead": 0.01, "lost": 0.01, "overloaded": True},
        {"seconds": 5.0, "overhead": 0.06, "lost": 0.0, "overloaded": False},
        {"seconds": 10.0, "overhead": 0.03, "lost": 0.03, "overloaded": False},
        {"seconds": 20.0, "overhead": 0.02, "lost": 0.02, "overloaded": False},
        {"seconds": 60.0, "overhead": 0.01, "lost": 0.01, "overloaded": False},
    ]

    assert 20.0 == pick(rows)
    assert pick(rows[:3]) is None


def test_percentile_is_a_value_that_was_there() -> None:
    """Of a hundred values the 95th, of one the one."""
    assert (95, 99, 50) == tuple(percentile(range(1, 101), part) for part in (95, 99, 50))
    assert 7 == percentile([7], 99)


@pytest.fixture
def measured(tmp_path: Path) -> Path:
    """Give a folder of results with round figures."""
    segments = {
        "frames": 600, "part_of_a_usual_segment": {"wall": 0.01, "processor": 0.02},
        "lengths": {"10 s": {"segments": 2}}, "finish_large": {"frames_per_second": 12.0},
    }  # fmt: skip
    rows = [
        {"size": "50x50 to 100x100", "frames": 10, "actual": {"seconds": seconds, "byte_count": 1250}}
        for seconds in (1.0, 3.0)
    ]
    (tmp_path / "segments.json").write_text(json.dumps(segments), encoding="utf-8")
    (tmp_path / "estimate.json").write_text(json.dumps({"rows": rows}), encoding="utf-8")
    return tmp_path


def test_costs_come_from_what_was_measured(measured: Path) -> None:
    """A start of three or six frames, and three requests; a desk that takes two seconds for one of video."""
    costs = fleet_jobs.costs(12.0, folder=measured)

    assert (2.0, 2.0) == (costs.work, costs.finish)
    assert costs.each == pytest.approx(3 / 12 + 0.45)
    assert fleet_jobs.costs(12.0, "processor", 0, measured).each == pytest.approx(6 / 12)
    assert [0.5, 1.5] == figures.hardness(measured)
    assert 0.1 == figures.bits_per_pixel(measured).value


def test_a_gpu_that_was_measured_counts_and_is_said_to_be(measured: Path) -> None:
    """Without such a file every pace is marked as what it is: documented, or asked for."""
    before = {name: one.kind for name, one in figures.paces(measured).items()}
    (measured / "gpu.json").write_text(json.dumps({"frames_per_second": {"file_to_file": 55.0}}), encoding="utf-8")

    after = figures.paces(measured)

    assert {"documented": "documented", "asked": "assumed"} == before
    assert (55.0, "measured") == (after["measured"].value, after["measured"].kind)


def test_jobs_that_come_after_the_counted_ones_keep_the_fleet_full() -> None:
    """A film that is counted shares the GPU with clips that come later, and nobody waits for those."""
    film, clips = Job(0, "film", 0.0, 100.0), [Job(place, "clip", 10.0 * place, 5.0) for place in range(1, 90)]

    alone = Simulation(Fleet(1), PLAIN, 10).run([film], until=1.0)
    among = Simulation(Fleet(1), PLAIN, 10).run([film, *clips], until=1.0)

    assert [100.0] == [one.rendered for one in alone.ended]
    assert 0 in [one.job.index for one in among.ended]
    assert among.ended[-1].rendered > 150.0
    assert len(among.ended) < 89


def test_a_setting_counts_the_jobs_of_the_middle(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of jobs that come every ten seconds those of the middle 60 s of 100, and what they ask for by hand."""
    all_jobs = [Job(place, "clip", 10.0 * place, 8.0, 1.5) for place in range(10)]
    monkeypatch.setattr(fleet_jobs, "mixed_jobs", lambda *_: all_jobs)
    setting = Setting(jobs=6, seeds=1, load=0.5, hard=[1.0])
    monkeypatch.setattr(fleet_jobs, "seconds_between_jobs", lambda *_: 10.0)

    run = setting.run(Fleet(2), PLAIN, 10.0, "turns", 0)

    assert [2, 3, 4, 5, 6, 7] == sorted(one.job.index for one in run.ended)
    assert run.load == pytest.approx(6 * 8.0 * 1.5 / (2 * 60))
    assert run.spent.capacity == pytest.approx(120.0)


@pytest.mark.slow
def test_every_seed_is_a_history_of_its_own() -> None:
    """Simulated side by side, and the same as one after the other."""
    setting = Setting(jobs=60, seeds=2, load=0.7, hard=[1.0])

    found = setting.runs(Fleet(10), Costs(2.0, 0.5, 0.1), 10.0)

    assert [setting.run(Fleet(10), Costs(2.0, 0.5, 0.1), 10.0, "turns", seed) for seed in (0, 1)] == found
    assert found[0] != found[1]


def history(load: float = 0.5, **spent: float) -> Run:
    """Return one of 1 000 GPU seconds, with two jobs."""
    ended = (Ended(Job(0, "clip", 0.0, 5.0), 7.0, 8.0), Ended(Job(1, "clip", 9.0, 5.0), 5.0, 8.0))
    return Run(load, Spent(**{"useful": 500.0, "capacity": 1000.0, **spent}), 4, ended)


@pytest.mark.parametrize(
    ("run", "is_overloaded"),
    [
        (history(0.9), False),
        (history(0.9, overhead=60.0), True),  # nine tenths of useful work take a little more than all GPUs
        (history(0.9, down=110.0), True),
        (history(0.9, overhead=40.0, down=10.0), False),
    ],
)
def test_a_fleet_that_can_never_do_its_work_is_overloaded(run: Run, *, is_overloaded: bool) -> None:
    """One history is enough: its waiting times say how long it was watched."""
    rows = _row([history(0.1), run, history(0.1)], seconds=10.0)

    assert is_overloaded is run.is_overloaded is rows["overloaded"]


def test_a_row_tells_of_all_seeds_together() -> None:
    """Parts are medians; of few jobs no 99th of a hundred is told."""
    row = _row([history(0.5), history(0.7)], order="turns")

    assert {"p50": 5.0, "p95": 7.0} == row["clip_rendered"]
    assert ({}, 8, 0.6, "turns") == (row["film_rendered"], row["redone"], row["load"], row["order"])


def test_the_99th_of_a_hundred_has_ten_above_it() -> None:
    """Of 1 000 values the 990th, of 999 none."""
    assert {"p50": 500, "p95": 950, "p99": 990} == _percentiles(range(1, 1001))
    assert ["p50", "p95"] == list(_percentiles(range(999)))


def test_too_few_desks_are_said_to_be_too_few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fourteen are always at work: seven GPUs' work is 3.5 s of video a second, each of which takes a desk four."""
    monkeypatch.setattr(Setting, "runs", lambda *_: [history()])

    rows = _desks(Setting(jobs=10, seeds=1, load=0.7, hard=[1.0]), Fleet(10), Costs(2.0, 0.0, finish=4.0))

    assert [(12, True), (16, False), (21, False), (None, False)] == [(row["desks"], row["overloaded"]) for row in rows]


def test_one_film_alone_fills_no_large_fleet() -> None:
    """Ten GPUs work on it nearly all the time; a thousand wait for the longest segment."""
    rows = {(row["gpus"], row["seconds"]): row["efficiency"] for row in film_alone(PLAIN)}

    assert rows[10, 10.0] > 0.9
    assert 0.01 < rows[1000, 300.0] < 7200 / 1000 / 300


def test_shortest_lengths_are_reckoned_for_each_guess() -> None:
    """A start that takes a twentieth of a segment's work, with and without waiting for the store."""
    for row in shortest():
        work = fleet_jobs.costs(figures.paces()[row["pace"]].value).work

        assert row["start_seconds"] / (row["hidden"] * work) == pytest.approx(0.05, rel=0.02)
        assert row["stored"] - row["hidden"] == pytest.approx(0.45 / 0.05 / work, abs=0.11)


@pytest.mark.parametrize(("picked", "held"), [(30.0, True), (60.0, False), (None, False)])
def test_the_bound_is_half_a_minute(picked: float | None, *, held: bool) -> None:
    """Where no length will do, it is not held either."""
    assert held is is_short(picked)
