"""Shared by the benches: pairs of measurements, progress, and the report that ends with one line of JSON.

A pair is this program's number and a named peer's, taken one right after the other in the same run, so that a busy
machine slows both. Of a name's pairs the median ratio counts; minimum and maximum are its spread. `a_vs_b` are speeds
(over 1: a is faster), `a_cost_vs_b` costs (under 1: a is cheaper).
"""

import json
import math
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from statistics import median

LEAST_PAIRS = 5
NICE = -15


class Pairs:
    """Pairs of numbers by the name of their ratio."""

    def __init__(self) -> None:
        self._pairs: dict[str, list[tuple[float, float]]] = {}

    def add(self, name: str, this: float, peer: float) -> None:
        """Note one pair; neither number is 0."""
        self._pairs.setdefault(name, []).append((this, peer))

    def run(self, name: str, this: Callable[[], float], peer: Callable[[], float], turn: int) -> None:
        """Measure both and note the pair; who goes first changes with the turn, and a negative one only warms up."""
        if turn % 2:
            peer_got, this_got = peer(), this()
        else:
            this_got, peer_got = this(), peer()
        if turn >= 0:
            self.add(name, this_got, peer_got)

    def ratios(self) -> dict[str, list[float]]:
        """Give minimum, median and maximum of each ratio; ValueError for a name with too few pairs."""
        result = {}
        for name, pairs in self._pairs.items():
            if len(pairs) < LEAST_PAIRS:
                raise ValueError(f"{name}: got {len(pairs)} pairs, want at least {LEAST_PAIRS}")
            ratios = [this / peer for this, peer in pairs]
            result[name] = [_rounded(value) for value in (min(ratios), median(ratios), max(ratios))]
        return result

    def medians(self) -> dict[str, float]:
        """Give the numbers themselves: NAME_this and NAME_peer, each the median."""
        return {
            f"{name}_{side}": _rounded(median(pair[i] for pair in pairs))
            for name, pairs in self._pairs.items()
            for i, side in enumerate(("this", "peer"))
        }


def report(bench: str, pairs: Pairs, figures: Mapping[str, float]) -> None:
    """Print a table for people and, as the last line, the JSON for machines."""
    progress_line("")
    ratios = pairs.ratios()
    width = max(map(len, [*ratios, *figures, bench]))
    print(f"{bench:{width}}  {'min':>10} {'median':>10} {'max':>10}")
    for name, values in ratios.items():
        print(f"{name:{width}}  " + " ".join(f"{value:>10}" for value in values))
    for name, figure in figures.items():
        print(f"{name:{width}}  {'':10} {_rounded(figure):>10}")
    document = {
        "bench": bench,
        "ratio": {name: middle for name, (_, middle, _) in ratios.items()},
        "spread": {name: [low, high] for name, (low, _, high) in ratios.items()},
        "figures": {name: _rounded(figure) for name, figure in figures.items()},
    }
    print(json.dumps(document), flush=True)


def progress_line(text: str) -> None:
    """Say on standard error what goes on: overwritten by the next one on a terminal, lines elsewhere, "" ends it."""
    if sys.stderr.isatty():
        sys.stderr.write(f"\r\033[K{text}")
    elif text:
        sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


def prefer_us() -> None:
    """Leave the other processes of a shared machine a small share of the CPUs, by session where it goes by that."""
    os.setpriority(os.PRIO_PROCESS, 0, NICE)
    group = Path("/proc/self/autogroup")
    if group.exists():
        group.write_text(str(NICE))


def percentile(values: list[float], percent: float) -> float:
    """Give the smallest value that this percentage of all do not exceed."""
    return sorted(values)[max(0, math.ceil(len(values) * percent / 100) - 1)]


def _rounded(value: float) -> float:
    """Keep four significant digits of a fraction, and integers as they are."""
    return value if isinstance(value, int) else float(f"{value:.4g}")
