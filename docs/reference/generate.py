"""Write the pages of docs/reference from the code, so that they cannot say anything else.

It explains nothing by itself: every sentence comes from a setting's description, an option's help text or an error's
docstring. `make docs` writes the pages; a test compares them with what this would write.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from docs.reference.benchmark_chart import benchmark_chart
from docs.reference.http_page import http_page
from docs.reference.scale_tables import scaling_page
from upscale_server import errors
from upscale_server.cli.main import app
from upscale_server.errors import UpscaleError
from upscale_server.metrics import FIGURES
from upscale_server.settings import PREFIX, Settings

HERE = Path(__file__).parent


def settings_page() -> str:
    """Return docs/reference/settings.md."""
    rows = [
        "# Settings",
        "",
        "Every setting is an environment variable, read once at the start. A name that begins with",
        f"`{PREFIX}` and is not in this table is refused. `MAX_WORKERS`, `MODEL_PATH`, `TEMP_DIR` and `OUTPUT_DIR` are",
        "also read without it. Written by `make docs` from `settings.py`.",
        "",
        "| variable | default | what it is |",
        "|---|---|---|",
    ]
    rows += [f"| `{name}` | {_default(field)} | {field.description} |" for name, field in _fields(Settings, PREFIX)]
    return "\n".join(rows) + "\n"


def _fields(model: type[BaseModel], prefix: str) -> Iterator[tuple[str, FieldInfo]]:
    for name, field in model.model_fields.items():
        variable = f"{prefix}{name.upper()}"
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from _fields(field.annotation, f"{variable}__")
        else:
            yield variable, field


def _default(field: FieldInfo) -> str:
    # A default that is computed depends on the machine; its description says how.
    return "computed" if field.default_factory is not None else f"`{field.default}`"


def cli_page() -> str:
    """Return docs/reference/cli.md."""
    rows = [
        "# The command line",
        "",
        "Results go to stdout and talk to stderr; exit codes are in [errors.md](errors.md). Written by `make docs`",
        "from the commands' own help texts.",
        "",
    ]
    commands = typer.main.get_command(app).commands  # type: ignore[attr-defined] - an app with sub-commands is a group
    for name, command in commands.items():
        rows += _command(name, command)
    return "\n".join(rows)


def _command(name: str, command: Any) -> list[str]:  # noqa: ANN401 - see `_option`
    """Return the section of a command, and then those of its sub-commands."""
    rows = [f"## `upscale {name}`", "", _one_line(command.help), "", "| option | what it does |", "|---|---|"]
    rows += [*map(_option, command.params), ""]
    for below, inner in getattr(command, "commands", {}).items():
        rows += _command(f"{name} {below}", inner)
    return rows


def _option(param: Any) -> str:  # noqa: ANN401 - typer has its own copy of click's classes, or click's
    if param.param_type_name == "argument":
        names = f"`{param.metavar or param.name.upper()}`"
    else:
        value = "" if getattr(param, "is_flag", False) else f" {param.metavar or param.name.upper()}"
        names = ", ".join(f"`{name}{value}`" for name in param.opts)
    fixed = isinstance(param.default, str | int | float) and not isinstance(param.default, bool)
    default = f" Default: `{param.default}`." if fixed else ""
    return f"| {names} | {_one_line(param.help)}{default} |"


def _one_line(text: str | None) -> str:
    return " ".join((text or "").split()).replace("|", "\\|")


def errors_page() -> str:
    """Return docs/reference/errors.md."""
    rows = [
        "# Errors and exit codes",
        "",
        "Every failure has a code that does not change. `--json` shows it as an object with `code`, `detail`, `hint`",
        "and `retryable`, and the servers answer with that object. Exit code 0 is success. Written by `make docs` from",
        "`errors.py`.",
        "",
        "| code | exit | HTTP | worth retrying | when |",
        "|---|---|---|---|---|",
    ]
    for error in _errors(UpscaleError):
        retry = "yes" if error.retryable else "no"
        when = _one_line((error.__doc__ or "").split("\n\n", maxsplit=1)[0])
        rows.append(f"| `{error.code}` | {error.exit_code} | {error.http_status} | {retry} | {when} |")
    return "\n".join(rows) + "\n"


def _errors(base: type[UpscaleError]) -> Iterator[type[UpscaleError]]:
    yield base
    for kind in base.__subclasses__():
        # A private subclass is a detail of the module that raises it.
        if kind.__module__.startswith(f"{errors.__name__}."):
            yield from _errors(kind)


def metrics_page() -> str:
    """Return docs/reference/metrics.md."""
    rows = [
        "# Figures for monitoring",
        "",
        "What `GET /metrics` tells in Prometheus' text format; [how to monitor](../howto/monitor.md) says how to have",
        "it read. Figures of the image server have the label `worker` besides, the number of its process. Written by",
        "`make docs` from `metrics/figures.py`.",
        "",
        "| figure | kind | labels | server | what it says |",
        "|---|---|---|---|---|",
    ]
    for one in FIGURES:
        labels = ", ".join(f"`{label}`" for label in one.labels)
        rows.append(f"| `{one.name}` | {one.kind} | {labels} | {', '.join(one.servers)} | {_one_line(one.about)} |")
    return "\n".join(rows) + "\n"


PAGES = {
    "settings.md": settings_page,
    "cli.md": cli_page,
    "errors.md": errors_page,
    "http.md": http_page,
    "metrics.md": metrics_page,
    "../pictures/benchmarks.svg": benchmark_chart,
    "../explanation/scaling.md": scaling_page,
}


def main() -> None:
    """Write every page beside this file."""
    for name, page in PAGES.items():
        (HERE / name).write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    main()
