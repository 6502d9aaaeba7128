"""Puts the parts of a video server together from its settings: folders, store, database, workers, download rules.

It starts nothing; that is `video`'s.
"""

from __future__ import annotations

import os
import socket
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from upscale_server.cluster.fleet import Fleet
from upscale_server.cluster.opening import transport_of
from upscale_server.cluster.pool import FleetPool
from upscale_server.disk import naming_write_faults
from upscale_server.errors import NotFound, StorageError
from upscale_server.jobs.day_quota import DayQuota
from upscale_server.jobs.folder import previews_folder, sources_folder, uploads_folder
from upscale_server.jobs.opening import as_url
from upscale_server.jobs.parts import Parts
from upscale_server.jobs.previews import PreviewParts, Previews
from upscale_server.jobs.sealing import NoSealer, Sealer
from upscale_server.jobs.store import JobStore
from upscale_server.jobs.webhooks import Sending, Webhooks
from upscale_server.limits import limits_of
from upscale_server.logs import get_logger
from upscale_server.metrics import Metrics
from upscale_server.service.labels import work_of
from upscale_server.service.results import Results
from upscale_server.settings import Settings
from upscale_server.storage.fetch import FetchRules, fetch
from upscale_server.storage.links import load_or_make_secret
from upscale_server.storage.opening import open_store
from upscale_server.storage.posting import PostRules
from upscale_server.workers.needs import needs_of
from upscale_server.workers.pool import Pool


@dataclass(frozen=True, slots=True)
class Folders:
    """Where the jobs' table and the keys lie, unfinished work, and the local store."""

    state: Path
    temp: Path
    output: Path


def check_settings(settings: Settings) -> None:
    """Refuse settings that cannot be meant, before anything is made of them.

    Raises:
        BadRequest: a network or a database's address is none.
    """
    FetchRules.of(settings.fetch)
    if settings.executor == "ray":
        transport_of(settings)
    as_url(settings.database_url.get_secret_value() or "sqlite://")


def assembled(settings: Settings, pool: Pool, rules: FetchRules, metrics: Metrics) -> Parts:
    """Return the parts; their folders exist afterwards, readable for this user alone. `metrics` observes them.

    Raises:
        StorageError, DiskFull: a folder cannot be made, or the database does not open.
    """
    folders = folders_of(settings)
    make_folders(folders.state, folders.temp, folders.output)
    proxies = folders.state / "proxies"
    make_folders(uploads_folder(folders.temp), sources_folder(folders.temp), proxies)
    store = JobStore(
        _database(settings, folders.state),
        settings.jobs.attempts,
        observer=metrics.observe,
        sealer=_sealer(settings, folders.state),
    )
    return Parts(
        store=store,
        objects=open_store(settings, folders.output, folders.state),
        lanes=pool,
        fetch=lambda url, target, watch: fetch(url, target, rules, watch),
        settings=settings,
        temp_dir=folders.temp,
        proxies_dir=proxies,
        owner=owner_name(folders.state),
        watcher=lambda plan: metrics.working(work_of(plan)),
        quota=DayQuota(settings.quotas, store.usage),
    )


def pool_of(settings: Settings) -> Pool:
    """Return the workers: processes of this machine, or the nodes of a cluster and the processes that open files here.

    Raises:
        BadRequest: a cluster's machines have no way to pass pictures on.
        MissingExtra: Ray is not installed.
    """
    needs = needs_of(settings, os.environ)
    if settings.executor == "local":
        return Pool(needs)
    from upscale_server.cluster.ray import RayCluster  # noqa: PLC0415 - an extra, imported on use

    owner = f"{socket.gethostname()}\0{settings.state_dir.absolute()}"
    return FleetPool(needs, Fleet(RayCluster(settings.ray), transport_of(settings), owner))


def telling(parts: Parts, results: Results, rules: FetchRules) -> Webhooks:
    """Return what tells other servers that jobs have ended; it may connect where sources may come from."""
    settings = parts.settings

    def link(job_id: str, path: str) -> str:
        with suppress(NotFound, StorageError):  # the owner's key opens the path all the same
            path = results.link_of(parts.store.get(job_id))
        return f"{settings.public_url.rstrip('/')}{path}" if path.startswith("/") else path

    post_rules = PostRules(rules.guard, settings.webhooks.timeout_seconds, rules.resolver, rules.proxy)
    sending = Sending(settings.webhooks, post_rules, link, parts.owner, parts.store.sealer.opened)
    return Webhooks(parts.store.deliveries, sending)


def previews_of(parts: Parts, pool: Pool) -> Previews:
    """Return the server's previews."""
    settings = parts.settings
    folder = previews_folder(parts.temp_dir, parts.owner)
    limits = limits_of(settings)
    return Previews(PreviewParts(pool, parts.fetch, settings.previews, limits, folder, quota=parts.quota))


def folders_of(settings: Settings) -> Folders:
    """Return where the video server keeps its things."""
    state = settings.state_dir / "video"
    return Folders(state, settings.temp_dir or state / "temp", settings.output_dir or state / "output")


def make_folders(*folders: Path) -> None:
    """Make folders that only this user may read.

    Raises:
        StorageError, DiskFull: one cannot be made.
    """
    for folder in folders:
        with naming_write_faults(folder):
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)


def _database(settings: Settings, state: Path) -> str:
    return settings.database_url.get_secret_value() or f"sqlite:///{(state / 'jobs.db').absolute()}"


def _sealer(settings: Settings, state: Path) -> Sealer:
    """Return what hides signatures in stored addresses: a key that lies here alone is no use to other servers."""
    secret = settings.jobs.seal_secret.get_secret_value()
    if secret:
        return Sealer(secret.encode())
    if settings.database_url.get_secret_value().startswith("postgres"):
        get_logger().warning("addresses_not_sealed", why="servers share the database; see UPSCALE_JOBS__SEAL_SECRET")
        return NoSealer()
    return Sealer(load_or_make_secret(state / "seal.key"))


def owner_name(state: Path) -> str:
    """Return this server's name in leases: the same after a restart, another for another state folder.

    It is random and kept: a container has another host name at every start, and two may share both name and path.
    """
    return load_or_make_secret(state / "owner.id").hex()
