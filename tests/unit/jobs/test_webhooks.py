"""Messages about ended jobs: none is lost, each is signed, tried for a while, and sent nowhere it may not go.

The database and the receiver are real; time is a number that the test sets.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from pydantic import SecretStr
from sqlalchemy import select, text, update
from structlog.testing import capture_logs

from tests.support import receiver as receiving
from tests.support.killing import wait_until
from tests.support.receiver import Receiver
from upscale_server.jobs.deliveries import Delivery
from upscale_server.jobs.job import Asked, Claim, NewJob, Outcome, Source, Told
from upscale_server.jobs.opening import BUSY_SECONDS
from upscale_server.jobs.store import JobStore
from upscale_server.jobs.tables import deliveries, jobs
from upscale_server.jobs.webhooks import PAUSE_SECONDS, THREADS, Sending, Webhooks, signature_of
from upscale_server.server_settings import Webhooks as Settings
from upscale_server.storage.addresses import Guard
from upscale_server.storage.posting import PostRules

SECRET = "a shared secret"  # noqa: S105 - of these tests alone
LOOPBACK = Guard.of(["127.0.0.0/8"], [])


@dataclass
class Clock:
    """Seconds since the epoch, as the test says."""

    now: float = 1000.0

    def __call__(self) -> float:
        """Return them."""
        return self.now


@dataclass
class Desk:
    """A store and what sends for it."""

    store: JobStore
    clock: Clock
    settings: Settings = field(default_factory=lambda: Settings(secret=SecretStr(SECRET)))
    rules: PostRules = field(default_factory=lambda: PostRules(LOOPBACK, 5.0))
    owner: str = "this-server"

    def webhooks(self) -> Webhooks:
        """Return what sends."""
        sending = Sending(self.settings, self.rules, lambda job, path: f"https://here/{job}{path}", self.owner)
        return Webhooks(self.store.deliveries, sending)

    def claim(self, url: str | None, home: str = "") -> Claim:
        """Return a job at work."""
        asked = Asked(Source("url", "https://films.test/a.mp4?signature=hidden"), scale=2, webhook=url)
        self.store.add(NewJob(asked, home=home), 10)
        claim = self.store.claim("this-server", 60)
        assert claim is not None
        return claim

    def ended(self, url: str | None, home: str = "") -> str:
        """Return a job that has just succeeded."""
        claim = self.claim(url, home)
        self.store.finish(claim, Outcome(f"results/{claim.job.id}.mp4", 10, 1.5))
        return claim.job.id

    def taken(self, lease_seconds: float) -> Delivery:
        """Return the message that is due, as a server has it that is not heard of any more."""
        taken = self.store.deliveries.take(self.owner, self.settings.attempts, lease_seconds, lambda _: True)
        assert taken is not None
        return taken

    def states(self) -> list[tuple[str, int, str | None]]:
        """Return every message's state, tries and last error."""
        with self.store._database.reading() as connection:
            rows = connection.execute(select(deliveries).order_by(deliveries.c.created_at)).all()
        words = {(False, True): "pending", (True, False): "delivered", (False, False): "given up"}
        return [
            (words[row.delivered_at is not None, row.next_try_at is not None], row.attempts, row.last_error)
            for row in rows
        ]


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    """Give an empty store."""
    clock = Clock()
    store = JobStore(f"sqlite:///{tmp_path}/jobs.sqlite", clock=clock)
    yield Desk(store, clock)
    store.close()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """Give a server that is told things."""
    with Receiver() as started:
        yield started


def is_genuine(told: receiving.Told, secret: str = SECRET) -> bool:
    """Check a message as its receiver would, without our code."""
    signed = told.headers["x-timestamp"].encode() + b"." + told.body
    expected = "sha256=" + hmac.new(secret.encode(), signed, hashlib.sha256).hexdigest()
    return hmac.compare_digest(expected, told.headers["x-signature"])


def test_a_success_is_told_once_with_the_job_and_a_fresh_link(desk: Desk, receiver: Receiver) -> None:
    """The body, the headers and the link are those documented; the plan and the addresses asked for are not in it."""
    job_id = desk.ended(receiver.url())

    assert desk.webhooks().send_next()
    assert not desk.webhooks().send_next()

    (told,) = receiver.told
    message = json.loads(told.body)
    assert {"id", "type", "created_at", "job"} == set(message)
    assert ("job.succeeded", job_id, "succeeded") == (message["type"], message["job"]["id"], message["job"]["state"])
    assert f"https://here/{job_id}/v1/jobs/{job_id}/output" == message["job"]["result"]["url"]
    assert message["id"] == told.headers["x-delivery-id"]
    assert ("application/json", "/hook?token=hidden") == (told.headers["content-type"], told.path)
    assert "plan" not in message["job"]
    assert b"hidden" not in told.body
    assert [("delivered", 1, None)] == desk.states()


def test_every_end_is_told_and_nothing_else(desk: Desk, receiver: Receiver) -> None:
    """Failed, cancelled at work and cancelled while it waited; not paused, not queued again, not without a wish."""
    failed = desk.claim(receiver.url())
    desk.store.fail(failed, {"code": "source_corrupt"})
    stopped = desk.claim(receiver.url())
    desk.store.want(stopped.job.id, "canceled")
    desk.store.let_go(stopped, "canceled")
    waiting = desk.store.add(NewJob(Asked(Source("url", "https://films.test/a"), webhook=receiver.url())), 10)
    desk.store.want(waiting.id, "paused")
    desk.store.want(waiting.id, "canceled")
    desk.ended(None)

    while desk.webhooks().send_next():
        pass

    messages = [json.loads(told.body) for told in receiver.told]
    assert {("job.failed", failed.job.id), ("job.canceled", stopped.job.id), ("job.canceled", waiting.id)} == {
        (message["type"], message["job"]["id"]) for message in messages
    }
    assert 3 == len({message["id"] for message in messages})
    assert ["source_corrupt"] == [one["job"]["fault"]["code"] for one in messages if one["job"]["fault"]]


def test_a_job_that_cannot_be_read_is_told_of_as_well(desk: Desk, receiver: Receiver) -> None:
    """It has failed, and whom to tell is still there."""
    waiting = desk.store.add(NewJob(Asked(Source("url", "https://films.test/a"), webhook=receiver.url())), 10)
    with desk.store._database.writing() as connection:
        connection.execute(update(jobs).where(jobs.c.id == waiting.id).values(asked={"webhook": receiver.url()}))

    assert desk.store.claim("this-server", 60) is None
    assert desk.webhooks().send_next()

    message = json.loads(receiver.told[0].body)
    assert ("job.failed", waiting.id, "internal") == (
        message["type"], message["job"]["id"], message["job"]["fault"]["code"]
    )  # fmt: skip


def test_a_job_that_is_tried_again_tells_of_its_second_end_too(desk: Desk, receiver: Receiver) -> None:
    """Two ends are two messages."""
    failed = desk.claim(receiver.url())
    desk.store.fail(failed, {"code": "source_error"})
    desk.store.retry(failed.job.id, 10)
    again = desk.store.claim("this-server", 60)
    assert again is not None
    desk.store.finish(again, Outcome("results/x.mp4", 10, 1.5))

    while desk.webhooks().send_next():
        pass

    assert ["job.failed", "job.succeeded"] == sorted(json.loads(told.body)["type"] for told in receiver.told)


def test_the_signature_is_over_the_timestamp_and_every_byte(desk: Desk, receiver: Receiver) -> None:
    """A receiver that checks as documented takes the message, and refuses one that differs by a byte or its time."""
    desk.ended(receiver.url())
    desk.webhooks().send_next()

    (told,) = receiver.told
    assert is_genuine(told)
    assert not is_genuine(replace(told, body=told.body.replace(b"succeeded", b"succeedee", 1)))
    assert not is_genuine(replace(told, headers={**told.headers, "x-timestamp": "1"}))
    assert not is_genuine(told, "another secret")


def test_the_signature_is_the_one_that_others_compute() -> None:
    """A value computed by `printf '1700000000.{}' | openssl dgst -sha256 -hmac secret`."""
    expected = "sha256=b8569b78799ff9e3cbff0fc2d63a33a2b57f3282abd07c37ae5e8e7d79a5f163"

    assert expected == signature_of("secret", "1700000000", b"{}")


def test_a_receiver_that_fails_is_told_again_later_and_later(desk: Desk, receiver: Receiver) -> None:
    """Twice as long after each try, under the same id, and no try before its time."""
    receiver.answers.extend([500, 404, 302])
    desk.ended(receiver.url())
    webhooks = desk.webhooks()

    for tries, pause in enumerate((PAUSE_SECONDS, 2 * PAUSE_SECONDS, 4 * PAUSE_SECONDS), 1):
        assert webhooks.send_next()
        assert "pending" == desk.states()[0][0]
        desk.clock.now += pause - 1
        assert not webhooks.send_next()
        desk.clock.now += 1
        assert tries == len(receiver.told)
    assert webhooks.send_next()

    assert [("delivered", 4, None)] == desk.states()
    assert 1 == len({told.headers["x-delivery-id"] for told in receiver.told})
    assert {"/hook?token=hidden"} == {told.path for told in receiver.told}, "a redirect was followed"
    assert all(is_genuine(told) for told in receiver.told)


def test_a_receiver_that_never_answers_well_is_given_up(desk: Desk, receiver: Receiver) -> None:
    """After as many tries as the setting says, and the last error is kept."""
    receiver.answers.extend([503] * 20)
    desk.ended(receiver.url())

    for _ in range(20):
        desk.webhooks().send_next()
        desk.clock.now += 4000  # longer than any pause

    assert desk.settings.attempts == len(receiver.told) == 8
    assert [("given up", 8, "answered with status 503")] == desk.states()


def test_a_receiver_that_is_gone_is_not_told_again(desk: Desk, receiver: Receiver) -> None:
    """410 is the receiver's own word."""
    receiver.answers.append(410)
    desk.ended(receiver.url())

    desk.webhooks().send_next()
    desk.clock.now += 100_000

    assert not desk.webhooks().send_next()
    assert [("given up", 1, "answered with status 410")] == desk.states()


def test_a_message_of_a_damaged_job_is_sent_once(desk: Desk, receiver: Receiver) -> None:
    """What was asked for cannot be shortened then; that is no reason to tell again."""
    job_id = desk.ended(receiver.url())
    with desk.store._database.writing() as connection:
        connection.execute(update(jobs).where(jobs.c.id == job_id).values(asked=text("'{\"half'")))

    desk.webhooks().send_next()
    desk.clock.now += 1000

    assert not desk.webhooks().send_next()
    assert [("delivered", 1, None)] == desk.states()


@pytest.mark.slow
def test_how_far_each_message_is_can_be_asked(desk: Desk, receiver: Receiver) -> None:
    """Delivered, given up with the reason, and still to be sent; of a job that is told of twice the newest counts."""
    receiver.answers.extend([200, 410, 503])
    ended: list[str] = []
    for _ in range(3):
        desk.clock.now += 1  # which of them is due longest
        ended.append(desk.ended(receiver.url()))
    (taken, given_up, failing), plain = ended, desk.ended(None)
    while desk.webhooks().send_next():
        pass
    again = desk.claim(receiver.url())
    desk.store.fail(again, {"code": "source_corrupt"})
    desk.webhooks().send_next()
    desk.clock.now += 1
    desk.store.retry(again.job.id, 10)
    second = desk.store.claim("this-server", 60)
    assert second is not None
    desk.store.fail(second, {"code": "source_corrupt"})

    found = desk.store.deliveries.of([taken, given_up, failing, plain, again.job.id])

    assert {
        taken: Told("delivered", 1),
        given_up: Told("given_up", 1, "answered with status 410"),
        failing: Told("pending", 1, "answered with status 503"),
        again.job.id: Told("pending", 0),
    } == found
    assert {"pending": 2, "delivered": 2, "given_up": 1} == desk.store.deliveries.counts()


def test_a_private_address_is_refused_where_it_is_dialled(desk: Desk, receiver: Receiver) -> None:
    """Without the setting, 127.0.0.1 is told nothing: as an address, and as what a name turns into later."""
    answers = iter([["127.0.0.1"], ["169.254.169.254"], ["::ffff:127.0.0.1"]])
    closed = replace(desk.rules, guard=Guard.of([], []), resolver=lambda _host, _port: next(answers))
    strict = replace(desk, rules=closed)
    strict.ended(receiver.url())
    for _ in range(3):
        strict.ended(receiver.url(host="hooks.test"))

    with capture_logs() as logged:
        while strict.webhooks().send_next():
            pass

    assert [] == receiver.told
    errors = [str(error) for _, _, error in desk.states()]
    assert ["pending"] * 4 == [state for state, _, _ in desk.states()]
    assert all(said.startswith("the receiver's host") and "private or reserved" in said for said in errors)
    assert [] == [said for said in errors if "169.254" in said or "127.0" in said or "source" in said]
    refused = [one["detail"] for one in logged if one["event"] == "webhook_refused"]
    assert 4 == len(refused), "the operator cannot see what was refused"


def test_a_name_is_looked_up_once_and_dialled_at_the_address_that_was_vetted(desk: Desk, receiver: Receiver) -> None:
    """A name that has a private address beside an allowed one is dialled at the allowed one, and never asked again."""
    answers = iter([["10.0.0.1", "127.0.0.1"]])
    named = replace(desk, rules=replace(desk.rules, resolver=lambda _host, _port: next(answers)))
    named.ended(receiver.url(host="hooks.test"))

    named.webhooks().send_next()

    assert [f"hooks.test:{receiver.port}"] == [told.headers["host"] for told in receiver.told]


@pytest.mark.slow
def test_a_receiver_that_is_silent_or_absent_costs_no_more_than_the_timeout(desk: Desk, receiver: Receiver) -> None:
    """Both are failed tries, told by host alone."""
    receiver.hold.set()
    hasty = replace(desk, rules=replace(desk.rules, seconds=0.5))
    hasty.ended(receiver.url())
    hasty.ended("http://127.0.0.1:9/hook?token=hidden")

    while hasty.webhooks().send_next():
        pass

    errors = {str(error) for _, _, error in desk.states()}
    assert any("did not answer in 0.5 s" in error for error in errors)
    assert any("cannot be reached on port 9" in error for error in errors)
    assert not any("hidden" in error for error in errors)


@pytest.mark.slow
@pytest.mark.timeout(60)
@pytest.mark.parametrize("piece", [b"", b"x", b"x" * (1 << 20)])
def test_an_answer_without_end_is_not_waited_for(desk: Desk, piece: bytes) -> None:
    """The status counts: whether what is behind it never comes, trickles or floods, the message is delivered.

    The timeout of the try is longer than the test may take.
    """
    patient = replace(desk, rules=replace(desk.rules, seconds=600.0))
    sent: list[int] = []
    with endless(piece, sent) as url:
        patient.ended(url)
        patient.webhooks().send_next()

    assert [("delivered", 1, None)] == patient.states()
    assert sum(sent) < 64 << 20  # what the system's buffers take; in a second it would be ten times that


@contextmanager
def endless(piece: bytes, sent: list[int]) -> Iterator[str]:
    """Give the address of a receiver that answers 200 and sends and counts pieces until nobody takes them."""
    over = threading.Event()

    def answer() -> None:
        caller, _ = listening.accept()
        with caller, suppress(OSError):
            caller.recv(1 << 16)
            caller.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
            while not over.wait(0.01 if len(piece) < 2 else 0):
                caller.sendall(piece)
                sent.append(len(piece))

    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=answer)
        thread.start()
        try:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}/hook"
        finally:
            over.set()
            thread.join()


@pytest.mark.slow
@pytest.mark.timeout(60)
def test_a_stop_waits_for_no_handshake(desk: Desk) -> None:
    """Receivers that take a connection and say nothing do not hold up the server's end, and no try is counted.

    The timeout of the try is longer than the test may take.
    """
    patient = replace(desk, rules=replace(desk.rules, seconds=600.0))
    with socket.create_server(("127.0.0.1", 0)) as mute:
        patient.ended(f"https://127.0.0.1:{mute.getsockname()[1]}/hook")
        webhooks = patient.webhooks()
        webhooks.start()
        caller, _ = mute.accept()
        with caller:
            assert caller.recv(1)  # the handshake has begun
            webhooks.stop()
            wait_until(lambda: not any(thread.is_alive() for thread in webhooks._threads))

    assert [("pending", 0, None)] == patient.states()


def test_what_was_delivered_is_forgotten(desk: Desk, receiver: Receiver) -> None:
    """An address may hold a token: after success nothing of ours has it; a job that may be tried again keeps it."""
    succeeded = desk.ended(receiver.url())
    failed = desk.claim(receiver.url())
    desk.store.fail(failed, {"code": "source_error"})
    webhooks = desk.webhooks()
    while webhooks.send_next():
        pass

    with desk.store._database.reading() as connection:
        assert [("", "")] * 2 == [(row.url, row.body) for row in connection.execute(select(deliveries))]
    assert receiver.url("/hook").removesuffix("/hook") == desk.store.get(succeeded).asked.webhook
    assert receiver.url() == desk.store.get(failed.job.id).asked.webhook


def test_neither_the_secret_nor_the_address_is_logged(desk: Desk, receiver: Receiver) -> None:
    """What is logged names the job and the status."""
    receiver.answers.append(500)
    desk.ended(receiver.url())
    with capture_logs() as logs:
        desk.webhooks().send_next()
        desk.clock.now += PAUSE_SECONDS
        desk.webhooks().send_next()

    assert ["webhook_failed", "webhook_delivered"] == [line["event"] for line in logs]
    assert "hidden" not in str(logs)
    assert SECRET not in str(logs)


def test_a_message_whose_server_died_on_the_way_is_sent_again(desk: Desk, receiver: Receiver) -> None:
    """A try that nobody reported on counts, and the message is due again after the lease."""
    desk.ended(receiver.url())
    desk.taken(lease_seconds=30)

    assert not desk.webhooks().send_next()
    desk.clock.now += 30
    assert desk.webhooks().send_next()
    assert [("delivered", 2, None)] == desk.states()


def test_a_message_that_kills_its_servers_is_given_up(desk: Desk, receiver: Receiver) -> None:
    """A try is counted before it is made: as many deaths as there may be tries, and it is left alone."""
    desk.ended(receiver.url())
    for _ in range(desk.settings.attempts):
        desk.taken(lease_seconds=30)
        desk.clock.now += 30

    assert not desk.webhooks().send_next()
    desk.clock.now += 100_000
    assert not desk.webhooks().send_next()
    assert [] == receiver.told
    assert [("given up", 8, "no server that sent it told how it went")] == desk.states()


@pytest.mark.slow
def test_what_nobody_foresaw_is_a_failed_try(desk: Desk, receiver: Receiver) -> None:
    """A defect of ours ends like any failure: tried again later, a few times, and never for ever."""

    def broken(job: str, path: str) -> str:
        raise LookupError(job + path)

    desk.ended(receiver.url())
    webhooks = Webhooks(desk.store.deliveries, Sending(desk.settings, desk.rules, broken, desk.owner))
    for _ in range(20):
        webhooks.send_next()
        desk.clock.now += 4000

    assert [] == receiver.told
    assert [("given up", 8, "something unexpected happened: LookupError")] == desk.states()


@pytest.mark.parametrize("late", ["failed", "give_back"])
def test_a_try_that_was_replaced_changes_nothing_any_more(desk: Desk, receiver: Receiver, late: str) -> None:
    """A server that was suspended reports on its try when another has delivered: the message is not sent again."""
    desk.ended(receiver.url())
    old = desk.taken(lease_seconds=30)
    desk.clock.now += 30
    desk.webhooks().send_next()

    if late == "failed":
        desk.store.deliveries.failed(old, "too late", 0.0)
    else:
        desk.store.deliveries.give_back(old)
    desk.clock.now += 100_000

    assert not desk.webhooks().send_next()
    assert [("delivered", 2, None)] == desk.states()


@pytest.mark.parametrize("late", ["failed", "give_back"])
def test_a_try_that_was_replaced_does_not_end_the_next_one(desk: Desk, receiver: Receiver, late: str) -> None:
    """While another server's try is on its way, a late report does not let a third begin, or give up for it."""
    desk.ended(receiver.url())
    old = desk.taken(lease_seconds=30)
    desk.clock.now += 30
    desk.taken(lease_seconds=30)

    if late == "failed":
        desk.store.deliveries.failed(old, "too late", None)
    else:
        desk.store.deliveries.give_back(old)

    assert not desk.webhooks().send_next()
    assert [("pending", 2, None)] == desk.states()


def test_a_late_success_is_one(desk: Desk, receiver: Receiver) -> None:
    """What arrived has arrived, though the next try failed meanwhile."""
    receiver.answers.append(500)
    desk.ended(receiver.url())
    old = desk.taken(lease_seconds=30)
    desk.clock.now += 30
    desk.webhooks().send_next()

    desk.store.deliveries.arrived(old)

    assert [("delivered", 2, None)] == desk.states()


def test_what_arrived_late_is_not_sent_again_because_the_next_try_fails(desk: Desk, receiver: Receiver) -> None:
    """The newest try may say that it failed; the message is there all the same."""
    desk.ended(receiver.url())
    old = desk.taken(lease_seconds=30)
    desk.clock.now += 30
    newest = desk.taken(lease_seconds=30)

    desk.store.deliveries.arrived(old)
    desk.store.deliveries.failed(newest, "no answer", 0.0)

    assert not desk.webhooks().send_next()
    assert [("delivered", 2, None)] == desk.states()


@pytest.mark.slow
def test_two_servers_do_not_send_the_same_message_at_once(desk: Desk, receiver: Receiver) -> None:
    """As long as a try may last, and its report may wait, nobody else begins one."""
    receiver.hold.set()
    desk.ended(receiver.url())
    first = desk.webhooks()
    first.start()
    wait_until(lambda: bool(receiver.told))
    desk.clock.now += desk.settings.timeout_seconds + BUSY_SECONDS

    assert not desk.webhooks().send_next()
    first.stop()


def test_a_receiver_that_cannot_be_reached_holds_up_nobody_else(desk: Desk, receiver: Receiver) -> None:
    """After one try its other messages wait, too; those of others do not, although they are younger."""
    for _ in range(3):
        desk.ended("http://127.0.0.1:9/hook")
        desk.clock.now += 1
    desk.ended(receiver.url())
    webhooks = desk.webhooks()

    sent = [webhooks.send_next() for _ in range(3)]
    desk.clock.now += PAUSE_SECONDS

    assert [True, True, False] == sent
    assert ([1, 0, 0, 1], 1) == ([attempts for _, attempts, _ in desk.states()], len(receiver.told))
    assert webhooks.send_next()


@pytest.mark.slow
def test_a_silent_receiver_has_one_message_on_its_way(desk: Desk, receiver: Receiver) -> None:
    """However many there are for it, a thread stays for each other receiver."""
    receiver.hold.set()
    for _ in range(THREADS + 1):
        desk.ended(receiver.url())
        desk.clock.now += 1
    with Receiver() as other:
        desk.ended(other.url())
        webhooks = desk.webhooks()
        webhooks.start()
        wait_until(lambda: bool(receiver.told) and bool(other.told))
        webhooks.stop()

    assert (1, 1) == (len(receiver.told), len(other.told))


@pytest.mark.slow
def test_a_server_killed_right_after_a_job_ended_tells_of_it_when_it_is_back(tmp_path: Path) -> None:
    """The message is in the transaction that ends the job: a power cut behind it loses nothing."""
    with Receiver() as receiver:
        dies = (
            "import os, signal, sys; from pathlib import Path; "
            "from upscale_server.jobs.store import JobStore; "
            "from upscale_server.jobs.job import Asked, NewJob, Outcome, Source; "
            "store = JobStore(f'sqlite:///{sys.argv[1]}/jobs.sqlite'); "
            "store.add(NewJob(Asked(Source('url', 'https://films.test/a'), webhook=sys.argv[2])), 10); "
            "store.finish(store.claim('this-server', 60), Outcome('results/a.mp4', 10, 1.5)); "
            "os.kill(os.getpid(), signal.SIGKILL)"
        )
        ended = subprocess.run([sys.executable, "-c", dies, str(tmp_path), receiver.url()], check=False)
        store = JobStore(f"sqlite:///{tmp_path}/jobs.sqlite")
        webhooks = Desk(store, Clock()).webhooks()
        webhooks.start()
        wait_until(lambda: bool(receiver.told))
        webhooks.stop()
        store.close()

    assert -9 == ended.returncode
    assert ["job.succeeded"] == [json.loads(told.body)["type"] for told in receiver.told]


@pytest.mark.slow
def test_what_is_on_its_way_when_the_server_stops_is_given_back(desk: Desk, receiver: Receiver) -> None:
    """A stop does not wait for a receiver, and the try does not count."""
    receiver.hold.set()
    desk.ended(receiver.url())
    webhooks = desk.webhooks()
    webhooks.start()
    wait_until(lambda: bool(receiver.told))

    webhooks.stop()

    assert [("pending", 0, None)] == desk.states()


def test_nothing_is_sent_without_a_secret(desk: Desk, receiver: Receiver) -> None:
    """A server whose secret was taken away keeps its messages for when it is back."""
    mute = replace(desk, settings=Settings()).webhooks()
    desk.ended(receiver.url())
    mute.start()
    mute.stop()

    assert [] == mute._threads
    assert [("pending", 0, None)] == desk.states()


def test_a_message_is_sent_by_the_server_that_can_sign_its_link(desk: Desk, receiver: Receiver) -> None:
    """A result on another server's disk is told of by that one."""
    desk.ended(receiver.url(), home="this-server")

    assert not replace(desk, owner="another-server").webhooks().send_next()
    assert desk.webhooks().send_next()


def test_a_removed_job_is_told_of_no_more(desk: Desk, receiver: Receiver) -> None:
    """Nothing of it stays, also no message with its view."""
    receiver.answers.append(500)
    job_id = desk.ended(receiver.url())
    desk.webhooks().send_next()

    desk.store.remove(job_id)
    desk.clock.now += 100_000

    assert not desk.webhooks().send_next()
    assert [] == desk.states()
