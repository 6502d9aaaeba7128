"""What can be refused from the request alone: too large an output, numbers that nothing measures, a forbidden webhook.

The source's own size is the plan's to judge.
"""

from __future__ import annotations

from upscale_server.errors import BadRequest, BadUrl, Forbidden, SourceForbidden, TooManyPixels
from upscale_server.geometry import target_of
from upscale_server.jobs.job import Asked
from upscale_server.quality import require_quality
from upscale_server.settings import Limits, Settings
from upscale_server.storage.fetch import FetchRules, check_url


def check_asked(asked: Asked, settings: Settings, rules: FetchRules) -> None:
    """Refuse what could never be done, whatever the source is.

    Raises:
        TooManyPixels: the output would be larger than the limits allow.
        MissingExtra: quality numbers are asked for that nothing here can measure.
        BadRequest, BadUrl, BadScheme, Forbidden: the webhook can never be told.
    """
    check_target(asked, settings.limits)
    if asked.quality:
        require_quality()
    if asked.webhook is not None:
        _check_webhook(asked.webhook, settings, rules)


def _check_webhook(url: str, settings: Settings, rules: FetchRules) -> None:
    """Refuse an address that will never be told; no text of it is repeated, which may hold a token."""
    if not settings.webhooks.secret.get_secret_value():
        raise BadRequest(
            "field webhook_url is given, and this server has no secret to sign with; it tells nobody",
            hint="an operator sets UPSCALE_WEBHOOKS__SECRET",
        )
    try:
        check_url(url, rules)
    except BadUrl as err:
        raise type(err)(f"field webhook_url: {err.detail}", hint=err.hint) from err
    except SourceForbidden as err:
        raise Forbidden("field webhook_url leads to a host that may not be told", hint=err.hint) from err


def check_target(asked: Asked, limits: Limits) -> None:
    """Refuse a box that no source can be fitted into within the limits.

    Raises:
        TooManyPixels: with the limit and its setting.
    """
    target = target_of(asked.task, asked.to, asked.scale, asked.fit)
    box = target.box
    if box is None:
        return
    # A picture that is fitted in reaches one side of its box, who knows which; bars fill the other one, too.
    side = max(box.width, box.height) if target.fit == "exact" else min(box.width, box.height)
    if side > limits.max_output_side:
        raise TooManyPixels(
            f"output is to fill {box}; the longest side allowed is {limits.max_output_side}, "
            "see UPSCALE_LIMITS__MAX_OUTPUT_SIDE"
        )
    if target.fit == "exact" and box.pixels > 4 * limits.max_pixels:
        raise TooManyPixels(
            f"output is to be {box} ({box.pixels / 1e6:.1f} MP); the limit is {4 * limits.max_pixels / 1e6:.1f} MP, "
            "see UPSCALE_LIMITS__MAX_PIXELS"
        )
