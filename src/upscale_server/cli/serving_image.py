"""Runs the image server from settings and a listening socket until it is told to stop.

The flags are read in `serve`; what the server does stands in `service` and `web`.
"""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import TYPE_CHECKING

from upscale_server import __version__
from upscale_server.cli import talk
from upscale_server.cli.serving import level_of, url_of
from upscale_server.errors import BadProcessSize, BadRequest, BadScale, ModelMissing
from upscale_server.logs import configure_server, get_logger

if TYPE_CHECKING:
    from upscale_server.settings import Settings
    from upscale_server.web.image_told import Told

FACTORS = (2, 4)
PROCESS_SIZES = range(64, 257)


def with_image_flags(settings: Settings, **flags: object) -> Settings:
    """Return the settings with the flags that were given, which count more than the environment.

    Raises:
        BadScale, BadProcessSize: a default is none that a request could ask for.
    """
    given = {name: value for name, value in flags.items() if value is not None}
    if given.get("upscale", FACTORS[0]) not in FACTORS:
        raise BadScale(f"--upscale is {given['upscale']}; expected 2 or 4")
    if given.get("process_size", PROCESS_SIZES[0]) not in PROCESS_SIZES:
        raise BadProcessSize(f"--process-size is {given['process_size']}; expected 64 to 256")
    return settings.model_copy(update={"image": settings.image.model_copy(update=given)})


def with_tsdsr_flags(settings: Settings, **flags: object) -> Settings:
    """Return the settings with the flags for TSD-SR that were given.

    Raises:
        BadRequest: a value is not on offer.
    """
    from pydantic import ValidationError

    given = {
        name: str(value) if isinstance(value, Path) else value for name, value in flags.items() if value is not None
    }
    try:
        changed = type(settings.tsdsr).model_validate({**settings.tsdsr.model_dump(), **given})
    except ValidationError as err:
        first = err.errors()[0]
        flag = f"--{str(first['loc'][0]).replace('_', '-')}"
        raise BadRequest(f"{flag} is {first['input']!r}: {first['msg'].lower()}") from err
    return settings.model_copy(update={"tsdsr": changed})


def check_model(settings: Settings) -> None:
    """Refuse a model that is not there, before anything is made; only the processes open it.

    Raises:
        ModelMissing: there is no such name or file.
        BadRequest: TSD-SR's tile and overlap do not go together.
    """
    from upscale_server.models.at_hand import family_for_pictures, model_for, tsdsr_options
    from upscale_server.models.tsdsr.files import require_files

    asked = settings.image.model
    options = tsdsr_options(settings)
    if asked == "auto":
        return
    if asked == "tsdsr":
        require_files(options)
        return
    meant = model_for("auto", asked, settings)
    if meant is not None and Path(meant).suffix:
        if not Path(meant).is_file():
            raise ModelMissing(f"there is no model file {meant}", hint="see --model, or UPSCALE_IMAGE__MODEL")
        return
    family_for_pictures(meant)


def serve_image(settings: Settings, door: socket.socket, host: str) -> None:
    """Serve until SIGTERM or Ctrl-C, then drain; a second signal stops at once.

    Servers on several ports share a state folder, as the processes of one do.

    Raises:
        ModelMissing, ModelInvalid, ModelsNotLoaded: the models could not be loaded.
        StorageError, DiskFull: a folder cannot be written.
    """
    from upscale_server.web.image_parent import Parent

    check_model(settings)
    settings = settings.model_copy(update={"log_level": level_of(settings)})
    configure_server(settings.log_level, settings.log_style, settings.state_dir / "server.log")
    url = url_of(host, door)
    get_logger().info("server_starting", server="image", version=__version__, url=url, process=os.getpid())

    def ready(told: Told) -> None:
        count = settings.image.workers
        facts = {"model": told.model, "engine": told.engine, "device": told.device}
        get_logger().info("server_ready", server="image", url=url, workers=count, **facts)
        talk.say(f"{talk.PROGRAM}: ready at {url}: {told.model} on {told.device}, {count} process(es)")

    Parent(settings, door, ready).run()
    get_logger().info("server_stopped", server="image")
