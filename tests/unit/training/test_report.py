"""What was measured reaches the tables, the chart and the cards unchanged."""

from __future__ import annotations

import json
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from training.chart import FONT, PANEL, draw_chart, gains
from training.evaluate import parse, reproduction, update_cards
from training.material import Clip
from training.measure import Table, measure_clips
from training.report import markdown
from training.shards import Pairs
from training.upscalers import Contender, baselines, twice
from training.vmaf import vmaf

PICTURES: Table = {
    "set5": {"lanczos": {"psnr_y": 34.28, "ssim_y": 0.9357}, "fast": {"psnr_y": 36.66, "ssim_y": 0.9474}},
    "b100": {"lanczos": {"psnr_y": 29.91, "ssim_y": 0.8543}, "fast": {"psnr_y": 31.35, "ssim_y": 0.8788}},
}
CLIPS: Table = {"mean": {"lanczos": {"psnr_y": 35.58}, "fast": {"psnr_y": 37.45}}}
RESULTS = {"x2": {"pictures": PICTURES, "held_out": CLIPS}}
COSTS = {"lanczos-x2": 0, "fast-x2": 38304}


def test_the_table_has_a_row_per_contender_and_a_column_per_set() -> None:
    """Figures are rounded, never dropped."""
    text = markdown(RESULTS)

    assert "| fast | 36.66 / 0.9474 | 31.35 / 0.8788 |" in text
    assert "| fast | 37.45 |" in text


def test_gains_are_means_over_lanczos() -> None:
    """Sets are averaged where there is no mean."""
    points = {point.name: point for point in gains(PICTURES, {"lanczos": 0, "fast": 38304})}

    assert points["fast"].gain == pytest.approx(((36.66 - 34.28) + (31.35 - 29.91)) / 2)
    assert points["fast"].kilo_macs == pytest.approx(38.304)
    assert points["lanczos"].gain == 0


def test_the_chart_is_a_picture(tmp_path: Path) -> None:
    """One panel per material."""
    draw_chart(RESULTS, COSTS, tmp_path / "chart.png")

    with Image.open(tmp_path / "chart.png") as image:
        assert image.size == (1120, 420)


def test_the_chart_has_room_for_a_model_that_costs_a_million(tmp_path: Path) -> None:
    """Applied twice, `balanced` costs 840 kMAC per pixel; no scale of ticks may end below that."""
    draw_chart(RESULTS, COSTS | {"fast-x2": 1_000_000}, tmp_path / "chart.png")

    assert (tmp_path / "chart.png").exists()


def test_names_of_near_dots_lie_beside_one_another(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Four models within a few pixels: every name is in its panel and covers no other."""
    written: list[tuple[float, float, float, float]] = []
    plain = ImageDraw.ImageDraw.text

    def noted(draw: ImageDraw.ImageDraw, xy: tuple[float, float], text: str, *args: object) -> None:
        if text.startswith("model"):
            written.append((*xy, xy[0] + draw.textlength(text, FONT), xy[1] + 14))
        plain(draw, xy, text, *args)

    monkeypatch.setattr(ImageDraw.ImageDraw, "text", noted)
    names = {"model a": 42_000, "model b": 60_000, "model c": 190_000, "model d": 840_000}
    rows = {name: {"psnr_y": 35.0 + cost / 1e7} for name, cost in names.items()} | {"lanczos": {"psnr_y": 34.0}}
    costs = {f"{name}-x4": cost for name, cost in names.items()} | {"lanczos-x4": 0}
    draw_chart({"x4": {"pictures": {"mean": rows}}}, costs, tmp_path / "chart.png")

    assert len(names) == len(written)
    assert all(left >= 0 and right <= PANEL[0] for left, _, right, _ in written)
    assert not [
        (one, two)
        for one, two in combinations(written, 2)
        if one[0] < two[2] and two[0] < one[2] and one[1] < two[3] and two[1] < one[3]
    ]


def test_cards_get_their_own_figures_and_the_command(tmp_path: Path) -> None:
    """Other fields stay; a card of an unmeasured scale is left alone."""
    for scale in (2, 4):
        card = {"name": "fast", "scale": scale, "measured": {}, "sha256": "kept"}
        (tmp_path / f"fast-x{scale}.json").write_text(json.dumps(card), encoding="utf-8")

    update_cards(tmp_path, RESULTS, "the command")
    measured, untouched = (json.loads((tmp_path / f"fast-x{scale}.json").read_text()) for scale in (2, 4))

    assert measured["sha256"] == "kept"
    assert measured["measured"]["set5"] == {"psnr_y": 36.66, "ssim_y": 0.9474}
    assert measured["measured"]["held_out_clips_x264_ultrafast_crf23"] == {"psnr_y": 37.45}
    assert measured["measured"]["command"] == "the command"
    assert untouched["measured"] == {}


def test_the_command_on_a_card_tells_what_was_measured_and_no_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    """Videos, frames and VMAF change the figures, so they are named; where things lay does not."""
    given = "evaluate --data /mine/images --work /mine/train --videos /mine/a.mp4 --frames 30 --vmaf --out x"
    monkeypatch.setattr("sys.argv", given.split())

    command = reproduction(parse())

    assert command == (
        "python -m training.evaluate --data ../shared/images --work WORK "
        "--videos ../shared/clips/a.mp4 --frames 30 --vmaf"
    )


def test_clips_are_averaged_over_frames_then_clips() -> None:
    """Two flat clips, off by one and by two levels, give the mean of both PSNRs."""
    lr, hr = np.full((2, 8, 8), 100, np.uint8), np.full((2, 16, 16), 100, np.uint8)
    clips = [Clip("a", Pairs(lr, hr + 1)), Clip("b", Pairs(lr, hr + 2))]

    table = measure_clips(clips, baselines(2), with_vmaf=False)

    assert table["a"]["lanczos"]["psnr_y"] == pytest.approx(48.131, abs=1e-3)
    assert table["mean"]["lanczos"]["psnr_y"] == pytest.approx((48.131 + 42.110) / 2, abs=2e-3)


def test_twice_is_the_scale_squared_and_five_times_the_work() -> None:
    """The second pass sees four times the pixels."""
    double = Contender("double", 2, 100, lambda lr: lr.repeat(2, axis=0).repeat(2, axis=1))

    found = twice(double)

    assert (found.scale, found.macs_per_pixel) == (4, 500)
    assert found.upscale(np.zeros((3, 5), np.uint8)).shape == (12, 20)


def test_vmaf_is_near_full_marks_for_equal_clips_and_falls_with_blur() -> None:
    """The bundled ffmpeg really measures; 95 because VMAF does not reach 100 on every clip."""
    pytest.importorskip("imageio_ffmpeg", reason="VMAF needs imageio-ffmpeg (extra [train])")
    y, x = np.mgrid[0:144, 0:176]
    frames = [(127 + 70 * np.sin((x + 3 * t) / 4) * np.cos(y / 5)).astype(np.uint8) for t in range(4)]
    expected = np.stack(frames)
    blurred = (expected // 2 + np.roll(expected, 2, axis=2) // 2).astype(np.uint8)

    equal, worse = vmaf(expected, expected), vmaf(blurred, expected)

    assert equal["vmaf"] > 95
    assert worse["vmaf"] < equal["vmaf"] - 10
    assert worse["vmaf_neg"] <= worse["vmaf"] + 0.01
