"""What the tests of the gather listener share: `spamcannibal gather` as a process, and clients of its protocols."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from live.nets import ROOT, wait_for
from ports import free_port
from spamcannibal.addr import parse_addr
from spamcannibal.record import Listing
from spamcannibal.store.env import Env
from spamcannibal.store.stores import Store

SETTINGS = """\
[store]
path = "store"
follow_interval_s = 0.02
[guard]
never_list = "never-list"
[gather]
listen = {listen}
socket = "socket"
{gather}
"""
NEVER_LIST = "@special\n@private\n"
REPORTERS = """
[[gather.reporter]]
name = "local"
addresses = ["127.0.0.1", "::1"]
weight = 2.0
[[gather.reporter]]
name = "socket"
addresses = ["local"]
"""


class NoGuard:
    """Lets everything be listed; the never-list is the process's."""

    def check(self, key: bytes) -> None: ...


class Gather:
    """One listener over a store in a directory, and a writer of that store of our own."""

    def __init__(self, path: Path, gather: str = REPORTERS) -> None:
        self.path = path
        self.settings = path / "sc.toml"
        self.log = path / "log"
        self.wrapper: tuple[str, ...] = ()
        self.process: subprocess.Popen[bytes] | None = None
        self._listen = json.dumps([f"127.0.0.1:{free_port()}", f"[::1]:{free_port('::1')}"])
        (path / "never-list").write_text(NEVER_LIST)
        self.configure(gather)
        self.store = Store(Env(path / "store", cache_bytes=1 << 20), NoGuard())

    def configure(self, gather: str) -> None:
        self.settings.write_text(SETTINGS.format(listen=self._listen, gather=gather))

    def argv(self, *words: object) -> list[str]:
        command = [sys.executable, "-P", "-m", "spamcannibal", "-c", str(self.settings), "gather", *map(str, words)]
        return [*self.wrapper, *command]

    def start(self, *options: str) -> None:
        before = len(self.events("START"))
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                self.argv(*options), stderr=log, stdin=subprocess.DEVNULL, env=environment()
            )
        process = self.process
        wait_for(lambda: len(self.events("START")) > before or process.poll() is not None, "the listener's start", 60)
        assert process.poll() is None, self.log.read_text()

    def stop(self) -> int:
        """Stop the listener in order; its exit code."""
        assert self.process is not None
        self.process.terminate()
        return self.process.wait(30)

    def close(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self.store.close()

    def run(self, *words: object) -> subprocess.CompletedProcess[str]:
        """Run a subcommand of gather to its end."""
        return subprocess.run(
            self.argv(*words), capture_output=True, text=True, check=False, env=environment(), timeout=60
        )

    def events(self, verb: str) -> list[str]:
        lines = self.log.read_text().splitlines() if self.log.exists() else []
        return [line for line in lines if line.split(" ")[0] == verb]

    @property
    def endpoints(self) -> list[tuple[str, int]]:
        """Where it listens: the addresses in the order of the settings."""
        word = next(word for word in self.events("START")[-1].split() if word.startswith("listen="))
        found = [text.rpartition(":") for text in word.removeprefix("listen=").split(",") if not text.startswith("/")]
        return [(host.strip("[]"), int(port)) for host, _, port in found]

    def connect(self, which: int = 0, timeout_s: float = 20.0) -> socket.socket:
        return socket.create_connection(self.endpoints[which], timeout_s)

    def say(self, data: bytes | str, which: int = 0) -> bytes:
        """Send bytes (of a text, a line), and read until the listener closes."""
        with self.connect(which) as sock:
            sock.sendall(data if isinstance(data, bytes) else data.encode() + b"\n")
            return read_all(sock)

    def listing(self, address: str) -> Listing | None:
        found = self.store.get(parse_addr(address))
        return found[1] if found else None

    def await_listing(self, address: str, code: int = 2) -> Listing:
        """Wait until an address is listed with 127.0.0.CODE."""

        def look() -> Listing | None:
            found = self.listing(address)
            return found if found and found.code[3] == code else None

        return wait_for(look, f"{address} is listed as 127.0.0.{code}", 20)

    def await_answer(self, address: str, start: str) -> str:
        """Wait until what is listed has come to the answers, too."""

        def look() -> str:
            answer = self.say(f"query {address}").decode()
            return answer if answer.startswith(start) else ""

        return wait_for(look, f"the answer to query {address} begins with {start}", 20)

    def source(self, address: str) -> str:
        listing = self.listing(address)
        change = self.store.change(listing.seq) if listing else None
        return change.source if change else ""


def read_all(sock: socket.socket) -> bytes:
    got = b""
    while data := sock.recv(65536):
        got += data
    return got


@contextmanager
def gathering(path: Path, gather: str = REPORTERS, *options: str) -> Iterator[Gather]:
    made = Gather(path, gather)
    try:
        made.start(*options)
        yield made
    finally:
        made.close()


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT / "lib")}


def policy(address: str, **attributes: str) -> bytes:
    """A request of Postfix's policy protocol."""
    lines = {"request": "smtpd_access_policy", "client_address": address, **attributes}
    return "".join(f"{name}={value}\n" for name, value in lines.items()).encode() + b"\n"
