"""How the image server is: the documented `/health`, `/info` and `/stats`, and the probes.

Every field is what is, read when it is asked for; what the driver of a GPU must be asked for waits in a thread.
"""

from __future__ import annotations

import os
import time
from datetime import UTC, datetime
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response
from starlette.concurrency import run_in_threadpool

from upscale_server import __version__
from upscale_server.errors import UpscaleError
from upscale_server.media.image import FORMATS as READ
from upscale_server.service.gpu_facts import gpu_facts
from upscale_server.service.picture_work import FORMATS
from upscale_server.web.faults import reply_to
from upscale_server.web.image_routes import Service
from upscale_server.wire import Alive
from upscale_server.wire_image import ImageHealth, ImageInfo, ImageStats, ModelsLoaded

NAME = "TSD-SR Worker Server"
DESCRIPTION = "Text-to-Image Diffusion Super-Resolution"
OTHERWISE = "Image super-resolution by a network that invents nothing; TSD-SR is not loaded"
_BEGAN = time.monotonic()
_ENDPOINTS = {
    "upscale": "POST /upscale",
    "upscale_batch": "POST /upscale_batch",
    "health": "GET /health",
    "info": "GET /info",
    "stats": "GET /stats",
    "metrics": "GET /metrics",
    "limits": "GET /limits",
    "livez": "GET /livez",
    "readyz": "GET /readyz",
    "files": "GET /files/{key}",
    "docs": "GET /docs",
}

_LIMITS = {
    "max_bytes": "UPSCALE_IMAGE__MAX_BYTES",
    "max_pixels": "UPSCALE_LIMITS__MAX_IMAGE_PIXELS",
    "max_source_side": "UPSCALE_LIMITS__MAX_SOURCE_SIDE",
    "max_output_side": "UPSCALE_LIMITS__MAX_OUTPUT_SIDE",
    "batch_files": "UPSCALE_IMAGE__BATCH_FILES",
    "batch_bytes": "UPSCALE_IMAGE__BATCH_BYTES",
    "room": "UPSCALE_IMAGE__ROOM",
    "result_seconds": "UPSCALE_IMAGE__RESULT_SECONDS",
}

router = APIRouter(tags=["server"])


@router.get("/health", response_model=ImageHealth, openapi_extra={"x-commands": ["curl {address}/health"]})
async def health(request: Request, service: Service) -> Response | ImageHealth:
    """Tell whether pictures can be enlarged, and by what; 503 with the reason where they cannot."""
    facts = service.facts
    loaded = ModelsLoaded(
        transformer=facts is not None and facts.transformer,
        vae=facts is not None and facts.vae,
        device=facts.device if facts else None,
        dtype=facts.dtype if facts else None,
    )
    known: dict[str, Any] = {
        "model": facts.name if facts else None,
        "engine": facts.engine if facts else None,
        "process": os.getpid(),
        "workers": service.settings.image.workers,
        "running": service.counts.running,
        "waiting": service.counts.waiting,
        "room": service.settings.image.room,
    }
    try:
        service.check_ready()
    except UpscaleError as err:
        refusal = reply_to(err, request.state.request_id)
        body = err.as_record(request.state.request_id) | {"models_loaded": loaded.model_dump()} | known
        kept = {name: value for name, value in refusal.headers.items() if name == "retry-after"}
        return JSONResponse(body, refusal.status_code, kept, media_type=refusal.media_type)
    return ImageHealth(status="ok", models_loaded=loaded, **known)


@router.get("/info", response_model=ImageInfo, openapi_extra={"x-commands": ["curl {address}/info"]})
async def info(service: Service) -> ImageInfo:
    """Give what this server is: its model, its defaults, its limits, and whether process_size has an effect."""
    gpu = await run_in_threadpool(gpu_facts)
    facts, settings = service.facts, service.settings
    limits, image = settings.limits, settings.image
    return ImageInfo(
        name=NAME,
        version=__version__,
        description=DESCRIPTION if facts and facts.transformer else OTHERWISE,
        device=facts.device if facts else None,
        cuda_available=gpu is not None,
        gpu=gpu.name if gpu else None,
        gpu_memory_gb=gpu.total_gb if gpu else None,
        endpoints=_ENDPOINTS,
        model=facts.name if facts else None,
        engine=facts.engine if facts else None,
        details=dict(facts.details) if facts else {},
        upscale=image.upscale,
        process_size=image.process_size,
        process_size_has_effect=facts.process_size_matters if facts else None,
        workers=image.workers,
        formats={"read": list(READ), "written": list(FORMATS)},
        limits={
            "max_bytes": image.max_bytes,
            "max_pixels": limits.max_image_pixels,
            "max_source_side": limits.max_source_side,
            "max_output_side": limits.max_output_side,
            "batch_files": image.batch_files,
            "batch_bytes": image.batch_bytes,
            "room": image.room,
            "result_seconds": image.result_seconds,
        },
        settings=_LIMITS,
    )


@router.get("/stats", response_model=ImageStats, openapi_extra={"x-commands": ["curl {address}/stats"]})
async def stats(service: Service) -> ImageStats:
    """Give the GPU's memory as it is now, and what this process has done."""
    gpu = await run_in_threadpool(gpu_facts)
    facts, counts = service.facts, service.counts
    return ImageStats(
        timestamp=datetime.now(UTC).replace(tzinfo=None).isoformat(timespec="seconds"),
        device=facts.device if facts else None,
        dtype=facts.dtype if facts else None,
        gpu_name=gpu.name if gpu else None,
        gpu_memory_total_gb=gpu.total_gb if gpu else None,
        gpu_memory_reserved_gb=gpu.reserved_gb if gpu else None,
        gpu_memory_allocated_gb=gpu.allocated_gb if gpu else None,
        gpu_memory_free_gb=gpu.free_gb if gpu else None,
        model=facts.name if facts else None,
        engine=facts.engine if facts else None,
        process=os.getpid(),
        uptime_seconds=round(time.monotonic() - _BEGAN, 3),
        running=counts.running,
        waiting=counts.waiting,
        done=counts.done,
        failed=counts.failed,
    )


@router.get("/livez", response_model=Alive)
async def livez() -> Alive:
    """Answer as long as the process does."""
    return Alive(status="alive")


@router.get("/readyz", response_model=Alive)
async def readyz(service: Service) -> Alive:
    """Tell whether a picture would be enlarged now: models loaded, not stopping."""
    service.check_ready()
    return Alive(status="ready")
