"""Event lines: whatever a value holds, a line is one line, and text can be split again."""

import contextlib
import io
import json
import shlex
from enum import IntEnum
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spamcannibal.addr import parse_addr, parse_key
from spamcannibal.events import TEXT_LIMIT, EventLog, format_event


class Mode(IntEnum):
    STUTTER = 3


FIELDS = {"src": (parse_addr("1.2.3.4"), 4312), "dst": (parse_addr("2001:db8::1"), 25), "mode": Mode.STUTTER}
VALUES = st.one_of(st.text(max_size=700), st.integers(), st.floats(), st.booleans(), st.none(), st.binary(max_size=20))
KEYS = st.from_regex(r"[a-z_]{1,10}", fullmatch=True).filter(lambda key: key not in ("event", "time"))


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("plain", "plain"),
        ("", '""'),
        ("two words", '"two words"'),
        ('say "x"', r'"say \"x\""'),
        ("a\nTRAP src=1.1.1.1:1", r'"a\nTRAP src=1.1.1.1:1"'),
        ("a=b", '"a=b"'),
        ("tab\t\x1b[31m\x7f\x9b", r'"tab\t\u001b[31m\u007f\u009b"'),
        ("\u2028ü\ud800", r'"\u2028\u00fc\ud800"'),
        (12, "12"),
        (0.5, "0.5"),
        (True, "true"),
        (float("inf"), "inf"),
        (parse_addr("1.2.3.4"), "1.2.3.4"),
        (parse_key("2001:db8::/64"), "2001:db8::/64"),
        (b"\xff\0\1", "ff0001"),
        (Mode.STUTTER, "stutter"),
        ("x" * 5000, "x" * (TEXT_LIMIT - 3) + "..."),
    ],
)
def test_a_value_is_bare_or_quoted(value, text):
    assert format_event("TEST", {"key": value}) == f"TEST key={text}"


def test_an_event_is_verb_and_fields_in_order():
    assert format_event("TRAP", FIELDS) == "TRAP src=1.2.3.4:4312 dst=[2001:db8::1]:25 mode=stutter"
    assert json.loads(format_event("TRAP", FIELDS, "json", 12.3456)) == {
        "time": 12.346, "event": "TRAP", "src": "1.2.3.4:4312", "dst": "[2001:db8::1]:25", "mode": "stutter",
    }  # fmt: skip


def test_a_field_that_is_none_is_left_out():
    assert format_event("UP", {"a": None, "b": 0}) == "UP b=0"


@given(st.dictionaries(KEYS, VALUES), st.sampled_from(["text", "json"]))
def test_no_value_can_break_a_line(fields, fmt):
    line = format_event("TEST", fields, fmt, 1.0)
    assert line.isascii() and line.isprintable()
    kept = [key for key, value in fields.items() if value is not None]
    if fmt == "json":
        assert list(json.loads(line)) == ["time", "event", *kept]
    else:
        assert [word.partition("=")[0] for word in shlex.split(line)] == ["TEST", *kept]


@given(st.text(max_size=TEXT_LIMIT))
def test_text_comes_back_from_a_text_line(value):
    shown = format_event("TEST", {"key": value}).removeprefix("TEST key=")
    assert (json.loads(shown) if shown.startswith('"') else shown) == value


class Clock:
    now = 100.0

    def __call__(self):
        return self.now


def test_a_verb_past_its_rate_is_counted_and_told_in_the_next_second():
    stream, clock = io.StringIO(), Clock()
    log = EventLog(stream, limit_per_s=3, clock=clock)
    for number in range(10):
        log.emit("TRAP", n=number)
    log.emit("UP")
    assert stream.getvalue().splitlines() == ["TRAP n=0", "TRAP n=1", "TRAP n=2", "UP"]
    clock.now += 1
    log.emit("TRAP", n=10)
    assert stream.getvalue().splitlines()[4:] == ["SUPPRESSED verb=TRAP count=7", "TRAP n=10"]


def test_a_flush_tells_what_was_suppressed_once():
    stream = io.StringIO()
    log = EventLog(stream, limit_per_s=1, clock=Clock())
    for _ in range(4):
        log.emit("TRAP")
    log.flush()
    log.flush()
    log.emit("TRAP")
    log.flush()
    assert stream.getvalue().splitlines() == ["TRAP", "SUPPRESSED verb=TRAP count=3", "SUPPRESSED verb=TRAP count=1"]


def test_without_a_limit_nothing_is_suppressed():
    stream = io.StringIO()
    log = EventLog(stream, limit_per_s=0, clock=Clock())
    for _ in range(1000):
        log.emit("TRAP")
    log.flush()
    assert stream.getvalue() == "TRAP\n" * 1000


def test_a_stream_that_fails_costs_the_line_and_not_the_caller():
    stream = io.StringIO()
    stream.close()
    full = Path("/dev/full").open("w")  # noqa: SIM115 - closing it fails too
    for broken in (stream, full):
        log = EventLog(broken, clock=Clock())
        log.emit("TRAP")
        assert log.lost == 1
    with contextlib.suppress(OSError):
        full.close()
