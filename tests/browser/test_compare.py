"""`<compare-view>` in a real browser, on a real server under its real policy: what is cut, where, and which frame."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterator

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Locator, Page, Route, expect

from tests.browser.conftest import Visits
from tests.support.film_bytes import FRAMES, READ_NUMBER, TICKS, TIMES, film
from tests.support.image_served import ImagesServed, image_settings, serving_images

RED, BLUE = (200, 30, 30), (30, 30, 200)

SHOW = """async ({ items, times, kind }) => {
  await import("/static/compare.js");
  const view = document.createElement("compare-view");
  document.querySelector("main").prepend(view);
  view.frameTimes = times;
  view.items = await Promise.all(items.map(async ([name, label, path]) => {
    const blob = await (await fetch(path)).blob();
    return { name, label, kind, blobUrl: URL.createObjectURL(blob), facts: { Name: name } };
  }));
  const layers = [...view.shadowRoot.querySelectorAll(".layer")];
  await Promise.all(layers.map((one) => new Promise((done) => {
    if (one.complete || one.readyState >= 2) done();
    one.addEventListener(kind === "video" ? "loadeddata" : "load", done, { once: true });
  })));
}"""
STATE = """(view) => {
  const panes = [...view.shadowRoot.querySelectorAll(".pane")];
  const layer = panes.at(-1).querySelector(".layer");
  return {
    cuts: panes.map((one) => one.style.clipPath),
    away: panes.map((one) => one.classList.contains("away")),
    boxes: panes.map((one) => one.getBoundingClientRect().toJSON()),
    places: panes.map((one) => one.querySelector(".layer").getBoundingClientRect().toJSON()),
    pixels: layer.classList.contains("pixels"),
    rendering: getComputedStyle(layer).imageRendering,
    position: view.position, mode: view.mode, zoom: view.zoom, chosen: view.chosen,
    frame: view.frame, playing: view.playing,
  };
}"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ImagesServed]:
    """Give an image server: the component and its policy are the same on both servers."""
    with serving_images(image_settings(tmp_path_factory.mktemp("state"))) as running:
        yield running


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """Give three films of the same frames that are coded differently."""
    folder = tmp_path_factory.mktemp("films")
    options = {"before": {"bf": "2", "g": "30"}, "fast": {"bf": "0", "g": "8", "crf": "32"}, "fine": {"g": "60"}}
    return {name: film(folder, name, **given) for name, given in options.items()}


def plain(colour: tuple[int, int, int], width: int = 400, height: int = 300) -> bytes:
    """Return the PNG of one colour with a white pixel in its middle."""
    pixels = np.full((height, width, 3), colour, np.uint8)
    pixels[height // 2, width // 2] = 255
    output = io.BytesIO()
    Image.fromarray(pixels).save(output, "PNG")
    return output.getvalue()


def with_pictures(visits: Visits, server: ImagesServed, **options: object) -> tuple[Page, Locator]:
    """Open a page that compares a red picture with a blue one."""
    files = {"before": plain(RED), "fast": plain(BLUE)}
    return shown(visits, server, files, "image", **options)


def giving(content: bytes) -> Callable[[Route], None]:
    """Return what answers a request with these bytes."""
    return lambda route: route.fulfill(body=content)


def shown(
    visits: Visits, server: ImagesServed, files: dict[str, bytes], kind: str, **options: object
) -> tuple[Page, Locator]:
    """Open a page of the server and put the component into it."""
    page = visits.open_bare(server.url, **options)
    for name, content in files.items():
        page.route(f"**/given/{name}", giving(content))
    items = [(name, name.capitalize(), f"/given/{name}") for name in files]
    times = [time / TICKS for time in TIMES] if kind == "video" else []
    page.evaluate(SHOW, {"items": items, "times": times, "kind": kind})
    return page, page.locator("compare-view")


def numbers(view: Locator) -> list[int | None]:
    """Return the number of the frame that each video shows."""
    found = f"""(view) => [...view.shadowRoot.querySelectorAll("video")].map({READ_NUMBER})"""
    shown_numbers: list[int | None] = view.evaluate(found)
    return shown_numbers


def colours(view: Locator) -> list[tuple[int, ...]]:
    """Return the colours a quarter and three quarters across the stage, a quarter down, as they are on the screen."""
    image = Image.open(io.BytesIO(view.locator(".stage").screenshot())).convert("RGB")
    row = image.height // 4
    return [image.getpixel((image.width * quarter // 4, row)) for quarter in (1, 3)]


def test_the_line_follows_the_mouse_and_cuts_both_pictures_there(visits: Visits, server: ImagesServed) -> None:
    """Left of it the first picture is seen and right of it the second, in the style and on the screen."""
    page, view = with_pictures(visits, server)
    assert [RED, BLUE] == colours(view)
    box = view.locator(".stage").bounding_box()
    assert box is not None

    page.mouse.move(box["x"] + box["width"] * 0.5, box["y"] + 40)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.9, box["y"] + 40)
    page.mouse.up()
    state = view.evaluate(STATE)

    assert 90 == pytest.approx(state["position"], abs=0.2)  # a pointer stands on whole pixels
    assert cuts(state["position"]) == pytest.approx(numbers_in(state["cuts"]), abs=1e-3)  # a browser's digits
    assert [RED, RED] == colours(view)


def cuts(position: float) -> list[float]:
    """Return the insets of the first picture and of the second, per cent: top, right, bottom, left."""
    return [0, 100 - position, 0, 0, 0, 0, 0, position]


def numbers_in(styles: list[str]) -> list[float]:
    """Return the four insets of each style; a browser leaves out those that repeat."""
    found = []
    for style in styles:
        values = [float(one) for one in re.findall(r"[\d.]+", style)]
        top, right, *rest = values
        found += [top, right, rest[0] if rest else top, rest[1] if len(rest) > 1 else right]
    return found


def test_the_line_is_a_slider_for_keys_and_is_named(visits: Visits, server: ImagesServed) -> None:
    """Home, End and arrows move it as they move any slider, and it says what is left and right of it."""
    page, view = with_pictures(visits, server)
    slider = view.get_by_role("slider", name="Place of the line")

    slider.focus()
    page.keyboard.press("Home")
    least = view.evaluate(STATE)
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    two = view.evaluate(STATE)
    page.keyboard.press("End")

    assert cuts(0) == numbers_in(least["cuts"])
    assert cuts(2) == numbers_in(two["cuts"])
    assert [RED, RED] == colours(view)
    assert "100 % Before, the rest Fast" == slider.get_attribute("aria-valuetext")


def test_arrows_on_the_picture_move_the_line_too(visits: Visits, server: ImagesServed) -> None:
    """Who has clicked into the picture need not look for the slider."""
    page, view = with_pictures(visits, server)

    view.locator(".stage").focus()
    page.keyboard.press("ArrowLeft")

    assert cuts(49) == numbers_in(view.evaluate(STATE)["cuts"])


def test_side_by_side_shows_both_whole_and_without_a_cut(visits: Visits, server: ImagesServed) -> None:
    """The two panes stand beside each other, equally large, with the same part of the picture in each."""
    _page, view = with_pictures(visits, server)

    view.get_by_role("button", name="Side by side").click()
    state = view.evaluate(STATE)
    before, fast = state["boxes"]

    assert ["", ""] == state["cuts"]
    assert before["width"] == pytest.approx(fast["width"])
    assert before["right"] == pytest.approx(fast["left"])
    assert [RED, BLUE] == colours(view)
    assert "true" == view.get_by_role("button", name="Side by side").get_attribute("aria-pressed")


def test_a_held_key_or_press_shows_the_first_picture_until_it_is_let_go(visits: Visits, server: ImagesServed) -> None:
    """Space, a press on the picture and the button do the same, and a lost focus lets go."""
    page, view = with_pictures(visits, server)
    view.get_by_role("button", name="Hold", exact=True).click()
    stage = view.locator(".stage")
    seen = [colours(view)]

    stage.focus()
    page.keyboard.down("Space")
    seen.append(colours(view))
    page.keyboard.up("Space")
    seen.append(colours(view))
    stage.hover()
    page.mouse.down()
    seen.append(colours(view))
    page.mouse.up()
    held = view.get_by_role("button", name="Hold to see “Before”")
    held.focus()
    page.keyboard.down("Enter")
    seen.append(colours(view))
    view.get_by_role("button", name="Fit").focus()
    seen.append(colours(view))
    page.keyboard.up("Enter")
    stage.focus()
    page.keyboard.down("Space")
    view.get_by_role("button", name="Fit").focus()
    seen.append(colours(view))

    assert [[BLUE] * 2, [RED] * 2, [BLUE] * 2, [RED] * 2, [RED] * 2, [BLUE] * 2, [BLUE] * 2] == seen


def test_number_keys_switch_in_place(visits: Visits, server: ImagesServed) -> None:
    """1 is the first picture and 2 the second; a number that nothing has changes nothing."""
    page, view = with_pictures(visits, server)
    view.get_by_role("button", name="Switch").click()
    seen = []

    for key in "129":
        page.keyboard.press(key)
        seen.append(colours(view))

    assert [[RED] * 2, [BLUE] * 2, [BLUE] * 2] == seen
    assert "Seen: Fast. The number keys switch." == view.get_by_role("status").inner_text()


@pytest.mark.parametrize("ratio", [1, 2])
def test_magnified_pixels_are_pixels_of_the_screen(visits: Visits, server: ImagesServed, ratio: int) -> None:
    """4:1 makes exactly four of the screen's pixels of one, unsmoothed, whatever the screen's density is."""
    _page, view = with_pictures(visits, server, device_scale_factor=ratio)

    view.get_by_role("button", name="4:1").click()
    state = view.evaluate(STATE)

    assert {4 * 400 / ratio} == {box["width"] for box in state["places"]}
    assert {4 * 300 / ratio} == {box["height"] for box in state["places"]}
    assert "pixelated" == state["rendering"]


def test_a_magnified_picture_is_moved_by_dragging_and_by_arrows_and_both_move_alike(
    visits: Visits, server: ImagesServed
) -> None:
    """The pictures stay on each other, and neither leaves the stage."""
    page, view = with_pictures(visits, server)
    view.get_by_role("button", name="4:1").click()
    box = view.locator(".stage").bounding_box()
    assert box is not None
    states = [view.evaluate(STATE)]

    page.mouse.move(box["x"] + 100, box["y"] + 100)
    page.mouse.down()
    page.mouse.move(box["x"] + 150, box["y"] + 130)
    page.mouse.up()
    states.append(view.evaluate(STATE))
    view.locator(".stage").focus()
    for _ in range(30):
        page.keyboard.press("ArrowLeft")
    states.append(view.evaluate(STATE))

    places = [state["places"] for state in states]
    assert all(first["left"] == second["left"] and first["top"] == second["top"] for first, second in places)
    assert 50 == pytest.approx(places[1][0]["left"] - places[0][0]["left"], abs=1)  # placed on whole pixels
    assert 30 == pytest.approx(places[1][0]["top"] - places[0][0]["top"], abs=1)
    assert box["x"] == pytest.approx(places[2][0]["left"], abs=1)


def test_one_step_shows_the_same_next_frame_in_every_video(
    visits: Visits, server: ImagesServed, films: dict[str, bytes]
) -> None:
    """Pixels of three differently coded films, read back, carry the number that the player says, forth and back."""
    _page, view = shown(visits, server, films, "video")
    view.get_by_role("button", name="Switch").click()
    read, said = [], []

    for steps in (1, 1, 1, 5, -1, 1000, -1, -1000):
        view.evaluate("(view, steps) => view.step(steps)", steps)
        read.append(numbers(view))
        said.append(view.evaluate("(view) => view.frame"))

    expected = [1, 2, 3, 8, 7, FRAMES - 1, FRAMES - 2, 0]
    assert expected == said
    assert [[number] * 3 for number in expected] == read
    assert f"1 / {FRAMES}" == view.locator(".number").inner_text()


def test_keys_step_and_the_slider_scrubs(visits: Visits, server: ImagesServed, films: dict[str, bytes]) -> None:
    """Full stop and comma are a frame on and back; the slider's place is a frame and says so."""
    page, view = shown(visits, server, films, "video")
    settled = "(view) => view.step(0)"

    view.locator(".stage").focus()
    for key in "...,":
        page.keyboard.press(key)
        view.evaluate(settled)
    after_keys = numbers(view)[:2]
    scrub = view.get_by_role("slider", name="Frame")
    scrub.focus()
    page.keyboard.press("End")
    page.keyboard.press("ArrowLeft")
    view.evaluate(settled)

    assert [2, 2] == after_keys
    assert [FRAMES - 2] * 2 == numbers(view)[:2]
    assert f"Frame {FRAMES - 1} of {FRAMES}" == scrub.get_attribute("aria-valuetext")


def test_after_a_pause_all_videos_show_one_frame(visits: Visits, server: ImagesServed, films: dict[str, bytes]) -> None:
    """They play in step, muted, and when they stand still no two differ."""
    _page, view = shown(visits, server, films, "video")
    pauses = []

    for _ in range(3):
        view.evaluate("""async (view) => {
          const begun = view.frame;
          await view.play();
          await new Promise((done) => {
            const look = () => (Math.abs(view.frame - begun) > 8 ? done() : requestAnimationFrame(look));
            look();
          });
          const [before, fast] = view.shadowRoot.querySelectorAll("video");
          before.currentTime = fast.currentTime + 0.1; // as a slow decoder might
          await view.pause();
        }""")
        pauses.append((view.evaluate("(view) => view.frame"), numbers(view)[:2]))

    assert [[frame, frame] for frame, _ in pauses] == [read for _, read in pauses]
    assert view.evaluate("(view) => [...view.shadowRoot.querySelectorAll('video')].every((one) => one.muted)")


def test_a_video_that_fell_behind_is_brought_back_while_the_other_plays_on(
    visits: Visits, server: ImagesServed, films: dict[str, bytes]
) -> None:
    """One that is more than a quarter of a second off is seeked: to hurry it would take longer than the film."""
    _page, view = shown(visits, server, films, "video", reduced_motion="reduce")  # it stops at the end

    off, playing = view.evaluate("""async (view) => {
      const [before, fast] = view.shadowRoot.querySelectorAll("video");
      await view.step(15);
      await view.play();
      before.currentTime = 0;
      await new Promise((done) => before.addEventListener("seeked", done, { once: true }));
      const off = () => Math.abs(before.currentTime - fast.currentTime);
      while (off() > 0.25 && view.playing) await new Promise(requestAnimationFrame);
      return [off(), view.playing];
    }""")

    assert off <= 0.25
    assert playing


def test_frames_that_pass_are_not_spoken(visits: Visits, server: ImagesServed, films: dict[str, bytes]) -> None:
    """A screen reader hears the place when it stands still or was chosen, and never "1, 2, 3" all through a film."""
    _page, view = shown(visits, server, films, "video")
    scrub = view.get_by_role("slider", name="Frame")
    view.evaluate("(view) => view.step(0)")
    assert f"Frame 1 of {FRAMES}" == scrub.get_attribute("aria-valuetext")

    spoken = view.evaluate("""async (view) => {
      const scrub = view.shadowRoot.querySelector(".scrub");
      const words = new Set();
      new MutationObserver(() => words.add(scrub.getAttribute("aria-valuetext"))).observe(scrub, { attributes: true });
      await view.play();
      while (view.frame < 8) await new Promise(requestAnimationFrame);
      const whilePlaying = [...words];
      await view.pause();
      return whilePlaying;
    }""")

    assert [] == [words for words in spoken if words != f"Frame 1 of {FRAMES}"]
    assert re.fullmatch(rf"Frame \d+ of {FRAMES}", scrub.get_attribute("aria-valuetext") or "")
    assert f"Frame 1 of {FRAMES}" != scrub.get_attribute("aria-valuetext")
    assert 1 == view.locator("[role=status], [aria-live], output").count()  # what is compared, in words
    assert "true" == view.locator(".number").get_attribute("aria-hidden")


@pytest.mark.parametrize("mode", ["wipe", "side", "hold", "switch"])
def test_what_is_not_seen_yet_is_on_the_same_frame_when_it_is(
    visits: Visits, server: ImagesServed, films: dict[str, bytes], mode: str
) -> None:
    """A held or switched picture is there at once and on the right frame, also one that was chosen later."""
    _page, view = shown(visits, server, films, "video")
    view.evaluate("(view, mode) => (view.mode = mode)", mode)
    view.evaluate("(view) => view.step(7)")
    stepped = numbers(view)[:2]
    view.evaluate("(view) => { view.chosen = 2; return view.step(0); }")

    assert [7, 7] == stepped
    assert 7 == numbers(view)[2]


def test_nothing_plays_by_itself(visits: Visits, server: ImagesServed, films: dict[str, bytes]) -> None:
    """Videos are shown standing, on their first frame."""
    _page, view = shown(visits, server, films, "video")
    view.evaluate("(view) => view.step(0)")

    assert not view.evaluate(STATE)["playing"]
    assert [0, 0] == numbers(view)[:2]


def test_at_the_end_it_begins_again_or_stays_on_the_last_frame(
    visits: Visits, server: ImagesServed, films: dict[str, bytes]
) -> None:
    """The button decides; who asked the system for less motion finds it off."""
    _page, view = shown(visits, server, films, "video", reduced_motion="reduce")
    again = view.get_by_role("button", name="Begin again at the end")
    assert "false" == again.get_attribute("aria-pressed")

    stopped = view.evaluate("""async (view) => {
      await view.step(30);
      await view.play();
      while (view.playing) await new Promise(requestAnimationFrame);
      await view.step(0);
      return view.frame;
    }""")
    last = numbers(view)[:2]
    again.click()
    begun = view.evaluate("""async (view) => {
      await view.play();
      await view.pause();
      await view.step(30);
      await view.play();
      while (view.frame > 20) await new Promise(requestAnimationFrame);
      return view.playing;
    }""")

    assert FRAMES - 1 == stopped
    assert [FRAMES - 1] * 2 == last
    assert begun


def test_a_video_that_is_a_little_off_is_hurried_and_not_seeked(
    visits: Visits, server: ImagesServed, films: dict[str, bytes]
) -> None:
    """A jump would be seen; a few per cent of speed are not."""
    _page, view = shown(visits, server, films, "video")

    rates = view.evaluate("""async (view) => {
      const [before, fast] = view.shadowRoot.querySelectorAll("video");
      await view.play();
      const seen = [];
      for (const off of [0.12, -0.12]) {
        await new Promise((done) => {
          before.addEventListener("seeked", done, { once: true });
          before.currentTime = fast.currentTime + off;
        });
        let seeks = 0;
        before.addEventListener("seeked", () => (seeks += 1));
        while (before.playbackRate === 1 && !seeks) await new Promise(requestAnimationFrame);
        seen.push(before.playbackRate);
        await view.pause();
        await view.step(-1000);
        await view.play();
      }
      return seen;
    }""")

    assert all(rate != 1 for rate in rates)


def test_a_double_click_magnifies_there_and_takes_it_back(visits: Visits, server: ImagesServed) -> None:
    """What is under the pointer comes to the middle."""
    page, view = with_pictures(visits, server, viewport={"width": 500, "height": 500})
    large = {"x": 200, "y": 120}

    view.locator(".stage").dblclick(position=large)
    magnified = view.evaluate(STATE)
    view.locator(".stage").dblclick(position=large)

    assert (1, 0) == (magnified["zoom"], view.evaluate(STATE)["zoom"])
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_a_magnified_line_is_dragged_where_it_is_and_the_picture_elsewhere(
    visits: Visits, server: ImagesServed
) -> None:
    """Near the line a drag is the line's; away from it the picture moves and the line stays."""
    page, view = with_pictures(visits, server)
    view.get_by_role("button", name="4:1").click()
    box = view.locator(".stage").bounding_box()
    assert box is not None
    middle, row = box["x"] + box["width"] / 2, box["y"] + 60
    states = [view.evaluate(STATE)]

    for start in (middle + 10, middle - 200):
        page.mouse.move(start, row)
        page.mouse.down()
        page.mouse.move(start + 60, row)
        page.mouse.up()
        states.append(view.evaluate(STATE))

    first, dragged, moved = states
    assert first["places"] == dragged["places"]
    assert first["position"] < dragged["position"] == moved["position"]
    assert dragged["places"][0]["left"] < moved["places"][0]["left"]


def test_full_screen_is_entered_and_left_and_the_picture_fills_it(visits: Visits, server: ImagesServed) -> None:
    """By the button and by a key; the controls stay."""
    page, view = with_pictures(visits, server)

    view.get_by_role("button", name="Full screen").click()
    page.wait_for_function("() => document.fullscreenElement?.localName === 'compare-view'")
    page.wait_for_function("""() => {
      const stage = document.querySelector("compare-view").shadowRoot.querySelector(".stage");
      return stage.clientHeight > innerHeight * 0.7;
    }""")
    expect(view.get_by_role("button", name="Side by side")).to_be_visible()
    page.keyboard.press("f")
    page.wait_for_function("() => !document.fullscreenElement")


def test_what_cannot_be_shown_is_said(visits: Visits, server: ImagesServed) -> None:
    """A picture that is none is words in its place, never an empty box."""
    page = visits.open_bare(server.url)
    page.route("**/given/*", lambda route: route.fulfill(body=b"no picture"))

    page.evaluate("""async () => {
      await import("/static/compare.js");
      const view = document.createElement("compare-view");
      document.querySelector("main").prepend(view);
      view.items = [{ name: "a", label: "Before", kind: "image", url: "/given/a" },
                    { name: "b", label: "Fast", kind: "video", url: "/given/b" }];
    }""")
    expect(page.get_by_text("This browser cannot show “Before”.")).to_be_attached()
    expect(page.get_by_text("This browser cannot show “Fast”.")).to_be_attached()


@pytest.mark.parametrize(("width", "scheme"), [(320, "light"), (390, "dark")])
def test_on_a_phone_nothing_is_cut_off_and_a_finger_moves_the_line(
    visits: Visits, server: ImagesServed, films: dict[str, bytes], width: int, scheme: str
) -> None:
    """The page is never wider than the screen, and a touch on the picture is a place for the line."""
    page, view = shown(
        visits, server, films, "video", viewport={"width": width, "height": 700}, has_touch=True, color_scheme=scheme
    )
    box = view.locator(".stage").bounding_box()
    assert box is not None

    page.touchscreen.tap(box["x"] + box["width"] * 0.25, box["y"] + 30)

    assert 25 == pytest.approx(view.evaluate(STATE)["position"], abs=1)  # a tap stands on whole pixels
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_every_control_has_a_name_and_can_be_reached_by_tab(
    visits: Visits, server: ImagesServed, films: dict[str, bytes]
) -> None:
    """Tab visits the ways to compare, the pictures, the magnification, the picture, its line and the player."""
    page, view = shown(visits, server, films, "video")
    names = []

    view.get_by_role("button", name="Wipe").focus()
    for _ in range(30):
        name = view.evaluate("""(view) => {
          const at = view.shadowRoot.activeElement;
          return at && (at.getAttribute("aria-label") ?? at.textContent);
        }""")
        if name is None:
            break
        names.append(name.strip())
        page.keyboard.press("Tab")

    assert [
        "Wipe", "Side by side", "Hold", "Switch", "B Fast", "C Fine", "Fit", "1:1", "2:1", "4:1", "Full screen",
        "Before and Fast", "Place of the line", "Play", "One frame back (key ,)", "One frame on (key .)", "Frame",
        "Begin again at the end", "Keys", "Facts",
    ] == names  # fmt: skip
