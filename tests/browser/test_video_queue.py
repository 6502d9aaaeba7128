"""The video page's list of jobs in a real browser: what it asks for, what it leaves out, and how a result is kept.

The jobs are real; what a runner would have made of them is told by the tests.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Locator, Page, Route, expect
from pydantic import SecretStr

from tests.browser.conftest import Visits
from tests.support.served import IdlePool, Served, finish_next, serving, settings_in
from upscale_server.service import VideoService
from upscale_server.web import queue_events

LONG = 60_000
"""Milliseconds that the page may take to come back on a busy machine; a limit and no expectation."""
KEY = "a-long-key-of-somebody"
CONTENT = b"0123456789" * 1000
ROW = """async (job) => {
  const { jobRow } = await import("/static/job_row.js");
  window.row = jobRow(job, {});
  document.querySelector("main").append(window.row.element);
}"""
CARD = """async (job) => {
  const { resultCard } = await import("/static/result_card.js");
  resultCard(document.querySelector("main"), () => {}).show(job);
}"""
TWO_FRAMES = "() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))"
TO_MEMORY = "() => (window.showSaveFilePicker = undefined)"
TO_DISK = """() => {
  window.showSaveFilePicker = async ({ suggestedName }) =>
    (await navigator.storage.getDirectory()).getFileHandle(suggestedName, { create: true });
}"""
ON_DISK = """async (name) => {
  const folder = await navigator.storage.getDirectory();
  return (await (await folder.getFileHandle(name)).getFile()).text();
}"""

NAMES_ON_DISK = """async () => {
  const names = [];
  for await (const name of (await navigator.storage.getDirectory()).keys()) names.push(name);
  return names;
}"""
CUT_OFF = """() => {
  const real = window.fetch;
  const half = () =>
    new ReadableStream({
      start: (out) => out.enqueue(new Uint8Array(100)),
      pull: (out) => out.error(new TypeError("network error")),
    });
  window.fetch = async (path, ...more) =>
    String(path).endsWith("/output") ? new Response(half()) : real(path, ...more);
}"""


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Served]:
    """Give a server whose lanes do nothing."""
    with serving(VideoService(settings_in(tmp_path / "state"), IdlePool())) as running:
        yield running


def submitted(server: Served) -> dict[str, Any]:
    """Hand a job in and return it as a page is told of it."""
    reply = server.client.post("/v1/jobs", json={"payload_url": "http://127.0.0.1/film.mp4", "scale": 2})
    told: dict[str, Any] = server.client.get(f"/v1/jobs/{reply.json()['id']}").json()
    return told


def so_far(job: dict[str, Any], number: int, state: str, done: int) -> dict[str, Any]:
    """Return a job like another, the `number`th that was handed in, with `done` of 100 frames."""
    progress = {"phase": "upscale", "frames_done": done, "frames_total": 100, "fps": 10.0, "eta_seconds": None}
    made = f"2026-01-01T00:{number:02}:00.000Z"
    result = {"url": "/files/x", "byte_count": 10, "seconds": 1.0, "fallback": None} if state == "succeeded" else None
    return {**job, "id": f"job{number}", "state": state, "created_at": made, "progress": progress, "result": result}


def tells(page: Page, jobs: list[dict[str, Any]]) -> None:
    """Let the stream of events tell of these jobs."""
    body = f"event: jobs\ndata: {json.dumps({'jobs': jobs, 'next': None})}\n\n"
    page.route("**/v1/events", lambda route: route.fulfill(body=body, content_type="text/event-stream"))


def test_the_title_tells_of_the_newest_running_job(visits: Visits, server: Served) -> None:
    """Whatever order the jobs were told in; one that does not run has no say."""
    job = submitted(server)
    page = visits.open("about:blank")
    visits.hosts.add(server.url.removeprefix("http://"))
    tells(page, [so_far(job, 1, "running", 10), so_far(job, 3, "running", 30), so_far(job, 4, "paused", 40)])

    page.route("**/segments", lambda route: route.fulfill(json={"segments": []}))
    page.goto(server.url)

    expect(page).to_have_title("30 % · Upscale")


def test_only_rows_that_are_seen_ask_for_pictures(visits: Visits, server: Served) -> None:
    """Of forty jobs the last is asked for when somebody comes to it, once."""
    job = submitted(server)
    page = visits.open("about:blank")
    visits.hosts.add(server.url.removeprefix("http://"))
    asked: list[str] = []

    def answered(route: Route) -> None:
        asked.append(route.request.url.split("/")[-2])
        route.fulfill(json={"segments": []})

    page.route("**/segments", answered)
    tells(page, [so_far(job, number, "succeeded", 100) for number in range(40)])
    with page.expect_request("**/job39/segments"):
        page.goto(server.url)
    expect(page.locator(".job")).to_have_count(40)
    assert "job0" not in asked
    with page.expect_request("**/job0/segments"):
        page.locator("[data-job='job0']").scroll_into_view_if_needed()

    assert 1 == asked.count("job39")


def test_what_a_removed_row_asked_for_is_let_go(visits: Visits, server: Served) -> None:
    """Its picture is not waited for, so that nothing keeps its bytes."""
    job = so_far(submitted(server), 1, "succeeded", 100)
    page = visits.open_bare(server.url)
    page.route("**/segments", lambda route: route.fulfill(json={"segments": [{}]}))
    page.route("**/thumbnail.jpg", lambda _route: None)
    with page.expect_request("**/thumbnail.jpg"):
        page.evaluate(ROW, job)

    with page.expect_event("requestfailed", lambda one: one.url.endswith("/thumbnail.jpg")):
        page.evaluate("() => window.row.close()")


def test_a_picture_that_came_while_nobody_saw_the_tab_is_fetched_then(visits: Visits, server: Served) -> None:
    """A job that ended meanwhile says nothing more, so that its row looks by itself."""
    job = so_far(submitted(server), 1, "succeeded", 100)
    page = visits.open_bare(server.url)
    hidden = """(isHidden) => {
      Object.defineProperty(document, "hidden", { configurable: true, get: () => isHidden });
      document.dispatchEvent(new Event("visibilitychange"));
    }"""
    page.route("**/segments", lambda route: route.fulfill(json={"segments": []}))
    page.evaluate(hidden, arg=True)
    page.evaluate(ROW, job)
    page.evaluate(TWO_FRAMES)  # by now the row is known to be in sight

    with page.expect_request("**/segments"):
        page.evaluate(hidden, arg=False)


def test_older_jobs_are_said_and_shown_when_asked_for(
    visits: Visits, server: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The list says that it is not all; the rest comes with a press, below, and has the keyboard."""
    monkeypatch.setattr(queue_events, "SNAPSHOT_JOBS", 2)
    jobs = [submitted(server)["id"] for _ in range(4)]

    page = visits.open(server.url)
    expect(page.locator(".job")).to_have_count(2)
    expect(page.locator("#older")).to_contain_text("Older jobs are not listed")
    page.get_by_role("button", name="Show older jobs").click()

    expect(page.locator(".job")).to_have_count(4)
    expect(page.locator("#older")).to_be_hidden()
    ids = page.locator(".job").evaluate_all("(rows) => rows.map((one) => one.dataset.job)")
    assert jobs[::-1] == ids
    expect(page.locator(f"[data-job='{jobs[1]}']")).to_be_focused()


def test_older_jobs_that_are_shown_outlive_a_new_stream(visits: Visits, server: Served) -> None:
    """What the server names no more goes, what came between is shown, and all others stay as they are."""
    jobs = [submitted(server)["id"] for _ in range(5)]
    page = visits.open("about:blank")
    visits.hosts.add(server.url.removeprefix("http://"))

    def tell(route: Route) -> None:
        body = f"event: jobs\ndata: {server.client.get('/v1/jobs?limit=2').text}\n\n"
        route.fulfill(body=body, content_type="text/event-stream")  # it ends, so that the page comes again

    page.route("**/v1/events", tell)
    page.goto(server.url)
    expect(page.locator(".job")).to_have_count(2)
    page.get_by_role("button", name="Show older jobs").click()
    expect(page.locator(".job")).to_have_count(5)
    page.locator(f"[data-job='{jobs[0]}']").evaluate("(row) => (row.isTheSame = true)")
    server.client.post(f"/v1/jobs/{jobs[1]}/cancel").raise_for_status()
    server.client.delete(f"/v1/jobs/{jobs[1]}").raise_for_status()
    jobs += [submitted(server)["id"] for _ in range(3)]

    expect(page.locator(f"[data-job='{jobs[1]}']")).to_have_count(0, timeout=LONG)
    expect(page.locator(f"[data-job='{jobs[5]}']")).to_have_count(1, timeout=LONG)

    ids = page.locator(".job").evaluate_all("(rows) => rows.map((one) => one.dataset.job)")
    assert [*jobs[:1:-1], jobs[0]] == ids
    assert page.locator(f"[data-job='{jobs[0]}']").evaluate("(row) => row.isTheSame")
    expect(page.locator("#older")).to_be_hidden()


def test_older_jobs_are_asked_for_once(visits: Visits, server: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """A second press while the first is answered has nothing to press."""
    monkeypatch.setattr(queue_events, "SNAPSHOT_JOBS", 1)
    for _ in range(2):
        submitted(server)
    page = visits.open(server.url)
    page.route("**/v1/jobs?*", lambda _route: None)
    button = page.get_by_role("button", name="Show older jobs")

    button.click()

    expect(button).to_be_disabled()


@pytest.fixture
def locked(tmp_path: Path) -> Iterator[Served]:
    """Give a server with a key and a finished job."""
    settings = settings_in(tmp_path / "locked", api_keys=SecretStr(KEY))
    with serving(VideoService(settings, IdlePool()), Authorization=f"Bearer {KEY}") as running:
        running.client.post("/v1/jobs", json={"payload_url": "http://127.0.0.1/film.mp4", "scale": 2})
        finish_next(running.service, tmp_path, CONTENT)
        yield running


def card(
    visits: Visits, locked: Served, prepare: str, byte_count: int = len(CONTENT), name: str = "film"
) -> tuple[Page, Locator]:
    """Show the result of the job, which only the key opens, and return the page and its button."""
    job = locked.client.get("/v1/jobs").json()["jobs"][0]
    job["result"] |= {"url": f"/v1/jobs/{job['id']}/output", "byte_count": byte_count}
    job["asked"]["file_name"] = name
    said = {"audit": {"rules": []}, "report": {"size": "4x4", "source_size": "2x2", "model": "fast"}}
    page = visits.open_bare(locked.url)
    page.route("**/audit", lambda route: route.fulfill(json=said))
    page.evaluate("(key) => sessionStorage.setItem('upscale-key', key)", KEY)
    page.evaluate(prepare)
    page.evaluate(CARD, job)
    return page, page.get_by_role("button", name="Download")


def test_a_result_behind_a_key_is_kept_under_its_name(visits: Visits, locked: Served, tmp_path: Path) -> None:
    """A browser that cannot write to the disk holds it for a moment."""
    page, button = card(visits, locked, TO_MEMORY)

    with page.expect_download() as download:
        button.click()
    download.value.save_as(tmp_path / "made.mp4")

    assert CONTENT == (tmp_path / "made.mp4").read_bytes()
    assert download.value.suggested_filename.endswith(".mp4")
    expect(button).to_have_text("Download")


def test_a_result_behind_a_key_goes_straight_to_the_disk_where_it_can(visits: Visits, locked: Served) -> None:
    """However large it is said to be: it is not held in memory."""
    page, button = card(visits, locked, TO_DISK, byte_count=2**40)

    button.click()
    expect(page.get_by_role("button", name="Cancel the download")).to_have_count(0)
    expect(button).to_have_text("Download")

    name = page.evaluate(
        "async () => { for await (const name of (await navigator.storage.getDirectory()).keys()) return name; }"
    )
    assert name.endswith(".mp4")
    assert CONTENT.decode() == page.evaluate(ON_DISK, name)


def test_what_would_fill_the_memory_is_refused_with_a_way(visits: Visits, locked: Served) -> None:
    """Before a byte is fetched; the command says a stranger's name to a shell as a name and nothing else."""
    name = '$(touch hacked)`id`\'s "x"'
    page, button = card(visits, locked, TO_MEMORY, byte_count=2**30, name=name)
    asked: list[str] = []
    page.on("request", lambda one: asked.append(one.url))

    button.click()

    expect(page.get_by_role("alert")).to_contain_text("curl")
    said = page.get_by_role("alert").inner_text()
    assert [f"{name}.mp4", f"{locked.url}/v1/jobs/"] == [
        shlex.split(said[said.index("curl") : said.index(" (with")])[place][:length]
        for place, length in ((4, None), (5, len(locked.url) + 9))
    ]
    assert "Chrome or Edge" in said
    assert [] == [one for one in asked if one.endswith("/output")]


def test_a_page_without_https_names_what_keeps_it_from_the_disk(visits: Visits, locked: Served) -> None:
    """No other browser would help there."""
    page, button = card(visits, locked, TO_MEMORY, byte_count=2**30)
    page.evaluate("() => Object.defineProperty(window, 'isSecureContext', { value: false })")

    button.click()

    expect(page.get_by_role("alert")).to_contain_text("over https, or by http://localhost")


@pytest.mark.parametrize("prepare", [TO_MEMORY, TO_DISK], ids=["memory", "disk"])
def test_a_download_that_is_cut_off_is_told_in_words(visits: Visits, locked: Served, prepare: str) -> None:
    """And not in the browser's; what the picker has made or emptied is not left behind, and that is said."""
    page, button = card(visits, locked, prepare)
    page.evaluate(CUT_OFF)

    button.click()

    expect(page.get_by_role("alert")).to_contain_text("The connection to the server broke")
    expect(page.get_by_role("alert")).to_contain_text("press Download again")
    expect(page.get_by_text("film.mp4 is not there any more")).to_have_count(1 if prepare == TO_DISK else 0)
    assert [] == page.evaluate(NAMES_ON_DISK)
    expect(button).to_have_text("Download")


def test_a_stopped_download_says_what_became_of_the_file_that_was_chosen(visits: Visits, locked: Served) -> None:
    """The browser emptied it when it was chosen, whatever was in it."""
    page, button = card(visits, locked, TO_DISK)
    page.route("**/output", lambda _route: None)

    button.click()
    page.get_by_role("button", name="Cancel the download · 0 %").click()

    expect(page.get_by_role("alert")).to_contain_text("The file film.mp4 is not there any more; if it was there before")
    assert [] == page.evaluate(NAMES_ON_DISK)


def test_a_download_can_be_stopped(visits: Visits, locked: Served) -> None:
    """The same button stops it, says how far it is, and nothing is called a fault."""
    page, button = card(visits, locked, TO_MEMORY)
    page.route("**/output", lambda _route: None)

    button.click()
    page.get_by_role("button", name="Cancel the download · 0 %").click()

    expect(button).to_have_text("Download")
    expect(page.get_by_role("alert")).to_have_count(0)
