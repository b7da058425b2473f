"""Bench `dnsbl`: the server on UDP against rbldnsd, a loop that only flips the QR bit, and a server by dnslib.

    python t/bench/bench_dnsbl.py [--quick | --large]

All candidates run at the same time in one namespace, each with a port of its own on one address, and are asked in turn
by dns_load.c with a fixed number of queries in flight, in three scenes: from that namespace (loopback) and from another
one at the other end of a veth pair by a few ports, as mail servers and forwarders ask; and from loopback by a port for
each query in flight, as resolvers ask. Server and generator have a CPU each, except `all`, which has a thread on every
CPU.

| candidate | what it does |
|---|---|
| one | `spamcannibal dnsbl`, one thread, 1 M addresses in a store (100,000 with --quick), rate limit and talkers on |
| all | the same with a thread for each CPU |
| rbldnsd | Debian's, the same addresses in an ip4tset (its fastest: no value an address), an SOA for negatives |
| flip | dns_flip.c: recvmmsg, flip the QR bit, sendmmsg |
| dnslib | a dnslib DNSServer with a set of the addresses |

Half of the queries are for listed addresses; 20 % are TXT, 8 % AAAA, 5 % partial names, the rest A. Every answer is
counted by what it says and must be what this question gets; a sample is compared with what dnslib makes of it.

Ratios: `vs_rbldnsd`, `vs_dnslib`, `all_vs_rbldnsd` are queries/s; `cost_vs_rbldnsd` and `cost_vs_flip` CPU time a query
of the server's process, kernel included; `veth_...` and `ports_...` the same in the other scenes. Figures: start to
first answer, memory above a server with an empty store, and the slowest answer while 10,000 changes a second arrive.

--large gives figures alone, of memory and start with 1 M and with 10 M listed: some ten minutes, most of them to list.
"""

import argparse
import contextlib
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import dnslib

from bench.common import Pairs, prefer_us, progress_line, report
from live.nets import Host, Lab, wait_for
from spamcannibal.addr import format_addr, reversed_name
from spamcannibal.commands.common import open_store
from spamcannibal.config import load
from spamcannibal.record import PUBLISHED
from spamcannibal.store.stores import NewListing, Store

HERE = Path(__file__).parent
ZONE = "bl.example.org"
SERVER, CLIENT = "192.0.2.1", "192.0.2.2"
# Scene: prefix of its ratios, host that asks, by how many ports, queries in flight; no more than rbldnsd can buffer.
SCENES = [("", "loopback", 8, 128), ("veth_", "veth", 8, 128), ("ports_", "loopback", 128, 128)]
CHANGES_PER_S = 10_000
SETTINGS = """\
[store]
path = "{store}"
cache_bytes = "256MiB"
[guard]
never_list = "never-list"
[dnsbl]
listen = ["192.0.2.1:{port}"]
threads = {threads}
[[dnsbl.zone]]
name = "bl.example.org"
text = "$ is listed"
"""
SOA = f"$SOA 300 {ZONE} hostmaster.{ZONE} 0 900 300 604800 60\n"
# What is asked: class of dns_load.c -> (is listed, type, labels left out); and the outcome that it must have.
ANSWER, NODATA, NXDOMAIN = 0, 1, 2
CLASSES = [
    (True, "A", 0, ANSWER),
    (False, "A", 0, NXDOMAIN),
    (True, "TXT", 0, ANSWER),
    (False, "TXT", 0, NXDOMAIN),
    (True, "AAAA", 0, NODATA),
    (False, "AAAA", 0, NXDOMAIN),
    (True, "A", 1, NODATA),
]
WEIGHTS = [335, 335, 100, 100, 40, 40, 50]


@dataclass(frozen=True)
class Candidate:
    name: str
    port: int
    process: "subprocess.Popen[str]"


@dataclass(frozen=True)
class Scene:
    """Where measuring happens: folder of the programs, hosts, and how long one measurement takes."""

    folder: Path
    hosts: dict[str, Host]
    seconds: float


def main() -> None:
    parser = argparse.ArgumentParser(description="the DNS server against its peers")
    length = parser.add_mutually_exclusive_group()
    length.add_argument("--quick", action="store_true", help="fewer listings, shorter measurements: under a minute")
    length.add_argument("--large", action="store_true", help="memory and start with 1 M and 10 M listed")
    options = parser.parse_args()
    listed, seconds, rounds = (100_000, 0.25, 5) if options.quick else (1_000_000, 1.0, 7)
    if not options.large:
        prefer_us()
    with tempfile.TemporaryDirectory(prefix="bench-dnsbl-") as folder, Lab("scdns") as lab:
        Path(folder).chmod(0o755)  # rbldnsd drops its rights
        server, client = lab.host("server"), lab.host("client")
        lab.link(server, client, f"{SERVER}/24", f"{CLIENT}/24")
        scene = Scene(Path(folder), {"loopback": server, "veth": client}, seconds)
        if options.large:
            bench_large(scene, [listed, 10 * listed])
        else:
            bench(scene, listed, rounds)


def bench(scene: Scene, listed: int, rounds: int) -> None:
    """Set everything up, run the rounds, print the report."""
    addresses = spread(listed)
    progress_line(f"listing {listed} addresses")
    write_files(scene.folder, addresses)
    build(scene.folder)
    with contextlib.closing(open_store(load(scene.folder / "bare.toml"))):
        with contextlib.closing(open_store(load(scene.folder / "one.toml"))) as store:
            fill(store, addresses)
            compete(scene, store, addresses, rounds)


def compete(scene: Scene, store: Store, addresses: list[bytes], rounds: int) -> None:
    """Start all and run the rounds, with the stores open for writing, as they are where a tarpit runs."""
    candidates, figures = {}, {}
    for candidate, took_s, memory in start(scene, commands(scene)):
        candidates[candidate.name] = candidate
        figures |= {f"{candidate.name}_start_s": took_s, f"{candidate.name}_memory_mb": memory / 1e6}
    figures["memory_above_bare_mb"] = figures["one_memory_mb"] - figures.pop("bare_memory_mb")
    pairs = Pairs()
    costs: dict[str, list[float]] = {}
    for turn in range(-1, rounds):  # the first is a warm-up
        progress_line(f"round {turn + 1} of {rounds}")
        for prefix, where, *extent in SCENES:
            names = ["one", "rbldnsd", "flip", "all", *(["dnslib"] if not prefix else [])]
            got = {name: measure(scene, candidates[name], where, *extent) for name in names[:: 1 if turn % 2 else -1]}
            if turn >= 0:
                note(pairs, costs, prefix, got)
    check_sample(scene.folder / "sample.one", addresses)
    figures |= under_changes(scene, candidates["one"], store, addresses)
    figures |= {name: sorted(values)[len(values) // 2] for name, values in sorted(costs.items())}
    report("dnsbl", pairs, {"listed": len(addresses), **pairs.medians(), **figures})


def bench_large(scene: Scene, counts: list[int]) -> None:
    """Print memory and start of our server with so many listed, and with none."""
    addresses = spread(max(counts))
    write_files(scene.folder, addresses[: min(counts)])
    ours = {name: argv for name, argv in commands(scene).items() if name in ("bare", "one")}
    figures: dict[str, float] = {}
    with contextlib.closing(open_store(load(scene.folder / "bare.toml"))):
        ((_, _, bare),) = start(scene, {"bare": ours["bare"]})
    with contextlib.closing(open_store(load(scene.folder / "one.toml"))) as store:
        for done, count in zip([0, *counts], counts, strict=False):
            progress_line(f"listing {count} addresses")
            fill(store, sorted(addresses[done:count]))  # in the order of the tree: it outgrows the cache
            ((server, took_s, memory),) = start(scene, {"one": ours["one"]})
            figures |= {f"start_{count}_s": took_s, f"memory_above_bare_{count}_mb": (memory - bare) / 1e6}
            end(server)
    report("dnsbl", Pairs(), figures)


def spread(count: int) -> list[bytes]:
    """Return addresses all over IPv4, the same in every run."""
    found: list[bytes] = []
    number = 0
    while len(found) < count:
        addr = (number * 2654435761 & 0xFFFFFFFF).to_bytes(4, "big")
        number += 1
        if addr[0] not in (0, 127) and addr[0] < 224:
            found.append(addr)
    return found


def fill(store: Store, addresses: list[bytes]) -> None:
    """List the addresses, a thousand a transaction."""
    for start in range(0, len(addresses), 1000):
        batch = [NewListing(key, source="bench", flags=PUBLISHED) for key in addresses[start : start + 1000]]
        store.list(batch, time.time())


def write_files(folder: Path, addresses: list[bytes]) -> None:
    """Write settings for each of our servers, the list for the others, and the queries."""
    (folder / "never-list").write_text("127.0.0.0/8\n")
    for name, port, threads in (("one", 5301, 1), ("all", 5302, 0), ("bare", 5306, 1)):
        store = "empty" if name == "bare" else "store"
        (folder / f"{name}.toml").write_text(SETTINGS.format(store=store, port=port, threads=threads))
    lines = "\n".join(map(format_addr, addresses))
    (folder / "rbldnsd").mkdir()
    (folder / "rbldnsd/list").write_text(f"{SOA}:127.0.0.2:$ is listed\n{lines}\n")
    (folder / "listed").write_bytes(b"".join(addresses))
    questions(folder / "queries", addresses)


def questions(path: Path, addresses: list[bytes]) -> None:
    """Write queries for dns_load.c, in random order, the same in every run."""
    rng, known = random.Random(1), set(addresses)
    with path.open("wb") as file:
        for number in rng.choices(range(len(CLASSES)), WEIGHTS, k=200_000):
            is_listed, qtype, left_out, _ = CLASSES[number]
            addr = rng.choice(addresses)
            while not is_listed and addr in known:
                addr = rng.randrange(1 << 24, 224 << 24).to_bytes(4, "big")
            name = f"{reversed_name(addr)}.{ZONE}".split(".", left_out)[-1]
            labels = b"".join(bytes((len(label),)) + label.encode() for label in name.split("."))
            tail = bytes((0, 0, dnslib.QTYPE.reverse[qtype], 0, 1))
            query = bytes((0, 0, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0)) + labels + tail
            file.write(bytes((number,)) + len(query).to_bytes(2, "big") + query)


def build(folder: Path) -> None:
    """Compile generator and peer."""
    for name in ("dns_load", "dns_flip"):
        subprocess.run(["gcc", "-std=c11", "-D_GNU_SOURCE", "-O2", HERE / f"{name}.c", "-o", folder / name], check=True)


def commands(scene: Scene) -> dict[str, list[object]]:
    """Return the candidates' command lines; `bare` is our server without listings."""
    ours = [sys.executable, "-m", "spamcannibal", "-c"]
    pinned = ["taskset", "-c", "0"]
    rbldnsd = ["rbldnsd", "-n", "-q", "-u", "nobody", "-r", scene.folder / "rbldnsd", "-b", f"{SERVER}/5303"]
    return {
        "bare": [*pinned, *ours, scene.folder / "bare.toml", "dnsbl"],
        "one": [*pinned, *ours, scene.folder / "one.toml", "dnsbl"],
        "all": [*ours, scene.folder / "all.toml", "dnsbl"],
        "rbldnsd": [*pinned, *rbldnsd, f"{ZONE}:ip4tset:list"],
        "flip": [*pinned, scene.folder / "dns_flip", SERVER, "5304"],
        "dnslib": [*pinned, sys.executable, HERE / "dns_peer.py", SERVER, "5305", ZONE, scene.folder / "listed"],
    }


def start(scene: Scene, candidates: dict[str, list[object]]) -> Iterator[tuple[Candidate, float, int]]:
    """Start each candidate: it, the seconds to its first answer and the bytes it takes; `bare` ends again."""
    ports = {"bare": 5306, "one": 5301, "all": 5302, "rbldnsd": 5303, "flip": 5304, "dnslib": 5305}
    for name, argv in candidates.items():
        progress_line(f"starting {name}")
        with (scene.folder / f"{name}.log").open("w") as log:
            began = time.monotonic()
            process = scene.hosts["loopback"].start(*argv, stdout=log, stderr=log, text=True)
        candidate = Candidate(name, ports[name], process)
        wait_for(lambda c=candidate: is_answering(scene, c), f"{name} to answer", limit_s=120, step_s=0.01)
        took_s = time.monotonic() - began
        time.sleep(0.2)
        memory = resident_bytes(candidate)
        if name == "bare":
            end(candidate)
        yield candidate, took_s, memory


def end(who: Candidate) -> None:
    """Stop a candidate."""
    who.process.terminate()
    who.process.wait()


def is_answering(scene: Scene, who: Candidate) -> bool:
    """Ask for the test point once."""
    if who.process.poll() is not None:
        raise SystemExit(f"{who.name} ended: {(scene.folder / f'{who.name}.log').read_text()}")
    with scene.hosts["loopback"].entered():
        try:
            reply = dnslib.DNSRecord.question(f"2.0.0.127.{ZONE}").send(SERVER, who.port, timeout=0.2)
        except OSError:
            return False
    return who.name == "flip" or dnslib.DNSRecord.parse(reply).header.rcode in (0, 3)


def measure(scene: Scene, who: Candidate, where: str, sockets: int, in_flight: int) -> tuple[float, float]:
    """Ask from a host: (queries answered a second, CPU us of the server a query)."""
    before = cpu_s(who)
    told = ask(scene, who, where, sockets, in_flight)
    cost = cpu_s(who) - before
    if told["lost"] + told["bad"] > told["received"] / 1000:
        raise SystemExit(f"{who.name}: {told['lost']} queries lost, {told['bad']} answers to nothing: {told}")
    if who.name in ("one", "all"):
        check_outcomes(who.name, told["classes"])
    return told["received"] / told["seconds"], cost / told["received"] * 1e6


def ask(scene: Scene, who: Candidate, where: str, sockets: int, in_flight: int, seconds: float = 0) -> dict:
    """Run the generator, for as long as a measurement takes if nothing else is said."""
    sample = scene.folder / f"sample.{who.name}"
    argv = [scene.folder / "dns_load", SERVER, who.port, seconds or scene.seconds, sockets, in_flight]
    done = scene.hosts[where].run("taskset", "-c", "1", *argv, scene.folder / "queries", sample)
    return json.loads(done.stdout.splitlines()[-1])


def check_outcomes(name: str, classes: list[list[int]]) -> None:
    """Every question got what it should."""
    for (*asked, want), counts in zip(CLASSES, classes, strict=False):
        if sum(counts) != counts[want]:
            raise SystemExit(f"{name}: wrong answers to {asked}: {counts}")


def check_sample(path: Path, addresses: list[bytes]) -> None:
    """What is in the sample is what dnslib would have said."""
    data, at, known, seen = path.read_bytes(), 0, set(addresses), 0
    while at < len(data):
        messages = []
        for _ in range(2):
            size = int.from_bytes(data[at : at + 2], "big")
            messages.append(dnslib.DNSRecord.parse(data[at + 2 : at + 2 + size]))
            at += 2 + size
        compare(*messages, known)
        seen += 1
    if not seen:
        raise SystemExit("no answers in the sample")


def compare(query: dnslib.DNSRecord, reply: dnslib.DNSRecord, known: set[bytes]) -> None:
    """SystemExit if a reply is not what a zone with these addresses says."""
    labels = str(query.q.qname).removesuffix(f".{ZONE}.").split(".")
    addr = bytes(map(int, reversed(labels)))
    want = query.reply(aa=1, ra=0)
    if addr in known and query.q.qtype == dnslib.QTYPE.A:
        want.add_answer(dnslib.RR(query.q.qname, rdata=dnslib.A("127.0.0.2"), ttl=300))
    elif addr in known and query.q.qtype == dnslib.QTYPE.TXT:
        want.add_answer(dnslib.RR(query.q.qname, 16, rdata=dnslib.TXT(f"{format_addr(addr)} is listed"), ttl=300))
    elif len(addr) == 4 and addr not in known:
        want.header.rcode = dnslib.RCODE.NXDOMAIN
    is_negative = [str(rr.rname) for rr in reply.auth] == ([] if want.rr else [f"{ZONE}."])
    if (str(want.header), want.questions, want.rr) != (*head(reply, want), reply.rr) or not is_negative:
        raise SystemExit(f"wrong answer:\n{reply}\nwant:\n{want}")


def head(reply: dnslib.DNSRecord, want: dnslib.DNSRecord) -> tuple[str, list[dnslib.DNSQuestion]]:
    """Return a reply's header, with the counts of what is wanted since SOAs are looked at apart, and its questions."""
    header = dnslib.DNSHeader(id=reply.header.id, bitmap=reply.header.bitmap)
    header.q, header.a, header.auth, header.ar = want.header.q, want.header.a, want.header.auth, want.header.ar
    return str(header), reply.questions


def under_changes(scene: Scene, who: Candidate, store: Store, addresses: list[bytes]) -> dict[str, float]:
    """Return the ms of the slowest answer, one query in flight, while changes arrive, and how many a second did."""
    progress_line("changes arriving")
    done = threading.Event()
    rates = []

    def change() -> None:
        began, count = time.monotonic(), 0
        while not done.is_set():
            keys = addresses[count % len(addresses) :][:1000]
            store.unlist(keys, "bench", "", time.time())
            store.list([NewListing(key, source="bench", flags=PUBLISHED) for key in keys], time.time())
            count += 2000
            time.sleep(max(0.0, began + count / CHANGES_PER_S - time.monotonic()))
        rates.append(count / (time.monotonic() - began))

    writer = threading.Thread(target=change)
    writer.start()
    try:
        slowest_ms = float(ask(scene, who, "loopback", 1, 1, max(3.0, scene.seconds * 4))["slowest_ms"])
    finally:
        done.set()
        writer.join()
    return {"slowest_under_changes_ms": slowest_ms, "changes_per_s": rates[0]}


def note(pairs: Pairs, costs: dict[str, list[float]], prefix: str, got: dict[str, tuple[float, float]]) -> None:
    """Take a round's ratios and figures in."""
    speed, cost = ({name: both[i] for name, both in got.items()} for i in (0, 1))
    pairs.add(f"{prefix}vs_rbldnsd", speed["one"], speed["rbldnsd"])
    pairs.add(f"{prefix}all_vs_rbldnsd", speed["all"], speed["rbldnsd"])
    pairs.add(f"{prefix}cost_vs_rbldnsd", cost["one"], cost["rbldnsd"])
    pairs.add(f"{prefix}cost_vs_flip", cost["one"], cost["flip"])
    if "dnslib" in got:
        pairs.add(f"{prefix}vs_dnslib", speed["one"], speed["dnslib"])
    for name, value in cost.items():
        costs.setdefault(f"{prefix}{name}_cpu_us", []).append(value)


def cpu_s(who: Candidate) -> float:
    """Return the CPU seconds of the process's threads so far, to the nanosecond; those that ended do not count."""
    total_ns = 0
    for path in Path(f"/proc/{who.process.pid}/task").glob("*/schedstat"):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            total_ns += int(path.read_text().split()[0])
    return total_ns / 1e9


def resident_bytes(who: Candidate) -> int:
    """Return what the process holds in memory for itself: the database's cache is shared with its writer."""
    status = dict(line.split(":", 1) for line in Path(f"/proc/{who.process.pid}/status").read_text().splitlines())
    return int(status["RssAnon"].split()[0]) * 1024


if __name__ == "__main__":
    if os.geteuid() != 0 or not shutil.which("rbldnsd"):
        sys.exit("bench_dnsbl: needs root, network namespaces and rbldnsd")
    main()
