"""A module that every Python of a server runs at its start, those behind a cage's door among them.

A cage hands on where modules are found, and nothing else that a test could use; what the module does is the tests'
business.
"""

from __future__ import annotations

import os
from pathlib import Path

from tests.support.cli_runner import environment_for


def write_everywhere(folder: Path, code: str) -> dict[str, str]:
    """Write the module to a folder, and return the variables that make every Python run it first."""
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(f"import os\nimport sys\n{code}")
    return {"PYTHONPATH": os.pathsep.join((str(folder), environment_for()["PYTHONPATH"]))}
