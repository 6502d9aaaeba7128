"""Failures of the source: not there, not media, too large, not what it says.

Nothing here judges a source; these are the names of the verdicts.
"""

from __future__ import annotations

from upscale_server.errors.base import UpscaleError


class SourceError(UpscaleError):
    """The source could not be used."""

    code = "source_error"
    http_status = 502
    exit_code = 3


class SourceUnreachable(SourceError):
    """The source's server does not answer, or not with the whole file; it may later."""

    retryable = True


class SourceForbidden(SourceError):
    """The source's host is private, or not on the list of allowed ones."""

    code = "source_forbidden"
    http_status = 403


class SourceTooLarge(SourceError):
    """The source has more bytes than the limit."""

    code = "source_too_large"
    http_status = 413


class SourceTimeout(SourceError):
    """The source's server answers too slowly."""

    code = "source_timeout"
    http_status = 504
    retryable = True


class SourceNotFound(SourceError):
    """No file is there, or it is not a file."""

    code = "source_not_found"
    http_status = 422


class TooManyPixels(SourceError):
    """The picture is larger than the limit."""

    code = "too_many_pixels"
    http_status = 413


class NotMedia(SourceError):
    """This is no video or picture, or only a part of one."""

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


class OutputTooLarge(SourceError):
    """The output cannot be made as small as was asked for."""

    code = "output_too_large"
    http_status = 422
    reached_bytes = 0

    @classmethod
    def reached(cls, reached_bytes: int, most_bytes: int) -> OutputTooLarge:
        """Return the failure that says, and keeps, which size was reached."""
        error = cls(
            f"the output has {reached_bytes} bytes ({reached_bytes / 2**20:.2f} MiB); the limit is {most_bytes} "
            f"({most_bytes / 2**20:.2f} MiB)",
            hint="allow a larger output, or ask for a smaller picture",
        )
        error.reached_bytes = reached_bytes
        return error

    @classmethod
    def no_smaller(cls, reached_bytes: int, faults: str) -> OutputTooLarge:
        """Return the failure of an output that keeps its limit and no longer shows the source."""
        error = cls(f"with {reached_bytes} bytes the output keeps its limit and no longer shows the source: {faults}")
        error.hint = "allow a larger output, or ask for a smaller picture"
        error.reached_bytes = reached_bytes
        return error


class HdrNotCarried(SourceError):
    """The chosen codec or pixel format cannot carry the source's HDR."""

    code = "hdr_not_carried"
    http_status = 422
