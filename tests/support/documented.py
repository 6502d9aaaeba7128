"""Finds the commands in the documentation, and what each page says about running them.

A block of commands has a comment above it: `<!-- run -->`, `<!-- run with: video server -->`, or
`<!-- not run: why -->`. Nothing is run here.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = (
    ROOT / "README.md",
    *(page for page in sorted((ROOT / "docs").rglob("*.md")) if page.parent.name not in ("decisions", "reference")),
)

_COMMAND = re.compile(
    r"(?:[A-Z_]+=\S+ )*(?:upscale|curl|python3?|pip|make|docker|kubectl|mc|cp|mv|export|tail|git|nginx|for|watch|\.|"
    r"\./\S+|scripts/\S+|\.venv/\S+)(?: |$)"
)
_MARK = re.compile(r"<!-- (run|not run)(?: with)?(?:: (.*))? -->")


@dataclass(frozen=True, slots=True)
class Block:
    """Commands that stand together; `mark` is what the page says of them: run, not run, or nothing."""

    page: Path
    line: int
    text: str
    mark: str
    about: str

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def blocks_of(page: Path) -> Iterator[Block]:
    """Yield the blocks of a page that hold commands, in order."""
    mark, block, began, fence = ("", ""), [], 0, ""
    for number, line in enumerate([*page.read_text(encoding="utf-8").splitlines(), "end"], 1):
        opens = line.startswith("```")
        if fence and not opens:
            block.append(line)
            continue
        if line.startswith("    ") or (opens and not fence):
            began = began or number + opens
            block += [] if opens else [line.removeprefix("    ")]
            fence = "```" if opens else ""
            continue
        if block and not line:
            block.append("")
            continue
        if block:
            text = "\n".join(block).strip()
            if any(_COMMAND.match(one) for one in text.splitlines()):
                yield Block(page, began, text, *mark)
            mark, block, began, fence = ("", ""), [], 0, ""
        found = _MARK.fullmatch(line)
        mark = (found[1], found[2] or "") if found else (mark if not line else ("", ""))
