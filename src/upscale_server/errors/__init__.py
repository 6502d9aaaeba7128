"""Every failure the product can name, so that each caller can answer it the same way.

It holds names and numbers only; turning an error into a reply or an exit code belongs to `web` and `cli`.

                                      code               HTTP  exit
    UpscaleError                      internal            500   1
    ├── BadRequest                    bad_request         400   2
    │   ├── UnknownTask               unknown_task
    │   ├── BadScale                  bad_scale
    │   ├── BadProcessSize            bad_process_size
    │   ├── BadUrl                    bad_url
    │   │   └── BadScheme             bad_scheme
    │   ├── MissingExtra              missing_extra
    │   ├── WrongMethod               method_not_allowed  405
    │   ├── RequestTooSlow            request_too_slow    408
    │   ├── RequestTooLarge           request_too_large   413
    │   ├── WrongContentType          wrong_content_type  415
    │   ├── RangeOutside              range_not_satisfiable 416
    │   └── HeadTooLarge              head_too_large      431
    ├── Unauthorized                  unauthorized        401
    ├── Forbidden                     forbidden           403
    ├── NotFound                      not_found           404   3
    ├── Conflict                      conflict            409
    ├── Gone                          gone                410
    ├── QueueFull                     queue_full          429
    ├── RateLimited                   rate_limited        429
    ├── SourceError                   source_error        502   3
    │   ├── SourceUnreachable         source_error
    │   ├── SourceForbidden           source_forbidden    403
    │   ├── SourceTooLarge            source_too_large    413
    │   ├── SourceTimeout             source_timeout      504
    │   ├── SourceNotFound            source_not_found    422
    │   ├── TooManyPixels             too_many_pixels     413
    │   ├── NotMedia                  not_media           415
    │   ├── UnsupportedFormat         unsupported_format  415
    │   ├── CodecNotAllowed           codec_not_allowed   415
    │   ├── SourceCorrupt             source_corrupt      422
    │   ├── SourceTruncated           source_truncated    422
    │   ├── NoVideo                   no_video            422
    │   ├── NothingToUpscale          nothing_to_upscale  422
    │   ├── OutputTooLarge            output_too_large    422
    │   └── HdrNotCarried             hdr_not_carried     422
    ├── ModelMissing                  model_missing       503   4
    ├── ModelInvalid                  model_invalid       503   4
    ├── DeviceUnused                  device_unused       503   4
    ├── ModelsNotLoaded               models_not_loaded   503   4
    ├── Draining                      draining            503   4
    ├── ServerUnreachable             server_unreachable  502   4
    ├── StorageError                  storage_error       502   4
    │   └── DatabaseAway              storage_error       503   4
    │       └── DatabaseTaken         storage_error
    ├── JobDamaged                    job_damaged         500   4
    ├── DiskFull                      disk_full           507   4
    ├── OutOfMemory                   out_of_memory       507   4
    ├── AuditFailed                   audit_failed        500   5
    ├── Canceled                      canceled            409
    └── Interrupted                   interrupted           –   130
"""

from __future__ import annotations

from upscale_server.errors.base import UpscaleError
from upscale_server.errors.requests import (
    BadProcessSize,
    BadRequest,
    BadScale,
    BadScheme,
    BadUrl,
    Canceled,
    Conflict,
    Draining,
    Forbidden,
    Gone,
    HeadTooLarge,
    Interrupted,
    MissingExtra,
    NotFound,
    QueueFull,
    RangeOutside,
    RateLimited,
    RequestTooLarge,
    RequestTooSlow,
    Unauthorized,
    UnknownTask,
    WrongContentType,
    WrongMethod,
)
from upscale_server.errors.sources import (
    CodecNotAllowed,
    HdrNotCarried,
    NothingToUpscale,
    NotMedia,
    NoVideo,
    OutputTooLarge,
    SourceCorrupt,
    SourceError,
    SourceForbidden,
    SourceNotFound,
    SourceTimeout,
    SourceTooLarge,
    SourceTruncated,
    SourceUnreachable,
    TooManyPixels,
    UnsupportedFormat,
)
from upscale_server.errors.work import (
    AuditFailed,
    DatabaseAway,
    DatabaseTaken,
    DeviceUnused,
    DiskFull,
    JobDamaged,
    ModelInvalid,
    ModelMissing,
    ModelsNotLoaded,
    OutOfMemory,
    ServerUnreachable,
    StorageError,
)

__all__ = [
    "AuditFailed",
    "BadProcessSize",
    "BadRequest",
    "BadScale",
    "BadScheme",
    "BadUrl",
    "Canceled",
    "CodecNotAllowed",
    "Conflict",
    "DatabaseAway",
    "DatabaseTaken",
    "DeviceUnused",
    "DiskFull",
    "Draining",
    "Forbidden",
    "Gone",
    "HdrNotCarried",
    "HeadTooLarge",
    "Interrupted",
    "JobDamaged",
    "MissingExtra",
    "ModelInvalid",
    "ModelMissing",
    "ModelsNotLoaded",
    "NoVideo",
    "NotFound",
    "NotMedia",
    "NothingToUpscale",
    "OutOfMemory",
    "OutputTooLarge",
    "QueueFull",
    "RangeOutside",
    "RateLimited",
    "RequestTooLarge",
    "RequestTooSlow",
    "ServerUnreachable",
    "SourceCorrupt",
    "SourceError",
    "SourceForbidden",
    "SourceNotFound",
    "SourceTimeout",
    "SourceTooLarge",
    "SourceTruncated",
    "SourceUnreachable",
    "StorageError",
    "TooManyPixels",
    "Unauthorized",
    "UnknownTask",
    "UnsupportedFormat",
    "UpscaleError",
    "WrongContentType",
    "WrongMethod",
]
