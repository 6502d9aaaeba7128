"""The models that a job may ask for, with what is known of each on this machine.

Nothing is measured for it.
"""

from __future__ import annotations

from dataclasses import asdict

from fastapi import APIRouter
from starlette.concurrency import run_in_threadpool

from upscale_server.service.offers import Offer
from upscale_server.web.parts import Service
from upscale_server.wire_sources import ModelsView, ModelView

router = APIRouter(prefix="/v1/models", tags=["sources"])


@router.get("", response_model=ModelsView)
async def models(service: Service) -> ModelsView:
    """List the models: what each is for, under which licence, and how fast it was measured to be here."""
    return ModelsView(models=[_view(offer) for offer in await run_in_threadpool(service.offers.models)])


def _view(offer: Offer) -> ModelView:
    facts = {**asdict(offer), "scales": list(offer.scales), "frames_per_second": offer.frames_per_second}
    return ModelView.model_validate(facts)
