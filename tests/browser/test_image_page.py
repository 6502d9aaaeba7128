"""The image server's page in a real browser on a real server: from a dropped picture to its comparison."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Locator, Page, Route, expect
from pydantic import SecretStr

from tests.browser.conftest import Visits, answered, cut_off
from tests.browser.looks import fits, readable
from tests.support.image_served import ImagesServed, image_settings, opened, picture_file, serving_images

KEY = "a-long-key-of-somebody"
DROP = """async ([name, kind, content]) => {
  const bytes = Uint8Array.from(atob(content), (letter) => letter.charCodeAt(0));
  const carried = new DataTransfer();
  carried.items.add(new File([bytes], name, { type: kind }));
  const told = { bubbles: true, cancelable: true };
  document.body.dispatchEvent(new DragEvent("dragover", { ...told, dataTransfer: carried }));
  document.body.dispatchEvent(new DragEvent("drop", { ...told, dataTransfer: carried }));
}"""
PASTE = """([name, kind, content]) => {
  const bytes = Uint8Array.from(atob(content), (letter) => letter.charCodeAt(0));
  const carried = new DataTransfer();
  carried.items.add(new File([bytes], name, { type: kind }));
  document.dispatchEvent(new ClipboardEvent("paste", { clipboardData: carried, bubbles: true }));
}"""
SLOW_BEFORE = """import { beforeOf as made } from "./image_before.js?itself";
let isFirst = true;
export async function beforeOf(source, factor, signal) {
  if (isFirst) await new Promise((resolve) => signal.addEventListener("abort", resolve));
  isFirst = false;
  return made(source, factor, signal);
}"""
"""JavaScript: the module that enlarges the source, which at first takes until it is canceled."""
LEAVES = "() => window.dispatchEvent(new Event('beforeunload', { cancelable: true }))"
"""JavaScript: what a browser asks a page that is about to be left; false where it would ask the person."""
LIVING = """
window.living = { addresses: new Set(), bitmaps: 0, decoded: 0 };
const { createObjectURL, revokeObjectURL } = URL;
URL.createObjectURL = (blob) => {
  const address = createObjectURL.call(URL, blob);
  window.living.addresses.add(address);
  return address;
};
URL.revokeObjectURL = (address) => {
  window.living.addresses.delete(address);
  revokeObjectURL.call(URL, address);
};
const decode = window.createImageBitmap;
window.createImageBitmap = async (...given) => {
  const bitmap = await decode(...given);
  window.living.bitmaps += 1;
  window.living.decoded += 1;
  return bitmap;
};
const { close } = ImageBitmap.prototype;
ImageBitmap.prototype.close = function () {
  window.living.bitmaps -= 1;
  close.call(this);
};"""
"""JavaScript: counts the addresses of blobs and the decoded pictures that nobody has let go."""
LAYER = """async (view, place) => {
  const layer = view.shadowRoot.querySelectorAll("img.layer")[place];
  await layer.decode();
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [layer.naturalWidth, layer.naturalHeight];
  canvas.getContext("2d").drawImage(layer, 0, 0);
  return canvas.toDataURL("image/png").split(",")[1];
}"""
"""JavaScript: one of the compared pictures, as the browser sees it."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ImagesServed]:
    """Give a server that enlarges by Lanczos."""
    with serving_images(image_settings(tmp_path_factory.mktemp("state"))) as running:
        yield running


def visited(visits: Visits, server: ImagesServed, **options: object) -> Page:
    """Open the page and wait until it knows the server."""
    page = visits.open(f"{server.url}/", **options)
    expect(page.locator("#limits")).to_contain_text("megapixels")
    return page


def give(page: Page, *pictures: tuple[str, bytes]) -> None:
    """Choose pictures with the button's own input."""
    files = [{"name": name, "mimeType": "", "buffer": content} for name, content in pictures]
    page.locator("#file").set_input_files(files)  # type: ignore[arg-type] - dictionaries of that shape


def card(page: Page, name: str) -> Locator:
    """Return a picture's card when it has ended."""
    found = listed(page, name)
    expect(found.get_by_role("button", name="Again", exact=True)).to_be_visible()
    return found


def listed(page: Page, name: str) -> Locator:
    """Return a picture's card, however far it is."""
    return page.get_by_role("listitem").filter(has=page.get_by_role("heading", name=name, exact=True))


def prepared(visits: Visits, server: ImagesServed) -> Page:
    """Return a page that has not been opened yet, so that its scripts can be watched."""
    page = visits.open("about:blank")
    visits.hosts.add(server.url.removeprefix("http://"))
    return page


def offered(found: Locator) -> list[str]:
    """Return what a card offers now."""
    return found.locator(".picture-actions > :not([hidden])").all_inner_texts()


def seen(view: Locator, place: int) -> Image.Image:
    """Return one of the compared pictures."""
    return opened(base64.b64decode(view.evaluate(LAYER, place)))


def noise(width: int, height: int) -> Image.Image:
    """Return a picture that no two ways of enlarging agree about; none of them leaves the range of a byte."""
    pixels = np.random.default_rng(7).integers(70, 186, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels, "RGB")


def as_png(image: Image.Image) -> bytes:
    """Return a picture's PNG."""
    output = io.BytesIO()
    image.save(output, "PNG")
    return output.getvalue()


@pytest.mark.parametrize("way", [DROP, PASTE])
def test_a_dropped_or_pasted_picture_is_enlarged_compared_and_downloaded(
    visits: Visits, server: ImagesServed, way: str
) -> None:
    """The downloaded bytes are those that the server gives for the same request."""
    page = visited(visits, server)
    picture = picture_file(40, 30)

    page.evaluate(way, ["cat.png", "image/png", base64.b64encode(picture).decode()])
    done = card(page, "cat.png")
    expect(done).to_contain_text("40 × 30 → 80 × 60")
    expect(done).to_contain_text("lanczos in ")
    with page.expect_download() as download:
        done.get_by_role("link", name="Download").click()
    view = done.locator("compare-view")
    expect(view.get_by_role("slider", name="Place of the line")).to_be_attached()

    assert "cat_x2.png" == download.value.suggested_filename
    expected = server.upscale(picture, upscale=2).content
    assert expected == Path(download.value.path()).read_bytes()
    assert opened(expected).convert("RGBA").tobytes() == seen(view, 1).convert("RGBA").tobytes()


@pytest.mark.parametrize("factor", [2, 4])
def test_before_is_the_source_enlarged_by_true_bicubic(visits: Visits, server: ImagesServed, factor: int) -> None:
    """Pillow's bicubic of the same picture, edges and all; a browser's own smoothing is another picture."""
    source = noise(37, 23)
    page = visited(visits, server)
    page.get_by_role("radio", name=f"× {factor}").check()

    give(page, ("noise.png", as_png(source)))
    view = card(page, "noise.png").locator("compare-view")
    expect(view.get_by_text("Before, bicubic", exact=True)).to_be_attached()
    before = np.asarray(seen(view, 0).convert("RGBA")).astype(int)
    assert 255 == before[:, :, 3].min()
    before = before[:, :, :3]

    expected = np.asarray(source.resize((37 * factor, 23 * factor), Image.Resampling.BICUBIC)).astype(int)
    assert expected.shape == before.shape
    assert np.abs(expected - before).max() <= 2  # Pillow rounds to bytes between its two passes, we round once
    other = np.asarray(source.resize((37 * factor, 23 * factor), Image.Resampling.BILINEAR)).astype(int)
    assert np.abs(other - before).max() > 12


def test_transparency_is_kept_in_both_and_seen_as_a_chequerboard(visits: Visits, server: ImagesServed) -> None:
    """Colours of what is transparent do not bleed into the edge of what is not."""
    pixels = np.zeros((24, 32, 4), np.uint8)
    pixels[:, :, 1] = 255  # green, and seen nowhere
    pixels[6:18, 8:24] = (255, 0, 0, 255)
    page = visited(visits, server)

    give(page, ("logo.png", as_png(Image.fromarray(pixels, "RGBA"))))
    view = card(page, "logo.png").locator("compare-view")
    expect(view.get_by_text("Before, bicubic", exact=True)).to_be_attached()
    before, after = (np.asarray(seen(view, place).convert("RGBA")) for place in (0, 1))
    background = view.locator("img.layer").first.evaluate("(layer) => getComputedStyle(layer).backgroundImage")

    assert (0, 255) == (before[2, 2, 3], before[24, 32, 3])
    assert (0, 255) == (after[2, 2, 3], after[24, 32, 3])
    assert before[before[:, :, 3] > 8][:, 1].max() < 40  # what is nearly transparent has few levels for its colour
    assert "conic-gradient" in background


def test_a_turned_photo_stands_upright_in_both(visits: Visits, server: ImagesServed) -> None:
    """A camera's orientation is applied to the source as the server applies it to the result."""
    image = Image.open(io.BytesIO(picture_file(40, 20)))
    exif = Image.Exif()
    exif[0x0112] = 6
    output = io.BytesIO()
    image.save(output, "JPEG", quality=95, exif=exif)
    page = visited(visits, server)

    give(page, ("photo.jpg", output.getvalue()))
    done = card(page, "photo.jpg")
    expect(done).to_contain_text("20 × 40 → 40 × 80")
    view = done.locator("compare-view")
    expect(view.get_by_text("Before, bicubic", exact=True)).to_be_attached()
    before, after = (np.asarray(seen(view, place).convert("RGB")).astype(int) for place in (0, 1))

    assert (80, 40, 3) == before.shape == after.shape
    assert np.abs(before - after).mean() < 6  # two kernels on a smooth picture; upside down it would be 60


def test_what_the_browser_cannot_show_is_enlarged_all_the_same(visits: Visits, server: ImagesServed) -> None:
    """A TIFF has no "before" in Chromium: that is said, and its result is shown."""
    page = visited(visits, server)

    give(page, ("scan.tiff", picture_file(20, 16, "TIFF")))
    done = card(page, "scan.tiff")

    expect(done.get_by_text("Your browser cannot show the source")).to_be_visible()
    expect(done.locator("compare-view").get_by_role("group", name="Way to compare")).to_be_hidden()
    assert (40, 32) == seen(done.locator("compare-view"), 0).size


def test_several_pictures_are_a_list_and_one_comparison_is_open(visits: Visits, server: ImagesServed) -> None:
    """One that is refused says why in its own card, with what to do; the others go on."""
    page = visited(visits, server)
    visits.allowed += answered(415)

    give(page, ("one.png", picture_file()), ("none.png", b"no picture"), ("two.png", picture_file(16, 16)))
    first, second, refused = (card(page, name) for name in ("one.png", "two.png", "none.png"))

    expect(refused.get_by_role("alert")).to_contain_text("none.png is no picture that can be read")
    expect(page.get_by_role("link", name="Download")).to_have_count(2)
    expect(page.locator("compare-view").filter(visible=True)).to_have_count(1)
    shut = first if first.locator("compare-view").is_hidden() else second
    shut.get_by_role("button", name="Compare").click()
    expect(shut.locator("compare-view")).to_be_visible()
    refused.get_by_role("button", name="Remove").click()
    expect(page.get_by_role("listitem")).to_have_count(2)


def test_warnings_are_sentences(visits: Visits, server: ImagesServed) -> None:
    """A transparent picture saved as JPEG loses its transparency, and a person is told so."""
    page = visited(visits, server)
    page.get_by_label("Save as").select_option("JPEG, quality 95")

    give(page, ("logo.png", picture_file(mode="RGBA")))
    done = card(page, "logo.png")

    expect(done.get_by_text("JPEG holds no transparency: the picture was laid over white.")).to_be_visible()
    assert "logo_x2.jpg" == done.get_by_role("link", name="Download").get_attribute("download")


def test_what_is_too_large_is_said_before_it_is_sent(visits: Visits, tmp_path: Path) -> None:
    """The limit, its setting, and no upload."""
    settings = image_settings(tmp_path, image={"max_bytes": 2048})
    with serving_images(settings) as small:
        page = visited(visits, small)
        sent = []
        page.on("request", lambda request: sent.append(request.url) if request.method == "POST" else None)

        give(page, ("large.png", as_png(noise(64, 64))))

        expect(card(page, "large.png").get_by_role("alert")).to_contain_text("UPSCALE_IMAGE__MAX_BYTES")
        assert [] == sent
        page.context.close()


def test_the_key_is_asked_for_and_the_picture_goes_on(visits: Visits, tmp_path: Path) -> None:
    """Without a key the page stands, asks once, and then does what was asked."""
    settings = image_settings(tmp_path, api_keys=SecretStr(KEY))
    visits.allowed += answered(401)
    with serving_images(settings, Authorization=f"Bearer {KEY}") as locked:
        page = visits.open(f"{locked.url}/")
        dialog = page.get_by_role("dialog", name="This server needs a key")
        expect(dialog).to_be_visible()
        page.get_by_label("API key").fill("not-the-key")
        page.get_by_role("button", name="Use this key").click()
        expect(dialog).to_contain_text("That key is not one of this server's.")
        page.get_by_label("API key").fill(KEY)
        page.get_by_role("button", name="Use this key").click()
        expect(page.locator("#limits")).to_contain_text("megapixels")

        give(page, ("cat.png", picture_file()))

        expect(card(page, "cat.png")).to_contain_text("32 × 24 → 64 × 48")
        page.context.close()


def test_choices_that_the_model_has_no_use_for_are_not_offered(visits: Visits, server: ImagesServed) -> None:
    """Processing size and seed are TSD-SR's; what is enlarged by another model shows neither."""
    page = visited(visits, server)

    expect(page.get_by_text("More choices")).to_be_hidden()
    expect(page.get_by_label("Save as")).to_be_visible()


def test_choices_that_the_model_has_a_use_for_are_sent(visits: Visits, server: ImagesServed) -> None:
    """Where `/info` says that the size has an effect, the fields are there and their words are in the request."""
    info = server.client.get("/info").json() | {"process_size_has_effect": True}
    page = visits.open("about:blank")
    visits.hosts.add(server.url.removeprefix("http://"))
    page.route("**/info", lambda route: route.fulfill(json=info))
    page.goto(f"{server.url}/")
    asked = []
    page.on("request", lambda request: asked.append(request.url) if request.method == "POST" else None)

    page.get_by_text("More choices").click()
    page.get_by_label("Processing size").fill("96")
    page.get_by_role("radio", name="× 4").check()
    page.get_by_label("Save as").select_option("PNG, 16 bits a channel")
    give(page, ("cat.png", picture_file()))
    card(page, "cat.png")

    assert [f"{server.url}/upscale?upscale=4&format=png&bits=16&process_size=96"] == asked


def test_a_busy_server_is_asked_again_by_itself(visits: Visits, server: ImagesServed) -> None:
    """A full room is no failure for a person: the page says that it waits, and then it goes on."""
    page = visited(visits, server)
    visits.allowed += answered(429)
    busy = {"title": "Full", "detail": "64 requests are inside", "code": "queue_full", "status": 429, "retryable": True}
    page.route(
        "**/upscale?*",
        lambda route: route.fulfill(status=429, json=busy, headers={"Retry-After": "1"}),
        times=1,
    )

    give(page, ("cat.png", picture_file()))

    expect(page.get_by_text("The server is busy: asked again in 1 s")).to_be_visible()
    expect(card(page, "cat.png")).to_contain_text("32 × 24 → 64 × 48")


def test_a_key_that_is_asked_for_when_a_picture_is_sent_is_no_failure(visits: Visits, server: ImagesServed) -> None:
    """Keys change while a page is open: the picture is sent again with the one that was given."""
    page = visited(visits, server)
    visits.allowed += answered(401)
    refused = {"title": "A key is needed", "detail": "an API key is needed", "code": "unauthorized", "status": 401}
    page.route("**/upscale?*", lambda route: route.fulfill(status=401, json=refused), times=1)

    give(page, ("cat.png", picture_file()))

    expect(card(page, "cat.png")).to_contain_text("32 × 24 → 64 × 48")


def test_a_picture_on_its_way_is_canceled(visits: Visits, server: ImagesServed) -> None:
    """The request ends, the card says so, and it can be sent again."""
    page = visited(visits, server)
    page.route("**/upscale?*", lambda _route: None, times=1)

    give(page, ("cat.png", picture_file()))
    page.get_by_role("button", name="Cancel").click()
    expect(card(page, "cat.png")).to_contain_text("Canceled")
    page.get_by_role("button", name="Again").click()

    expect(card(page, "cat.png")).to_contain_text("32 × 24 → 64 × 48")


def test_waiting_pictures_that_are_canceled_or_removed_are_never_sent(visits: Visits, server: ImagesServed) -> None:
    """Two run at once; of the three behind them only the one that was left alone is sent, though all others ended."""
    page = visited(visits, server)
    held: list[Route] = []
    page.route("**/upscale?*", lambda route: held.append(route), times=2)  # noqa: PLW0108 - playwright takes no builtin
    sent = []
    page.on("request", lambda request: sent.append(request.url) if request.method == "POST" else None)

    give(page, *((f"{number}.png", picture_file()) for number in range(1, 6)))
    canceled, removed, left = (listed(page, f"{number}.png") for number in (3, 4, 5))
    waiting = [offered(one) for one in (canceled, removed, left)]
    for _ in range(2):
        canceled.get_by_role("button", name="Cancel").click()
        canceled.get_by_role("button", name="Again").click()
    canceled.get_by_role("button", name="Cancel").click()
    removed.get_by_role("button", name="Remove").click()
    for route in held:
        route.continue_()
    for number in (1, 2, 5):
        expect(card(page, f"{number}.png")).to_contain_text("32 × 24 → 64 × 48")

    assert [["Cancel", "Remove"]] * 3 == waiting
    assert ["Again", "Remove"] == offered(card(page, "3.png"))
    expect(canceled).to_contain_text("Canceled")
    expect(removed).to_have_count(0)
    assert 3 == len(sent)


def test_a_result_stays_when_its_repetition_is_canceled_while_it_waits(visits: Visits, server: ImagesServed) -> None:
    """Who changes their mind before anything was sent has lost nothing."""
    page = visited(visits, server)
    give(page, ("first.png", picture_file(40, 30)))
    first = card(page, "first.png")
    expect(first.get_by_text("Before, bicubic", exact=True)).to_be_attached()
    page.route("**/upscale?*", lambda _route: None)

    give(page, ("one.png", picture_file()), ("two.png", picture_file()))
    first.get_by_role("button", name="Again").click()
    expect(first).to_contain_text("waiting")
    first.get_by_role("button", name="Cancel").click()

    expect(first).to_contain_text("40 × 30 → 80 × 60")
    assert ["Download", "Compare", "Again", "Remove"] == offered(first)


def test_a_canceled_comparison_can_be_opened_again(visits: Visits, server: ImagesServed) -> None:
    """Cancel shuts it and keeps the result; Compare makes it anew."""
    page = prepared(visits, server)
    page.route(
        "**/static/image_before.js", lambda route: route.fulfill(body=SLOW_BEFORE, content_type="text/javascript")
    )
    page.goto(f"{server.url}/")

    give(page, ("cat.png", picture_file()))
    found = listed(page, "cat.png")
    expect(found).to_contain_text("Enlarging the source the plain way, to compare")
    found.get_by_role("button", name="Cancel").click()
    expect(found.locator("compare-view")).to_be_hidden()
    expect(found).to_contain_text("32 × 24 → 64 × 48")
    found.get_by_role("button", name="Compare").click()

    expect(found.get_by_text("Before, bicubic", exact=True)).to_be_attached()
    assert (64, 48) == seen(found.locator("compare-view"), 0).size


def test_decoded_pictures_and_their_addresses_are_let_go(visits: Visits, server: ImagesServed) -> None:
    """A decoded photo takes 200 MB: none is kept; and a removed card keeps no file alive."""
    page = prepared(visits, server)
    page.add_init_script(LIVING)
    page.goto(f"{server.url}/")

    give(page, ("one.png", picture_file()), ("two.png", picture_file()))
    expect(page.get_by_text("Before, bicubic", exact=True)).to_be_attached()
    for name in ("one.png", "two.png"):
        card(page, name).get_by_role("button", name="Again").click()
        card(page, name)
    assert 3 <= page.evaluate("living.decoded")  # the sizes of two, and a comparison
    assert 0 == page.evaluate("living.bitmaps")
    assert 4 <= page.evaluate("living.addresses.size")  # two small pictures and two results
    for name in ("one.png", "two.png"):
        card(page, name).get_by_role("button", name="Remove").click()

    assert 0 == page.evaluate("living.addresses.size")


def test_nobody_leaves_what_would_be_lost_without_being_asked(visits: Visits, server: ImagesServed) -> None:
    """Pictures at work and results that were not saved are nowhere else; what was saved or removed holds nobody."""
    page = visited(visits, server)
    held: list[Route] = []
    page.route("**/upscale?*", lambda route: held.append(route), times=1)  # noqa: PLW0108 - playwright marks what it calls
    assert page.evaluate(LEAVES)

    with page.expect_request("**/upscale?*"):
        give(page, ("cat.png", picture_file()))
    assert not page.evaluate(LEAVES)
    held[0].continue_()
    done = card(page, "cat.png")
    expect(done).to_contain_text("32 × 24 → 64 × 48")
    assert not page.evaluate(LEAVES)
    with page.expect_download():
        done.get_by_role("link", name="Download").click()
    assert page.evaluate(LEAVES)
    done.get_by_role("button", name="Again").click()
    expect(card(page, "cat.png")).to_contain_text("32 × 24 → 64 × 48")
    assert not page.evaluate(LEAVES)
    done.get_by_role("button", name="Remove").click()
    assert page.evaluate(LEAVES)


@pytest.mark.parametrize("way", ["Later", "Escape"])
def test_who_gives_no_key_now_is_not_asked_again_by_the_page_itself(visits: Visits, tmp_path: Path, way: str) -> None:
    """The page looks after the server and leaves the person alone, until they press the button for the key."""
    visits.allowed += answered(401)
    settings = image_settings(tmp_path, api_keys=SecretStr(KEY))
    with serving_images(settings, Authorization=f"Bearer {KEY}") as locked:
        page = prepared(visits, locked)
        page.clock.install()
        asked = []
        page.on("request", lambda request: asked.append(request.url) if request.url.endswith("/info") else None)
        page.goto(f"{locked.url}/")
        dialog = page.get_by_role("dialog", name="This server needs a key")
        expect(dialog).to_be_visible()

        if way == "Later":
            page.get_by_role("button", name="Later").click()
        else:
            page.keyboard.press("Escape")
        expect(page.locator("#server-words")).to_have_text("Ready, and needs a key")
        for _ in range(3):
            with page.expect_response("**/health"):
                page.clock.fast_forward(10_000)
        expect(dialog).to_be_hidden()
        assert 1 == len(asked)
        page.get_by_role("button", name="Enter key").click()
        page.get_by_label("API key").fill(KEY)
        page.get_by_role("button", name="Use this key").click()
        page.clock.fast_forward(10_000)

        expect(page.locator("#limits")).to_contain_text("megapixels")
        page.context.close()


def test_a_server_that_is_gone_is_said_in_words(visits: Visits, server: ImagesServed) -> None:
    """No connection is a sentence with a way to try again, and the picture is not lost."""
    page = visited(visits, server)
    visits.allowed += cut_off("ERR_CONNECTION_REFUSED")
    page.route("**/upscale?*", lambda route: route.abort("connectionrefused"), times=1)

    give(page, ("cat.png", picture_file()))
    expect(card(page, "cat.png").get_by_role("alert")).to_contain_text("There is no connection to the server.")
    page.get_by_role("button", name="Try again").click()

    expect(card(page, "cat.png")).to_contain_text("32 × 24 → 64 × 48")


def test_a_huge_before_is_left_to_the_browser_and_labelled_so(visits: Visits, server: ImagesServed) -> None:
    """Bicubic of more than 40 megapixels is not worth a person's wait; nothing is called bicubic that is not."""
    page = visited(visits, server)

    before = page.evaluate("""async () => {
      const { beforeOf } = await import("/static/image_before.js");
      return beforeOf({ width: 5000, height: 4000 }, 2, new AbortController().signal);
    }""")

    assert {"label": "Before, enlarged by your browser", "blob": None} == before


def test_everything_is_done_by_keys_alone(visits: Visits, server: ImagesServed) -> None:
    """Tab, arrows and Space reach the factor, the format and the button; the file window is the browser's own."""
    page = visited(visits, server)
    page.on("filechooser", lambda _window: None)  # the browser must know before the press that somebody waits for it

    page.keyboard.press("Tab")
    skip = page.evaluate("document.activeElement.textContent")
    page.get_by_role("radio", name="× 2").focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Tab")
    page.keyboard.press("Tab")
    with page.expect_file_chooser() as window:
        page.keyboard.press("Enter")
    window.value.set_files([{"name": "cat.png", "mimeType": "image/png", "buffer": picture_file()}])

    assert "Skip to the page" == skip
    expect(card(page, "cat.png")).to_contain_text("32 × 24 → 128 × 96")


@pytest.mark.parametrize(("width", "zoom"), [(320, 1), (390, 1), (640, 2)])
def test_nothing_is_cut_off_on_a_phone_or_at_twice_the_size(
    visits: Visits, server: ImagesServed, width: int, zoom: int
) -> None:
    """The page is never wider than the window, also when everything on it is twice as large."""
    page = visited(visits, server, viewport={"width": width // zoom, "height": 700}, device_scale_factor=zoom)

    give(page, ("a-picture-with-a-rather-long-name-that-has-no-room-on-any-phone-of-today.png", picture_file()))
    expect(page.get_by_role("link", name="Download")).to_be_visible()
    expect(page.get_by_text("Before, bicubic", exact=True)).to_be_attached()

    fits(page)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_everything_that_is_written_can_be_read(visits: Visits, server: ImagesServed, scheme: str) -> None:
    """In light and in dark, against what is really behind it, inside of the comparison too."""
    page = visited(visits, server, color_scheme=scheme)
    visits.allowed += answered(415)

    give(page, ("cat.png", picture_file(mode="RGBA")), ("none.png", b"no picture"))
    expect(page.get_by_text("Before, bicubic", exact=True)).to_be_attached()
    card(page, "none.png")
    card(page, "cat.png").get_by_text("Keys", exact=True).click()

    readable(page, least=40)
