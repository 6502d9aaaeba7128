"""The list of allowed hosts: whole labels and ports are compared, and an entry that matches nothing stops the start."""

from __future__ import annotations

import pytest

from upscale_server.errors import BadRequest, SourceForbidden
from upscale_server.server_settings import Fetch
from upscale_server.storage.fetch import FetchRules, check_url
from upscale_server.storage.host_list import HostRule


@pytest.mark.parametrize(
    ("entry", "url"),
    [
        ("good.org", "https://good.org/x"),
        ("Good.org.", "https://GOOD.org./x"),
        ("good.org", "http://good.org:8080/x"),
        ("good.org:8080", "http://good.org:8080/x"),
        ("good.org:443", "https://good.org/x"),
        ("*.fine.org", "https://a.fine.org/x"),
        ("*.fine.org:8443", "https://a.b.fine.org:8443/x"),
        ("[2606:4700::1111]", "https://[2606:4700:0::1111]/x"),
        ("[2606:4700::1111]:8080", "http://[2606:4700::1111]:8080/x"),
    ],
)
def test_what_is_listed_passes(entry: str, url: str) -> None:
    """An entry without a port allows every port; case and a dot at the end say nothing."""
    check_url(url, FetchRules.of(Fetch(allowed_hosts=(entry,))))


@pytest.mark.parametrize(
    ("entry", "url"),
    [
        ("good.org", "https://evilgood.org/x"),
        ("good.org", "https://good.org.evil.com/x"),
        ("good.org", "https://a.good.org/x"),
        ("good.org", "https://goodxorg/x"),
        ("*.fine.org", "https://fine.org/x"),
        ("*.fine.org", "https://evilfine.org/x"),
        ("good.org:8080", "http://good.org/x"),
        ("good.org:8080", "http://good.org:8081/x"),
        ("good.org:443", "http://good.org/x"),
    ],
)
def test_what_is_not_listed_is_refused(entry: str, url: str) -> None:
    """A dot is a dot and no wildcard, and a port is that port."""
    with pytest.raises(SourceForbidden, match="may not come from host"):
        check_url(url, FetchRules.of(Fetch(allowed_hosts=(entry,))))


@pytest.mark.parametrize(
    "entry",
    ["", "*", "*.", "https://good.org", "good.org/path", "a.*.org", "good.org:0", "good.org:70000", "[::g]", "a b"],
)
def test_an_entry_that_matches_nothing_stops_the_start(entry: str) -> None:
    """It would go unnoticed otherwise, and shut out what it was to let in."""
    with pytest.raises(BadRequest, match="UPSCALE_FETCH__ALLOWED_HOSTS"):
        HostRule.of(entry)
