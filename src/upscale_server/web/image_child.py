"""One of the image server's processes: loads its models, serves from the shared door, and ends with its parent.

Starting it again when it dies is `image_parent`'s.
"""

from __future__ import annotations

import os
import signal
import socket
import threading
from multiprocessing.connection import Connection

from upscale_server.logs import configure_server, get_logger
from upscale_server.models.device import nvidia_gpus
from upscale_server.service.image import ImageService
from upscale_server.settings import Settings
from upscale_server.web.family import Family
from upscale_server.web.image_app import create_app
from upscale_server.web.image_told import Told
from upscale_server.web.shared_door import serve_shared
from upscale_server.web.siblings import Siblings

VISIBLE = "CUDA_VISIBLE_DEVICES"
_CUDA = "cuda:"


def serve(settings: Settings, door: socket.socket, pipe: Connection, family: Family) -> None:
    """Serve until a signal or the parent's death, then drain.

    Args:
        settings: all of them.
        door: the listening socket that all processes share.
        pipe: to the parent; it closes when the parent dies.
        family: which of the processes this is, and how it asks the others.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent says how to end
    settings = with_own_gpu(settings, family.index)
    configure_server(settings.log_level, settings.log_style, settings.state_dir / "server.log")
    threading.Thread(target=_end_with_parent, args=(pipe,), name="parent", daemon=True).start()
    service = ImageService(settings, told=lambda: _tell(pipe, service))
    alone = settings.image.workers == 1
    app = create_app(service)
    app.state.figures = Siblings(family, service.metrics).text
    serve_shared(app, door, lambda: 0 if alone else service.counts.running + service.counts.waiting)
    get_logger().info("process_stopped", index=family.index, process=os.getpid())
    # Not a return: a picture that outlasted the drain would hold the process until it is done.
    os._exit(0)


def gpu_for(index: int, visible: str | None, count: int, device: str = "auto") -> str | None:
    """Return the GPUs that a process may see, so that several processes spread over several GPUs; None leaves all.

    Args:
        index: of the process.
        visible: CUDA_VISIBLE_DEVICES as it is set, None where it is not.
        count: GPUs of the machine.
        device: that was asked for; `cuda:N` is the one GPU of all processes.
    """
    known = [str(number) for number in range(count)] if visible is None else visible.split(",")
    if device.startswith(_CUDA):
        number = device.removeprefix(_CUDA)
        return known[int(number)].strip() if number.isdecimal() and int(number) < len(known) else None
    return known[index % len(known)].strip() if len(known) > 1 else None


def with_own_gpu(settings: Settings, index: int) -> Settings:
    """Hide from this process the GPUs that are not its own; return the settings with its own as the first.

    A GPU that is asked for and not there is left for whoever loads the model to refuse.
    """
    device = settings.tsdsr.device
    chosen = gpu_for(index, os.environ.get(VISIBLE), len(nvidia_gpus()), device)
    if chosen is None:
        return settings
    os.environ[VISIBLE] = chosen
    if not device.startswith(_CUDA):
        return settings
    return settings.model_copy(update={"tsdsr": settings.tsdsr.model_copy(update={"device": "cuda"})})


def _tell(pipe: Connection, service: ImageService) -> None:
    facts = service.facts
    told = Told(facts.name, facts.engine, facts.device) if facts else Told(fault=service.fault)
    try:
        pipe.send(told)
    except OSError:
        get_logger().warning("parent_gone")


def _end_with_parent(pipe: Connection) -> None:
    try:
        pipe.recv()
    except (EOFError, OSError):
        get_logger().warning("parent_gone")
        os.kill(os.getpid(), signal.SIGTERM)
