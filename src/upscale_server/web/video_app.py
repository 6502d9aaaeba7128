"""The video server's application: routes, one door before them, one shape for every failure.

What the routes do stands with them; what runs behind them is the service's.
"""

from __future__ import annotations

from fastapi import FastAPI

from upscale_server.service import VideoService
from upscale_server.web import (
    api_page,
    documented,
    jobs_routes,
    link_routes,
    models_routes,
    observe,
    plan_routes,
    previews_routes,
    queue_events,
    segments_routes,
    sources_routes,
    subnet_routes,
)
from upscale_server.web.app import app_of
from upscale_server.web.long_calls import LongCalls
from upscale_server.web.page import page_router
from upscale_server.web.places import Places

MOST_WAITING = 384
"""Callers that may be held at once, of the guard's 512 connections: asking and cancelling go on beside them."""
MOST_WAITING_EACH = 64
"""Callers of one key, where there are several keys; so below: one that holds all it may leaves most to the others."""
MOST_UPLOADS = 16
"""Uploads at once: more would only share the disk, and each may be as large as a source."""
MOST_UPLOADS_EACH = 4
MOST_LONG_CALLS = 36
"""Threads for what may take minutes: as many as uploads, as many again for pictures and plans, and who measures."""
MOST_PLANS = 8
"""Plans at once."""
MOST_PLANS_EACH = 2
MOST_MEASURING = 4
MOST_MEASURING_EACH = 2
"""Plans with pieces of all keys, and of one: one is measured, the others wait for it."""

_DESCRIPTION = """Video super-resolution that loses nothing. A job that was accepted survives everything.

Where keys are set, send one as `Authorization: Bearer KEY` or `X-API-Key: KEY`. Every failure is a problem object
(RFC 9457) with a `code`; every reply carries `X-Request-ID`."""

_ROUTERS = (
    documented.router,
    subnet_routes.router,
    jobs_routes.router,
    queue_events.router,
    sources_routes.router,
    plan_routes.router,
    models_routes.router,
    segments_routes.router,
    previews_routes.router,
    link_routes.router,
    documented.probes,
    observe.router,
    api_page.router,
    page_router("video.html"),
)


def create_app(service: VideoService) -> FastAPI:
    """Return the application; entering its lifespan starts the service, leaving it stops the service.

    Raises:
        BadRequest: an API key in the settings is malformed.
    """
    app = app_of(service, "upscale-server", _DESCRIPTION, _ROUTERS)
    _set_places(app)
    app.state.long_calls = LongCalls(MOST_LONG_CALLS)
    app.state.queue_watch = queue_events.QueueWatch(service)
    return app


def _set_places(app: FastAPI) -> None:

    def places(most: int, each: int, what: str, hint: str) -> Places:
        return Places(most, what, hint, each if app.state.has_many_keys else None)

    later = "ask again a little later"
    app.state.waiting = places(
        MOST_WAITING, MOST_WAITING_EACH, "callers wait for jobs", "hand the job in with POST /v1/jobs and ask again"
    )
    app.state.uploading = places(
        MOST_UPLOADS, MOST_UPLOADS_EACH, "uploads are under way", "send it again a little later"
    )
    app.state.planning = places(MOST_PLANS, MOST_PLANS_EACH, "plans are being made", later)
    app.state.measuring = places(
        MOST_MEASURING, MOST_MEASURING_EACH, "plans are being measured", f"{later}, or without measuring"
    )
