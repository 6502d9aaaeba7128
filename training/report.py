"""Turn measured tables into Markdown.

It does not measure; the chart is drawn by `training.chart`.
"""

from __future__ import annotations

from training.measure import Table

TITLES = {
    "pictures": "uncompressed pictures, antialiased bicubic reduction",
    "held_out": "held-out clips, bicubic reduction + x264 ultrafast crf 23",
    "footage": "real footage, bicubic reduction + x264 ultrafast crf 23",
}
MOST_COLUMNS = 4
"""Sets or clips shown one by one; of more, the mean is shown and the rest is in the JSON."""
MEASURES = {"psnr_y": "PSNR-Y", "ssim_y": "SSIM-Y", "vmaf": "VMAF", "vmaf_neg": "VMAF-NEG"}


def markdown(results: dict[str, dict[str, Table]]) -> str:
    """Write one table per scale and material: a row per contender."""
    parts = []
    for scale, materials in results.items():
        for material, table in materials.items():
            parts.append(f"### {scale}: {TITLES[material]}\n\n{_table(table)}")
    return "\n".join(parts)


def _table(table: Table) -> str:
    if len(table) > MOST_COLUMNS:
        table = {f"mean of {len(table) - 1} clips": table["mean"]}
    first = next(iter(table.values()))
    measures = list(next(iter(first.values())))
    heads = [f"{name} {' / '.join(MEASURES[measure] for measure in measures)}" for name in table]
    lines = ["| model | " + " | ".join(heads) + " |", "|---" * (len(heads) + 1) + "|"]
    for contender in first:
        cells = [_cell(scores[contender]) for scores in table.values()]
        lines.append(f"| {contender} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def _cell(scores: dict[str, float]) -> str:
    return " / ".join(f"{value:.4f}" if measure == "ssim_y" else f"{value:.2f}" for measure, value in scores.items())
