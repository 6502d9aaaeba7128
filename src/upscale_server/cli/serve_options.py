"""Options that several servers share: who may reach them, and where their files go.

What they mean is checked in `doors` and `settings`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Host = Annotated[str, typer.Option("--host", help="Address to listen on; 0.0.0.0 is every network of this machine.")]
AllowOpen = Annotated[
    bool,
    typer.Option("--allow-open", help="Let other machines in without an API key, which otherwise stops the start."),
]
KeyFile = Annotated[
    Path | None,
    typer.Option("--api-key-file", help="File of API keys that callers must give, one a line.", metavar="FILE"),
]
TempDir = Annotated[
    Path | None,
    typer.Option("--temp-dir", help="Folder for unfinished work. Default: in the state folder.", metavar="FOLDER"),
]
OutputDir = Annotated[
    Path | None,
    typer.Option("--output-dir", help="Folder for results. Default: in the state folder.", metavar="FOLDER"),
]
