"""Every fault has the same shape and the documented numbers."""

from __future__ import annotations

import pytest

from upscale_server import errors
from upscale_server.errors import UpscaleError

FIELDS = ["type", "title", "status", "detail", "code", "retryable", "request_id", "hint"]
KINDS = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, UpscaleError)]


@pytest.mark.parametrize("kind", KINDS)
def test_a_fault_is_a_problem_object(kind: type[UpscaleError]) -> None:
    """All eight documented fields are there, in their order, and the code is part of the type."""
    record = kind("what happened", hint="what to do").as_record("42")

    assert FIELDS == list(record)
    assert str(record["type"]).endswith(f":{kind.code}")
    assert ("what happened", "what to do", "42") == (record["detail"], record["hint"], record["request_id"])


@pytest.mark.parametrize("kind", KINDS)
def test_the_table_at_the_top_tells_the_truth(kind: type[UpscaleError]) -> None:
    """Code, status and exit code stand in the module's drawing as the class has them."""
    drawing = errors.__doc__ or ""
    line = next(row for row in drawing.splitlines() if kind.__name__ in row.split())

    assert kind.code in line.split()
    numbers = [int(word) for word in line.split() if word.isdigit()]
    if "–" in line:
        assert [kind.exit_code] == numbers
    else:  # what a row leaves out is its parent's
        assert numbers in ([], [kind.http_status], [kind.http_status, kind.exit_code])
