"""The spam trap with real SMTP clients (swaks, smtplib, raw ones that misbehave), beside the DNS server under `up`."""

from __future__ import annotations

import contextlib
import shutil
import signal
import smtplib
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from gather_kit import NoGuard, environment
from live.conftest import Pair
from live.nets import wait_for
from spamcannibal.addr import parse_addr, reversed_name
from spamcannibal.colours import COLOURS
from spamcannibal.record import PROVEN_CODE, Piece
from spamcannibal.store.env import Env
from spamcannibal.store.stores import NewListing, Store

SERVER, CLIENT, NEVER, WHITE, BIG = (f"203.0.113.{n}" for n in (1, 2, 99, 98, 97))
SERVER6, CLIENT6 = "2001:db8:77::1", "2001:db8:77::2"
SETTINGS = """\
store.path = "store"
guard.never_list = "never-list"
[dnsbl]
listen = ["127.0.0.1:53"]
[[dnsbl.zone]]
name = "bl.example.org"
[trap]
listen = ["0.0.0.0:25", "[::]:25"]
hostname = "mx.trap.example"
recipients = ["bait@example.org", "trap.example"]
message_limit_bytes = "64KiB"
per_source = 3
per_minute = 1000
idle_s = {idle_s}
session_s = {session_s}
user = "nobody"
[services]
enabled = ["dnsbl", "trap"]
"""


class Trap:
    """The services in the server's namespace; their store is ours to read."""

    def __init__(self, pair: Pair, path: Path) -> None:
        self.pair = pair
        self.path = path
        (path / "never-list").write_text(f"{NEVER}\n")
        self.configure()
        (path / "store").mkdir()
        shutil.chown(path / "store", "nobody")
        self.store = Store(Env(path / "store", cache_bytes=1 << 20), NoGuard())

    def configure(self, idle_s: float = 60, session_s: float = 300) -> None:
        (self.path / "sc.toml").write_text(SETTINGS.format(idle_s=idle_s, session_s=session_s))

    def argv(self, *words: object) -> list[str]:
        return [sys.executable, "-P", "-m", "spamcannibal", "-c", str(self.path / "sc.toml"), *map(str, words)]

    def start(self) -> None:
        with (self.path / "log").open("wb") as log:
            self.up = self.pair.server.start(*self.argv("up"), stdout=log, stderr=log, env=environment())
        wait_for(lambda: "UP services" in self.log or self.up.poll() is not None, "the services are up", 60)
        assert self.up.poll() is None, self.log

    def stop(self) -> str:
        self.up.terminate()
        assert self.up.wait(60) == 0, self.log
        return next(line for line in self.log.splitlines() if "STOP service=trap" in line)

    @property
    def log(self) -> str:
        return (self.path / "log").read_text()

    @property
    def pid(self) -> int:
        line = next(line for line in self.log.splitlines() if "START service=trap pid=" in line)
        return int(line.rpartition("pid=")[2])

    def swaks(self, recipients: str, *options: str, source: str = CLIENT) -> str:
        words = ("swaks", "--server", SERVER, "--from", "a@bad.example", "--to", recipients, "--hide-all")
        words = (*words[:-1], "--local-interface", source, "--helo", "bad.example", *options)
        return self.pair.client.run(*words, check=False, timeout=120).stdout

    def connect(self, source: str = CLIENT) -> socket.socket:
        """A connection that has read its greeting, or been told to go."""
        with self.pair.client.entered():
            return socket.create_connection((SERVER, 25), 60, source_address=(source, 0))

    def answers(self, address: str) -> str:
        name = f"{reversed_name(parse_addr(address))}.bl.example.org"
        kind = self.pair.server.run("dig", "+short", "+tries=1", "+time=2", "@127.0.0.1", name, check=False)
        return kind.stdout.strip()

    def await_listing(self, address: str) -> list[Piece]:
        """Wait until DNS says so; the evidence."""
        wait_for(lambda: self.answers(address) == "127.0.0.2", f"DNS answers that {address} is listed", 30)
        key, listing = self.store.get(parse_addr(address)) or (b"", None)
        assert listing is not None and listing.code == PROVEN_CODE
        change = self.store.change(listing.seq)
        assert change is not None and change.source == "trap:main"
        return self.store.evidence(key)


@pytest.fixture
def trap(pair: Pair) -> Iterator[Trap]:
    if shutil.which("swaks") is None:
        pytest.skip("needs swaks")
    for server, client in ((f"{SERVER}/24", f"{CLIENT}/24"), (f"{SERVER6}/64", f"{CLIENT6}/64")):
        device = pair.lab.link(pair.server, pair.client, server, client)
    for addr in (NEVER, WHITE, BIG):
        pair.client.ip("addr", "add", f"{addr}/24", "dev", device)
    with TemporaryDirectory(prefix="sc-trap-") as place:  # not pytest's directory: nobody must get there
        Path(place).chmod(0o755)
        made = Trap(pair, Path(place))
        try:
            yield made
        finally:
            made.store.close()


def give_away(path: Path) -> None:
    """Let the trap's user write what we, as root, made in its store."""
    for each in path.iterdir():
        shutil.chown(each, "nobody")


def test_who_writes_to_a_trap_is_listed_with_evidence_and_nobody_else_is_served(trap: Trap) -> None:
    with contextlib.closing(Store(Env(trap.path / "store", cache_bytes=1 << 20), NoGuard())) as writer:
        white = COLOURS["white"]
        writer.list([NewListing(parse_addr(WHITE), white.code, source="gather:mx", flags=white.flags)], time.time())
    give_away(trap.path / "store")
    trap.start()

    said = trap.swaks("victim@elsewhere.example", "--quit-after", "RCPT")
    assert "550 5.1.1" in said and "relay" not in said
    said = trap.swaks("bait@example.org,victim@elsewhere.example", "--header", "Subject: cheap pills")
    assert said.count("550 5.1.1 no such recipient") == 1 and "550 5.7.1 this address takes no mail" in said
    (piece,) = trap.await_listing(CLIENT)
    assert b"Subject: cheap pills" in piece.body and b"bad.example ([203.0.113.2])" in piece.body
    assert b"bait" not in piece.body and b"mx.trap.example" not in piece.body

    with trap.pair.client.entered(), smtplib.SMTP(SERVER6, 25, timeout=60) as client:
        for sender, code in (("", 550), ("a@bad.example", 250)):
            client.ehlo("bad.example")
            client.mail(sender)
            assert client.rcpt("x@trap.example")[0] == code
        assert client.verify("root")[0] == 252 and client.docmd("EXPN", "root")[0] == 502
        assert client.data(b"Subject: six\r\n\r\n.hidden dot\r\n")[0] == 550
    (piece,) = trap.await_listing("2001:db8:77::ffff")  # of the same /64
    assert b"Subject: six" in piece.body and b"\n.hidden dot" in piece.body

    for count, source in enumerate((NEVER, WHITE), 1):
        assert "550 5.7.1" in trap.swaks("x@trap.example", source=source)
        wait_for(lambda count=count: trap.log.count("what=spared") == count, "the trap spares it", 30)
        assert trap.answers(source) == ""

    settings = trap.path / "sc.toml"
    settings.write_text(settings.read_text().replace('"bait@example.org", ', '"new@example.org", '))
    trap.up.send_signal(signal.SIGHUP)
    wait_for(lambda: "RELOAD service=trap result=done" in trap.log, "the trap has read its settings again", 30)
    assert "550 5.1.1" in trap.swaks("bait@example.org", source=NEVER)
    assert "550 5.7.1" in trap.swaks("new@example.org", source=NEVER)
    assert "caught=2 spared=3" in trap.stop()


def test_huge_slow_and_silent_clients_are_bounded_and_others_go_on(trap: Trap) -> None:
    trap.configure(idle_s=4, session_s=6)
    give_away(trap.path / "store")
    trap.start()
    with trap.connect(BIG) as sock:
        dialogue = b"EHLO x\r\nMAIL FROM:<a@bad.example>\r\nRCPT TO:<x@trap.example>\r\nDATA\r\n"
        sock.sendall(dialogue)
        got = b""
        while b"354 " not in got:
            got += sock.recv(4096)
        with contextlib.suppress(ConnectionError):  # cut before all of it was sent
            sock.sendall(b"Subject: big\r\n\r\n" + b"buy our pills now\r\n" * 550_000 + b".\r\n")
        with contextlib.suppress(ConnectionError):
            while sock.recv(65536):
                pass
    (piece,) = trap.await_listing(BIG)
    assert b"Subject: big" in piece.body and 5_000 < len(piece.body) <= 10_000

    dripping, silent, deaf = trap.connect(), trap.connect(), trap.connect()
    with trap.connect() as fourth:
        assert fourth.recv(100).startswith(b"421 ")
    deaf.setblocking(False)
    with contextlib.suppress(BlockingIOError, ConnectionError):  # so many commands end a connection
        while deaf.send(b"HELP\r\n" * 1000):
            pass
    assert b"220 " in dripping.recv(1000)
    with contextlib.suppress(ConnectionError):
        for _ in range(1000):
            dripping.sendall(b"N")  # never a whole command
            time.sleep(0.05)
    for sock in (silent, deaf):
        sock.settimeout(60)
        with contextlib.suppress(ConnectionError):
            while sock.recv(65536):
                pass
    for sock in (dripping, silent, deaf):
        sock.close()
    wait_for(lambda: "550 5.7.1" in trap.swaks("x@trap.example"), "the places are free again", 60)
    peak = next(line for line in Path(f"/proc/{trap.pid}/status").read_text().splitlines() if line.startswith("VmHWM"))
    assert int(peak.split()[1]) < 200_000, peak
    assert "refused_per_source=1" in trap.stop()
