"""Which addresses a source may be fetched from, so that no caller can send the server into its own network.

It judges numbers and host names; it resolves and connects to nothing. The trap: Python's `is_global` calls NAT64
loopback, multicast and a cloud's own 168.63.129.16 public, so the tables here are our own.
"""

from __future__ import annotations

import socket
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import AddressValueError, IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from upscale_server.errors import BadRequest, SourceForbidden
from upscale_server.storage.host_list import HOSTS_SETTING, HostRule

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

NETWORKS_SETTING = "UPSCALE_FETCH__ALLOWED_NETWORKS"

# Source: IANA special-purpose address registries (RFC 6890 and updates), read 2026-11.
PRIVATE_V4 = tuple(
    IPv4Network(text)
    for text in (
        "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "172.16.0.0/12", "192.0.0.0/24", "192.0.2.0/24",
        "192.31.196.0/24", "192.52.193.0/24", "192.88.99.0/24", "192.168.0.0/16", "192.175.48.0/24",
        "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24",
    )
)  # fmt: skip
GLOBAL_V6 = IPv6Network("2000::/3")
PRIVATE_V6 = tuple(
    IPv6Network(text) for text in ("2001::/23", "2001:db8::/32", "2002::/16", "2620:4f:8000::/48", "3fff::/20")
)
NEVER: tuple[Network, ...] = tuple(
    ip_network(text)
    for text in (
        "0.0.0.0/8",  # Linux connects to itself
        "169.254.0.0/16",  # link-local, and the metadata services of most clouds
        "100.100.100.200/32", "192.0.0.192/32", "168.63.129.16/32",  # those of Alibaba, Oracle and Azure
        "224.0.0.0/4", "240.0.0.0/4",
        "::/128", "fe80::/10", "ff00::/8",
        "fd00:ec2::/32", "fd20:ce::254/128",  # those of AWS and Google
    )
)  # fmt: skip
"""Refused inside allowed networks, too: nothing there is a source, and metadata services hand out credentials."""

NEVER_NAMED = frozenset(
    {"metadata.google.internal", "metadata.goog", "metadata.azure.internal", "instance-data.ec2.internal"}
)
"""Metadata services by name: refused before anybody is asked where they are."""

MAPPED = IPv6Network("::ffff:0:0/96")
NAT64 = IPv6Network("64:ff9b::/96")
NAT64_LOCAL = IPv6Network("64:ff9b:1::/48")
ISATAP = (b"\0\0\x5e\xfe", b"\2\0\x5e\xfe")
_TEREDO = IPv6Network("2001::/32")
_SIX_TO_FOUR = IPv6Network("2002::/16")
_COMPATIBLE = IPv6Network("::/96")
_TRANSLATED = IPv6Network("::ffff:0:0:0/96")
_LOOPBACK = IPv6Address("::1")


@dataclass(frozen=True, slots=True)
class Guard:
    """Where sources may come from: private networks that are allowed, and hosts, where only some are."""

    networks: tuple[Network, ...] = ()
    hosts: tuple[HostRule, ...] = ()

    @classmethod
    def of(cls, networks: Iterable[str], hosts: Iterable[str]) -> Guard:
        """Read the settings.

        Raises:
            BadRequest: a network or a host that is none.
        """
        return cls(tuple(_network(text) for text in networks), tuple(HostRule.of(text) for text in hosts))

    def check_address(self, text: str) -> None:
        """Let an address pass that may be connected to.

        Args:
            text: a numeric address, as the resolver gave it.

        Raises:
            SourceForbidden: it is private, reserved or a metadata service.
        """
        address = _judged(text)
        if address is not None and not _is_never(address) and self._is_open(address):
            return
        raise SourceForbidden(
            f"the source's address {text} is private or reserved",
            hint=f"an operator can allow its network with {NETWORKS_SETTING}; metadata services are never allowed",
        )

    def check_host(self, host: str, port: int) -> None:
        """Let a host pass that is on the list, where there is one, and that is no forbidden literal address.

        A name is only looked at here; the address it leads to is checked when it is dialled.

        Raises:
            SourceForbidden: it is not on the list, or it is a private address or a metadata service.
        """
        name = host.lower().rstrip(".")
        if self.hosts and not any(rule.admits(name, port) for rule in self.hosts):
            raise SourceForbidden(
                f"sources may not come from host {name} on port {port}",
                hint=f"the hosts allowed are those of {HOSTS_SETTING}",
            )
        if name in NEVER_NAMED:
            raise SourceForbidden(f"host {name} is a metadata service, which is never a source")
        literal = _literal(name)
        if literal is not None:
            self.check_address(literal)

    def _is_open(self, address: Address) -> bool:
        return is_public(address) or _within(address, self.networks)


def is_public(address: Address) -> bool:
    """Tell whether an address belongs to the public internet."""
    if isinstance(address, IPv4Address):
        return not _within(address, PRIVATE_V4) and not _within(address, NEVER)
    if address.packed[8:12] in ISATAP:
        return False  # an IPv4 address in disguise (RFC 5214)
    return address in GLOBAL_V6 and not _within(address, PRIVATE_V6)


def _judged(text: str) -> Address | None:
    """Return the address that the network would see; None where it cannot be one for us (a zone, no number)."""
    try:
        address = ip_address(text)
    except ValueError:
        return None
    if isinstance(address, IPv4Address):
        return address
    if address.scope_id is not None:
        return None
    # Both end at the IPv4 address inside (RFC 4291, RFC 6052); hosts without IPv4 reach the world through NAT64.
    return IPv4Address(address.packed[12:]) if address in MAPPED or address in NAT64 else address


def _is_never(address: Address) -> bool:
    """Tell whether an address is refused everywhere, also where it hides in one that an operator allows."""
    return _within(address, NEVER) or any(_within(inside, NEVER) for inside in _carried(address))


def _carried(address: Address) -> list[IPv4Address]:
    """Return the IPv4 addresses that a gateway may find in an IPv6 address (RFC 2765, 3056, 4291, 4380, 5214, 6052)."""
    if isinstance(address, IPv4Address) or address == _LOOPBACK:
        return []
    packed = address.packed
    found: list[bytes] = []
    if address in _SIX_TO_FOUR:
        found.append(packed[2:6])
    if address in _TEREDO:
        found.append(bytes(byte ^ 0xFF for byte in packed[12:]))
    if address in NAT64_LOCAL:  # how long the prefix is, only its gateway knows; byte 8 carries nothing
        found += [packed[6:8] + packed[9:11], packed[7:8] + packed[9:12], packed[9:13], packed[12:]]
    if address in _COMPATIBLE or address in _TRANSLATED or packed[8:12] in ISATAP:
        found.append(packed[12:])
    return [IPv4Address(four) for four in found]


def _within(address: Address, networks: Iterable[Network]) -> bool:
    return any(address.version == network.version and address in network for network in networks)


def _literal(host: str) -> str | None:
    """Return the address that a host is in one of its spellings (`127.1`, `0x7f000001`); None for a name."""
    if host == "localhost" or host.endswith(".localhost"):
        return "127.0.0.1"  # never anything else (RFC 6761), so it need not be looked up to be refused
    try:
        return str(IPv6Address(host))
    except AddressValueError:
        pass
    try:
        return socket.inet_ntoa(socket.inet_aton(host))
    except OSError:
        return None


def _network(text: str) -> Network:
    try:
        return ip_network(text)
    except ValueError as err:
        raise BadRequest(f"setting {NETWORKS_SETTING} has {text!r}: {err}") from err
