"""Figures -> the text of /metrics, as our other exporters write it; and those of exports, from the files they keep."""

import re
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from spamcannibal import __version__
from spamcannibal.dnsbl.export.outlet import HELP as OUTLET_HELP
from spamcannibal.dnsbl.export.outlet import PREFIX as OUTLET_PREFIX
from spamcannibal.dnsbl.metrics import family, labels
from spamcannibal.web.metrics_facts import Fact
from spamcannibal.web.metrics_words import HELP, PREFIX, Requests

FILES_LIMIT, FILE_LIMIT_BYTES = 200, 1 << 20
_TEXT = r'"(?:[^"\\\n]|\\["\\n])*"'
_OUTLET_LINE = re.compile(rf"{OUTLET_PREFIX}([a-z_]+)(\{{(?:[a-z_]+={_TEXT},?)+\}}) (\S+)")

Samples = dict[str, list[tuple[str, float]]]


def exposition(facts: Iterable[Fact], requests: Requests, metrics_dir: str) -> str:
    """Return the text: figures, what this process counted, and what exports left in a directory ("": none)."""
    build = Fact("build_info", {"version": __version__, "python": sys.version.partition(" ")[0]}, 1)
    samples: Samples = {}
    for name, words, value in (build, *facts):
        samples.setdefault(name, []).append((labels(words) if words else "", value))
    samples["web_requests_total"] = [
        (labels({"part": part, "status": str(status)}), count) for (part, status), count in requests.totals()
    ]
    parts = [*(line for name, found in samples.items() for line in family(PREFIX + name, HELP[name], found))]
    parts += _histogram(requests)
    for name, found in outlets(metrics_dir).items():
        parts += family(OUTLET_PREFIX + name, OUTLET_HELP[name], found)
    return "".join(parts)


def outlets(folder: str) -> Samples:
    """Return what exports tell in their files; what can't be read, or is no metric of theirs, is left out."""
    found: dict[str, dict[str, float]] = {}
    for path in sorted(Path(folder).glob("*.prom"))[:FILES_LIMIT] if folder else ():
        for name, words, value in _lines(path):
            found.setdefault(name, {}).setdefault(words, value)
    return {name: list(values.items()) for name, values in found.items()}


def _lines(path: Path) -> Iterator[tuple[str, str, float]]:
    try:
        with path.open("rb") as stream:
            text = stream.read(FILE_LIMIT_BYTES).decode("utf-8", "replace")
    except OSError:
        return
    for line in text.split("\n"):
        match = _OUTLET_LINE.fullmatch(line)
        if match and match[1] in OUTLET_HELP:
            try:
                yield match[1], match[2], float(match[3])
            except ValueError:
                continue


def _histogram(requests: Requests) -> Iterator[str]:
    name = f"{PREFIX}web_request_seconds"
    yield f"# HELP {name} {HELP['web_request_seconds']}\n# TYPE {name} histogram\n"
    for each in requests.spans():
        for bound, count in each.buckets():
            yield f"{name}_bucket{labels({'part': each.part, 'le': bound})} {count}\n"
        words = labels({"part": each.part})
        yield f"{name}_sum{words} {each.total_s:.6g}\n{name}_count{words} {sum(each.counts)}\n"
