"""The page at `/` and its files: open to everybody, checked by the browser each time, and able to load nothing else."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import SecretStr

from tests.support.served import IdlePool, Served, serving, settings_in
from upscale_server.service import VideoService
from upscale_server.web.page import static_files

WEB = Path(__file__).parents[3] / "src" / "upscale_server" / "web"
STATIC = WEB / "static"
PARTS = WEB / "page_parts"


@pytest.fixture(scope="module")
def locked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """Give a server that needs a key, which nobody here gives."""
    settings = settings_in(tmp_path_factory.mktemp("state"), api_keys=SecretStr("a-long-key-of-somebody"))
    with serving(VideoService(settings, IdlePool())) as running:
        yield running


def test_the_page_is_open_and_may_load_only_our_own_files(locked: Served) -> None:
    """A person sees it without a key; the browser is told to refuse every stranger's file and every inline script."""
    page = locked.client.get("/", headers={"Accept": "text/html"})

    assert (200, "text/html; charset=utf-8") == (page.status_code, page.headers["content-type"])
    policy = dict(part.strip().split(" ", 1) for part in page.headers["content-security-policy"].split(";"))
    assert "'none'" == policy["default-src"]
    assert "'self'" == policy["script-src"] == policy["style-src"] == policy["connect-src"]
    assert "'none'" == policy["frame-ancestors"] == policy["base-uri"] == policy["form-action"]
    assert "nosniff" == page.headers["x-content-type-options"]


@pytest.mark.parametrize("name", sorted(path.name for path in STATIC.iterdir()))
def test_every_file_of_the_page_is_served_with_its_kind(locked: Served, name: str) -> None:
    """What lies in the folder is what is sent, byte for byte, and HEAD says the same."""
    reply = locked.client.get(f"/static/{name}")
    head = locked.client.head(f"/static/{name}")

    if not name.endswith(".html"):  # a page is put together of several files
        assert (STATIC / name).read_bytes() == reply.content
    assert reply.headers["content-type"].split(";")[0] in {"text/html", "text/css", "text/javascript", "image/svg+xml"}
    assert "nosniff" == reply.headers["x-content-type-options"]
    assert (200, reply.headers["etag"], b"") == (head.status_code, head.headers["etag"], head.content)


@pytest.mark.parametrize("name", ["video.html", "image.html"])
def test_a_page_has_each_shared_part_once_and_in_its_order(name: str) -> None:
    """What is above and below a page is written in one place, and no mark of a missing part is left."""
    page = static_files()[name].content
    parts = [(PARTS / f"{part}.html").read_bytes() for part in ("head", "top", "bottom")]

    assert [1, 1, 1] == [page.count(part) for part in parts]
    assert sorted(page.index(part) for part in parts) == [page.index(part) for part in parts]
    assert b"<!--" not in page
    assert page.startswith(b"<!doctype html>")


@pytest.mark.slow
def test_a_page_is_the_same_bytes_at_each_start() -> None:
    """Two servers, or one that was started again, name a page by the same ETag."""
    first = static_files()["video.html"]
    ask = "from upscale_server.web.page import static_files; print(static_files()['video.html'].etag)"

    again = subprocess.run(  # another process: what differs between two starts is the same within one
        [sys.executable, "-c", ask],
        env={**os.environ, "PYTHONHASHSEED": "1"},
        capture_output=True,
        check=True,
        text=True,
    )

    assert first.etag == again.stdout.strip()


@pytest.mark.parametrize("path", ["/", "/static/app.css"])
def test_a_file_that_the_browser_has_is_not_sent_again(locked: Served, path: str) -> None:
    """It asks each time, so that nobody sees half of an older page; the answer is then 304 without a body."""
    first = locked.client.get(path)
    again = locked.client.get(path, headers={"If-None-Match": f'"other", {first.headers["etag"]}'})
    changed = locked.client.get(path, headers={"If-None-Match": '"other"'})

    assert "no-cache" == first.headers["cache-control"]
    assert (304, b"") == (again.status_code, again.content)
    assert (200, first.content) == (changed.status_code, changed.content)


@pytest.mark.parametrize("name", ["nothing.js", "..%2Fpage.py", "%2Fetc%2Fpasswd", "%2e%2e%2fauth.py", "__init__.py"])
def test_no_other_file_can_be_reached(locked: Served, name: str) -> None:
    """Names are looked up among the files that were read at first; no path is made of them."""
    assert 404 == locked.client.get(f"/static/{name}").status_code


def test_who_asks_for_json_is_told_where_things_are(locked: Served) -> None:
    """A program that knows only the address finds the documentation; it learns nothing else without a key."""
    found = locked.client.get("/", headers={"Accept": "application/json"}).json()

    assert {"documentation": "/docs", "openapi": "/openapi.json", "health": "/health", "statistics": "/stats"} == (
        found["links"]
    )
    assert {"name", "links"} == set(found)


def test_the_pages_name_nothing_that_is_not_there() -> None:
    """Every file that a page or a module asks for is in the folder, and none is asked for from another host."""
    asked = re.compile(r"""(?:from|import)\s*\(?["']\./([\w.-]+)["']|["'(]/static/([\w.-]+)""")

    for name, file in static_files().items():
        text = file.content.decode()
        wanted = {one or other for one, other in asked.findall(text)}
        assert set() == wanted - set(static_files()), name
        assert [] == re.findall(
            r"""(?:src|href|from|import|url\(|fetch\()\s*=?\s*["']?(?:https?:)?//[^\s"']+""", text
        ), name


def test_no_module_makes_markup_of_text() -> None:
    """What a server or a file name says is put in as text; nothing here could turn it into markup or code."""
    for name, file in static_files().items():
        found = re.findall(
            r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function", file.content.decode()
        )
        assert [] == found, name


def test_what_both_pages_show_is_styled_once() -> None:
    """The sheets of the two pages have no selector in common: what both need stands in the sheet that both load."""
    begins = re.compile(r"^([^\s@}/][^{}]*?)\s*\{", re.MULTILINE)

    video, image = (set(begins.findall(static_files()[f"{name}.css"].content.decode())) for name in ("video", "image"))

    assert min(len(video), len(image)) > 10
    assert set() == video & image


PAIRS = [
    ("ink", "paper", 4.5), ("ink", "card", 4.5), ("ink-soft", "paper", 4.5), ("ink-soft", "card", 4.5),
    ("ink-soft", "sunken", 4.5), ("ink-soft", "accent-soft", 4.5), ("ink-soft", "bad-soft", 4.5),
    ("ink-soft", "warn-soft", 4.5), ("accent", "card", 4.5), ("accent", "paper", 4.5),
    ("accent-strong", "accent-soft", 4.5),
    ("on-accent", "accent", 4.5), ("on-accent", "accent-strong", 4.5), ("bad", "card", 4.5), ("bad", "bad-soft", 4.5),
    ("warn", "warn-soft", 4.5), ("line-strong", "card", 3.0), ("accent", "sunken", 3.0),
]  # fmt: skip
"""What is written or drawn on what, and the least contrast of WCAG AA: 4.5 for text, 3 for edges of controls."""


def tokens() -> dict[str, dict[str, str]]:
    """Return the colours of app.css: of the light page, of the dark one, and of the dark one by the system's wish."""
    css = static_files()["app.css"].content.decode()
    blocks = re.findall(r"(:root[^{]*)\{([^}]*)\}", css)
    colours = [dict(re.findall(r"--([\w-]+):\s*(#[0-9a-f]{6})", block)) for _, block in blocks]
    return dict(zip(("light", "dark", "system"), colours, strict=True))


def contrast(one: str, other: str) -> float:
    """Return the contrast of two colours. Source: WCAG 2.2, relative luminance."""

    def luminance(colour: str) -> float:
        parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    dark, light = sorted((luminance(one), luminance(other)))
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize(("front", "back", "least"), PAIRS, ids=str)
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_what_is_written_can_be_read(theme: str, front: str, back: str, least: float) -> None:
    """Light and dark both have the contrast that WCAG AA asks for."""
    found = tokens()[theme]

    assert least <= contrast(found[front], found[back])


def test_dark_is_the_same_whoever_asks_for_it() -> None:
    """The colours stand twice in the sheet, because CSS cannot name a set of them."""
    assert tokens()["dark"] == tokens()["system"]


def test_the_page_is_part_of_what_is_installed(repository: Path) -> None:
    """Git tracks every file of it, and the wheel's own list names the folder, so that no ignore rule drops one."""
    project = (repository / "pyproject.toml").read_text(encoding="utf-8")

    for folder in ("static", "page_parts"):
        assert f'"src/upscale_server/web/{folder}/*"' in project
