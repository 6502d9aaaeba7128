"""The client: one method for each thing that the servers offer, their errors as our own classes.

Replies are plain JSON objects, so that a newer server's further fields do not break an older client.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import urljoin

import httpx

from upscale_server.client.answers import answer_of, error_from
from upscale_server.client.download import Watch, download, unwatched
from upscale_server.client.follow import Job, Wire, follow
from upscale_server.errors import BadRequest, Canceled, ServerUnreachable, SourceNotFound

DEFAULT_URL = "http://127.0.0.1:29115"
Answer = dict[str, Any]  # a JSON object

_CONNECT_SECONDS = 10.0
_ANSWER_SECONDS = 30.0
"""Longest wait for a control route, which a healthy server answers in milliseconds."""
_WORK_SECONDS = 3700.0
"""Longest wait for a blocking answer: a little more than a server waits (`UPSCALE_JOBS__WAIT_SECONDS`)."""


class Client:
    """Talks to one server; a context manager. Safe to use from several threads.

    Args:
        base_url: the server's address.
        api_key: sent as `Authorization: Bearer`, to this server alone: links may lead to an object store.
        transport: another way to the server, for tests.
    """

    def __init__(
        self, base_url: str = DEFAULT_URL, api_key: str | None = None, transport: httpx.BaseTransport | None = None
    ) -> None:
        self.base_url = base_url.rstrip("/")
        self._origin = _address(self.base_url)
        self._key = {"Authorization": f"Bearer {api_key}"} if api_key else {}
        self._http = httpx.Client(
            timeout=httpx.Timeout(_ANSWER_SECONDS, connect=_CONNECT_SECONDS),
            transport=transport,
            trust_env=not is_here(self._origin.host),  # no proxy reaches this machine's own loopback
        )

    # ---- what the server is

    def health(self) -> Answer:
        """Return `GET /health`.

        Raises:
            ModelsNotLoaded: it is not ready, with the reason.
        """
        return self._object("GET", "/health")

    def about(self) -> Answer:
        """Return the server's title and version, from its description at `GET /openapi.json`."""
        return dict(self._object("GET", "/openapi.json").get("info") or {})

    def stats(self) -> Answer:
        """Return `GET /stats`."""
        return self._object("GET", "/stats")

    def limits(self) -> Answer:
        """Return `GET /limits`."""
        return self._object("GET", "/limits")

    def queue(self) -> Answer:
        """Return `GET /queue`: the counts of jobs."""
        return self._object("GET", "/queue")

    # ---- work that is waited for in one call

    def upscale_video(self, payload_url: str, task_type: str, maximum_optimized_size_mb: float | None = None) -> Answer:
        """Upscale in one blocking call, `POST /upscale-video`; should it break, the job still goes on."""
        asked: Answer = {"payload_url": payload_url, "task_type": task_type}
        if maximum_optimized_size_mb is not None:
            asked["maximum_optimized_size_mb"] = maximum_optimized_size_mb
        return self._object("POST", "/upscale-video", json=asked, timeout=_working())

    def upscale(self, video_paths: Sequence[str], scale: int, task_id: str, **more: object) -> Answer:
        """Upscale up to five videos in one blocking call, `POST /upscale`, as a subnet miner does.

        Args:
            video_paths: addresses, or paths under the server's shared root.
            scale: 2 or 4.
            task_id: the caller's own name of the round.
            more: `output_paths`, `codec`, `deadline_seconds`.
        """
        asked = {"video_paths": list(video_paths), "scale": scale, "task_id": task_id, **more}
        return self._object("POST", "/upscale", json=asked, timeout=_working())

    # ---- jobs

    def submit(self, asked: Mapping[str, object], idempotency_key: str | None = None) -> Answer:
        """Hand in a job, `POST /v1/jobs`, and return it as accepted; see `wait`.

        With an idempotency key a call whose answer was lost can be repeated and meets the same job.
        """
        headers = {"Idempotency-Key": idempotency_key} if idempotency_key else {}
        return self._object("POST", "/v1/jobs", json=dict(asked), headers=headers)

    def upload(self, path: Path, asked: Mapping[str, object], idempotency_key: str | None = None) -> Answer:
        """Send a file and hand in a job for it; the file is streamed.

        Raises:
            SourceNotFound: there is no such file.
        """
        headers = {"Content-Type": "application/octet-stream"}
        if idempotency_key:
            headers["Idempotency-Key"] = idempotency_key
        fields = {"file_name": path.name, **{name: str(value) for name, value in asked.items()}}
        try:
            with path.open("rb") as file:
                return self._object(
                    "POST", "/v1/jobs", params=fields, content=file, headers=headers, timeout=_working()
                )
        except OSError as err:
            raise SourceNotFound(f"source {path} cannot be read: {err.strerror or err}") from err

    def job(self, job_id: str) -> Answer:
        """Return a job as it is now."""
        return self._object("GET", f"/v1/jobs/{job_id}")

    def jobs(self, state: str | None = None) -> Iterator[Answer]:
        """Yield all jobs, page by page."""
        cursor: dict[str, str] = {}
        while True:
            page = self._object("GET", "/v1/jobs", params=cursor | ({"state": state} if state else {}))
            yield from page["jobs"]
            if not page["next"]:
                return
            cursor = {"after": page["next"]}

    def follow(self, job_id: str, seconds: float | None = None) -> Iterator[Job]:
        """Yield a job's snapshots until it is finished or `seconds` are over; a restarting server is waited for."""
        return follow(Wire(lambda: self.job(job_id), lambda *after: self._events(job_id, *after)), seconds)

    def wait(self, job_id: str, seconds: float | None = None) -> Job:
        """Return a job when it has succeeded, or as it is when `seconds` are over.

        Raises:
            UpscaleError: the job failed, as the class that its fault names; Canceled where someone cancelled it.
        """
        job: Job = {}
        for job in self.follow(job_id, seconds):  # noqa: B007 - the last one counts
            pass
        return succeeded(job or self.job(job_id))

    def cancel(self, job_id: str) -> Answer:
        """Stop a job for good."""
        return self._object("POST", f"/v1/jobs/{job_id}/cancel")

    def pause(self, job_id: str) -> Answer:
        """Stop a job and keep what is finished."""
        return self._object("POST", f"/v1/jobs/{job_id}/pause")

    def resume(self, job_id: str) -> Answer:
        """Let a paused job go on."""
        return self._object("POST", f"/v1/jobs/{job_id}/resume")

    def retry(self, job_id: str) -> Answer:
        """Queue a failed or cancelled job again."""
        return self._object("POST", f"/v1/jobs/{job_id}/retry")

    def remove(self, job_id: str) -> None:
        """Delete a job and its result."""
        self._ask("DELETE", f"/v1/jobs/{job_id}")

    # ---- results

    def download(self, url: str, target: Path, watch: Watch = unwatched) -> Path:
        """Bring a result to `target`; a broken download goes on where it stopped, also in a later call.

        Args:
            url: the link of a result, or a path of this server such as `/v1/jobs/ID/output`.
            target: the file, which appears when it is whole and replaces one that is there.
            watch: told the bytes that are here and those of the whole.
        """
        address = urljoin(f"{self.base_url}/", url)
        key = self._key if _address(address).netloc == self._origin.netloc else {}

        def request(headers: dict[str, str]) -> AbstractContextManager[httpx.Response]:
            wanted = {"Accept-Encoding": "identity", **key, **headers}
            # On a redirect to another host httpx takes Authorization away.
            return self._http.stream("GET", address, headers=wanted, follow_redirects=True)

        return download(request, target, watch)

    # ---- below

    def _object(self, method: str, path: str, **request: Any) -> Answer:  # noqa: ANN401 - what httpx takes
        answer = self._ask(method, path, **request)
        if not isinstance(answer, dict):
            raise ServerUnreachable(f"{self.base_url}{path} answered {type(answer).__name__}; expected an object")
        return answer

    def _ask(self, method: str, path: str, **request: Any) -> Any:  # noqa: ANN401 - as above; any JSON value
        headers = {**self._key, **request.pop("headers", {})}
        try:
            response = self._http.request(method, f"{self.base_url}{path}", headers=headers, **request)
        except httpx.TransportError as err:
            raise ServerUnreachable(f"{self.base_url} does not answer: {_reason(err)}", hint="is it running?") from err
        return answer_of(response)

    def _events(self, job_id: str, last_id: str, silent_seconds: float) -> httpx.Response:
        headers = {**self._key, "Accept": "text/event-stream", **({"Last-Event-ID": last_id} if last_id else {})}
        request = self._http.build_request(
            "GET",
            f"{self.base_url}/v1/jobs/{job_id}/events",
            headers=headers,
            timeout=httpx.Timeout(silent_seconds, connect=_CONNECT_SECONDS),
        )
        return self._http.send(request, stream=True)

    def close(self) -> None:
        """Close the connections; safe to call twice."""
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def succeeded(job: Job) -> Job:
    """Return a job that has not ended badly.

    Raises:
        UpscaleError: the job failed, as the class that its fault names; Canceled where someone cancelled it.
    """
    if job["state"] == "canceled":
        raise Canceled(f"job {job['id']} was cancelled")
    if job["state"] == "failed":
        raise error_from(job["fault"])
    return job


def _address(text: str) -> httpx.URL:
    try:
        address = httpx.URL(text)
    except httpx.InvalidURL as err:
        raise BadRequest(f"address {text!r} is none: {err}", hint=f"for example {DEFAULT_URL}") from err
    if address.scheme not in ("http", "https") or not address.host:
        raise BadRequest(f"address {text!r} is no server's", hint=f"for example {DEFAULT_URL}")
    return address


def is_here(host: str) -> bool:
    """Tell whether a host is this machine itself, as far as its name shows."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _working() -> httpx.Timeout:
    return httpx.Timeout(_WORK_SECONDS, connect=_CONNECT_SECONDS)


def _reason(error: httpx.TransportError) -> str:
    return str(error) or type(error).__name__
