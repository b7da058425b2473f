"""The gather listener as it is run, over real sockets: to listings, kinds of clients, faults, bounds, reload."""

from __future__ import annotations

import concurrent.futures
import contextlib
import json
import os
import pwd
import resource
import signal
import socket
import ssl
import struct
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from gather_kit import REPORTERS, Gather, environment, gathering, policy, read_all
from live.nets import wait_for
from ports import free_port
from spamcannibal.addr import format_key, parse_key
from spamcannibal.errors import Unavailable
from spamcannibal.gather.courier import Courier
from spamcannibal.gather.line import Report
from spamcannibal.record import EXCLUDED, PUBLISHED, SHADOW, Cause
from spamcannibal.store.batch import Hearsay, NewListing


@pytest.fixture(scope="module")
def gather(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gather]:
    with gathering(tmp_path_factory.mktemp("gather")) as made:
        yield made


# Reports become listings.


@pytest.mark.parametrize("which", [0, 1], ids=["v4", "v6"])
@pytest.mark.parametrize(
    ("colour", "code", "flags"),
    [
        ("black", 2, PUBLISHED),
        ("white", 1, PUBLISHED | EXCLUDED),
        ("yellow", 3, PUBLISHED | EXCLUDED),
        ("brown", 4, PUBLISHED | SHADOW),
        ("nobl", 5, PUBLISHED | EXCLUDED),
    ],
)
def test_a_report_over_either_protocol_lists_either_kind_of_address(
    gather: Gather, colour: str, code: int, flags: int, which: int
) -> None:
    for address in (f"192.0.2.{code + 10 * which}", f"2001:db8:{which}:{code}::9"):
        assert gather.say(f"{colour} {address} because", which) == f"ok {colour}\n".encode()
        listing = gather.await_listing(address, code)
        assert listing.flags == flags and listing.expiry_ms > time.time() * 1000
        assert gather.source(address) == "gather:local"
        want = "black because\n" if colour == "black" else f"{colour}\n"
        assert gather.await_answer(address, colour) == want


def test_text_and_evidence_say_who_reported_and_why(tmp_path: Path) -> None:
    reporters = REPORTERS.replace("weight = 2.0", "weight = 1.0")
    with gathering(tmp_path, reporters) as gather:
        gather.say("black 198.51.100.1 six unknown recipients")
        with socket.socket(socket.AF_UNIX) as sock:
            sock.connect(str(tmp_path / "socket"))
            sock.sendall(b"black 198.51.100.1 hit a trap\n")
            assert read_all(sock) == b"ok black\n"
        gather.await_listing("198.51.100.1")
        *_, piece = gather.store.evidence(parse_key("198.51.100.1"))
        assert (piece.source, piece.body) == (
            "gather:socket",
            b"black: weight 2 of 2 wanted, said by local 1, socket 1\n"
            b"local: six unknown recipients\nsocket: hit a trap",
        )
        text = "local: six unknown recipients; socket: hit a trap"
        assert gather.await_answer("198.51.100.1", "black local") == f"black {text}\n"
        done = subprocess.run(
            [*gather.argv()[:-1], "explain", "198.51.100.1"],
            capture_output=True, text=True, check=False, env=environment(), timeout=60,
        )  # fmt: skip
        assert text in done.stdout and "said by local 1, socket 1" in done.stdout, done.stderr


def test_a_client_that_closes_its_side_after_the_line_and_one_that_does_not_are_served_alike(gather: Gather) -> None:
    with gather.connect() as sock:
        sock.sendall(b"black 198.51.100.2\n")
        sock.shutdown(socket.SHUT_WR)
        assert read_all(sock) == b"ok black\n"
    with gather.connect() as sock:
        for octet in b"black 198.51.100.3\n":
            sock.sendall(bytes((octet,)))
        assert read_all(sock) == b"ok black\n"


def test_a_reporter_that_hangs_up_at_once_is_heard(gather: Gather) -> None:
    with gather.connect() as sock:
        sock.sendall(b"black 198.51.100.4\n")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    with gather.connect() as sock:
        sock.sendall(b"black 198.51.100.5\n")
    gather.await_listing("198.51.100.5")


@pytest.mark.parametrize("address", ["10.1.2.3", "127.0.0.1", "::1", "fe80::1", "169.254.1.1"])
def test_private_and_own_addresses_are_refused(gather: Gather, address: str) -> None:
    assert gather.say(f"black {address}").startswith(b"refused: ")
    assert gather.listing(address) is None


def test_two_reporters_of_weight_one_list_together_and_the_socket_is_one(tmp_path: Path) -> None:
    reporters = REPORTERS.replace("weight = 2.0", "weight = 1.0")
    with gathering(tmp_path, reporters) as gather:
        assert gather.say("black 192.0.2.1") == b"ok brown\n"
        assert gather.say("black 192.0.2.1") == b"ok\n"
        with socket.socket(socket.AF_UNIX) as sock:
            sock.connect(str(tmp_path / "socket"))
            sock.sendall(b"black 192.0.2.1\n")
            assert read_all(sock) == b"ok black\n"
        gather.await_listing("192.0.2.1")
        told = gather.say("explain 192.0.2.1").decode()
        assert "reports: black; black 2 of 2 (local 1, socket 1)" in told
        assert (tmp_path / "socket").stat().st_mode & 0o777 == 0o660
        assert gather.stop() == 0
        assert not (tmp_path / "socket").exists()


def test_others_listings_are_left_alone_and_hearsay_becomes_proof(gather: Gather) -> None:
    told = Hearsay((Cause("other.test", bytes((127, 0, 0, 3))),))
    of = {
        1: ("admin:test", None),
        2: ("admin:test", None),
        3: ("blcheck:other.test", told),
        4: ("blcheck:other.test", told),
    }
    items = [NewListing(parse_key(f"203.0.113.{n}"), source=source, contrib=what) for n, (source, what) in of.items()]
    gather.store.list(items, time.time())
    gather.await_answer("203.0.113.4", "black")
    for n, colour in ((1, "white"), (2, "black"), (3, "white"), (4, "black")):
        assert gather.say(f"{colour} 203.0.113.{n}") == f"ok {colour}\n".encode()
    wait_for(lambda: gather.source("203.0.113.4") == "gather:local", "hearsay is proved")
    assert [gather.source(f"203.0.113.{n}") for n in (1, 2, 3)] == ["admin:test", "admin:test", "blcheck:other.test"]
    assert gather.store.contrib(parse_key("203.0.113.4")) is None


def test_an_exception_of_the_administrator_stands(gather: Gather) -> None:
    white = NewListing(parse_key("203.0.113.128/25"), bytes((127, 0, 0, 1)), source="admin:test", flags=EXCLUDED)
    gather.store.list([white], time.time())
    gather.await_answer("203.0.113.200", "white")
    assert gather.say("black 203.0.113.200") == b"ok\n"
    assert gather.say("query 203.0.113.200") == b"white\n"


# Other protocols.


def status(gather: Gather) -> dict:
    return json.loads(gather.say("status"))


def test_postfix_asks_many_times_on_one_connection(gather: Gather) -> None:
    gather.say("black 198.51.100.20 a trap")
    gather.await_answer("198.51.100.20", "black a trap")
    with gather.connect() as sock, sock.makefile("rb") as answers:
        for address, action in (("198.51.100.20", b"REJECT a trap"), ("198.51.100.21", b"DUNNO")) * 20:
            sock.sendall(policy(address, policy_context="reject"))
            assert answers.readline() == b"action=" + action + b"\n" and answers.readline() == b"\n"


def test_socketmap_tcp_table_and_json_lines_share_the_port(gather: Gather) -> None:
    gather.say("black 198.51.100.30")
    gather.await_answer("198.51.100.30", "black")
    for sent, answer in (
        (b"20:colour 198.51.100.30,", b"8:OK black,"),
        (b"get 198.51.100.30\n", b"200 DUNNO\n"),
        (b'{"colour":"black","address":"198.51.100.31"}\n', b"ok black\n"),
    ):
        with gather.connect() as sock:
            for _ in range(2):
                sock.sendall(sent)
                assert sock.recv(100) in (answer, b"ok\n")


def test_http_takes_reports_and_shows_metrics(gather: Gather) -> None:
    host, port = gather.endpoints[0]
    posted = json.dumps([{"colour": "black", "address": f"198.51.100.{n}"} for n in (40, 41)]).encode()
    with urllib.request.urlopen(f"http://{host}:{port}/report", posted, timeout=20) as answer:
        assert json.load(answer) == {"taken": 2, "refused": []}
    rspamd = {"ip": "198.51.100.42", "action": "reject", "symbols": [{"name": "BAD", "score": 9.5, "options": ["x"]}]}
    with urllib.request.urlopen(f"http://{host}:{port}/rspamd", json.dumps(rspamd).encode(), timeout=20) as answer:
        assert json.load(answer)["taken"] == 1
    for n in (40, 41, 42):
        gather.await_listing(f"198.51.100.{n}")
    with urllib.request.urlopen(f"http://{host}:{port}/metrics", timeout=20) as answer:
        text = answer.read().decode()
    assert 'spamcannibal_gather_reporter_events_total{reporter="local",event="black"}' in text
    with pytest.raises(urllib.error.HTTPError, match="404"):
        urllib.request.urlopen(f"http://{host}:{port}/", timeout=20)


def test_answers_that_nobody_takes_wait_within_bounds_and_nothing_is_lost(gather: Gather) -> None:
    gather.say("black 198.51.100.50 " + "x" * 200)
    gather.await_answer("198.51.100.50", "black xxx")
    answer = b"203:OK " + b"x" * 200 + b","
    count = 40_000  # their answers are 8 MB, more than the kernel holds
    stalled = status(gather)["connections_total"].get("stalled", 0)
    with socket.socket() as sock, concurrent.futures.ThreadPoolExecutor(1) as pool:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        sock.settimeout(30)
        sock.connect(gather.endpoints[0])
        sending = pool.submit(sock.sendall, b"18:text 198.51.100.50," * count)
        wait_for(lambda: status(gather)["connections_total"].get("stalled", 0) > stalled, "it waits, and others do not")
        got = b""
        while len(got) < count * len(answer):
            got += sock.recv(1 << 20)
        sending.result(30)
    assert got == count * answer


# The commands.


def where(gather: Gather) -> str:
    return "{}:{}".format(*gather.endpoints[0])


def test_send_query_and_status(gather: Gather) -> None:
    done = gather.run("send", "black", "198.51.100.60", "told by hand", "--server", where(gather))
    assert (done.returncode, done.stdout) == (0, "ok black\n"), done.stderr
    gather.await_answer("198.51.100.60", "black told by hand")
    assert gather.run("query", "198.51.100.60", "--server", where(gather)).returncode == 1
    assert gather.run("query", "198.51.100.61", "--server", where(gather)).returncode == 0
    shown = gather.run("query", "--explain", "--json", "198.51.100.60", "--server", str(gather.path / "socket"))
    assert "black 2 of 2 (local 2)" in json.loads(shown.stdout)[0]["answer"]
    done = gather.run("send", "black", "10.0.0.1", "--server", where(gather))
    assert done.returncode == 1 and done.stdout.startswith("refused: ")
    told = json.loads(gather.run("status", "--json", "--server", where(gather)).stdout)
    assert told["reporters"][0]["name"] == "local" and told["listings"] > 0
    assert "local" in gather.run("status", "--server", where(gather)).stdout


def test_without_a_listener_the_commands_say_so(tmp_path: Path) -> None:
    made = Gather(tmp_path)
    made.close()
    done = made.run("status", "--server", "127.0.0.1:1")
    assert done.returncode == 75 and "is `spamcannibal gather` running?" in done.stderr


def test_an_old_log_is_imported(tmp_path: Path) -> None:
    made = Gather(tmp_path)
    lines = "black 192.0.2.1\n" * 2 + "black 192.0.2.2\nblack 10.0.0.1\nblack 10.0.0.1\nwhite 192.0.2.3\nbrown \n"
    (tmp_path / "karma.log").write_text(lines + "black 192.0.2.4" * 1000 + "\n")
    dry = made.run("import", tmp_path / "karma.log", "--dry-run", "--json")
    assert json.loads(dry.stdout) == {
        "lines": 8, "refused": 2, "would_list": 4, "why_refused": {"no_address": 1, "too_long": 1}
    }  # fmt: skip
    assert made.listing("192.0.2.1") is None
    done = made.run("import", tmp_path / "karma.log", "--json")
    assert json.loads(done.stdout)["listed"] == 3 and json.loads(done.stdout)["forbidden"] == 1, done.stderr
    codes = {n: made.listing(f"192.0.2.{n}").code[3] for n in (1, 2, 3)}
    assert codes == {1: 2, 2: 4, 3: 1} and made.listing("192.0.2.4") is None
    made.close()


# Faults and bounds.


def test_idle_and_slow_clients_cost_reporters_nothing(tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    count = min(10_000, hard - 500)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, count + 400), hard))
    settings = "connections = 2000\nidle_s = 60\n" + REPORTERS.replace("weight", "per_s = 1e6\nweight")
    try:
        with gathering(tmp_path, settings) as gather, contextlib.ExitStack() as idle:
            kept = idle.enter_context(gather.connect())
            kept.sendall(policy("192.0.2.1"))
            assert kept.recv(100) == b"action=DUNNO\n\n"
            for n in range(count):
                sock = idle.enter_context(gather.connect(n % 2))
                if n % 3 == 0:
                    sock.sendall(b"black 192.0.2.")
                if n % 1000 == 0:
                    assert gather.say(f"black 198.51.100.{n // 1000 + 1}") == b"ok black\n"
            wait_for(lambda: status(gather)["connections_total"]["evicted"] >= count - 2000, "others have their places")
            assert status(gather)["connections"] <= 2000
            kept.sendall(policy("192.0.2.1"))
            assert kept.recv(100) == b"action=DUNNO\n\n"  # those that are silent go first
            for n in range(0, count, 1000):
                gather.await_listing(f"198.51.100.{n // 1000 + 1}")
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_who_does_not_come_to_a_line_within_idle_s_is_closed_however_busy(tmp_path: Path) -> None:
    with gathering(tmp_path, "idle_s = 0.3\nkept_s = 1\n" + REPORTERS) as gather:
        with gather.connect() as silent, gather.connect() as slow, gather.connect() as kept:
            kept.sendall(policy("192.0.2.1"))
            assert kept.recv(100) == b"action=DUNNO\n\n"
            assert read_all(silent) == b""
            with contextlib.suppress(OSError):
                for _ in range(10_000):
                    slow.sendall(b"b")
                    slow.settimeout(0.01)
                    with contextlib.suppress(TimeoutError):
                        if not slow.recv(1):
                            break
                else:
                    pytest.fail("a slow sender stays for ever")
            assert read_all(kept) == b""
        assert status(gather)["connections_total"]["timed_out"] >= 3
        assert gather.say("black 192.0.2.1") == b"ok black\n"


def test_ten_megabytes_without_a_newline_are_not_kept(gather: Gather) -> None:
    before = status(gather)["events_total"].get("too_long", 0)
    with gather.connect() as sock, contextlib.suppress(OSError):
        sock.sendall(b"black 192.0.2.77 " + b"x" * 10_000_000)
        read_all(sock)
    assert status(gather)["events_total"]["too_long"] == before + 1


def test_a_mad_reporter_trips_and_the_other_goes_on(tmp_path: Path) -> None:
    settings = REPORTERS.replace("weight = 2.0", "weight = 2.0\nper_hour = 20\nper_s = 1e6") + "weight = 2.0\n"
    with gathering(tmp_path, settings) as gather:
        answers = [gather.say(f"black 192.0.2.{n}") for n in range(1, 60)]
        assert answers[:20] == [b"ok black\n"] * 20
        assert all(answer.startswith(b"refused: local caused more") for answer in answers[21:])
        with socket.socket(socket.AF_UNIX) as sock:
            sock.connect(str(tmp_path / "socket"))
            sock.sendall(b"black 192.0.2.99\n")
            assert read_all(sock) == b"ok black\n"
        wait_for(lambda: gather.events("BREAKER"), "the breaker is told")
        assert len(gather.events("BREAKER")) == 1 and len(gather.events("REFUSED")) == 1
        assert status(gather)["reporters"][0]["tripped"] is True


def test_strangers_are_refused_and_told_once(tmp_path: Path) -> None:
    with gathering(tmp_path, "") as gather:
        for _ in range(5):
            assert gather.say("black 192.0.2.1").startswith(b"refused: no reporter")
        assert status(gather)["events_total"]["stranger"] == 5
        assert len(gather.events("REFUSED")) == 1
        assert "all together weigh 0" in gather.events("NOTE")[0]


def test_observing_says_what_would_be_listed_and_lists_nothing(tmp_path: Path) -> None:
    with gathering(tmp_path, REPORTERS, "--observe") as gather:
        assert gather.say("black 192.0.2.1") == b"ok would be black\n"
        wait_for(lambda: gather.events("WOULD"), "it is told")
        assert gather.stop() == 0
        assert gather.store.last_seq() == 0


def test_a_second_listener_gives_up_and_leaves_the_first_one_its_socket(tmp_path: Path) -> None:
    with gathering(tmp_path) as gather:
        second = subprocess.run(
            gather.argv(), capture_output=True, text=True, check=False, env=environment(), timeout=60
        )
        assert second.returncode == 69 and "can't bind" in second.stderr
        gather.settings.write_text(gather.settings.read_text().replace("listen = [", "listen = []\n#"))
        second = subprocess.run(
            gather.argv(), capture_output=True, text=True, check=False, env=environment(), timeout=60
        )
        assert second.returncode == 69 and "gather.socket: can't bind" in second.stderr
        with socket.socket(socket.AF_UNIX) as sock:
            sock.connect(str(tmp_path / "socket"))
            sock.sendall(b"brown 192.0.2.1\n")
            assert read_all(sock) == b"ok brown\n"


def test_a_listener_that_is_not_there_refuses_at_once(tmp_path: Path) -> None:
    with gathering(tmp_path) as gather:
        endpoint = gather.endpoints[0]
        gather.stop()
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(endpoint, 20)


def test_killed_it_comes_back_with_what_was_decided(tmp_path: Path) -> None:
    with gathering(tmp_path) as gather:
        gather.say("black 192.0.2.1 before")
        gather.await_listing("192.0.2.1")
        gather.process.kill()
        gather.process.wait()
        gather.start()  # over the Unix socket that the dead one left
        assert gather.say("query 192.0.2.1").startswith(b"black ")
        assert gather.await_answer("192.0.2.1", "black before")  # its text comes from the store, not from the journal
        assert gather.say("black 192.0.2.2") == b"ok black\n"


def test_what_a_killed_listener_had_not_written_yet_is_brought_again(tmp_path: Path) -> None:
    with gathering(tmp_path) as gather:
        courier = Courier(str(tmp_path / "socket"))
        reports = [Report("brown", parse_key(f"192.0.2.{n}")) for n in range(1, 6)]

        def answered_and_killed() -> None:
            assert courier.bring(reports[:3]) == ["ok brown"] * 3
            gather.process.kill()
            gather.process.wait()

        gather.store.env.read(answered_and_killed)  # which keeps the listener from writing
        assert gather.listing("192.0.2.1") is None
        with pytest.raises(Unavailable):
            courier.bring(reports[3:])
        gather.start()
        assert courier.bring(reports[3:]) == ["ok brown"] * 2
        for report in reports:
            gather.await_listing(format_key(report.key), 4)


def test_sighup_takes_new_reporters_and_a_new_never_list_and_keeps_the_old_ones_when_wrong(tmp_path: Path) -> None:
    with gathering(tmp_path, "") as gather:

        def reload() -> str:
            before = len(gather.events("RELOAD"))
            gather.process.send_signal(signal.SIGHUP)
            wait_for(lambda: len(gather.events("RELOAD")) > before, "the reload is told")
            return gather.events("RELOAD")[-1]

        assert gather.say("black 192.0.2.1").startswith(b"refused: no reporter")
        gather.configure(REPORTERS)
        assert "result=done reporters=2" in reload()
        assert gather.say("black 192.0.2.1") == b"ok black\n"
        (tmp_path / "never-list").write_text("192.0.2.0/28\n")
        assert "result=done" in reload()
        assert gather.say("black 192.0.2.2").startswith(b"refused: ")
        gather.configure(REPORTERS + "weight = -1")
        assert "result=refused" in reload() and "weight" in gather.events("RELOAD")[-1]
        assert gather.say("black 192.0.2.16") == b"ok black\n"
        gather.configure(REPORTERS.replace('"socket"', '"other"') + "\n[log]\nformat = 'text'\n")
        gather.settings.write_text(gather.settings.read_text().replace("[gather]", "[gather]\nconnections = 99"))
        assert "needs_restart=gather.connections" in reload()


def test_thousands_at_once_are_written_in_few_transactions(tmp_path: Path) -> None:
    with gathering(tmp_path, REPORTERS.replace("weight", "per_s = 1e6\nper_hour = 100000\nweight")) as gather:
        reports = [{"colour": "black", "address": f"198.18.{n % 250 + 1}.{n // 250 + 1}"} for n in range(2000)]
        (tmp_path / "never-list").write_text("@private\n")
        gather.process.send_signal(signal.SIGHUP)
        wait_for(lambda: gather.events("RELOAD"), "the reload")
        with gather.connect() as sock:
            for at in range(0, 2000, 500):
                sock.sendall(json.dumps(reports[at : at + 500]).encode() + b"\n")
            got = b""
            while got.count(b"\n") < 2000:
                got += sock.recv(65536)
        assert got == b"ok black\n" * 2000
        wait_for(lambda: gather.store.counts()["tarpit"] == 2000, "all are listed", 30)
        times = {change.time_ms for change in gather.store.read(0, 3000)}
        assert len(times) < 200


# Certificates.


def make_certificate(path: Path, name: str) -> Path:
    """Make a self-signed certificate with its key in one file."""
    made = path / f"{name}.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
         "-subj", f"/CN={name}", "-addext", f"subjectAltName=DNS:{name}", "-keyout", f"{made}.key",
         "-out", f"{made}.crt"],
        check=True, capture_output=True, timeout=60,
    )  # fmt: skip
    made.touch(0o600)
    made.write_text(Path(f"{made}.key").read_text() + Path(f"{made}.crt").read_text())
    return made


def test_reporters_are_known_by_their_certificates(tmp_path: Path) -> None:
    server, first, second, other = (
        make_certificate(tmp_path, n) for n in ("bl.test", "mx1.test", "mx2.test", "no.test")
    )
    der = ssl.PEM_cert_to_DER_cert(Path(f"{second}.crt").read_text())
    (tmp_path / "clients.pem").write_text(Path(f"{first}.crt").read_text() + Path(f"{second}.crt").read_text())
    settings = f"""
tls_listen = ["127.0.0.1:{free_port()}"]
tls_certificate = "{server}"
tls_clients = "clients.pem"
idle_s = 3
[[gather.reporter]]
name = "by-name"
names = ["mx1.test"]
weight = 2
[[gather.reporter]]
name = "by-print"
fingerprints = ["{sha256(der).hexdigest()}"]
weight = 2
"""

    def say(line: bytes, certificate: Path | None) -> bytes:
        context = ssl.create_default_context(cafile=f"{server}.crt")
        if certificate:
            context.load_cert_chain(certificate)
        with gather.connect(2) as plain, context.wrap_socket(plain, server_hostname="bl.test") as sock:
            sock.sendall(line)
            return sock.recv(1000)

    def is_taken(line: bytes, certificate: Path) -> bool:
        try:
            return say(line, certificate).startswith(b"ok")
        except OSError:
            return False

    with gathering(tmp_path, settings) as gather:
        assert say(b"black 192.0.2.1\n", first) == b"ok black\n"
        assert say(b"black 192.0.2.2\n", second) == b"ok black\n"
        assert [gather.await_listing(f"192.0.2.{n}") and gather.source(f"192.0.2.{n}") for n in (1, 2)] == [
            "gather:by-name", "gather:by-print"
        ]  # fmt: skip
        assert say(b"black 192.0.2.3\n", None).startswith(b"refused: no reporter")
        assert not is_taken(b"black 192.0.2.4\n", other)
        with gather.connect(2) as sock:
            sock.sendall(b"black 192.0.2.5\n")
            assert b"ok" not in read_all(sock)
        plain = gather.run("send", "black", "192.0.2.5", "--server", "{}:{}".format(*gather.endpoints[2]))
        assert plain.returncode == 75 and "TLS is spoken there" in plain.stderr
        assert len([line for line in gather.events("REFUSED") if "why=tls_failed" in line]) == 1
        with gather.connect(2) as silent:
            assert say(b"black 192.0.2.6\n", first) == b"ok black\n"
            assert read_all(silent) == b""  # a handshake that does not come, is not waited for
        # A certificate that is taken off the list is worth nothing after a reload.
        (tmp_path / "clients.pem").write_text(Path(f"{second}.crt").read_text())
        gather.process.send_signal(signal.SIGHUP)
        wait_for(lambda: gather.events("RELOAD"), "the reload")
        wait_for(lambda: not is_taken(b"black 192.0.2.7\n", first), "the certificate is refused")
        assert is_taken(b"black 192.0.2.8\n", second)
        assert all(gather.listing(f"192.0.2.{n}") is None for n in (3, 4, 5))


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_root_becomes_the_user_who_owns_the_socket_and_writes_the_store() -> None:
    entry = pwd.getpwnam("nobody")
    with TemporaryDirectory(prefix="sc-gather-") as place:  # pytest's own is closed to others
        path = Path(place)
        path.chmod(0o755)
        (path / "store").mkdir()
        os.chown(path / "store", entry.pw_uid, entry.pw_gid)
        check_user(path, entry.pw_uid)


def check_user(path: Path, uid: int) -> None:
    with gathering(path, "user = 'nobody'\n" + REPORTERS) as gather:
        assert (path / "socket").stat().st_uid == uid
        told = Path(f"/proc/{gather.process.pid}/status").read_text()
        assert f"\nUid:\t{uid}\t" in told
        assert gather.say("black 192.0.2.1") == b"ok black\n"
        gather.await_listing("192.0.2.1")
