"""The supervisor with real processes: restarts, stopping in order, nobody left behind."""

from __future__ import annotations

import io
import json
import os
import queue
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from spamcannibal.commands.up import LINE_LIMIT_BYTES, Output

LIMIT_S = 30.0

RUNNER = """
import json, sys
from spamcannibal.commands.up import Runner
from spamcannibal.supervise import Policy
policy = Policy(0.05, 0.4, float(sys.argv[3]), watchdog_s=1.0)
sys.exit(Runner(json.loads(sys.argv[1]), policy, sys.stderr, sys.argv[2]).run())
"""

# A service as ours are: says that it is ready, tells of SIGHUP, ends by SIGTERM.
SERVICE = """
import os
from spamcannibal.service import Signals, notify
with Signals() as signals:
    print("pid", os.getpid(), flush=True)
    notify("READY=1")
    while not signals.stop:
        signals.wait(60)
        if signals.take_reload():
            print("reloaded", flush=True)
print("bye", flush=True)
"""

# It does not even hear that the supervisor is gone, so it has an end of its own.
DEAF = """
import signal
signal.signal(signal.SIGTERM, signal.SIG_IGN)
signal.alarm(300)
print("deaf", flush=True)
signal.pause()
"""


def service(program: str) -> list[str]:
    return [sys.executable, "-c", program]


class Up:
    """One supervisor of `commands` and what it has printed so far."""

    def __init__(self, commands: dict[str, list[str]], fmt: str = "text", grace_s: float = LIMIT_S, **env: str) -> None:
        argv = [sys.executable, "-c", RUNNER, json.dumps(commands), fmt, str(grace_s)]
        lib = str(Path(__file__).parent.parent / "lib")
        environment = os.environ | {"PYTHONPATH": lib} | env
        self.process = subprocess.Popen(argv, stderr=subprocess.PIPE, text=True, env=environment)
        self.seen: list[str] = []
        self._lines: queue.Queue[str | None] = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self._lines.put(line.rstrip("\n"))
        self._lines.put(None)

    def line(self, pattern: str) -> re.Match[str]:
        """Wait for the next line that has `pattern`."""
        deadline = time.monotonic() + LIMIT_S
        while True:
            line = self._lines.get(timeout=max(0.01, deadline - time.monotonic()))
            assert line is not None, f"ended without {pattern!r}: {self.seen}"
            self.seen.append(line)
            if match := re.search(pattern, line):
                return match

    def each(self, *patterns: str) -> None:
        """Wait for a line of each pattern, in whatever order they come."""
        wanted = set(patterns)
        while wanted:
            line = self.line("|".join(wanted)).string
            wanted = {pattern for pattern in wanted if not re.search(pattern, line)}

    def end(self) -> int:
        """Wait for the end and take the rest of its lines."""
        code = self.process.wait(LIMIT_S)
        while (line := self._lines.get(timeout=LIMIT_S)) is not None:
            self.seen.append(line)
        return code


@contextmanager
def up(commands: dict[str, list[str]], fmt: str = "text", grace_s: float = LIMIT_S, **env: str) -> Iterator[Up]:
    made = Up(commands, fmt, grace_s, **env)
    try:
        yield made
    finally:
        if made.process.poll() is None:
            made.process.kill()
        made.process.wait()


def is_running(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"


def assert_gone(*pids: int) -> None:
    deadline = time.monotonic() + LIMIT_S
    while any(map(is_running, pids)):
        assert time.monotonic() < deadline, f"still there: {[pid for pid in pids if is_running(pid)]}"
        time.sleep(0.02)


def test_two_services_come_up_and_stop_in_order() -> None:
    with up({"one": service(SERVICE), "two": service(SERVICE)}) as it:
        it.line(r"UP services=one,two")
        it.process.terminate()
        assert it.end() == 0
        told = [line.split(" | ")[1].split()[:2] for line in it.seen if "TERMINATE" in line or "EXIT" in line]
        assert [(verb, subject) for verb, subject in told] == [
            ("TERMINATE", "service=two"),
            ("EXIT", "service=two"),
            ("TERMINATE", "service=one"),
            ("EXIT", "service=one"),
        ]
        assert [line for line in it.seen if line.endswith("bye")] == ["two | bye", "one | bye"]


def test_a_killed_service_is_started_again_and_the_other_left_alone() -> None:
    with up({"one": service(SERVICE), "two": service(SERVICE)}) as it:
        pids = {}
        for _ in range(2):
            name, pid = it.line(r"^(one|two) \| pid (\d+)").groups()
            pids[name] = int(pid)
        for _ in range(3):
            os.kill(pids["one"], signal.SIGKILL)
            it.line(r"EXIT service=one .*signal=SIGKILL")
            it.line(r"RESTART service=one")
            pids["one"] = int(it.line(r"^one \| pid (\d+)")[1])
        assert is_running(pids["two"])
        it.process.terminate()
        assert it.end() == 0
        assert not any("service=two" in line and "RESTART" in line for line in it.seen)


def test_no_orphans_when_the_supervisor_itself_is_killed() -> None:
    with up({"one": service(SERVICE), "two": service(SERVICE)}) as it:
        pids = [int(it.line(r"\| pid (\d+)")[1]) for _ in range(2)]
        it.process.kill()
        it.process.wait()
        assert_gone(*pids)


def test_wrong_settings_of_a_service_end_everything_with_78() -> None:
    with up({"one": service(SERVICE), "two": service("raise SystemExit(78)")}) as it:
        assert it.end() == 78
        assert any("FATAL service=two" in line for line in it.seen)
        assert any("TERMINATE service=one" in line for line in it.seen)


def test_sighup_is_passed_on() -> None:
    with up({"one": service(SERVICE), "two": service(SERVICE)}) as it:
        it.line("UP")
        it.process.send_signal(signal.SIGHUP)
        assert {it.line(r"^(\w+) \| reloaded")[1] for _ in range(2)} == {"one", "two"}
        it.process.terminate()
        assert it.end() == 0


def test_sighup_does_not_reach_one_that_is_still_starting() -> None:
    with up({"one": service(SERVICE), "two": service(DEAF)}) as it:
        it.each("deaf", "READY service=one")
        it.process.send_signal(signal.SIGHUP)
        it.line(r"one \| reloaded")
        assert not any("RELOAD service=two" in line or "EXIT" in line for line in it.seen)
        it.process.terminate()
        it.line("TERMINATE")
        it.process.terminate()
        assert it.end() == 0


def test_one_that_does_not_hear_is_killed_after_the_grace() -> None:
    with up({"one": service(DEAF)}, grace_s=0.1) as it:
        it.line("deaf")
        it.process.terminate()
        assert it.end() == 0
        assert any("KILL service=one" in line for line in it.seen)


def test_a_second_wish_to_stop_kills_at_once() -> None:
    with up({"one": service(DEAF)}) as it:
        it.line("deaf")
        it.process.send_signal(signal.SIGINT)
        it.line("TERMINATE")
        it.process.send_signal(signal.SIGINT)
        assert it.end() == 0
        assert any("KILL service=one" in line for line in it.seen)


def test_one_that_stops_to_beat_is_killed_and_started_again() -> None:
    program = "import signal; from spamcannibal.service import notify; notify('WATCHDOG=1'); signal.pause()"
    with up({"one": service(program), "two": service(SERVICE)}) as it:
        it.line("KILL service=one")
        it.line("RESTART service=one")
        it.line("KILL service=one")
        it.process.terminate()
        it.end()
        assert not any("KILL service=two" in line for line in it.seen)


def test_a_program_that_is_not_there_is_tried_again() -> None:
    with up({"one": ["/nonexistent/program"]}) as it:
        it.line("FAILED service=one")
        it.line("RESTART service=one")
        it.line("FAILED service=one")
        it.process.terminate()
        assert it.end() == 0


def test_ready_is_passed_up_when_all_are_ready(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as outer:
        outer.bind(str(tmp_path / "notify"))
        outer.settimeout(LIMIT_S)
        with up({"one": service(SERVICE)}, NOTIFY_SOCKET=str(tmp_path / "notify")) as it:
            assert outer.recv(100) == b"READY=1"
            it.process.terminate()
            assert outer.recv(100) == b"STOPPING=1"
            assert it.end() == 0


def test_only_a_service_itself_can_say_that_it_is_ready() -> None:
    liar = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {SERVICE!r}])"
    with up({"one": service(liar)}) as it:
        inner = int(it.line(r"pid (\d+)")[1])
        os.kill(inner, signal.SIGTERM)
        it.line("EXIT service=one")
        it.process.terminate()
        it.end()
        assert not any("READY" in line for line in it.seen)


def test_json_lines_stay_json_and_name_their_service() -> None:
    program = """print('{"event": "TRAP", "n": 1}'); print("plain"); raise SystemExit(78)"""
    with up({"one": service(program)}, fmt="json") as it:
        assert it.end() == 78
        lines = [json.loads(line) for line in it.seen]
        assert {"service": "one", "event": "TRAP", "n": 1} in lines
        assert {"service": "one", "line": "plain"} in lines
        assert all("service" in line for line in lines)


@pytest.mark.parametrize("size", [1, 3, 1000])
def test_lines_come_out_whole_however_they_arrive(size: int) -> None:
    stream = io.StringIO()
    output = Output(stream, "text", 3)
    data = "first\nsecönd\n\nlast".encode()
    for at in range(0, len(data), size):
        output.feed("one", data[at : at + size])
    output.end("one")
    assert stream.getvalue() == "one | first\none | secönd\none | \none | last\n"


def test_a_line_without_end_is_cut() -> None:
    stream = io.StringIO()
    output = Output(stream, "text", 3)
    for _ in range(10):
        output.feed("one", b"x" * LINE_LIMIT_BYTES)
    assert len(output.pending["one"]) <= LINE_LIMIT_BYTES
    assert stream.getvalue().count("\n") >= 4


def test_bytes_that_are_no_text_are_shown_escaped() -> None:
    stream = io.StringIO()
    Output(stream, "text", 3).feed("one", b"\xff\xfe\n")
    assert stream.getvalue() == "one | \\xff\\xfe\n"


def test_a_stream_that_went_away_stops_nobody() -> None:
    stream = io.StringIO()
    stream.close()
    Output(stream, "text", 3).feed("one", b"lost\n")
