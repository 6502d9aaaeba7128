"""`upscale models`: what can be named with --model, and what each is good for."""

from __future__ import annotations

from upscale_server.cli import options, talk


def models(as_json: options.Json = False) -> None:
    """List the models that are here."""
    from upscale_server.media.types import record
    from upscale_server.models.catalogue import available

    cards = available()
    if as_json:
        for card in cards:
            talk.result_json(record(card))
        return
    rows = [
        (card.name, f"×{card.scale}", card.domain, f"{card.parameters:,}", card.for_sources, card.licence, card.summary)
        for card in cards
    ]
    talk.result_table("", ("name", "scale", "domain", "parameters", "for", "licence", "summary"), rows)
