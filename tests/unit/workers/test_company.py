"""Who worked at the same time as others is known, also after they left."""

from __future__ import annotations

from contextlib import suppress

from upscale_server.workers.company import Company, Guest


def test_one_who_meets_nobody_was_alone() -> None:
    """One job after the other shares nothing."""
    company, first, second = Company(), Guest(), Guest()

    with company.joined(first):
        pass
    with company.joined(second):
        pass

    assert first.alone
    assert second.alone


def test_both_who_meet_were_not_alone_and_stay_so() -> None:
    """The one that was there first is slowed down as well."""
    company, first, second = Company(), Guest(), Guest()

    with company.joined(first), company.joined(second):
        pass
    with company.joined(first):
        pass

    assert not first.alone
    assert not second.alone


def test_who_fails_has_left() -> None:
    """A job that ended with an error slows nobody down."""
    company, first, second = Company(), Guest(), Guest()

    with suppress(ValueError), company.joined(first):
        int("no number")
    with company.joined(second):
        pass

    assert second.alone
