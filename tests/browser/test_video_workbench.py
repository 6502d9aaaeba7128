"""The video page's questions in a real browser: sizes, models, the preview's answers, an address, a phone's Start.

Sources and plans are real; nothing is upscaled here.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import Visits
from tests.support.clip_spec import Clip, Picture
from tests.support.clip_writer import write_clip
from tests.support.served import LookingPool, Served, serving, settings_in
from upscale_server.service import VideoService

LONG = 60_000
"""Milliseconds that a plan may take on a busy machine; a limit and no expectation."""
PHONE = {"width": 360, "height": 700}
DROPPED = """async ([name, content]) => {
  const bytes = Uint8Array.from(atob(content), (letter) => letter.charCodeAt(0));
  const carried = new DataTransfer();
  carried.items.add(new File([bytes], name, { type: "video/mp4" }));
  document.body.dispatchEvent(new DragEvent("drop", { dataTransfer: carried, bubbles: true, cancelable: true }));
}"""
DROPPED_LINK = """(address) => {
  const carried = new DataTransfer();
  carried.setData("text/uri-list", address);
  document.body.dispatchEvent(new DragEvent("drop", { dataTransfer: carried, bubbles: true, cancelable: true }));
}"""
DRAG = "(kind) => document.querySelector('.brand').dispatchEvent(new DragEvent(kind, { bubbles: true }))"
BECOMES = """async (asked) => {
  const { becomes } = await import("/static/size_choices.js");
  return asked.map(([task, width, height, fit]) => becomes(task, { width, height }, fit));
}"""
NOTHING = dict.fromkeys(("fps", "seconds", "byte_count", "fault", "quality", "quality_fault"))
SIZES = ((320, 180), (480, 270), (640, 480), (719, 577), (854, 480), (270, 480), (1080, 1920), (1919, 1079), (100, 9))
WIDTH = "(one) => one.getBoundingClientRect().width"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Served]:
    """Give a server that looks at videos and plans, and whose lanes do nothing."""
    with serving(VideoService(settings_in(tmp_path / "state"), LookingPool())) as running:
        yield running


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """Give a video of four seconds that is as high as the old television's, 4:3."""
    picture = Picture(width=640, height=480, frame_count=100, options={"preset": "ultrafast"})
    return write_clip(Clip(pictures=(picture,)), tmp_path_factory.mktemp("clip") / "old.mp4").read_bytes()


def opened(visits: Visits, server: Served, content: bytes, viewport: dict[str, int] | None = None) -> Page:
    """Open the page, drop a video, and wait for its plan."""
    page = visits.open(server.url, viewport=viewport or {"width": 1280, "height": 800})
    page.evaluate(DROPPED, ["old.mp4", base64.b64encode(content).decode()])
    expect(page.locator("#start")).to_be_enabled(timeout=LONG)
    expect(page.locator("input[name=model][value='fast']")).to_be_attached(timeout=LONG)
    return page


def test_a_dropped_address_waits_for_a_press(visits: Visits, server: Served) -> None:
    """It stands in the field, and the server is told of it only when a person says so."""
    page = visits.open(server.url)
    visits.allowed.append("Failed to load resource")  # there is nobody at that door
    sent: list[str] = []
    page.on("request", lambda one: sent.append(one.url) if one.method == "POST" else None)

    page.evaluate(DROPPED_LINK, "http://127.0.0.1:9/film.mp4")

    expect(page.locator("#address")).to_have_value("http://127.0.0.1:9/film.mp4")
    expect(page.locator("#fetch")).to_be_focused()
    expect(page.locator("#source-note")).to_contain_text("Press Fetch")
    assert [] == sent
    with page.expect_request("**/v1/sources") as asked:
        page.keyboard.press("Enter")
    assert {"payload_url": "http://127.0.0.1:9/film.mp4"} == asked.value.post_data_json
    expect(page.locator("#source-fault [role=alert]")).to_be_focused(timeout=LONG)
    expect(page.locator("#address")).to_be_visible()


def test_what_is_dragged_from_this_page_is_no_video(visits: Visits, server: Served) -> None:
    """A link of the page that somebody drags a little is left alone; what comes from elsewhere afterwards is not."""
    page = visits.open(server.url)

    page.evaluate(DRAG, "dragstart")
    page.evaluate(DROPPED_LINK, server.url)
    expect(page.locator("#address")).to_have_value("")
    page.evaluate(DRAG, "dragend")
    page.evaluate(DROPPED_LINK, "https://example.org/film.mp4")

    expect(page.locator("#address")).to_have_value("https://example.org/film.mp4")


def test_where_a_drop_goes_is_seen_also_beside_an_open_video(visits: Visits, server: Served, clip: bytes) -> None:
    """The card of the video is marked, because the place for a drop is not there."""
    page = opened(visits, server, clip)

    page.evaluate("""() => {
      const carried = new DataTransfer();
      carried.setData("text/uri-list", "https://example.org/");
      document.body.dispatchEvent(new DragEvent("dragenter", { dataTransfer: carried, bubbles: true }));
    }""")

    expect(page.locator("#probe")).to_have_class(re.compile("drop--over"))
