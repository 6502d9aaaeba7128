"""The command `upscale`: its sub-commands, and the one place where an error becomes a line and an exit code.

Nothing is upscaled here; each command has its module, imported when it runs so that `--help` answers at once.
"""

from __future__ import annotations

import io
import os
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, NoReturn, cast

import typer

from upscale_server import __version__
from upscale_server.cli import bench, client, doctor, image, look, models, preview, serve, talk, video, work
from upscale_server.cli.session import Session, unexpected
from upscale_server.errors import BadRequest, Interrupted, UpscaleError
from upscale_server.logs import configure
from upscale_server.settings import load_settings

app = typer.Typer(
    name=talk.PROGRAM,
    help="Upscale videos and pictures with a neural network; nothing of the source is lost.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
)
app.command("video")(video.video)
app.command("image")(image.image)
app.command("probe")(look.probe)
app.command("plan")(look.plan)
app.command("preview")(preview.preview)
app.command("verify")(look.verify)
app.add_typer(models.app, name="models")
app.add_typer(serve.app, name="serve")
app.add_typer(client.app, name="client")
app.command("work")(work.work)
app.command("bench")(bench.bench)
app.command("doctor")(doctor.doctor)

# typer brings its own copy of click from 0.26 on and uses the package before: the class is reached through typer.
_UsageFault = cast(
    "type[Exception]", next(kind for kind in typer.BadParameter.__mro__ if kind.__name__ == "ClickException")
)


def _show_version(wanted: bool) -> None:
    if wanted:
        talk.result(f"{talk.PROGRAM} {__version__}")
        raise typer.Exit


@app.callback()
def prepare(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_show_version, is_eager=True)
    ] = False,
) -> None:
    """Read the settings and set up the log for the command that follows."""
    del version
    settings = load_settings()
    configure(settings.log_level, settings.log_style)
    context.obj = Session(settings)


def main() -> NoReturn:
    """Run the command line and leave the process with its exit code."""
    # A daemon may start us without them; Python then has None in their places.
    sys.stdout = sys.stdout or Path(os.devnull).open("w")  # noqa: SIM115 - open as long as the process
    sys.stderr = sys.stderr or Path(os.devnull).open("w")  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # what a terminal's encoding lacks is escaped, not a failure
            stream.reconfigure(errors="backslashreplace")
    code = run(sys.argv[1:])
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        talk.silence(sys.stdout)  # Python would complain about the reader once more at exit
    sys.exit(code)


def run(arguments: Sequence[str]) -> int:
    """Run one command and return its exit code; every failure has been shown."""
    as_json = "--json" in arguments
    try:
        _refuse_empty(arguments)
        code = app(list(arguments), standalone_mode=False)
    except UpscaleError as err:
        return _report(err, as_json=as_json)
    except (KeyboardInterrupt, typer.Abort):
        return _report(Interrupted("stopped before the end"), as_json=as_json)
    except BrokenPipeError:
        return 0
    except _UsageFault as err:
        return _report(_usage(err), as_json=as_json)
    except Exception as err:  # noqa: BLE001 - the last door: what is not named is ours, and gets a line too
        if os.environ.get("UPSCALE_LOG_LEVEL") == "debug":
            traceback.print_exc()
        return _report(unexpected(err), as_json=as_json)
    return code if isinstance(code, int) else 0


def _refuse_empty(arguments: Sequence[str]) -> None:
    """Refuse an empty argument: as a path it would mean the current folder, and it comes from an unset variable."""
    if "" in arguments:
        place = list(arguments).index("")
        before = f" after {arguments[place - 1]!r}" if place else ""
        raise BadRequest(f"an argument is empty{before}", hint="a shell variable may be unset")


def _report(error: UpscaleError, *, as_json: bool) -> int:
    talk.fail(error)
    if as_json:
        talk.fault_json(error)
    return error.exit_code


def _usage(error: BaseException) -> BadRequest:
    message = getattr(error, "format_message", lambda: str(error))()
    context = getattr(error, "ctx", None)
    command = context.command_path if context is not None else talk.PROGRAM
    text = message.strip().rstrip(".")
    return BadRequest((text[:1].lower() + text[1:]) or "no command given", hint=f"see {command} --help")


if __name__ == "__main__":
    main()
