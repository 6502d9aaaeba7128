"""The options that several commands share, so that each has one name, one meaning and one help text."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

_SIZE, _MODEL, _ENCODER, _RUN = "Size", "Model", "Encoder", "Run"

Output = Annotated[
    Path | None,
    typer.Option(
        "-o", "--output", help="Output file; for several inputs a folder. Default: NAME_upscaled beside the input."
    ),
]
Overwrite = Annotated[bool, typer.Option("-y", "--yes", help="Replace an output that exists.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object per result on stdout.")]

Task = Annotated[
    str | None, typer.Option("--task", help="SD2HD, SD24K, HD24K or 4K28K.", rich_help_panel=_SIZE, metavar="TASK")
]
To = Annotated[
    str | None,
    typer.Option("--to", help="720p, 1080p, 1440p, 4k, 8k or WIDTHxHEIGHT.", rich_help_panel=_SIZE, metavar="SIZE"),
]
Scale = Annotated[int | None, typer.Option("--scale", help="2 (the default), 3 or 4.", rich_help_panel=_SIZE)]
Fit = Annotated[
    str | None,
    typer.Option(
        "--fit",
        help="contain keeps the aspect ratio (default), exact adds bars; scale goes with --scale.",
        rich_help_panel=_SIZE,
    ),
]

Model = Annotated[
    str | None,
    typer.Option(
        "--model", help="A model's name (see `upscale models`), an ONNX or a safetensors file.", rich_help_panel=_MODEL
    ),
]
Engine = Annotated[
    str,
    typer.Option(
        "--engine",
        help="auto, openvino, onnxruntime, cuda, tensorrt, torch, torch-cuda, lanczos or bicubic.",
        rich_help_panel=_MODEL,
    ),
]
Precision = Annotated[
    str,
    typer.Option(
        "--precision", help="auto, bf16, f16 or f32; auto is what this processor does best.", rich_help_panel=_MODEL
    ),
]

Codec = Annotated[
    str, typer.Option("--codec", help="hevc, h264, av1, or an encoder such as libx264.", rich_help_panel=_ENCODER)
]
Crf = Annotated[
    int | None,
    typer.Option("--crf", help="Quality of the encoder: smaller is better and larger.", rich_help_panel=_ENCODER),
]
Preset = Annotated[str | None, typer.Option("--preset", help="Effort of the encoder.", rich_help_panel=_ENCODER)]
PixelFormat = Annotated[
    str | None,
    typer.Option("--pixel-format", help="For example yuv420p10le. Default: the source's.", rich_help_panel=_ENCODER),
]
Decoder = Annotated[
    str,
    typer.Option(
        "--decoder", help="cpu, or cuda (NVDEC) where it opens for the source.", rich_help_panel=_RUN, metavar="DEVICE"
    ),
]
Start = Annotated[
    float | None, typer.Option("--start", help="Begin here, in seconds.", rich_help_panel=_RUN, metavar="SECONDS")
]
Duration = Annotated[
    float | None,
    typer.Option("--duration", help="Keep this long, in seconds.", rich_help_panel=_RUN, metavar="SECONDS"),
]
Threads = Annotated[
    int, typer.Option("--threads", min=0, help="Decoder and encoder threads; 0: all cores.", rich_help_panel=_RUN)
]
SegmentSeconds = Annotated[
    float,
    typer.Option(
        "--segment-seconds",
        min=0.1,
        hidden=True,  # for tests and for measuring; ten seconds suit every real video
        help="Length of the pieces that are finished and kept one by one; a stopped run repeats at most one.",
        rich_help_panel=_RUN,
    ),
]
Measured = Annotated[
    bool,
    typer.Option(
        "--quality",
        help="Measure PSNR, SSIM, VMAF and flicker against the source (extra [quality]).",
        rich_help_panel=_RUN,
    ),
]
Measure = Annotated[
    bool,
    typer.Option("--measure", help="Upscale and encode up to three seconds of the video, for a nearer estimate."),
]
WorkDir = Annotated[
    Path | None,
    typer.Option("--work-dir", help="Where unfinished work is kept. Default: OUTPUT.work.", rich_help_panel=_RUN),
]
Quality = Annotated[
    int | None,
    typer.Option(
        "--quality", min=1, max=100, help="For JPEG and AVIF; 95 and 90 by default.", rich_help_panel=_ENCODER
    ),
]
