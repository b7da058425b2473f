"""The laboratory's hosts: a mail host with the daemon in front, a listed and a clean sender, a router between them.

    listed  198.51.100.66  2001:db8:66::66 ─┐
                                            ├─ router ─ mail  203.0.113.25  2001:db8:25::25
    clean   198.51.100.10  2001:db8:10::10 ─┘           nfqueue rules · spamcannibal up · SMTP server

All addresses are documentation ones (RFC 5737, RFC 3849), so the never-list of the laboratory leaves that class out.
Everything lies in network namespaces sclab-PID-… and one directory; `sweep` removes what a killed run left behind.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, NamedTuple

from live.nets import NETNS, Host, Lab, run, wait_for

PREFIX = "sclab-"
ZONE = "bl.example.net"
ROOT = Path(__file__).resolve().parents[2]
START_LIMIT_S = 30.0


class Address(NamedTuple):
    """One host's address and its router's, with the length of their net."""

    host: str
    router: str
    plen: int


MAIL = {"v4": Address("203.0.113.25", "203.0.113.1", 24), "v6": Address("2001:db8:25::25", "2001:db8:25::1", 64)}
LISTED = {"v4": Address("198.51.100.66", "198.51.100.65", 26), "v6": Address("2001:db8:66::66", "2001:db8:66::1", 64)}
CLEAN = {"v4": Address("198.51.100.10", "198.51.100.1", 26), "v6": Address("2001:db8:10::10", "2001:db8:10::1", 64)}

# A greeting byte a second instead of every ten, so that something is to be seen within a minute.
SETTINGS = f"""\
[store]
path = "store"
[guard]
never_list = "never-list"
[tarpit]
mode = "stutter"
stutter_interval_s = 1.0
greeting_name = "mail.example.net"
[dnsbl]
listen = ["{MAIL["v4"].host}:53", "[{MAIL["v6"].host}]:53"]
[[dnsbl.zone]]
name = "{ZONE}"
contact = "postmaster@example.net"
ns = ["mail.example.net"]
"""
NEVER_LIST = """\
# The laboratory lives in documentation addresses; everything else that may never be listed stays so.
@special
@private
@resolvers
@own
"""


class World:
    """The running laboratory; what went wrong stands in the files of `path`."""

    def __init__(self, path: Path, lab: Lab) -> None:
        self.path = path
        self.router, self.mail = lab.host("router"), lab.host("mail")
        self.listed, self.clean = lab.host("listed"), lab.host("clean")
        self.settings = path / "spamcannibal.toml"
        self.settings.write_text(SETTINGS)
        (path / "never-list").write_text(NEVER_LIST)
        for host in lab.hosts.values():  # no second of waiting for duplicate address detection
            host.sysctl("net.ipv6.conf.default.accept_dad", 0)
        self.router.sysctl("net.ipv4.ip_forward", 1)
        self.router.sysctl("net.ipv6.conf.all.forwarding", 1)
        for host, addresses in ((self.mail, MAIL), (self.listed, LISTED), (self.clean, CLEAN)):
            for family, a in addresses.items():
                lab.link(self.router, host, f"{a.router}/{a.plen}", f"{a.host}/{a.plen}")
                host.ip(f"-{family[1]}", "route", "add", "default", "via", a.router)

    def spamcannibal(self, *words: object, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run one command on the mail host."""
        return self.mail.run(*self._program(), *words, check=check)

    def start_smtp(self) -> None:
        """Start the SMTP server on the mail host."""
        endpoints = [f"{MAIL['v4'].host}:25", f"[{MAIL['v6'].host}]:25"]
        argv = (sys.executable, "-m", "lab.smtpd", self.path / "mail", *endpoints)
        self._start(self.mail, "smtpd.log", *argv)
        wait_for(lambda: "ready" in self.log("smtpd.log"), "the SMTP server is ready", START_LIMIT_S)

    def start_up(self) -> None:
        """Start `spamcannibal up` on the mail host and wait until all its services are ready."""
        self.up = self._start(self.mail, "up.log", *self._program(), "up")

        def is_up() -> bool:
            if self.up.poll() is not None:
                raise AssertionError(f"spamcannibal up ended with {self.up.returncode}")
            return " UP " in self.log("up.log")

        wait_for(is_up, "spamcannibal up is ready", START_LIMIT_S)

    def stop_up(self) -> int:
        """Stop the services in order; return the exit code."""
        self.up.terminate()
        return self.up.wait(START_LIMIT_S)

    def log(self, name: str) -> str:
        """What a process has printed so far."""
        return (self.path / name).read_text(errors="replace")

    def mails(self) -> list[bytes]:
        """The messages that the SMTP server has."""
        return [file.read_bytes() for file in (self.path / "mail" / "new").glob("*")]

    def archived(self, address: str) -> str:
        """Say what the archive knows of an address, "" if nothing."""
        for line in self.spamcannibal("db", "dump").stdout.splitlines():
            entry = json.loads(line)
            if entry.get("record") == "contact" and entry.get("key") == address:
                return f"contacts: {entry['count']}"
        return ""

    def command_line(self) -> str:
        """What to type to run a command on the mail host."""
        return " ".join(self.mail.argv(*self._program()))

    def _program(self) -> list[str]:
        return [sys.executable, "-P", "-m", "spamcannibal", "-c", str(self.settings)]

    def _start(self, host: Host, log: str, *argv: object) -> subprocess.Popen[Any]:
        stream: IO[str]
        with (self.path / log).open("w") as stream:
            # A session of its own: Ctrl-C at the terminal is for the story, which then stops them in order.
            return host.start(*argv, stdin=subprocess.DEVNULL, stdout=stream, stderr=stream, start_new_session=True)


@contextlib.contextmanager
def world() -> Iterator[World]:
    """Build the laboratory; remove all of it at the end, also if this process is killed."""
    sweep()
    argv = [sys.executable, "-m", "lab", "--guard", str(os.getpid())]
    watcher = subprocess.Popen(argv, stdin=subprocess.PIPE, start_new_session=True)
    path = Path(tempfile.mkdtemp(prefix=f"{PREFIX}{os.getpid()}-"))
    try:
        with Lab(PREFIX) as lab:
            yield World(path, lab)
    finally:
        shutil.rmtree(path, ignore_errors=True)
        watcher.communicate(b"done")


def guard(pid: int) -> None:
    """Wait until process `pid`, our parent, says that it is done; if it dies without a word, remove what it left."""
    if sys.stdin.read():
        return
    wait_for(lambda: _is_gone(pid), f"process {pid} is gone", step_s=0.02)
    sweep()


def sweep() -> None:
    """Remove the laboratories whose process is gone: what still runs in them, the namespaces, the directories."""
    for name in sorted(path.name for path in NETNS.glob(f"{PREFIX}*")):
        if _is_orphan(name):
            for pid in run("ip", "netns", "pids", name, check=False).stdout.split():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(int(pid), signal.SIGKILL)
            run("ip", "netns", "delete", name, check=False)
    for path in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        if _is_orphan(path.name) and path.stat().st_uid == os.geteuid():
            shutil.rmtree(path, ignore_errors=True)


def _is_orphan(name: str) -> bool:
    match = re.match(rf"{PREFIX}(\d+)-", name)
    return match is not None and _is_gone(int(match[1]))


def _is_gone(pid: int) -> bool:
    try:
        state = Path("/proc", str(pid), "stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return True
    return state == "Z"
