"""Measure every shipped model against bicubic and Lanczos and write the results.

It trains nothing. Uncompressed: PSNR-Y and SSIM-Y on Set5, Set14 and B100. Compressed: PSNR-Y, VMAF and
VMAF-NEG on the held-out clips of `make_data` and on given videos, reduced by bicubic and coded by x264
ultrafast crf 23.

    python -m training.evaluate --data ../shared/images --work ~/train --models src/upscale_server/models/builtin
"""

from __future__ import annotations

import argparse
import json
import logging
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from training.chart import draw_chart
from training.export import write_whole
from training.machine import describe
from training.material import footage_clip, held_out_clips
from training.measure import Table, measure_clips, measure_pictures
from training.report import markdown
from training.upscalers import Contender, baselines, shipped, twice

log = logging.getLogger("evaluate")

Results = dict[str, dict[str, Table]]
"""`x2` or `x4` -> material -> table."""


@dataclass(frozen=True, slots=True)
class Material:
    """Where the material lies and how much of it to use."""

    data: Path
    work: Path | None
    videos: list[Path]
    frames: int
    with_vmaf: bool


def measure_scale(material: Material, scale: int, contenders: list[Contender]) -> dict[str, Table]:
    """Measure all material at one scale."""
    tables = {"pictures": measure_pictures(material.data, scale, contenders)}
    if material.work is not None:
        clips = held_out_clips(material.work, scale)
        tables["held_out"] = measure_clips(clips, contenders, with_vmaf=material.with_vmaf)
    if material.videos:
        clips = [footage_clip(file, scale, material.frames) for file in material.videos]
        tables["footage"] = measure_clips(clips, contenders, with_vmaf=material.with_vmaf)
    return tables


def update_cards(models: Path, results: Results, command: str) -> None:
    """Write each model's figures to its card, with the command that reproduces them."""
    for path in sorted(models.glob("*.json")):
        card = json.loads(path.read_text(encoding="utf-8"))
        tables = results.get(f"x{card['scale']}")
        if tables is None:
            continue
        measured = {name: rows[card["name"]] for name, rows in tables["pictures"].items()}
        for kind, label in (("held_out", "held_out_clips_x264_ultrafast_crf23"), ("footage", "real_clips")):
            if kind in tables:
                means = tables[kind]["mean"]
                measured[label] = means[card["name"]]
                measured[f"{label}_lanczos"] = means["lanczos"]
        card["measured"] = measured | {"command": command}
        write_whole(path, (json.dumps(card, indent=2) + "\n").encode())


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="pictures with eval/")
    parser.add_argument("--work", type=Path, help="where make_data wrote the held-out clips")
    parser.add_argument("--models", type=Path, default=Path("src/upscale_server/models/builtin"))
    parser.add_argument("--videos", type=Path, nargs="*", default=[], help="real footage to degrade and restore")
    parser.add_argument("--frames", type=int, default=60, help="frames used of each video")
    parser.add_argument("--scales", type=int, nargs="+", default=[2, 4])
    parser.add_argument("--precision", choices=("f32", "bf16"), default="f32")
    parser.add_argument("--twice", action="store_true", help="at x4, also every x2 model applied twice")
    parser.add_argument("--vmaf", action="store_true", help="also VMAF and VMAF-NEG (slow)")
    parser.add_argument("--out", type=Path, help="write OUT.md, OUT.json and OUT.png")
    parser.add_argument("--write-cards", action="store_true", help="store the figures on the cards")
    return parser.parse_args()


def reproduction(args: argparse.Namespace) -> str:
    """Return the command that gives the same figures elsewhere: folders of this machine are left out."""
    parts = ["python -m training.evaluate --data ../shared/images"]
    if args.work is not None:
        parts.append("--work WORK")
    if args.videos:
        parts.append("--videos " + " ".join(f"../shared/clips/{file.name}" for file in args.videos))
        parts.append(f"--frames {args.frames}")
    if args.precision != "f32":
        parts.append(f"--precision {args.precision}")
    if args.vmaf:
        parts.append("--vmaf")
    return " ".join(parts)


def main() -> None:
    """Measure, print the tables, and write what was asked for."""
    args = parse()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    material = Material(args.data, args.work, args.videos, args.frames, args.vmaf)
    results: Results = {}
    costs: dict[str, int] = {}
    for scale in args.scales:
        contenders = [*baselines(scale), *shipped(args.models, scale, args.precision)]
        if args.twice and scale == 4:
            contenders += [twice(contender) for contender in shipped(args.models, 2, args.precision)]
        results[f"x{scale}"] = measure_scale(material, scale, contenders)
        costs |= {f"{contender.name}-x{scale}": contender.macs_per_pixel for contender in contenders}
    text = markdown(results)
    print(text)
    if args.out:
        facts = {"machine": describe(), "measured_at": datetime.now(UTC).isoformat(timespec="seconds")}
        write_whole(args.out.with_suffix(".md"), text.encode())
        content = facts | {"precision": args.precision, "macs_per_pixel": costs, "results": results}
        write_whole(args.out.with_suffix(".json"), (json.dumps(content, indent=1) + "\n").encode())
        draw_chart(results, costs, args.out.with_suffix(".png"))
    if args.write_cards:
        update_cards(args.models, results, reproduction(args))


if __name__ == "__main__":
    main()
