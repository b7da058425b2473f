"""Bench `blcheck`: our client for remote lists against a bare one in C, aiodns and dnspython.

    python t/bench/bench_blcheck.py [--quick]

20,000 addresses (5,000 with --quick) are asked for in 8 lists that one rbldnsd serves, all on loopback, through
udp_relay.c, which holds every question for 20 ms and loses 1 % of them. 2 % of the addresses are in each list; a hit is
asked for again as TXT. Everybody has at most 1,000 questions in flight and asks again what is lost.

| candidate | what it does |
|---|---|
| ours | Client.stream in one process: names, random ids, ports and case, parsing, verdicts, cache, health |
| c | dns_ask.c: prepared messages out by sendmmsg, in by recvmmsg, matched by id and nothing else |
| aiodns | c-ares below asyncio; a sample of the addresses, answers only looked at for being there |
| dnspython | its asyncio client, the same |

Ratios: `vs_c`, `vs_aiodns`, `vs_dnspython`, questions a second on the same work. Figures: `questions_per_s` and
`cpu_us` a question of ours (median), `bare_per_s` of the C client, `job_per_s` of `spamcannibal blcheck` from its start
to its end with the same addresses in its archive, and `memory_mb`: the peak of a process that streams 1 M addresses
(100,000 with --quick) through one list, without the relay. It ends with an error if any verdict is wrong.
"""

import argparse
import asyncio
import contextlib
import itertools
import json
import os
import random
import resource
import shutil
import struct
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import aiodns
import dns.asyncquery
import dns.exception
import dns.message

from bench.common import Pairs, prefer_us, progress_line, report
from live.nets import wait_for
from spamcannibal.addr import format_addr, reversed_name
from spamcannibal.commands.common import open_store
from spamcannibal.config import load
from spamcannibal.events import EventLog
from spamcannibal.remote.client import Client
from spamcannibal.remote.lists import RemoteList
from spamcannibal.remote.query import A, list_name, pack_name, pack_question
from spamcannibal.remote.verdict import Outcome
from spamcannibal.settings.remote import RemoteSettings

HERE = Path(__file__).parent
ZONES = [f"l{n}.bl.example" for n in range(8)]
SERVER_PORT, RELAY_PORT = 5393, 5394
DELAY_MS, LOSE_PER_MILLE = 20, 10
IN_FLIGHT, RETRY_MS, TRIES = 1000, 100, 8
LISTED_SHARE = 0.02
SETTINGS = f"""\
store.path = "store"
[guard]
max_listings_per_run = 1000000
max_listings_per_hour = 1000000
max_per_source_per_hour = 1000000
max_per_net = 256
[remote]
lists = {json.dumps(ZONES)}
resolvers = ["127.0.0.1:{RELAY_PORT}"]
canary = ["2.0.0.127.{ZONES[0]} A"]
tries = {TRIES}
in_flight = {IN_FLIGHT}
list_in_flight = {IN_FLIGHT // len(ZONES)}
"""


@dataclass(frozen=True)
class Scene:
    """The folder of files and programs, the addresses, and which of them each list has."""

    folder: Path
    addrs: list[bytes]
    listed: dict[str, set[bytes]]

    def part(self, count: int) -> "Scene":
        """Return the scene with the first addresses only."""
        return Scene(self.folder, self.addrs[:count], self.listed)

    def hits(self) -> int:
        return sum(addr in listed for listed in self.listed.values() for addr in self.addrs)

    def questions(self) -> int:
        return len(self.addrs) * len(ZONES) + self.hits()


def main() -> None:
    parser = argparse.ArgumentParser(description="the client for remote lists against its peers")
    parser.add_argument("--quick", action="store_true", help="fewer addresses: under a minute")
    parser.add_argument("--memory", type=int, metavar="N", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.memory:
        measure_memory(arguments.memory)
        return
    prefer_us()
    with tempfile.TemporaryDirectory(prefix="bench-blcheck-") as folder, contextlib.ExitStack() as stack:
        Path(folder).chmod(0o755)  # rbldnsd drops its rights
        scene = make_scene(Path(folder), 5_000 if arguments.quick else 20_000)
        build(scene.folder)
        for process in start_servers(scene.folder):
            stack.callback(process.wait)
            stack.callback(process.terminate)
        compete(scene, 100_000 if arguments.quick else 1_000_000)


def compete(scene: Scene, addresses: int) -> None:
    """Run the rounds, print the report."""
    pairs, ours, bare, cpu_us = Pairs(), [], [], []
    samples = {"vs_aiodns": (run_aiodns, scene.part(1500)), "vs_dnspython": (run_dnspython, scene.part(250))}
    for turn in range(-1, 5):
        progress_line(f"round {turn + 1} of 5")

        def run_ours() -> float:
            before = time.process_time()
            speed = run_client(scene)
            ours.append(speed)
            cpu_us.append((time.process_time() - before) / scene.questions() * 1e6)
            return speed

        def run_c() -> float:
            bare.append(run_bare(scene))
            return bare[-1]

        pairs.run("vs_c", run_ours, run_c, turn)
        for name, (run, sample) in samples.items():
            pairs.run(name, lambda sample=sample: run_client(sample), lambda run=run, sample=sample: run(sample), turn)
    progress_line("the job")
    job_per_s = run_job(scene)
    progress_line(f"memory with {addresses} addresses")
    argv = [sys.executable, __file__, "--memory", str(addresses)]
    peak = subprocess.run(argv, check=True, stdout=subprocess.PIPE, text=True).stdout
    figures = {
        "questions_per_s": int(median(ours)), "bare_per_s": int(median(bare)), "cpu_us": median(cpu_us),
        "job_per_s": int(job_per_s), "memory_mb": float(peak), "questions": scene.questions(),
    }  # fmt: skip
    report("blcheck", pairs, figures)


def make_scene(folder: Path, count: int) -> Scene:
    """Write rbldnsd's lists and the C client's questions, the same in every run."""
    rng = random.Random(4)
    addrs = [rng.randrange(1 << 24, 126 << 24).to_bytes(4, "big") for _ in range(count)]
    listed = {zone: set(rng.sample(addrs, int(count * LISTED_SHARE))) for zone in ZONES}
    for zone, members in listed.items():
        lines = "\n".join(map(format_addr, sorted(members)))
        head = f"$SOA 300 {zone} hostmaster.{zone} 0 900 300 604800 60\n:127.0.0.2:$ is listed\n127.0.0.2\n"
        (folder / zone).write_text(f"{head}{lines}\n")
    suffixes = [pack_name(zone) for zone in ZONES]
    with (folder / "queries").open("wb") as file:
        for addr, suffix in itertools.product(addrs, suffixes):
            query = struct.pack(">6H", 0, 0x100, 1, 0, 0, 0) + pack_question(list_name(addr, suffix), A)
            file.write(len(query).to_bytes(2, "big") + query)
    return Scene(folder, addrs, listed)


def build(folder: Path) -> None:
    """Compile relay and peer."""
    for name in ("udp_relay", "dns_ask"):
        subprocess.run(["gcc", "-std=c11", "-D_GNU_SOURCE", "-O2", HERE / f"{name}.c", "-o", folder / name], check=True)


def start_servers(folder: Path) -> Iterator["subprocess.Popen[bytes]"]:
    """Start rbldnsd and the relay before it."""
    lists = [f"{zone}:ip4tset:{zone}" for zone in ZONES]
    rbldnsd = ["rbldnsd", "-n", "-q", "-u", "nobody", "-r", folder, "-b", f"127.0.0.1/{SERVER_PORT}", *lists]
    yield subprocess.Popen(rbldnsd, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    relay = [folder / "udp_relay", RELAY_PORT, SERVER_PORT, DELAY_MS, LOSE_PER_MILLE]
    process = subprocess.Popen([str(word) for word in relay], stdout=subprocess.PIPE)
    yield process
    assert process.stdout is not None and process.stdout.readline()
    wait_for(is_answering, "rbldnsd to answer")


def is_answering() -> bool:
    query = dns.message.make_query(f"2.0.0.127.{ZONES[0]}", "A")
    with contextlib.suppress(dns.exception.Timeout, OSError):
        return bool(asyncio.run(dns.asyncquery.udp(query, "127.0.0.1", 0.5, RELAY_PORT)).answer)
    return False


def settings(folder: Path, port: int) -> RemoteSettings:
    return RemoteSettings(
        resolvers=(f"127.0.0.1:{port}",),
        canary=(f"2.0.0.127.{ZONES[0]} A",),
        tries=TRIES,
        in_flight=IN_FLIGHT,
        list_in_flight=IN_FLIGHT // len(ZONES),
        state_file=str(folder / "state.json"),
    )


def run_client(scene: Scene) -> float:
    """Ask with our client: questions a second, once lists and resolver are tested."""
    lists = [RemoteList(zone, any=True) for zone in ZONES]
    found: Counter[Outcome] = Counter()
    with Client(settings(scene.folder, RELAY_PORT), lists, EventLog(sys.stderr)) as client:
        client.healthy(force=True)
        began = time.perf_counter()
        for addr, verdicts in client.stream(scene.addrs):
            for verdict in verdicts:
                found[verdict.outcome] += 1
                is_right = (verdict.outcome is Outcome.LISTED) == (addr in scene.listed[verdict.zone])
                if not is_right or (verdict.codes and not verdict.text):
                    raise SystemExit(f"wrong verdict about {format_addr(addr)}: {verdict}")
        took_s = time.perf_counter() - began
    if found[Outcome.UNKNOWN] or found.total() != len(scene.addrs) * len(ZONES):
        raise SystemExit(f"wrong number of verdicts: {found}")
    return scene.questions() / took_s


def run_job(scene: Scene) -> float:
    """Have the job examine an archive with the addresses: questions a second."""
    folder = scene.folder / "job"
    (folder / "lists.d").mkdir(parents=True)
    (folder / "never-list").write_text("127.0.0.0/8\n")
    lists = "".join(f'[[list]]\nzone = "{zone}"\nany = true\n' for zone in ZONES)
    (folder / "lists.d" / "lists.toml").write_text(lists)
    (folder / "settings.toml").write_text(SETTINGS)
    now_ms = int(time.time() * 1000)
    with contextlib.closing(open_store(load(folder / "settings.toml"))) as store:
        store.archive([(addr, 1, now_ms, now_ms) for addr in scene.addrs])
    argv = [sys.executable, "-m", "spamcannibal", "-c", folder / "settings.toml", "blcheck", "--json"]
    began = time.perf_counter()
    done = subprocess.run(argv, check=True, stdout=subprocess.PIPE, text=True)
    took_s = time.perf_counter() - began
    counts = json.loads(done.stdout)["counts"]
    listed = len(set().union(*scene.listed.values()))
    if counts != {"passed": len(scene.addrs) - listed, "listed": listed}:
        raise SystemExit(f"blcheck: {counts}, want {listed} listed")
    return scene.questions() / took_s


def run_bare(scene: Scene) -> float:
    """Ask with the C client."""
    argv = [scene.folder / "dns_ask", "127.0.0.1", RELAY_PORT, 32, IN_FLIGHT, RETRY_MS, scene.folder / "queries"]
    done = subprocess.run([str(word) for word in argv], check=True, stdout=subprocess.PIPE, text=True)
    told = json.loads(done.stdout.splitlines()[-1])
    if told["lost"] or told["listed"] < scene.hits() * 0.99:  # it may take a late answer for that to another question
        raise SystemExit(f"dns_ask: {told}, want {scene.hits()} listed")
    return float(told["answered"] / told["seconds"])


def run_aiodns(scene: Scene) -> float:
    """Ask with aiodns."""
    return asyncio.run(ask_by(scene, _AioDns()))


def run_dnspython(scene: Scene) -> float:
    """Ask with dnspython."""
    return asyncio.run(ask_by(scene, _DnsPython()))


class _AioDns:
    """One resolver for all questions; it is made inside the loop that it lives in."""

    def __init__(self) -> None:
        self._resolver: aiodns.DNSResolver | None = None

    async def has(self, name: str, qtype: str) -> bool:
        if self._resolver is None:
            self._resolver = aiodns.DNSResolver(
                nameservers=["127.0.0.1"], udp_port=RELAY_PORT, timeout=RETRY_MS / 1000, tries=TRIES
            )
        try:
            return bool(await self._resolver.query_dns(name, qtype))
        except aiodns.error.DNSError as error:
            if error.args[0] in (aiodns.error.ARES_ENOTFOUND, aiodns.error.ARES_ENODATA):
                return False
            raise


class _DnsPython:
    """A message and a socket for each question, as its asyncio client has it."""

    async def has(self, name: str, qtype: str) -> bool:
        query = dns.message.make_query(name, qtype)
        for attempt in range(TRIES):
            with contextlib.suppress(dns.exception.Timeout):
                wait_s = RETRY_MS / 1000 * 2**attempt
                return bool((await dns.asyncquery.udp(query, "127.0.0.1", wait_s, RELAY_PORT)).answer)
        raise SystemExit(f"dnspython: no answer about {name}")


async def ask_by(scene: Scene, library: _AioDns | _DnsPython) -> float:
    """Ask all questions with a library, so many at once: questions a second."""
    names = (f"{reversed_name(addr)}.{zone}" for addr in scene.addrs for zone in ZONES)
    hits = 0

    async def work() -> None:
        nonlocal hits
        for name in names:
            if await library.has(name, "A") and await library.has(name, "TXT"):
                hits += 1

    began = time.perf_counter()
    await asyncio.gather(*(work() for _ in range(IN_FLIGHT)))
    took_s = time.perf_counter() - began
    if hits != scene.hits():
        raise SystemExit(f"{type(library).__name__}: {hits} listed, want {scene.hits()}")
    return scene.questions() / took_s


def measure_memory(count: int) -> None:
    """Stream so many addresses through one list, and print the peak of this process in MB."""
    addrs = ((1 << 24 | number).to_bytes(4, "big") for number in range(count))
    with tempfile.TemporaryDirectory() as folder:
        remote = settings(Path(folder), SERVER_PORT)
        lists = [RemoteList(ZONES[0], any=True, in_flight=128)]  # no more than rbldnsd can buffer
        with Client(remote, lists, EventLog(sys.stderr)) as client:
            told = sum(len(verdicts) for _, verdicts in client.stream(addrs))
    if told != count:
        raise SystemExit(f"{told} verdicts, want {count}")
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


if __name__ == "__main__":
    if os.geteuid() != 0 or not shutil.which("rbldnsd"):
        sys.exit("bench_blcheck: needs root and rbldnsd")
    main()
