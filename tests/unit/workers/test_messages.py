"""What crosses the pipe arrives as it was sent: errors of ours keep class, words and facts."""

from __future__ import annotations

import pickle

import pytest

from upscale_server import errors
from upscale_server.errors import OutputTooLarge, UpscaleError
from upscale_server.workers.messages import Answer

NAMED = [getattr(errors, name) for name in errors.__all__]


@pytest.mark.parametrize("kind", NAMED, ids=lambda kind: kind.__name__)
def test_errors_cross_the_pipe(kind: type[UpscaleError]) -> None:
    """An error that does not unpickle would end the job with another one."""
    sent = Answer(1, fault=kind("what happened", hint="what to do"))

    got = pickle.loads(pickle.dumps(sent)).fault  # noqa: S301 - our own bytes

    assert (kind, "what happened", "what to do") == (type(got), got.detail, got.hint)


def test_reached_size_crosses_the_pipe() -> None:
    """The next round is planned from it."""
    got = pickle.loads(pickle.dumps(OutputTooLarge.reached(2000, 1000)))  # noqa: S301 - our own bytes

    assert 2000 == got.reached_bytes
