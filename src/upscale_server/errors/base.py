"""What every failure of ours has: a code, a status, an exit code, and words for the reader.

The kinds stand beside it; turning one into a reply or an exit code belongs to `web` and `cli`.
"""

from __future__ import annotations


class UpscaleError(Exception):
    """The base of all named failures: an unexpected state of our own making.

    Args:
        detail: what happened, with which value, what was expected; lower case, no full stop.
        hint: what the user can do about it, if anything.

    `retry_after` is the number of seconds after which another try is welcome, where somebody said one.
    """

    code = "internal"
    http_status = 500
    exit_code = 1
    retryable = False
    retry_after: int | None = None

    def __init__(self, detail: str, *, hint: str | None = None) -> None:
        super().__init__(detail)
        self.detail = detail
        self.hint = hint

    def as_record(self, request_id: str | None = None) -> dict[str, str | int | bool | None]:
        """Return the fault as a problem object (RFC 9457): what `--json` prints and a failed job keeps.

        Args:
            request_id: the request that failed, where there is one.
        """
        told = {} if self.retry_after is None else {"retry_after": self.retry_after}
        return {
            "type": f"urn:upscale-server:fault:{self.code}",
            "title": self._title(),
            "status": self.http_status,
            "detail": self.detail,
            "code": self.code,
            "retryable": self.retryable,
            "request_id": request_id,
            "hint": self.hint,
            **told,
        }

    def _title(self) -> str:
        """Return the kind of failure in words: the first line of its class's description."""
        if type(self) is UpscaleError:
            return "An unexpected state of our own making"
        return (type(self).__doc__ or self.code).split("\n")[0].rstrip(".")
