"""Runs a server from settings and a listening socket until it is told to stop.

The flags are read in `serve`; what the server does stands in `service` and `web`.
"""

from __future__ import annotations

import os
import signal
import socket
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from pydantic import SecretStr

from upscale_server import __version__
from upscale_server.cli import doors, talk
from upscale_server.errors import ModelMissing, ModelsNotLoaded, UpscaleError
from upscale_server.logs import configure_server, get_logger

if TYPE_CHECKING:
    from upscale_server.service import VideoService
    from upscale_server.settings import LogLevel, Settings
    from upscale_server.subnet.axon import Miner

_LOOK_SECONDS = 0.2
"""Pause between two looks at whether the lanes are loaded; a person does not notice it."""


def with_flags(settings: Settings, **flags: object) -> Settings:
    """Return the settings with the flags that were given, which count more than the environment."""
    given = {name: value for name, value in flags.items() if value is not None}
    if "api_keys" in given:
        given["api_keys"] = SecretStr(str(given["api_keys"]))
    return settings.model_copy(update=given)


def model_of(settings: Settings) -> str | None:
    """Return the model that the server is told to use, as a name or a file; None for the built-in one.

    Raises:
        ModelMissing: there is no such file or name; only the lanes open it.
    """
    from upscale_server.models.added import path_of
    from upscale_server.models.at_hand import models_folder
    from upscale_server.models.catalogue import MODEL_SUFFIXES, family

    meant = path_of(settings.model_path or None, models_folder(settings))
    if meant is not None and meant.endswith(MODEL_SUFFIXES):
        if not Path(meant).is_file():
            raise ModelMissing(f"there is no model file {meant}", hint="see MODEL_PATH, or --model-path")
    else:
        family(meant)
    return meant


def show_start(settings: Settings, write: Callable[[str], None] = talk.result) -> None:
    """Make the folders and say what a server would start with: its model, what could run it, and where things go.

    Args:
        settings: with the flags in them.
        write: takes a line.

    Raises:
        ModelMissing, ModelInvalid: the model is not there, or is none.
        StorageError, DiskFull: a folder cannot be made.
    """
    from upscale_server.models.catalogue import family
    from upscale_server.models.device import cpu_name, usable_cores
    from upscale_server.service import folders_of, make_folders

    cards = family(model_of(settings))
    first = cards[min(cards)]
    scales = ", ".join(f"×{scale}" for scale in sorted(cards))
    folders, gpu_engines = folders_of(settings), _gpu_engines()
    make_folders(folders.state, folders.temp, folders.output)
    talk.result_facts(
        [
            ("model", f"{first.path or first.name} ({scales})"),
            ("GPU engines", ", ".join(gpu_engines) or "none installed (extra [cuda] or [torch])"),
            ("processor", f"{cpu_name()}, {usable_cores()} cores"),
            ("lanes", _lanes(settings, gpu_engines)),
            ("state", settings.state_dir),
            ("unfinished work", folders.temp),
            ("results", folders.output if settings.storage.kind == "local" else settings.storage.s3.endpoint),
        ],
        write,
    )


def _lanes(settings: Settings, gpu_engines: Sequence[str]) -> str:
    """Return how many lanes this machine will get; which engine is the fastest is measured when they start."""
    from upscale_server.workers.needs import lane_count, needs_of

    needs = needs_of(settings, os.environ)
    on_cpu = lane_count(needs, "openvino")
    if not gpu_engines:
        return f"{on_cpu} (at most {settings.max_workers})"
    return f"{lane_count(needs, gpu_engines[0])} on the GPU, {on_cpu} on the processor (at most {settings.max_workers})"


def _gpu_engines() -> list[str]:
    from upscale_server.models.device import nvidia_gpus
    from upscale_server.models.extras import installed

    on_torch = ["torch-cuda"] if installed("torch") and nvidia_gpus() else []
    if not installed("cuda"):
        return on_torch
    from upscale_server.models.engines.onnxruntime.session import available_engines

    return [*(engine for engine in available_engines() if engine in ("cuda", "tensorrt")), *on_torch]


def serve_video(settings: Settings, door: socket.socket, host: str, *, is_shown: bool = False) -> None:
    """Serve until SIGTERM or Ctrl-C, then drain; a second signal stops at once.

    Args:
        settings: with the flags in them.
        door: a listening socket.
        host: as it was given, for the address that is told.
        is_shown: say first what it starts with.

    Raises:
        BadRequest: another video server has this state folder, or a setting cannot be meant.
        ModelMissing, ModelsNotLoaded: the lanes could not be started.
        StorageError, DiskFull: a folder cannot be written.
    """
    from upscale_server.service import VideoService, check_settings
    from upscale_server.web.serve import serve
    from upscale_server.web.video_app import create_app

    settings = settings.model_copy(update={"model_path": model_of(settings) or "", "log_level": level_of(settings)})
    check_settings(settings)
    with doors.only_one(settings.state_dir / "video"):
        if is_shown:
            show_start(settings, talk.say)
        configure_server(settings.log_level, settings.log_style, settings.state_dir / "server.log")
        url = url_of(host, door)
        get_logger().info("server_starting", server="video", version=__version__, url=url, process=os.getpid())
        service = VideoService(settings)
        with _Start(service, url) as start:
            serve(create_app(service), door)
        get_logger().info("server_stopped", server="video")
    start.check()


def serve_miner(settings: Settings, face: Miner) -> None:
    """Answer validators until SIGTERM or Ctrl-C.

    Raises:
        BadRequest: another miner has this state folder, there is no such wallet, or the port is taken.
        MissingExtra: bittensor is not installed.
        ServerUnreachable, ModelsNotLoaded: the video server does not answer, or is not ready.
    """
    from upscale_server.subnet.axon import serve

    with doors.only_one(face.state_dir):
        configure_server(level_of(settings), settings.log_style, settings.state_dir / "server.log")
        stop = threading.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: stop.set())
        serve(face, stop)


def level_of(settings: Settings) -> LogLevel:
    """Return how much a server tells: what happens, unless it was said otherwise."""
    return settings.log_level if "log_level" in settings.model_fields_set else "info"


class _Start:
    """Looks on while the lanes load, from a thread that ends with this context.

    It says once when they are really loaded. Where they cannot be, it ends the server: one that can do no work and
    goes on listening looks alive to whoever started it.
    """

    def __init__(self, service: VideoService, url: str) -> None:
        self._service = service
        self._url = url
        self._fault: str | None = None
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._look, name="start")

    def check(self) -> None:
        """Raise what kept the lanes from loading.

        Raises:
            ModelsNotLoaded: with the reason.
        """
        if self._fault is not None:
            raise ModelsNotLoaded(f"the models could not be loaded: {self._fault}")

    def _look_at_store(self) -> None:
        """Try an object store once: a wrong key is better known now than when hours of work are to be stored.

        It keeps no server from starting: a store that is away for a while is outlasted by the jobs.
        """
        try:
            self._service.results.check_store()
        except UpscaleError as err:
            get_logger().warning("store_not_usable", detail=err.detail, hint=err.hint)
            talk.say(f"{talk.PROGRAM}: warning: results cannot be stored now: {err.detail}")
        else:
            get_logger().info("store_usable")

    def _look(self) -> None:
        while not self._stopping.wait(_LOOK_SECONDS):
            found = self._service.pool_status()
            if found.ready:
                first = found.lanes[0]
                facts = {"lanes": len(found.lanes), "engine": first.engine, "device": first.device}
                get_logger().info("server_ready", server="video", url=self._url, model=first.model, **facts)
                talk.say(f"{talk.PROGRAM}: ready at {self._url}: {len(found.lanes)} lanes loaded")
                return
            if found.fault is not None and not self._service.is_draining:
                self._fault = found.fault
                os.kill(os.getpid(), signal.SIGTERM)
                return

    def __enter__(self) -> Self:
        self._thread.start()
        if self._service.settings.storage.kind == "s3":  # a folder was made just now, so it can be written
            threading.Thread(target=self._look_at_store, name="look-at-store", daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopping.set()
        self._thread.join()


def url_of(host: str, door: socket.socket) -> str:
    """Return the address that a server answers at."""
    port = door.getsockname()[1]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host or '0.0.0.0'}:{port}"  # noqa: S104 - only named
