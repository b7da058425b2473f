"""Regular expressions from files, with a bound on the time that a hostile text can make them take.

Python's re backtracks: `(a+)+b` tries every way to part a run of a's. What is refused is what makes such ways many:

* a repeat without an end ("+", "*", "{2,}") of a group that holds a repeat or alternatives; `(?:ab)+` is fine
* repeats with an end inside each other that multiply to more than WAYS_LIMIT ways
* more than REPEATS_LIMIT repeats without an end, or more than BROAD_LIMIT of what takes nearly anything (".", "[^…]",
  \\S, \\D, \\W); bounds of the polynomial that is left

It is a reading of the expression's tokens: it may refuse a harmless one, which can be written otherwise.
"""

import re
import warnings
from dataclasses import dataclass

from spamcannibal.decode import shown

LENGTH_LIMIT = 4000
REPEATS_LIMIT = 6
BROAD_LIMIT = 2
WAYS_LIMIT = 10_000

_TOKEN = re.compile(
    r"""(?P<atom>\\. | \[\^?\]?(?:\\.|[^]\\])*\] | (?<!\\)[^][(){}*+?|\\] | [{}\]](?![0-9,]))
    | (?P<open>\((?:\?(?:P?<[=!]?|[:=!>]|[aiLmsux-]+:?)?)?)
    | (?P<close>\))
    | (?P<repeat>(?:[*+?]|\{[0-9]*,?[0-9]*\})[?+]?)
    | (?P<choice>\|)
    | (?P<other>.)""",
    re.VERBOSE | re.DOTALL,
)
_BROAD = re.compile(r"\.|\[\^.*|\\[SDW]", re.DOTALL)


def compile_regex(text: str) -> re.Pattern[str]:
    """Return the compiled expression, case ignored; ValueError says why it can't be taken."""
    if len(text) > LENGTH_LIMIT:
        raise ValueError(f"too long, want at most {LENGTH_LIMIT} characters")
    try:
        with warnings.catch_warnings():
            # Such as POSIX classes, which Python reads as something else.
            warnings.simplefilter("error")
            compiled = re.compile(text, re.IGNORECASE)
    except (re.error, Warning, OverflowError, RecursionError) as error:
        raise ValueError(f"not a regular expression of Python: {error}, got {shown(text)}") from None
    _Reading().read(text)
    return compiled


@dataclass
class _Group:
    """What a group holds: repeats without an end, alternatives, and in how many ways its other repeats can match."""

    endless: int = 0
    choices: int = 1
    ways: int = 1  # of the alternative that is being read
    most_ways: int = 1  # of those before

    def next_choice(self) -> None:
        self.choices += 1
        self.most_ways, self.ways = max(self.most_ways, self.ways), 1


class _Reading:
    """One pass over the tokens, groups on a stack."""

    def __init__(self) -> None:
        self._open = [_Group()]
        self._last: _Group | None = None  # the group that a repeat would repeat, None for a single character
        self._is_broad = False
        self._endless = self._broad = 0

    def read(self, text: str) -> None:
        """Raise ValueError for the first thing that could take too long."""
        for match in _TOKEN.finditer(text):
            kind, token = match.lastgroup, match[0]
            if kind == "open":
                self._open.append(_Group())
            elif kind == "close" and len(self._open) > 1:
                self._close()
            elif kind == "choice":
                self._open[-1].next_choice()
            elif kind == "repeat":
                self._repeat(token)
            else:
                self._last, self._is_broad = None, _BROAD.fullmatch(token) is not None
        if self._endless > REPEATS_LIMIT:
            raise ValueError(f"too many repeats without an end, got {self._endless}, want at most {REPEATS_LIMIT}")
        if self._broad > BROAD_LIMIT:
            raise ValueError(f"too many repeats that take anything, got {self._broad}, want at most {BROAD_LIMIT}")

    def _close(self) -> None:
        self._last, self._is_broad = self._open.pop(), False
        self._last.ways = max(self._last.most_ways, self._last.ways)
        self._open[-1].endless += self._last.endless
        self._open[-1].ways *= self._last.ways

    def _repeat(self, token: str) -> None:
        least, most = _bounds(token.rstrip("?+") or token[0])
        last, around = self._last, self._open[-1]
        if most is None:
            if last and (last.endless or last.ways > 1 or last.choices > 1):
                raise ValueError(f"{token} after a group that holds repeats or alternatives could take for ever")
            self._endless += 1
            self._broad += self._is_broad
            around.endless += 1
            return
        if most > 1 and last and last.endless:
            raise ValueError(f"{token} after a group that holds a repeat without an end could take for ever")
        each = last.ways * last.choices if last and most > 1 else 1
        around.ways *= (most - least + 1) * each ** min(most, 64)
        if most > 1 and around.ways > WAYS_LIMIT:
            raise ValueError(f"{token}: too many ways to match, want at most {WAYS_LIMIT}")


def _bounds(token: str) -> tuple[int, int | None]:
    """Return least and most of a quantifier, None for no end."""
    if token in ("*", "+", "?"):
        return int(token == "+"), 1 if token == "?" else None
    least, comma, most = token[1:-1].partition(",")
    low = int(least or 0)
    return low, int(most) if most else None if comma else low
