"""Event lines: one line an event, `TRAP src=1.2.3.4:4312 dst=5.6.7.8:25 mode=stutter`, from which every report is made.

| value | text form | JSON form |
|---|---|---|
| bytes | an addr or store key as text, else hexadecimal | the same as a string |
| (addr, port) | 1.2.3.4:25, [2001:db8::1]:25 | the same as a string |
| str | as it is if printable ASCII without space, quote, = or \\; else quoted and escaped as in JSON | a string |
| Enum | its name in lower case | the same as a string |
| bool, int, float | true, 12, 0.5 | the JSON value |
| None | the field is left out | the field is left out |

A peer's own bytes must come as str, so that they are escaped. Whatever a value holds, a line is printable ASCII without
a line end, and a text value is at most TEXT_LIMIT characters before escaping. In JSON the verb is "event" and the time
"time", seconds since the epoch; text has no time, since journald and syslog stamp each line themselves.
"""

import json
import math
import re
import threading
import time
from collections.abc import Callable, Mapping
from enum import Enum
from typing import Any, TextIO

from spamcannibal.addr import format_endpoint, format_key
from spamcannibal.errors import AddrError

TEXT_LIMIT = 512
LIMIT_PER_S = 200

_BARE = re.compile(r"[!#-<>-\[\]-~]+")


def format_event(verb: str, fields: Mapping[str, Any], fmt: str = "text", now: float | None = None) -> str:
    """Return the line of an event without its end, `fmt` is "text" or "json"; `now` is for JSON only."""
    plain = {key: _plain(value) for key, value in fields.items() if value is not None}
    if fmt == "json":
        stamp = {} if now is None else {"time": round(now, 3)}
        return json.dumps({**stamp, "event": verb, **plain}).replace("\x7f", "\\u007f")
    return " ".join([verb, *(f"{key}={_text(value)}" for key, value in plain.items())])


class EventLog:
    """Events as lines on a stream, at most `limit_per_s` of each verb a second; 0 is no limit.

    What is suppressed is counted and told as `SUPPRESSED verb=TRAP count=123`, by the first event or flush of a later
    second. May be shared by threads. A stream that fails costs the line, not the caller: `lost` counts these.
    """

    def __init__(
        self,
        stream: TextIO,
        fmt: str = "text",
        limit_per_s: int = LIMIT_PER_S,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.lost = 0
        self._stream = stream
        self._fmt = fmt
        self._limit_per_s = limit_per_s
        self._clock = clock
        self._second = 0
        self._counts: dict[str, int] = {}
        self._lock = threading.Lock()

    def emit(self, verb: str, /, **fields: Any) -> None:
        """Write an event, or count it if its verb has had its share of this second."""
        now = self._clock()
        with self._lock:
            self._turn(now)
            count = self._counts.get(verb, 0) + 1
            self._counts[verb] = count
            if not self._limit_per_s or count <= self._limit_per_s:
                self._write(verb, fields, now)

    def flush(self) -> None:
        """Tell what was suppressed so far."""
        with self._lock:
            self._report(self._clock())

    def _turn(self, now: float) -> None:
        if int(now) != self._second:
            self._report(now)
            self._counts.clear()
            self._second = int(now)

    def _report(self, now: float) -> None:
        for verb, count in self._counts.items():
            if self._limit_per_s and count > self._limit_per_s:
                self._write("SUPPRESSED", {"verb": verb, "count": count - self._limit_per_s}, now)
        self._counts = {verb: min(count, self._limit_per_s) for verb, count in self._counts.items()}

    def _write(self, verb: str, fields: Mapping[str, Any], now: float) -> None:
        try:
            # One call a line, so that lines of several processes on one pipe do not mix.
            self._stream.write(format_event(verb, fields, self._fmt, now) + "\n")
            self._stream.flush()
        except (OSError, ValueError):
            self.lost += 1


def _plain(value: Any) -> str | int | float | bool:
    """Return a field's value as what JSON holds."""
    if isinstance(value, Enum):
        return value.name.lower()
    if isinstance(value, tuple):
        return format_endpoint(*value)
    if isinstance(value, bytes | bytearray | memoryview):
        return _key_text(bytes(value))
    if isinstance(value, bool | int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    text = str(value)
    return text if len(text) <= TEXT_LIMIT else text[: TEXT_LIMIT - 3] + "..."


def _key_text(key: bytes) -> str:
    try:
        return format_key(key)
    except AddrError:
        return key[: TEXT_LIMIT // 2].hex()


def _text(value: str | int | float | bool) -> str:
    """Return a plain value for a text line: bare where that is unambiguous, else as a JSON string."""
    if isinstance(value, str) and _BARE.fullmatch(value):
        return value
    return json.dumps(value).replace("\x7f", "\\u007f")
