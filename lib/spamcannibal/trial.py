"""How good a source's listings on trial are, from what was seen of them: counts in, a judgement out. Pure.

Judged is each entry that was seen at work (its packets came, or mail of its clients was accepted or spoken against):

| it is | if |
|---|---|
| wrong | mail of its clients was accepted: whatever else was seen, somebody would have missed it |
| right | none was, and a mail server's log speaks against a client, or another source lists the same for good |
| unknown | neither: it counts for nothing |

Right are also the entries that another source has listed for good since, in their place. Of right and wrong ones the
precision is a guess from a sample, so a source is measured by what that guess assures: the lower end of Wilson's
interval, one-sided, at 95 %. 20 right of 20 assure 0.88, 100 of 100 assure 0.974.

A source is good enough if that reaches `precision`, at least `observations` were judged, they are at least the share
`judged` of what was seen (or the sample would be of those that happen to be easy to tell), and logs with accepted mail
were fed lately: without them nothing could ever be wrong. Source of the formula: E. B. Wilson, JASA 22 (1927), 209.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from math import sqrt
from typing import NamedTuple

Z_95 = 1.6449  # one-sided


class Seen(NamedTuple):
    """What was seen of one entry on trial."""

    contacts: int
    accepted: int
    rejected: int
    is_listed: bool  # by another source, for good


class Terms(NamedTuple):
    """What a source must reach."""

    precision: float = 0.95
    observations: int = 50
    judged: float = 0.2
    logs_age_s: float = 7 * 86_400.0


@dataclass
class Measure:
    """What was seen of one source's entries."""

    contacts: int = 0
    right: int = 0
    wrong: int = 0
    unknown: int = 0
    mails: int = 0

    @property
    def observations(self) -> int:
        return self.right + self.wrong

    @property
    def precision(self) -> float | None:
        return self.right / self.observations if self.observations else None

    @property
    def assured(self) -> float:
        """The least precision that the observations leave likely."""
        return wilson(self.right, self.observations)

    @property
    def judged(self) -> float:
        """The share of what was seen that is right or wrong."""
        seen = self.observations + self.unknown
        return self.observations / seen if seen else 0.0


def judge(seen: Seen) -> str:
    """Return right, wrong or unknown."""
    if seen.accepted:
        return "wrong"
    return "right" if seen.rejected or seen.is_listed else "unknown"


def measure(entries: Iterable[Seen], confirmed: int = 0) -> Measure:
    """Add up what was seen of a source's entries, and those that others have listed for good since."""
    total = Measure(right=confirmed)
    for seen in entries:
        verdict = judge(seen)
        total.contacts += seen.contacts
        total.mails += seen.accepted
        setattr(total, verdict, getattr(total, verdict) + 1)
    return total


def shortfalls(found: Measure, terms: Terms, logs_age_s: float | None) -> list[str]:
    """Say what keeps a source from being good enough, nothing if it is; `logs_age_s` is None if none were fed."""
    short = []
    if logs_age_s is None:
        short.append("no logs with accepted mail were fed: spamcannibal replay --lists LOGS --keep")
    elif logs_age_s > terms.logs_age_s:
        short.append(
            f"the logs fed end {logs_age_s / 86_400:.1f} d ago, want at most {terms.logs_age_s / 86_400:.1f} d"
        )
    if found.observations < terms.observations:
        short.append(f"{found.observations} observations, want {terms.observations}")
    if found.judged < terms.judged:
        short.append(f"{found.judged:.1%} of what was seen is judged, want {terms.judged:.1%}")
    if found.assured < terms.precision:
        short.append(f"assured precision {found.assured:.4f}, want {terms.precision:g}")
    return short


def wilson(good: int, count: int) -> float:
    """Return the lower end of the interval of good / count; 0 of nothing."""
    if not count:
        return 0.0
    share, square = good / count, Z_95 * Z_95
    middle = share + square / (2 * count)
    spread = Z_95 * sqrt(share * (1 - share) / count + square / (4 * count * count))
    return max(0.0, (middle - spread) / (1 + square / count))
