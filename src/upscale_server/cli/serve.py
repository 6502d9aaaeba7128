"""`upscale serve`: the servers' flags; each command checks its doors and hands over to `serving`.

What a server does stands in `service` and `web`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from upscale_server.cli import doors
from upscale_server.cli.session import session_of
from upscale_server.errors import BadRequest

VIDEO_PORT = 29115
IMAGE_PORT = 8090

app = typer.Typer(name="serve", help="Start a server.", no_args_is_help=True)

_Host = Annotated[str, typer.Option("--host", help="Address to listen on; 0.0.0.0 is every network of this machine.")]
_AllowOpen = Annotated[
    bool,
    typer.Option("--allow-open", help="Let other machines in without an API key, which otherwise stops the start."),
]
_KeyFile = Annotated[
    Path | None,
    typer.Option("--api-key-file", help="File of API keys that callers must give, one a line.", metavar="FILE"),
]
_MaxWorkers = Annotated[
    int | None,
    typer.Option("--max-workers", min=1, max=64, help="Most lanes; the device may hold fewer.", metavar="N"),
]
_ModelPath = Annotated[
    str | None,
    typer.Option("--model-path", help="A model's name or an ONNX file. Default: the built-in one.", metavar="MODEL"),
]
_TempDir = Annotated[
    Path | None,
    typer.Option("--temp-dir", help="Folder for unfinished work. Default: in the state folder.", metavar="FOLDER"),
]
_OutputDir = Annotated[
    Path | None,
    typer.Option("--output-dir", help="Folder for results. Default: in the state folder.", metavar="FOLDER"),
]


@app.callback()
def serve() -> None:
    """Start a server."""


@app.command("video")
def video(
    context: typer.Context,
    host: _Host = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="Port; 0 takes a free one.")] = VIDEO_PORT,
    allow_open: _AllowOpen = False,
    api_key_file: _KeyFile = None,
    max_workers: _MaxWorkers = None,
    model_path: _ModelPath = None,
    temp_dir: _TempDir = None,
    output_dir: _OutputDir = None,
    check: Annotated[bool, typer.Option("--check", help="Say what it would start with, and stop.")] = False,
) -> None:
    """Start the video server."""
    from upscale_server.cli import serving
    from upscale_server.web.auth import Keys

    keys = None if api_key_file is None else doors.keys_in(api_key_file)
    settings = serving.with_flags(
        session_of(context).settings,
        max_workers=max_workers, model_path=model_path, temp_dir=temp_dir, output_dir=output_dir, api_keys=keys,
    )  # fmt: skip
    has_keys = Keys.of(settings.api_keys.get_secret_value()).needed
    doors.check_open(host, has_keys=has_keys, allowed=allow_open)
    if check:
        serving.show_start(settings)
        return
    with doors.listening(host, port) as door:
        serving.serve_video(settings, door, host)


@app.command("image")
def image(
    context: typer.Context,
    host: _Host = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="Port; 0 takes a free one.")] = IMAGE_PORT,
    upscale: Annotated[
        int | None, typer.Option("--upscale", help="Factor of a request that names none: 2 or 4. Default: 2.")
    ] = None,
    process_size: Annotated[
        int | None,
        typer.Option("--process-size", help="Processing size of a request that names none: 64 to 256. Default: 128."),
    ] = None,
    workers: Annotated[
        int | None, typer.Option("--workers", min=1, max=64, help="Processes on the port. Default: 1.", metavar="N")
    ] = None,
    model: Annotated[
        str | None,
        typer.Option("--model", help="auto, tsdsr, a model's name or a file. Default: auto.", metavar="MODEL"),
    ] = None,
    allow_open: _AllowOpen = False,
    api_key_file: _KeyFile = None,
    temp_dir: _TempDir = None,
    output_dir: _OutputDir = None,
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
    has_keys = Keys.of(settings.api_keys.get_secret_value()).needed
    doors.check_open(host, has_keys=has_keys, allowed=allow_open)
    with doors.listening(host, port) as door:
        serving_image.serve_image(settings, door, host)


@app.command("miner")
def miner(
    context: typer.Context,
    server_url: Annotated[
        str, typer.Option("--server-url", help="The video server that does the work.", metavar="URL")
    ] = f"http://127.0.0.1:{VIDEO_PORT}",
    api_key: Annotated[str | None, typer.Option("--api-key", help="Its API key.", metavar="KEY")] = None,
    host: _Host = "0.0.0.0",  # noqa: S104 - validators come from anywhere; they are checked by signature
    port: Annotated[int, typer.Option("--port", min=1, max=65535, help="Port of the Axon.")] = 8091,
    allow_open: Annotated[
        bool,
        typer.Option("--allow-open", help="Answer every signed caller where neither --netuid nor --hotkey is given."),
    ] = False,
    external_ip: Annotated[str | None, typer.Option("--external-ip", help="Address that the chain tells.")] = None,
    external_port: Annotated[int | None, typer.Option("--external-port", help="Port that the chain tells.")] = None,
    wallet: Annotated[str, typer.Option("--wallet", help="Name of the wallet.")] = "default",
    wallet_hotkey: Annotated[str, typer.Option("--wallet-hotkey", help="Name of its hotkey.")] = "default",
    wallet_dir: Annotated[
        Path | None, typer.Option("--wallet-dir", help="Folder of wallets.", metavar="FOLDER")
    ] = None,
    netuid: Annotated[int | None, typer.Option("--netuid", help="The subnet; its validators are admitted.")] = None,
    network: Annotated[str, typer.Option("--network", help="The chain.")] = "finney",
    hotkey: Annotated[
        list[str] | None,
        typer.Option("--hotkey", help="A further caller's hotkey; can be repeated.", metavar="ADDRESS"),
    ] = None,
) -> None:
    """Answer the subnet's validators by calling a video server (extra [subnet])."""
    from upscale_server.cli import serving
    from upscale_server.subnet.axon import Miner

    settings = session_of(context).settings
    if netuid is None and not hotkey and not allow_open:
        raise BadRequest(
            "neither a subnet nor a hotkey says who is answered",
            hint="give --netuid or --hotkey; --allow-open answers every signed caller",
        )
    face = Miner(
        server_url=server_url, state_dir=settings.state_dir / "miner", api_key=api_key, host=host, port=port,
        external_ip=external_ip, external_port=external_port, wallet=wallet, hotkey=wallet_hotkey,
        wallet_dir=wallet_dir, netuid=netuid, network=network, allowed_hotkeys=frozenset(hotkey or ()),
    )  # fmt: skip
    serving.serve_miner(settings, face)
