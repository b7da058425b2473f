"""`spamcannibal follow`: signs in logs, and files that grow, rotate and are cut while we read, stop and go on."""

import json
import re
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from spamcannibal.addr import parse_addr, parse_key
from spamcannibal.commands import main
from spamcannibal.errors import ConfigError, StoreError, Unavailable
from spamcannibal.gather import places
from spamcannibal.gather import tail as tail_module
from spamcannibal.gather.follower import LogFollower, Manner
from spamcannibal.gather.signs import Sign, Signs, compiled, decode_signs
from spamcannibal.gather.stamp import Clock, age_s
from spamcannibal.gather.storms import Storms
from spamcannibal.gather.tail import Tail

SHIPPED = Path(__file__).parent.parent / "conf" / "log-signs.toml"
PROBLEMS: list[str] = []
SIGNS = decode_signs(SHIPPED.read_text("utf-8"), "log-signs.toml", PROBLEMS)
ONE = '[[sign]]\nname="a"\nfind="{}"\nmatch="{}"\ncolour="{}"\nreason="r"'
TRUE = {parse_addr("192.0.2.7"), parse_addr("2001:db8::7")}


def test_the_shipped_file_is_right_and_each_sign_has_examples():
    assert PROBLEMS == []
    assert len({sign.name for sign in SIGNS}) == len(SIGNS) >= 20
    assert all(sign.examples for sign in SIGNS)


@pytest.mark.parametrize("sign", SIGNS, ids=lambda sign: sign.name)
def test_examples_show_their_sign_and_the_client_s_address(sign):
    for example in sign.examples:
        (shown,) = Signs([Sign(**{**_dict(sign), "on": True})]).look(example.encode())
        assert shown.addr in TRUE
        assert sign.find in example
    for other in sign.others:
        assert {shown.addr for shown in Signs([sign]).look(other.encode())} <= TRUE


def test_what_rests_on_other_lists_is_off():
    assert {sign.name for sign in SIGNS if not sign.on} == {"postscreen-dnsbl", "postfix-dnsbl"}


@pytest.mark.parametrize("sign", SIGNS, ids=lambda sign: sign.name)
def test_nothing_that_a_peer_says_passes_for_its_address(sign):
    """Whatever stands in a peer's words (HELO, sender, recipient, user), the address is the server's or none."""
    hostile = "x [8.8.8.8]", "[8.8.8.8]", "a>, rip=8.8.8.8, lip=9", "8.8.8.8]: 550 5.1.1 ", '"<> [8.8.8.8]:25 F=<a> '
    patched = Signs([Sign(**{**_dict(sign), "on": True})])
    for example in sign.examples:
        for word in re.findall(r"(?:F=|to=|from=|helo=|user=|arg1=|RCPT )<([^<>]*)>|\(([^()\s]*)\) \[", example):
            said = next(filter(None, word), "")
            if not said:
                continue
            for text in hostile:
                line = example.replace(said, text, 1).encode()
                assert {shown.addr for shown in patched.look(line)} <= TRUE, line


def _dict(sign):
    return {name: getattr(sign, name) for name in sign.__struct_fields__}


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ('[[sign]]\nname="a"', "sign[0].find: missing"),
        ("[sign]\n", "want tables"),
        ("[[signs]]\n", "did you mean sign"),
        ("x = [", "not TOML"),
        (ONE.format("abcd", "x {addr}", "black"), "want {syslog} or {exim} first"),
        (ONE.format("abcd", "{exim}", "black"), "got 0 of {addr}, want one"),
        (ONE.format("abcd", "{exim}({addr}", "black"), "not a regular expression"),
        (ONE.format("abc", "{exim}{addr}", "black"), "at least 4 characters"),
        (ONE.format("abcd", "{exim}{addr}", "pink"), "want one of black"),
    ],
)
def test_wrong_signs_are_told_and_left_out(text, problem):
    problems: list[str] = []
    assert decode_signs(text, "f", problems) == []
    assert len(problems) >= 1 and problem in problems[0]


def test_every_shipped_pattern_comes_to_an_end_with_hostile_lines():
    """One that tries all ways would run into the test's time-out."""
    syslog = "Nov 24 13:30:44 mx "
    heads = f"{syslog}postfix/smtpd[9]: ", "2026-11-24 13:30:44 H=", f"{syslog}dovecot: imap-login: "
    for sign in SIGNS:
        pattern = compiled(sign.match)
        for head in heads:
            for filler in ("(", "[", "a", " ", "rip=", "<", "1.2.3.4", "(auth failed, 1 attempts: user=<, rip="):
                line = head + filler * (8000 // len(filler)) + sign.find
                assert pattern.match(line.encode()) is None


@given(st.binary(max_size=400))
def test_any_bytes_are_looked_at_without_an_error(data):
    block = b"Nov 24 13:30:44 mx postfix/smtpd[9]: NOQUEUE: reject: RCPT from " + data + b"\nSASL " + data
    list(Signs(SIGNS).look(block))


LINE = b"Nov 24 13:30:44 mx postfix/postscreen[8]: PREGREET 14 after 0 from [%s]:5: x\n"


def test_signs_are_found_line_by_line_in_a_block():
    good = [LINE % f"192.0.2.{number}".encode() for number in (1, 2, 3)]
    block = b"nothing\n" + good[0] + b"x" * 300 + b"\n" + good[1] + LINE % b"bad" + good[2]
    assert [shown.addr[-1] for shown in Signs(SIGNS).look(block)] == [1, 2, 3]
    assert list(Signs([]).look(block)) == []
    assert list(Signs(SIGNS).look(b"x" * 9000 + LINE % b"192.0.2.1")) == []


# When a line was written.


NOW = datetime(2026, 1, 1, 0, 10, tzinfo=UTC).timestamp()


@pytest.mark.parametrize(
    ("line", "ahead_s", "age"),
    [
        (b"Jan  1 00:09:00 h x", 0, 60),
        (b"Jan  1 01:09:00 h x", 3600, 60),
        (b"Dec 31 23:59:00 h x", 0, 660),
        (b"Jan  1 00:20:00 h x", 0, -600),
        (b"2026-01-01T01:00:00.5+01:00 h x", 7200, 600),
        (b"2026-01-01T00:00:00Z h x", 7200, 600),
        (b"2025-12-31T19:30:00-04:30 h x", 0, 600),
        (b"2026-01-01 01:00:00 H=x", 3600, 600),
        (b"2025-12-31 23:00:00 -0100 H=x", 0, 600),
        (b"Foo  1 00:09:00 h x", 0, None),
        (b"garbage", 0, None),
        (b"", 0, None),
    ],
)
def test_the_age_of_a_line(line, ahead_s, age):
    assert age_s(line, Clock(NOW, ahead_s)) == age


@given(st.datetimes(datetime(1971, 1, 2), datetime(2200, 1, 1)))
def test_dates_are_those_of_the_calendar(moment):
    at = moment.replace(tzinfo=UTC, microsecond=0)
    assert age_s(at.strftime("%Y-%m-%dT%H:%M:%SZ ").encode(), Clock(at.timestamp() + 7, 0)) == 7
    assert age_s(at.strftime("%b %d %H:%M:%S h").encode(), Clock(at.timestamp() + 7, 0)) == 7


def test_storms_count_within_their_time_and_forget_the_silent():
    storms = Storms(2)
    addr, other, third = b"\1\2\3\4", b"\1\2\3\5", b"\1\2\3\6"
    assert storms.note("a", addr, 0, 1, 10)
    assert [at for at in (0, 8, 12, 13, 14, 15) if storms.note("a", addr, at, 3, 10)] == [13]
    for each in (other, third):
        storms.note("a", each, 20, 3, 10)
    assert (len(storms), storms.forgotten) == (2, 1)


# Files.


def lines_of(tail):
    return b"".join(iter(tail.read, b""))


def test_a_file_is_read_on_in_whole_lines(tmp_path):
    path = tmp_path / "log"
    tail = Tail(path, from_start=True)
    assert tail.read() == b""
    path.write_bytes(b"one\ntw")
    assert tail.read() == b"one\n"
    assert tail.read() == b""
    with path.open("ab") as file:
        file.write(b"o\nthree\n")
    assert lines_of(tail) == b"two\nthree\n"
    assert tail.place.offset == 14


def test_without_a_place_it_begins_at_the_end(tmp_path):
    path = tmp_path / "log"
    path.write_bytes(b"old\n")
    tail = Tail(path)
    assert tail.read() == b""
    with path.open("ab") as file:
        file.write(b"new\n")
    assert tail.read() == b"new\n"


def test_a_rotated_file_is_read_to_its_end_first(tmp_path):
    path = tmp_path / "log"
    path.write_bytes(b"one\n")
    tail = Tail(path, from_start=True, grace_s=0)
    assert tail.read() == b"one\n"
    path.rename(tmp_path / "log.1")
    path.write_bytes(b"three\n")
    with (tmp_path / "log.1").open("ab") as file:
        file.write(b"two\n")
    assert lines_of(tail) == b"two\nthree\n"
    assert tail.lost == 0


def test_what_is_still_written_to_a_renamed_file_is_read(tmp_path):
    path = tmp_path / "log"
    path.write_bytes(b"one\n")
    tail = Tail(path, from_start=True, grace_s=1000)
    assert tail.read() == b"one\n"
    path.rename(tmp_path / "log.1")
    path.write_bytes(b"three\n")
    assert tail.read() == b""
    with (tmp_path / "log.1").open("ab") as file:
        file.write(b"two\n")
    assert lines_of(tail) == b"two\n"
    assert lines_of(Tail(path, tail.place, grace_s=0)) == b"three\n"


def test_a_file_rotated_while_we_did_not_run_is_found_again(tmp_path):
    path = tmp_path / "log"
    path.write_bytes(b"one\n")
    first = Tail(path, from_start=True)
    first.read()
    first.close()
    with path.open("ab") as file:
        file.write(b"two\n")
    path.rename(tmp_path / "log.1")
    path.write_bytes(b"three\n")
    assert lines_of(Tail(path, first.place, grace_s=0)) == b"two\nthree\n"
    (tmp_path / "log.1").unlink()
    again = Tail(path, first.place)
    assert (lines_of(again), again.lost) == (b"three\n", 1)


def test_an_emptied_file_is_read_from_its_beginning(tmp_path):
    path = tmp_path / "log"
    path.write_bytes(b"one\ntwo\n")
    tail = Tail(path, from_start=True)
    tail.read()
    with path.open("r+b") as file:
        file.truncate(0)
        file.write(b"new\n")
    assert lines_of(tail) == b"new\n"


@pytest.mark.parametrize("is_stopped", [False, True], ids=["while it runs", "while it does not"])
@pytest.mark.parametrize("hole", [b"", bytes(100)], ids=["written from its beginning", "written on behind a hole"])
def test_an_emptied_file_that_grew_past_our_place_is_never_read_from_within_a_line(tmp_path, is_stopped, hole):
    path = tmp_path / "log"
    path.write_bytes(b"one\ntwo\n")
    tail = Tail(path, from_start=True)
    assert tail.read() == b"one\ntwo\n"
    if is_stopped:
        tail.close()
        tail = Tail(path, tail.place)
    path.write_bytes(hole + b"helo what a peer said\nnext\n")
    assert (lines_of(tail), tail.lost) == (hole + b"helo what a peer said\nnext\n", 1)
    assert (lines_of(Tail(path, tail.place)), tail.place.offset) == (b"", len(hole) + 27)


def test_a_line_that_is_half_there_at_the_start_is_read_when_it_is_whole(tmp_path):
    path = tmp_path / "log"
    path.write_bytes(b"old\nha")
    tail = Tail(path)
    assert tail.read() == b""
    with path.open("ab") as file:
        file.write(b"lf\n")
    assert tail.read() == b"half\n"


def test_a_stop_within_a_line_that_is_too_long_reads_none_of_it(tmp_path, monkeypatch):
    monkeypatch.setattr(tail_module, "BLOCK_BYTES", 100)
    path = tmp_path / "log"
    path.write_bytes(b"a\n" + b"x" * 250)
    tail = Tail(path, from_start=True)
    assert lines_of(tail) == b"a\n"
    tail.close()
    again = Tail(path, tail.place)
    for end in (b"y\nb", b"\n"):
        with path.open("ab") as file:
            file.write(end)
        assert lines_of(again) == (b"" if end == b"y\nb" else b"b\n")


def test_a_line_without_end_is_skipped_and_the_rest_read(tmp_path, monkeypatch):
    monkeypatch.setattr(tail_module, "BLOCK_BYTES", 100)
    path = tmp_path / "log"
    path.write_bytes(b"a\n" + b"x" * 1000 + b"\nb\n")
    tail = Tail(path, from_start=True)
    assert (lines_of(tail), tail.lost) == (b"a\nb\n", 1)


@given(st.lists(st.sampled_from([b"a\n", b"bb\n", b"c", b"\n"]), max_size=12), st.integers(0, 11))
def test_wherever_it_is_stopped_no_line_is_lost_or_read_twice(tmp_path_factory, parts, stop_at):
    path = tmp_path_factory.mktemp("t") / "log"
    path.touch()
    tail, got = Tail(path, from_start=True), b""
    for number, part in enumerate(parts):
        with path.open("ab") as file:
            file.write(part)
        if number == stop_at:
            tail.close()
            tail = Tail(path, tail.place, from_start=True)
        got += lines_of(tail)
    whole = b"".join(parts)
    assert got == whole[: whole.rfind(b"\n") + 1]


# All of it.


class Log:
    def __init__(self):
        self.lines = []

    def emit(self, verb, /, **fields):
        self.lines.append((verb, fields))


class Listener:
    """A messenger that can be away."""

    def __init__(self):
        self.got = []
        self.is_away = False

    def bring(self, reports):
        if self.is_away:
            raise Unavailable("away")
        self.got += reports
        return ["ok"] * len(reports)


def stamp():
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def pregreet(addr, at=None):
    return f"{at or stamp()} mx postfix/postscreen[8]: PREGREET 14 after 0 from [{addr}]:5: x\n"


def login(addr):
    return f"{stamp()} mx postfix/smtpd[9]: warning: unknown[{addr}]: SASL LOGIN authentication failed: x\n"


def make(tmp_path, listener, **options):
    manner = Manner(state_file=str(tmp_path / "places"), from_start=True, **options)
    return LogFollower([tmp_path / "log"], Signs(SIGNS), listener, manner, Log())


def append(tmp_path, *lines):
    with (tmp_path / "log").open("a") as file:
        file.writelines(lines)


def drain(follower):
    while follower.turn():
        pass


def test_what_the_log_shows_is_reported_once(tmp_path):
    listener = Listener()
    follower = make(tmp_path, listener)
    append(tmp_path, *[pregreet("192.0.2.1")] * 3, pregreet("2001:db8::9"))
    append(tmp_path, *[login("192.0.2.2")] * 6, login("192.0.2.3"))
    drain(follower)
    append(tmp_path, pregreet("192.0.2.1"))
    drain(follower)
    assert [(report.colour, report.key) for report in listener.got] == [
        ("black", parse_key("192.0.2.1")),
        ("black", parse_key("2001:db8::/64")),
        ("black", parse_key("192.0.2.2")),
    ]
    assert (follower.counts["lines"], follower.counts["signs"], follower.counts["reported"]) == (12, 12, 3)


def test_old_lines_say_nothing_and_old_storms_are_none(tmp_path):
    listener = Listener()
    follower = make(tmp_path, listener, oldest_s=3600)
    append(tmp_path, pregreet("192.0.2.1", "2020-01-01T00:00:00Z"))
    drain(follower)
    assert listener.got == [] and follower.counts["too_old"] == 1


def test_nothing_is_lost_while_the_listener_is_away_or_over_a_stop(tmp_path, monkeypatch):
    monkeypatch.setattr("spamcannibal.gather.follower.RETRY_S", 0.0)
    listener = Listener()
    listener.is_away = True
    follower = make(tmp_path, listener)
    append(tmp_path, pregreet("192.0.2.1"))
    assert not follower.turn()
    append(tmp_path, pregreet("192.0.2.2"))
    assert not follower.turn()
    assert not follower.close()
    assert [verb for verb, _ in follower._log.lines] == ["TROUBLE"]
    listener.is_away = False
    follower = make(tmp_path, listener)
    drain(follower)
    listener.is_away = True
    append(tmp_path, pregreet("192.0.2.3"))
    follower.turn()
    listener.is_away = False
    drain(follower)
    assert [verb for verb, _ in follower._log.lines] == ["TROUBLE", "RECOVERED"]
    assert follower.close()
    assert [report.key[-1] for report in listener.got] == [1, 2, 3]
    follower = make(tmp_path, listener)
    drain(follower)
    assert len(listener.got) == 3


def test_places_that_can_t_be_read_are_not_guessed(tmp_path):
    (tmp_path / "places").write_text("{")
    with pytest.raises(StoreError, match="remove it to begin anew"):
        make(tmp_path, Listener())


def test_files_that_are_not_read_this_time_keep_their_places_while_they_are_there(tmp_path):
    (tmp_path / "other").write_text("x")
    (tmp_path / "places").write_text(
        json.dumps({str(tmp_path / "other"): [1, 2, 3], str(tmp_path / "gone"): [4, 5, 6]})
    )
    append(tmp_path, pregreet("192.0.2.1"))
    follower = make(tmp_path, Listener())
    drain(follower)
    assert follower.close()
    kept = json.loads((tmp_path / "places").read_text())
    assert kept.keys() == {str(tmp_path / "other"), str(tmp_path / "log")} and kept[str(tmp_path / "other")] == [
        1,
        2,
        3,
    ]


def test_a_file_that_is_new_to_us_goes_on_where_we_found_it_though_nobody_took_what_it_said(tmp_path):
    append(tmp_path, pregreet("192.0.2.1"))
    listener = Listener()
    listener.is_away = True
    drain(make(tmp_path, listener))  # killed then
    (tmp_path / "log").rename(tmp_path / "log.1")
    append(tmp_path, pregreet("192.0.2.2"))
    listener.is_away = False
    follower = make(tmp_path, listener, grace_s=0.0)
    drain(follower)
    assert [report.key[-1] for report in listener.got] == [1, 2]


def test_one_process_at_a_time_keeps_places_in_a_file(tmp_path):
    path = str(tmp_path / "places")
    with places.held(path, "x.state_file"):
        with pytest.raises(Unavailable, match=rf"x.state_file: another process keeps its places in {path}; stop it"):
            with places.held(path, "x.state_file"):
                pass
        with places.held(f"{path}2", "x.state_file"):
            pass
    with places.held(path, "x.state_file"):
        places.write(path, {"a": 1})
    assert places.read(path) == {"a": 1}
    with pytest.raises(
        ConfigError, match=r"x.state_file: can't make /.*: No such file or directory; its folder must be"
    ):
        with places.held(str(tmp_path / "none" / "places"), "x.state_file"):
            pass


# By command, with the real listener.


@pytest.fixture
def settings(tmp_path):
    (tmp_path / "never-list").write_text("@special\n")
    path = tmp_path / "spamcannibal.toml"
    path.write_text(
        f'[store]\npath = "{tmp_path}/store"\ncache_bytes = "1MiB"\n'
        f'[gather]\nlisten = []\nsocket = "{tmp_path}/sock"\nblack_weight = 1\n'
        '[[gather.reporter]]\nname = "log"\naddresses = ["local"]\n'
        f'[follow]\nfiles = ["log"]\nsigns = "{SHIPPED}"\nstate_file = "places"\n'
    )
    return path


def test_a_dry_run_prints_and_remembers_nothing(tmp_path, settings):
    append(tmp_path, pregreet("192.0.2.1"))
    result = CliRunner().invoke(main.cli, ["-c", str(settings), "follow", "--dry-run", "--once", "--from-start"])
    assert (result.exit_code, result.stdout) == (0, "black 192.0.2.1 talks before the greeting\n")
    assert not (tmp_path / "places").exists()


def test_the_listener_lists_what_the_log_shows_across_kills(tmp_path, settings):
    command = [sys.executable, "-m", "spamcannibal", "-c", settings]
    append(tmp_path, pregreet("192.0.2.1"))
    started = []

    def start(*words):
        process = subprocess.Popen([*command, *words], stderr=subprocess.PIPE, text=True)
        started.append(process)
        return process

    def shown():
        done = subprocess.run([*command, "list", "show", "--json"], capture_output=True, text=True, check=False)
        return {row["key"]: row["source"] for row in json.loads(done.stdout or "[]")}

    def wait_for(count):
        deadline = time.monotonic() + 60
        while len(found := shown()) < count:
            assert time.monotonic() < deadline, (found, [p.poll() for p in started])
            time.sleep(0.1)
        return found

    try:
        start("gather")
        follower = start("follow", "--from-start")
        assert wait_for(1) == {"192.0.2.1": "gather:log"}
        second = subprocess.run([*command, "follow"], capture_output=True, text=True, check=False, timeout=60)
        assert second.returncode == 75 and "another process keeps its places" in second.stderr
        follower.kill()
        follower.wait()
        append(tmp_path, pregreet("192.0.2.2"))
        (tmp_path / "log").rename(tmp_path / "log.1")
        append(tmp_path, pregreet("2001:db8:0:1::5"))
        follower = start("follow", "--from-start")
        assert set(wait_for(3)) == {"192.0.2.1", "192.0.2.2", "2001:db8:0:1::/64"}
        follower.send_signal(signal.SIGTERM)
        assert follower.wait(30) == 0
    finally:
        for process in started:
            process.kill()
            process.wait()
            process.stderr.close()
