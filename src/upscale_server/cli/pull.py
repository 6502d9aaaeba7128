"""`upscale models pull tsdsr`: TSD-SR's weights, after a yes to their licences, and what to set to use them.

What is fetched and how it is checked stands in `models.pull`.
"""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from upscale_server.cli import options, talk
from upscale_server.cli.session import interruptible, session_of
from upscale_server.errors import BadRequest

if TYPE_CHECKING:
    from upscale_server.models.pull import Pulled

_FROM, _CHECK = "From where", "Trust"


def pull(
    context: typer.Context,
    name: Annotated[str, typer.Argument(metavar="NAME", help="tsdsr.")],
    everything: Annotated[
        Path | None,
        typer.Option("--from", help="A folder that holds all parts; nothing is fetched.", rich_help_panel=_FROM),
    ] = None,
    sd3: Annotated[
        str,
        typer.Option(
            "--sd3",
            help="Stable Diffusion 3 Medium, a folder or a repository. Default: Stability AI's, which is gated.",
            rich_help_panel=_FROM,
            metavar="FOLDER|REPO",
        ),
    ] = "",
    lora: Annotated[
        str,
        typer.Option("--lora", help="TSD-SR's LoRA.", rich_help_panel=_FROM, metavar="FOLDER|REPO"),
    ] = "",
    embeddings: Annotated[
        str,
        typer.Option(
            "--embeddings",
            help="TSD-SR's prompt embeddings. Default: where the LoRA is.",
            rich_help_panel=_FROM,
            metavar="FOLDER|REPO",
        ),
    ] = "",
    mirror: Annotated[
        str,
        typer.Option(
            "--mirror", help="Another hub; your token is not sent to it.", rich_help_panel=_FROM, metavar="URL"
        ),
    ] = "",
    send_token: Annotated[
        bool, typer.Option("--send-token", help="Send your token to the mirror, too.", rich_help_panel=_FROM)
    ] = False,
    revision: Annotated[
        str, typer.Option("--revision", help="Commit of Stable Diffusion's repository.", rich_help_panel=_CHECK)
    ] = "",
    pins: Annotated[
        Path | None,
        typer.Option(
            "--pins",
            help="SHA-256s that must hold, as sha256sum writes them; those of an earlier run hold anyway.",
            rich_help_panel=_CHECK,
            metavar="FILE",
        ),
    ] = None,
    accept: Annotated[
        bool,
        typer.Option("--accept-licence", "--accept-license", help="Say yes to the licences.", rich_help_panel=_CHECK),
    ] = False,
    to: Annotated[
        Path | None,
        typer.Option("--to", help="Folder to keep them in. Default: in the state folder.", metavar="FOLDER"),
    ] = None,
    as_json: options.Json = False,
) -> None:
    """Bring the weights of TSD-SR here, check them, and print the settings that make a server find them."""
    from upscale_server.models.hub import Hub
    from upscale_server.models.pull import Pull
    from upscale_server.models.pull import pull as pull_weights

    if name != "tsdsr":
        raise BadRequest(
            f"there is no {name!r} to pull; expected tsdsr", hint="`upscale models add` takes other models"
        )
    folder = to or session_of(context).settings.state_dir / "tsdsr"
    asked = Pull(folder.absolute(), sd3, lora, embeddings, everything, revision, pins)
    hub = Hub(mirror, with_token=send_token or not mirror)
    with interruptible("repeat the command: what is finished is kept, and a broken download goes on"):
        pulled = pull_weights(asked, hub, lambda text: _consent(text, accept=accept), talk.say)
    _show(pulled, as_json=as_json)


def _consent(licences: str, *, accept: bool) -> bool:
    """Show the licences on stderr and return the user's answer."""
    talk.say(licences)
    if accept:
        talk.say("accepted by --accept-licence")
        return True
    if not sys.stdin.isatty():
        return False
    return typer.confirm("Do you accept these terms?", default=False, err=True)


def _show(pulled: Pulled, *, as_json: bool) -> None:
    if as_json:
        files = {name: {"bytes": size, "sha256": sha256} for name, (size, sha256) in pulled.files.items()}
        talk.result_json({"settings": pulled.settings, "files": files})
        return
    for name, (size, sha256) in pulled.files.items():
        talk.say(f"{sha256}  {size:>13,} bytes  {name}")
    talk.say("set these where the image server starts:")
    for name, value in pulled.settings.items():
        talk.result(f"export {name}={shlex.quote(value)}")
