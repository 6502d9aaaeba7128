"""Turns a server's answer back into what it was: a JSON value, or the error of ours that its `code` names.

It opens no connection.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import httpx

from upscale_server.errors import ServerUnreachable, UpscaleError

_LONGEST_FOREIGN_TEXT = 200
"""Characters of an answer that is not ours, such as a proxy's page, that go into an error."""


def answer_of(response: httpx.Response) -> Any:  # noqa: ANN401 - any JSON value
    """Return the JSON value of a good answer.

    Raises:
        UpscaleError: of the class that the answer's `code` names; ServerUnreachable where a proxy answered.
    """
    if not response.is_success:
        raise error_of(response)
    try:
        return response.json() if response.content else None
    except ValueError as err:
        raise ServerUnreachable(
            f"{_origin(response)} answered {response.status_code} with {_excerpt(response)!r}, which is not JSON",
            hint="something else than an upscale server may be listening there",
        ) from err


def error_of(response: httpx.Response) -> UpscaleError:
    """Return the error that an answer of status 4xx or 5xx stands for; its body must have been read."""
    problem = _problem(response)
    if "code" in problem:
        return error_from(problem, retry_after=response.headers.get("retry-after"))
    return ServerUnreachable(
        f"{_origin(response)} answered {response.status_code} with {_excerpt(response)!r}",
        hint="something else than an upscale server, or a proxy before it, answered",
    )


def error_from(problem: Mapping[str, Any], *, retry_after: str | None = None) -> UpscaleError:
    """Return the error that a problem object stands for: an answer's body, or the fault of a failed job."""
    kind = _KINDS.get((problem["code"], bool(problem.get("retryable")))) or _BY_CODE.get(problem["code"], UpscaleError)
    hints = [str(problem["hint"])] if problem.get("hint") else []
    if retry_after:
        hints.append(f"try again in {retry_after} s")
    if problem.get("request_id"):
        hints.append(f"the server's log knows it as request {problem['request_id']}")
    detail = str(problem.get("detail") or problem.get("title") or problem["code"])
    return kind(detail, hint="; ".join(hints) or None)


def _problem(response: httpx.Response) -> Mapping[str, Any]:
    try:
        body = response.json()
    except ValueError:
        return {}
    return body if isinstance(body, dict) else {}


def _origin(response: httpx.Response) -> str:
    return f"{response.url.scheme}://{response.url.netloc.decode('ascii', 'replace')}"


def _excerpt(response: httpx.Response) -> str:
    return " ".join(response.text.split())[:_LONGEST_FOREIGN_TEXT]


def _all_kinds(base: type[UpscaleError]) -> Iterator[type[UpscaleError]]:
    yield base
    for kind in base.__subclasses__():
        yield from _all_kinds(kind)


# Two classes may share a code and differ in whether trying again can help (`source_error`); the first with a code is
# its parent and stands for the code alone.
_KINDS = {(kind.code, kind.retryable): kind for kind in reversed(list(_all_kinds(UpscaleError)))}
_BY_CODE = {kind.code: kind for kind in reversed(list(_all_kinds(UpscaleError)))}
