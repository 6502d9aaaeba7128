"""The video page's questions in a real browser: sizes, models, the preview's answers, an address, a phone's Start.

Sources and plans are real; nothing is upscaled here.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, Route, expect

from tests.browser.conftest import Visits, answered
from tests.support.clip_spec import Clip, Picture
from tests.support.clip_writer import write_clip
from tests.support.film_bytes import FRAMES, TICKS, TIMES, film
from tests.support.served import LookingPool, Served, serving, settings_in
from upscale_server.errors import NothingToUpscale
from upscale_server.geometry import TASKS, fit_to, target_of
from upscale_server.media.types import Size
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
    visits.allowed += answered(422, 502, 504)  # there is nobody at that door
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


def test_models_are_asked_for_until_they_are_told(visits: Visits, server: Served) -> None:
    """One failure leaves words and no empty heading, and nobody has to load the page again."""
    page = visits.open("about:blank")
    visits.allowed += answered(503)
    visits.hosts.add(server.url.removeprefix("http://"))
    refused = iter([{"detail": "not now", "retryable": True}])

    def told(route: Route) -> None:
        said = next(refused, None)
        if said is None:
            route.continue_()
        else:
            route.fulfill(status=503, json=said)

    page.route("**/v1/models", told)

    with page.expect_response("**/v1/models"):
        page.goto(server.url)
    expect(page.locator("#models")).to_contain_text("not known yet")

    expect(page.locator("input[name=model][value='fast']")).to_be_attached(timeout=LONG)
    expect(page.locator("#models")).not_to_contain_text("not known yet")


def test_both_lists_of_models_have_one_order_and_no_kernel_among_networks(
    visits: Visits, server: Served, clip: bytes
) -> None:
    """Lanczos and bicubic stand apart, and bicubic says what it is beside the preview's "before"."""
    page = opened(visits, server, clip)
    names = "(inputs) => inputs.map((one) => one.value).filter(Boolean)"

    goal = page.locator("input[name=model]").evaluate_all(names)
    preview = page.locator("#preview-models input").evaluate_all(names)

    assert {"fast", "balanced", "lanczos", "bicubic"} <= set(goal)
    assert goal == preview
    for place in ("#models", "#preview-models"):
        plain = page.locator(place).get_by_role("group", name="Plain enlargement").locator("input")
        assert {"lanczos", "bicubic"} == set(plain.evaluate_all(names))
    expect(page.locator("#preview-models .check", has_text="bicubic")).to_contain_text("the same as “Before”")


def test_the_plan_names_the_model_that_is_used(visits: Visits, server: Served, clip: bytes) -> None:
    """Also where its reason names another one alone, which is not here."""

    def other(route: Route) -> None:
        found = route.fetch()
        route.fulfill(
            json={**found.json(), "model": "fast", "model_because": "the video is clean, and fast-clean is not here"}
        )

    page = visits.open(server.url)
    page.route("**/v1/plan", other)
    page.evaluate(DROPPED, ["old.mp4", base64.b64encode(clip).decode()])

    expect(page.locator("#plan-model")).to_have_text(
        "Model fast: the video is clean, and fast-clean is not here.", timeout=LONG
    )


def test_a_side_is_asked_for_as_a_number_however_it_is_written(visits: Visits, server: Served, clip: bytes) -> None:
    """The field takes 1e3, which the server does not."""
    page = opened(visits, server, clip)
    page.evaluate(
        """() => {
          const form = document.querySelector("#workbench");
          form.elements.size.value = "custom";
          form.elements.width.value = "1e3";
          form.elements.height.value = "1080.0";
        }"""
    )

    with page.expect_response(lambda one: one.url.endswith("/v1/plan"), timeout=LONG) as answer:
        page.locator("#height").dispatch_event("change")

    assert "1000x1080" == answer.value.request.post_data_json["target"]


def test_a_preview_of_a_video_without_a_plan_is_made_with_what_is_ticked(visits: Visits, server: Served) -> None:
    """What the newest plan ticked stays so until a person ticks another, so that nothing is chosen unseen."""
    page = visits.open(server.url)
    ticked = page.evaluate(
        """async () => {
          const { previewModels } = await import("/static/preview_models.js");
          const models = previewModels(() => {});
          const one = (name) => ({ name, kind: "network", scales: [2], summary: "" });
          models.offer([one("fast"), one("balanced")], "balanced");
          models.begin(null);
          const usual = models.ticked();
          models.begin([]);
          return [usual, models.ticked()];
        }"""
    )

    assert [["balanced"], []] == ticked


def test_a_size_says_what_this_video_becomes(visits: Visits, server: Served, clip: bytes) -> None:
    """A 4:3 video does not become 1920 wide; what is said is what is planned, with bars too."""
    page = opened(visits, server, clip)
    choice = page.locator(".choice", has=page.locator("input[value='SD2HD']"))

    expect(choice).to_contain_text("1440 × 1080")
    expect(page.locator("#plan-target")).to_have_text("1440 × 1080")
    page.locator("#advanced summary").click()
    page.locator("#fit").select_option("exact")

    expect(choice).to_contain_text("1920 × 1080")
    expect(page.locator("#plan-target")).to_have_text("1920 × 1080", timeout=LONG)


def test_sizes_that_make_little_sense_are_behind_more(visits: Visits, server: Served, clip: bytes) -> None:
    """They can still be chosen, are chosen after a reload, and are seen then."""
    page = opened(visits, server, clip)
    visits.allowed += answered(400, 413, 422)  # it may be more than this machine takes
    eight = page.locator("input[name=size][value='4K28K']")

    expect(page.locator("input[name=size][value='SD24K']")).to_be_visible()
    expect(eight).to_be_hidden()
    page.locator("#more-sizes summary").click()
    eight.check()
    page.reload()

    expect(eight).to_be_checked(timeout=LONG)
    expect(eight).to_be_visible()


def test_what_a_task_comes_to_is_foretold_as_the_server_plans_it(visits: Visits, server: Served) -> None:
    """The page's arithmetic and `fit_to` agree on every task, lying and standing, fitted and filled."""
    sizes = [
        (320, 180),
        (480, 270),
        (640, 480),
        (719, 577),
        (854, 480),
        (270, 480),
        (1080, 1920),
        (1919, 1079),
        (100, 9),
    ]
    asked = [(task, *size, fit) for task in TASKS for size in sizes for fit in ("contain", "exact")]
    page = visits.open_bare(server.url)

    said = page.evaluate(BECOMES, asked)

    for (task, width, height, fit), found in zip(asked, said, strict=True):
        try:
            canvas = fit_to(Size(width, height), target_of(task, None, None, fit)).canvas
        except NothingToUpscale:
            assert found["times"] <= 1
        else:
            assert (canvas.width, canvas.height) == (found["width"], found["height"]), (task, width, height, fit)


def test_the_answers_of_a_preview_outlive_a_reload(visits: Visits, server: Served, clip: bytes) -> None:
    """The ticked models, the self-test and the place; another video begins anew."""
    page = opened(visits, server, clip)
    ticks = page.locator("#preview-models input:checked")
    expect(ticks).to_have_count(1)

    page.locator("#preview-models input[value='lanczos']").check()
    page.locator("#preview-self").check()
    page.locator("#preview-start").fill("0.2")
    page.reload()
    expect(page.locator("#preview-models input[value='lanczos']")).to_be_checked(timeout=LONG)
    expect(page.locator("#preview-self")).to_be_checked()
    expect(page.locator("#preview-start")).to_have_value("0.2")
    expect(ticks).to_have_count(2)

    page.get_by_role("button", name="Another video").click()
    page.evaluate(DROPPED, ["other.mp4", base64.b64encode(clip).decode()])
    expect(page.locator("#start")).to_be_enabled(timeout=LONG)
    expect(page.locator("#preview-self")).not_to_be_checked()
    expect(ticks).to_have_count(1)


def test_a_film_that_does_not_arrive_leaves_the_others(visits: Visits, server: Served, tmp_path: Path) -> None:
    """What came is compared, what did not is said; and where no restored one came, that is said alone."""
    content = film(tmp_path, "numbers")
    page = opened(visits, server, content)
    visits.allowed += answered(404)
    missing = {"balanced.mp4"}
    view = {
        "id": "p1",
        "state": "succeeded",
        "fault": None,
        "width": 320,
        "height": 180,
        "start_seconds": 0,
        "seconds": 3,
        "frames": FRAMES,
        "frame_times": [ticks / TICKS for ticks in TIMES],
        "progress": {"done": FRAMES, "total": FRAMES},
        "before": {"name": "before", "url": "/v1/previews/p1/files/before.mp4"},
        "items": [
            {"model": name, "url": f"/v1/previews/p1/files/{name}.mp4", **NOTHING} for name in ("fast", "balanced")
        ],
        "best": None,
        "crop": None,
        "warnings": [],
    }

    def file(route: Route) -> None:
        if route.request.url.rpartition("/")[2] in missing:
            route.fulfill(status=404, json={"detail": "it was swept away"})
        else:
            route.fulfill(body=content, content_type="video/mp4")

    page.route("**/v1/previews", lambda route: route.fulfill(status=202, json=view))
    page.route("**/v1/previews/p1/files/*", file)
    page.locator("#preview-run").click()
    expect(page.locator("#preview-result")).to_be_focused()

    names = page.locator("compare-view").evaluate("(view) => view.items.map((one) => one.name)")
    assert ["before", "fast"] == names
    expect(page.locator("#preview-said")).to_contain_text("Balanced did not arrive: it was swept away.")
    missing |= {"fast.mp4"}
    page.evaluate("""() => {
      window.kept = new Set();
      const [make, letGo] = [URL.createObjectURL, URL.revokeObjectURL];
      URL.createObjectURL = (one) => { const url = make(one); window.kept.add(url); return url; };
      URL.revokeObjectURL = (url) => { window.kept.delete(url); letGo(url); };
    }""")
    page.locator("#preview-run").click()
    expect(page.locator("#preview-fault")).to_contain_text("It was swept away")
    assert 0 == page.evaluate("window.kept.size")


def test_start_stays_in_reach_on_a_phone(visits: Visits, server: Served, clip: bytes) -> None:
    """What it comes to stands at the bottom edge until Start itself is seen, and a press there starts."""
    page = opened(visits, server, clip, PHONE)
    bar = page.locator("#start-bar")

    page.locator("#goal").scroll_into_view_if_needed()
    expect(bar).to_be_visible()
    expect(bar).to_have_text(re.compile(r"^Start · .*B$"))
    page.locator("#start").scroll_into_view_if_needed()
    expect(bar).to_be_hidden()
    page.locator("#goal legend").scroll_into_view_if_needed()
    expect(bar).to_be_in_viewport()
    bar.click()

    expect(page.locator(".job")).to_be_focused()


def test_on_a_phone_the_way_to_a_refusal_is_one_press(visits: Visits, server: Served, clip: bytes) -> None:
    """Where nothing can be started, the bar leads to the reason."""
    page = opened(visits, server, clip, PHONE)
    visits.allowed += answered(400, 422)
    page.locator("input[name=size][value='custom']").check()
    page.get_by_label("Width").fill("100")
    page.get_by_label("Height").fill("100")
    page.keyboard.press("Tab")

    why = page.get_by_role("button", name="Not like this: see why")
    expect(why).to_be_visible(timeout=LONG)
    why.click()

    expect(page.locator("#plan-fault [role=alert]")).to_be_focused()
    expect(page.locator("#plan-fault [role=alert]")).to_be_in_viewport()


def test_on_a_phone_the_way_to_a_wrong_answer_is_one_press(visits: Visits, server: Served, clip: bytes) -> None:
    """Where an answer cannot be taken, the bar leads to its field."""
    page = opened(visits, server, clip, PHONE)
    page.locator("#advanced summary").click()
    page.locator("#crf").fill("99")
    page.locator("#crf").press("Tab")

    page.get_by_role("button", name="Not like this: see why").click()

    expect(page.locator("#crf")).to_be_focused()


def test_on_a_wide_page_pixels_have_its_width_and_start_is_once(visits: Visits, server: Served, clip: bytes) -> None:
    """The preview is as wide as goal and plan together; the line of the footer is as wide as the page."""
    page = opened(visits, server, clip)

    assert page.locator("#workbench").evaluate(WIDTH) == page.locator("#preview").evaluate(WIDTH)
    assert page.locator(".bottom").evaluate(WIDTH) == page.locator("#workbench").evaluate(WIDTH)
    expect(page.locator("#start-bar")).to_be_hidden()


def test_on_a_wide_page_the_plan_stays_in_view_and_covers_nothing(visits: Visits, server: Served, clip: bytes) -> None:
    """Beside the goal it moves along; the preview below, in which pixels are judged, is never under it."""
    page = opened(visits, server, clip)

    positions = page.evaluate("""() => {
      const rect = (id) => document.getElementById(id).getBoundingClientRect();
      const found = [];
      for (let down = 0; down < document.body.scrollHeight; down += 100) {
        scrollTo(0, down);
        found.push([rect("plan").bottom <= rect("preview").top + 1, rect("plan").top]);
      }
      return found;
    }""")

    assert all(apart for apart, _top in positions)
    assert len({round(top) for _apart, top in positions}) < len(positions), "it moves along for a while"


def test_targets_are_large_enough_for_a_finger(visits: Visits, server: Served, clip: bytes) -> None:
    """24 pixels each way (WCAG 2.2, 2.5.8), by the label where there is one."""
    page = opened(visits, server, clip, PHONE)
    page.locator("#advanced summary").click()

    small = page.evaluate("""() => [...document.querySelectorAll("button, a[href], input, select, summary")]
      .filter((one) => one.checkVisibility() && !one.closest(".only-heard, .skip") && !one.matches(".skip"))
      .map((one) => [one.outerHTML.slice(0, 80), (one.closest("label") ?? one).getBoundingClientRect()])
      .filter(([, { width, height }]) => Math.min(width, height) < 24).map(([text]) => text)""")

    assert [] == small
