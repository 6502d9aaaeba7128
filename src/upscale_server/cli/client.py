"""`upscale client image`: the documented client of image servers; `tsdsr_client.py` hands its arguments to it.

It reads the flags; pictures are sent by `sending` and `watching`. stdout is data, one JSON object a line, and talk goes
to stderr. A failure of the work is exit code 1, whichever it is, as the document says.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from upscale_server.cli import talk
from upscale_server.cli.session import interruptible
from upscale_server.errors import BadRequest, Interrupted, UpscaleError

if TYPE_CHECKING:
    from upscale_server.cli.outputs import Job
    from upscale_server.client.images import ImageServer

_PORT = "8090"
_MOST_PORTS = 64
_THREADS_PER_SERVER = 2
"""One picture is worked on while the next one travels."""

app = typer.Typer(name="client", help="Talk to a running server.", no_args_is_help=True)

_MODE, _HOW, _WHERE = "What to do (one of these)", "How", "Where"


@app.callback()
def client() -> None:
    """Talk to a running server."""


@dataclass(frozen=True, slots=True)
class _Modes:
    """What was asked for; exactly one."""

    picture: Path | None
    batch: Path | None
    watch: Path | None
    control: list[str]

    def check(self) -> None:
        """Raise BadRequest unless there is exactly one."""
        named = [
            flag for flag, value in (("-i", self.picture), ("--batch", self.batch), ("--watch", self.watch)) if value
        ]
        asked = [*named, *(f"--{name}" for name in self.control)]
        if not asked:
            raise BadRequest("nothing was asked for", hint="give -i, --batch, --watch, --health, --info or --stats")
        if len(asked) > 1:
            raise BadRequest(f"{' and '.join(asked)} were given together; expected one of them")


@app.command("image")
def image(
    picture: Annotated[
        Path | None, typer.Option("-i", "--input", help="A picture to upscale.", rich_help_panel=_MODE, metavar="FILE")
    ] = None,
    batch: Annotated[
        Path | None,
        typer.Option(
            "--batch", help="A folder of pictures; finished ones are skipped.", rich_help_panel=_MODE, metavar="FOLDER"
        ),
    ] = None,
    watch: Annotated[
        Path | None,
        typer.Option(
            "--watch",
            help="A folder in which pictures arrive: each is upscaled and moved aside, until stopped.",
            rich_help_panel=_MODE,
            metavar="FOLDER",
        ),
    ] = None,
    health: Annotated[bool, typer.Option("--health", help="Print GET /health.", rich_help_panel=_MODE)] = False,
    info: Annotated[bool, typer.Option("--info", help="Print GET /info.", rich_help_panel=_MODE)] = False,
    stats: Annotated[bool, typer.Option("--stats", help="Print GET /stats.", rich_help_panel=_MODE)] = False,
    output: Annotated[
        Path | None,
        typer.Option(
            "-o",
            "--output",
            help="The result: a file (.png, .webp, .jpg), with --batch and --watch a folder. "
            "Default: NAME_upscaled.png beside the input; with --watch the folder FOLDER/upscaled.",
            metavar="PATH",
        ),
    ] = None,
    upscale: Annotated[
        int | None, typer.Option("-u", "--upscale", help="2 or 4. Default: the server's.", rich_help_panel=_HOW)
    ] = None,
    process_size: Annotated[
        int | None,
        typer.Option("-ps", "--process-size", help="64 to 256. Default: the server's.", rich_help_panel=_HOW),
    ] = None,
    bits: Annotated[
        int | None,
        typer.Option("--bits", help="16 keeps the depth of a 16-bit picture. Default: 8.", rich_help_panel=_HOW),
    ] = None,
    pattern: Annotated[
        str, typer.Option("--pattern", help="Which files of --batch or --watch.", rich_help_panel=_HOW)
    ] = "*.png",
    again: Annotated[
        bool, typer.Option("-y", "--yes", help="With --batch: also those that are finished.", rich_help_panel=_HOW)
    ] = False,
    processed: Annotated[
        Path | None,
        typer.Option(
            "--processed",
            help="With --watch: where finished pictures go. Default: FOLDER/processed.",
            rich_help_panel=_HOW,
            metavar="FOLDER",
        ),
    ] = None,
    parallel: Annotated[
        int,
        typer.Option("--parallel", min=0, max=256, help="Pictures under way; 0: two a server.", rich_help_panel=_HOW),
    ] = 0,
    host: Annotated[
        str, typer.Option("--host", help="The servers' host, or https://HOST.", rich_help_panel=_WHERE)
    ] = "127.0.0.1",
    port: Annotated[
        str,
        typer.Option("--port", help="Port, or several: 8090,8091 or 8090-8094.", rich_help_panel=_WHERE),
    ] = _PORT,
    api_key: Annotated[
        str | None, typer.Option("--api-key", help="Key of servers that need one.", rich_help_panel=_WHERE)
    ] = None,
    verbose: Annotated[bool, typer.Option("--verbose", help="Say each step on stderr.")] = False,
) -> None:
    """Upscale pictures on image servers; one JSON object per picture on stdout."""
    from upscale_server.cli.sending import Sender, batch_of, send_batch, send_one
    from upscale_server.cli.watching import Folders, Watch
    from upscale_server.client.image_servers import ImageServers
    from upscale_server.client.images import ImageServer, Wish

    control = [name for name, wanted in (("health", health), ("info", info), ("stats", stats)) if wanted]
    _Modes(picture, batch, watch, control).check()
    urls = addresses(host, port)
    servers = [ImageServer(url, api_key) for url in urls]
    tell: Callable[[str], None] = talk.say if verbose else lambda _: None
    tell(f"servers: {', '.join(urls)}")

    with ImageServers(servers, tell=tell) as several:
        wish = Wish(upscale, process_size, bits=bits)
        sender = Sender(several, wish, parallel or _THREADS_PER_SERVER * len(urls))

        def work() -> bool:
            if control:
                return show_each(servers, control[0])
            if batch is not None:
                return send_batch(sender, batch_of(batch, pattern, output), again=again)
            if watch is not None:
                Watch(sender, Folders.of(watch, output, processed), pattern).run()
            return picture is None or send_one(sender, _single(picture, output))

        _finish(work)


def _single(picture: Path, output: Path | None) -> Job:
    from upscale_server.cli.outputs import Suffixes, check, jobs_of
    from upscale_server.client.images import format_of

    if picture.is_dir():
        raise BadRequest(f"{picture} is a folder", hint="give it with --batch")
    job = jobs_of([picture], output, Suffixes(found=(), written_as={}, otherwise=".png"))[0]
    check(job, overwrite=True)
    format_of(job.output)
    return job


def _finish(work: Callable[[], bool]) -> None:
    """Do the work and end with 1 where it failed; wrong words keep their 2, an interrupt its 130."""
    try:
        with interruptible("pictures that are finished are kept, and a batch skips them"):
            went_well = work()
    except (BadRequest, Interrupted):
        raise
    except UpscaleError as err:
        talk.fail(err)
        talk.fault_json(err)
        went_well = False
    if not went_well:
        raise typer.Exit(1)


def show_each(servers: list[ImageServer], what: str) -> bool:
    """Print what each server says of itself; tells whether all did."""
    well = True
    for server in servers:
        try:
            answer = server.ask(f"/{what}")
        except UpscaleError as err:
            talk.fail(err, about=server.base_url)
            talk.fault_json(err, source=server.base_url)
            well = False
        else:
            talk.result_json(answer if len(servers) == 1 else {"server": server.base_url, **answer})
    return well


def addresses(host: str, ports: str) -> list[str]:
    """Return the servers' addresses: a host, and one or more ports such as `8090,8091` or `8090-8094`.

    Raises:
        BadRequest: a port is none.
    """
    scheme, _, name = host.rstrip("/").rpartition("://")
    name = f"[{name}]" if name.count(":") > 1 and not name.startswith("[") else name
    found: dict[int, None] = {}
    for text in ports.split(","):
        match = re.fullmatch(r"\s*(\d{1,5})(?:\s*-\s*(\d{1,5}))?\s*", text)
        first = int(match[1]) if match else 0
        last = int(match[2] or first) if match else 0
        if not 1 <= first <= last <= 65_535:
            raise BadRequest(f"port is {ports!r}", hint="for example 8090, 8090,8091 or 8090-8094")
        found |= dict.fromkeys(range(first, last + 1))
    if len(found) > _MOST_PORTS:
        raise BadRequest(f"port {ports!r} names {len(found)} ports; {_MOST_PORTS} servers are the most")
    return [f"{scheme or 'http'}://{name}:{port}" for port in found]
