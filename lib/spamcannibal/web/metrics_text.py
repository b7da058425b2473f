"""Figures -> the text of /metrics, by prometheus_client; and the figures of exports, from the files they keep."""

import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

from spamcannibal import __version__
from spamcannibal.web.metrics_facts import Fact
from spamcannibal.web.metrics_words import HELP, PREFIX, Requests

OUTLET = "spamcannibal_outlet_"
FILES_LIMIT, FILE_LIMIT_CHARS = 200, 1 << 20


def exposition(facts: Iterable[Fact], requests: Requests, metrics_dir: str) -> bytes:
    """Return the text: figures, what this process counted, and what exports left in a directory ("": none)."""
    registry = CollectorRegistry()
    registry.register(_Given([*_families(facts), *_own(requests), *outlets(metrics_dir)]))
    return generate_latest(registry)


class _Given(Collector):
    """A collector of what was collected."""

    def __init__(self, families: list[Metric]) -> None:
        self._families = families

    def collect(self) -> Iterator[Metric]:
        return iter(self._families)


def _families(facts: Iterable[Fact]) -> list[Metric]:
    made: dict[str, Metric] = {}
    build = Fact("build_info", {"version": __version__, "python": sys.version.partition(" ")[0]}, 1)
    for name, labels, value in (build, *facts):
        if name not in made:
            kind = CounterMetricFamily if name.endswith("_total") else GaugeMetricFamily
            made[name] = kind(PREFIX + name, HELP[name])
        made[name].add_sample(PREFIX + name, labels, value)
    return list(made.values())


def _own(requests: Requests) -> Iterator[Metric]:
    counts = CounterMetricFamily(f"{PREFIX}web_requests", HELP["web_requests_total"], labels=("part", "status"))
    for (part, status), count in requests.totals():
        counts.add_metric((part, str(status)), count)
    spans = HistogramMetricFamily(f"{PREFIX}web_request_seconds", HELP["web_request_seconds"], labels=("part",))
    for each in requests.spans():
        spans.add_metric((each.part,), each.buckets(), each.total_s)
    yield counts
    yield spans


def outlets(folder: str) -> list[Metric]:
    """Return what exports tell in their files; what can't be read, or is no metric of theirs, is left out."""
    found: dict[str, Metric] = {}
    for path in sorted(Path(folder).glob("*.prom"))[:FILES_LIMIT] if folder else ():
        try:
            with path.open(encoding="utf-8") as stream:
                families = list(text_string_to_metric_families(stream.read(FILE_LIMIT_CHARS)))
        except (OSError, ValueError):
            continue
        for family in families:
            if family.name.startswith(OUTLET) and family.type in ("counter", "gauge"):
                _merge(found, family)
    return list(found.values())


def _merge(found: dict[str, Metric], family: Metric) -> None:
    """Add a family's samples, each once."""
    into = found.setdefault(family.name, Metric(family.name, family.documentation, family.type))
    have = {(sample.name, tuple(sorted(sample.labels.items()))) for sample in into.samples}
    for sample in family.samples:
        key = sample.name, tuple(sorted(sample.labels.items()))
        if key not in have:
            have.add(key)
            into.add_sample(sample.name, sample.labels, sample.value)
