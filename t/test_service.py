"""Signals, supervisor notices and dropped rights, each with the real thing behind it."""

import os
import pwd
import signal
import socket
import subprocess
import sys
import textwrap

import pytest

from spamcannibal.errors import ConfigError
from spamcannibal.service import Signals, drop_privileges, notify, watchdog_s


def test_signals_set_flags_end_the_wait_and_are_restored():
    before = signal.getsignal(signal.SIGHUP)
    with Signals() as signals:
        os.kill(os.getpid(), signal.SIGHUP)
        signals.wait(60)
        assert (signals.stop, signals.take_reload(), signals.take_reload()) == (False, True, False)
        os.kill(os.getpid(), signal.SIGTERM)
        signals.wait(60)
        assert signals.stop
    assert signal.getsignal(signal.SIGHUP) is before


@pytest.mark.parametrize("abstract", [False, True], ids=["path", "abstract"])
def test_notify_reaches_the_socket_that_the_environment_names(tmp_path, abstract):
    name = f"@spamcannibal-test-{os.getpid()}" if abstract else str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(name.replace("@", "\0", 1))
        notify("READY=1", {"NOTIFY_SOCKET": name})
        assert sock.recv(100) == b"READY=1"


def test_notify_without_a_supervisor_does_nothing(tmp_path):
    notify("READY=1", {})
    notify("READY=1", {"NOTIFY_SOCKET": str(tmp_path / "gone")})


@pytest.mark.parametrize(
    ("env", "expected"),
    [
        ({}, 0.0),
        ({"WATCHDOG_USEC": "3000000"}, 1.5),
        ({"WATCHDOG_USEC": "3000000", "WATCHDOG_PID": "1"}, 0.0),
        ({"WATCHDOG_USEC": "soon"}, 0.0),
    ],
)
def test_watchdog_is_half_of_the_supervisors_patience(env, expected):
    assert watchdog_s(env) == expected


def test_unknown_user_is_a_settings_error():
    with pytest.raises(ConfigError, match="no such user"):
        drop_privileges("no-such-user-here")


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_dropped_process_and_its_children_keep_only_the_named_capabilities():
    script = """
        import subprocess
        from spamcannibal.service import *
        drop_privileges("nobody", (CAP_NET_ADMIN, CAP_NET_RAW))
        set_capabilities([CAP_NET_ADMIN])
        subprocess.run(["grep", "-E", "^(Uid|Cap(Eff|Amb))", "/proc/self/status"], check=True)
    """
    env = {"PYTHONPATH": os.pathsep.join(sys.path)}
    argv = [sys.executable, "-c", textwrap.dedent(script)]
    done = subprocess.run(argv, check=False, capture_output=True, text=True, env=env)
    status = dict(line.split(":\t", 1) for line in done.stdout.split("\n") if line)
    assert status["Uid"].split() == [str(pwd.getpwnam("nobody").pw_uid)] * 4, done.stderr
    assert int(status["CapEff"], 16) == int(status["CapAmb"], 16) == 1 << 12


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_a_process_that_became_another_user_still_ends_with_its_parent():
    script = """
        import ctypes, signal
        from spamcannibal.service import drop_privileges
        libc, got = ctypes.CDLL(None), ctypes.c_int()
        libc.prctl(1, ctypes.c_ulong(signal.SIGTERM))
        drop_privileges("nobody")
        libc.prctl(2, ctypes.byref(got))
        print(got.value)
    """
    env = {"PYTHONPATH": os.pathsep.join(sys.path)}
    argv = [sys.executable, "-c", textwrap.dedent(script)]
    done = subprocess.run(argv, check=False, capture_output=True, text=True, env=env)
    assert done.stdout == f"{int(signal.SIGTERM)}\n", done.stderr
