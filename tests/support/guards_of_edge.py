"""The guards of the HTTP edge: keys, names, quotas, bodies, what an answer says to browsers, and what is stored of it.

Each attack is a request over a real socket to a server whose lanes do nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.support.guard_cases import Guard, without
from tests.support.served import IdlePool, Served, finish_next, serving, settings_in
from upscale_server import redaction
from upscale_server.edge_settings import Http, Quotas
from upscale_server.jobs.day_quota import DayQuota
from upscale_server.jobs.sealing import Sealer
from upscale_server.service import VideoService
from upscale_server.web import bodies, cors, doorway, files
from upscale_server.web.auth import Keys
from upscale_server.web.own_names import OwnNames
from upscale_server.web.rates import Rates

KEY, OTHER = {"X-API-Key": "the-first-key"}, {"X-API-Key": "the-second-key"}
EVIL = "https://evil.example"
SECRET = "only-the-sender-knows"  # noqa: S105 - planted, to be looked for
WISH = {"payload_url": f"http://127.0.0.1:9/clip.mp4?token={SECRET}", "scale": 2}


@contextmanager
def _server(folder: Path, **settings: Any) -> Iterator[Served]:  # noqa: ANN401 - whatever settings hold
    with serving(VideoService(settings_in(folder, **settings), IdlePool())) as served:
        yield served


@contextmanager
def _with_keys(folder: Path, **settings: Any) -> Iterator[Served]:  # noqa: ANN401 - whatever settings hold
    with _server(folder, api_keys="the-first-key,the-second-key", **settings) as served:
        yield served


def _comes_without_a_key(folder: Path) -> bool:
    with _with_keys(folder) as served:
        return served.client.get("/stats").status_code == 200


def _reads_another_keys_job(folder: Path) -> bool:
    with _with_keys(folder) as served:
        job_id = served.client.post("/v1/jobs", json=WISH, headers=KEY).json()["id"]
        return served.client.get(f"/v1/jobs/{job_id}", headers=OTHER).status_code == 200


def _comes_by_a_rebound_name(folder: Path) -> bool:
    with _server(folder) as served:
        return served.client.get("/stats", headers={"Host": "evil.example"}).status_code == 200


def _asks_from_a_strange_page(folder: Path) -> bool:
    with _with_keys(folder, http=Http(cors_origins=("https://app.example",))) as served:
        asked = {"Origin": EVIL, "Access-Control-Request-Method": "POST"}
        return served.client.options("/v1/jobs", headers=asked).headers.get("access-control-allow-origin") == EVIL


def _asks_without_pause(folder: Path) -> bool:
    with _with_keys(folder, quotas=Quotas(requests_per_minute=2)) as served:
        return {200} == {served.client.get("/limits", headers=KEY).status_code for _ in range(4)}


def _goes_on_after_its_day(folder: Path) -> bool:
    with _with_keys(folder, quotas=Quotas(bytes_a_day=1000)) as served:
        key_id = Keys.of("the-first-key").check("the-first-key")
        served.service.quota.add(key_id, byte_count=1000)
        return served.client.post("/v1/jobs", json=WISH, headers=KEY).status_code == 202


def _sends_many_headers(folder: Path) -> bool:
    with _server(folder) as served:
        many = {f"x-{number}": "1" for number in range(300)}
        return served.client.get("/livez", headers=many).status_code == 200


def _sends_a_large_body(folder: Path) -> bool:
    with _server(folder) as served:
        body = '{"payload_url": "http://127.0.0.1:9/' + "x" * 200_000 + '"}'
        return served.post_raw("/v1/jobs", body).status_code != 413


def _says_a_field_twice(folder: Path) -> bool:
    with _server(folder) as served:
        body = '{"payload_url": "http://127.0.0.1:9/a", "scale": 2, "scale": 4}'
        return served.post_raw("/v1/jobs", body).status_code == 202


def _frames_the_page(folder: Path) -> bool:
    with _server(folder) as served:
        return "X-Frame-Options" not in served.client.get("/limits").headers


def _is_shown_as_a_page(folder: Path) -> bool:
    """A result is a file to keep: a browser that showed it would run what is in it as ours."""
    with _server(folder) as served:
        served.client.post("/v1/jobs", json=WISH).raise_for_status()
        job_id = finish_next(served.service, folder)
        return "attachment" not in served.client.get(f"/v1/jobs/{job_id}/output").headers.get("content-disposition", "")


def _reads_addresses_in_the_database(folder: Path) -> bool:
    with _server(folder) as served:
        served.client.post("/v1/jobs", json=WISH).raise_for_status()
    return any(SECRET.encode() in path.read_bytes() for path in folder.rglob("*.db*"))


def _reads_a_query_in_a_message(folder: Path) -> bool:
    del folder
    said = redaction.redacted_in({"detail": f"GET http://127.0.0.1/clip.mp4?token={SECRET} failed"})
    return SECRET in str(said)


class _Everybody(frozenset[str]):
    """Sites that have every other one among them."""

    def __contains__(self, site: object) -> bool:
        return bool(site)


def _any_site(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(cors, "frozenset", _Everybody, raising=False)


def _first_key(keys: Keys, _: str | None) -> str:
    return keys.digests[0].hex()[:16]


def _nothing(*_: object, **__: object) -> None:
    """Let it pass."""


EDGE = (
    Guard("keys of callers", without(Keys, "check", _first_key), _comes_without_a_key),
    Guard("jobs of other keys", without(VideoService, "_check_own", _nothing), _reads_another_keys_job),
    Guard("names of ours", without(OwnNames, "check", _nothing), _comes_by_a_rebound_name),
    Guard("sites whose pages may ask", _any_site, _asks_from_a_strange_page),
    Guard("requests a minute", without(Rates, "count", _nothing), _asks_without_pause),
    Guard("a day's bytes", without(DayQuota, "check", _nothing), _goes_on_after_its_day),
    Guard("number of headers", without(doorway, "MOST_HEADERS", 1 << 30), _sends_many_headers),
    Guard("size of JSON", without(bodies, "MAX_JSON_BYTES", 1 << 30), _sends_a_large_body),
    Guard("fields that are there twice", without(bodies, "_once", dict), _says_a_field_twice),
    Guard("no frames", without(doorway, "SAFE_HEADERS", {}), _frames_the_page),
    Guard("results as files", without(files, "disposition", lambda _: "inline"), _is_shown_as_a_page),
    Guard("addresses sealed", without(Sealer, "seal_query", lambda _, url: url), _reads_addresses_in_the_database),
    Guard("queries left out", without(redaction, "redacted", lambda text: text), _reads_a_query_in_a_message),
)
