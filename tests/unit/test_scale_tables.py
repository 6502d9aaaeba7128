"""What large fleets need is reckoned from what was measured, and the page says what the results say."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks import arithmetic
from docs.reference import scale_tables

OUTPUT = 240 * 3840 * 2160 / 1e6
"""Million pixels of ten seconds."""


@pytest.fixture
def measured(tmp_path: Path) -> Path:
    """Give a folder of results with round figures: for a million pixels 1 s of decoding, 2 of encoding, 4 of audit."""
    results = {
        "pipeline_fast": {
            "size": "500x500 to 1000x1000", "frames": 4,
            "processor_seconds": {"decode": 1.0, "upscale": 40.0, "encode": 8.0},
        },
        "segments": {
            "size": "500x500 to 1000x1000", "frames": 100, "source_bytes": 6_250_000,
            "finish_large": {"processor_seconds_per_output_megapixel": 4.0, "frames_per_second": 12.0},
            "travels": {"order_bytes": 3000, "answer_bytes": 2000},
        },
        "estimate": {
            "rows": [
                {"size": "1x1 to 10x10", "frames": 1, "actual": {"byte_count": 999}},
                {"size": "500x500 to 1000x1000", "frames": 10, "actual": {"byte_count": 125_000}},
            ]
        },
        "proxies": {"copy_bytes": 450_000},
        "control": {
            "postgres": {work: {"16 processes": {"per_second": 200.0}} for work in ("life", "renew")},
        },
    }  # fmt: skip
    for name, values in results.items():
        (tmp_path / f"{name}.json").write_text(json.dumps(values), encoding="utf-8")
    return tmp_path


def need(found: list[arithmetic.Need], what: str) -> arithmetic.Need:
    """Return the need whose name begins so."""
    return next(one for one in found if one.what.startswith(what))


def test_a_segments_costs_are_those_of_its_pixels(measured: Path) -> None:
    """Decoding goes by the source's pixels, the rest by the output's; a tenth of a bit each, two bits of the source."""
    one = arithmetic.segment(measured)

    assert one.decode.value == pytest.approx(OUTPUT / 4)
    assert (10 * OUTPUT, 2 * OUTPUT, 4 * OUTPUT) == pytest.approx(
        (one.network.value, one.encode.value, one.finish.value)
    )
    assert one.output_bytes.value == pytest.approx(0.1 * OUTPUT * 1e6 / 8)
    assert one.source_bytes.value == pytest.approx(2 * OUTPUT / 4 * 1e6 / 8)
    assert (900_000, 5_000) == (one.copy_bytes.value, one.message_bytes.value)


def test_needs_grow_with_the_fleet(measured: Path) -> None:
    """A hundred GPUs of 24 frames a second do ten segments a second; jobs there and at 200 desks hold leases."""
    found = arithmetic.needs(100, 24.0, measured)

    segments, writes = need(found, "segments"), need(found, "writes")
    jobs = need(found, "jobs")
    assert segments.amount == pytest.approx(10.0)
    assert writes.amount == pytest.approx(100 + 200 + 10 + 13 * jobs.amount)
    assert writes.times == pytest.approx(writes.amount / 200)
    assert need(found, "joining").amount == pytest.approx(10 * 4 * OUTPUT)
    assert need(found, "desks").times == pytest.approx(200 / 32)
    assert need(found, "calls").amount == pytest.approx(100 / 7 + 100 / 2)  # of each of seven servers
    assert need(found, "store requests").amount == pytest.approx(50.0)


def test_what_nobody_measured_has_no_ratio(measured: Path) -> None:
    """Ray's figure is missing until it is there; nothing is put in its place."""
    before = [need(arithmetic.needs(100, 24.0, measured), one).times for one in ("calls", "segments")]
    cluster = {"calls_per_second": 32.0, "segments_per_second": {"one": 3.0, "two": 5.0}}
    (measured / "cluster.json").write_text(json.dumps(cluster), encoding="utf-8")

    after = [need(arithmetic.needs(100, 24.0, measured), one).times for one in ("calls", "segments")]

    assert [None, None] == before
    assert pytest.approx([(100 / 7 + 50) / 32, 2.0]) == after


def test_tables_are_written_between_their_marks_and_nowhere_else(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Text by hand stays; writing twice changes nothing."""
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- table: segment -->\nold\n<!-- end of table -->\nafter\n", encoding="utf-8")
    monkeypatch.setattr(scale_tables, "PAGE", page)
    monkeypatch.setitem(scale_tables.TABLES, "segment", lambda: "| new |")

    first = scale_tables.scaling_page()
    page.write_text(first, encoding="utf-8")

    assert "before\n<!-- table: segment -->\n\n| new |\n<!-- end of table -->\nafter\n" == first
    assert first == scale_tables.scaling_page()


def test_the_page_has_every_table_once() -> None:
    """A table that nobody sees is none."""
    text = scale_tables.PAGE.read_text(encoding="utf-8")

    assert dict.fromkeys(scale_tables.TABLES, 1) == {
        name: text.count(f"<!-- table: {name} -->") for name in scale_tables.TABLES
    }
