"""What would be done with a video and what that would take, before a job is handed in.

The source is kept as every other, so that a job can follow without sending it again.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Annotated

from fastapi import APIRouter, Depends, Request
from fastapi.responses import Response
from starlette.concurrency import run_in_threadpool

from upscale_server.errors import Draining, NotFound
from upscale_server.jobs.job import Source
from upscale_server.jobs.kept_sources import KeptSource
from upscale_server.jobs.view import plan_view
from upscale_server.service import VideoService
from upscale_server.service.planning import Planned
from upscale_server.stopping import Stop
from upscale_server.web.asking import asked_by_fields, check_one_source, result_name
from upscale_server.web.bodies import body_of, documented
from upscale_server.web.parts import Calls, Service, owner_of
from upscale_server.web.places import Places
from upscale_server.wire_sources import EstimateView, NewPlanBody, PassView, PlanView, WarningView

router = APIRouter(prefix="/v1/plan", tags=["sources"])


@router.post("", response_model=PlanView, openapi_extra=documented(NewPlanBody))
async def plan(
    request: Request, service: Service, calls: Calls, body: Annotated[NewPlanBody, Depends(body_of(NewPlanBody))]
) -> Response:
    """Tell what a job would do and what it would take; with `measure` three one-second pieces are really made.

    An address is fetched and kept as a source; its `source_id` is in the answer.
    """
    if service.is_draining:
        raise Draining("the server is stopping; it makes no new plans")
    check_one_source(body.source_id, body.payload_url)
    owner = owner_of(request)
    places: Places = request.app.state.measuring if body.measure else request.app.state.planning
    if body.measure:
        await run_in_threadpool(service.quota.check, owner)
    with places.one(owner):
        view = await calls.run(request, service, lambda stop: _view(service, body, owner, stop))
    return Response(view, media_type="application/json")


def _view(service: VideoService, body: NewPlanBody, owner: str, stop: Stop) -> str:
    asked = asked_by_fields(body, service.model_names(), Source("upload", ""), result_name(""))
    service.check_asked(asked)
    if body.source_id is not None:
        source = service.sources.get(body.source_id, owner)
    else:
        service.check_url(body.payload_url or "")
        source = service.sources.fetch(body.payload_url or "", owner, stop)
    try:
        if body.measure:
            with service.sources.borrowed(source) as borrowed:
                planned = service.planning.measure(borrowed, asked, stop)
        else:
            planned = service.planning.plan(source, asked, stop)
    except BaseException:
        if body.source_id is None:  # nobody was told its name
            with suppress(NotFound):
                service.sources.remove(source.id, owner)
        raise
    return plan_view_of(source, planned).model_dump_json()


def plan_view_of(source: KeptSource, planned: Planned) -> PlanView:
    """Return a plan as a caller sees it."""
    made = planned.plan
    return PlanView(
        source_id=source.id,
        plan=plan_view(made.as_record()) or {},
        target=str(made.target),
        passes=[
            PassView(model=one.card.name, scale=one.card.scale, size_in=str(one.size_in), size_out=str(one.size_out))
            for one in made.passes
        ],
        model=made.model,
        model_because=made.model_because,
        engine=made.engine,
        precision=made.precision,
        device=planned.device,
        warnings=[WarningView(code=code, detail=detail) for code, detail in (*made.warnings, *planned.warnings)],
        estimate=EstimateView.model_validate(planned.estimate.as_record()),
    )
