"""The documentation holds together: links lead to headings, and each command says whether a test runs it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.support.documented import PAGES, ROOT, blocks_of

_LINK = re.compile(r"\]\(([^)\s]+)\)")
WAYS = ("", "video server", "image server")


def _name(page: Path) -> str:
    return str(page.relative_to(ROOT))


@pytest.mark.parametrize("page", PAGES, ids=_name)
def test_every_block_of_commands_says_whether_it_is_run(page: Path) -> None:
    """A reader may trust a command: a test runs it, or the page's source says why none does."""
    for block in blocks_of(page):
        assert block.mark, f"{block} has commands and no mark above it: run, run with, or not run: why"
        if block.mark == "not run":
            assert block.about, f"{block} is not run; say why"
        else:
            assert block.about in WAYS, f"{block} runs with {block.about!r}; expected one of {WAYS}"


@pytest.mark.parametrize("page", PAGES, ids=_name)
def test_links_into_a_page_lead_to_one_of_its_headings(page: Path) -> None:
    """A reader who follows a link lands at what was promised."""
    for target in _LINK.findall(page.read_text(encoding="utf-8")):
        place, _, anchor = target.partition("#")
        if not anchor or "://" in target:
            continue
        found = page.parent / place if place else page

        assert anchor in _anchors(found), f"{_name(page)} links to {target}; there is no such heading"


def _anchors(page: Path) -> set[str]:
    heads = (line.lstrip("#").strip() for line in page.read_text(encoding="utf-8").splitlines() if line.startswith("#"))
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}
