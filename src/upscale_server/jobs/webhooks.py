"""Tells other servers that a job has ended: signed, tried again for a while, and never in a job's way.

What is to be told is in the database; nothing here changes a job. Receivers are strangers: the address is vetted by
`posting`, and neither it nor the secret is ever logged.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from upscale_server.errors import Canceled, DiskFull, SourceForbidden, StorageError, UpscaleError
from upscale_server.jobs.deliveries import Deliveries, Delivery
from upscale_server.jobs.receivers import Receivers
from upscale_server.logs import get_logger
from upscale_server.server_settings import Webhooks as WebhookSettings
from upscale_server.storage.addresses import NETWORKS_SETTING
from upscale_server.storage.host_list import HOSTS_SETTING
from upscale_server.storage.posting import PostRules, post

THREADS = 4
"""Messages on their way at once: a receiver that never answers holds one of them for seconds."""
LOOK_SECONDS = 1.0
"""Between two looks for messages that are due."""
PAUSE_SECONDS = 15.0
"""After the first failed try, and twice as long after each further one: half an hour with eight tries."""
LONGEST_PAUSE_SECONDS = 3600.0
_LEASE_TIMES = 3
_LEAST_LEASE_SECONDS = 90.0
"""After so many timeouts, and no less, a try that nobody reported on is made again: its server died. Reporting may wait
for another writer, see `opening.BUSY_SECONDS`."""
_STOP_SECONDS = 2.0
"""Longest that a stop waits for messages on their way; what is not back by then is due again after its lease."""
_GONE = 410
_REFUSED = (
    "the receiver's host is not one of those allowed, or its address is private or reserved; "
    f"an operator can allow it, see {HOSTS_SETTING} and {NETWORKS_SETTING}"
)
"""What the owner of a job is told; the log says which it was."""

Links = Callable[[str, str], str]
"""From a job's id and a path of ours to the whole address that its owner may use."""


@dataclass(frozen=True, slots=True)
class Sending:
    """How messages go out: signed with a secret, by these rules, for this server."""

    settings: WebhookSettings
    rules: PostRules
    links: Links
    owner: str
    opened: Callable[[str], str] = str
    pause_seconds: float = PAUSE_SECONDS


class Webhooks:
    """The threads that send; started once, stopped once. Without a secret they are not started."""

    def __init__(self, deliveries: Deliveries, sending: Sending) -> None:
        self._deliveries = deliveries
        self._sending = sending
        self._stopping = threading.Event()
        self._receivers = Receivers(deliveries.clock)
        self._threads = [
            threading.Thread(target=self._keep_sending, name=f"webhooks-{place}", daemon=True)
            for place in range(THREADS if sending.settings.secret.get_secret_value() else 0)
        ]

    def start(self) -> None:
        """Begin to send what is due."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """End; what is on its way is given back and sent after the next start. Safe to call twice."""
        self._stopping.set()
        ends_at = time.monotonic() + _STOP_SECONDS
        for thread in self._threads:
            if thread.is_alive():
                thread.join(max(0.0, ends_at - time.monotonic()))

    def _keep_sending(self) -> None:
        while not self._stopping.is_set():
            try:
                while not self._stopping.is_set() and self.send_next():
                    pass
            except (StorageError, DiskFull) as err:  # its lease runs out, and it is sent again
                get_logger().warning("webhooks_not_read", detail=err.detail)
            except Exception as err:  # noqa: BLE001 - a thread that ends here would send nothing any more
                get_logger().exception("webhooks_not_sent", detail=type(err).__name__)
            self._stopping.wait(LOOK_SECONDS)

    def send_next(self) -> bool:
        """Try the message that is due longest, of receivers that are free; tell whether there was one."""
        settings = self._sending.settings
        lease = max(_LEAST_LEASE_SECONDS, settings.timeout_seconds * _LEASE_TIMES)
        with self._receivers.choosing():
            delivery = self._deliveries.take(self._sending.owner, settings.attempts, lease, self._receivers.is_free)
            if delivery is None:
                return False
            self._receivers.begin(delivery.url)
        try:
            self._send(delivery)
        finally:
            self._receivers.end(delivery.url)
        return True

    def _send(self, delivery: Delivery) -> None:
        settings = self._sending.settings
        facts = {"delivery_id": delivery.id, "job_id": delivery.job_id, "attempt": delivery.attempt}
        try:
            fault, is_last = self._try(delivery)
        except Canceled:
            self._deliveries.give_back(delivery)
        else:
            if not fault:
                self._deliveries.arrived(delivery)
                get_logger().info("webhook_delivered", **facts)
                return
            is_last = is_last or delivery.attempt >= settings.attempts
            self._deliveries.failed(delivery, fault, None if is_last else self._pause(delivery.attempt))
            get_logger().warning("webhook_given_up" if is_last else "webhook_failed", detail=fault, **facts)

    def _try(self, delivery: Delivery) -> tuple[str, bool]:
        """Return what went wrong, empty where nothing did, and whether trying again is no use."""
        try:
            status = self._status(delivery)
        except Canceled:
            raise
        except SourceForbidden as err:  # its words are of a source, and tell what the server's own look-up found
            self._receivers.rest(delivery.url, self._sending.pause_seconds)
            get_logger().warning("webhook_refused", delivery_id=delivery.id, detail=err.detail)
            return _REFUSED, False
        except UpscaleError as err:
            self._receivers.rest(delivery.url, self._sending.pause_seconds)
            return err.detail, False
        except Exception as err:  # noqa: BLE001 - whatever it is, it counts as a try, or it would be made for ever
            get_logger().exception("webhook_broke", delivery_id=delivery.id, detail=type(err).__name__)
            return f"something unexpected happened: {type(err).__name__}", False
        return ("" if 200 <= status < 300 else f"answered with status {status}"), status == _GONE

    def _status(self, delivery: Delivery) -> int:
        body = self._body(delivery)
        timestamp = str(int(time.time()))
        secret = self._sending.settings.secret.get_secret_value()
        headers = {
            "Content-Type": "application/json",
            "X-Timestamp": timestamp,
            "X-Delivery-ID": delivery.id,
            "X-Signature": signature_of(secret, timestamp, body),
        }
        return post(self._sending.opened(delivery.url), body, headers, self._sending.rules, self._check)

    def _body(self, delivery: Delivery) -> bytes:
        """Return the message with a link to the result that works from now on."""
        message = json.loads(delivery.body)
        result = message["job"]["result"]
        if result is not None:
            result["url"] = self._sending.links(delivery.job_id, result["url"])
        return json.dumps(message, separators=(",", ":")).encode()

    def _check(self) -> None:
        if self._stopping.is_set():
            raise Canceled("the server is stopping")

    def _pause(self, attempt: int) -> float:
        return min(self._sending.pause_seconds * float(2 ** (attempt - 1)), LONGEST_PAUSE_SECONDS)


def signature_of(secret: str, timestamp: str, body: bytes) -> str:
    """Return the header X-Signature: HMAC-SHA256 over the timestamp, a dot and the body."""
    digest = hmac.new(secret.encode(), f"{timestamp}.".encode() + body, hashlib.sha256)
    return f"sha256={digest.hexdigest()}"
