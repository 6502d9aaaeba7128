"""The composition root: settings become running parts, and whoever faces a network asks here."""

from upscale_server.service.assembly import Folders, check_settings, folders_of, make_folders
from upscale_server.service.counts import Counts
from upscale_server.service.results import StoredFile
from upscale_server.service.video import VideoService
from upscale_server.service.watching import Copy, Watchable

__all__ = [
    "Copy", "Counts", "Folders", "StoredFile", "VideoService", "Watchable", "check_settings", "folders_of",
    "make_folders",
]  # fmt: skip
