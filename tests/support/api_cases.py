"""Requests made from a server's own description of itself, right and wrong ones, and what it answers to each.

Made by schemathesis, sent by ourselves: an answer that never ends (events) is read no further than its head.
"""

from __future__ import annotations

from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Unsatisfiable

LIMIT_SECONDS = 60
_MODES = (schemathesis.GenerationMode.POSITIVE, schemathesis.GenerationMode.NEGATIVE)


@dataclass
class Answers:
    """How many requests were sent, with which statuses they came back, and those that a server must never answer."""

    sent: int = 0
    statuses: Counter[int] = field(default_factory=Counter)
    broken: list[str] = field(default_factory=list)


def attack(url: str, count: int) -> Answers:
    """Send at least so many requests, the same ones each time, spread evenly over the operations."""
    answers = Answers()
    with requests.Session() as session:
        session.trust_env = False
        description = session.get(f"{url}/openapi.json", timeout=LIMIT_SECONDS).json()
        operations = [found.ok() for found in schemathesis.openapi.from_dict(description).get_all_operations()]
        # What a path holds is a text of any kind, and no text is no text: only queries and bodies can be wrong.
        parts = [(one, mode) for one in operations for mode in _MODES if mode is _MODES[0] or one.query or one.body]
        for place, (operation, mode) in enumerate(parts):
            each = -(-(count - answers.sent) // (len(parts) - place))
            _attack_one(operation, mode, each, lambda case: _send(session, url, case, answers))
        # A route without a parameter has one request; what that leaves is made up for where there is most to get wrong.
        while answers.sent < count:
            _attack_one(
                largest(operations), _MODES[1], count - answers.sent, lambda case: _send(session, url, case, answers)
            )
    return answers


def largest(operations: list[Any]) -> Any:  # noqa: ANN401 - schemathesis' own kinds
    """Return the operation whose description is longest."""
    return max(operations, key=lambda one: len(str(one.definition.raw)))


def _attack_one(operation: Any, mode: Any, count: int, send: Any) -> None:  # noqa: ANN401 - schemathesis' own kinds
    if count <= 0:
        return

    @settings(
        max_examples=count, database=None, derandomize=True, deadline=None, phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(case=operation.as_strategy(generation_mode=mode))
    def one(case: Any) -> None:  # noqa: ANN401 - as above
        send(case)

    with suppress(Unsatisfiable):  # a route without a parameter cannot be asked wrongly
        one()


def _send(session: requests.Session, url: str, case: Any, answers: Answers) -> None:  # noqa: ANN401 - as above
    given_ = case.as_transport_kwargs(base_url=url)
    try:
        with session.request(**given_, stream=True, timeout=LIMIT_SECONDS) as reply:
            status, kind = reply.status_code, reply.headers.get("content-type", "")
            text = "" if kind.startswith("text/event-stream") else reply.text[:500]
    except (requests.exceptions.InvalidHeader, UnicodeError, requests.exceptions.InvalidURL):
        return  # no client can send it
    answers.sent += 1
    answers.statuses[status] += 1
    if status >= 500:
        answers.broken.append(f"{case.method} {case.formatted_path} {case.query} {case.body!r:.300} -> {status} {text}")
