"""What a job did: numbers, and the addresses that it did something about. Pure.

The same report comes from a dry run. Rows are bounded, numbers are not.
"""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

ROWS_LIMIT = 10_000
DOUBTS_SHOWN = 3
UNSURE = "unsure"  # done of whom nothing was done about: minor
# What is no news: it happens with every run.
ROUTINE = {"passed", "fresh", "listed_already", "never_listed", "next_run", "unsure", "kept", "not_due"}


@dataclass
class Report:
    """One run of a job.

    `doubts` says of how many addresses who kept it from being sure, `trips` are the breakers that it met, `unavailable`
    says why it ended early.
    """

    job: str
    is_dry: bool = False
    counts: Counter[str] = field(default_factory=Counter)
    zones: Counter[str] = field(default_factory=Counter)
    doubts: Counter[str] = field(default_factory=Counter)
    rows: list[dict[str, Any]] = field(default_factory=list)
    trips: list[str] = field(default_factory=list)
    is_stopped: bool = False
    unavailable: str = ""

    def note(self, key: bytes, done: str, is_minor: bool = False, **fields: Any) -> None:
        """Note what was done about a key; of minor notes half as many have room."""
        if len(self.rows) < (ROWS_LIMIT // 2 if is_minor else ROWS_LIMIT):
            self.rows.append({"key": key, "done": done, **fields})

    @property
    def exit_code(self) -> int:
        """75: the network is down; 1: a breaker; 0 otherwise."""
        return 75 if self.unavailable else 1 if self.trips else 0

    @property
    def has_news(self) -> bool:
        """Tell whether anybody must hear of it: the list changed, something was cleared away, or a breaker was met."""
        return bool(self.trips) or any(count for name, count in self.counts.items() if name not in ROUTINE)

    def summary(self) -> str:
        """Return the one line of it all: what was done, then what was not."""
        dry = " (dry run)" if self.is_dry else ""
        numbers = ", ".join(f"{name.replace('_', ' ')} {count}" for name, count in self.counts.items() if count)
        worst = ", ".join(f"{who} {count}" for who, count in self.doubts.most_common(DOUBTS_SHOWN))
        doubts = f"; no answer from {worst}" if worst else ""
        end = "; stopped, the rest is for the next run" if self.is_stopped else ""
        return f"{self.job}{dry}: {numbers or 'nothing to do'}{doubts}{end}"

    def document(self) -> dict[str, Any]:
        """Return all of it as what JSON holds, but for keys, which are bytes."""
        return {
            "job": self.job,
            "dry_run": self.is_dry,
            "counts": dict(self.counts),
            "zones": dict(self.zones.most_common()),
            "no_answer": dict(self.doubts.most_common()),
            "breakers": self.trips,
            "stopped": self.is_stopped,
            "unavailable": self.unavailable or None,
            "rows": self.rows,
        }
