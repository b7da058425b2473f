"""Bench `nfqueue`: the daemon on a kernel queue against a plain C program and a plain Python callback.

    python t/bench/bench_nfqueue.py [--quick]

Two namespaces joined by a veth pair; all candidates are bound at the same time, each to a queue and a port of its
own, and get the same packets in turn: TCP SYNs made by nfq_send.c, every unlisted source with an address of its own,
1 M addresses listed (100,000 with --quick). A candidate is stopped while its queue is filled and continued when the
sender is done, so that nobody shares the CPU with it; timed is from then until the queue is empty.

| candidate | what it does |
|---|---|
| daemon | `spamcannibal tarpit`, mode throttle: look-up, answer or ACCEPT, unlisted sources into the archive |
| c | nfq_peer.c: libnetfilter_queue, one recv and one verdict a packet, no look-up, no note |
| c_answering | nfq_peer.c with a hash of the listed addresses: SYN/ACK by a raw IP socket |
| c_batched | nfq_peer.c by 128 packets with recvmmsg and one batch verdict: what batching alone gives here |
| python | nfq_peer.py: a NetfilterQueue callback with two Berkeley DBs |

Ratios are speeds: `unlisted_vs_c` and `unlisted_vs_python` with no listed source, `mixed_vs_c` and `mixed_vs_python`
with half of them, `batched_vs_c` that of the two C peers, `answered_vs_c` with half of them against the peer that
answers, `all_answered_vs_c` with nothing else. CPU seconds of the whole process a packet, the archive's writing
included, stand beside them.
"""

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.common import Pairs, progress_line, report
from live.nets import Host, Lab, wait_for
from spamcannibal.commands.common import open_store
from spamcannibal.config import load
from spamcannibal.store.stores import NewListing

HERE = Path(__file__).parent
QUEUE_LENGTH = 1 << 17
SETTINGS = """\
[store]
path = "store"
cache_bytes = "256MiB"
[guard]
never_list = "never-list"
[tarpit]
queues = "1"
mode = "throttle"
queue_length = {length}
cut_established = false
"""
FIRST_LISTED = 0x0A800000  # 10.128.0.0: private addresses, seen in the bench's own namespaces only
STEP = 7
SERVER_ADDR = "192.0.2.1"


@dataclass(frozen=True)
class Candidate:
    name: str
    queue: int
    port: int
    process: "subprocess.Popen[str]"


def main() -> None:
    parser = argparse.ArgumentParser(description="the packet path against its peers")
    parser.add_argument("--quick", action="store_true", help="fewer packets and listings: under a minute")
    quick = parser.parse_args().quick
    listed, packets, rounds = (100_000, 30_000, 5) if quick else (1_000_000, 40_000, 7)
    with tempfile.TemporaryDirectory(prefix="bench-nfqueue-") as folder, Lab("scbench") as lab:
        bench(Path(folder), lab, listed, packets, rounds)


def bench(folder: Path, lab: Lab, listed: int, packets: int, rounds: int) -> None:
    """Set everything up, run the rounds, print the report."""
    addresses = [(FIRST_LISTED + i * STEP).to_bytes(4, "big") for i in range(listed)]
    (folder / "listed").write_bytes(b"".join(addresses))
    progress_line(f"listing {listed} addresses")
    fill_store(folder, addresses)
    fill_peer(folder, addresses)
    build(folder)
    server, client = lab.host("server"), lab.host("client")
    iface = lab.link(server, client, f"{SERVER_ADDR}/24", "192.0.2.2/24")
    prepare(server, iface)
    candidates = {c.name: c for c in start_all(folder, server)}
    mac = json.loads(server.ip("-j", "link", "show", iface))[0]["address"]
    sender = [folder / "nfq_send", iface, mac, SERVER_ADDR]

    pairs = Pairs()
    cpu_us: dict[str, list[float]] = {}
    contests = [
        ("unlisted_vs_c", 0, "daemon", "c"),
        ("batched_vs_c", 0, "c_batched", "c"),
        ("unlisted_vs_python", 0, "daemon", "python"),
        ("mixed_vs_c", 50, "daemon", "c"),
        ("mixed_vs_python", 50, "daemon", "python"),
        ("answered_vs_c", 50, "daemon", "c_answering"),
        ("all_answered_vs_c", 100, "daemon", "c_answering"),
    ]
    for turn in range(-1, rounds):  # the first is a warm-up
        progress_line(f"round {turn + 1} of {rounds}")
        for name, mix, *both in contests:
            rates = {}
            for who in both if turn % 2 else reversed(both):
                rates[who], cost = drain(candidates[who], client, sender, packets, mix, turn, folder / "listed")
                if turn >= 0:
                    cpu_us.setdefault(f"{who}_{mix}_cpu_us", []).append(cost)
            if turn >= 0:
                pairs.add(name, rates[both[0]], rates[both[1]])
    figures = {f"{key}": round(sorted(values)[len(values) // 2], 2) for key, values in sorted(cpu_us.items())}
    report("nfqueue", pairs, {"listed": listed, "packets": packets, **pairs.medians(), **figures})


def fill_store(folder: Path, addresses: list[bytes]) -> None:
    """Make a settings file and list every address through the store, a thousand a transaction."""
    (folder / "settings.toml").write_text(SETTINGS.format(length=QUEUE_LENGTH))
    (folder / "never-list").write_text("127.0.0.0/8\n")
    store = open_store(load(folder / "settings.toml"))
    for start in range(0, len(addresses), 1000):
        store.list([NewListing(key, source="bench") for key in addresses[start : start + 1000]], time.time())
    store.env.close()


def fill_peer(folder: Path, addresses: list[bytes]) -> None:
    """Make the Python peer's own database file."""
    from berkeleydb import db

    file = db.DB()
    file.set_cachesize(0, 256 << 20)
    file.open(str(folder / "peer.db"), dbtype=db.DB_BTREE, flags=db.DB_CREATE)
    for key in addresses:
        file.put(key, b"\0\0\0\0")
    file.close()


def build(folder: Path) -> None:
    """Compile sender and peer."""
    flags = ["gcc", "-std=c11", "-D_GNU_SOURCE", "-O2"]
    subprocess.run([*flags, HERE / "nfq_send.c", "-o", folder / "nfq_send"], check=True)
    subprocess.run([*flags, HERE / "nfq_peer.c", "-o", folder / "nfq_peer", "-lnetfilter_queue"], check=True)


def prepare(server: Host, iface: str) -> None:
    """Queue each port's packets untracked, and let them end right after an ACCEPT: measured is the queue alone."""
    for key in ("all", "default", iface):
        server.sysctl(f"net.ipv4.conf.{key}.rp_filter", 0)
    server.ip("route", "add", "default", "via", "192.0.2.2")
    server.run("iptables", "-t", "mangle", "-A", "PREROUTING", "-p", "tcp", "--dport", "25:29", "-j", "DROP")
    for queue in range(5):
        match = ("-p", "tcp", "--dport", 25 + queue)
        server.run("iptables", "-t", "raw", "-A", "PREROUTING", *match, "-j", "NOTRACK")
        server.run("iptables", "-t", "raw", "-A", "PREROUTING", *match, "-j", "NFQUEUE", "--queue-num", queue)


def start_all(folder: Path, server: Host) -> Iterator[Candidate]:
    """Start every candidate and wait until its queue is bound and it is ready to read."""
    peer_files = folder / "peer.db", folder / "peer-archive.db"
    commands = {
        "c": [folder / "nfq_peer", 0, QUEUE_LENGTH],
        "daemon": [sys.executable, "-m", "spamcannibal", "-c", folder / "settings.toml", "tarpit"],
        "python": [sys.executable, HERE / "nfq_peer.py", 2, QUEUE_LENGTH, *peer_files],
        "c_answering": [folder / "nfq_peer", 3, QUEUE_LENGTH, folder / "listed"],
        "c_batched": [folder / "nfq_peer", 4, QUEUE_LENGTH, "-"],
    }
    for queue, (name, argv) in enumerate(commands.items()):
        with (folder / f"{name}.log").open("w") as log:
            process = server.start(*argv, stdout=log, stderr=log, text=True)
        candidate = Candidate(name, queue, 25 + queue, process)
        progress_line(f"starting {name}")
        wait_for(lambda c=candidate: waiting(c) is not None, f"{name} to bind its queue: {log.name}", limit_s=60)
        time.sleep(1)
        yield candidate


def drain(
    who: Candidate, client: Host, sender: list[object], packets: int, mix: int, seed: int, listed: Path
) -> tuple[float, float]:
    """Fill the candidate's queue while it is stopped, then time it: (packets/s, CPU us a packet)."""
    with stopped(who):
        client.run(*sender, who.port, packets, mix, seed + 1000, listed)
        queued = waiting(who) or 0
        if queued < packets * 0.99:
            raise SystemExit(f"{who.name}: only {queued} of {packets} packets were queued")
        cpu = cpu_s(who)
        began = time.perf_counter()
    while waiting(who):
        time.sleep(0.0002)
    seconds = time.perf_counter() - began
    time.sleep(1.3)  # the archive's writing is part of the cost
    return queued / seconds, (cpu_s(who) - cpu) / queued * 1e6


@contextmanager
def stopped(who: Candidate) -> Iterator[None]:
    """Hold the process still for the block."""
    os.kill(who.process.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(who.process.pid, signal.SIGCONT)


def waiting(who: Candidate) -> int | None:
    """Return how many packets wait in the candidate's queue, None if it is not bound."""
    if who.process.poll() is not None:
        raise SystemExit(f"{who.name} ended: exit {who.process.returncode}")
    for line in Path(f"/proc/{who.process.pid}/net/netfilter/nfnetlink_queue").read_text().splitlines():
        words = line.split()
        if int(words[0]) == who.queue:
            return int(words[2])
    return None


def cpu_s(who: Candidate) -> float:
    """Return the CPU seconds of all threads of the process so far."""
    words = Path(f"/proc/{who.process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    if os.geteuid() != 0 or not shutil.which("iptables"):
        sys.exit("bench_nfqueue: needs root, iptables and network namespaces")
    main()
