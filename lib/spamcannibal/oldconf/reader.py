"""What converting the original's files shares: where it goes, notes, and values that these settings accept. Pure."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from spamcannibal.addr import format_key, make_key
from spamcannibal.checks import LINE_LIMIT
from spamcannibal.decode import shown
from spamcannibal.dnsbl.export.tree import pieces
from spamcannibal.errors import AddrError, WireError
from spamcannibal.jobs.nets import parse_range
from spamcannibal.oldconf.perl import Node

UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
YEAR_S = 31_536_000
NEVER_LIMIT = 900_000  # of the million lines that a never-list may have

Hash = Mapping[str, Node]


@dataclass
class Imported:
    """What came of it: settings by section and key, tables, the lines of three files, and notes."""

    settings: dict[str, dict[str, Any]] = field(default_factory=dict)
    zones: list[dict[str, Any]] = field(default_factory=list)
    lists: list[dict[str, Any]] = field(default_factory=list)
    never: list[str] = field(default_factory=list)
    block: list[str] = field(default_factory=list)
    generic: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def seconds(text: str) -> int | None:
    """Return the sum of a duration as the original wrote it ("1w 3d", "90"), None if it is none."""
    text = "".join(text.lower().split())
    if re.fullmatch("[0-9]{1,12}", text):
        return int(text)
    parts = re.findall("([0-9]{1,12})([smhdw])", text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        return None
    return sum(int(number) * UNITS[unit] for number, unit in parts)


class Reader:
    """One file's values on their way."""

    def __init__(self, name: str, into: Imported) -> None:
        self.name = name
        self.into = into

    def note(self, node: Node, key: str, text: str) -> None:
        self.into.notes.append(f"{self.name}:{node.line}: {shown_plain(key)}: {text}")

    def set(self, section: str, key: str, value: Any) -> None:
        self.into.settings.setdefault(section, {})[key] = value

    def text(self, node: Node, key: str) -> str | None:
        """Return a text, None with a note if it is something else."""
        if isinstance(node.value, str):
            return node.value
        if node.value is not None:
            self.note(node, key, "not a text; left out")
        return None

    def texts(self, node: Node, key: str) -> Iterator[tuple[Node, str]]:
        """Yield the texts of a list, or the one text."""
        if isinstance(node.value, dict):
            self.note(node, key, "a hash, want a list; left out")
            return
        for item in node.value if isinstance(node.value, list) else [node]:
            text = self.text(item, key)
            if text is not None:
                yield item, text

    def line(self, node: Node, key: str) -> str:
        """Return a text that fits where the world reads it, with a note if it had to be changed; "" for none."""
        text = self.text(node, key) or ""
        fit = "".join(char if char.isascii() and char.isprintable() else "?" for char in " ".join(text.split()))
        if fit != text or len(fit) > LINE_LIMIT:
            self.note(node, key, f"changed to printable ASCII of at most {LINE_LIMIT} characters on one line")
        return fit[:LINE_LIMIT]

    def duration(self, node: Node, key: str, least: int = 60, most: int = YEAR_S) -> int | None:
        """Return seconds within bounds, None with a note if they are not."""
        text = self.text(node, key)
        value = None if text is None else seconds(text)
        if value is not None and least <= value <= most:
            return value
        if text is not None:
            self.note(node, key, f"got {shown(text)}, want {least} to {most} seconds; the default is left")
        return None

    def prefixes(self, node: Node, key: str, text: str) -> list[str]:
        """Return the prefixes that make up a line of the original's list syntax; a note if it is none."""
        try:
            size, first, last = parse_range("".join(text.split()))
        except AddrError as error:
            self.note(node, key, f"{error}; left out, as the original ignored it")
            return []
        return [
            format_key(make_key(addr.to_bytes(size, "big"), plen)) for addr, plen in pieces(size * 8, first, last + 1)
        ]

    def never(self, node: Node, key: str, text: str) -> list[str]:
        """Put the prefixes of a line into the never-list, and return them."""
        prefixes = self.prefixes(node, key, text)
        self.into.never += prefixes
        if len(self.into.never) > NEVER_LIMIT:
            raise WireError(f"{self.name}:{node.line}: {key}: makes more than {NEVER_LIMIT} prefixes")
        return prefixes

    def hash(self, node: Node, key: str) -> Hash:
        if isinstance(node.value, dict):
            return node.value
        self.note(node, key, "not a hash; left out")
        return {}


def shown_plain(key: str) -> str:
    """Return a key for a note: as it is when it prints and is short."""
    return key if key.isascii() and key.isprintable() and 0 < len(key) <= 80 else shown(key)
