"""Old logs of reports, as socat wrote them to karma.log: lines -> how often each address has each colour. Pure."""

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from spamcannibal.gather.decision import ORDER
from spamcannibal.gather.line import Refused, Said, parse_line


class Counted(NamedTuple):
    """What a log holds: lines, those refused by why, and how often a key has a colour."""

    lines: int
    refused: dict[str, int]
    colours: dict[bytes, Counter[str]]


def count_lines(lines: Iterable[bytes], v6_plen: int) -> Counted:
    """Count the lines of a log."""
    total, refused, colours = 0, Counter[str](), dict[bytes, Counter[str]]()
    for line in lines:
        total += 1
        said = parse_line(line.removesuffix(b"\n"), v6_plen)
        if isinstance(said, Said):
            colours.setdefault(said.report.key, Counter())[said.report.colour] += 1
        else:
            refused[said.why if isinstance(said, Refused) else "question"] += 1
    return Counted(total, dict(refused), colours)


def verdicts(colours: Mapping[bytes, Mapping[str, int]], at_least: int) -> dict[bytes, str]:
    """Return the colour of each key that has one: black needs so many lines, else it is brown."""
    found = {}
    for key, counts in colours.items():
        colour = next(colour for colour in ORDER if counts.get(colour))
        found[key] = "brown" if colour == "black" and counts["black"] < at_least else colour
    return found
