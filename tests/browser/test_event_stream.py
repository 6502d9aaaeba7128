"""The page's own reader of server-sent events: cut anywhere, a stream gives the same events."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.browser.conftest import Visits
from tests.support.image_served import ImagesServed, image_settings, serving_images

STREAM = (
    'retry: 1000\n\nid: 1-7\nevent: jobs\ndata: {"jobs": []}\n\n: still here\n\n'
    'id: 1-8\r\nevent: job\r\ndata: {"a":\r\ndata: "ä:b"}\r\n\r\nevent: half\ndata: never'
)
EXPECTED = [["jobs", "1-7", '{"jobs": []}'], ["job", "1-8", '{"a":\n"ä:b"}']]
READ = """async ([text, width]) => {
  const { Parser } = await import("/static/events.js");
  const found = [];
  const parser = new Parser(({ name, id, data }) => found.push([name, id, data]));
  for (let place = 0; place < text.length; place += width) parser.take(text.slice(place, place + width));
  return found;
}"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ImagesServed]:
    """Give a server that sends the module; it need not have jobs."""
    with serving_images(image_settings(tmp_path_factory.mktemp("state"))) as running:
        yield running


@pytest.mark.parametrize("width", [1, 2, 3, 7, 1000])
def test_a_stream_that_comes_in_pieces_gives_the_same_events(visits: Visits, server: ImagesServed, width: int) -> None:
    """Lines may end with CR LF that a piece cuts in two, comments say nothing, and half an event is none."""
    page = visits.open(server.url)

    assert EXPECTED == page.evaluate(READ, [STREAM, width])
