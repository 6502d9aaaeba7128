"""The pages' scripts keep the house's rules: small, explained, and whole.

What they do is tested in a browser (`tests/browser`); here they are read. What they load is `test_page`'s.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from upscale_server.web.page import static_files

STATIC = Path(__file__).parents[3] / "src" / "upscale_server" / "web" / "static"
SCRIPTS = sorted(STATIC.glob("*.js"))
PAGES = sorted(path.name for path in STATIC.glob("*.html"))
MOST_LINES = 300
IMPORT = re.compile(r'import(?: (?:\{([^}]*)\} from )?)?"\./([^"]+)";')
EXPORT = re.compile(r"^export (?:async )?(?:function\*?|const|class|let) (\w+)", re.MULTILINE)


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_script_is_small_and_says_why_it_is_there(script: Path) -> None:
    """It opens with a comment and stops at 300 lines, as a module does."""
    text = script.read_text(encoding="utf-8")

    assert text.startswith("// ")
    assert text.count("\n") <= MOST_LINES


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_every_name_that_is_imported_is_exported_there(script: Path) -> None:
    """A misspelt name stops a whole page, and only a test that opens that page would tell."""
    for names, target in IMPORT.findall(script.read_text(encoding="utf-8")):
        exported = set(EXPORT.findall((STATIC / target).read_text(encoding="utf-8")))
        taken = {one.split(" as ")[0].strip() for one in names.split(",") if one.strip()}
        assert set() == taken - exported, target


@pytest.mark.parametrize("page", PAGES)
def test_page_has_nothing_inline(page: str) -> None:
    """Its policy refuses styles, handlers and scripts that stand in the page itself."""
    text = static_files()[page].content.decode()

    assert [] == re.findall(r"\sstyle=|\son[a-z]+=|<style", text)
    assert [] == re.findall(r"<script(?![^>]*\ssrc=)[^>]*>", text)


@pytest.mark.parametrize("page", PAGES)
def test_page_has_every_element_that_its_scripts_look_for(page: str) -> None:
    """Scripts find elements by id; one that is missing stops them."""
    text = static_files()[page].content.decode()
    waiting, seen, wanted = re.findall(r'<script type="module" src="/static/([^"]+)"', text), set(), set()

    while waiting:
        name = waiting.pop()
        if name in seen:
            continue
        seen.add(name)
        script = (STATIC / name).read_text(encoding="utf-8")
        wanted |= set(re.findall(r'byId\("([^"]+)"\)', script))
        waiting += [target for _, target in IMPORT.findall(script)]

    assert wanted
    assert set() == wanted - set(re.findall(r'\sid="([^"]+)"', text))
