"""Which processes are services of ours: from what /proc tells of a process. Pure."""

from collections.abc import Sequence
from typing import NamedTuple

SERVICES = ("up", "tarpit", "dnsbl", "gather", "follow", "robot", "trap")
_TAKES_VALUE = ("-c", "--config", "--log-format")


class Service(NamedTuple):
    """A running service of ours; `since_s` is seconds since the epoch."""

    name: str
    pid: int
    since_s: float


def read_argv(argv: Sequence[str]) -> tuple[str, str | None] | None:
    """Return (service, what -c says) if a command line is a service's in the foreground, else None."""
    words = list(argv)
    for at, word in enumerate(words[:6]):
        if word.rpartition("/")[2] == "spamcannibal" and _is_run(words[:at]):
            return _read_words(words[at + 1 :])
    return None


def _is_run(before: Sequence[str]) -> bool:
    """Tell whether what stands before our name runs it: nothing, an interpreter, or one with -m."""
    is_python = before[:1] == [] or "python" in before[0].rpartition("/")[2]
    return is_python and (len(before) < 2 or before[-1] == "-m")


def _read_words(words: Sequence[str]) -> tuple[str, str | None] | None:
    config, rest = None, list(words)
    while rest and rest[0].startswith("-"):
        option, joined, value = rest.pop(0).partition("=")
        if option in _TAKES_VALUE and not joined and rest:
            value = rest.pop(0)
        config = value if option in ("-c", "--config") else config
    if not rest or rest[0] not in SERVICES:
        return None
    name, *words_after = rest
    is_serving = "--lmtp" in words_after if name == "robot" else all(word.startswith("-") for word in words_after)
    return (name, config) if is_serving else None


def parse_stat(text: str) -> tuple[str, int] | None:
    """Return (state letter, start in clock ticks since boot) of /proc/PID/stat, None if it is no such text."""
    fields = text.rpartition(")")[2].split()
    if len(fields) < 20 or not fields[19].isdigit():
        return None
    return fields[0], int(fields[19])


def parse_boot_s(text: str) -> float | None:
    """Return when the system was started, from /proc/stat."""
    for line in text.splitlines():
        name, _, value = line.partition(" ")
        if name == "btime" and value.strip().isdigit():
            return float(value)
    return None
