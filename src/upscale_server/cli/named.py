"""What the documented scripts at the project's root call: their constants become settings, their arguments flags.

The scripts hold the constants, because the documentation says to edit them there; everything else is the command's.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, MutableMapping
from typing import NoReturn

from upscale_server.cli.main import main
from upscale_server.settings import PREFIX

IMAGE_GROUP = "IMAGE__"
"""What stands between the prefix and the name of a setting of the image server."""


def serve_video(constants: Mapping[str, object]) -> NoReturn:
    """Run `upscale serve video` with a script's constants and the arguments of this process."""
    fill_in(constants, os.environ)
    sys.argv[1:1] = ["serve", "video"]
    main()


def serve_image(constants: Mapping[str, object]) -> NoReturn:
    """Run `upscale serve image` with a script's constants and the arguments of this process."""
    fill_in({f"{IMAGE_GROUP}{name}": value for name, value in constants.items()}, os.environ)
    sys.argv[1:1] = ["serve", "image"]
    main()


def fill_in(constants: Mapping[str, object], environment: MutableMapping[str, str]) -> None:
    """Put constants where the environment says nothing: it counts more than they do, and flags count more than both.

    Args:
        constants: by their documented names, such as `MAX_WORKERS`; an empty one means the default.
        environment: the variables; `NAME` and `UPSCALE_NAME` both count as said.
    """
    said = {name.upper() for name in environment}
    for name, value in constants.items():
        if value not in ("", None) and not said & {name, f"{PREFIX}{name}"}:
            environment[f"{PREFIX}{name}"] = str(value)


def image_client() -> NoReturn:
    """Run `upscale client image` with the arguments of this process."""
    sys.argv[1:1] = ["client", "image"]
    main()
