"""`<growing-player>` in a real browser on a real server: pieces in any order, gaps in words, never merely black."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import pytest
from playwright.sync_api import Locator, Page, expect
from pydantic import SecretStr

from tests.browser.conftest import Visits, answered
from tests.support.barcode import LAYOUTS, paint
from tests.support.clip_spec import Clip, Picture, Sound
from tests.support.clip_writer import write_clip
from tests.support.film_bytes import READ_NUMBER
from tests.support.killing import wait_until
from tests.support.served import IdlePool, Served, serving, settings_in
from upscale_server.errors import SourceCorrupt
from upscale_server.jobs.carry import about, object_key
from upscale_server.jobs.job import Claim, Outcome
from upscale_server.media.types import Frame
from upscale_server.plan import Plan, make_plan
from upscale_server.proxies import shown
from upscale_server.service import VideoService
from upscale_server.storage.base import UploadMemory
from upscale_server.wish import Wish

KEY = "a-long-key-of-somebody"
RATE, SEGMENT = 25, 25
"""Frames a second, and of each of the three pieces."""
SHOW = """async (job) => {
  await import("/static/player.js");
  const player = document.createElement("growing-player");
  document.querySelector("main").prepend(player);
  player.job = job;
}"""
HEVC = Picture(codec="libx265", width=160, height=120, frame_count=75, options={"x265-params": "log-level=none"})
H264 = Picture(width=160, height=120, frame_count=75)


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> Plan:
    """Give the plan of a clip of three seconds in three pieces, 160x120 to 320x240."""
    picture = Picture(width=160, height=120, frame_count=3 * SEGMENT, options={"g": "25", "bf": "0"})
    source = write_clip(Clip(suffix=".mkv", pictures=(picture,)), tmp_path_factory.mktemp("clip") / "clip.mkv")
    return make_plan(source, Wish(model="lanczos", codec="h264", preset="ultrafast", segment_seconds=1, threads=1))


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Served]:
    """Give a server that nobody needs a key for."""
    with serving(VideoService(settings_in(tmp_path), IdlePool())) as running:
        yield running


def claimed(server: Served, plan: Plan, **headers: str) -> Claim:
    """Return a job that runs and is planned."""
    body = {"payload_url": "http://127.0.0.1/v.mp4", "scale": 2}
    server.client.post("/v1/jobs", json=body, headers=headers).raise_for_status()
    claim = server.service._store.claim(server.service._name, 1000)
    assert claim is not None
    server.service._store.keep_plan(claim, plan.as_record())
    return claim


def render(server: Served, claim: Claim, plan: Plan, *indices: int) -> None:
    """Write the copies of some pieces where the pipeline does; each frame carries its number."""
    folder = server.service.settings.state_dir / "video" / "proxies" / claim.job.id / plan.digest
    tick = Fraction(1, RATE) / plan.spec.time_base
    for index in indices:
        with shown(folder, plan, plan.segments[index]) as show:
            for number in range(index * SEGMENT, (index + 1) * SEGMENT):
                planes = paint(number, 320, 240, LAYOUTS["yuv420p"])
                pts = (plan.first_pts or 0) + round(number * tick)
                show(Frame(planes, "yuv420p", pts, plan.spec.time_base))


def finish(server: Served, claim: Claim, made: Path) -> None:
    """End the job with success; this file is its result."""
    key = object_key(claim.job.id)
    server.service.results._objects.put(made, key, about(claim.job), UploadMemory(None, lambda _: None))
    server.service._store.finish(claim, Outcome(key, made.stat().st_size, 1.5, audit={"ok": True}, report={}))


def told(server: Served, claim: Claim, **headers: str) -> dict[str, object]:
    """Return the job as a page is told of it."""
    view: dict[str, object] = server.client.get(f"/v1/jobs/{claim.job.id}", headers=headers).json()
    return view


def watching(visits: Visits, server: Served, claim: Claim) -> tuple[Page, Locator]:
    """Open a page of the server with the player of a job in it."""
    page = visits.open_bare(server.url)
    page.evaluate(SHOW, told(server, claim))
    return page, page.locator("growing-player")


def number_at(player: Locator, seconds: float) -> int:
    """Return the number of the frame that is seen after going to a time; Chromium may say "seeked" a frame earlier."""
    read = f"""async (player, seconds) => {{
      const video = player.shadowRoot.querySelector("video");
      const seeked = new Promise((done) => video.addEventListener("seeked", done, {{ once: true }}));
      const seen = new Promise((done) => video.requestVideoFrameCallback(done));
      video.currentTime = seconds;
      await Promise.all([seeked, seen]);
      return ({READ_NUMBER})(video);
    }}"""
    number: int = player.evaluate(read, seconds)
    return number


def number_shown(player: Locator) -> int | None:
    """Return the number of the frame that is seen now, if there is one."""
    number: int | None = player.evaluate(f"""(player) => {{
      const video = player.shadowRoot.querySelector("video");
      return video.readyState < 2 ? null : ({READ_NUMBER})(video);
    }}""")
    return number


def middle(number: int) -> float:
    """Return the time in the middle of a frame."""
    return (number + 0.5) / RATE


def test_pieces_are_seen_at_their_own_places_in_whatever_order_they_come(
    visits: Visits, server: Served, plan: Plan
) -> None:
    """The last and the first are there, then the middle one: each frame is where it belongs, read back from pixels."""
    claim = claimed(server, plan)
    render(server, claim, plan, 2, 0)
    _page, player = watching(visits, server, claim)

    expect(player.get_by_text("2 of 3 pieces are finished; this is a small copy without sound.")).to_be_visible()
    seen = [number_at(player, middle(number)) for number in (60, 3)]
    render(server, claim, plan, 1)
    expect(player.get_by_text("3 of 3 pieces are finished; this is a small copy without sound.")).to_be_visible()
    expect(player.get_by_role("img", name="3 of 3 pieces are finished")).to_be_visible()
    seen += [number_at(player, middle(number)) for number in (24, 25, 49, 50)]

    assert [60, 3, 24, 25, 49, 50] == seen


def test_a_place_that_is_not_finished_is_said_and_shown_when_it_is(visits: Visits, server: Served, plan: Plan) -> None:
    """Words instead of a black picture, a way to what is there, and the picture itself as soon as its piece comes."""
    claim = claimed(server, plan)
    render(server, claim, plan, 0, 2)
    _page, player = watching(visits, server, claim)
    expect(player.get_by_text("2 of 3 pieces are finished")).to_be_visible()

    player.evaluate("(player) => (player.shadowRoot.querySelector('video').currentTime = 1.5)")
    gap = player.get_by_text("0:01 is not finished yet. It is shown as soon as it is.")
    expect(gap).to_be_visible()
    player.get_by_role("button", name="Go to what is there").click()
    expect(gap).to_be_hidden()
    at_third = player.evaluate("(player) => player.shadowRoot.querySelector('video').currentTime")
    player.evaluate("(player) => (player.shadowRoot.querySelector('video').currentTime = 1.5)")
    expect(gap).to_be_visible()
    render(server, claim, plan, 1)
    expect(gap).to_be_hidden()

    assert 2 == pytest.approx(at_third, abs=0.01)  # just after the start of the piece


def test_before_anything_is_finished_there_are_words_and_then_the_first_piece(
    visits: Visits, server: Served, plan: Plan
) -> None:
    """Nothing is black while nothing is there; the first piece that comes is shown, even where it is the last one."""
    claim = claimed(server, plan)
    _page, player = watching(visits, server, claim)
    expect(player.get_by_text("Nothing is finished yet. The first piece plays here as soon as it is.")).to_be_visible()

    render(server, claim, plan, 2)

    expect(player.get_by_text("1 of 3 pieces are finished")).to_be_visible()
    wait_until(lambda: 50 == number_shown(player))


def test_while_there_is_nothing_to_see_its_words_take_little_room(visits: Visits, server: Served, plan: Plan) -> None:
    """No black box of the size of a film; the picture has its own size when it comes."""
    claim = claimed(server, plan)
    _page, player = watching(visits, server, claim)
    expect(player.get_by_text("Nothing is finished yet.")).to_be_visible()
    height = "(player) => player.shadowRoot.querySelector('.screen').getBoundingClientRect().height"

    empty = player.evaluate(height)
    render(server, claim, plan, 0)
    expect(player.get_by_text("1 of 3 pieces are finished")).to_be_visible()

    assert 192 == empty  # 12rem
    assert empty < player.evaluate(height)


@pytest.mark.parametrize("end", ["failed", "canceled"])
def test_what_was_finished_before_a_job_ended_can_be_watched_after_a_reload(
    visits: Visits, server: Served, plan: Plan, end: str
) -> None:
    """The row finds out by itself that there is something; of a job that has nothing it offers nothing."""
    bare, claim = claimed(server, plan), claimed(server, plan)
    render(server, claim, plan, 0)
    for one in (bare, claim):
        if end == "canceled":
            server.client.post(f"/v1/jobs/{one.job.id}/cancel").raise_for_status()
        server.service._store.fail(one, SourceCorrupt("it broke in the middle").as_record(one.job.id))
    page = visits.open(server.url)
    row = page.locator(f"[data-job='{claim.job.id}']")

    row.get_by_role("button", name="Watch").click()

    expect(row).to_have_attribute("data-state", end)
    expect(row.get_by_text("What was finished before the job ended, as a small copy without sound.")).to_be_visible()
    expect(row.locator(".job-picture")).to_be_visible()
    assert 7 == number_at(row.locator("growing-player"), middle(7))
    expect(page.locator(f"[data-job='{bare.job.id}']").get_by_role("button", name="Watch")).to_have_count(0)


def test_a_result_that_the_browser_cannot_play_is_seen_as_its_small_copy(
    visits: Visits, server: Served, plan: Plan, tmp_path: Path
) -> None:
    """Chromium without HEVC shows the copies and says why; it is the job's end that is told, not a reload."""
    claim = claimed(server, plan)
    render(server, claim, plan, 0, 1, 2)
    page, player = watching(visits, server, claim)
    expect(player.get_by_text("3 of 3 pieces are finished")).to_be_visible()

    finish(server, claim, write_clip(Clip(pictures=(HEVC,)), tmp_path / "hevc.mp4"))
    player.evaluate("(player, job) => (player.job = job)", told(server, claim))

    words = "Your browser cannot play HEVC: this is a small copy without sound. The download is the real one."
    expect(player.get_by_text(words)).to_be_visible()
    assert 30 == number_at(player, middle(30))
    player.evaluate("""async (player) => {
      const video = player.shadowRoot.querySelector("video");
      const ended = new Promise((done) => video.addEventListener("ended", done, { once: true }));
      video.currentTime = 2.5;
      await video.play();
      await ended;
    }""")
    assert page.evaluate("document.createElement('video').canPlayType('video/mp4; codecs=\"hvc1.1.6.L93.B0\"')") == ""


def test_a_result_that_the_browser_can_play_is_played_itself(
    visits: Visits, server: Served, plan: Plan, tmp_path: Path
) -> None:
    """By its link and in ranges; the place that was seen stays."""
    claim = claimed(server, plan)
    render(server, claim, plan, 0, 1, 2)
    page, player = watching(visits, server, claim)
    expect(player.get_by_text("3 of 3 pieces are finished")).to_be_visible()
    number_at(player, middle(40))

    finish(server, claim, write_clip(Clip(pictures=(H264,)), tmp_path / "h264.mp4"))
    job = told(server, claim)
    job["asked"] = {**job["asked"], "codec": "h264"}  # type: ignore[dict-item] - the page is told what was asked
    player.evaluate("(player, job) => (player.job = job)", job)
    page.wait_for_function("""() => {
      const video = document.querySelector("growing-player").shadowRoot.querySelector("video");
      return video.src.includes("/files/") && video.readyState >= 2 && !video.seeking;
    }""")

    shown_now = player.evaluate("(player) => player.shadowRoot.querySelector('video').currentTime")
    assert middle(40) == pytest.approx(shown_now)
    wait_until(lambda: 40 == number_shown(player))
    expect(player.get_by_text("small copy")).to_be_hidden()


def test_a_result_that_would_be_black_with_sound_is_seen_as_its_small_copy(
    visits: Visits, server: Served, plan: Plan, tmp_path: Path
) -> None:
    """A browser that plays the sound of a film whose picture it cannot decode says that all is well; it is not."""
    claim = claimed(server, plan)
    render(server, claim, plan, 0, 1, 2)
    finish(server, claim, write_clip(Clip(pictures=(HEVC,), sounds=(Sound(seconds=3.0),)), tmp_path / "hevc.mp4"))
    job = told(server, claim)
    job["asked"] = {**job["asked"], "codec": "h264"}  # type: ignore[dict-item] - so that only the picture can tell
    page = visits.open_bare(server.url)

    page.evaluate(SHOW, job)
    player = page.locator("growing-player")

    expect(player.get_by_text("Your browser cannot play H.264: this is a small copy")).to_be_visible()
    assert 30 == number_at(player, middle(30))


def test_a_result_that_does_not_open_is_not_waited_for_for_ever(
    visits: Visits, server: Served, plan: Plan, tmp_path: Path
) -> None:
    """Some browsers fetch nothing before a press, and a way may be stuck: then the copies are shown, and why."""
    claim = claimed(server, plan)
    render(server, claim, plan, 0, 1, 2)
    finish(server, claim, write_clip(Clip(pictures=(H264,)), tmp_path / "h264.mp4"))
    job = told(server, claim)
    job["asked"] = {**job["asked"], "codec": "h264"}  # type: ignore[dict-item] - the page is told what was asked
    page = visits.open_bare(server.url)
    page.clock.install()
    page.route("**/files/**", lambda _route: None)

    with page.expect_request("**/files/**"):
        page.evaluate(SHOW, job)
    player = page.locator("growing-player")
    expect(player.get_by_text("Opening the result…")).to_be_visible()
    page.clock.fast_forward(10_000)

    expect(player.get_by_text("The result did not open in your browser in time: this is a small copy")).to_be_visible()
    assert 30 == number_at(player, middle(30))


def test_a_player_that_was_shut_in_the_middle_of_a_piece_plays_when_it_is_opened_again(
    visits: Visits, server: Served, plan: Plan
) -> None:
    """A buffer that was taken away in the middle of a piece never says that it is done: nobody waits for it."""
    claim = claimed(server, plan)
    render(server, claim, plan, 0, 1)
    page = visits.open_bare(server.url)
    page.evaluate("""() => {
      const append = SourceBuffer.prototype.appendBuffer;
      window.begun = 0;
      SourceBuffer.prototype.appendBuffer = function (bytes) {
        window.begun += 1;
        if (window.begun > 1) append.call(this, bytes); // the first one never ends
      };
    }""")

    page.evaluate(SHOW, told(server, claim))
    page.wait_for_function("() => window.begun === 1")
    page.evaluate("""() => {
      const player = document.querySelector("growing-player");
      player.remove();
      document.querySelector("main").prepend(player);
    }""")
    page.wait_for_function("() => window.begun >= 3")

    assert 30 == number_at(page.locator("growing-player"), middle(30))


def test_without_copies_an_unplayable_result_is_said_and_not_black(
    visits: Visits, server: Served, plan: Plan, tmp_path: Path
) -> None:
    """A server may make no copies: then there is a sentence that says what to do."""
    claim = claimed(server, plan)
    finish(server, claim, write_clip(Clip(pictures=(HEVC,)), tmp_path / "hevc.mp4"))

    _page, player = watching(visits, server, claim)

    words = "Your browser cannot play HEVC, and there is no small copy of it. Download it to look at it."
    expect(player.get_by_text(words)).to_be_visible()


def test_a_browser_without_media_source_sees_a_picture_and_words(visits: Visits, server: Served, plan: Plan) -> None:
    """Some phones play no pieces: they show the newest picture of the job until there is a result."""
    claim = claimed(server, plan)
    render(server, claim, plan, 0)
    page = visits.open_bare(server.url)
    page.evaluate("() => { delete window.MediaSource; }")

    page.evaluate(SHOW, told(server, claim))

    player = page.locator("growing-player")
    words = "This browser cannot play a video that is still being made. Its result will be here."
    expect(player.get_by_text(words)).to_be_visible()
    assert player.evaluate("(player) => player.shadowRoot.querySelector('video').poster").startswith("blob:")


def test_when_the_browser_has_no_room_what_is_far_away_makes_it(visits: Visits, server: Served, plan: Plan) -> None:
    """A refused piece is added when room was made; the place that is seen keeps its picture."""
    claim = claimed(server, plan)
    render(server, claim, plan, 0, 1)
    page = visits.open_bare(server.url)
    page.evaluate("""() => {
      const append = SourceBuffer.prototype.appendBuffer;
      window.refused = 0;
      SourceBuffer.prototype.appendBuffer = function (bytes) {
        if (this.timestampOffset === 1 && !window.refused) {
          window.refused += 1;
          throw new DOMException("full", "QuotaExceededError");
        }
        append.call(this, bytes);
      };
    }""")

    page.evaluate(SHOW, told(server, claim))
    player = page.locator("growing-player")
    expect(player.get_by_text("2 of 3 pieces are finished")).to_be_visible()
    page.wait_for_function("() => window.refused === 1")

    assert [30, 3] == [number_at(player, middle(number)) for number in (30, 3)]


def test_a_broken_piece_does_not_hold_up_the_others(visits: Visits, server: Served, plan: Plan) -> None:
    """What cannot be fetched is a gap with words, and what comes after it is shown."""
    claim = claimed(server, plan)
    render(server, claim, plan, 0, 1, 2)
    visits.allowed += answered(500)
    page = visits.open_bare(server.url)
    page.route("**/segments/1.mp4", lambda route: route.fulfill(status=500, body="broken"))

    page.evaluate(SHOW, told(server, claim))
    player = page.locator("growing-player")
    expect(player.get_by_text("3 of 3 pieces are finished")).to_be_visible()

    assert 60 == number_at(player, middle(60))
    player.evaluate("(player) => (player.shadowRoot.querySelector('video').currentTime = 1.5)")
    expect(player.get_by_text("0:01 is not finished yet.")).to_be_visible()


def test_the_key_is_sent_with_every_piece(visits: Visits, tmp_path: Path, plan: Plan) -> None:
    """A <video> cannot send a key; what the player fetches it sends with."""
    settings = settings_in(tmp_path, api_keys=SecretStr(KEY))
    with serving(VideoService(settings, IdlePool()), Authorization=f"Bearer {KEY}") as locked:
        claim = claimed(locked, plan)
        render(locked, claim, plan, 0)
        page = visits.open_bare(locked.url)
        page.evaluate("(key) => sessionStorage.setItem('upscale-key', key)", KEY)
        page.evaluate(SHOW, told(locked, claim))

        expect(page.get_by_text("1 of 3 pieces are finished")).to_be_visible()
        assert 7 == number_at(page.locator("growing-player"), middle(7))
        page.context.close()  # before the server, which would wait for it
