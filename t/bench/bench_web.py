"""Bench `web`: look-ups of a list of 1 M while tarpit and DNS server run, and the start of a CGI request.

    python t/bench/bench_web.py [--quick]

| ratio | this | peer |
|---|---|---|
| lookup_vs_bare_flask | pages /lookup/ADDRESS a second, half of them listed | web_peer.py: Flask, a constant page |
| lookup_json_vs_bare_flask | the same as /lookup/ADDRESS.json | the same |
| cgi_cost_vs_flask | a look-up by cgi-bin/cannibal.cgi, a whole process | a Python that imports flask and ends |

Both servers run under waitress with as many threads on CPU 0, wrk asks by 8 connections from CPU 1. All is in a network
namespace, with the tarpit on its queue and the DNS server with its port, both following the same database, which holds
1 M listings (100,000 with --quick), 2,000 of them with text and evidence. Asked for are these and 2,000 that are not
listed; a resolver there says at once that nobody has a name, which is remembered for a minute as ever.

Figures: `lookups_per_s` and `lookup_p99_ms`, the pages' median; `cgi_start_ms`; `activity_first_ms` and
`activity_cached_ms`, the report page over 30 days of 1 M changes (100,000 with --quick) for the first time and again.
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
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Any

from bench.bench_store import fill, open_store
from bench.common import Pairs, prefer_us, progress_line, report
from bench.web_activity import measure_activity
from helpers.faulty_dns import FaultyDns
from live.nets import Host, Lab, queue_rules, wait_for
from spamcannibal.addr import format_addr
from spamcannibal.record import PUBLISHED
from spamcannibal.store.stores import NewListing, Store

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
WEB, PEER = 8025, 8026
CONNECTIONS, THREADS = 8, 4
ASKED = 2000
TEXT = "spam to a trap; see https://bl.example.org/lookup/"
BODY = b"Received: from mail.example.org (mail.example.org [198.51.100.7])\r\n" * 8 + b"Subject: buy\r\n\r\nbuy it\r\n"
SETTINGS = """\
[store]
path = "store"
cache_bytes = "256MiB"
[guard]
never_list = "never-list"
[remote]
resolvers = ["{resolver}"]
[tarpit]
mode = "stutter"
[dnsbl]
listen = ["127.0.0.1:5301"]
[[dnsbl.zone]]
name = "bl.example.org"
[web]
listen = ["127.0.0.1:8025"]
threads = 4
per_minute = 100000000
"""


def main() -> None:
    parser = argparse.ArgumentParser(description="the web pages")
    parser.add_argument("--quick", action="store_true", help="fewer listings and rounds: under a minute")
    is_quick = parser.parse_args().quick
    prefer_us()
    pairs, figures = Pairs(), {}
    with tempfile.TemporaryDirectory(prefix="bench-web-") as name, Lab("scweb") as lab:
        folder, host = Path(name), lab.host("server")
        paths = prepare(folder, 100_000 if is_quick else 1_000_000)
        with host.entered():
            dns = FaultyDns()
        (folder / "s.toml").write_text(SETTINGS.format(resolver=dns.endpoint))
        with dns, running(folder, host) as logs:
            figures |= measure_lookups(folder, host, pairs, paths, (5, 1.0) if is_quick else (7, 3.0))
            check_logs(logs)
            with host.entered():  # where the resolver is
                figures |= measure_cgi(folder, pairs, 5 if is_quick else 9)
        figures |= measure_activity(folder, 100_000 if is_quick else 1_000_000)
    report("web", pairs, figures)


def prepare(folder: Path, listed: int) -> dict[str, Path]:
    """Write settings, fill the database; give files of paths to ask for, by form."""
    (folder / "never-list").write_text("127.0.0.0/8\n")
    (folder / "s.toml").write_text(SETTINGS.format(resolver="127.0.0.1"))
    progress_line(f"filling a database with {listed} listings")
    addrs = [bytes((20, 64, n >> 8, n & 255)) for n in range(ASKED)]
    with contextlib.closing(open_store(folder / "store")) as store:
        if listed == 1_000_000:
            fill(store.env)
        else:
            fill_some(store, listed)
        for at in range(0, ASKED, 500):
            store.list([listing(addr) for addr in addrs[at : at + 500]], time.time())
    rng = random.Random(1)
    asked = [*addrs, *(bytes((21, 0, rng.randrange(1, 100), rng.randrange(256))) for _ in range(ASKED))]
    rng.shuffle(asked)
    files = {}
    for form in ("", ".json"):
        files[form] = folder / f"paths{form}"
        files[form].write_text("".join(f"/lookup/{format_addr(addr)}{form}\n" for addr in asked))
    return files


def fill_some(store: Store, count: int) -> None:
    """List so many, with their journal."""
    keys = [(0x0B000000 + n * 97).to_bytes(4, "big") for n in range(count)]
    for at in range(0, count, 1000):
        store.list([NewListing(key, source="bench", flags=PUBLISHED) for key in keys[at : at + 1000]], time.time())


def listing(addr: bytes) -> NewListing:
    return NewListing(addr, text=TEXT + format_addr(addr), source="trap:bench", evidence=BODY, flags=PUBLISHED)


@contextlib.contextmanager
def running(folder: Path, host: Host) -> Iterator[list[Path]]:
    """Run tarpit, DNS server, web and peer in the namespace; yield their logs."""
    queue_rules(host)
    ours = [sys.executable, "-m", "spamcannibal", "-c", folder / "s.toml"]
    argvs: dict[str, list[object]] = {
        "tarpit": [*ours, "tarpit"],
        "dnsbl": [*ours, "dnsbl"],
        "web": ["taskset", "-c", "0", *ours, "web"],
        "peer": ["taskset", "-c", "0", sys.executable, HERE / "web_peer.py", PEER, THREADS],
    }
    with contextlib.ExitStack() as stack:
        logs = []
        for name, argv in argvs.items():
            logs.append(folder / f"{name}.log")
            log = stack.enter_context(logs[-1].open("w"))
            process = host.start(*argv, stdout=log, stderr=log, cwd=ROOT)
            stack.callback(process.wait)
            stack.callback(process.terminate)
        for port in (WEB, PEER):
            wait_for(lambda port=port: is_up(host, port), f"port {port}", limit_s=60)
        wait_for(lambda: "READY" in logs[0].read_text() or "START" in logs[0].read_text(), "the tarpit", limit_s=60)
        yield logs


def is_up(host: Host, port: int) -> bool:
    done = host.run("curl", "-s", "-o", "/dev/null", f"http://127.0.0.1:{port}/lookup/203.0.113.1", check=False)
    return done.returncode == 0


def check_logs(logs: list[Path]) -> None:
    """SystemExit if something went wrong that the figures do not show."""
    for log in logs:
        wrong = [line for line in log.read_text().splitlines() if "status=500" in line or "Traceback" in line]
        if wrong:
            raise SystemExit(f"{log.name}: {wrong[0]}")


def measure_lookups(
    folder: Path, host: Host, pairs: Pairs, paths: dict[str, Path], size: tuple[int, float]
) -> dict[str, float]:
    """Ask both servers in turn."""
    rounds, seconds = size
    took: list[dict[str, Any]] = []

    def ask(port: int, form: str, keep: bool = False) -> float:
        got = wrk(host, port, paths[form], seconds)
        if keep:
            took.append(got)
        return float(got["requests"] / got["us"] * 1e6)

    for turn in range(-1, rounds):
        progress_line(f"look-ups, round {turn + 1} of {rounds}")
        is_kept = turn >= 0
        pairs.run("lookup_vs_bare_flask", lambda k=is_kept: ask(WEB, "", k), lambda: ask(PEER, ""), turn)
        pairs.run("lookup_json_vs_bare_flask", lambda: ask(WEB, ".json"), lambda: ask(PEER, ".json"), turn)
    return {
        "lookups_per_s": median(got["requests"] / got["us"] * 1e6 for got in took),
        "lookup_p99_ms": median(got["p99_us"] for got in took) / 1000,
        "lookup_bytes": median(got["bytes"] / got["requests"] for got in took),
    }


def wrk(host: Host, port: int, paths: Path, seconds: float) -> dict[str, Any]:
    """Run the generator; SystemExit if an answer was not good."""
    argv = ["taskset", "-c", "1", "wrk", "-t1", f"-c{CONNECTIONS}", f"-d{seconds:.0f}s", "-s", HERE / "web_paths.lua"]
    done = host.run(*argv, f"http://127.0.0.1:{port}", "--", paths)
    got: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    if got["bad"] or not got["requests"]:
        raise SystemExit(f"port {port}: {got}")
    return got


def measure_cgi(folder: Path, pairs: Pairs, rounds: int) -> dict[str, float]:
    """Run the CGI program as a server would, on the same database."""
    took_ms: list[float] = []
    environment = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(ROOT / "lib"),
        "SPAMCANNIBAL_CONFIG": str(folder / "s.toml"),
        "GATEWAY_INTERFACE": "CGI/1.1",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "SERVER_NAME": "localhost",
        "SERVER_PORT": "80",
        "REQUEST_METHOD": "GET",
        "SCRIPT_NAME": "/cgi-bin/cannibal.cgi",
        "PATH_INFO": "/lookup/20.64.0.7",
        "REMOTE_ADDR": "203.0.113.9",
    }

    def ours() -> float:
        began = time.perf_counter()
        done = subprocess.run(
            [sys.executable, ROOT / "cgi-bin/cannibal.cgi"], env=environment, check=True, capture_output=True
        )
        took_ms.append((time.perf_counter() - began) * 1000)
        if not done.stdout.startswith(b"Status: 200") or TEXT.encode() not in done.stdout:
            raise SystemExit(f"cgi: {done.stdout[:200]!r} {done.stderr[-500:]!r}")
        return took_ms[-1]

    def flask() -> float:
        began = time.perf_counter()
        subprocess.run([sys.executable, "-c", "import flask"], check=True)
        return (time.perf_counter() - began) * 1000

    for turn in range(-1, rounds):
        progress_line(f"CGI, round {turn + 1} of {rounds}")
        pairs.run("cgi_cost_vs_flask", ours, flask, turn)
    return {"cgi_start_ms": median(took_ms)}


if __name__ == "__main__":
    if os.geteuid() != 0 or not shutil.which("wrk"):
        sys.exit("bench_web: needs root, network namespaces and wrk")
    main()
