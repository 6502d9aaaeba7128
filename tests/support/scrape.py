"""What a monitoring system reads from `/metrics`: the text parsed, and single figures looked up in it."""

from __future__ import annotations

from dataclasses import dataclass

from prometheus_client.parser import text_string_to_metric_families


@dataclass(frozen=True, slots=True)
class Scrape:
    """Samples by name and labels, and each family's kind."""

    samples: dict[tuple[str, frozenset[tuple[str, str]]], float]
    kinds: dict[str, str]

    def value(self, name: str, **labels: str) -> float | None:
        """Return one sample, None where it is not there."""
        return self.samples.get((name, frozenset(labels.items())))

    def total(self, name: str, **labels: str) -> float:
        """Return the sum of all samples of a name that have these labels."""
        wanted = set(labels.items())
        return sum(value for (one, has), value in self.samples.items() if one == name and wanted <= has)

    def labels(self, name: str) -> list[dict[str, str]]:
        """Return the labels of all samples of a name."""
        return [dict(has) for one, has in self.samples if one == name]

    @property
    def names(self) -> set[str]:
        """Return the names of all samples, as a query names them."""
        return {name for name, _ in self.samples}


def read(text: str) -> Scrape:
    """Parse Prometheus' text; what is there twice fails."""
    samples: dict[tuple[str, frozenset[tuple[str, str]]], float] = {}
    kinds: dict[str, str] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            key = (sample.name, frozenset(sample.labels.items()))
            assert key not in samples, f"{key} is there twice"
            samples[key] = sample.value
            kinds[sample.name] = family.type
    return Scrape(samples, kinds)
