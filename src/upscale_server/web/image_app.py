"""The image server's application: its routes, and how many requests may be inside at once.

What the routes do stands with them; what runs behind them is the service's.
"""

from __future__ import annotations

from fastapi import FastAPI

from upscale_server.metrics import Reading
from upscale_server.service.image import ImageService
from upscale_server.web import api_page, image_facts, image_routes, limits, observe
from upscale_server.web.app import app_of
from upscale_server.web.page import page_router
from upscale_server.web.places import Places

SHARES = 4
"""One key may have a fourth of the room, where there are several: more than all that is worked on at once."""

_DESCRIPTION = """Image super-resolution: send a picture, get it enlarged exactly twice or four times.

Read are PNG, JPEG, WebP, TIFF, BMP, GIF, AVIF, JPEG 2000, PPM, TGA and ICO; of several frames the first. Orientation
is applied; transparency, grayscale, colour profile and metadata are kept. The answer is a PNG of 8 bits unless asked
otherwise, and the same request always gives the same bytes.

Where keys are set, send one as `Authorization: Bearer KEY` or `X-API-Key: KEY`. Every failure is a problem object
(RFC 9457) with a `code`; every reply carries `X-Request-ID`."""

_ROUTERS = (
    image_routes.router,
    image_routes.files,
    image_facts.router,
    limits.router,
    observe.router,
    api_page.router,
    page_router("image.html"),
)


def create_app(service: ImageService) -> FastAPI:
    """Return the application; entering its lifespan starts the service, leaving it stops the service.

    Raises:
        BadRequest: an API key in the settings is malformed.
    """
    app = app_of(service, "TSD-SR Worker Server", _DESCRIPTION, _ROUTERS)
    room = service.settings.image.room
    each = max(1, room // SHARES) if app.state.has_many_keys else None
    inside = Places(room, "requests are inside", "send it again a little later, or set UPSCALE_IMAGE__ROOM", each)
    app.state.room = inside
    service.metrics.also_ask(lambda: (Reading("upscale_room", room), Reading("upscale_room_used", inside.taken)))
    return app
