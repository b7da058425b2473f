"""Bench `gather`: reports of one line a connection, policy requests on kept connections, logs, how soon DNS answers.

    python t/bench/bench_gather.py [--quick]

`spamcannibal gather` runs as it does for users, with its store, journal and never-list, on one CPU; the load comes from
a client in C (gather_load.c) on another, over loopback. Every line reports an address of its own, and each is listed
(one reporter of enough weight), so the database's writes are in the figures. The peer is `echo`, a bare asyncio echo
server (gather_echo.py), on the same CPU under the same load.

| ratio | this | peer |
|---|---|---|
| lines_vs_echo | lines taken a second | lines echoed a second, a connection each |
| policy_vs_echo | policy requests answered a second on 8 connections | requests echoed a second |
| log_lines_vs_read | lines of a log followed a second, a tenth of them signs | lines read a second, without a look |
| lines_cost_vs_echo, policy_cost_vs_echo | the process's CPU time for one of these | the peer's |

Figures: `log_lines_per_s`, without a listener (follow_log.py); `lines_per_s` and `policy_per_s` with the peer's
`echo_lines_per_s` and `echo_policy_per_s`; `lines_cpu_us` and `policy_cpu_us`, that CPU time, which a busy machine
changes least; `lines_p50_ms`, `lines_p99_ms` at PACE lines a second, from when each was due (the target: 5,000 a
second with 99 % under 20 ms), and `echo_lines_p99_ms`; `listed_per_s`, of one burst until the last address stands in
the database; `dns_p50_ms` and `dns_p99_ms`, from sending a report to the DNS server's first answer for it;
`tally_million_mb`, the tally's memory after a million distinct addresses at the default bound, and
`tally_bytes_per_address`.
"""

import argparse
import os
import random
import socket
import subprocess
import sys
import tempfile
import time
import tracemalloc
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from bench.common import Pairs, percentile, progress_line, report
from bench.follow_log import follow_per_s, read_per_s, write_log
from spamcannibal.addr import format_addr, reversed_name
from spamcannibal.gather.client import say
from spamcannibal.gather.decision import ORDER, Terms, Voice
from spamcannibal.gather.line import Report
from spamcannibal.gather.tally import Tally
from spamcannibal.store.env import Env
from spamcannibal.store.stores import Store

HERE = Path(__file__).parent
PACE = 5000
PORT, ECHO_LINES, ECHO_KEPT, DNS = 25044, 25045, 25046, 25053
SERVER = bytes((127, 0, 0, 1))
SETTINGS = f"""\
[store]
path = "store"
[guard]
never_list = "never-list"
max_listings_per_hour = 100000000
max_per_net = 100000000
[dnsbl]
listen = ["127.0.0.1:{DNS}"]
threads = 1
rrl_per_s = 0
[[dnsbl.zone]]
name = "bl.example.org"
[gather]
listen = ["127.0.0.1:{PORT}"]
[[gather.reporter]]
name = "mx"
addresses = ["127.0.0.0/8"]
weight = 2.0
per_s = 1000000
per_hour = 100000000
"""


@dataclass(frozen=True)
class Size:
    """Rounds of pairs, lines of a log, lines and requests in each, lines at the pace, reports followed to DNS."""

    rounds: int
    log_lines: int
    lines: int
    requests: int
    paced: int
    followed: int


QUICK, FULL = Size(5, 100_000, 6000, 20_000, 10_000, 60), Size(9, 500_000, 20_000, 60_000, 50_000, 300)


class Load:
    """The client in C; every address is reported once. `cpu` has the CPU time of an answer in us."""

    def __init__(self, folder: Path, pids: Mapping[tuple[int, str], int]) -> None:
        self.pids = pids
        self.cpu: dict[tuple[int, str], list[float]] = {}
        self.program = folder / "gather_load"
        self.first = 0
        subprocess.run(
            ["gcc", "-std=c11", "-D_GNU_SOURCE", "-O2", HERE / "gather_load.c", "-o", self.program], check=True
        )

    def run(self, port: int, mode: str, count: int, concurrency: int, rate: int = 0) -> tuple[float, list[float]]:
        """Return how many were answered a second, and the times in ms: median, 99 %, slowest."""
        words = [self.program, port, mode, count, concurrency, self.first, rate]
        before_s = cpu_s(self.pids[port, mode])
        self.first += count if mode == "lines" and port == PORT else 0
        done = subprocess.run(pinned(1, *words), stdout=subprocess.PIPE, text=True, check=True)
        seconds, answered, *times_us = map(float, done.stdout.split())
        if answered != count:
            raise SystemExit(f"{mode}: got {answered:g} answers, want {count}")
        self.cpu.setdefault((port, mode), []).append((cpu_s(self.pids[port, mode]) - before_s) / count * 1e6)
        return answered / seconds, [time_us / 1e3 for time_us in times_us]


def main() -> None:
    parser = argparse.ArgumentParser(description="reports and answers of the gather listener")
    parser.add_argument("--quick", action="store_true", help="fewer rounds: under a minute")
    size = QUICK if parser.parse_args().quick else FULL
    pairs = Pairs()
    with tempfile.TemporaryDirectory(prefix="bench-gather-") as folder:
        figures = bench(Path(folder), size, pairs)
    report("gather", pairs, figures)


def bench(folder: Path, size: Size, pairs: Pairs) -> dict[str, float]:
    """Measure everything; give the figures."""
    figures = measure_tally()
    measure_log(folder / "log", size, pairs, figures)
    (folder / "sc.toml").write_text(SETTINGS)
    (folder / "never-list").write_text("@special\n@private\n@documentation\n@resolvers\n")
    ours = [sys.executable, "-P", "-m", "spamcannibal", "-c", folder / "sc.toml"]
    with (
        running(pinned(0, *ours, "gather"), folder / "gather.log", "START") as gather,
        running(
            pinned(0, sys.executable, HERE / "gather_echo.py", ECHO_LINES, "lines"), folder / "e1", "ready"
        ) as lines,
        running(pinned(0, sys.executable, HERE / "gather_echo.py", ECHO_KEPT, "kept"), folder / "e2", "ready") as kept,
    ):
        of = {(PORT, "lines"): gather, (PORT, "kept"): gather, (ECHO_LINES, "lines"): lines, (ECHO_KEPT, "kept"): kept}
        load = Load(folder, of)
        measure_speed(load, size, pairs, figures)
        measure_listing(folder, load, size, figures)
    with (
        running([*ours, "gather"], folder / "gather.log", "START"),
        running([*ours, "dnsbl"], folder / "dnsbl.log", "READY"),
    ):
        measure_dns(size, figures)
    return figures


def measure_log(path: Path, size: Size, pairs: Pairs, figures: dict[str, float]) -> None:
    """Measure how fast a log is followed, in pairs with reading it."""
    progress_line("following a log")
    write_log(path, size.log_lines)
    for turn in range(-1, size.rounds):
        pairs.run("log_lines_vs_read", lambda: follow_per_s(path), lambda: read_per_s(path), turn)
    figures["log_lines_per_s"] = pairs.medians()["log_lines_vs_read_this"]


def measure_speed(load: Load, size: Size, pairs: Pairs, figures: dict[str, float]) -> None:
    """Measure how much is taken, in pairs, and how long it takes at the pace."""
    for turn in range(-1, size.rounds):
        progress_line(f"round {turn + 1} of {size.rounds}")
        pairs.run(
            "lines_vs_echo",
            lambda: load.run(PORT, "lines", size.lines, 32)[0],
            lambda: load.run(ECHO_LINES, "lines", size.lines, 32)[0],
            turn,
        )
        pairs.run(
            "policy_vs_echo",
            lambda: load.run(PORT, "kept", size.requests, 8)[0],
            lambda: load.run(ECHO_KEPT, "kept", size.requests, 8)[0],
            turn,
        )
    middle = pairs.medians()
    for name, ours, echo in (
        ("lines", (PORT, "lines"), (ECHO_LINES, "lines")),
        ("policy", (PORT, "kept"), (ECHO_KEPT, "kept")),
    ):
        for this, peer in zip(load.cpu[ours][1:], load.cpu[echo][1:], strict=True):  # the first round warms up
            pairs.add(f"{name}_cost_vs_echo", this, peer)
        figures[f"{name}_cpu_us"] = median(load.cpu[ours])
        figures[f"{name}_per_s"] = middle[f"{name}_vs_echo_this"]
        figures[f"echo_{name}_per_s"] = middle[f"{name}_vs_echo_peer"]
    progress_line(f"{PACE} lines a second")
    for name, port in (("lines", PORT), ("echo_lines", ECHO_LINES)):
        got = [load.run(port, "lines", size.paced, 1024, PACE) for _ in range(3)]
        figures[f"{name}_paced_per_s"] = median(rate for rate, _ in got)
        figures[f"{name}_p50_ms"] = median(times[0] for _, times in got)
        figures[f"{name}_p99_ms"] = median(times[1] for _, times in got)


def measure_listing(folder: Path, load: Load, size: Size, figures: dict[str, float]) -> None:
    """Measure a burst until the last of it is listed."""
    store = Store(Env(folder / "store", readonly=True), None)
    settled(store)
    before, began = store.counts()["tarpit"], time.perf_counter()
    load.run(PORT, "lines", size.lines, 32)
    while store.counts()["tarpit"] - before < size.lines:
        time.sleep(0.005)
    figures["listed_per_s"] = size.lines / (time.perf_counter() - began)
    store.close()


def cpu_s(pid: int) -> float:
    """Return the CPU time that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def settled(store: Store) -> None:
    """Wait until nothing is written any more."""
    seq = -1
    while seq != store.last_seq():
        seq = store.last_seq()
        time.sleep(0.3)


def measure_dns(size: Size, figures: dict[str, float]) -> None:
    """Measure from sending a report to the DNS answer that follows from it."""
    rng, times = random.Random(3), []
    for n in range(size.followed):
        if n % 20 == 0:
            progress_line(f"report {n} of {size.followed} followed to DNS")
        addr = bytes((101 + n % 20, *rng.randbytes(3)))  # not 100: 100.64.0.0/10 is never listed
        query = question(addr)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.settimeout(1.0)
            sock.connect((format_addr(SERVER), DNS))
            began = time.perf_counter()
            if not say((SERVER, PORT), f"black {format_addr(addr)}").startswith("ok"):
                raise SystemExit("a report was refused")
            while True:
                sock.send(query)
                if sock.recv(512)[7]:  # answers
                    break
                time.sleep(0.001)
            times.append((time.perf_counter() - began) * 1e3)
        time.sleep(rng.random() * 0.1)  # at any phase of the follower's turn
    figures["dns_p50_ms"], figures["dns_p99_ms"] = percentile(times, 50), percentile(times, 99)


def question(addr: bytes) -> bytes:
    """Return a query for an address's A record."""
    labels = f"{reversed_name(addr)}.bl.example.org".split(".")
    name = b"".join(bytes((len(label),)) + label.encode() for label in labels)
    return b"\x12\x34\x01\0\0\1\0\0\0\0\0\0" + name + b"\0\0\1\0\1"


def measure_tally() -> dict[str, float]:
    """Measure the tally's memory under a million distinct addresses."""
    progress_line("a million addresses")
    tally = Tally(Terms(dict.fromkeys(ORDER, 2.0), dict.fromkeys(ORDER, 86400.0)))
    voice, now = Voice("mx", 1.0, 1.0), time.time()
    tracemalloc.start()
    for n in range(1_000_000):
        tally.hear(Report("black", (0x14000000 + n).to_bytes(4)), voice, now + n / 1e4)
        if n == tally.terms.addresses * 2:  # all is at its bound from here on, and tracing is slow
            break
    used, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    for n in range(tally.terms.addresses * 2, 1_000_000):
        tally.hear(Report("black", (0x14000000 + n).to_bytes(4)), voice, now + n / 1e4)
    if len(tally) != tally.terms.addresses:
        raise SystemExit(f"the tally holds {len(tally)} addresses, want {tally.terms.addresses}")
    return {"tally_million_mb": used / 1e6, "tally_bytes_per_address": used / len(tally)}


def pinned(cpu: int, *words: object) -> list[str]:
    """Return a command line that runs on one CPU, where there is more than one."""
    cpus = sorted(os.sched_getaffinity(0))
    return ["taskset", "-c", str(cpus[cpu % len(cpus)]), *map(str, words)]


@contextmanager
def running(words: list[object], log: Path, word: str) -> Iterator[int]:
    """Run a process, from when it has said a word; its pid."""
    with log.open("wb") as stream:
        process = subprocess.Popen(list(map(str, words)), stdout=stream, stderr=stream)
    try:
        deadline = time.monotonic() + 60
        while word not in log.read_text():
            if process.poll() is not None or time.monotonic() > deadline:
                raise SystemExit(f"{words[-1]} does not start:\n{log.read_text()}")
            time.sleep(0.05)
        yield process.pid
    finally:
        process.terminate()
        process.wait(60)


if __name__ == "__main__":
    main()
