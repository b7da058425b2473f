"""Real SMTP clients in the tarpit: how long each mode holds them, and that a clean client's mail is none the worse."""

from __future__ import annotations

import contextlib
import grp
import hashlib
import pwd
import shutil
import smtplib
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from live.conftest import Pair
from live.daemon import Daemon
from live.nets import ROOT, Host, queue_rules, wait_for
from live.test_daemon import flood

TIMEOUT_S = 3
TIMES_LONGER = 5

POSTFIX_MAIN = """\
compatibility_level = 3.6
queue_directory = {path}/queue
data_directory = {path}/data
command_directory = /usr/sbin
daemon_directory = /usr/lib/postfix/sbin
maillog_file = {path}/mail.log
maillog_file_prefixes = {path}
myhostname = client.example.net
mydestination =
relayhost = [{server}]:25
inet_interfaces = loopback-only
inet_protocols = all
smtp_connect_timeout = {timeout_s}s
smtp_helo_timeout = {timeout_s}s
minimal_backoff_time = 1000s
disable_dns_lookups = yes
"""
POSTFIX_MASTER = """\
pickup    unix  n  -  n  1   1  pickup
cleanup   unix  n  -  n  -   0  cleanup
qmgr      unix  n  -  n  300 1  qmgr
tlsmgr    unix  -  -  n  1000? 1  tlsmgr
rewrite   unix  -  -  n  -   -  trivial-rewrite
bounce    unix  -  -  n  -   0  bounce
defer     unix  -  -  n  -   0  bounce
trace     unix  -  -  n  -   0  bounce
smtp      unix  -  -  n  -   -  smtp
relay     unix  -  -  n  -   -  smtp
error     unix  -  -  n  -   -  error
retry     unix  -  -  n  -   -  error
postlog   unix-dgram n -  n  -   1  postlogd
"""


@pytest.fixture
def daemon(pair: Pair, tmp_path) -> Iterator[Daemon]:
    """The server's daemon, its client listed."""
    queue_rules(pair.server)
    daemon = Daemon(pair.server, tmp_path)
    daemon.list(pair.client4, pair.client6)
    yield daemon
    if daemon.process.poll() is None:
        assert daemon.stop() == 0


def connections(host: Host, server: str) -> int:
    """How many connections to the server's port 25 the client believes to have."""
    return len(host.run("ss", "-Htn", "state", "established", "dst", endpoint(server)).stdout.splitlines())


def endpoint(server: str) -> str:
    return f"[{server}]:25" if ":" in server else f"{server}:25"


def held_s(host: Host, server: str, limit_s: float) -> float:
    """Return how long a client stays connected, at most `limit_s`; it must have been started just now."""
    wait_for(lambda: connections(host, server), "the client's connection")
    began = time.monotonic()
    while connections(host, server) and time.monotonic() - began < limit_s:
        time.sleep(0.1)
    return time.monotonic() - began


def run_smtplib(client: Host, server: str, _path: Path) -> None:
    def talk() -> None:
        with client.entered(), contextlib.suppress(OSError, smtplib.SMTPException):
            smtplib.SMTP(server, timeout=TIMEOUT_S)

    threading.Thread(target=talk, daemon=True).start()


def run_postfix(client: Host, server: str, path: Path) -> None:
    """Start an instance of its own with everything below `path`, and give it one mail."""
    config, owner = path / f"postfix-{server.replace(':', '-')}", pwd.getpwnam("postfix").pw_uid
    for folder in (config, config / "queue", config / "data"):
        folder.mkdir(exist_ok=True)
    config.chmod(0o755)
    shutil.chown(config / "data", owner, grp.getgrnam("postfix").gr_gid)
    (config / "main.cf").write_text(POSTFIX_MAIN.format(path=config, server=server, timeout_s=TIMEOUT_S))
    (config / "master.cf").write_text(POSTFIX_MASTER)
    client.start("postfix", "-c", config, "start-fg", stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wait_for((config / "queue" / "public" / "pickup").exists, "postfix")
    mail = "From: b@example.net\nTo: a@example.net\nSubject: hold me\n\nhello\n"
    client.run("sendmail", "-C", config, "-f", "b@example.net", "a@example.net", input=mail)


CLIENTS = {"smtplib": run_smtplib, "postfix": run_postfix}


@pytest.fixture
def client(pair: Pair, open_path, request) -> Iterator[Callable[[str], None]]:
    """Start the client that the test names; it goes with the test."""
    name = request.param
    if name != "smtplib" and not shutil.which(name):
        pytest.skip(f"needs {name}")
    yield lambda server: CLIENTS[name](pair.client, server, open_path)
    for config in open_path.glob("postfix-*"):
        pair.client.run("postfix", "-c", config, "abort", check=False)


@pytest.mark.parametrize("client", CLIENTS, indirect=True)
def test_throttle_lets_a_client_go_at_its_timeout_and_stutter_holds_it_far_longer(pair, daemon, client):
    daemon.configure(mode="throttle", stutter_interval_s=1.0)
    daemon.start()
    client(pair.server4)
    throttled_s = held_s(pair.client, pair.server4, 60)
    assert TIMEOUT_S / 2 < throttled_s < TIMEOUT_S * 2.5
    daemon.stop()
    daemon.start("--mode", "stutter")
    client(pair.server6)
    limit_s = max(15.0, TIMES_LONGER * throttled_s)
    assert held_s(pair.client, pair.server6, limit_s) >= limit_s
    assert daemon.await_event("HOLD")["mode"] == "stutter"


@pytest.mark.skipif(not shutil.which("swaks"), reason="needs swaks")
@pytest.mark.parametrize("mode", ["throttle", "stutter"])
def test_swaks_is_held_until_its_deadline(pair, daemon, mode):
    """Its deadline is one for a whole reply, so no server holds it longer with the greeting; without one it stays."""
    daemon.configure(mode=mode, stutter_interval_s=0.1)
    daemon.start()
    words = ("swaks", "--server", pair.server4, "--to", "a@example.net", "--from", "b@example.net", "--timeout")
    deadly = pair.client.start(*words, f"{TIMEOUT_S}s", stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
    patient = pair.client.start(*words, "0", stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    assert held_s(pair.client, pair.server4, TIMEOUT_S * 3) >= TIMEOUT_S * 3
    assert deadly.wait(TIMEOUT_S * 10) != 0
    assert "imeout" in deadly.communicate()[0]
    assert patient.poll() is None


def test_persist_closes_the_window_of_a_client_that_talks_and_answers_its_probes(pair, daemon):
    """The kernel's own TCP, with more to say than the window takes: it probes for ever and never gives up."""
    daemon.configure(mode="persist")
    daemon.start()
    with pair.client.entered():
        client = socket.create_connection((pair.server4, 25), 10)
    with client:
        assert client.recv(512).startswith(b"220 ")
        client.sendall(b"EHLO " + b"x" * 2000)
        daemon.await_event("DATA", mode="persist")
        shown = ("ss", "-Htno", "dst", endpoint(pair.server4))
        wait_for(lambda: "timer:(persist" in pair.client.run(*shown).stdout, "the client's persist timer")
    daemon.stop()
    assert daemon.events("STATS")[-1]["events_probe"] >= 1


@pytest.fixture
def sink(pair: Pair, tmp_path) -> Path:
    """A real SMTP server on port 25 in a process of its own; the folder of its mails."""
    argv = (sys.executable, "-m", "lab.smtpd", tmp_path / "mail", f"{pair.server4}:25", f"[{pair.server6}]:25")
    process = pair.server.start(*argv, stdout=subprocess.PIPE, text=True, cwd=ROOT / "t")
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return tmp_path / "mail" / "new"


def test_a_clean_clients_mail_arrives_intact_while_a_listed_one_floods(pair, tmp_path, sink):
    pair.server.ip("route", "add", "default", "via", pair.client4)
    queue_rules(pair.server)
    daemon = Daemon(pair.server, tmp_path)
    daemon.list("10.200.0.0/16")
    daemon.start()
    ended = threading.Event()

    def flood_on() -> None:
        while not ended.is_set():
            flood(pair, range(0xC80000, 0xC80400))

    flooder = threading.Thread(target=flood_on)
    flooder.start()
    sent = []
    try:
        for number, server in enumerate([pair.server4, pair.server6] * 5):
            body = "".join(f"{number} {line} {'spam' * 20}\r\n" for line in range(1000))
            sent.append(hashlib.sha256(body.encode()).hexdigest())
            with pair.client.entered(), smtplib.SMTP(server, timeout=60) as client:
                client.sendmail("b@example.net", ["a@example.net"], f"Subject: {number}\r\n\r\n{body}")
    finally:
        ended.set()
        flooder.join()
    bodies = [mail.read_bytes().partition(b"\r\n\r\n")[2] for mail in sink.iterdir()]
    assert sorted(hashlib.sha256(body).hexdigest() for body in bodies) == sorted(sent)
    assert daemon.stop() == 0
    assert daemon.events("STATS")[-1]["trapped_stutter"] > 0
    assert {pair.client4, pair.client6} <= set(daemon.archived())
