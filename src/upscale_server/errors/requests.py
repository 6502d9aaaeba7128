"""Failures of the asking: wrong words, no key, no room, wrong moment.

What is wrong with the source or the work stands beside this module.
"""

from __future__ import annotations

from upscale_server.errors.base import UpscaleError


class BadRequest(UpscaleError):
    """This cannot be done as it was asked for: a value is wrong, missing, or contradicts another."""

    code = "bad_request"
    http_status = 400
    exit_code = 2


class UnknownTask(BadRequest):
    """The task is none of SD2HD, SD24K, HD24K, 4K28K."""

    code = "unknown_task"


class BadScale(BadRequest):
    """The scale factor is not one that the product offers."""

    code = "bad_scale"


class BadProcessSize(BadRequest):
    """The processing size is not one that the image server offers."""

    code = "bad_process_size"


class MissingExtra(BadRequest):
    """An optional package is needed and not installed; the message names the extra."""

    code = "missing_extra"


class BadUrl(BadRequest):
    """The address is not one that can be fetched: its form is wrong."""

    code = "bad_url"


class BadScheme(BadUrl):
    """The address is neither http nor https."""

    code = "bad_scheme"


class WrongMethod(BadRequest):
    """The path is there and does not know this method."""

    code = "method_not_allowed"
    http_status = 405


class RequestTooSlow(BadRequest):
    """The request comes too slowly."""

    code = "request_too_slow"
    http_status = 408


class RequestTooLarge(BadRequest):
    """The request's body has more bytes than the limit."""

    code = "request_too_large"
    http_status = 413


class WrongContentType(BadRequest):
    """The request's body is declared as something that is not taken here."""

    code = "wrong_content_type"
    http_status = 415


class RangeOutside(BadRequest):
    """The range lies outside the file."""

    code = "range_not_satisfiable"
    http_status = 416


class HeadTooLarge(BadRequest):
    """The request's head has more bytes or headers than the limit."""

    code = "head_too_large"
    http_status = 431


class Unauthorized(UpscaleError):
    """An API key is needed and was not given, or is not one of ours."""

    code = "unauthorized"
    http_status = 401


class Forbidden(UpscaleError):
    """The request is understood and not allowed."""

    code = "forbidden"
    http_status = 403


class NotFound(UpscaleError):
    """There is no such job or file."""

    code = "not_found"
    http_status = 404
    exit_code = 3


class Conflict(UpscaleError):
    """The job is in another state, or the Idempotency-Key was used for another request."""

    code = "conflict"
    http_status = 409


class Gone(UpscaleError):
    """The result was there and has expired."""

    code = "gone"
    http_status = 410


class QueueFull(UpscaleError):
    """No room is left to wait in."""

    code = "queue_full"
    http_status = 429
    retryable = True


class RateLimited(UpscaleError):
    """Too many requests in a short time."""

    code = "rate_limited"
    http_status = 429
    retryable = True


class Draining(UpscaleError):
    """The server is about to stop and takes no new work."""

    code = "draining"
    http_status = 503
    exit_code = 4
    retryable = True


class Canceled(UpscaleError):
    """The job was cancelled by its owner."""

    code = "canceled"
    http_status = 409


class Interrupted(UpscaleError):
    """The user stopped the work; what is finished is kept and is not done again."""

    code = "interrupted"
    exit_code = 130
    retryable = True
