"""What an object store's refusals mean: whether waiting helps, and which setting is likely wrong.

It looks at botocore's exceptions by their shape and not by their class, because boto3 is an optional package.
"""

from __future__ import annotations

from typing import Any

from upscale_server.errors import StorageError

_GROUP = "UPSCALE_STORAGE__S3__"
KEYS = f"{_GROUP}ACCESS_KEY and {_GROUP}SECRET_KEY"
_RESTART = f"renew {KEYS}, then try the job again: its finished file is stored, not made again"

HINTS = {
    "InvalidAccessKeyId": f"the store does not know this key: look at {_GROUP}ACCESS_KEY",
    "SignatureDoesNotMatch": f"key and secret do not belong together: look at {KEYS}, and at {_GROUP}REGION",
    "AccessDenied": f"the key may not do this in bucket {_GROUP}BUCKET: look at its policy, and at {KEYS}",
    "AllAccessDisabled": f"the bucket {_GROUP}BUCKET is closed",
    "AccountProblem": "the account is closed or not paid",
    "ExpiredToken": _RESTART,
    "ExpiredTokenException": _RESTART,
    "InvalidToken": _RESTART,
    "TokenRefreshRequired": _RESTART,
    "RequestTimeTooSkewed": "the clocks of this machine and of the store differ: set them by NTP",
    "NoSuchBucket": f"create the bucket, or name another in {_GROUP}BUCKET",
    "InvalidBucketName": f"look at {_GROUP}BUCKET",
    "AuthorizationHeaderMalformed": f"the region is likely wrong: look at {_GROUP}REGION",
    "IllegalLocationConstraintException": f"the region is likely wrong: look at {_GROUP}REGION",
    "PermanentRedirect": f"the bucket lies elsewhere: look at {_GROUP}ENDPOINT and {_GROUP}REGION",
    "EntityTooLarge": f"raise the store's limit, or {_GROUP.removesuffix('S3__')}LARGE_BYTES is above it",
    "401": f"look at {KEYS}",
    "403": f"look at {KEYS}, and at the policy of bucket {_GROUP}BUCKET",
}
_AWAY = frozenset(
    {
        "BadDigest", "IncompleteBody", "InternalError", "OperationAborted", "RequestTimeout", "RequestTimeoutException",
        "ServiceUnavailable", "SlowDown", "Throttling", "ThrottlingException", "TooManyRequests",
        "XAmzContentSHA256Mismatch",
    }
)  # fmt: skip
"""Answers that pass: trouble on the way or in the store, none of them about who we are."""


def code_of(error: Exception) -> str:
    """Return the store's code (`NoSuchKey`, `SlowDown`, …); empty where it answered nothing."""
    response: Any = getattr(error, "response", None)  # a dictionary, on botocore's ClientError alone
    if not isinstance(response, dict):
        return ""
    return str(response.get("Error", {}).get("Code", ""))


def status_of(error: Exception) -> int:
    """Return the HTTP status of the store's answer; 0 where it answered nothing."""
    response: Any = getattr(error, "response", None)  # as above
    if not isinstance(response, dict):
        return 0
    return int(response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))


def is_missing(error: Exception) -> bool:
    """Tell whether the store says that there is no such object (a bucket that is missing is another matter)."""
    return code_of(error) in ("404", "NoSuchKey", "NotFound")


def may_pass(error: Exception) -> bool:
    """Tell whether waiting helps: no answer at all, an overloaded store, a broken connection."""
    code = code_of(error)
    if code:
        return code in _AWAY or (code not in HINTS and status_of(error) in (408, 409, 429, 500, 502, 503, 504))
    return type(error).__module__ == "botocore.exceptions" and type(error).__name__ in (
        "ConnectionClosedError", "ConnectTimeoutError", "EndpointConnectionError", "HTTPClientError",
        "IncompleteReadError", "ProxyConnectionError", "ReadTimeoutError", "ResponseParserError",
        "ResponseStreamingError",
    )  # fmt: skip


def named(error: Exception, doing: str, endpoint: str) -> StorageError:
    """Return the fault in our words: what was done where, what the store said, and what to look at."""
    code = code_of(error)
    if code:
        return StorageError(f"{doing}: the store at {endpoint} answered {code}", hint=HINTS.get(code))
    name = type(error).__name__
    if "Credentials" in name:
        hint = f"set {KEYS}, or give boto3 its own files or role"
        return StorageError(f"{doing}: there are no complete credentials for {endpoint}", hint=hint)
    if "SSL" in name:
        return StorageError(
            f"{doing}: {endpoint} has no valid certificate", hint="set AWS_CA_BUNDLE to your authority's certificate"
        )
    hint = f"is the store running, and is {_GROUP}ENDPOINT its address?"
    return StorageError(f"{doing}: the store at {endpoint} cannot be reached ({name})", hint=hint)
