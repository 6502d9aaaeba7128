"""Draw docs/pictures/benchmarks.svg from benchmarks/results: what was measured, and nothing else.

It measures nothing; `make bench` does, and `make docs` draws again.
"""

from __future__ import annotations

import html
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parents[2] / "benchmarks" / "results"

_WIDTH, _LEFT, _BAR, _GAP = 760, 250, 18, 8
_COLOURS = {"ours": "#2563eb", "documented": "#94a3b8", "480p": "#1d4ed8", "720p": "#3b82f6", "1080p": "#93c5fd"}

Bar = tuple[str, float, str, str]
"""Label, value, colour, and what is written behind the bar."""


def benchmark_chart() -> str:
    """Return the chart as SVG: against the documented way, and each network's frames a second."""
    documented, models = _result("documented"), _result("models")
    machine = documented["machine"]
    where = f"{machine['cores']} cores of {machine['processor']}, no GPU, {documented['engine']}"
    titles = (
        f"{documented['clip']} ×2 with {documented['model']}, file to file, frames a second",
        "The networks alone, frames a second by the source's size",
    )
    panels = (list(_against(documented)), list(_networks(models)))
    rows, top = [], 40
    for title, bars in zip(titles, panels, strict=True):
        rows += [_text((16, top), title, font="600 15px")]
        rows += _bars(bars, top + 16)
        top += 16 + len(bars) * (_BAR + _GAP) + 44
    rows.append(_text((16, top - 12), f"Measured on {where}; from benchmarks/results", font="12px"))
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {top}" width="{_WIDTH}" height="{top}">'
    return "\n".join([head, f'<rect width="{_WIDTH}" height="{top}" fill="#ffffff"/>', *rows, "</svg>", ""])


def _result(name: str) -> dict[str, Any]:  # JSON values of many types
    found: dict[str, Any] = json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))
    return found


def _against(documented: dict[str, Any]) -> Iterator[Bar]:
    for preset, one in documented["presets"].items():
        speeds = one["frames_per_second"]
        yield f"upscale-server, x264 {preset}", speeds["ours"], _COLOURS["ours"], f"{one['ratio']:.2f} times as fast"
        yield f"documented way, x264 {preset}", speeds["documented"], _COLOURS["documented"], ""


def _networks(models: dict[str, Any]) -> Iterator[Bar]:
    for name, one in models["models"].items():
        for size, speed in one["frames_per_second"].items():
            yield f"{name}, {size}", speed, _COLOURS[size], ""


def _bars(bars: list[Bar], top: int) -> Iterator[str]:
    most = max(value for _, value, _, _ in bars)
    for place, (label, value, colour, behind) in enumerate(bars):
        y = top + place * (_BAR + _GAP)
        long = max(1.0, (_WIDTH - _LEFT - 210) * value / most)
        yield _text((_LEFT - 8, y + 14), label, anchor="end")
        yield f'<rect x="{_LEFT}" y="{y}" width="{long:.1f}" height="{_BAR}" rx="3" fill="{colour}"/>'
        yield _text((round(_LEFT + long + 8), y + 14), ", ".join(filter(None, (f"{value:.1f}", behind))))


def _text(place: tuple[int, int], text: str, *, font: str = "13px", anchor: str = "start") -> str:
    style = f"font:{font} system-ui,sans-serif"
    where = f'x="{place[0]}" y="{place[1]}" text-anchor="{anchor}"'
    return f'<text {where} fill="#0f172a" style="{style}">{html.escape(text)}</text>'
