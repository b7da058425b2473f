"""The tarpit daemon for tests: its settings in a directory, its process in a namespace, its log as a list of lines."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from live.nets import ROOT, Host, wait_for
from spamcannibal.addr import format_key, parse_addr, parse_key
from spamcannibal.commands.common import open_store
from spamcannibal.config import load
from spamcannibal.record import PROVEN_CODE, Contact, Mode
from spamcannibal.store.stores import NewListing, Store

NEVER_LIST = "@special\n"  # the tests live in private addresses
SETTINGS = """\
[store]
path = "store"
[guard]
never_list = "never-list"
[tarpit]
greeting_name = "mail.example.net"
{tarpit}
[log]
format = "json"
"""


class Daemon:
    """`spamcannibal tarpit` on a host; one at a time, as often as wanted on the same store."""

    def __init__(self, host: Host, path: Path, **tarpit: object) -> None:
        self.host = host
        self.path = path
        self.log_path = path / "tarpit.log"
        self.never_list(NEVER_LIST)
        self.configure(**tarpit)

    def never_list(self, text: str) -> None:
        """Write the never-list."""
        (self.path / "never-list").write_text(text)

    def configure(self, **tarpit: object) -> None:
        """Write the settings file, with these keys of [tarpit]."""
        lines = "\n".join(f"{key} = {json.dumps(value)}" for key, value in tarpit.items())
        (self.path / "spamcannibal.toml").write_text(SETTINGS.format(tarpit=lines))

    def argv(self, *words: object) -> list[str]:
        """The command line of a subcommand with our settings."""
        config = str(self.path / "spamcannibal.toml")
        return [sys.executable, "-P", "-m", "spamcannibal", "-c", config, *map(str, words)]

    def command(self, *words: object, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run a subcommand on the host."""
        return self.host.run(*self.argv(*words), check=check, env=_environment())

    def start(self, *options: object, env: Mapping[str, str] | None = None) -> subprocess.Popen[Any]:
        """Start the daemon and wait until its queues are bound."""
        before = len(self.events("START"))
        self.launch(*options, env=env)
        wait_for(lambda: len(self.events("START")) > before or self.process.poll() is not None, "the daemon's start")
        assert self.process.poll() is None, self.log_path.read_text()
        return self.process

    def launch(self, *options: object, env: Mapping[str, str] | None = None) -> subprocess.Popen[Any]:
        """Start the daemon, whatever comes of it."""
        with self.log_path.open("a") as log:
            environment = _environment() | dict(env or {})
            self.process = self.host.start(
                *self.argv("tarpit", *options), stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment
            )
        return self.process

    def stop(self) -> int:
        """Stop the daemon in order; its exit code."""
        self.process.terminate()
        return self.process.wait(30)

    def lines(self) -> list[dict[str, Any]]:
        """The log so far, all starts together; a line that is no event has the key "text"."""
        found: list[dict[str, Any]] = []
        for line in self.log_path.read_text().splitlines() if self.log_path.exists() else []:
            found.append(json.loads(line) if line.startswith("{") else {"event": "", "text": line})
        return found

    def events(self, verb: str, **fields: object) -> list[dict[str, Any]]:
        """The events of one verb whose fields are these."""
        wanted = {"event": verb, **fields}.items()
        return [line for line in self.lines() if wanted <= {k: v for k, v in line.items() if k in dict(wanted)}.items()]

    def await_event(self, verb: str, **fields: object) -> dict[str, Any]:
        """Wait for such an event, and return the last."""
        return wait_for(lambda: self.events(verb, **fields), f"event {verb} {fields}")[-1]

    @contextmanager
    def store(self) -> Iterator[Store]:
        """The daemon's store, opened by this process beside it."""
        store = open_store(load(self.path / "spamcannibal.toml", {}))
        try:
            yield store
        finally:
            store.close()

    def archived(self) -> dict[str, Contact]:
        """The archive, by address."""
        with self.store() as store:
            return {format_key(addr): contact for addr, contact in store.page("archive", None, 100_000)}

    def contact(self, addr: str) -> Contact | None:
        """What the archive says of an address."""
        with self.store() as store:
            return store.contact(parse_addr(addr))

    def list(self, *keys: str, mode: Mode = Mode.DEFAULT) -> None:
        """List addresses or prefixes."""
        with self.store() as store:
            items = [NewListing(parse_key(key), PROVEN_CODE, "test", "admin:test", mode) for key in keys]
            store.list(items, time.time())

    def unlist(self, *keys: str) -> None:
        """Take addresses off the list."""
        with self.store() as store:
            store.unlist([parse_key(key) for key in keys], "admin:test", "test", time.time())


def _environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT / "lib")}
