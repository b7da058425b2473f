"""A finding: what was looked at, how it is, and what would cure it. Pure.

A fact that could not be had is Untold (nobody knows, perhaps all is well) or Wrong (that it could not be had is the
fault itself); both say why, and Wrong perhaps its cure.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum

PROBLEM_EXIT = 1
SHOWN = 3


class State(IntEnum):
    """The higher, the worse."""

    OK = 0
    UNKNOWN = 1
    WARNING = 2
    BAD = 3


@dataclass(frozen=True)
class Untold:
    why: str


@dataclass(frozen=True)
class Wrong:
    why: str
    cure: str = ""


@dataclass(frozen=True)
class Finding:
    """`check` names what was looked at; `cure` is a command or a setting, empty if nothing need be done."""

    check: str
    state: State
    found: str
    cure: str = ""


def excuse(check: str, fact: Untold | Wrong, cure: str) -> Finding:
    """Return the finding about a fact that could not be had; `cure` is for one that names none."""
    if isinstance(fact, Wrong):
        return Finding(check, State.BAD, fact.why, fact.cure or cure)
    return Finding(check, State.UNKNOWN, fact.why, cure)


def exit_code(findings: Iterable[Finding]) -> int:
    """Return 1 if anything is bad, else 0."""
    return PROBLEM_EXIT if any(finding.state is State.BAD for finding in findings) else 0


def some(names: Iterable[str]) -> str:
    """Name the first few, and say how many more there are."""
    names = list(names)
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more
