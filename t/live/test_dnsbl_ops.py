"""Operation of `spamcannibal dnsbl`: stores that hang or are not there, metrics, limits, given sockets, bad clients.

$SPAMCANNIBAL_FUZZ_S is how long the fuzzer runs, 20 s by default; pytest -s shows what it sent.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import random
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from itertools import product
from pathlib import Path

import dnslib
import pytest

from dnsbl_peers import question
from live.nets import Lab, wait_for
from live.test_dnsbl import OPEN_ZONE, SETTINGS, ZONE, NoGuard, Served, environment, listed
from spamcannibal.dnsbl.tsig import Key, Signer
from spamcannibal.store.env import Env
from spamcannibal.store.stores import Store

FUZZ_S = float(os.environ.get("SPAMCANNIBAL_FUZZ_S", "20"))
METRICS = "127.0.0.1:9453"
SIGNER = Signer(Key((b"xfer", b"example"), "hmac-sha256", bytes(range(32))))
OPS = SETTINGS.replace(
    "tcp_idle_s = 2", f'tcp_idle_s = 2\nmetrics = "{METRICS}"\nmax_lag_s = 0.5\nstale_limit_s = 1\nrrl_exempt = ["::1"]'
)


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    with Lab("dno") as lab:
        made = Served(lab.host("ns"), tmp_path)
        made.settings.write_text(OPS)
        made.add("192.0.2.1", "caught")
        yield made
        with contextlib.suppress(Exception):
            made.store.close()


def status(made: Served, name: str = listed("192.0.2.1"), *words: str) -> str:
    told = made.host.run("dig", "+tries=1", "+time=2", "@127.0.0.1", *words, name, check=False).stdout
    return told.partition("status: ")[2].partition(",")[0]


def page(made: Served, path: str) -> str:
    with made.host.entered():
        sock = socket.create_connection(("127.0.0.1", 9453), 5)
    with sock, sock.makefile("rb") as stream:
        sock.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        return stream.read().decode().partition("\r\n\r\n")[2]


def samples(made: Served) -> dict[str, float]:
    lines = (line.rpartition(" ") for line in page(made, "/metrics").splitlines() if not line.startswith("#"))
    return {name.removeprefix("spamcannibal_dnsbl_"): float(number) for name, _, number in lines}


def launch(made: Served, **options: object) -> subprocess.Popen[bytes]:
    with made.log.open("ab") as log:
        return made.host.start(*made.command("dnsbl"), stderr=log, env=environment(), **options)


def test_without_a_store_it_answers_servfail_and_waits(tmp_path: Path) -> None:
    with Lab("dnw") as lab:
        made = Served.__new__(Served)
        made.host, made.path, made.settings, made.log = lab.host("ns"), tmp_path, tmp_path / "sc.toml", tmp_path / "log"
        # In a directory that is not there no helper can make one either.
        made.settings.write_text(OPS.replace('path = "store"', 'path = "later/store"'))
        process = launch(made)
        wait_for(lambda: status(made) == "SERVFAIL", "it answers")
        assert status(made, "www.example.com") == "REFUSED"
        wait_for(lambda: "WAIT service=dnsbl" in made.log.read_text(), "it says what it waits for")
        assert samples(made)["stale"] == 1
        (tmp_path / "later").mkdir()
        made.host.run(*made.command("list", "show"), check=False, env=environment())
        wait_for(lambda: status(made, listed("127.0.0.2")) == "NOERROR", "it answers from the store", 90)
        process.terminate()
        assert process.wait(20) == 0


@contextlib.contextmanager
def hung(store: Path) -> Iterator[None]:
    """Let another process stay inside the store's gate."""
    holder = (
        "import sys, time; from pathlib import Path; from spamcannibal.store.gate import Gate\n"
        "gate = Gate(Path(sys.argv[1]), 5); gate.enter(); print('in', flush=True); sys.stdin.read(); gate.leave()"
    )
    words = [sys.executable, "-c", holder, str(store)]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment()) as process:
        assert process.stdout is not None and process.stdout.readline() == b"in\n"
        yield
        process.communicate()


def test_a_store_that_hangs_is_told_and_answered_servfail_past_the_limit(served: Served) -> None:
    served.start()
    assert status(served) == "NOERROR"
    with hung(served.path / "store"):
        wait_for(lambda: status(served) == "SERVFAIL", "old data is not answered")
        assert samples(served)["stale"] == 1 and samples(served)["lag_seconds"] > 1
        assert "STALE service=dnsbl" in served.log.read_text()
    wait_for(lambda: status(served) == "NOERROR", "it answers again")
    wait_for(lambda: "CURRENT service=dnsbl" in served.log.read_text(), "it says so")


def test_a_store_that_hangs_neither_makes_the_supervisor_kill_it_nor_keeps_it_from_ending(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a limit it answers from what it has for as long as it takes; started anew, it would have nothing."""
    served.settings.write_text(OPS.replace("stale_limit_s = 1", ""))
    supervisor = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    with supervisor:
        supervisor.bind(str(served.path / "notify"))
        supervisor.setblocking(False)
        monkeypatch.setenv("NOTIFY_SOCKET", str(served.path / "notify"))
        monkeypatch.setenv("WATCHDOG_USEC", "1000000")
        process = served.start()

        def beats() -> int:
            told = b""
            with contextlib.suppress(BlockingIOError):
                while True:
                    told += supervisor.recv(4096) + b"\n"
            return told.count(b"WATCHDOG=1")

        with hung(served.path / "store"):
            wait_for(lambda: "STALE service=dnsbl" in served.log.read_text(), "it says that it is stale")
            beats()
            wait_for(beats, "it says that it is alive", 5)
            assert status(served) == "NOERROR"
            process.terminate()
            assert process.wait(15) == 0


def test_another_store_in_the_place_of_ours_is_served_after_a_restart(served: Served) -> None:
    """An operator restores a copy: the server must not go on with files that nobody else sees any more."""
    process = served.start()
    assert status(served) == "NOERROR"
    store, away = served.path / "store", served.path / "away"
    served.store.close()
    store.rename(away)
    wait_for(lambda: "STALE service=dnsbl" in served.log.read_text(), "it says that the store is gone")
    assert "is gone" in served.log.read_text() and process.poll() is None
    served.store = Store(Env(store), NoGuard())
    served.add("192.0.2.2")
    assert process.wait(20) == 75
    assert "another database was put here" in served.log.read_text()
    served.start()
    assert (served.short(listed("192.0.2.2")), status(served)) == ("127.0.0.2", "NXDOMAIN")


def test_the_database_is_opened_for_reading_only(served: Served) -> None:
    process = served.start()
    modes = {}
    for link in Path(f"/proc/{process.pid}/fd").iterdir():
        with contextlib.suppress(OSError):
            target = link.readlink()
            if target.parent == served.path / "store":
                flags = int(
                    Path(f"/proc/{process.pid}/fdinfo/{link.name}").read_text().split("flags:")[1].split()[0], 8
                )
                modes[target.name] = flags & os.O_ACCMODE
    databases = {name for name in modes if not name.startswith(("__db", "spamcannibal.lock"))}
    assert "tarpit" in databases
    assert {name: modes[name] for name in databases} == dict.fromkeys(databases, os.O_RDONLY)


def test_metrics_count_by_zone_type_rcode_and_transport(served: Served) -> None:
    process = served.start()
    for words in (("A",), ("TXT",), ("+tcp", "A"), ("AAAA",)):
        served.dig(listed("192.0.2.1"), *words)
    served.dig(listed("192.0.2.9"))
    served.dig(listed("192.0.2.9"), "+tcp")
    served.dig("www.example.com", "+tcp")
    want = {
        ("udp", ZONE, "A", "NOERROR"): 1, ("udp", ZONE, "TXT", "NOERROR"): 1, ("udp", ZONE, "AAAA", "NOERROR"): 1,
        ("udp", ZONE, "A", "NXDOMAIN"): 1, ("tcp", ZONE, "A", "NOERROR"): 1, ("tcp", ZONE, "A", "NXDOMAIN"): 1,
        ("tcp", "", "A", "REFUSED"): 1,
    }  # fmt: skip
    names = {
        f'replies_total{{transport="{a}",zone="{b}",type="{c}",rcode="{d}"}}': n for (a, b, c, d), n in want.items()
    }
    found = samples(served)
    assert {name: found.get(name) for name in names} == names
    process.send_signal(signal.SIGHUP)  # another view: what was counted stays
    wait_for(lambda: "result=done" in served.log.read_text(), "settings are read anew")
    assert {name: samples(served).get(name) for name in names} == names
    assert found["entries"] == 1 and found["serial"] == 1 and found["stale"] == 0
    done = served.host.run(*served.command("dnsbl", "top", "--json"), env=environment())
    assert json.loads(done.stdout)[0]["address"] == "127.0.0.1"


def test_replies_to_one_network_are_limited_and_a_cookie_frees(served: Served) -> None:
    served.settings.write_text(
        OPS.replace(
            'rrl_exempt = ["::1"]',
            'rrl_exempt = []\nrrl_per_s = 20\ncookie_secrets = ["00112233445566778899aabbccddeeff"]',
        )
    )
    served.start()
    query = question(f"1.2.0.192.{ZONE}")
    with served.host.entered():
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with sock:
        sock.settimeout(0.5)
        sock.connect(("127.0.0.1", 53))
        assert len(exchange(sock, [query] * 300)) < 300
        limited = samples(served)
        assert limited['fast_total{event="limited"}'] > 0 and limited['fast_total{event="slipped"}'] > 0
        first = cookied(bytes(8))
        told = next(reply for reply in exchange(sock, [first] * 20) if reply)
        known = cookied(cookie_of(told))
        assert len(exchange(sock, [known] * 300)) == 300


def exchange(sock: socket.socket, queries: list[bytes]) -> list[bytes]:
    """Send all, a few at a time, and return what came back."""
    replies = []
    for at in range(0, len(queries), 20):
        for query in queries[at : at + 20]:
            sock.send(query)
        with contextlib.suppress(TimeoutError):
            for _ in queries[at : at + 20]:
                replies.append(sock.recv(4096))
    return replies


def cookied(cookie: bytes) -> bytes:
    record = dnslib.DNSRecord.question(f"1.2.0.192.{ZONE}")
    record.add_ar(dnslib.EDNS0(udp_len=1232, opts=[dnslib.EDNSOption(10, cookie)]))
    return bytes(record.pack())


def cookie_of(reply: bytes) -> bytes:
    return next(bytes(option.data) for rr in dnslib.DNSRecord.parse(reply).ar for option in rr.rdata)


GENEROUS = f"""\
[[dnsbl.zone]]
name = "all.example.org"
about = "{"a" * 200}"
text = "{"t" * 200}"
ns = [{", ".join(f'"ns{n}.all.example.org"' for n in range(13))}]
hosts = [{", ".join(f'"ns{n}.all.example.org 2001:db8::{n}"' for n in range(13))}]
mx = ["10 mx.example.net", "20 mx.example.org"]
transfer = ["127.0.0.0/8"]
"""


def kinds(zone: str) -> Iterator[bytes]:
    """Queries of every kind that a forger can choose from."""
    names = [zone, f"ns1.{zone}", f"2.0.192.{zone}", listed("9.9.9.9", zone), "www.example.com", "version.bind"]
    names += [listed(address, zone) for address in ("192.0.2.1", "192.0.2.3", "2001:db8:1:2::7", "127.0.0.2")]
    types = ("A", "NS", "SOA", "MX", "TXT", "AAAA", "ANY", "SRV", "DS", "AXFR", "IXFR")
    for name, qtype, edns, cookie in product(names, types, (None, 512, 1232, 65535), (b"", bytes(8))):
        record = dnslib.DNSRecord.question(name, qtype, "CH" if name == "version.bind" else "IN")
        if edns or cookie:
            options = [dnslib.EDNSOption(10, cookie)] if cookie else []
            record.add_ar(dnslib.EDNS0(udp_len=edns or 512, opts=options))
        if qtype == "IXFR":
            record.add_auth(dnslib.RR(zone, dnslib.QTYPE.SOA, rdata=dnslib.SOA("a", "b", (0, 1, 1, 1, 1))))
        yield bytes(record.pack())


def allowed_bytes(query: bytes) -> int:
    sizes = [rr.rclass for rr in dnslib.DNSRecord.parse(query).ar]
    return max(512, min(*sizes, 1232)) if sizes else 512


def test_no_reply_is_longer_than_its_query_allows_and_the_amplification_is_bounded(served: Served) -> None:
    """The largest reply for each byte of a query over UDP, of a usual zone and of one that has as much as it can."""
    served.settings.write_text(
        OPS.replace('rrl_exempt = ["::1"]', 'rrl_per_s = 0\nversion = "spamcannibal"').partition(
            '[[dnsbl.zone]]\nname = "all'
        )[0]
        + GENEROUS
    )
    served.add("192.0.2.3", "l" * 1100)  # fills a datagram; what is longer gets TC
    served.add("2001:db8:1:2::/64", "six")
    served.start()
    with served.host.entered():
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    worst = {"usual": 0.0, "generous": 0.0}
    with sock:
        sock.settimeout(5)
        sock.connect(("127.0.0.1", 53))
        for zone, query in ((name, query) for name in (ZONE, OPEN_ZONE) for query in kinds(name)):
            sock.send(query)
            reply = sock.recv(65535)
            assert len(reply) <= allowed_bytes(query), dnslib.DNSRecord.parse(query)
            is_usual = zone == ZONE and b"\x013\x012\x010\x03192" not in query
            kind = "usual" if is_usual else "generous"
            worst[kind] = max(worst[kind], len(reply) / len(query))
    print({kind: f"{ratio:.1f}" for kind, ratio in worst.items()})
    assert worst["usual"] < 4 and 10 < worst["generous"] < 1232 / 50


def test_a_secret_can_be_changed_while_it_runs(served: Served) -> None:
    old, new = "00" * 16, "11" * 16
    secrets = served.path / "store" / "dns-cookie-secrets"
    secrets.write_text(old + "\n")
    process = served.start()

    def ask(cookie: bytes) -> bytes:
        with served.host.entered():
            sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        with sock:
            sock.settimeout(5)
            sock.connect(("127.0.0.1", 53))
            sock.send(cookied(cookie))
            return cookie_of(sock.recv(4096))

    by_old = ask(bytes(8))
    assert ask(by_old) == by_old
    secrets.write_text(f"{new}\n{old}\n")
    process.send_signal(signal.SIGHUP)
    by_new = wait_for(
        lambda: next((got for got in (ask(by_old),) if got != by_old), None), "the new secret makes cookies"
    )
    assert ask(by_new) == by_new


def test_sockets_of_systemd_are_taken(served: Served) -> None:
    with served.host.entered():
        udp, tcp = (socket.socket(socket.AF_INET6, kind) for kind in (socket.SOCK_DGRAM, socket.SOCK_STREAM))
        for sock in (udp, tcp):
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
            sock.bind(("::", 5355))
        tcp.listen(16)
    handover = (
        "import os, sys; a, b = map(int, sys.argv[1:3]); a, b = os.dup2(a, 63), os.dup2(b, 64)\n"
        "os.dup2(a, 3); os.dup2(b, 4); os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS='2')\n"
        "os.execv(sys.argv[3], sys.argv[3:])"
    )
    fds = udp.fileno(), tcp.fileno()
    with served.log.open("ab") as log:
        served.host.start(
            sys.executable, "-c", handover, *fds, *served.command("dnsbl"), pass_fds=fds, stderr=log, env=environment()
        )
    wait_for(lambda: "READY" in served.log.read_text(), "it is ready")
    for server in ("127.0.0.1", "::1"):
        for transport in ("+notcp", "+tcp"):
            done = served.host.run("dig", f"@{server}", "-p", "5355", transport, "+short", listed("192.0.2.1"))
            assert done.stdout.strip() == "127.0.0.2"
    for sock in (udp, tcp):
        sock.close()


def test_slow_and_half_open_clients_keep_nobody_out(served: Served) -> None:
    served.settings.write_text(OPS.replace("tcp_idle_s = 2", "tcp_idle_s = 2\ntcp_connections = 32"))
    served.start()
    with served.host.entered(), contextlib.ExitStack() as stack:
        for number in range(100):
            sock = stack.enter_context(socket.create_connection(("127.0.0.1", 53), 5))
            with contextlib.suppress(OSError):
                sock.send((b"", b"\0", b"\0\x40" + b"x" * 30)[number % 3])
        assert served.short(listed("192.0.2.1"), "+tcp") == "127.0.0.2"
        assert samples(served)["tcp_connections"] <= 33 and samples(served)["tcp_evicted_total"] > 0
    wait_for(lambda: samples(served)["tcp_connections"] == 0, "the idle ones are gone")


def mutated(rng: random.Random, seeds: list[bytes]) -> bytes:
    data = bytearray(rng.choice(seeds))
    for _ in range(rng.randrange(8)):
        at = rng.randrange(len(data) + 1)
        kind = rng.randrange(4)
        if kind == 0 and at < len(data):
            data[at] = rng.randrange(256)
        elif kind == 1:
            data[at:at] = rng.randbytes(rng.randrange(40))
        elif kind == 2:
            del data[at : at + rng.randrange(30)]
        else:
            data += data[: rng.randrange(600)]
    return bytes(data[:65535]) if rng.randrange(50) else rng.randbytes(rng.randrange(65535))


def flood(made: Served, seed: int, until: float, sent: list[int]) -> None:
    """Send mutated queries over UDP and TCP from this thread until the time is over."""
    rng = random.Random(seed)
    names = (f"1.2.0.192.{ZONE}", ZONE, f"2.0.192.{ZONE}", "www.example.com")
    seeds = [
        question(name, qtype, edns=edns)
        for name in names
        for qtype in ("A", "TXT", "ANY", "IXFR")
        for edns in (None, 4096)
    ]
    seeds += [cookied(bytes(24)), question(OPEN_ZONE, "AXFR"), SIGNER.sign(question(OPEN_ZONE, "AXFR"), time.time())]
    with made.host.entered():
        udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        while time.monotonic() < until:
            for _ in range(100):
                with contextlib.suppress(OSError):
                    udp.sendto(mutated(rng, seeds)[:65000], ("127.0.0.1", 53))
                    sent[0] += 1
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", 53), 2) as tcp:
                tcp.settimeout(0.05)
                for _ in range(5):
                    message = mutated(rng, seeds)
                    size = len(message) if rng.randrange(5) else rng.randrange(65536)
                    tcp.sendall(struct.pack(">H", size) + message)
                    sent[0] += 1
                tcp.recv(65535)
        udp.close()


def test_mutated_traffic_neither_stops_nor_grows_the_server(served: Served) -> None:
    key = served.path / "xfer.secret"
    key.write_text(base64.b64encode(SIGNER.key.secret).decode())
    key.chmod(0o600)
    told = OPS.replace("stale_limit_s = 1", "stale_limit_s = 0").replace('rrl_exempt = ["::1"]', "")
    served.settings.write_text(
        told.replace(
            "[[dnsbl.zone]]", '[[dnsbl.key]]\nname = "xfer.example"\nsecret_file = "xfer.secret"\n[[dnsbl.zone]]', 1
        )
        + 'transfer = ["127.0.0.0/8"]\n'
    )
    process = served.start()
    until, sent = time.monotonic() + FUZZ_S, [0]
    before_kb = resident_kb(process.pid)
    threads = [threading.Thread(target=flood, args=(served, seed, until, sent)) for seed in range(2)]
    for thread in threads:
        thread.start()
    answers = 0
    while time.monotonic() < until:
        for words in (("+notcp",), ("+tcp",)):
            # The kernel may drop a datagram among so many; dig says so, and asks again.
            assert served.short(listed("192.0.2.1"), *words).splitlines()[-1] == "127.0.0.2"
            answers += 1
        assert process.poll() is None, served.log.read_text()[-2000:]
    for thread in threads:
        thread.join()
    assert sent[0] > 1000 and answers > 2
    assert "DNSFAIL" not in served.log.read_text()
    assert samples(served).get('events_total{event="failed"}', 0) == 0
    grown_kb = resident_kb(process.pid) - before_kb
    print(f"{FUZZ_S:g} s: {sent[0]} mutated queries, {answers} others answered meanwhile, {grown_kb} kB more resident")
    assert grown_kb < 64 * 1024
    process.terminate()
    assert process.wait(20) == 0


def resident_kb(pid: int) -> int:
    return int(Path(f"/proc/{pid}/status").read_text().split("VmRSS:")[1].split()[0])
