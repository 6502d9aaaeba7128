"""States and what is stored of them: values alone."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from upscale_server.errors import Conflict
from upscale_server.jobs.codec import asked_from, digest_of_asked, outcome_from, progress_from, to_record
from upscale_server.jobs.job import FINISHED, FOLLOWS, Asked, Outcome, Progress, Source, check_step

ASKED = Asked(Source("url", "https://example.org/ä?b=c"), scale=4, crf=0, deadline=12.5, profile="subnet")


def test_every_state_leads_somewhere_or_is_the_good_end() -> None:
    """Nothing is stuck, and no state follows that does not exist."""
    assert {"succeeded"} == {state for state, following in FOLLOWS.items() if not following}
    assert set(FOLLOWS) >= set().union(*FOLLOWS.values())
    assert all(FOLLOWS[state] <= {"queued"} for state in FINISHED)


def test_impossible_step_names_both_states() -> None:
    """The answer tells what the job is and what it cannot become."""
    with pytest.raises(Conflict, match=r"job x is succeeded; it cannot become running"):
        check_step("x", "succeeded", "running")


def test_values_come_back_from_json() -> None:
    """Stored and read again, nothing has changed."""
    outcome = Outcome("k", 2**40, 1.5, audit={"ok": True}, report={"a": [1, None]})
    progress = Progress("audit", 3, 4, 1.5, None, 2)

    assert ASKED == asked_from(json.loads(json.dumps(to_record(ASKED))))
    assert outcome == outcome_from(json.loads(json.dumps(to_record(outcome))))
    assert progress == progress_from(json.loads(json.dumps(to_record(progress))))


def test_record_of_another_release_is_read() -> None:
    """A field that did not exist yet has its default, one that is gone is left out."""
    record = to_record(ASKED)
    del record["profile"]

    assert "general" == asked_from({**record, "forgotten": 1}).profile


def test_digest_tells_wishes_apart_but_not_moments() -> None:
    """Two requests for the same thing are the same, whenever they came."""
    assert digest_of_asked(ASKED) == digest_of_asked(replace(ASKED, deadline=99.0))
    assert digest_of_asked(ASKED) != digest_of_asked(replace(ASKED, scale=2))
    assert digest_of_asked(ASKED) != digest_of_asked(replace(ASKED, source=Source("file", ASKED.source.location)))
