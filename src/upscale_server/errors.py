"""Every failure the product can name, so that each caller can answer it the same way.

It holds names and numbers only; turning an error into a reply or an exit code belongs to `web` and `cli`.

                                      code               HTTP  exit
    UpscaleError                      internal            500   1
    ├── BadRequest                    bad_request         400   2
    │   ├── UnknownTask               unknown_task
    │   ├── BadScale                  bad_scale
    │   └── MissingExtra              missing_extra
    ├── SourceError                   source_error        502   3
    │   ├── SourceNotFound            source_not_found    422
    │   ├── TooManyPixels             too_many_pixels     413
    │   ├── NotMedia                  not_media           415
    │   ├── UnsupportedFormat         unsupported_format  415
    │   ├── CodecNotAllowed           codec_not_allowed   415
    │   ├── SourceCorrupt             source_corrupt      422
    │   ├── SourceTruncated           source_truncated    422
    │   ├── NoVideo                   no_video            422
    │   ├── NothingToUpscale          nothing_to_upscale  422
    │   └── HdrNotCarried             hdr_not_carried     422
    ├── ModelMissing                  model_missing       503   4
    ├── ModelInvalid                  model_invalid       503   4
    ├── DeviceUnused                  device_unused       503   4
    ├── StorageError                  storage_error       502   4
    ├── DiskFull                      disk_full           507   4
    ├── OutOfMemory                   out_of_memory       507   4
    ├── AuditFailed                   audit_failed        500   5
    └── Interrupted                   interrupted           –   130
"""

from __future__ import annotations


class UpscaleError(Exception):
    """The base of all named failures: an unexpected state of our own making.

    Args:
        detail: what happened, with which value, what was expected; lower case, no full stop.
        hint: what the user can do about it, if anything.
    """

    code = "internal"
    http_status = 500
    exit_code = 1
    retryable = False

    def __init__(self, detail: str, *, hint: str | None = None) -> None:
        super().__init__(detail)
        self.detail = detail
        self.hint = hint

    def as_record(self, request_id: str | None = None) -> dict[str, str | int | bool | None]:
        """Return the fault as a problem object (RFC 9457): what `--json` prints and a failed job keeps.

        Args:
            request_id: the request that failed, where there is one.
        """
        return {
            "type": f"urn:upscale-server:fault:{self.code}",
            "title": self._title(),
            "status": self.http_status,
            "detail": self.detail,
            "code": self.code,
            "retryable": self.retryable,
            "request_id": request_id,
            "hint": self.hint,
        }

    def _title(self) -> str:
        """Return the kind of failure in words: the first line of its class's description."""
        if type(self) is UpscaleError:
            return "An unexpected state of our own making"
        return (type(self).__doc__ or self.code).split("\n")[0].rstrip(".")


class BadRequest(UpscaleError):
    """The request contradicts itself or names something that does not exist."""

    code = "bad_request"
    http_status = 400
    exit_code = 2


class UnknownTask(BadRequest):
    """The task is none of SD2HD, SD24K, HD24K, 4K28K."""

    code = "unknown_task"


class BadScale(BadRequest):
    """The scale factor is not one that the product offers."""

    code = "bad_scale"


class MissingExtra(BadRequest):
    """An optional package is needed and not installed; the message names the extra."""

    code = "missing_extra"


class SourceError(UpscaleError):
    """The source could not be used."""

    code = "source_error"
    http_status = 502
    exit_code = 3


class SourceNotFound(SourceError):
    """No file is there, or it is not a file."""

    code = "source_not_found"
    http_status = 422


class TooManyPixels(SourceError):
    """The picture is larger than the limit."""

    code = "too_many_pixels"
    http_status = 413


class NotMedia(SourceError):
    """The bytes are no media file that we open."""

    code = "not_media"
    http_status = 415


class UnsupportedFormat(SourceError):
    """The file is media, of a kind that cannot be handled."""

    code = "unsupported_format"
    http_status = 415


class CodecNotAllowed(SourceError):
    """The codec is unknown to this build or not on the allow-list."""

    code = "codec_not_allowed"
    http_status = 415


class SourceCorrupt(SourceError):
    """Too much of the source does not decode."""

    code = "source_corrupt"
    http_status = 422


class SourceTruncated(SourceError):
    """The source ends before it says it does."""

    code = "source_truncated"
    http_status = 422


class NoVideo(SourceError):
    """The source has no video stream with at least one frame."""

    code = "no_video"
    http_status = 422


class NothingToUpscale(SourceError):
    """The source already has the size asked for, or more."""

    code = "nothing_to_upscale"
    http_status = 422


class HdrNotCarried(SourceError):
    """The chosen codec or pixel format cannot carry the source's HDR."""

    code = "hdr_not_carried"
    http_status = 422


class ModelMissing(UpscaleError):
    """The model named does not exist here."""

    code = "model_missing"
    http_status = 503
    exit_code = 4


class ModelInvalid(UpscaleError):
    """The model file is no super-resolution model, is damaged, or fails its self-test."""

    code = "model_invalid"
    http_status = 503
    exit_code = 4


class DeviceUnused(UpscaleError):
    """The device that was asked for cannot be used here, or did not do the work."""

    code = "device_unused"
    http_status = 503
    exit_code = 4


class StorageError(UpscaleError):
    """The output cannot be written."""

    code = "storage_error"
    http_status = 502
    exit_code = 4
    retryable = True


class DiskFull(UpscaleError):
    """No space is left where the work or the output goes."""

    code = "disk_full"
    http_status = 507
    exit_code = 4


class OutOfMemory(UpscaleError):
    """The device has not enough memory for the smallest step."""

    code = "out_of_memory"
    http_status = 507
    exit_code = 4
    retryable = True


class AuditFailed(UpscaleError):
    """The output does not hold what the source and the plan promise."""

    code = "audit_failed"
    exit_code = 5


class Interrupted(UpscaleError):
    """The user stopped the work; what is finished is kept and is not done again."""

    code = "interrupted"
    exit_code = 130
    retryable = True
