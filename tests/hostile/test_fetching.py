"""Strangers' addresses: no form of one leads the server where it must not go, and no source holds it up.

Everything goes through the HTTP API of a server whose fetching, runner and database are real. What is dialled is
counted twice: by a canary that listens where nobody may come, and by a list of every connection that is begun.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from tests.support.canary import ALLOWED, Canary, Dials, watched_dials
from tests.support.fetch_served import HASTY_SECONDS, Attacked, attacked, fetch_settings, leftovers, padded_clip
from tests.support.hostile import Amount
from tests.support.killing import wait_until
from tests.support.raw_server import Asked, RawServer, head
from tests.support.source_forms import MORE, MORE_SLOW, PLAIN, SLOW, TAKEN, path_of
from tests.support.strange_hosts import HOSTS, REBINDING, TURNED, attempts, hostile_names
from tests.support.worse_source import WorseSource, make_bombs
from upscale_server.server_settings import Fetch

pytestmark = pytest.mark.timeout(3600)  # the long form on a busy machine
Report = Callable[[str, dict[str, object]], None]

REFUSED = ("bad_url", "source_forbidden", "forbidden")
"""Answers to an address that must not be reached; a webhook's is `forbidden`, because nothing is a source there."""
AT_ONCE = 6
"""Sources at the same time: fewer than the server has places."""
ONLY_HERE = ("127.0.0.1/32",)
PATIENT = Fetch(allowed_networks=ONLY_HERE, max_bytes=4 << 20, idle_seconds=60.0, total_seconds=300.0)
HASTY = Fetch(allowed_networks=ONLY_HERE, max_bytes=4 << 20, idle_seconds=1.0, total_seconds=3.0)
"""Far apart, so that no outcome depends on the machine: who must not run into a limit of time has minutes."""
LONGEST_SECONDS = AT_ONCE * HASTY.total_seconds + 30.0
"""For a source that ends by a hasty limit: one after the other at the worst, and half a minute for a busy machine."""


class Honest(RawServer):
    """An allowed server: sends on where it is told to, or to its own name again, and has no file."""

    def _go(self, asked: Asked) -> Iterator[bytes]:
        yield head(302, location=f"http://{asked.headers['host']}/go", content_length=0)

    def _redirect(self, asked: Asked) -> Iterator[bytes]:
        yield head(302, location=asked.query["to"], content_length=0)


@dataclass(frozen=True, slots=True)
class Trap:
    """A server to send astray, the canary, and the allowed server on the canary's port."""

    attacked: Attacked
    canary: Canary
    honest: Honest
    dials: Dials

    def outcome(self, door: str, way: str, place: int) -> str:
        """Send the server to a host by a road and return the code that this ends with."""
        url = self.url(door, way, place)
        if door == "source":
            return self.attacked.fetched(url)[1]
        if door == "preview":
            return self._previewed(url)
        if door == "webhook":
            return self._told(url)
        job_id, code = self.attacked.job(url)
        return code or str(self.attacked.ended(job_id)["fault"]["code"])

    def url(self, door: str, way: str, place: int) -> str:
        """Return the address that is handed in."""
        if way == "rebinding":
            first = TURNED if door == "webhook" else REBINDING  # a message is sent in one go
            return f"http://{first}-{place}-{door}.test:{self.canary.port}/go"
        url = f"http://{HOSTS[place]}:{self.canary.port}/go"
        return self.honest_url(f"redirect?to={quote(url, safe='')}") if way == "redirect" else url

    def honest_url(self, path: str) -> str:
        """Return an address of the allowed server."""
        return f"http://{ALLOWED}:{self.canary.port}/{path}"

    def _previewed(self, url: str) -> str:
        client = self.attacked.served.client
        answer = client.post("/v1/previews", json={"payload_url": url, "scale": 2, "models": ["lanczos"]})
        if answer.status_code != 202:
            return str(answer.json()["code"])
        place = answer.headers["location"]
        wait_until(lambda: client.get(place).json()["state"] == "failed")
        code = str(client.get(place).json()["fault"]["code"])
        client.delete(place).raise_for_status()
        return code

    def _told(self, url: str) -> str:
        job_id, code = self.attacked.job(self.honest_url("missing"), webhook_url=url)
        if code:
            return code
        client = self.attacked.served.client
        self.attacked.ended(job_id)
        wait_until(lambda: client.get(f"/v1/jobs/{job_id}").json()["webhook"]["attempts"] > 0)
        wait_until(lambda: client.get(f"/v1/jobs/{job_id}").json()["webhook"]["last_error"] is not None)
        error = client.get(f"/v1/jobs/{job_id}").json()["webhook"]["last_error"]
        assert "private or reserved" in error or "answered with status 302" in error, error
        return "forbidden"


@contextmanager
def trap_in(folder: Path, fetch: Fetch) -> Iterator[Trap]:
    """Start a server, a canary, and an allowed server."""
    with ExitStack() as stack:
        canary = stack.enter_context(Canary())
        honest = stack.enter_context(Honest(address=(ALLOWED, canary.port)))
        stack.enter_context(hostile_names())
        dials = stack.enter_context(watched_dials())
        server = stack.enter_context(attacked(fetch_settings(folder, fetch)))
        yield Trap(server, canary, honest, dials)


def test_no_address_leads_outside_the_allowed_set(amount: Amount, length: str, report: Report, tmp_path: Path) -> None:
    """55 forms of host by six roads (long: twelve): each is refused, and nobody but the allowed server is dialled."""
    roads = attempts(thorough=length == "long")[:: amount(3, 1, 1)]

    with trap_in(tmp_path, Fetch(allowed_networks=(f"{ALLOWED}/32",), attempts=1)) as trap:
        with ThreadPoolExecutor(AT_ONCE) as threads:
            codes = list(threads.map(lambda road: trap.outcome(*road), roads))
        visits, dialled, abroad = trap.canary.visits, trap.dials.to(trap.canary.port), trap.dials.abroad

    report(
        "ssrf",
        {
            "attempts": len(roads),
            "hosts": len(HOSTS),
            "canary_visits": visits,
            "dialled_abroad": sorted(abroad),
            "dialled": sorted(dialled),
            "allowed_server_asked": len(trap.honest.asked),
            "codes": dict(Counter(codes)),
        },
    )
    assert [] == [(road, code) for road, code in zip(roads, codes, strict=True) if code not in REFUSED]
    assert 0 == visits
    assert set() == abroad
    assert {ALLOWED} == dialled
    assert trap.honest.asked, "the roads that lead over an allowed server were not taken"


def test_the_canary_sings_where_it_may_be_reached(tmp_path: Path) -> None:
    """The control: with its network allowed every door leads to the canary; messages alone follow no redirect."""
    doors = ("source", "preview", "job")
    networks = ("127.0.0.0/8", "::1/128", "::/128")
    with trap_in(tmp_path, Fetch(allowed_networks=networks, attempts=1)) as trap:
        codes = [trap.outcome(door, way, 0) for door in doors for way in ("direct", "redirect")]
        visits = trap.canary.visits
        trap.attacked.job(trap.honest_url("missing"), webhook_url=trap.url("webhook", "direct", 0))
        wait_until(lambda: trap.canary.visits > visits)

    assert not set(codes) & set(REFUSED)
    assert 6 == visits


METADATA = "http://169.254.169.254/latest/meta-data/"
DOORS = {
    ("/upscale-video", "payload_url"): {"task_type": "SD2HD"},
    ("/upscale", "video_path"): {"scale": 2, "task_id": "a"},
    ("/upscale", "video_paths"): {"scale": 2, "task_id": "a"},
    ("/v1/jobs", "payload_url"): {"scale": 2},
    ("/v1/jobs", "webhook_url"): {"scale": 2, "payload_url": "https://example.org/video.mp4"},
    ("/v1/plan", "payload_url"): {"scale": 2},
    ("/v1/plan", "webhook_url"): {"scale": 2, "payload_url": "https://example.org/video.mp4"},
    ("/v1/previews", "payload_url"): {"scale": 2},
    ("/v1/previews", "webhook_url"): {"scale": 2, "payload_url": "https://example.org/video.mp4"},
    ("/v1/sources", "payload_url"): {},
}
"""Every field that takes an address, with what has to stand beside it."""
UNDESCRIBED = {("/upscale", "video_path")}
"""Taken from older callers, and in no description."""


def test_every_field_that_takes_an_address_refuses_a_forbidden_one(tmp_path: Path) -> None:
    """The list is held against the API's own description, so that no further door is forgotten."""
    with watched_dials() as dials, attacked(fetch_settings(tmp_path, Fetch())) as server:
        client = server.served.client
        described = addresses_in(client.get("/openapi.json").json())
        told = {
            (path, field): client.post(path, json={**beside, field: [METADATA] if field.endswith("s") else METADATA})
            for (path, field), beside in DOORS.items()
        }

    assert set(DOORS) - UNDESCRIBED == described
    assert set() == dials.abroad
    refused = {place: answer.status_code for place, answer in told.items() if place[0] != "/upscale"}
    assert {place: 400 if place == ("/v1/previews", "webhook_url") else 403 for place in refused} == refused
    items = [answer.json() for (path, _), answer in told.items() if path == "/upscale"]
    assert [(False, True), (False, True)] == [(one["success"], "private" in one["errors"][0]) for one in items]


def addresses_in(described: dict[str, Any]) -> set[tuple[str, str]]:
    """Return path and field of everything in a request's body that is called an address or a path."""
    shapes = described["components"]["schemas"]
    found = set()
    for path, methods in described["paths"].items():
        for method in methods.values():
            content = method.get("requestBody", {}).get("content", {}).get("application/json", {})
            shape = content.get("schema", {})
            shape = shapes[shape["$ref"].rsplit("/", 1)[1]] if "$ref" in shape else shape
            found |= {(path, name) for name in shape.get("properties", {}) if name.startswith(("video_path",))}
            found |= {(path, name) for name in shape.get("properties", {}) if name.endswith(("_url", "_uri"))}
    return found


@dataclass(frozen=True, slots=True)
class Forms:
    """A server and two sources that misbehave, for one set of limits."""

    server: Attacked
    source: WorseSource
    other: WorseSource

    def all_at(self, door: str, forms: Mapping[str, str]) -> Iterator[tuple[str, str, float]]:
        """Ask for every form at a door, some at a time; yield the form, its code and the seconds that it took."""

        def one(form: str) -> tuple[str, str, float]:
            began = time.monotonic()
            code = self._code(door, self.source.url(path_of(form, self.other.port)))
            return form, code, round(time.monotonic() - began, 2)

        self.source.failed.clear()  # those that fail a number of times begin anew
        with ThreadPoolExecutor(AT_ONCE) as threads:
            yield from threads.map(one, forms)

    def _code(self, door: str, url: str) -> str:
        if door == "source":
            return self.server.fetched(url)[1]
        job_id, code = self.server.job(url)
        if code:
            return code
        ended = self.server.ended(job_id)
        return TAKEN if ended["state"] == "succeeded" else str(ended["fault"]["code"])


def test_a_misbehaving_source_ends_with_its_code_and_leaves_nothing(
    length: str, report: Report, tmp_path: Path
) -> None:
    """53 forms and 24 more: each one's code, in time, no part of a file, no place held; in longer runs as jobs, too."""
    doors = ("source",) if length == "short" else ("source", "job")
    expected = PLAIN | MORE | SLOW | MORE_SLOW
    assert (53, 24) == (len(PLAIN | SLOW), len(MORE | MORE_SLOW))

    found = [*answers(tmp_path, doors, PLAIN | MORE, PATIENT), *answers(tmp_path, doors, SLOW | MORE_SLOW, HASTY)]

    seconds = {f"{door} {form}": took for door, form, _, took in found}
    codes = {f"{door} {form}": code or "taken" for door, form, code, _ in found}
    limits = {"idle": HASTY.idle_seconds, "total": HASTY.total_seconds, "rate_window": HASTY_SECONDS}
    counted = {"forms": len(expected), "answers": len(found), "limits_of_slow_ones_seconds": limits}
    report("misbehaving_sources", {**counted, "seconds": seconds, "codes": codes})
    assert len(expected) * len(doors) == len(found)
    assert [] == [(door, form, code) for door, form, code, _ in found if code != expected[form]]
    slow = [(door, form, took) for door, form, _, took in found if form in SLOW | MORE_SLOW]
    assert [] == [one for one in slow if one[2] > LONGEST_SECONDS]


def answers(
    folder: Path, doors: tuple[str, ...], forms: Mapping[str, str], limits: Fetch
) -> list[tuple[str, str, str, float]]:
    """Return door, form, code and seconds for all forms; refuse what is left of them when all have ended."""
    settings = fetch_settings(folder / f"idle-{limits.idle_seconds:g}", limits)
    body = padded_clip()
    make_bombs()
    window = HASTY_SECONDS if limits is HASTY else 60.0
    with WorseSource(body=body) as source, WorseSource(body=body) as other, attacked(settings, window) as server:
        run = Forms(server, source, other)
        found = [(door, *one) for door in doors for one in run.all_at(door, forms)]
        wait_until(lambda: not server.served.service.counts().active)
        assert 0 == server.places_taken()
        assert [] == leftovers(settings)
        return found
