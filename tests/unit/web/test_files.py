"""Results are given in whole or in ranges, with the headers that browsers and players need."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.served import Served, finish_next
from upscale_server.web.files import span_of

CONTENT = bytes(range(256)) * 10_000  # more than one chunk
JOB = {"payload_url": "http://127.0.0.1/%22x%22%0Aclip%E2%82%AC.mp4", "scale": 2}


@pytest.fixture
def path(served: Served, tmp_path: Path) -> str:
    """Give the path of a finished job's result."""
    job_id = served.client.post("/v1/jobs", json=JOB).json()["id"]
    finish_next(served.service, tmp_path, CONTENT)
    return f"/v1/jobs/{job_id}/output"


def test_a_whole_file_comes_with_safe_headers(served: Served, path: str) -> None:
    """No sniffing, no running as a page, a name without quotes or line ends, and the whole content."""
    reply = served.client.get(path)

    assert (200, CONTENT) == (reply.status_code, reply.content)
    assert "nosniff" == reply.headers["x-content-type-options"]
    assert "sandbox" in reply.headers["content-security-policy"]
    assert "bytes" == reply.headers["accept-ranges"]
    assert "video/mp4" == reply.headers["content-type"]
    assert reply.headers["content-disposition"].startswith("attachment; ")
    assert '"x"' not in reply.headers["content-disposition"]


@pytest.mark.parametrize(
    ("asked", "status", "expected"),
    [
        ("bytes=0-9", 206, CONTENT[:10]),
        ("bytes=100-", 206, CONTENT[100:]),
        ("bytes=-7", 206, CONTENT[-7:]),
        ("bytes=2559999-9999999999", 206, CONTENT[-1:]),
        ("bytes=-99999999", 206, CONTENT),
        ("bytes=9-0", 200, CONTENT),
        ("bytes=0-1,5-6", 200, CONTENT),
        ("lines=1-2", 200, CONTENT),
        ("bytes=-", 200, CONTENT),
    ],
)
def test_one_range_is_given_and_nonsense_is_ignored(
    served: Served, path: str, asked: str, status: int, expected: bytes
) -> None:
    """RFC 9110: a range that cannot be read is as if it were not there."""
    reply = served.client.get(path, headers={"Range": asked})

    assert (status, len(expected)) == (reply.status_code, len(reply.content))
    assert expected == reply.content


@pytest.mark.parametrize("asked", ["bytes=2560000-", "bytes=-0"])
def test_a_range_outside_the_file_is_told_its_size(served: Served, path: str, asked: str) -> None:
    """416 with the size, in the shape of all failures."""
    reply = served.client.get(path, headers={"Range": asked})

    assert (416, f"bytes */{len(CONTENT)}") == (reply.status_code, reply.headers["content-range"])
    assert "range_not_satisfiable" == reply.json()["code"]


def test_conditions_are_honoured(served: Served, path: str) -> None:
    """A known file is not sent again; a range goes on only with the same file."""
    etag = served.client.get(path).headers["etag"]
    known = served.client.get(path, headers={"If-None-Match": etag})
    same = served.client.get(path, headers={"Range": "bytes=0-9", "If-Range": etag})
    other = served.client.get(path, headers={"Range": "bytes=0-9", "If-Range": '"another"'})

    assert (304, b"") == (known.status_code, known.content)
    assert (206, 200) == (same.status_code, other.status_code)


def test_head_tells_what_get_would_give(served: Served, path: str) -> None:
    """The same headers, no content, also for a signed link."""
    url = served.client.get(path.removesuffix("/output")).json()["result"]["url"]

    for address in (path, url):
        reply = served.client.head(address)
        assert (200, str(len(CONTENT)), b"") == (reply.status_code, reply.headers["content-length"], reply.content)
    part = served.client.head(path, headers={"Range": "bytes=0-9"})
    assert (206, "10") == (part.status_code, part.headers["content-length"])


def test_a_result_that_was_removed_is_gone(served: Served, path: str) -> None:
    """410 for the job's output and for a link that was good before."""
    job = served.client.get(path.removesuffix("/output")).json()
    served.service.results._objects.delete(f"results/{job['id']}.mp4")

    assert 410 == served.client.get(path).status_code
    assert 410 == served.client.get(job["result"]["url"]).status_code


@pytest.mark.parametrize("key", ["../../etc/passwd", "%2e%2e/%2e%2e/etc/passwd", "results/x.mp4", "results/..%2fx", ""])
def test_no_path_without_a_signature_gives_a_file(served: Served, key: str) -> None:
    """Refused before anything is looked for."""
    reply = served.client.get(f"/files/{key}")

    assert reply.status_code in (403, 404)


def test_a_job_without_result_has_no_output(served: Served) -> None:
    """404 for output and audit."""
    job_id = served.client.post("/v1/jobs", json=JOB).json()["id"]

    for end in ("output", "audit"):
        assert 404 == served.client.get(f"/v1/jobs/{job_id}/{end}").status_code


@given(first=st.integers(0, 40), last=st.integers(0, 40), total=st.integers(0, 30))
def test_a_span_never_leaves_the_file(first: int, last: int, total: int) -> None:
    """Whatever is asked, what is given is the part of it that exists."""
    span = span_of(f"bytes={first}-{last}", total)

    expected = list(range(total))[first : last + 1]
    assert (span is None) == (last < first)
    if span is not None:
        assert expected == list(range(span.start, span.start + span.count))
