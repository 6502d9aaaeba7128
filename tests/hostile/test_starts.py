"""Servers that must not start say so in one line and make nothing; what is closed to a running one costs no job.

Closed folders are tried by a user who owns nothing, because nothing is closed to the superuser.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.support.killing import AT_LEISURE, wait_until
from tests.support.many_jobs import QUICK, Caller, finished, small_source
from tests.support.refusals import as_nobody, given_to_nobody, open_folder, said, small_disk, start_refused
from tests.support.server import running

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]


@pytest.fixture
def caller(tmp_path: Path) -> Iterator[Caller]:
    """Give somebody who hands in jobs."""
    with small_source(tmp_path / "sources", seconds=4) as source, Caller(source) as one:
        yield one


def test_a_second_server_on_one_state_folder_is_refused(caller: Caller, tmp_path: Path) -> None:
    """Exit code 2 and one line that names the process; the first goes on with its jobs."""
    state = tmp_path / "state"
    with running(state, environment=QUICK) as server:
        caller.submit(server.url)
        before = (state / "video" / "owner.id").read_bytes(), (state / "video" / "lock").read_text()
        refused = start_refused(state, environment=QUICK)
        wait_until(lambda: set(caller.ids) <= finished(state / "video" / "jobs.db"), AT_LEISURE)
        ended = caller.jobs(server.url)
        after = (state / "video" / "owner.id").read_bytes(), (state / "video" / "lock").read_text()

    assert 2 == refused.exit_code
    assert str(server.process.pid) in said(refused)
    assert before == after
    assert ["succeeded"] == [job["state"] for job in ended.values()]


def test_a_port_in_use_is_refused_before_anything_is_made(tmp_path: Path) -> None:
    """Exit code 2, one line with the port, no folder."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        refused = start_refused(tmp_path / "state", "--port", str(port), environment=QUICK)

    assert 2 == refused.exit_code
    assert f"port {port}" in said(refused)
    assert not (tmp_path / "state").exists()


WRONG = {
    "UPSCALE_LOG_LEVEL": "loud",
    "UPSCALE_WORKER__LANES": "2",
    "UPSCALE_WORKERS__LANES": "-1",
    "UPSCALE_FETCH__ALLOWED_NETWORKS": "10.0.0.0/8",
    "UPSCALE_FETCH__ALLOWED_NETWORKS ": '["10.0.0.0/99"]',
    "UPSCALE_STORAGE__KIND": "ftp",
    "UPSCALE_STORAGE": "everything",
    "UPSCALE_DATABASE_URL": "somewhere",
    "UPSCALE_DATABASE_URL ": "oracle://nowhere/jobs",
    "UPSCALE_DATABASE_URL  ": "nosuch://nowhere/jobs",
    "UPSCALE_JOBS__LEASE_SECONDS": "1",
    "UPSCALE_LIMITS__MAX_PIXELS": "many",
    "--host": "0.0.0.0",  # noqa: S104 - refused
    "--host ": "203.0.113.7",
    "--port": "70000",
    "--api-key-file": "no-such-file",
}
"""What is set, and to what; a space at its end only keeps two of a name apart."""
QUICKLY = ("UPSCALE_DATABASE_URL ", "UPSCALE_FETCH__ALLOWED_NETWORKS ", "--host")
"""Enough for a short run: what is only known after the settings were read."""


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_configuration_is_refused_in_one_line(name: str, length: str, tmp_path: Path) -> None:
    """Exit code 2, one line that names what is wrong, nothing made."""
    if length == "short" and name not in QUICKLY:
        pytest.skip("runs with HOSTILE=full")
    setting, value = name.strip(), WRONG[name]
    flags, environment = ([setting, value], {}) if setting.startswith("-") else ([], {setting: value})

    refused = start_refused(tmp_path / "state", *flags, environment={**QUICK, **environment})

    assert 2 == refused.exit_code, refused.stderr
    line = said(refused)
    assert value in line or setting in line
    assert not (tmp_path / "state").exists()


CLOSED = {
    "the state folder": lambda folder: {"UPSCALE_STATE_DIR": str(folder / "closed" / "state")},
    "the work folder": lambda folder: {"UPSCALE_TEMP_DIR": str(folder / "closed" / "work")},
    "the results' folder": lambda folder: {"UPSCALE_OUTPUT_DIR": str(folder / "closed" / "results")},
    "the database": lambda folder: {"UPSCALE_DATABASE_URL": f"sqlite:///{folder / 'closed' / 'jobs.db'}"},
}
"""What cannot be written, and the settings that say so."""


@pytest.mark.parametrize("what", CLOSED)
def test_a_closed_folder_is_refused_in_one_line(what: str, length: str) -> None:
    """Exit code 4, one line that names the folder, nothing made in it."""
    if length == "short" and what != "the database":
        pytest.skip("runs with HOSTILE=full")
    nobody = as_nobody()
    with open_folder() as folder:
        (folder / "closed").mkdir()
        state = given_to_nobody(folder / "own") / "state"

        refused = start_refused(state, environment={**QUICK, **CLOSED[what](folder)}, prefix=nobody)
        made = list((folder / "closed").iterdir())

    assert 4 == refused.exit_code, refused.stderr
    assert f"{folder}/closed" in said(refused)
    assert [] == made


def test_a_disk_that_may_not_be_written_any_more_costs_no_work(caller: Caller, tmp_path: Path) -> None:
    """The job fails by name and keeps its finished file; written to again, a retry stores it and makes nothing anew."""
    state = tmp_path / "state"
    with small_disk(tmp_path / "output") as disk:
        with running(state, environment={**QUICK, "UPSCALE_OUTPUT_DIR": str(disk.folder)}) as server:
            disk.close_to_writers()
            job_id = caller.submit(server.url)
            wait_until(lambda: job_id in finished(state / "video" / "jobs.db"), AT_LEISURE)
            failed = caller.jobs(server.url)[job_id]
            alive = httpx.get(f"{server.url}/readyz", trust_env=False, timeout=60).status_code
            disk.open_to_writers()
            httpx.post(f"{server.url}/v1/jobs/{job_id}/retry", trust_env=False, timeout=60).raise_for_status()
            wait_until(lambda: caller.jobs(server.url)[job_id]["state"] == "succeeded", AT_LEISURE)
            segments = sum("order=RunSegment" in line for line in list(server.lines))
            code = server.stop()
        stored = [path.name for path in disk.folder.rglob("*") if path.is_file()]

    fault = failed["fault"]
    assert isinstance(fault, dict)
    assert ("failed", "storage_error", True) == (failed["state"], fault["code"], fault["retryable"])
    assert (200, 1, 0) == (alive, segments, code)
    assert [f"{job_id}.mp4"] == stored
