"""Lists for programs of any kind: plain, CSV (RFC 4180), JSON lines. Pure.

plain has one address or prefix a line, `!` before an exception; the longest prefix decides, as everywhere. CSV and JSON
lines have the columns of COLUMNS; times are milliseconds since the epoch, 0 is none. CSV quotes what needs it and
changes no text: a program that takes a field beginning with `=` for a formula must be told not to.
"""

import csv
import io
import json
from collections.abc import Iterator
from itertools import chain
from typing import Any

from spamcannibal.addr import format_addr
from spamcannibal.dnsbl.export.entry import Entry
from spamcannibal.dnsbl.export.facts import Entries, Facts, Item, Lines
from spamcannibal.dnsbl.export.mta import read_exim
from spamcannibal.record import FLAG_NAMES

COLUMNS = ("key", "exception", "code", "mode", "flags", "listed_ms", "expiry_ms", "text")

read_plain = read_exim


def plain(v4: Entries, v6: Entries, facts: Facts) -> Iterator[str]:
    for entry in chain(v4, v6):
        yield f"{'' if entry.is_listed else '!'}{entry.name}\n"


def as_csv(v4: Entries, v6: Entries, facts: Facts) -> Iterator[str]:
    buffer = io.StringIO(newline="")
    writer = csv.DictWriter(buffer, COLUMNS, lineterminator="\r\n")
    writer.writeheader()
    for entry in chain(v4, v6):
        row = _row(entry)
        writer.writerow({**row, "exception": "yes" if row["exception"] else "", "flags": " ".join(row["flags"])})
        yield buffer.getvalue()
        buffer.seek(0)
        buffer.truncate()
    yield buffer.getvalue()


def jsonl(v4: Entries, v6: Entries, facts: Facts) -> Iterator[str]:
    for entry in chain(v4, v6):
        yield json.dumps(_row(entry)) + "\n"


def read_csv(lines: Lines) -> Iterator[Item]:
    """Yield (key, the row as JSON)."""
    for row in csv.DictReader(lines):
        yield row["key"], json.dumps(row)


def read_jsonl(lines: Lines) -> Iterator[Item]:
    """Yield (key, the line)."""
    for line in lines:
        yield json.loads(line)["key"], line.strip()


def _row(entry: Entry) -> dict[str, Any]:
    listing = entry.listing
    flags = [name for flag, name in FLAG_NAMES.items() if listing and listing.flags & flag]
    return {
        "key": entry.name,
        "exception": not entry.is_listed,
        "code": format_addr(entry.code) if entry.is_listed else "",
        "mode": listing.mode.name.lower() if listing else "",
        "flags": flags,
        "listed_ms": listing.listed_ms if listing else 0,
        "expiry_ms": listing.expiry_ms if listing else 0,
        "text": entry.text,
    }
