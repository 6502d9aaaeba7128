"""Takes the pictures of the pages anew: the plan, a preview, a finished job; light and dark, desktop and phone.

    python -m docs.pictures.take [FOLDER]

It starts a video server of its own on a free port and drives the system's Chromium. What is on the pictures is the
bundled clip; look at them before you commit them.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Browser, Page, sync_playwright

HERE = Path(__file__).parent
CLIP = HERE.parents[1] / "src" / "upscale_server" / "clips" / "nasa.mp4"
DESKTOP = {"width": 1280, "height": 900}
PHONE = {"width": 390, "height": 844}
_PATIENCE_MS = 600_000


@contextmanager
def video_server() -> Iterator[str]:
    """Give the address of a server with nothing in it."""
    with tempfile.TemporaryDirectory() as state:
        command = [sys.executable, "-m", "upscale_server.cli.main", "serve", "video", "--port", "0"]
        environment = {**os.environ, "UPSCALE_STATE_DIR": state}
        with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as server:  # noqa: S603 - our own
            try:
                lines = server.stderr or iter(())
                yield next(found[1] for line in lines if (found := re.search(r"ready at (http://[^ ,]*[0-9])", line)))
            finally:
                server.terminate()
                server.communicate()


def take(browser: Browser, url: str, folder: Path) -> None:
    """Bring the clip, look at it through models, run it; a picture of each step, of the end also dark and small."""
    page = browser.new_page(viewport=DESKTOP, color_scheme="light")
    page.set_default_timeout(_PATIENCE_MS)
    page.goto(url)
    page.set_input_files("input[type=file]", CLIP)
    page.locator("#start:enabled").wait_for()
    _shoot(page, folder / "page-plan.png")
    page.get_by_role("button", name=re.compile("^Show")).click()
    page.locator("compare-view").wait_for()
    page.wait_for_timeout(1500)  # the first frames of both films are painted
    page.locator("compare-view").scroll_into_view_if_needed()
    _shoot(page, folder / "page-preview.png")
    page.get_by_role("button", name=re.compile("^Start")).first.click()
    page.get_by_role("button", name="Result").click()
    page.wait_for_timeout(1500)  # the player has its first frame
    page.get_by_role("button", name="Hide").first.scroll_into_view_if_needed()
    _shoot(page, folder / "page-result.png")
    page.emulate_media(color_scheme="dark")
    _shoot(page, folder / "page-result-dark.png")
    page.set_viewport_size(PHONE)
    page.emulate_media(color_scheme="light")
    page.evaluate("scrollTo(0, 0)")
    _shoot(page, folder / "page-phone.png")
    page.close()


def _shoot(page: Page, path: Path) -> None:
    page.screenshot(path=path)
    print(path)  # noqa: T201 - says what to look at


def main() -> int:
    """Take all of them."""
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else HERE
    folder.mkdir(parents=True, exist_ok=True)
    chromium = shutil.which("chromium")
    with sync_playwright() as play, video_server() as url:
        browser = play.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        take(browser, url, folder)
        browser.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
