"""Failures of the work: models, devices, storage, disk, and results that do not hold.

Nothing is retried here; `retryable` says whether trying again may help.
"""

from __future__ import annotations

from upscale_server.errors.base import UpscaleError


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


class ModelsNotLoaded(UpscaleError):
    """The workers have not loaded their models, or could not."""

    code = "models_not_loaded"
    http_status = 503
    exit_code = 4
    retryable = True


class ServerUnreachable(UpscaleError):
    """Our server does not answer its client, or something else answers in its place."""

    code = "server_unreachable"
    http_status = 502
    exit_code = 4
    retryable = True


class StorageError(UpscaleError):
    """The output cannot be written."""

    code = "storage_error"
    http_status = 502
    exit_code = 4
    retryable = True


class DatabaseAway(StorageError):
    """The jobs' database does not answer."""

    http_status = 503


class DatabaseTaken(DatabaseAway):
    """A newer version has taken the jobs' database over."""


class JobDamaged(UpscaleError):
    """What is stored of the job cannot be read."""

    code = "job_damaged"
    exit_code = 4


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
