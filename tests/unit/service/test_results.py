"""What callers get of a result that lies in a folder where others write, too."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.served import IdlePool, settings_in
from upscale_server.errors import Gone, ModelsNotLoaded
from upscale_server.jobs.job import Asked, Job, NewJob, Outcome, Source
from upscale_server.server_settings import Subnet
from upscale_server.service import VideoService


@pytest.fixture
def service(tmp_path: Path) -> VideoService:
    """Give a service with a shared folder; it is not started."""
    (tmp_path / "shared" / "inner").mkdir(parents=True)
    settings = settings_in(tmp_path / "state", subnet=Subnet(shared_root=tmp_path / "shared"))
    return VideoService(settings, IdlePool())  # type: ignore[arg-type]  # it stands in for the workers


def job_at(output: Path) -> Job:
    """Return a finished job whose result is at a path."""
    asked = Asked(Source("file", "x"), output_path=str(output))
    return Job("0" * 32, asked, "succeeded", 1, 1, 1.0, 1.0, outcome=Outcome("", 1, 1.0, str(output)))


def test_result_at_a_path_is_given(service: VideoService, tmp_path: Path) -> None:
    """As it is there."""
    output = tmp_path / "shared" / "inner" / "out.mp4"
    output.write_bytes(b"result")

    file = service.results.file_of(job_at(output))

    assert file is not None
    with file.open() as opened:
        assert b"result" == opened.read()


@pytest.mark.parametrize("swapped", ["file", "folder"])
def test_result_that_became_a_link_is_gone(service: VideoService, tmp_path: Path, swapped: str) -> None:
    """Whoever writes in the shared folder cannot have the server read what lies outside of it."""
    secret = tmp_path / "out.mp4"
    secret.write_bytes(b"secret")
    output = tmp_path / "shared" / "inner" / "out.mp4"
    if swapped == "file":
        output.symlink_to(secret)
    else:
        output.parent.rmdir()
        output.parent.symlink_to(tmp_path)

    with pytest.raises(Gone):
        service.results.file_of(job_at(output))


def test_result_that_became_a_link_after_the_look_is_gone(service: VideoService, tmp_path: Path) -> None:
    """Between the look and the reading there is time for a swap, too."""
    secret = tmp_path / "secret"
    secret.write_bytes(b"secret")
    output = tmp_path / "shared" / "inner" / "out.mp4"
    output.write_bytes(b"result")
    file = service.results.file_of(job_at(output))
    output.unlink()
    output.symlink_to(secret)

    assert file is not None
    with pytest.raises(Gone):
        file.open()


def test_server_whose_runner_ended_is_not_ready(service: VideoService, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that only accepts jobs and does none says so, and accepts none."""
    service.start()
    try:
        service.check_ready()
        monkeypatch.setattr(type(service._runner), "is_at_work", property(lambda _: False))

        with pytest.raises(ModelsNotLoaded, match="queue"):
            service.check_ready()
        with pytest.raises(ModelsNotLoaded, match="queue"):
            service.submit(NewJob(Asked(Source("url", "https://example.org/a.mp4"), scale=2)))
    finally:
        service.stop(0)


def test_job_stays_with_the_server_that_has_its_bytes(service: VideoService) -> None:
    """A local store and a path are this server's alone; another one that shares the queue leaves the job be."""
    job = service.submit(NewJob(Asked(Source("url", "https://example.org/a.mp4"), scale=2)))

    assert service._store.claim("another", 30) is None
    claim = service._store.claim(service._name, 30)
    assert claim is not None
    assert job.id == claim.job.id
