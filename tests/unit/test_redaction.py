"""Whatever a library or a stranger puts into a message, a secret in a usual form does not get out."""

from __future__ import annotations

import pytest

from upscale_server.logs import configure, get_logger
from upscale_server.redaction import redacted, redacted_in

CANARY = "Can4ryVa1ue"


@pytest.mark.parametrize(
    "text",
    [
        f"https://host/in.mp4?X-Amz-Signature={CANARY}",
        f"HTTPS://host/in.mp4?{CANARY}",
        f"fetching 'https://host/a?x=1&token={CANARY}': refused",
        f"https://user:{CANARY}@host/in.mp4",
        f"https://{CANARY}@host",
        f"https://host/a#{CANARY}",
        f"GET /files/results/a.mp4?expires=1&signature={CANARY} HTTP/1.1",
        f"postgresql://me:{CANARY}@db/jobs",
        f"Authorization: Bearer {CANARY}",
        f"{{'authorization': 'Basic {CANARY}'}}",
        f'{{"X-API-Key": "{CANARY}"}}',
        f"Cookie: session={CANARY}",
        f"aws_secret_access_key={CANARY}",
        f"password: {CANARY}",
        f"session_token='{CANARY}'",
    ],
)
def test_a_secret_in_a_usual_form_is_taken_out(text: str) -> None:
    """The forms in which secrets travel; the rest of the line stays readable."""
    assert CANARY not in redacted(text)
    assert "…" in redacted(text)


@pytest.mark.parametrize(
    "text",
    [
        "source is 9000x5000 (45.0 MP); the limit is 33.2 MP, see UPSCALE_LIMITS__MAX_PIXELS",
        "http://127.0.0.1:29115",
        "there is no job 'x'; what now?",
        "key_id=0123456789abcdef",
        "the URL holds a user name or password",
        "job 12 of 30: 40 % done, eta=3",
    ],
)
def test_what_is_no_secret_stays_as_it_is(text: str) -> None:
    """Messages of ours keep every number and name."""
    assert text == redacted(text)


def test_values_inside_values_are_looked_at() -> None:
    """Lists, mappings and errors; numbers stay numbers."""
    hidden = redacted_in({"a": [1, f"https://h/?{CANARY}", (ValueError(f"token={CANARY}"),)], "b": 2.5, "c": None})

    assert CANARY not in str(hidden)
    assert (1, 2.5, None) == (hidden["a"][0], hidden["b"], hidden["c"])


@pytest.mark.parametrize("is_guarded", [True, False])
def test_no_line_of_the_log_holds_a_secret(
    is_guarded: bool,  # noqa: FBT001 - a case of the test
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """An event's facts and the trace of an error; without the guard the same line holds both secrets."""
    if not is_guarded:
        monkeypatch.setattr("upscale_server.logs.redacted_in", lambda value: value)
    configure("info", "console")
    try:
        int(f"https://host/a?sig={CANARY}")
    except ValueError:
        get_logger().exception("went_wrong", detail=f"Authorization: Bearer {CANARY}")

    said = capsys.readouterr().err
    assert "went_wrong" in said
    assert (0 if is_guarded else 2) == said.count(CANARY)


@pytest.mark.slow
@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    "part", ["x", "http://", "http://h?", "x-amz-", "token=", "secret-", "://a", "?a", " ", "?a= "]
)
@pytest.mark.parametrize("head", ["", "?", "token", "http://"])
def test_a_long_text_is_read_once(head: str, part: str) -> None:
    """A stranger's text keeps nobody waiting: a pattern that began anew at each letter would need an hour for these."""
    redacted(head + part * (300_000 // len(part)))
