"""Connects to addresses that were vetted, and to no others: the check is made on the number that is dialled.

A name is looked up once, each address found is judged, and the connection goes to that very number: there is no
second look-up in which a name could change. It reads no proxy settings, which would hand the choice to someone else.
"""

from __future__ import annotations

import errno
import os
import queue
import select
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any

import httpcore

from upscale_server.errors import SourceForbidden, SourceTimeout, SourceUnreachable, UpscaleError
from upscale_server.storage.addresses import Guard
from upscale_server.storage.watchdog import Watchdog

SLICE_SECONDS = 0.25
"""How long one wait on a socket lasts before the watchdog is asked again."""

Resolver = Callable[[str, int], list[str]]
"""From host and port to numeric addresses, best first."""


def look_up(host: str, port: int) -> list[str]:
    """Return a host's addresses as the system's resolver gives them."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


class GuardedBackend(httpcore.NetworkBackend):
    """Gives httpcore its connections."""

    def __init__(self, guard: Guard, watchdog: Watchdog, connect_seconds: float, resolver: Resolver = look_up) -> None:
        self._guard = guard
        self._watchdog = watchdog
        self._seconds = connect_seconds
        self._resolver = resolver

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ARG002 - one limit covers look-up and all addresses of a name
        local_address: str | None = None,  # noqa: ARG002 - part of httpcore's interface
        socket_options: Iterable[Any] | None = None,  # noqa: ARG002 - as above; Any: httpcore's own union
    ) -> httpcore.NetworkStream:
        """Connect to the first vetted address that answers.

        Raises:
            SourceForbidden: the host has no address that is allowed.
            SourceTimeout: none answered in time.
            SourceUnreachable: the host has no address, or all refuse.
        """
        ends_at = time.monotonic() + self._seconds
        fault: OSError | None = None
        for address in self._vetted(host, self._addresses(host, port, ends_at)):
            self._watchdog.look()
            try:
                connection = _dial(address, port, ends_at, self._watchdog)
            except OSError as err:
                fault = err
                continue
            self._watchdog.expect_reply()
            return WatchedStream(connection, self._watchdog, ends_at)
        if isinstance(fault, TimeoutError):
            raise SourceTimeout(f"host {host} did not answer in {self._seconds:g} s") from fault
        raise SourceUnreachable(f"host {host} cannot be reached on port {port}") from fault

    def connect_unix_socket(
        self, path: str, timeout: float | None = None, socket_options: Iterable[Any] | None = None
    ) -> httpcore.NetworkStream:
        """Refuse: a source is never a socket of this machine."""
        raise NotImplementedError

    def _addresses(self, host: str, port: int, ends_at: float) -> list[str]:
        """Look a host up in a thread of its own, because the system's resolver takes no limit and no cancelling."""
        answer: queue.SimpleQueue[list[str] | OSError | UnicodeError] = queue.SimpleQueue()

        def ask() -> None:
            try:
                answer.put(self._resolver(host, port))
            except (OSError, UnicodeError) as err:
                answer.put(err)

        threading.Thread(target=ask, name="look-up", daemon=True).start()
        while True:
            try:
                found = answer.get(timeout=SLICE_SECONDS)
            except queue.Empty:
                self._watchdog.look()
                if time.monotonic() >= ends_at:
                    raise SourceTimeout(f"host {host} could not be looked up in {self._seconds:g} s") from None
                continue
            if isinstance(found, Exception):
                raise SourceUnreachable(f"host {host} has no address") from found
            return found

    def _vetted(self, host: str, addresses: list[str]) -> list[str]:
        """Leave out what is forbidden; a host with nothing else is forbidden itself.

        Where it leads is not told: a name of our own network is not to be looked up through us.
        """
        kept: list[str] = []
        refused: SourceForbidden | None = None
        for address in addresses:
            try:
                self._guard.check_address(address)
            except SourceForbidden as err:
                refused = err
            else:
                kept.append(address)
        if refused is not None and not kept:
            raise SourceForbidden(
                f"host {host} leads to an address that is private or reserved", hint=refused.hint
            ) from refused
        return kept


class WatchedStream(httpcore.NetworkStream):
    """A connection on which every wait is cut into slices, with the watchdog asked in between."""

    def __init__(self, connection: socket.socket, watchdog: Watchdog, ends_at: float) -> None:
        self._socket = connection
        self._watchdog = watchdog
        self._ends_at = ends_at
        watchdog.hold_line(lambda: _cut(connection))

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ARG002 - the watchdog has the limits
        """Wait for bytes as long as the watchdog allows."""
        self._watchdog.look()
        self._socket.settimeout(SLICE_SECONDS)
        while True:
            try:
                came = self._socket.recv(max_bytes)
            except TimeoutError:
                self._watchdog.look()
            except OSError as err:
                self._watchdog.look()  # it may have been us who ended it
                raise httpcore.ReadError(str(err)) from err
            else:
                if not came:
                    self._watchdog.look()  # as above
                return came

    def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ARG002 - as in `read`
        """Send all of it as long as the watchdog allows."""
        self._socket.settimeout(SLICE_SECONDS)
        rest = memoryview(buffer)
        while rest:
            self._watchdog.look()  # each time: a peer that takes a byte now and then never lets a wait run out
            try:
                rest = rest[self._socket.send(rest) :]
            except TimeoutError:
                continue
            except OSError as err:
                raise httpcore.WriteError(str(err)) from err

    def close(self) -> None:
        """Close the connection."""
        self._socket.close()

    def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,  # noqa: ARG002 - the handshake is part of connecting
    ) -> httpcore.NetworkStream:
        """Go on in TLS; the certificate must be that of the host named in the URL.

        Raises:
            SourceUnreachable: the certificate is not valid, or the handshake failed.
            SourceTimeout: it took too long.
        """
        try:
            secure = ssl_context.wrap_socket(
                self._socket, server_hostname=server_hostname, do_handshake_on_connect=False
            )
            self._socket = secure
            self._watchdog.hold_line(lambda: _cut(secure))
            self._shake_hands(secure)
        except TimeoutError as err:
            self._socket.close()
            raise SourceTimeout(f"host {server_hostname} did not finish the TLS handshake in time") from err
        except ssl.SSLCertVerificationError as err:
            self._socket.close()
            raise SourceUnreachable(
                f"host {server_hostname} has no valid certificate: {err.verify_message}",
                hint="a certificate authority of your own is made known with SSL_CERT_FILE",
            ) from err
        except OSError as err:
            self._socket.close()
            self._watchdog.look()  # it may have been us who ended it
            raise SourceUnreachable(f"host {server_hostname} does not speak TLS with us") from err
        except UpscaleError:
            self._socket.close()
            raise
        self._watchdog.expect_reply()
        return WatchedStream(secure, self._watchdog, self._ends_at)

    def _shake_hands(self, secure: ssl.SSLSocket) -> None:
        secure.settimeout(0)
        while True:
            try:
                secure.do_handshake()
            except ssl.SSLWantReadError:
                _await(secure, select.POLLIN, self._ends_at, self._watchdog)
            except ssl.SSLWantWriteError:
                _await(secure, select.POLLOUT, self._ends_at, self._watchdog)
            else:
                return

    def get_extra_info(self, info: str) -> Any:  # noqa: ANN401, ARG002 - httpcore's own signature
        """Return what httpcore asks of a connection; nothing it needs for one use."""
        return None


def _dial(address: str, port: int, ends_at: float, watchdog: Watchdog) -> socket.socket:
    """Connect to a number; `address` is never a name."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    connection = socket.socket(family, socket.SOCK_STREAM)
    try:
        connection.settimeout(0)
        fault = connection.connect_ex((address, port))
        if fault == errno.EINPROGRESS:
            _await(connection, select.POLLOUT, ends_at, watchdog)
            fault = connection.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if fault:
            raise OSError(fault, os.strerror(fault))  # noqa: TRY301 - what closes the connection is right below
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    except BaseException:
        connection.close()
        raise
    return connection


def _cut(connection: socket.socket) -> None:
    """End a connection under a thread that reads from it; TLS is not asked, which may be what that thread is in."""
    with suppress(OSError):
        socket.socket.shutdown(connection, socket.SHUT_RDWR)


def _await(connection: socket.socket, event: int, ends_at: float, watchdog: Watchdog) -> None:
    """Wait until a connection can be used.

    Raises:
        TimeoutError: it took too long.
    """
    poll = select.poll()
    poll.register(connection, event)
    while not poll.poll(SLICE_SECONDS * 1000):
        watchdog.look()
        if time.monotonic() >= ends_at:
            break
    if time.monotonic() >= ends_at:  # also of one that is ready again and again, and gets no further
        raise TimeoutError
