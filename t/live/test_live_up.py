"""`spamcannibal up` with the real services, and kill -9 at the worst moment: mail goes on, what is held stays held."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.client import Sender, deliver
from lab.world import LISTED, MAIL, World, world
from live.nets import wait_for

T = Path(__file__).resolve().parents[1]
LIMIT_S = 30.0


@pytest.fixture
def running(monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    """The laboratory with SMTP server, rules and services, and one listed sender."""
    monkeypatch.setenv("PYTHONPATH", f"{T}:{T.parent / 'lib'}")
    with world() as made:
        made.start_smtp()
        made.spamcannibal("list", "add", LISTED["v4"].host)
        made.spamcannibal("firewall", "apply")
        made.start_up()
        yield made


def pids(made: World, name: str) -> list[int]:
    """The processes that up has started for a service, oldest first."""
    return [int(pid) for pid in re.findall(rf"START service={name} pid=(\d+)", made.log("up.log"))]


def is_gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def test_a_killed_tarpit_comes_back_and_holds_what_it_held(running: World) -> None:
    sender = Sender(running.listed, MAIL["v4"].host)
    wait_for(lambda: len(sender.greeting) > 1, "the greeting drips", LIMIT_S)
    for count in (2, 3):
        os.kill(pids(running, "tarpit")[-1], signal.SIGKILL)
        assert deliver(running.clean, MAIL["v4"].host, f"while it is down {count}", LIMIT_S)
        wait_for(lambda n=count: len(pids(running, "tarpit")) == n, "started again", LIMIT_S)
        wait_for(lambda n=count: running.log("up.log").count("READY service=tarpit") >= n, "ready again", LIMIT_S)
    assert sender.is_held
    sender.close()
    again = Sender(running.listed, MAIL["v4"].host)
    wait_for(lambda: len(again.greeting) > 1, "the listed sender is caught again", LIMIT_S)
    assert again.is_held
    again.close()
    assert len(pids(running, "dnsbl")) == 1, "the other service was left alone"


def test_killing_up_itself_leaves_no_orphans_and_the_next_one_starts(running: World) -> None:
    orphans = [*pids(running, "tarpit"), *pids(running, "dnsbl")]
    running.up.kill()
    running.up.wait()
    wait_for(lambda: all(map(is_gone, orphans)), f"{orphans} end with it", LIMIT_S)
    assert deliver(running.clean, MAIL["v4"].host, "nobody at the queue", LIMIT_S)
    running.start_up()
    sender = Sender(running.listed, MAIL["v4"].host)
    wait_for(lambda: len(sender.greeting) > 1, "the listed sender is caught again", LIMIT_S)
    assert sender.is_held
    sender.close()


def test_wrong_settings_end_up_with_78_and_name_the_mistake(running: World) -> None:
    assert running.stop_up() == 0
    running.settings.write_text(running.settings.read_text().replace("[tarpit]", "[tarpit]\nmodus = 1"))
    done = running.spamcannibal("up", check=False)
    assert done.returncode == 78
    assert "modus" in done.stderr
    assert "mode" in done.stderr, "the nearest key is named"


def test_settings_that_only_a_service_finds_wrong_end_up_with_78(running: World) -> None:
    assert running.stop_up() == 0
    text = running.settings.read_text()
    running.settings.write_text(text[: text.index("[[dnsbl.zone]]")])
    done = running.spamcannibal("up", check=False)
    assert done.returncode == 78
    assert "FATAL service=dnsbl" in done.stderr
    assert "dnsbl.zone" in done.stderr
