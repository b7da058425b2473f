"""The story of bin/quickstart, without its set-up: all of it happens, and nothing is left however it ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from live.nets import NETNS, wait_for

T = Path(__file__).resolve().parents[1]
STORY_LIMIT_S = 280


@pytest.fixture
def story() -> Iterator[subprocess.Popen[str]]:
    """The laboratory as a process of its own, its output in a pipe."""
    environment = os.environ | {"PYTHONPATH": f"{T}:{T.parent / 'lib'}"}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    with subprocess.Popen([sys.executable, "-m", "lab"], env=environment, text=True, **pipes) as process:
        yield process
        process.kill()


def left_by(pid: int) -> list[Path]:
    return [*NETNS.glob(f"sclab-{pid}-*"), *Path(tempfile.gettempdir()).glob(f"sclab-{pid}-*")]


def test_all_of_it_happens_and_nothing_is_left(story: subprocess.Popen[str]) -> None:
    told, _ = story.communicate(timeout=STORY_LIMIT_S)
    assert story.returncode == 0, told
    assert "All of it happened." in told
    assert "] NO " not in told
    assert not left_by(story.pid)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL], ids=lambda number: number.name)
def test_nothing_is_left_when_it_is_stopped_in_the_middle(story: subprocess.Popen[str], number: signal.Signals) -> None:
    assert story.stdout is not None
    while not (line := story.stdout.readline()).startswith("["):
        assert line, "ended before its first step"
    story.send_signal(number)
    story.stdout.read()
    code = story.wait(STORY_LIMIT_S)
    assert code == (130 if number != signal.SIGKILL else -signal.SIGKILL)
    wait_for(lambda: not left_by(story.pid), f"nothing is left of {left_by(story.pid)}")
