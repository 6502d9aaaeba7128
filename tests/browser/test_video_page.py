"""The video server's page in a real browser, on a real server: what a person does, from the drop to the file."""

from __future__ import annotations

import base64
import contextlib
import itertools
import json
import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import av
import pytest
from playwright.sync_api import Error, Locator, Page, Route, expect
from pydantic import SecretStr

from tests.browser.conftest import Visits, answered, cut_off
from tests.browser.looks import fits, readable
from tests.support.fault_proxy import FaultProxy
from tests.support.film_bytes import READ_NUMBER, film
from tests.support.killing import wait_until
from tests.support.served import IdlePool, Served, serving, settings_in
from tests.support.server import serving as serving_files
from upscale_server.audit import verify
from upscale_server.server_settings import Workers
from upscale_server.service import VideoService

LONG = 120_000
"""Milliseconds that a job may take on a busy machine; a limit and no expectation."""
KEY = "the-key-of-somebody"
HIDDEN = """(isHidden) => {
  Object.defineProperty(document, "hidden", { configurable: true, get: () => isHidden });
  document.dispatchEvent(new Event("visibilitychange"));
}"""
PLAIN_REASON = re.compile(
    r"^Model fast\S*: the video is (strongly compressed|nearly clean), and fast\S* is made for that\.$"
)
NAMED = re.compile(r"\S")
CONTROLS = "button, input, select, summary, a[href], [role=progressbar], video[controls]"
LEAST_CONTROLS = 50
"""The page with a video, a preview and a result open has more; one on which something did not open has fewer."""
TWICE = """() => { const ids = [...document.querySelectorAll("[id]")].map((one) => one.id);
  return ids.filter((id, place) => ids.indexOf(id) !== place); }"""
HEADINGS = """() => JSON.stringify([...document.querySelectorAll("h1, h2, h3, h4")]
  .filter((one) => one.checkVisibility()).map((one) => one.tagName))"""

DROP = """async ([name, kind, content]) => {
  const bytes = Uint8Array.from(atob(content), (letter) => letter.charCodeAt(0));
  const carried = new DataTransfer();
  carried.items.add(new File([bytes], name, { type: kind }));
  const zone = document.getElementById("drop");
  for (const event of ["dragenter", "dragover", "drop"]) {
    zone.dispatchEvent(new DragEvent(event, { dataTransfer: carried, bubbles: true, cancelable: true }));
  }
}"""


@pytest.fixture(scope="module")
def clip(bundled_clip: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give half a second of the bundled clip, with all its tracks, as it was coded."""
    path = tmp_path_factory.mktemp("clip") / "eva.mp4"
    with av.open(str(bundled_clip)) as whole, av.open(str(path), "w") as cut:
        streams = {one.index: cut.add_stream_from_template(one) for one in whole.streams}
        for packet in whole.demux():
            if packet.dts is not None and packet.dts * packet.time_base < 0.5:
                packet.stream = streams[packet.stream.index]
                cut.mux(packet)
    return path


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """Give a server with one loaded lane."""
    settings = settings_in(tmp_path_factory.mktemp("state"), workers=Workers(lanes=1))
    with serving(VideoService(settings)) as running:
        wait_until(lambda: running.client.get("/readyz").status_code == 200)
        yield running


def dropped(page: Page, name: str, content: bytes, kind: str = "video/mp4") -> None:
    """Let go of a file over the page."""
    page.evaluate(DROP, [name, kind, base64.b64encode(content).decode()])


def started(page: Page, size: str) -> Locator:
    """Choose a size, start, and return the row of the job."""
    page.locator(f"input[name=size][value='{size}']").check()
    start = page.get_by_role("button", name="Start", exact=True)
    expect(start).to_be_enabled(timeout=LONG)
    before = page.locator(".job").count()
    start.click()
    expect(page.locator(".job")).to_have_count(before + 1)
    return page.locator(".job").first


def ends(row: Locator, state: str = "succeeded") -> None:
    """Wait until a row's job has ended in a state."""
    expect(row).to_have_attribute("data-state", state, timeout=LONG)


def test_a_video_goes_from_the_drop_to_an_audited_file(
    visits: Visits, server: Served, clip: Path, tmp_path: Path
) -> None:
    """What is downloaded at the end passes the same comparison with the source that `upscale verify` makes."""
    page = visits.open(server.url)

    dropped(page, "eva.mp4", clip.read_bytes())
    expect(page.locator("#probe-name")).to_have_text("eva.mp4", timeout=LONG)
    expect(page.locator("#probe-facts")).to_contain_text("480 × 270")
    expect(page.locator("#probe-poster")).to_be_visible()
    row = started(page, "2")
    expect(page.locator("#plan-target")).to_have_text("960 × 540")
    expect(page.locator("#plan-model")).to_have_text(PLAIN_REASON)
    expect(page.locator("#plan-engine")).to_be_hidden()
    page.locator("#plan details summary").click()
    expect(page.locator("#plan-engine")).to_contain_text("h264 at")
    ends(row)
    expect(page.locator("#server-words")).to_have_text("Ready")
    row.scroll_into_view_if_needed()
    expect(row.locator(".job-picture")).to_be_visible()
    row.get_by_role("button", name="Result").click()
    expect(row.locator("summary")).to_contain_text("checks passed")
    row.locator("summary").click()
    expect(row.locator(".checked").first).to_contain_text("Frame count")
    expect(row.locator(".check-list")).to_contain_text("4:2:0")
    expect(row.locator(".check-list")).not_to_contain_text("found the same")
    expect(row.locator(".check-list")).not_to_contain_text("0.000 ms")
    expect(row.locator(".result")).to_contain_text("Whoever has this link can download until")
    with page.expect_download() as download:
        row.get_by_role("link", name="Download").click()
    made = tmp_path / "made.mp4"
    download.value.save_as(made)

    audit = verify(clip, made)
    assert audit.ok, audit.faults
    page.locator("input[name=size][value='4']").check()
    row.get_by_role("button", name="Run again with…").click()
    expect(page.locator("input[name=size][value='2']")).to_be_checked()
    expect(page.locator("#goal")).to_be_focused()


def test_a_file_that_is_no_video_is_refused_in_words(visits: Visits, server: Served) -> None:
    """The reason stands where the file was dropped, is read aloud, has the focus, and another file may be tried."""
    page = visits.open(server.url)
    visits.allowed += answered(415)

    dropped(page, "notes.txt", b"hello, this is a letter and no film\n" * 50, "text/plain")
    alert = page.locator("#source-fault [role=alert]")

    expect(alert).to_be_visible(timeout=LONG)
    expect(alert).to_be_focused()
    assert len(alert.inner_text().split()) > 8
    expect(page.locator("#drop")).to_be_visible()


def test_a_video_is_fetched_from_an_address(visits: Visits, server: Served, clip: Path) -> None:
    """The server fetches it, and it is as one that was sent; an address that leads nowhere is told in words."""
    page = visits.open(server.url)
    visits.allowed += answered(422)
    with serving_files(clip.parent) as url:
        page.get_by_label("or give its address").fill(f"{url}/nothing.mp4")
        page.get_by_role("button", name="Fetch").click()
        expect(page.locator("#source-fault [role=alert]")).to_be_focused(timeout=LONG)
        page.get_by_label("or give its address").fill(f"{url}/eva.mp4")
        page.keyboard.press("Enter")

        expect(page.locator("#probe-name")).to_have_text("eva.mp4", timeout=LONG)
        expect(page.locator("#source-fault")).to_be_hidden()


def test_what_cannot_be_done_is_said_before_it_is_started(visits: Visits, server: Served, clip: Path) -> None:
    """A size that is no enlargement is refused beside the plan; the keyboard stays where it was, and nothing starts."""
    page = visits.open(server.url)
    visits.allowed += answered(400, 422)
    dropped(page, "eva.mp4", clip.read_bytes())
    expect(page.locator("#plan-body")).to_be_visible(timeout=LONG)

    page.locator("input[name=size][value='custom']").check()
    page.get_by_label("Width").fill("100")
    page.get_by_label("Height").fill("100")
    page.keyboard.press("Tab")

    expect(page.locator("#plan-fault [role=alert]")).to_be_visible(timeout=LONG)
    expect(page.locator("#plan-fault [role=alert]")).not_to_be_focused()
    expect(page.locator("#start")).to_be_disabled()
    page.locator("input[name=size][value='2']").check()
    expect(page.locator("#plan-fault")).to_be_hidden(timeout=LONG)
    expect(page.locator("#start")).to_be_enabled()


def test_a_slip_is_marked_beside_its_field_and_no_server_is_asked(visits: Visits, server: Served, clip: Path) -> None:
    """What the page can know is wrong: a CRF beyond its codec's last, an own size with a side left empty."""
    page = visits.open(server.url)
    dropped(page, "eva.mp4", clip.read_bytes())
    start = page.locator("#start")
    expect(start).to_be_enabled(timeout=LONG)
    plans: list[dict[str, object]] = []
    page.on("request", lambda one: plans.append(one.post_data_json) if one.url.endswith("/v1/plan") else None)
    page.locator("#advanced summary").click()
    crf = page.get_by_label("Quality (CRF)")

    crf.fill("60")
    page.keyboard.press("Tab")
    expect(crf).to_have_attribute("aria-invalid", "true")
    expect(crf).to_have_accessible_description(re.compile("^A whole number from 0 to 51, or nothing"))
    expect(page.locator("#plan-busy")).to_contain_text("stands beside it")
    expect(start).to_be_disabled()
    page.locator("#codec").select_option("av1")
    expect(crf).not_to_have_attribute("aria-invalid", "true")
    expect(start).to_be_enabled(timeout=LONG)
    page.locator("input[name=size][value='custom']").check()
    page.get_by_label("Width").fill("")
    page.keyboard.press("Tab")
    expect(page.locator("#width-wrong")).to_be_visible()
    tops = page.evaluate("['width', 'height'].map((id) => document.getElementById(id).getBoundingClientRect().top)")
    assert tops[0] == tops[1]  # the words below one field move no other
    expect(start).to_be_disabled()
    page.locator("#preview-run").click()
    expect(page.get_by_label("Width")).to_be_focused()
    page.locator("input[name=size][value='2']").check()
    expect(start).to_be_enabled(timeout=LONG)

    assert plans
    assert [] == [one for one in plans if one.get("crf") == 60 and one["codec"] != "av1"]
    assert [] == [one for one in plans if str(one.get("target", "")).startswith("x")]


def test_what_the_server_says_is_text_whatever_it_says(visits: Visits, server: Served, clip: Path) -> None:
    """Markup in a name, a trait or a reason is shown as it is and does nothing."""
    page = visits.open(server.url)
    markup = "<img src=x onerror=alert(1)>"

    def rewritten(route: Route) -> None:
        said = route.fetch().json()
        said["file_name"] = markup
        said["probe"]["traits"] = [{"code": markup, "level": "warning", "text": markup}]
        route.fulfill(status=201, json=said)

    page.route("**/v1/sources?*", rewritten)
    dropped(page, f"{markup}.mp4", clip.read_bytes())

    expect(page.locator("#probe-name")).to_have_text(markup, timeout=LONG)
    expect(page.locator("#probe-traits")).to_contain_text(markup)
    assert 0 == page.locator("#probe [onerror]").count()


def test_two_models_are_compared_before_the_whole_is_started(visits: Visits, server: Served, tmp_path: Path) -> None:
    """A few seconds through two models and bicubic: wiped with a key, stepped frame by frame, all on one frame."""
    page = visits.open(server.url)
    dropped(page, "numbers.mp4", film(tmp_path, "numbers"))
    expect(page.locator("#plan-body")).to_be_visible(timeout=LONG)
    page.locator("input[name=size][value='2']").check()
    for name in ("fast", "balanced"):
        page.locator(f"#preview-models input[value='{name}']").check()

    page.get_by_role("button", name="Show all of it").click()
    view = page.locator("compare-view")
    expect(page.locator("#preview-result")).to_be_focused(timeout=LONG)

    assert {"before", "balanced", "fast"} == set(view.evaluate("(view) => view.items.map((one) => one.name)"))
    expect(page.locator("#preview-verdict")).to_contain_text("640 × 360")
    view.get_by_role("slider").first.focus()
    before = view.evaluate("(view) => view.position")
    page.keyboard.press("ArrowRight")
    assert before < view.evaluate("(view) => view.position")
    frame = view.evaluate("(view) => view.frame")
    page.keyboard.press(".")
    page.wait_for_function(
        "(frame) => document.querySelector('compare-view').frame === frame + 1", arg=frame, timeout=LONG
    )
    view.evaluate("(view) => { view.mode = 'switch'; return view.step(0); }")
    numbers = view.evaluate(f"""(view) => [...view.shadowRoot.querySelectorAll("video")].map({READ_NUMBER})""")
    assert [frame + 1] * 3 == numbers
    page.reload()
    expect(page.locator("#preview-result")).to_be_visible(timeout=LONG)
    expect(page.locator("#preview-verdict")).to_contain_text(re.compile(r"^1\.4 s at"))
    expect(page.locator("#preview-old")).to_be_hidden()
    page.locator("input[name=size][value='4']").check()
    expect(page.locator("#preview-old")).to_contain_text("× 2")


def test_a_job_survives_a_reload_and_is_cancelled_by_its_button(
    visits: Visits, server: Served, bundled_clip: Path
) -> None:
    """In the middle of the work the page is loaded again: the video, its plan and the running job are all there."""
    page = visits.open(server.url)
    dropped(page, "long.mp4", bundled_clip.read_bytes())
    expect(page.locator("#probe-name")).to_have_text("long.mp4", timeout=LONG)
    row = started(page, "4")
    expect(row.locator(".number")).to_contain_text("frames", timeout=LONG)
    job_id = row.get_attribute("data-job")

    page.reload()

    again = page.locator(f"[data-job='{job_id}']")
    expect(page.locator("#probe-name")).to_have_text("long.mp4")
    expect(again).to_have_attribute("data-state", "running")
    again.get_by_role("button", name="Pause").click()
    again.get_by_role("button", name="Resume").click()  # takes the pause back
    expect(again.get_by_role("button", name="Pause")).to_be_visible()
    again.get_by_role("button", name="Pause").click()
    ends(again, "paused")
    expect(again.locator(".number")).to_contain_text("frames")
    done = int(again.locator(".number").inner_text().split(" of ")[0].replace("\u202f", ""))
    if done:  # what is finished of a paused job can be looked at, and be shut again
        again.get_by_role("button", name="Watch").click()
        again.get_by_role("button", name="Hide").click()
    again.get_by_role("button", name="Resume").click()
    expect(again).to_have_attribute("data-state", "running", timeout=LONG)
    assert done <= int(again.locator(".number").inner_text().split(" of ")[0].replace("\u202f", ""))
    again.get_by_role("button", name="Cancel").click()
    ends(again, "canceled")
    expect(again.get_by_role("button", name="Try again")).to_be_visible()
    expect(again).to_be_focused()  # the button that was pressed has gone
    assert "canceled" == server.client.get(f"/v1/jobs/{job_id}").json()["state"]
    rows = page.locator(".job").count()
    again.get_by_role("button", name="Try again").click()
    expect(page.locator(".job")).to_have_count(rows + 1)  # what it was made from is still there, its own copy is not
    anew = page.locator(".job").first
    expect(anew).to_be_focused()
    expect(anew.locator(".job-main")).to_contain_text("× 4")
    anew.get_by_role("button", name="Cancel").click()
    ends(anew, "canceled")
    again.get_by_role("button", name="Remove").click()
    again.get_by_role("button", name="Really remove?").click()
    expect(again).to_have_count(0)
    assert page.evaluate("document.activeElement.matches('.job, #queue-title')")


def test_the_whole_way_can_be_gone_with_the_keyboard(visits: Visits, server: Served, clip: Path) -> None:
    """Choose a file, choose a size with the arrows, start, open the result: and the focus is always seen."""
    page = visits.open(server.url)

    page.on("filechooser", lambda chooser: chooser.set_files(clip))
    to(page, "#choose")
    page.keyboard.press("Enter")
    expect(page.locator("#probe")).to_be_focused(timeout=LONG)
    to(page, "input[name=size]:checked")
    while not page.locator("input[name=size][value='2']").is_checked():
        page.keyboard.press("ArrowRight")
    expect(page.locator("#plan-target")).to_have_text("960 × 540", timeout=LONG)
    to(page, "#start")
    page.keyboard.press("Enter")
    row = page.locator(".job").first
    expect(row).to_be_focused()
    ends(row)
    to(page, f"[data-job='{row.get_attribute('data-job')}'] button[aria-expanded]")
    page.keyboard.press("Space")

    expect(row.locator("summary")).to_contain_text("checks passed")


def to(page: Page, target: str) -> None:
    """Press Tab until an element has the focus, and check on the way that one sees where it is."""
    for _ in range(100):
        if page.evaluate("(target) => document.activeElement.matches(target)", target):
            return
        page.keyboard.press("Tab")
        seen = page.evaluate(
            """() => { const one = document.activeElement;
            const marked = one.matches("input") && one.closest(".choice") || one;
            return one === document.body || getComputedStyle(marked).outlineStyle !== "none"; }"""
        )
        assert seen, page.evaluate("document.activeElement.outerHTML.slice(0, 200)")
    raise AssertionError(f"{target} is not reached by Tab")


@pytest.mark.parametrize(("width", "height"), [(640, 450), (320, 640)], ids=["200 %", "phone"])
def test_nothing_is_cut_off_when_the_page_is_enlarged(
    visits: Visits, server: Served, clip: Path, width: int, height: int
) -> None:
    """A screen of 1280 pixels enlarged twice has 640, and a narrow one 320 (WCAG 1.4.10): no line needs scrolling."""
    page = visits.open(server.url, viewport={"width": width, "height": height})

    fits(page)
    dropped(page, "a_rather_long_name_without_any_space_in_it_as_cameras_like_to_give.mp4", clip.read_bytes())
    expect(page.locator("#plan-body")).to_be_visible(timeout=LONG)
    page.locator("#advanced summary").click()
    fits(page)
    row = started(page, "2")
    ends(row)
    row.get_by_role("button", name="Result").click()
    expect(row.locator("summary")).to_be_visible()
    fits(page)


def test_the_page_says_when_the_server_is_gone_and_goes_on_when_it_is_back(visits: Visits, server: Served) -> None:
    """Nobody has to load the page again, and the server is told what the page knows already."""
    with FaultProxy(urlsplit(server.url).port or 0) as network:
        page = visits.open(f"http://127.0.0.1:{network.port}")
        visits.allowed += cut_off(r"ERR_\w+")  # whatever was under way is cut in its own way
        expect(page.locator("#queue")).to_have_attribute("aria-busy", "false")

        network.down = True
        network.cut()
        expect(page.locator("#offline")).to_be_visible(timeout=LONG)
        with page.expect_request("**/v1/events", timeout=LONG) as again:
            network.down = False

        expect(page.locator("#offline")).to_be_hidden(timeout=LONG)
        expect(page.locator("#queue")).to_have_attribute("aria-busy", "false", timeout=LONG)
        assert again.value.headers["last-event-id"]
        page.close()  # before the network ends for good, which it would tell the console


def test_a_tab_that_nobody_sees_lets_its_connection_go(visits: Visits, server: Served) -> None:
    """Six tabs would otherwise hold all connections that a browser has for a server; seen again, it goes on."""
    page = visits.open("about:blank")
    page.clock.install()
    visits.hosts.add(urlsplit(server.url).netloc)
    page.goto(server.url)
    expect(page.locator("#queue")).to_have_attribute("aria-busy", "false")

    with page.expect_event("requestfailed", lambda one: one.url.endswith("/v1/events"), timeout=LONG):
        page.evaluate(HIDDEN, arg=True)
        page.clock.fast_forward(121_000)
    asked: list[str] = []
    page.on("request", lambda one: asked.append(one.url) if one.url.endswith("/v1/events") else None)
    page.clock.fast_forward(60_000)
    assert "ready" == page.locator("#server").get_attribute("data-state")  # what was asked until now has been seen
    assert [] == asked
    with page.expect_request("**/v1/events", timeout=LONG):
        page.evaluate(HIDDEN, arg=False)


def test_light_and_dark_follow_the_system_until_a_person_chooses(visits: Visits, server: Served, clip: Path) -> None:
    """The choice outlives a reload; what is written can be read in both, against what is really behind it."""
    page = visits.open(server.url, color_scheme="dark")
    ground = "getComputedStyle(document.documentElement).backgroundColor"
    dark = page.evaluate(ground)
    dropped(page, "eva.mp4", clip.read_bytes())
    expect(page.locator("#plan-body")).to_be_visible(timeout=LONG)
    page.locator("#advanced summary").click()
    readable(page, least=40)

    page.locator("#theme").click()
    light = page.evaluate(ground)
    readable(page, least=40)
    page.reload()

    assert "rgb(15, 20, 18)" == dark
    assert "rgb(246, 247, 245)" == light == page.evaluate(ground)
    expect(page.locator("#theme")).to_have_accessible_name("Light or dark: light")


def test_a_key_is_asked_for_once_and_kept_out_of_every_address(visits: Visits, tmp_path: Path) -> None:
    """A wrong key is said to be wrong; with the right one the jobs are told, and it stands in no address."""
    settings = settings_in(tmp_path, api_keys=SecretStr(KEY))
    with serving(VideoService(settings, IdlePool()), Authorization=f"Bearer {KEY}") as locked:
        locked.client.post("/v1/jobs", json={"payload_url": "http://127.0.0.1/film.mp4", "scale": 2})
        visits.allowed += answered(401)
        page = visits.open(locked.url)
        addresses: list[str] = []
        page.on("request", lambda request: addresses.append(request.url))

        expect(page.locator("#key-dialog")).to_be_visible()
        page.locator("#key-input").fill("guessed")
        page.keyboard.press("Enter")
        expect(page.locator("#key-said")).to_contain_text("not one of")
        page.locator("#key-input").fill(KEY)
        page.keyboard.press("Enter")

        expect(page.locator(".job h3")).to_have_text("film")
        expect(page.locator("#key-dialog")).to_be_hidden()
        page.reload()
        expect(page.locator(".job h3")).to_have_text("film")
        assert [] == [one for one in addresses if KEY in one]
        page.close()  # before the server ends, which it would tell the console


def test_who_gives_no_key_is_left_alone_until_something_is_done(visits: Visits, tmp_path: Path, clip: Path) -> None:
    """After "Later" no dialog comes by itself; a dropped video asks, again after a wrong key, and is sent then."""
    settings = settings_in(tmp_path, api_keys=SecretStr(KEY))
    with serving(VideoService(settings, IdlePool()), Authorization=f"Bearer {KEY}") as locked:
        visits.allowed += answered(401, 415)
        page = visits.open("about:blank")
        page.clock.install()
        visits.hosts.add(urlsplit(locked.url).netloc)
        page.route("**/v1/sources?*", lambda route: route.fulfill(status=415, json={"detail": "it has arrived"}))
        slow: list[Route] = []
        page.route("**/v1/models", lambda route: slow.insert(0, route))
        with page.expect_request("**/v1/models"):
            page.goto(locked.url)
        dialog = page.locator("#key-dialog")
        expect(dialog).to_be_visible()
        page.get_by_role("button", name="Later").click()
        with page.expect_response("**/v1/models"):  # a refusal that was under way is no reason to ask again
            slow.pop().continue_()
        with page.expect_response("**/queue"):
            page.clock.fast_forward(9_000)
        expect(page.locator("#server-words")).to_have_text("Needs a key")
        expect(dialog).to_be_hidden()

        dropped(page, "eva.mp4", clip.read_bytes())
        expect(dialog).to_be_visible()
        page.locator("#key-input").fill("guessed")
        page.keyboard.press("Enter")
        expect(page.locator("#key-said")).to_contain_text("not one of")
        page.locator("#key-input").fill(KEY)
        with page.expect_request("**/v1/sources?*") as sent:
            page.keyboard.press("Enter")
        assert f"Bearer {KEY}" == sent.value.headers["authorization"]
        expect(page.locator("#source-fault")).to_contain_text("It has arrived")
        page.close()  # before the server ends, which it would tell the console


def test_nothing_can_be_started_that_was_not_shown(visits: Visits, server: Served, clip: Path) -> None:
    """With another size, or another video, Start is shut at once and stays so until the plan for that is there."""
    page = visits.open(server.url)
    dropped(page, "eva.mp4", clip.read_bytes())
    expect(page.locator("#start")).to_be_enabled(timeout=LONG)

    shut = """() => { document.querySelector("input[name=size][value='4']").click();
      return document.getElementById("start").disabled; }"""
    assert page.evaluate(shut)
    expect(page.locator("#start")).to_be_enabled(timeout=LONG)
    expect(page.locator("#plan-target")).to_have_text("1920 × 1080")
    page.get_by_role("button", name="Another video").click()
    expect(page.locator("#start")).to_be_disabled()
    expect(page.locator("#plan-body")).to_be_hidden()


def test_the_picture_of_a_video_that_was_put_away_is_not_shown(visits: Visits, server: Served, clip: Path) -> None:
    """It may arrive after the next video's own."""
    page = visits.open(server.url)
    held: list[Route] = []
    page.route("**/poster.jpg", lambda route: held.append(route) if not held else route.continue_())
    dropped(page, "first.mp4", clip.read_bytes())
    expect(page.locator("#probe-name")).to_have_text("first.mp4", timeout=LONG)
    page.get_by_role("button", name="Another video").click()
    dropped(page, "second.mp4", clip.read_bytes())
    expect(page.locator("#probe-name")).to_have_text("second.mp4", timeout=LONG)
    expect(page.locator("#probe-poster")).to_be_visible(timeout=LONG)
    own = page.locator("#probe-poster").get_attribute("src")

    with contextlib.suppress(Error):  # nobody waits for it any more
        held[0].continue_()
    page.evaluate("async () => (await fetch('/queue')).text()")  # a whole question later
    expect(page.locator("#probe-poster")).to_have_attribute("src", own or "")


def test_what_was_chosen_is_previewed_and_outlives_a_reload(visits: Visits, server: Served, clip: Path) -> None:
    """The preview is of the model that the plan has, until a person picks others; answers are not asked for twice."""
    page = visits.open(server.url)
    dropped(page, "eva.mp4", clip.read_bytes())
    expect(page.locator("#start")).to_be_enabled(timeout=LONG)

    page.locator("input[name=size][value='4']").check()
    page.locator("input[name=model][value='balanced']").check()
    expect(page.locator("#preview-models input[value='balanced']")).to_be_checked(timeout=LONG)
    expect(page.locator("#preview-models input[value='fast']")).not_to_be_checked()
    page.reload()

    expect(page.locator("input[name=size][value='4']")).to_be_checked(timeout=LONG)
    expect(page.locator("input[name=model][value='balanced']")).to_be_checked(timeout=LONG)


def test_a_job_is_run_again_in_a_tab_that_knows_nothing_of_it(visits: Visits, server: Served, clip: Path) -> None:
    """Its video is asked for in words that are seen; its settings wait for it, also those that the form cannot say."""
    asked = {"target": "720p", "model": "fast"}
    made = server.client.post("/v1/jobs", files={"file": ("eva.mp4", clip.read_bytes())}, data=asked).json()
    page = visits.open(server.url)
    row = page.locator(f"[data-job='{made['id']}']")
    ends(row)
    dropped(page, "other.mp4", clip.read_bytes())
    expect(page.locator("#start")).to_be_enabled(timeout=LONG)

    row.get_by_role("button", name="Result").click()
    row.get_by_role("button", name="Run again with…").click()
    expect(page.locator("#source-note")).to_contain_text("again")
    expect(page.locator("#workbench")).to_be_hidden()
    dropped(page, "eva.mp4", clip.read_bytes())

    expect(page.locator("input[name=size][value='asked']")).to_be_checked(timeout=LONG)
    expect(page.locator("input[name=model][value='fast']")).to_be_checked()
    expect(page.locator("#plan-target")).to_have_text("1280 × 720", timeout=LONG)


def test_measuring_and_a_self_test_give_numbers(visits: Visits, server: Served, clip: Path) -> None:
    """Measured figures say so; a self-test's table has the quality of each side."""
    page = visits.open(server.url)
    dropped(page, "eva.mp4", clip.read_bytes())
    expect(page.locator("#start")).to_be_enabled(timeout=LONG)

    page.get_by_role("button", name="Measure exactly").click()
    expect(page.locator("#plan-figures")).to_contain_text("measured on pieces of this video", timeout=LONG)
    page.locator("#preview-self").check()
    page.get_by_role("button", name="Show all of it").click()
    expect(page.locator("#preview-result")).to_be_focused(timeout=LONG)

    facts = page.locator("compare-view").get_by_role("table")
    expect(facts).to_contain_text("PSNR")
    expect(facts).to_contain_text("dB")
    expect(page.locator("#preview-verdict")).to_contain_text("SSIM: of 1; higher is better")


def test_a_preview_is_waited_for_through_an_outage(visits: Visits, server: Served, clip: Path) -> None:
    """Nobody has to press again: the page asks until the server answers, and shows what was made meanwhile."""
    page = visits.open(server.url)
    visits.allowed += cut_off("ERR_FAILED")
    dropped(page, "eva.mp4", clip.read_bytes())
    expect(page.locator("#start")).to_be_enabled(timeout=LONG)
    lost = iter(range(2))
    page.route("**/v1/previews/*", lambda one: one.continue_() if next(lost, None) is None else one.abort())

    page.get_by_role("button", name="Show all of it").click()
    expect(page.locator("#preview-words")).to_contain_text("does not answer", timeout=LONG)

    expect(page.locator("#preview-result")).to_be_visible(timeout=LONG)
    expect(page.locator("#preview-fault")).to_be_hidden()


def test_figures_are_said_as_exactly_as_people_know_them(visits: Visits, server: Served) -> None:
    """29.97 frames a second are not 30, and nothing is rounded up into a number that has a name of its own."""
    page = visits.open_bare(server.url)

    said = page.evaluate(
        """async () => { const words = await import("/static/words.js");
        return [[30000 / 1001, 24000 / 1001, 25, 60000 / 1001].map(words.rate),
          [999, 1000, 999_999, 1_500_000].map(words.bytes), [59.6, 86_399].map(words.duration)]; }"""
    )

    assert [
        ["29.97", "23.976", "25", "59.94"],
        ["999 bytes", "1 kB", "1 MB", "1.5 MB"],
        ["1 min", "1 day"],
    ] == said


@pytest.mark.parametrize(
    ("link", "end"),
    [
        ("/files/a.mp4?expires=1795273800&signature=ab", "2026-11-21T15:10:00.000Z"),
        ("https://s3/a?X-Amz-Date=20261231T235000Z&X-Amz-Expires=900&X-Amz-Signature=ab", "2027-01-01T00:05:00.000Z"),
        ("/v1/jobs/1/output", None),
    ],
)
def test_a_link_tells_how_long_it_works(visits: Visits, server: Served, link: str, end: str | None) -> None:
    """Those of the local store and of object stores both; one that asks for the key has no end."""
    page = visits.open_bare(server.url)

    told = page.evaluate(
        """async (link) => { const { endOf } = await import("/static/link_life.js");
        return endOf(link)?.toISOString() ?? null; }""",
        link,
    )

    assert end == told


def test_every_control_has_a_name_and_ids_are_given_once(visits: Visits, server: Served, clip: Path) -> None:
    """What a screen reader says of each control is not empty: of a preview, a result and the key's dialog, too."""
    page = visits.open(server.url)
    dropped(page, "eva.mp4", clip.read_bytes())
    expect(page.locator("#start")).to_be_enabled(timeout=LONG)
    page.locator("#advanced summary").click()
    page.get_by_role("button", name="Show all of it").click()
    expect(page.locator("#preview-result")).to_be_visible(timeout=LONG)
    row = started(page, "2")
    ends(row)
    row.get_by_role("button", name="Result").click()
    expect(row.locator("summary")).to_contain_text("checks passed")

    assert LEAST_CONTROLS <= named(page.locator("body"))
    assert 8 <= named(page.locator("compare-view"))  # what is inside of a component is looked at
    assert 4 <= named(row)
    assert [] == page.evaluate(TWICE)
    levels = [int(one[1]) for one in json.loads(page.evaluate(HEADINGS))]
    assert all(after <= before + 1 for before, after in itertools.pairwise(levels)), levels
    page.locator("#key").evaluate("(button) => { button.hidden = false; button.click(); }")
    assert 3 == named(page.get_by_role("dialog"))


def named(place: Locator) -> int:
    """Check that each control that is seen in a place has a name, and return how many there are."""
    seen = [one for one in place.locator(CONTROLS).all() if one.is_visible()]
    for control in seen:
        expect(control).to_have_accessible_name(NAMED)
    return len(seen)
