"""The tarpit daemon on the real kernel queue: who passes, who hangs, what it costs and what survives."""

from __future__ import annotations

import contextlib
import ctypes
import itertools
import json
import os
import pwd
import signal
import socket
import struct
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from live.conftest import Pair
from live.daemon import Daemon
from live.nets import Host, queue_rules, run, wait_for
from spamcannibal._core import build, decode
from spamcannibal.record import Mode

GREETING = b"220 mail.example.net"
ETH_P_IP, SYN, RST, ACK = 0x0800, 2, 4, 16


@pytest.fixture
def daemon(pair: Pair, tmp_path) -> Daemon:
    """The server's daemon, not started; its rules are in place."""
    queue_rules(pair.server)
    return Daemon(pair.server, tmp_path, stutter_interval_s=0.05)


@pytest.fixture
def listener(pair: Pair) -> Iterator[socket.socket]:
    """The mail server's socket on port 25, IPv4 and IPv6; it never waits long."""
    with pair.server.entered():
        sock = socket.create_server(("::", 25), family=socket.AF_INET6, dualstack_ipv6=True, backlog=128)
    with sock:
        yield sock


def connect(host: Host, addr: str, timeout_s: float = 10.0) -> socket.socket:
    with host.entered():
        return socket.create_connection((addr, 25), timeout_s)


def accepted(listener: socket.socket) -> socket.socket | None:
    """The next connection that reached the mail server, None if there is none now."""
    listener.settimeout(0.3)
    try:
        return listener.accept()[0]
    except TimeoutError:
        return None


def reaches(pair: Pair, listener: socket.socket, server: str) -> bool:
    """Say whether a connection gets through now."""
    with contextlib.suppress(TimeoutError), connect(pair.client, server, 2.0):
        through = accepted(listener)
        if through:
            through.close()
            return True
    return False


def is_silent(sock: socket.socket) -> bool:
    sock.settimeout(0.5)
    try:
        return not sock.recv(1)
    except TimeoutError:
        return True


def mac_of(host: Host) -> bytes:
    return bytes.fromhex(json.loads(host.ip("-j", "link", "show", "v0"))[0]["address"].replace(":", ""))


def flood(pair: Pair, sources: range) -> None:
    """Send one SYN from each 10.(number) to the server, without waiting for anything."""
    mac = mac_of(pair.server)
    with pair.client.entered():
        sock = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM)
    server = socket.inet_aton(pair.server4)
    with sock:
        for number in sources:
            src = bytes((10, *number.to_bytes(3, "big")))
            packet = build(src, server, 1024 + number % 60000, 25, seq=number, flags=SYN, window=64000)
            sock.sendto(packet, ("v0", ETH_P_IP, 0, 0, mac))


@pytest.mark.parametrize("family", ["v4", "v6"])
def test_listed_hangs_and_unlisted_passes_into_the_archive(pair, daemon, listener, family):
    server, client = (pair.server4, pair.client4) if family == "v4" else (pair.server6, pair.client6)
    daemon.start()
    assert reaches(pair, listener, server)
    wait_for(lambda: client in daemon.archived(), "the client in the archive")
    daemon.list(client)
    wait_for(lambda: not reaches(pair, listener, server), "the listing in force")
    daemon.await_event("TRAP", mode="stutter")
    daemon.unlist(client)
    wait_for(lambda: reaches(pair, listener, server), "the unlisting in force")
    assert daemon.stop() == 0


@pytest.mark.parametrize(("by", "family"), [("settings", "v4"), ("option", "v6"), ("listing", "v4"), ("listing", "v6")])
@pytest.mark.parametrize("mode", ["throttle", "persist", "stutter", "drop", "observe"])
def test_modes(pair, daemon, listener, mode, family, by):
    server, client = (pair.server4, pair.client4) if family == "v4" else (pair.server6, pair.client6)
    daemon.list(client, mode=Mode[mode.upper()] if by == "listing" else Mode.DEFAULT)
    if by == "settings":
        daemon.configure(mode=mode, stutter_interval_s=0.05)
    daemon.start(*(("--mode", mode) if by == "option" else ()))
    if mode == "drop":
        with pytest.raises(TimeoutError):
            connect(pair.client, server, 2.0)
        daemon.await_event("DROP", mode="drop")
        return
    with connect(pair.client, server) as sock:
        through = accepted(listener)
        assert bool(through) == (mode == "observe")
        if through:
            through.close()
            daemon.await_event("OBSERVE")
            return
        daemon.await_event("TRAP", mode=mode)
        if mode == "throttle":
            assert is_silent(sock)
        if mode == "persist":
            greeting = sock.recv(512)
            assert greeting.startswith(GREETING + b" ")
            assert greeting.endswith(b"\r\n")
            assert is_silent(sock)
        if mode == "stutter":
            received = b""
            while len(received) < 2 * len(GREETING):
                byte = sock.recv(1)
                assert byte
                received += byte
            assert received.startswith(b"220-mail.example.net")
    assert daemon.stop() == 0


def test_a_client_that_leaves_is_released(pair, daemon):
    daemon.list(pair.client4)
    daemon.start()
    sock = connect(pair.client, pair.server4)
    assert sock.recv(1) == b"2"
    port = sock.getsockname()[1]
    sock.close()
    daemon.await_event("RELEASE", src=f"{pair.client4}:{port}")
    daemon.stop()
    assert daemon.events("STATS")[-1]["held"] == 0


@pytest.mark.parametrize("tool", ["iptables-nft", "iptables-legacy"])
@pytest.mark.parametrize("queues", ["3", "0:3"])
def test_either_form_of_iptables_and_several_queues(pair, tmp_path, listener, tool, queues):
    queue_rules(pair.server, queues, tool=tool)
    daemon = Daemon(pair.server, tmp_path, queues=queues)
    daemon.list(pair.client4)
    daemon.start()
    for _ in range(8):
        assert not reaches(pair, listener, pair.server4)
        assert reaches(pair, listener, pair.server6)
    assert daemon.stop() == 0
    assert daemon.events("STATS")[-1]["trapped_stutter"] == 8


@pytest.mark.parametrize("listed", [True, False], ids=["listed", "unlisted"])
@pytest.mark.parametrize("option", ["-X", "--observe", None])
def test_other_protocols_are_dropped_from_listed_sources_if_asked(pair, daemon, option, listed):
    pair.server.run("iptables", "-A", "INPUT", "-p", "udp", "-j", "NFQUEUE", "--queue-num", "0", "--queue-bypass")
    if listed:
        daemon.list(pair.client4)
    daemon.start(*([option] if option else []))
    with pair.server.entered():
        receiver = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with pair.client.entered():
        sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with receiver, sender:
        receiver.bind((pair.server4, 25))
        receiver.settimeout(0.7)
        sender.sendto(b"hello", (pair.server4, 25))
        if listed and option == "-X":
            with pytest.raises(TimeoutError):
                receiver.recv(10)
            daemon.await_event("DROP", src=f"{pair.client4}:0")
        else:
            assert receiver.recv(10) == b"hello"
    if not listed:
        daemon.stop()
        assert (pair.client4 in daemon.archived()) == (option == "-X")


@pytest.mark.parametrize("option", ["-L", None])
@pytest.mark.parametrize("addr", ["127.0.0.1", "::1"])
def test_loopback_sources_are_let_alone_unless_asked(pair, daemon, listener, option, addr):
    daemon.never_list("")
    daemon.list(addr)
    daemon.start(*([option] if option else []))
    with connect(pair.server, addr) as sock:
        assert bool(accepted(listener)) == (option is None)
        if option:
            assert sock.recv(1) == b"2"  # by a raw IP socket: loopback is no Ethernet


@pytest.mark.parametrize("option", ["-k", None])
def test_a_stray_synack_is_reset_unless_unwanted(pair, daemon, option):
    daemon.list(pair.client4)
    daemon.start(*([option] if option else []))
    client, server = socket.inet_aton(pair.client4), socket.inet_aton(pair.server4)
    with pair.client.entered():
        raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
        heard = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_TCP)
    with raw, heard:
        raw.sendto(build(client, server, 4321, 25, seq=1000, ack=777, flags=SYN | ACK, window=9), (pair.server4, 0))
        daemon.await_event("SYNACK", src=f"{pair.client4}:4321")
        heard.settimeout(1)
        if option:
            with pytest.raises(TimeoutError):
                heard.recv(1500)
        else:
            _, reply = decode(heard.recv(1500))
            assert reply is not None
            assert (reply["flags"], reply["seq"], reply["dport"]) == (RST, 777, 4321)


def test_killed_and_restarted_under_traffic_nothing_that_passes_is_harmed_and_who_is_held_stays(pair, daemon, listener):
    daemon.list(pair.client4)
    daemon.start()
    held = connect(pair.client, pair.server4)
    assert held.recv(1) == b"2"
    passing = connect(pair.client, pair.server6)
    other_end = accepted(listener)
    assert other_end
    listener.settimeout(10)
    ended = threading.Event()
    failures: list[Exception] = []

    def traffic() -> None:
        """The passing connection echoes, and new ones get through, all the time."""
        while not ended.is_set():
            try:
                passing.sendall(b"x")
                assert other_end.recv(1) == b"x"
                with connect(pair.client, pair.server6), listener.accept()[0]:
                    pass
            except Exception as error:
                failures.append(error)
                return

    talker = threading.Thread(target=traffic)
    talker.start()
    slots = daemon.path / "store" / "tarpit.slots"
    wait_for(lambda: b"\0" in slots.read_bytes()[60:] if slots.exists() else False, "the slot on disk")
    for _ in range(3):
        daemon.process.kill()
        daemon.process.wait()
        daemon.start()
    ended.set()
    talker.join()
    assert not failures
    # What was written down of it is old by now; its own ACKs say where it stands.
    received = b"2"
    while len(received) < 4 * len(GREETING):
        byte = held.recv(1)
        assert byte
        received += byte
    lines = received.split(b"\r\n")
    assert len(set(lines[:-1])) == 1
    assert lines[0].startswith(b"220-mail.example.net")
    assert daemon.stop() == 0


def test_an_orderly_restart_goes_on_feeding_who_is_held(pair, daemon):
    daemon.list(pair.client4)
    daemon.start()
    held = connect(pair.client, pair.server4)
    assert held.recv(1) == b"2"
    assert daemon.stop() == 0
    daemon.start()
    assert daemon.events("HELD")[-1]["connections"] == 1
    received = b"2"
    while len(received) < 2 * len(GREETING):
        byte = held.recv(1)
        assert byte
        received += byte
    assert received.startswith(b"220-mail.example.net")


def test_an_overflowing_queue_fails_open(pair, tmp_path, listener):
    queue_rules(pair.server)
    daemon = Daemon(pair.server, tmp_path, queue_length=16)
    daemon.list(pair.client4)
    process = daemon.start()
    process.send_signal(signal.SIGSTOP)
    flood(pair, range(100, 400))
    assert reaches(pair, listener, pair.server6)
    assert reaches(pair, listener, pair.server4)  # listed, but better through than lost
    process.send_signal(signal.SIGCONT)
    wait_for(lambda: not reaches(pair, listener, pair.server4), "the daemon's return")
    assert daemon.stop() == 0
    stats = daemon.events("STATS")[-1]
    assert 0 < stats["unseen"] < 300
    assert stats["packets"] == stats["accepted"] + stats["dropped"]


def test_a_flood_of_distinct_sources_is_bounded_and_says_what_was_shed(pair, tmp_path, listener):
    pair.server.ip("route", "add", "default", "via", pair.client4)
    queue_rules(pair.server)
    daemon = Daemon(pair.server, tmp_path, sightings=256)
    daemon.list(pair.client4, "10.200.0.0/16")
    process = daemon.start()

    def resident_kb() -> int:
        return int(next(line for line in _status(process.pid) if line.startswith("VmRSS")).split()[1])

    flood(pair, range(1, 2000))
    wait_for(daemon.archived, "the archive")
    before = resident_kb()
    for start in range(0x010000, 0x010000 + 20_000, 2000):
        flood(pair, range(start, start + 2000))
    flood(pair, range(0xC80000, 0xC80000 + 6000))  # listed: events without number
    assert resident_kb() - before < 32 * 1024
    assert reaches(pair, listener, pair.server6)
    assert not reaches(pair, listener, pair.server4)
    assert daemon.stop() == 0
    stats = daemon.events("STATS")[-1]
    assert stats["sightings_shed"] > 0
    assert stats["packets"] == stats["accepted"] + stats["dropped"]
    assert 0 < len(daemon.archived()) < 22_000


def _status(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/status").read_text().splitlines()


def test_a_full_disk_costs_notes_and_no_verdict(pair, tmp_path, listener):
    pair.server.ip("route", "add", "default", "via", pair.client4)
    queue_rules(pair.server)
    daemon = Daemon(pair.server, tmp_path)
    store = tmp_path / "store"
    store.mkdir()
    run("mount", "-t", "tmpfs", "-o", "size=256m", "tmpfs", store)
    try:
        daemon.list(pair.client4)
        daemon.start()
        with contextlib.suppress(OSError), (store / "filler").open("wb", buffering=0) as filler:
            while filler.write(bytes(1 << 16)):
                pass
        numbers = itertools.count(1, 1000)

        def flooded() -> list[dict[str, object]]:
            start = next(numbers)
            flood(pair, range(start, start + 1000))
            return daemon.events("TROUBLE", what="contacts")

        wait_for(flooded, "the store's complaint", limit_s=60)
        assert not reaches(pair, listener, pair.server4)
        assert reaches(pair, listener, pair.server6)
        (store / "filler").unlink()
        daemon.await_event("RECOVERED", what="contacts")
        wait_for(lambda: daemon.contact(pair.client6), "the notes that waited")
        assert daemon.stop() == 0
    finally:
        run("umount", "-l", store)  # the lab kills the daemon later


def test_what_a_fresh_listing_has_open_is_cut(pair, daemon, listener):
    daemon.start()
    sock = connect(pair.client, pair.server4)
    other_end = accepted(listener)
    assert other_end
    sock.sendall(b"before")
    assert other_end.recv(10) == b"before"
    daemon.list(pair.client4)
    wait_for(lambda: pair.client4 not in pair.server.run("conntrack", "-L", "-s", pair.client4).stdout, "the cut")
    sock.sendall(b"after")
    assert is_silent(other_end)


def test_reload_swaps_what_it_can_and_keeps_the_old_settings_when_the_new_are_wrong(pair, daemon, listener):
    daemon.list(pair.client4)
    process = daemon.start()
    daemon.configure(mode="observe", queues="0:1")
    process.send_signal(signal.SIGHUP)
    assert daemon.await_event("RELOAD")["needs_restart"] == "tarpit.queues"
    assert reaches(pair, listener, pair.server4)
    daemon.configure(mode="persits")
    process.send_signal(signal.SIGHUP)
    assert "persist" in daemon.await_event("RELOAD", done=False)["why"]
    assert reaches(pair, listener, pair.server4)
    daemon.configure(mode="throttle")
    process.send_signal(signal.SIGHUP)
    wait_for(lambda: len(daemon.events("RELOAD", done=True)) == 2, "the second reload")
    assert not reaches(pair, listener, pair.server4)
    assert daemon.stop() == 0


def test_supervisor_is_told(pair, daemon, tmp_path):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notices:
        notices.bind(str(tmp_path / "notify"))
        notices.settimeout(15)
        daemon.start(env={"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "200000"})
        assert notices.recv(100) == b"READY=1"
        assert notices.recv(100) == b"WATCHDOG=1"
        daemon.stop()
        while notices.recv(100) != b"STOPPING=1":
            pass


def test_a_user_without_rights_can_run_it_once_the_queues_are_bound(pair, open_path, listener):
    queue_rules(pair.server)
    daemon = Daemon(pair.server, open_path, user="nobody", stutter_interval_s=0.05)
    uid = pwd.getpwnam("nobody").pw_uid
    for folder in (open_path, open_path / "store"):
        folder.mkdir(exist_ok=True)
        os.chown(folder, uid, -1)
    process = daemon.start()
    status = dict(line.split(":\t", 1) for line in _status(process.pid) if ":\t" in line)
    assert status["Uid"].split() == [str(uid)] * 4
    assert int(status["CapEff"], 16) == 1 << 12
    assert reaches(pair, listener, pair.server4)
    with daemon.store():
        pass
    daemon.list(pair.client4)
    wait_for(lambda: not reaches(pair, listener, pair.server4), "the listing in force")
    assert daemon.stop() == 0
    assert pair.client4 in daemon.archived() or daemon.events("TRAP")


def test_a_queue_lost_to_the_daemon_ends_it_with_an_error(pair, daemon):
    """Unbind the queue behind the daemon's back, by a copy of its own socket."""
    process = daemon.start()
    libc = ctypes.CDLL(None, use_errno=True)
    pidfd = os.pidfd_open(process.pid)
    sockets = [int(fd.name) for fd in Path(f"/proc/{process.pid}/fd").iterdir() if "socket:" in str(fd.readlink())]
    unbind = struct.pack("=IHHIIBBHHHBBH", 28, 3 << 8 | 2, 1, 0, 0, 0, 0, 0, 8, 1, 2, 0, 0)
    for number in sockets:
        copy = libc.syscall(438, pidfd, number, 0)  # pidfd_getfd
        with socket.socket(fileno=copy) as sock:
            if sock.family == socket.AF_NETLINK:
                sock.send(unbind)
    os.close(pidfd)
    assert process.wait(30) == 1
    assert "queue 0" in daemon.lines()[-1]["text"]


@pytest.mark.parametrize("missing", ["CAP_NET_ADMIN", "CAP_NET_RAW"])
def test_a_missing_capability_is_one_line_and_exit_69(daemon, missing):
    daemon.host = WithoutCapability(daemon.host, missing)
    assert daemon.launch().wait(30) == 69
    assert missing in daemon.lines()[-1]["text"]


class WithoutCapability:
    """A host whose processes start without one capability."""

    def __init__(self, host: Host, name: str) -> None:
        self.host = host
        self.words = ("setpriv", f"--bounding-set=-{name[4:].lower()}", f"--inh-caps=-{name[4:].lower()}")

    def start(self, *argv, **options):
        return self.host.start(*self.words, *argv, **options)


def test_a_queue_that_is_bound_is_one_line_and_exit_69(daemon):
    first = daemon.start()
    assert daemon.launch().wait(30) == 69
    assert f"netlink port {first.pid}" in daemon.lines()[-1]["text"]


def test_an_unreadable_store_is_one_line_and_exit_74(daemon, tmp_path):
    (tmp_path / "store").write_text("a file, not a directory")
    assert daemon.launch().wait(30) in (74, 78)
    assert str(tmp_path / "store") in daemon.lines()[-1]["text"]


def test_a_wrong_setting_is_one_line_and_exit_78(daemon):
    daemon.configure(moode="drop")
    assert daemon.launch().wait(30) == 78
    assert "moode" in daemon.lines()[-1]["text"]


def test_another_store_in_the_place_of_ours_ends_it_so_that_it_starts_anew(daemon, tmp_path):
    daemon.start()
    daemon.list("192.0.2.1")
    (tmp_path / "store").rename(tmp_path / "was")
    with daemon.store():
        pass
    assert daemon.process.wait(30) == 75
    assert "another database was put here" in daemon.lines()[-1]["text"]
    daemon.start()
    assert daemon.stop() == 0
