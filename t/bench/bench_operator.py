"""Bench `operator`: what whoever sits at the terminal waits for: an import, explain, --help; each a whole process.

    python t/bench/bench_operator.py [--quick]

| ratio | this | peer |
|---|---|---|
| import_cost_vs_bare_bdb | `list import` of 100,000 addresses, a whole process | durable puts of them, 1,000 at once |
| explain_cost_vs_click | `explain` of a listed address, 1 M listed | a Python that imports click and ends |
| help_cost_vs_click | `spamcannibal --help` | the same |
| replay_vs_single | `replay`'s decisions, 4,096 packets a call, 1 M listed | a call of the core for each packet |
| replay_read_vs_scapy | reading a capture for that | scapy's RawPcapReader alone |

The peer of the import is bench_store.py's `Bare`: one B-tree without journal, evidence, tally, history, never-list or
gate, in a process that runs already. While `explain` is measured another process holds the database open, as the tarpit
does.

Figures: `import_1m_s`, seconds for 1 M addresses (--quick: ten times what 100,000 take, else really 1 M);
`explain_ms`, `help_ms`, `click_ms`, medians; `status_ms`, the whole of `spamcannibal status` on that database.
`replay_pps`, packets decided a second once read, half of them of listed sources, `replay_read_pps` read a second,
`replay_s` the whole of `spamcannibal replay` on a capture of 100,000 packets (--quick) or 1 M.
"""

import argparse
import contextlib
import json
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from statistics import median

from bench.bench_store import Bare, fill, hosts, open_store
from bench.common import Pairs, prefer_us, progress_line, report
from spamcannibal._core import Replay, Trap, build
from spamcannibal.addr import format_addr
from spamcannibal.record import PROVEN_CODE, Mode, table_value
from spamcannibal.store.stores import NewListing
from spamcannibal.tables import Tables

PART, WHOLE = 100_000, 1_000_000
LISTED = bytes((198, 51, 100, 7))
LISTED_VALUE = table_value(PROVEN_CODE, Mode.DEFAULT, 0)
ETHERNET = 14
SETTINGS = """\
[store]
path = "{name}"
cache_bytes = "256MiB"
[services]
enabled = ["tarpit"]
[[dnsbl.zone]]
name = "bl.example.org"
"""
# Opens the database, says so, and keeps it until its input ends.
HOLDER = """
import sys
from spamcannibal.commands.common import open_store
from spamcannibal.config import load
store = open_store(load(sys.argv[1]))
print(store.last_seq(), flush=True)
sys.stdin.read()
store.close()
"""


def main() -> None:
    parser = argparse.ArgumentParser(description="what an operator waits for")
    parser.add_argument("--quick", action="store_true", help="fewer rounds, no import of 1 M: under two minutes")
    is_quick = parser.parse_args().quick
    prefer_us()
    pairs, figures = Pairs(), {}
    with tempfile.TemporaryDirectory(prefix="bench-operator-") as name:
        folder = Path(name)
        (folder / "never-list").write_text("@private\n")
        figures |= measure_import(folder, pairs, 5, is_quick)
        figures |= measure_commands(folder, pairs, 7 if is_quick else 15)
        figures |= measure_replay(folder, pairs, 5 if is_quick else 9, PART if is_quick else WHOLE)
    report("operator", pairs, figures)


def measure_import(folder: Path, pairs: Pairs, rounds: int, is_quick: bool) -> dict[str, float]:
    """Import into a new database each time."""
    feed, took_s = write_feed(folder, PART), []
    addrs = list(islice(hosts(), PART))
    for turn in range(-1, rounds):
        progress_line(f"import, round {turn + 1} of {rounds}")

        def ours(turn: int = turn) -> float:
            took_s.append(run_import(folder, f"import{turn}", feed, PART))
            return took_s[-1]

        def bare(turn: int = turn) -> float:
            peer = Bare(folder / f"bare{turn}")
            began = time.perf_counter()
            peer.put(addrs, durable=True)
            seconds = time.perf_counter() - began
            peer.close()
            return seconds

        pairs.run("import_cost_vs_bare_bdb", ours, bare, turn)
    if is_quick:
        return {"import_1m_s": median(took_s) * WHOLE / PART}
    progress_line("import of 1 M")
    return {"import_1m_s": run_import(folder, "whole", write_feed(folder, WHOLE), WHOLE)}


def measure_commands(folder: Path, pairs: Pairs, rounds: int) -> dict[str, float]:
    """Run commands on a database of 1 M listings that another process holds open."""
    progress_line("filling a database with 1 M listings")
    settings = write_settings(folder, "filled")
    with contextlib.closing(open_store(folder / "filled")) as store:
        fill(store.env)
        store.list([NewListing(LISTED, bytes((127, 0, 0, 2)), "spam to a trap", "admin:bench")], time.time())
    took: dict[str, list[float]] = {"explain": [], "help": [], "click": [], "status": []}

    def timed(name: str, *argv: object, code: int = 0) -> float:
        took[name].append(run(argv, code) * 1000)
        return took[name][-1]

    ours = [sys.executable, "-m", "spamcannibal", "-c", settings]
    click = [sys.executable, "-c", "import click"]
    with holding(settings):
        for turn in range(-1, rounds):
            progress_line(f"commands, round {turn + 1} of {rounds}")
            explain = [*ours, "explain", format_addr(LISTED)]
            pairs.run(
                "explain_cost_vs_click",
                lambda explain=explain: timed("explain", *explain, code=1),
                lambda: timed("click", *click),
                turn,
            )
            pairs.run(
                "help_cost_vs_click", lambda: timed("help", *ours, "--help"), lambda: timed("click", *click), turn
            )
            timed("status", *ours, "status")
    return {f"{name}_ms": median(values) for name, values in took.items()}


def measure_replay(folder: Path, pairs: Pairs, rounds: int, count: int) -> dict[str, float]:
    """Decide the packets of a capture against 1 M listings, which stand in the database of measure_commands."""
    # Imported here: no other part of the bench has scapy in its process.
    from scapy.utils import RawPcapReader

    from spamcannibal.tarpit.replay import Capture

    progress_line("replay: writing a capture")
    addrs = list(islice(hosts(), WHOLE))
    tables, trap = Tables(), Trap(1, bytes(16))
    tables.load([(addr, LISTED_VALUE) for addr in addrs])
    path = write_capture(folder / "capture.pcap", addrs, count)
    parts = list(Capture(str(path)))
    some = [frame[ETHERNET:] for part in parts[:16] for frame in part.frames]
    read_pps, decide_pps = list[float](), list[float]()

    def decided() -> float:
        replay = Replay(trap, tables.listings, tables.shadows, [25])
        began = time.perf_counter()
        for part in parts:
            replay.feed(*part)
        decide_pps.append(count / (time.perf_counter() - began))
        if replay.counts()["dropped"] != (count + 1) // 2:
            raise SystemExit(f"replay: {replay.counts()}, want half of {count} dropped")
        return decide_pps[-1]

    def singly() -> float:
        began = time.perf_counter()
        for packet in some:
            trap.decide(packet, tables.listings.lookup(packet[12:16]))
        return len(some) / (time.perf_counter() - began)

    def read() -> float:
        began = time.perf_counter()
        for _ in Capture(str(path)):
            pass
        read_pps.append(count / (time.perf_counter() - began))
        return read_pps[-1]

    def scapy() -> float:
        began = time.perf_counter()
        with RawPcapReader(str(path)) as reader:
            for _ in reader:
                pass
        return count / (time.perf_counter() - began)

    for turn in range(-1, rounds):
        progress_line(f"replay, round {turn + 1} of {rounds}")
        pairs.run("replay_vs_single", decided, singly, turn)
        pairs.run("replay_read_vs_scapy", read, scapy, turn)
    whole = run([sys.executable, "-m", "spamcannibal", "-c", write_settings(folder, "filled"), "replay", path], 0)
    return {"replay_pps": median(decide_pps), "replay_read_pps": median(read_pps), "replay_s": whole}


def write_capture(path: Path, addrs: Sequence[bytes], count: int) -> Path:
    """Write SYNs to port 25, every other one of a listed source."""
    with path.open("wb") as file:
        file.write(struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 1))
        for n in range(count):
            src = bytes((10, *n.to_bytes(3, "big"))) if n % 2 else addrs[n * 7919 % len(addrs)]
            frame = bytes(12) + b"\x08\x00" + build(src, LISTED, 1024 + n % 60000, 25, seq=n, flags=2, window=64000)
            file.write(struct.pack("<IIII", 1_700_000_000 + n // 1000, 0, len(frame), len(frame)) + frame)
    return path


def write_settings(folder: Path, name: str) -> Path:
    path = folder / f"{name}.toml"
    path.write_text(SETTINGS.format(name=name))
    return path


def write_feed(folder: Path, count: int) -> Path:
    """Write a list of one address a line."""
    path = folder / f"feed{count}"
    path.write_text("".join(f"{format_addr(addr)}\n" for addr in islice(hosts(), count)))
    return path


def run_import(folder: Path, name: str, feed: Path, count: int) -> float:
    """Import a feed into a new database; give the seconds it took."""
    argv = [sys.executable, "-m", "spamcannibal", "-c", write_settings(folder, name), "list", "import", feed, "--json"]
    began = time.perf_counter()
    done = subprocess.run([str(word) for word in argv], check=True, stdout=subprocess.PIPE, text=True)
    took_s = time.perf_counter() - began
    if json.loads(done.stdout)[0]["listed"] != count:
        raise SystemExit(f"list import: {done.stdout}, want {count} listed")
    return took_s


@contextlib.contextmanager
def holding(settings: Path) -> Iterator[None]:
    """Have another process hold the database open."""
    argv = [sys.executable, "-c", HOLDER, str(settings)]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        if not process.stdout.readline():
            raise SystemExit("the process that was to hold the database ended")
        yield
        process.communicate()


def run(argv: Sequence[object], code: int) -> float:
    """Run a process to its end; give the seconds it took."""
    began = time.perf_counter()
    done = subprocess.run([str(word) for word in argv], check=False, capture_output=True, text=True)
    took_s = time.perf_counter() - began
    if done.returncode != code:
        raise SystemExit(f"{argv}: exit {done.returncode}, want {code}: {done.stderr}")
    return took_s


if __name__ == "__main__":
    main()
