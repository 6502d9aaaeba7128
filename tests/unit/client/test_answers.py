"""A server's error comes back as the class that made it, whatever stands between."""

from __future__ import annotations

import httpx
import pytest

from upscale_server import errors
from upscale_server.client.answers import answer_of, error_from, error_of
from upscale_server.errors import (
    DatabaseAway,
    QueueFull,
    ServerUnreachable,
    SourceError,
    SourceUnreachable,
    StorageError,
    UpscaleError,
)

REQUEST = httpx.Request("GET", "http://127.0.0.1:1/health")
KINDS = [
    kind
    for kind in vars(errors).values()
    if isinstance(kind, type) and issubclass(kind, UpscaleError) and kind is not errors.Interrupted
]


@pytest.mark.parametrize("kind", KINDS)
def test_every_error_survives_the_way_over_the_wire(kind: type[UpscaleError]) -> None:
    """Class, detail and hint are those that the server raised; which store was away, a caller is not told."""
    told = StorageError if issubclass(kind, DatabaseAway) else kind
    problem = kind("what happened", hint="what to do").as_record()

    found = error_of(httpx.Response(kind.http_status, json=problem, request=REQUEST))

    assert told is type(found)
    assert ("what happened", "what to do") == (found.detail, found.hint)


@pytest.mark.parametrize(("retryable", "kind"), [(False, SourceError), (True, SourceUnreachable)])
def test_of_two_errors_with_one_code_the_retryable_one_is_told_apart(
    *, retryable: bool, kind: type[UpscaleError]
) -> None:
    """`source_error` is worth a retry or not, and the caller learns which."""
    found = error_from({"code": "source_error", "detail": "x", "retryable": retryable})

    assert kind is type(found)


def test_a_code_of_a_newer_server_is_still_an_error_with_its_text() -> None:
    """An unknown code becomes the base class and keeps what it says."""
    found = error_from({"code": "moon_phase", "detail": "the moon is full", "retryable": False})

    assert UpscaleError is type(found)
    assert "the moon is full" == found.detail


def test_request_id_and_retry_after_reach_the_user() -> None:
    """What helps to find or repeat a request stands in the hint."""
    problem = QueueFull("100 jobs wait").as_record("7f")
    response = httpx.Response(429, json=problem, headers={"Retry-After": "12"}, request=REQUEST)

    found = error_of(response)

    assert "try again in 12 s; the server's log knows it as request 7f" == found.hint


@pytest.mark.parametrize(
    "response",
    [
        httpx.Response(502, text="<html>Bad Gateway</html>", request=REQUEST),
        httpx.Response(500, json=["no", "problem"], request=REQUEST),
        httpx.Response(200, text="<html>Welcome</html>", request=REQUEST),
    ],
)
def test_an_answer_that_is_not_ours_is_named_with_its_address_and_text(response: httpx.Response) -> None:
    """A proxy's page is neither taken for a result nor for a fault of ours."""
    with pytest.raises(
        ServerUnreachable, match=rf"http://127\.0\.0\.1:1 answered {response.status_code} with"
    ) as caught:
        answer_of(response)

    assert caught.value.hint


def test_an_answer_without_a_body_is_none() -> None:
    """A deletion answers 204."""
    assert answer_of(httpx.Response(204, request=REQUEST)) is None
