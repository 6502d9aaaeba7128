"""`upscale serve image`: the flags of the image server and of TSD-SR; it checks its door and hands over.

What the server does stands in `service` and `web`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from upscale_server.cli import doors, serve_options
from upscale_server.cli.session import session_of

IMAGE_PORT = 8090

_Text = str | None
_Number = int | None


def image(
    context: typer.Context,
    host: serve_options.Host = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="Port; 0 takes a free one.")] = IMAGE_PORT,
    upscale: Annotated[
        _Number, typer.Option("--upscale", help="Factor of a request that names none: 2 or 4. Default: 2.")
    ] = None,
    process_size: Annotated[
        _Number,
        typer.Option("--process-size", help="Processing size of a request that names none: 64 to 256. Default: 128."),
    ] = None,
    workers: Annotated[
        _Number, typer.Option("--workers", min=1, max=64, help="Processes on the port. Default: 1.", metavar="N")
    ] = None,
    model: Annotated[
        _Text, typer.Option("--model", help="auto, tsdsr, a model's name or a file. Default: auto.", metavar="MODEL")
    ] = None,
    allow_open: serve_options.AllowOpen = False,
    api_key_file: serve_options.KeyFile = None,
    temp_dir: serve_options.TempDir = None,
    output_dir: serve_options.OutputDir = None,
    sd3_dir: Annotated[
        Path | None, typer.Option("--sd3-dir", help="TSD-SR: folder of SD3 Medium.", metavar="FOLDER")
    ] = None,
    lora_dir: Annotated[Path | None, typer.Option("--lora-dir", help="TSD-SR: folder of its weights.")] = None,
    embeddings_dir: Annotated[
        Path | None, typer.Option("--embeddings-dir", help="TSD-SR: folder of the prompt embeddings.")
    ] = None,
    mode: Annotated[_Text, typer.Option("--mode", help="TSD-SR: exact or reference.")] = None,
    align: Annotated[_Text, typer.Option("--align", help="TSD-SR: wavelet, adain or none.")] = None,
    posterior: Annotated[_Text, typer.Option("--posterior", help="TSD-SR: mean or sample.")] = None,
    latent_tile: Annotated[_Number, typer.Option("--latent-tile", help="TSD-SR: side of a tile.")] = None,
    latent_overlap: Annotated[_Number, typer.Option("--latent-overlap", help="TSD-SR: overlap of tiles.")] = None,
    vae_tiling: Annotated[_Text, typer.Option("--vae-tiling", help="TSD-SR: auto, on or off.")] = None,
    device: Annotated[
        _Text, typer.Option("--device", help="TSD-SR: auto (a GPU), cpu, cuda or cuda:N. cpu lets auto choose it.")
    ] = None,
    dtype: Annotated[_Text, typer.Option("--dtype", help="TSD-SR: auto, float32, bfloat16 or float16.")] = None,
) -> None:
    """Start the image server."""
    from upscale_server.cli import serving, serving_image
    from upscale_server.web.auth import Keys

    keys = None if api_key_file is None else doors.keys_in(api_key_file)
    settings = serving.with_flags(
        session_of(context).settings, temp_dir=temp_dir, output_dir=output_dir, api_keys=keys
    )  # fmt: skip
    settings = serving_image.with_image_flags(
        settings, upscale=upscale, process_size=process_size, workers=workers, model=model
    )  # fmt: skip
    settings = serving_image.with_tsdsr_flags(
        settings, sd3_dir=sd3_dir, lora_dir=lora_dir, embeddings_dir=embeddings_dir, mode=mode, align=align,
        posterior=posterior, latent_tile=latent_tile, latent_overlap=latent_overlap, vae_tiling=vae_tiling,
        device=device, dtype=dtype,
    )  # fmt: skip
    has_keys = Keys.of(settings.api_keys.get_secret_value()).needed
    doors.check_open(host, has_keys=has_keys, allowed=allow_open)
    with doors.listening(host, port) as door:
        serving_image.serve_image(settings, door, host)
