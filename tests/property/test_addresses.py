"""However a URL is written, no connection leaves for an address that is not public."""

from __future__ import annotations

import dataclasses
import ipaddress
import socket
import tempfile
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from upscale_server.errors import BadRequest, BadUrl, SourceError, SourceForbidden
from upscale_server.server_settings import Fetch
from upscale_server.storage import dialling
from upscale_server.storage.addresses import Guard, is_public
from upscale_server.storage.fetch import FetchRules, fetch

METADATA = (
    "169.254.169.254", "169.254.170.2", "100.100.100.200", "192.0.0.192", "168.63.129.16", "fd00:ec2::254",
    "fd20:ce::254", "0.0.0.0", "::", "fe80::1", "224.0.0.1", "255.255.255.255", "ff02::1",  # noqa: S104 - nothing is bound
)  # fmt: skip
PRIVATE = (
    "127.0.0.1", "10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.0.1", "100.64.0.1", "198.18.0.1", "192.0.2.1",
    "203.0.113.9", "::1", "fc00::1", "fd12::1", "64:ff9b:1::7f00:1", "2002:7f00:1::", "2001::80ff:fffe", "2001:db8::1",
    "3fff::1", "fec0::1", "::127.0.0.1", "2600::5efe:7f00:1", "2600::200:5efe:7f00:1", "64:ff9b::7f00:1",
    "::ffff:127.0.0.1", "::ffff:10.0.0.1",
)  # fmt: skip
PUBLIC = ("93.184.216.34", "8.8.8.8", "172.32.0.1", "2606:4700::1111", "64:ff9b::808:808", "::ffff:8.8.8.8")
SPELLINGS = (
    "127.0.0.1", "127.1", "0177.0.0.1", "0x7f.1", "0x7f000001", "2130706433", "017700000001", "0", "0.0.0.0",  # noqa: S104 - nothing is bound
    "localhost", "localhost.", "LOCALHOST", "x.localhost", "127.0.0.1.", "[::1]", "[::]", "[::ffff:127.0.0.1]",
    "[::ffff:7f00:1]", "[::127.0.0.1]", "[64:ff9b::7f00:1]", "[64:ff9b:1::7f00:1]", "[2002:7f00:1::]", "[fe80::1%25lo]",
    "[fe80::1]", "[fc00::1]", "[fd00:ec2::254]", "[ff02::1]", "[::ffff:169.254.169.254]", "169.254.169.254",
    "example.com@127.0.0.1", "127.0.0.1#@example.com", "127.0.0.1\\@example.com", "127.0.0.1%00.example.com",
    "①②⑦.⓪.⓪.①", "127。0。0。1", "１２７.0.0.1", "[::1]%20", "127.0.0.1:80@example.com", "a@b@127.0.0.1",  # noqa: RUF001 - a trick of theirs
)  # fmt: skip

octets = st.tuples(*[st.integers(0, 255)] * 4)
number = st.integers(0, 2**32 - 1)
hosts = st.one_of(
    st.ip_addresses(v=4).map(str),
    st.ip_addresses(v=6).map(lambda address: f"[{address}]"),
    number.map(str),
    number.map(hex),
    number.map(lambda value: f"0{value:o}"),
    octets.map(lambda parts: ".".join(f"0{part:o}" for part in parts)),
    octets.map(lambda parts: ".".join(hex(part) for part in parts)),
    octets.map(lambda parts: f"{parts[0]}.{parts[1] << 16 | parts[2] << 8 | parts[3]}"),
    octets.map(lambda parts: "[::ffff:{}.{}.{}.{}]".format(*parts)),
    octets.map(lambda parts: "[64:ff9b::{}.{}.{}.{}]".format(*parts)),
    st.sampled_from(SPELLINGS),
    st.text(min_size=1, max_size=20),
)
addresses = st.one_of(
    st.ip_addresses().map(str), st.sampled_from(METADATA), st.sampled_from(PRIVATE), st.sampled_from(PUBLIC)
)
networks = st.lists(
    st.sampled_from(("0.0.0.0/0", "::/0", "127.0.0.0/8", "10.0.0.0/8", "169.254.0.0/16", "fd00::/8")), max_size=3
)


class Dialled:
    """Stands where a connection would begin: notes the number and refuses it."""

    def __init__(self) -> None:
        self.addresses: list[str] = []

    def __call__(self, address: str, _port: int, _ends_at: float, _watchdog: object) -> socket.socket:
        """Note the number."""
        self.addresses.append(address)
        raise ConnectionRefusedError


def reached(url: str, rules: FetchRules) -> list[str]:
    """Return the addresses that a download would have connected to."""
    dialled = Dialled()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(dialling, "_dial", dialled)
        with tempfile.TemporaryDirectory() as folder, pytest.raises((SourceError, BadUrl)):
            fetch(url, Path(folder) / "never", rules, lambda _done, _total: None)
    return dialled.addresses


def rules_for(answer: list[str] | None) -> FetchRules:
    """Return the default rules with one try; names resolve to `answer`, literals as the system reads them."""

    def resolver(host: str, port: int) -> list[str]:
        if answer is not None:
            return answer
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
        return [str(entry[4][0]) for entry in found]

    return dataclasses.replace(FetchRules.of(Fetch(attempts=1)), resolver=resolver)


def ipv4_inside(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    """Return the address that answers at last: mapped and NAT64 addresses end at the IPv4 address inside."""
    address = ipaddress.ip_address(text)
    if isinstance(address, ipaddress.IPv6Address) and (
        address.ipv4_mapped or address in ipaddress.ip_network("64:ff9b::/96")
    ):
        return ipaddress.IPv4Address(address.packed[12:])
    return address


@pytest.mark.slow
@given(
    host=hosts, suffix=st.sampled_from(("", ":80", "/x", ":8080/a?b", "@127.0.0.1/", "#@127.0.0.1/", "\\@127.0.0.1/"))
)
@example(host="127.0.0.1", suffix="")
@example(host="[::ffff:169.254.169.254]", suffix="/latest/meta-data")
def test_no_literal_reaches_an_address_that_is_not_public(host: str, suffix: str) -> None:
    """Numbers in every base and shape, in either family, beside credentials and fragments."""
    for address in reached(f"http://{host}{suffix}", rules_for(None)):
        final = ipv4_inside(address)
        assert final.is_global, f"{host}{suffix} reached {address}"
        assert not final.is_multicast


@pytest.mark.slow
@given(answer=st.lists(addresses, min_size=1, max_size=4))
@example(answer=["93.184.216.34", "127.0.0.1"])
@example(answer=["::ffff:127.0.0.1"])
def test_no_name_reaches_an_address_that_is_not_public(answer: list[str]) -> None:
    """Whatever a name resolves to, only its public addresses are dialled, and all of those are tried."""
    found = reached("http://films.test/x", rules_for(answer))

    assert set(found) == {text for text in answer if is_public(ipv4_inside(text))}
    assert all(ipv4_inside(text).is_global for text in found)


@pytest.mark.slow
@given(address=addresses, allowed=networks)
@example(address="169.254.169.254", allowed=["0.0.0.0/0"])
@example(address="::ffff:169.254.169.254", allowed=["::/0", "0.0.0.0/0"])
def test_metadata_services_are_refused_inside_allowed_networks(address: str, allowed: list[str]) -> None:
    """An allowed network opens private addresses in it, never link-local, multicast or a cloud's own."""
    guard = Guard.of(allowed, ())
    final = ipv4_inside(address)
    inside = any(final in ipaddress.ip_network(network) for network in allowed)

    if str(final) in METADATA or final.is_link_local or final.is_multicast or final.is_unspecified:
        with pytest.raises(SourceForbidden, match="private or reserved"):
            guard.check_address(address)
    elif inside and final.is_private and not final.is_reserved:
        guard.check_address(address)


@pytest.mark.parametrize("address", ["::ffff:0:169.254.169.254", "::169.254.169.254", "2002:a9fe:a9fe::"])
def test_metadata_services_are_refused_in_every_form_that_a_gateway_reads(address: str) -> None:
    """Where an operator allows all of IPv6, too."""
    with pytest.raises(SourceForbidden):
        Guard.of(["::/0"], ()).check_address(address)


@pytest.mark.parametrize("address", [*METADATA, *PRIVATE])
def test_each_kind_of_closed_address_is_refused(address: str) -> None:
    """One of every range of the tables, and of every disguise."""
    with pytest.raises(SourceForbidden):
        Guard().check_address(address)


@pytest.mark.parametrize("address", PUBLIC)
def test_public_addresses_pass(address: str) -> None:
    """Neighbours of private ranges, and public addresses behind NAT64, are open."""
    Guard().check_address(address)


@pytest.mark.parametrize("text", ["127.0.0.1%lo", "2606:4700::1111%1", "fe80::1%1", "localhost", "", "1.2.3"])
def test_what_is_no_plain_number_is_refused(text: str) -> None:
    """The resolver's answer is judged as a number without a zone, or not at all."""
    with pytest.raises(SourceForbidden):
        Guard.of(("0.0.0.0/0", "::/0"), ()).check_address(text)


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_every_known_spelling_of_a_private_host_is_refused_at_the_door_or_the_dial(spelling: str) -> None:
    """The list of tricks that other servers fell for: nothing is dialled."""
    assert [] == reached(f"http://{spelling}:9/x", rules_for(None))


def test_a_network_that_is_none_stops_the_start() -> None:
    """The setting is named, and the value."""
    with pytest.raises(BadRequest, match=r"UPSCALE_FETCH__ALLOWED_NETWORKS has '10\.0\.0\.1/8'"):
        Guard.of(("10.0.0.1/8",), ())
