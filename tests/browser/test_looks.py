"""The checks of `looks` and of `Visits` themselves: what they must find, also inside a component."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser

from tests.browser.conftest import Visits, answered
from tests.browser.looks import fits, readable
from tests.support.image_served import ImagesServed, image_settings, serving_images

PUT = """([style, text]) => {
  const host = document.createElement("div");
  const inside = document.createElement("p");
  inside.textContent = text;
  Object.assign(inside.style, style);
  host.attachShadow({ mode: "open" }).append(inside);
  document.querySelector("main").append(host);
}"""
"""JavaScript: a paragraph inside a component."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ImagesServed]:
    """Give a server for its style sheet."""
    with serving_images(image_settings(tmp_path_factory.mktemp("state"))) as running:
        yield running


@pytest.mark.parametrize("ground", ["#888", "rgb(0 0 0 / 50%)"])
def test_text_that_hardly_differs_from_what_is_behind_it_is_found(
    visits: Visits, server: ImagesServed, ground: str
) -> None:
    """Grey on grey, also where the ground is half of another."""
    page = visits.open_bare(server.url)
    page.evaluate(PUT, [{"color": "#000"}, "good"])
    readable(page, least=1)
    page.evaluate(PUT, [{"color": "#777", "background": ground}, "bad"])

    with pytest.raises(AssertionError, match="bad"):
        readable(page, least=2)


def test_texts_that_are_not_there_are_missed(visits: Visits, server: ImagesServed) -> None:
    """A page that never opened has nothing that cannot be read."""
    page = visits.open_bare(server.url)

    with pytest.raises(AssertionError):
        readable(page, least=1)


@pytest.mark.parametrize("style", [{"marginLeft": "-50px"}, {"width": "5000px", "marginRight": "-5000px"}])
def test_what_reaches_out_of_a_side_is_found(visits: Visits, server: ImagesServed, style: dict[str, str]) -> None:
    """To the left, which never scrolls, as to the right."""
    page = visits.open_bare(server.url, viewport={"width": 400, "height": 400})
    fits(page)
    page.evaluate(PUT, [style, "out"])

    with pytest.raises(AssertionError, match="out"):
        fits(page)


def test_a_provoked_complaint_does_not_excuse_another_that_has_its_number(browser: Browser) -> None:
    """It is matched whole: 415 may also be a port, a count or a part of an address."""
    provoked = "console: Failed to load resource: the server responded with a status of 415 (Unsupported Media Type)"
    others = ["error: TypeError at frame 415", "request to a stranger: http://elsewhere:4150/", f"{provoked}, twice"]

    visits = Visits(browser, complaints=[provoked, *others], allowed=answered(415))

    assert others == visits.close()
