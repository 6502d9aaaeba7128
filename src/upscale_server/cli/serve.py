"""`upscale serve`: the servers' flags; each command checks its doors and hands over to `serving`.

What a server does stands in `service` and `web`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from upscale_server.cli import doors, serve_image, serve_options
from upscale_server.cli.session import session_of
from upscale_server.errors import BadRequest

VIDEO_PORT = 29115

app = typer.Typer(name="serve", help="Start a server.", no_args_is_help=True)

_MaxWorkers = Annotated[
    int | None,
    typer.Option("--max-workers", min=1, max=64, help="Most lanes; the device may hold fewer.", metavar="N"),
]
_ModelPath = Annotated[
    str | None,
    typer.Option("--model-path", help="A model's name or an ONNX file. Default: the built-in one.", metavar="MODEL"),
]


@app.callback()
def serve() -> None:
    """Start a server."""


@app.command("video")
def video(
    context: typer.Context,
    host: serve_options.Host = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="Port; 0 takes a free one.")] = VIDEO_PORT,
    allow_open: serve_options.AllowOpen = False,
    api_key_file: serve_options.KeyFile = None,
    max_workers: _MaxWorkers = None,
    model_path: _ModelPath = None,
    temp_dir: serve_options.TempDir = None,
    output_dir: serve_options.OutputDir = None,
    check: Annotated[bool, typer.Option("--check", help="Say what it would start with, and stop.")] = False,
    show: Annotated[bool, typer.Option("--show", help="Say first what it starts with.")] = False,
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
        serving.serve_video(settings, door, host, is_shown=show)


app.command("image")(serve_image.image)


@app.command("miner")
def miner(
    context: typer.Context,
    server_url: Annotated[
        str, typer.Option("--server-url", help="The video server that does the work.", metavar="URL")
    ] = f"http://127.0.0.1:{VIDEO_PORT}",
    api_key: Annotated[str | None, typer.Option("--api-key", help="Its API key.", metavar="KEY")] = None,
    host: serve_options.Host = "0.0.0.0",  # noqa: S104 - validators come from anywhere; they are checked by signature
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
