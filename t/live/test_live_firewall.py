"""The firewall on the real kernel: what reaches the queue, what does not, and what is left when it is removed."""

from __future__ import annotations

import errno
import json
import os
import re
import select
import socket
import struct
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from netfilterqueue import NetfilterQueue, Packet

from live.nets import Host, Lab, wait_for
from spamcannibal.addr import parse_key
from spamcannibal.errors import Unsupported
from spamcannibal.tarpit import firewall, rules
from spamcannibal.tarpit.firewall import BACKENDS, cut_established
from spamcannibal.tarpit.rules import Plan

LIB = Path(__file__).parents[2] / "lib"
SERVER, CLIENT = {4: "10.77.0.1", 6: "fd77::1"}, {4: "10.77.0.2", 6: "fd77::2"}
FAMILIES = (4, 6)
PORT = 25
SYN, RST_ACK, PSH_ACK = 0x02, 0x14, 0x18

Verdict = Callable[[Packet], None]

TCP_REPAIR = 19  # <linux/tcp.h>; closing such a socket tells nobody


class Net:
    """A server that applies the firewall and a client."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.server, self.client = lab.host("server"), lab.host("client")
        for family, plen in ((4, 24), (6, 64)):
            lab.link(self.server, self.client, f"{SERVER[family]}/{plen}", f"{CLIENT[family]}/{plen}")

    def apply(self, backend: str, **keys: object) -> None:
        wanted = Plan(**keys)  # type: ignore[arg-type]
        with self.server.entered():
            firewall.apply(wanted, firewall.choose(wanted, backend))

    def command(self, *argv: object, under: tuple[str, ...] = (), check: bool = True) -> tuple[int, str, str]:
        """Run `spamcannibal firewall ...` on the server; return (exit code, stdout, stderr)."""
        python = ("env", f"PYTHONPATH={LIB}", sys.executable, "-m", "spamcannibal", "firewall")
        done = self.server.run(*under, *python, *argv, check=check)
        return done.returncode, done.stdout, done.stderr

    def saved(self, backend: str) -> list[str]:
        """All rules of all backends in the server, without counters and comments."""
        tools = [f"{tool}-{kind}-save" for tool in ("iptables", "ip6tables") for kind in ("nft", "legacy")]
        text = self.server.run("nft", "list", "ruleset").stdout if backend == "nft" else ""
        text += "".join(self.server.run(tool).stdout for tool in tools)
        text = re.sub(r"\[\d+:\d+\]|packets \d+ bytes \d+", "", text)
        return [line for line in text.splitlines() if not line.startswith("#")]

    def entries(self, family: int, port: int = PORT) -> list[str]:
        """The server's connection tracking entries to a port."""
        shown = self.server.run("conntrack", "-L", "-f", f"ipv{family}", "-p", "tcp", "--dport", port)
        return shown.stdout.splitlines()


@pytest.fixture
def net() -> Iterator[Net]:
    with Lab("scfw-") as lab:
        yield Net(lab)


@pytest.fixture(params=BACKENDS)
def backend(request: pytest.FixtureRequest, net: Net) -> str:
    """Each backend that this kernel can do."""
    with net.server.entered():
        try:
            return firewall.choose(Plan(), request.param)
        except Unsupported as error:
            pytest.skip(str(error))


class Queue:
    """Queue 0 of a host, bound by a thread of this process; keeps the packets that it saw."""

    def __init__(self, host: Host, verdict: Verdict) -> None:
        self.packets: list[bytes] = []
        self._verdict = verdict
        with host.entered():
            self._queue = NetfilterQueue()
        self._queue.bind(0, self._take)
        self._wake, self._waker = socket.socketpair()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _take(self, packet: Packet) -> None:
        self.packets.append(packet.get_payload())
        self._verdict(packet)

    def _run(self) -> None:
        while True:
            ready, _, _ = select.select([self._queue.get_fd(), self._wake], [], [])
            if self._wake in ready:
                return
            self._queue.run(block=False)

    def close(self) -> None:
        self._waker.send(b"x")
        self._thread.join()
        self._queue.unbind()
        self._wake.close()
        self._waker.close()

    def tcp(self, port: int = PORT) -> list[tuple[int, bytes]]:
        """(flags, payload) of the TCP packets to a port."""
        return [
            (tcp[13], tcp[(tcp[12] >> 4) * 4 :])
            for tcp in map(_tcp_part, self.packets)
            if tcp and int.from_bytes(tcp[2:4]) == port
        ]


def _tcp_part(packet: bytes) -> bytes:
    if packet[0] >> 4 == 4:
        return packet[(packet[0] & 15) * 4 :] if packet[9] == socket.IPPROTO_TCP else b""
    return packet[40:] if packet[6] == socket.IPPROTO_TCP else b""


@contextmanager
def queue(host: Host, verdict: Verdict = Packet.accept) -> Iterator[Queue]:
    made = Queue(host, verdict)
    try:
        yield made
    finally:
        made.close()


def listen(host: Host, addr: str, port: int = PORT) -> socket.socket:
    with host.entered():
        made = socket.create_server((addr, port), family=socket.AF_INET6 if ":" in addr else socket.AF_INET)
    made.settimeout(10)
    return made


def connect(host: Host, addr: str, port: int = PORT) -> socket.socket:
    with host.entered():
        return socket.create_connection((addr, port), timeout=10)


def begin(host: Host, addr: str, port: int = PORT) -> socket.socket:
    """Send a SYN and do not wait."""
    with host.entered():
        made = socket.socket(socket.AF_INET6 if ":" in addr else socket.AF_INET)
    made.setblocking(False)
    assert made.connect_ex((addr, port)) == errno.EINPROGRESS
    return made


@contextmanager
def session(client: Host, server: Host, addr: str, port: int = PORT) -> Iterator[tuple[socket.socket, socket.socket]]:
    """Yield (client's, server's) ends of a real connection."""
    with listen(server, addr, port) as listener, connect(client, addr, port) as here:
        there, _ = listener.accept()
        there.settimeout(10)
        with there:
            yield here, there


def ping(host: Host, family: int) -> None:
    """Send the server an echo request; the kernel fills in the checksum of ICMPv6 only."""
    request, protocol = {
        4: ("0800f7ff00000000", socket.IPPROTO_ICMP),
        6: ("8000000000000000", socket.IPPROTO_ICMPV6),
    }[family]
    with host.entered(), socket.socket(_family(family), socket.SOCK_RAW, protocol) as sock:
        sock.sendto(bytes.fromhex(request), (SERVER[family], 0))


def talk(here: socket.socket, there: socket.socket, turns: int = 20) -> None:
    for turn in range(turns):
        for one, other in ((there, here), (here, there)):
            one.sendall(b"%d\r\n" % turn)
            assert other.recv(100) == b"%d\r\n" % turn


def test_applying_twice_is_the_same_and_removing_leaves_what_was_there(net: Net, backend: str) -> None:
    front = "iptables-nft" if backend == "nft" else backend
    for tool in (front, front.replace("iptables", "ip6tables")):
        net.server.run(tool, "-t", "mangle", "-N", "OPERATORS")
        net.server.run(tool, "-t", "mangle", "-A", "INPUT", "-p", "udp", "-j", "OPERATORS")
        net.server.run(tool, "-t", "raw", "-A", "OUTPUT", "-p", "udp", "--dport", "9", "-j", "ACCEPT")
    before = net.saved(backend)
    settings = {"ports": range(100, 120), "queues": range(2), "other_protocols": True, "hooks": ("input", "forward")}
    net.apply(backend, **settings)
    once = net.saved(backend)
    net.apply(backend, **settings)
    assert net.saved(backend) == once != before
    with net.server.entered():
        found = list(firewall.present())
        assert {name for name, _ in found} == {backend}
        assert {rule.family for _, rule in found} == ({"inet"} if backend == "nft" else {"ipv4", "ipv6"})
        assert firewall.remove() == [backend]
        assert firewall.remove() == []
    assert net.saved(backend) == before


def test_nothing_but_empty_tables_is_left_where_nothing_was(net: Net, backend: str) -> None:
    net.apply(backend)
    with net.server.entered():
        firewall.remove()
    assert "chain" not in net.server.run("nft", "list", "ruleset").stdout
    assert not any(line.startswith("-A") or "SPAMCANNIBAL" in line for line in net.saved(backend))


def test_another_backend_takes_the_place_of_the_first(net: Net) -> None:
    net.apply("iptables-legacy")
    net.apply("iptables-nft")
    with net.server.entered():
        assert {name for name, _ in firewall.present()} == {"iptables-nft"}


def test_appliers_at_the_same_time_leave_one_set_of_rules(net: Net, backend: str) -> None:
    net.apply(backend)
    once = net.saved(backend)
    wanted = Plan()
    failures: list[Exception] = []

    def repeat() -> None:
        try:
            with net.server.entered():
                for _ in range(3):
                    firewall.apply(wanted, backend)
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=repeat) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert net.saved(backend) == once


@pytest.mark.parametrize("family", FAMILIES)
def test_of_a_whole_connection_only_the_syn_reaches_the_queue(net: Net, backend: str, family: int) -> None:
    net.apply(backend)
    with queue(net.server) as seen:
        with session(net.client, net.server, SERVER[family]) as (here, there):
            talk(here, there)
            assert [flags for flags, _ in seen.tcp()] == [SYN]
        with session(net.client, net.server, SERVER[family], 2525) as (here, there):
            talk(here, there, 2)
        with session(net.server, net.client, CLIENT[family]) as (here, there):
            talk(here, there, 2)
        assert [flags for flags, _ in seen.tcp()] == [SYN]
        assert len(seen.packets) == 1
    with net.server.entered():
        packets = {rule.packets for _, rule in firewall.present() if "NFQUEUE" in rule.rule or "queue" in rule.rule}
    assert packets == {0, 1} if backend != "nft" else {1}


def test_the_nft_form_selects_the_same_packets_with_a_plain_verdict_in_place_of_the_queue(net: Net) -> None:
    script = re.sub(r"queue num .*", "accept", rules.nft_apply(Plan(other_protocols=True)))
    for _ in range(2):
        net.server.run("nft", "-f", "-", input=script)
    for family in FAMILIES:
        with session(net.client, net.server, SERVER[family]) as (here, there):
            talk(here, there)
        ping(net.client, family)

    def counted() -> dict[str, int | None]:
        listed = net.server.run("nft", "list", "table", "inet", rules.NFT_TABLE).stdout
        return {rule.rule: rule.packets for rule in rules.nft_rules(listed)}

    wait_for(lambda: counted()["meta l4proto != tcp ct state new accept"] == 2, "two echo requests counted")
    assert counted()["tcp dport 25 accept"] == 2
    net.server.run("nft", "-f", "-", input=rules.NFT_REMOVE)
    assert net.server.run("nft", "list", "ruleset").stdout == ""


@pytest.mark.parametrize("family", FAMILIES)
def test_without_a_daemon_mail_passes(net: Net, backend: str, family: int) -> None:
    net.apply(backend, queues=range(4))
    with session(net.client, net.server, SERVER[family]) as (here, there):
        talk(here, there, 2)


@pytest.mark.parametrize("loose", [0, 1])
@pytest.mark.parametrize("family", FAMILIES)
def test_without_a_daemon_what_was_held_is_not_reset(net: Net, backend: str, family: int, loose: int) -> None:
    net.apply(backend)
    net.server.sysctl("net.netfilter.nf_conntrack_tcp_loose", loose)
    with session(net.client, net.server, SERVER[family]) as (here, there):
        # As the tarpit leaves it: the client's side lives, and the host knows nothing of it.
        there.setsockopt(socket.IPPROTO_TCP, TCP_REPAIR, 1)
        there.close()
        net.server.run("conntrack", "-F")
        here.sendall(b"x")
        here.settimeout(0.7)
        with pytest.raises(TimeoutError):
            here.recv(1)
        net.command("remove")  # the contrast: the host itself resets it at the next retransmission
        here.settimeout(10)
        with pytest.raises(ConnectionResetError):
            here.recv(1)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_later_drop_in_the_filter_table_still_holds(net: Net, backend: str, family: int) -> None:
    net.apply(backend)
    front = ("ip6tables" if family == 6 else "iptables") + ("-legacy" if "legacy" in backend else "-nft")
    net.server.run(front, "-A", "INPUT", "-p", "tcp", "--dport", PORT, "-j", "DROP")
    with queue(net.server) as seen, listen(net.server, SERVER[family]) as listener:
        listener.setblocking(False)
        with begin(net.client, SERVER[family]):
            wait_for(seen.tcp, "the SYN in the queue")
            dropped = re.compile(r"\[[1-9]\d*:\d+\] -A INPUT .*-j DROP")
            wait_for(lambda: dropped.search(net.server.run(f"{front}-save", "-c").stdout), "the drop in filter")
            with pytest.raises(BlockingIOError):
                listener.accept()


@pytest.mark.parametrize("family", FAMILIES)
def test_a_dropped_source_leaves_no_connection_tracking_entry(net: Net, backend: str, family: int) -> None:
    net.apply(backend)
    with queue(net.server, Packet.drop) as seen, begin(net.client, SERVER[family]):
        wait_for(lambda: len(seen.tcp()) > 1, "a SYN and its repetition in the queue")
        assert {flags for flags, _ in seen.tcp()} == {SYN}
        assert net.entries(family) == []


@pytest.mark.parametrize("loose", [1, 0], ids=["loose", "strict"])
@pytest.mark.parametrize("family", FAMILIES)
def test_a_cut_connection_meets_the_queue_whoever_speaks_first(net: Net, backend: str, family: int, loose: int) -> None:
    net.server.sysctl("net.netfilter.nf_conntrack_tcp_loose", loose)
    net.apply(backend)
    for server_first in (False, True):
        with session(net.client, net.server, SERVER[family]) as (here, there):
            talk(here, there, 2)
            with net.server.entered():
                assert cut_established(parse_key(CLIENT[family]), (PORT, 587)) == 1
                assert cut_established(parse_key(CLIENT[family]), (PORT, 587)) == 0
            with queue(net.server, Packet.drop) as seen:
                if server_first:
                    there.sendall(b"220 hello\r\n")
                    assert here.recv(100) == b"220 hello\r\n"
                here.sendall(b"HELO x\r\n")
                wait_for(lambda: (PSH_ACK, b"HELO x\r\n") in seen.tcp(), "the data of the cut connection")
                there.setblocking(False)
                with pytest.raises(BlockingIOError):
                    there.recv(100)


def test_cutting_by_prefix_takes_all_of_it_and_nothing_else(net: Net) -> None:
    net.apply("auto")
    for family, inside, outside in ((4, "10.77.0.0/25", "10.77.0.128/25"), (6, "fd77::/64", "fd78::/64")):
        with session(net.client, net.server, SERVER[family]), net.server.entered():
            assert cut_established(parse_key(outside), (PORT,)) == 0
            assert cut_established(parse_key(inside), (587,)) == 0
            assert cut_established(parse_key(inside), (PORT,)) == 1
            assert net.entries(family) == []


@pytest.mark.parametrize("family", FAMILIES)
def test_forwarded_connections_are_queued_and_cut(net: Net, backend: str, family: int) -> None:
    inner = net.lab.host("inner")
    gate, addr, net_, plen = {
        4: ("10.78.0.1", "10.78.0.2", "10.78.0.0/24", 24),
        6: ("fd78::1", "fd78::2", "fd78::/64", 64),
    }[family]
    net.lab.link(net.server, inner, f"{gate}/{plen}", f"{addr}/{plen}")
    inner.ip("route", "add", "default", "via", gate)
    net.client.ip("route", "add", net_, "via", SERVER[family])
    net.server.sysctl("net.ipv4.ip_forward" if family == 4 else "net.ipv6.conf.all.forwarding", 1)
    net.apply(backend, hooks=("forward",), interfaces=("v0",))
    with queue(net.server) as seen, session(net.client, inner, addr) as (here, there):
        talk(here, there, 2)
        # While the new link settles the SYN may be sent again.
        assert {flags for flags, _ in seen.tcp()} == {SYN}
        with net.server.entered():
            assert cut_established(parse_key(CLIENT[family]), (PORT,)) == 1
        here.sendall(b"more")
        assert there.recv(10) == b"more"
        assert (PSH_ACK, b"more") in seen.tcp()


def test_only_the_interfaces_named_are_queued(net: Net, backend: str) -> None:
    net.apply(backend, interfaces=("v7",))
    with queue(net.server) as seen, session(net.client, net.server, SERVER[4]):
        assert seen.packets == []


def test_a_port_exempt_from_tracking_is_queued_whole_and_mail_passes(net: Net, backend: str) -> None:
    front = "iptables-legacy" if "legacy" in backend else "iptables-nft"
    for chain, match in (("PREROUTING", "--dport"), ("OUTPUT", "--sport")):
        net.server.run(front, "-t", "raw", "-A", chain, "-p", "tcp", match, PORT, "-j", "CT", "--notrack")
    net.apply(backend)
    with queue(net.server) as seen, session(net.client, net.server, SERVER[4]) as (here, there):
        talk(here, there, 2)
        assert [payload for _, payload in seen.tcp() if payload] == [b"0\r\n", b"1\r\n"]


def test_a_stray_reset_is_invalid_and_reaches_the_queue(net: Net, backend: str) -> None:
    net.apply(backend)
    with queue(net.server) as seen, net.client.entered():
        with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_TCP) as sock:
            reset = struct.pack("!HHIIBBHHH", 4321, PORT, 1, 1, 0x50, RST_ACK, 0, 0, 0)
            ends = socket.inet_aton(CLIENT[4]) + socket.inet_aton(SERVER[4]) + struct.pack("!HH", 6, len(reset))
            total = sum(struct.unpack(f"!{(len(ends) + len(reset)) // 2}H", ends + reset))
            checksum = ~((total & 0xFFFF) + (total >> 16)) & 0xFFFF
            sock.sendto(reset[:16] + checksum.to_bytes(2) + reset[18:], (SERVER[4], 0))
        wait_for(lambda: seen.tcp() == [(RST_ACK, b"")], "the reset in the queue")


@pytest.mark.parametrize("loopback", [False, True])
def test_loopback_is_queued_only_if_asked(net: Net, backend: str, loopback: bool) -> None:
    net.apply(backend, loopback=loopback)
    with queue(net.server) as seen, session(net.server, net.server, "127.0.0.1"):
        assert [flags for flags, _ in seen.tcp()] == [SYN] * loopback


def test_other_protocols_can_be_dropped_without_breaking_the_network(net: Net, backend: str) -> None:
    net.apply(backend, other_protocols=True)
    with queue(
        net.server, lambda packet: packet.accept() if _tcp_part(packet.get_payload()) else packet.drop()
    ) as seen:
        for family in FAMILIES:
            ping(net.client, family)
            with net.client.entered(), socket.socket(_family(family), socket.SOCK_DGRAM) as sock:
                sock.sendto(b"x", (SERVER[family], 9999))
            with net.server.entered(), socket.socket(_family(family), socket.SOCK_DGRAM) as sock:
                sock.sendto(b"x", (CLIENT[family], 9999))
        wait_for(lambda: len(seen.packets) == 4, "echo requests and datagrams in the queue")
        for family in FAMILIES:
            net.server.ip("neigh", "flush", "all")
            net.client.ip("neigh", "flush", "all")
            with session(net.client, net.server, SERVER[family]) as (here, there):
                talk(here, there, 2)
        assert all(_tcp_part(packet) for packet in seen.packets[4:])


def _family(family: int) -> socket.AddressFamily:
    return socket.AF_INET6 if family == 6 else socket.AF_INET


@pytest.mark.parametrize("family", FAMILIES)
def test_marked_packets_are_not_tracked(net: Net, backend: str, family: int) -> None:
    net.apply(backend)
    with net.server.entered(), socket.socket(_family(family), socket.SOCK_DGRAM) as sock:
        for mark, port in ((0, 1111), (rules.MARK, 2222)):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, mark)
            sock.sendto(b"x", (CLIENT[family], port))
    shown = net.server.run("conntrack", "-L", "-f", f"ipv{family}", "-p", "udp").stdout
    assert "dport=1111" in shown
    assert "dport=2222" not in shown


def test_the_command_applies_shows_and_removes(net: Net) -> None:
    code, out, _ = net.command("apply", "--dry-run", "--json")
    would = json.loads(out)
    assert net.server.run("nft", "list", "ruleset").stdout == ""
    code, out, _ = net.command("apply")
    assert (code, out) == (0, f"applied by {would[0]['backend']}: {len(would)} rules, queue 0\n")
    shown = _without_counters(net.command("show", "--json")[1])
    assert would[0]["backend"] == "nft" or _sorted(shown) == _sorted(_without_counters(json.dumps(would)))
    assert _without_counters(net.command("remove", "--dry-run", "--json")[1]) == shown
    assert net.command("remove")[1] == f"removed: {len(shown)} rules\n"
    assert net.command("remove")[1] == "no rules of ours, nothing to remove\n"
    assert json.loads(net.command("show", "--json")[1]) == []


def _without_counters(text: str) -> list[dict[str, str]]:
    return [{key: row[key] for key in ("backend", "family", "table", "chain", "rule")} for row in json.loads(text)]


def _sorted(rows: list[dict[str, str]]) -> list[str]:
    return sorted(map(json.dumps, rows))


NO_TOOLS = ("unshare", "--mount", "--", "sh", "-c", 'mount -t tmpfs none /usr/sbin && exec "$@"', "sh")


@pytest.mark.parametrize(
    ("under", "says"),
    [
        (("setpriv", "--bounding-set=-net_admin", "--inh-caps=-net_admin"), "needs CAP_NET_ADMIN, run this as root"),
        (NO_TOOLS, "no program nft; no program iptables-nft-restore; no program iptables-legacy-restore; load xt_NFQ"),
    ],
    ids=["no right", "no tools"],
)
def test_what_is_missing_is_one_line_with_the_cure_and_exit_69(net: Net, under: tuple[str, ...], says: str) -> None:
    code, out, err = net.command("apply", under=under, check=False)
    assert (code, out, err.count("\n")) == (69, "", 1)
    assert err.startswith("spamcannibal: ")
    assert says in err


def test_a_form_the_kernel_lacks_is_refused_and_nothing_is_left(net: Net, tmp_path: Path) -> None:
    with net.server.entered():
        try:
            firewall.choose(Plan(), "nft")
        except Unsupported as error:
            assert "queue num 0; load xt_NFQUEUE" in str(error)
        with pytest.raises(Unsupported, match="iptables-legacy-restore"):
            firewall.apply(Plan(interfaces=("a name that is far too long for it",)), "iptables-legacy")
        assert list(firewall.present()) == []


def test_where_no_namespace_may_be_made_the_probe_leaves_no_chain(net: Net) -> None:
    confined = ("setpriv", "--bounding-set=-sys_admin", "--inh-caps=-sys_admin")
    net.command("apply", "--dry-run", under=confined)
    assert "chain" not in net.server.run("nft", "list", "ruleset").stdout
    net.command("apply", under=confined)
    assert len(json.loads(net.command("show", "--json")[1])) > 0
    assert not any(rules.PROBE_CHAIN in line for line in net.saved("nft"))


def test_cutting_without_the_tool_says_so(net: Net) -> None:
    program = "from spamcannibal.tarpit.firewall import cut_established; cut_established(bytes(4), (25,))"
    done = net.server.run(
        *NO_TOOLS, sys.executable, "-c", program, env={**os.environ, "PYTHONPATH": str(LIB)}, check=False
    )
    assert done.stderr.splitlines()[-1] == "spamcannibal.errors.Unsupported: no program conntrack"


WORDED = {
    "plain": Plan(),
    "all of it": Plan(
        ports=tuple(range(20, 40)),
        hooks=("input", "forward"),
        interfaces=("v0", "v1"),
        queues=range(4),
        loopback=True,
        other_protocols=True,
    ),
    "without bypass": Plan(ports=(587, 25), bypass=False),
}


@pytest.mark.parametrize("plan", WORDED.values(), ids=WORDED)
def test_what_would_be_is_said_in_the_words_of_what_then_is(net: Net, backend: str, plan: Plan) -> None:
    with net.server.entered():
        would = firewall.would_be(plan, backend)
        firewall.apply(plan, backend)
        found = [rule for name, rule in firewall.present() if name == backend]
        assert firewall.behind() == []

    def by_place(some: list[rules.Rule]) -> dict[tuple[str, str, str], list[str]]:
        places: dict[tuple[str, str, str], list[str]] = {}
        for rule in some:
            places.setdefault((rule.family, rule.table, rule.chain), []).append(rule.rule)
        return places

    assert by_place(found) == by_place(would)
