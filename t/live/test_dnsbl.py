"""`spamcannibal dnsbl` as it is run, asked by the clients that people use: dig, kdig, drill, dnspython."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from live.nets import Host, Lab, run, wait_for
from spamcannibal.addr import parse_addr, parse_key, reversed_name
from spamcannibal.dnsbl.client import Verdict
from spamcannibal.record import PUBLISHED, Cause
from spamcannibal.store.env import Env
from spamcannibal.store.stores import Amendment, Hearsay, NewListing, Store

ROOT = Path(__file__).parents[2]
ZONE, OPEN_ZONE = "bl.example.org", "all.example.org"
V6 = "2001:db8:1:2::7"
LONG = "a long story " * 120
SETTINGS = """\
[store]
path = "store"
follow_interval_s = 0.02
[dnsbl]
listen = ["127.0.0.1:53", "[::1]:53"]
tcp_idle_s = 2
[[dnsbl.zone]]
name = "bl.example.org"
contact = "post.master@example.org"
ns = ["ns1.bl.example.org"]
hosts = ["ns1.bl.example.org 127.0.0.1", "ns1.bl.example.org ::1"]
addresses = ["192.0.2.80"]
text = "$ is listed, see http://bl.example.org/$"
[[dnsbl.zone]]
name = "all.example.org"
promiscuous = true
"""


class NoGuard:
    """Lets everything be listed; the never-list has its own tests."""

    def check(self, key: bytes) -> None: ...


class Served:
    """A store in a directory and the server over it in a namespace of its own."""

    def __init__(self, host: Host, path: Path) -> None:
        self.host = host
        self.path = path
        self.settings = path / "sc.toml"
        self.settings.write_text(SETTINGS)
        self.store = Store(Env(path / "store"), NoGuard())
        self.log = path / "log"

    def command(self, *words: object) -> tuple[str, ...]:
        return sys.executable, "-m", "spamcannibal", "-c", str(self.settings), *map(str, words)

    def start(self, *options: str) -> subprocess.Popen[bytes]:
        seen = self._ready_count()
        with self.log.open("ab") as log:
            process = self.host.start(*self.command("dnsbl", *options), stderr=log, env=environment())
        wait_for(lambda: self._ready_count() > seen or process.poll() is not None, "the server is ready")
        assert process.poll() is None, self.log.read_text()
        return process

    def _ready_count(self) -> int:
        return self.log.read_text().count("READY") if self.log.exists() else 0

    def add(self, key: str, text: str = "", flags: int = PUBLISHED, contrib: Hearsay | None = None) -> None:
        item = NewListing(parse_key(key), text=text, source="admin:test", flags=flags, contrib=contrib)
        self.store.list([item], 1_700_000_000)

    def dig(self, name: str, *words: str) -> str:
        return self.host.run("dig", "+tries=2", "+time=3", "@127.0.0.1", *words, name).stdout

    def short(self, name: str, *words: str) -> str:
        return self.dig(name, "+short", *words).strip()


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT / "lib")}


def listed(address: str, zone: str = ZONE) -> str:
    return f"{reversed_name(parse_addr(address))}.{zone}"


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with Lab("dns") as lab:
        made = Served(lab.host("ns"), tmp_path_factory.mktemp("dnsbl"))
        made.add("192.0.2.1", "caught by a trap: $")
        made.add("192.0.2.2")
        made.add("192.0.2.3", LONG)
        made.add("198.51.100.0/24", "a whole net")
        made.add("2001:db8:1:2::/64", "six")
        made.add(
            "203.0.113.9", "they said so", flags=0, contrib=Hearsay((Cause("other.example", bytes((127, 0, 0, 9))),))
        )
        made.start()
        yield made
        made.store.close()


CASES = [
    (listed("192.0.2.1"), "A", "127.0.0.2"),
    (listed("192.0.2.1"), "TXT", '"caught by a trap: 192.0.2.1"'),
    (listed("192.0.2.2"), "TXT", '"192.0.2.2 is listed, see http://bl.example.org/192.0.2.2"'),
    (listed("198.51.100.77"), "TXT", '"a whole net"'),
    (listed(V6), "A", "127.0.0.2"),
    (listed(V6), "TXT", '"six"'),
    (listed("127.0.0.2"), "A", "127.0.0.2"),
    (listed("203.0.113.9"), "A", ""),
    (listed("203.0.113.9", OPEN_ZONE), "A", "127.0.0.3"),
    (listed("203.0.113.9", OPEN_ZONE), "TXT", '"they said so"'),
    (ZONE, "A", "192.0.2.80"),
    (ZONE, "NS", "ns1.bl.example.org."),
    ("ns1." + ZONE, "AAAA", "::1"),
]


@pytest.mark.parametrize(("name", "qtype", "want"), CASES, ids=[f"{qtype}-{want}"[:40] for _, qtype, want in CASES])
def test_dig_and_kdig_see_the_same(served: Served, name: str, qtype: str, want: str) -> None:
    for server in ("@127.0.0.1", "@::1"):
        for transport in ("+notcp", "+tcp"):
            for tool in ("dig", "kdig"):
                done = served.host.run(tool, server, transport, "+short", name, qtype)
                assert done.stdout.strip() == want, (tool, server, transport)


@pytest.mark.parametrize(
    ("name", "words", "status", "soa"),
    [
        (listed("192.0.2.9"), ("A",), "NXDOMAIN", True),
        (listed("127.0.0.1"), ("A",), "NXDOMAIN", True),
        ("192." + ZONE, ("A",), "NOERROR", True),
        ("2.0.192." + ZONE, ("A",), "NOERROR", True),
        (listed(V6)[40:], ("A",), "NOERROR", True),
        (listed("192.0.2.1"), ("MX",), "NOERROR", True),
        ("www.example.com", ("A",), "REFUSED", False),
        ("version.bind", ("TXT", "CH"), "REFUSED", False),
        (ZONE, ("+tcp", "AXFR"), "failed", False),
        (ZONE, ("+edns=1", "+noednsneg", "SOA"), "BADVERS", False),
        (ZONE, ("+ednsopt=65001:beef", "+nsid", "+cookie", "SRV"), "NOERROR", True),
        (ZONE, ("+opcode=4",), "NOTIMP", False),
    ],
)
def test_dig_sees_status_and_soa(served: Served, name: str, words: tuple[str, ...], status: str, soa: bool) -> None:
    told = served.dig(name, *words)
    assert status in told
    assert ("\tSOA\t" in told) == soa


def test_drill_reads_the_answers(served: Served) -> None:
    told = served.host.run("drill", "@127.0.0.1", listed("192.0.2.1"), "TXT").stdout
    assert "rcode: NOERROR" in told and '"caught by a trap: 192.0.2.1"' in told
    assert "rcode: NXDOMAIN" in served.host.run("drill", "@127.0.0.1", listed("192.0.2.9")).stdout
    for word in ("-t", "-6"):
        told = served.host.run("drill", word, f"@{'::1' if word == '-6' else '127.0.0.1'}", listed(V6)).stdout
        assert "127.0.0.2" in told


def test_dnspython_reads_the_answers(served: Served) -> None:
    message, query, rdatatype = (pytest.importorskip(f"dns.{name}") for name in ("message", "query", "rdatatype"))
    with served.host.entered():
        asked = message.make_query(listed("192.0.2.3"), "TXT", use_edns=True, payload=1232)
        assert query.udp(asked, "127.0.0.1", timeout=5).flags & 0x0200
        reply, by_tcp = query.udp_with_fallback(asked, "::1", timeout=5)
        assert by_tcp and b"".join(reply.answer[0][0].strings).decode() == LONG
        asked = message.make_query(ZONE, "SOA")
        soa = query.udp(asked, "127.0.0.1", timeout=5).answer[0][0]
        assert (str(soa.rname), soa.serial) == ("post\\.master.example.org.", served.store.last_seq())
        assert soa.rdtype == rdatatype.SOA


def test_a_change_is_answered_as_soon_as_it_is_followed(served: Served) -> None:
    name = listed("192.0.2.50")
    assert served.short(name) == ""
    for text in ("first reason", "second reason"):
        served.add("192.0.2.50", text)
        wait_for(lambda want=f'"{text}"': served.short(name, "TXT") == want, f"the text is {text}")
        assert served.short(name) == "127.0.0.2"
    served.store.amend(parse_key("192.0.2.50"), Amendment(flags=0), "admin:test", 1_700_000_000)
    wait_for(lambda: served.short(name) == "", "it is hidden")
    assert served.short(listed("192.0.2.50", OPEN_ZONE)) == "127.0.0.3"
    served.store.unlist([parse_key("192.0.2.50")], "admin:test", "mended", 1_700_000_000)
    wait_for(lambda: served.short(listed("192.0.2.50", OPEN_ZONE)) == "", "it is gone")
    wait_for(lambda: f" {served.store.last_seq()} " in served.short(ZONE, "SOA"), "the serial is the journal's")


def test_query_tells_operators_the_same_from_server_and_store(served: Served) -> None:
    words = served.command("dnsbl", "query", "192.0.2.1", "192.0.2.9", V6, "--zone", ZONE, "--json")
    told = []
    for more in ((), ("--store",)):
        done = served.host.run(*words, *more, check=False, env=environment())
        assert done.returncode == 1, done.stderr
        told.append([{key: row[key] for key in row if key != "from"} for row in json.loads(done.stdout)])
        assert {row["from"] for row in json.loads(done.stdout)} == {"store" if more else "127.0.0.1:53"}
    assert told[0] == told[1]
    assert [(row["code"], row["rcode"]) for row in told[0]] == [
        ("127.0.0.2", "NOERROR"),
        (None, "NXDOMAIN"),
        ("127.0.0.2", "NOERROR"),
    ]
    assert served.host.run(*served.command("dnsbl", "query", "192.0.2.9"), env=environment()).returncode == 0


def test_query_tells_what_is_unknown_from_what_is_not_listed(served: Served, tmp_path: Path) -> None:
    words = served.command("dnsbl", "query", "192.0.2.1", "--server", "127.0.0.1")
    foreign = served.host.run(*words, "--zone", "elsewhere.example", "--json", check=False, env=environment())
    (row,) = json.loads(foreign.stdout)
    assert (foreign.returncode, row["listed"], row["rcode"]) == (75, None, "REFUSED")
    both = served.host.run(*words, "--zone", "elsewhere.example", "--zone", ZONE, check=False, env=environment())
    assert both.returncode == 1
    assert [line.split()[2] for line in both.stdout.splitlines()] == ["listed", "unknown", "yes"]
    against = ("export", "combined", "--check-drift", "--server", "127.0.0.1", "--zone", ZONE)
    assert served.host.run(*served.command(*against), env=environment()).returncode == 0
    settings = tmp_path / "other.toml"
    settings.write_text(
        served.settings.read_text().replace(ZONE, "elsewhere.example").replace('"store"', f'"{served.path}/store"')
    )
    words = (sys.executable, "-m", "spamcannibal", "-c", settings, *against[:-1], "elsewhere.example")
    done = served.host.run(*words, check=False, env=environment())
    assert done.returncode == 75 and "answers REFUSED, which tells nothing" in done.stderr


@pytest.mark.parametrize(
    ("rcode", "code", "is_listed"),
    [
        ("NOERROR", "127.0.0.2", True), ("NOERROR", "127.0.0.1", True), ("NOERROR", "", False),
        ("NXDOMAIN", "", False), ("SERVFAIL", "", None), ("REFUSED", "", None),
        ("NOERROR", "127.255.255.254", None), ("NOERROR", "192.0.2.80", None), ("NOERROR", "127.0.0.2, 10.0.0.1", None),
    ],
)  # fmt: skip
def test_an_answer_that_is_none_leaves_it_unknown(rcode: str, code: str, is_listed: bool | None) -> None:
    assert Verdict("name", rcode, code, "").is_listed is is_listed


def test_hup_publishes_other_zones_or_keeps_the_old_ones(served: Served) -> None:
    process = served.host.processes[0]
    served.settings.write_text(SETTINGS.replace("all.example.org", "new.example.org") + 'mx = ["not a number"]\n')
    process.send_signal(signal.SIGHUP)
    wait_for(lambda: "result=refused" in served.log.read_text(), "the wrong settings are refused")
    assert served.short(listed("203.0.113.9", OPEN_ZONE)) == "127.0.0.3"
    served.settings.write_text(SETTINGS.replace("all.example.org", "new.example.org"))
    process.send_signal(signal.SIGHUP)
    wait_for(lambda: served.short(listed("203.0.113.9", "new.example.org")) == "127.0.0.3", "the new zone answers")
    assert "REFUSED" in served.dig(listed("203.0.113.9", OPEN_ZONE))
    served.settings.write_text(SETTINGS)
    process.send_signal(signal.SIGHUP)
    wait_for(lambda: served.short(listed("203.0.113.9", OPEN_ZONE)) == "127.0.0.3", "the old zone is back")


def test_a_second_server_is_told_that_the_port_is_taken(served: Served) -> None:
    done = served.host.run(*served.command("dnsbl"), check=False, env=environment())
    assert (
        done.returncode == 69 and "dnsbl.listen: 127.0.0.1:53 is in use" in done.stderr and done.stderr.count("\n") == 1
    )
    settings = served.path / "again.toml"
    listen = 'listen = ["127.0.0.1:5354"]\nmetrics = "127.0.0.1:53"'
    settings.write_text(SETTINGS.replace('listen = ["127.0.0.1:53", "[::1]:53"]', listen))
    words = (sys.executable, "-m", "spamcannibal", "-c", settings, "dnsbl")
    done = served.host.run(*words, check=False, env=environment())
    assert done.returncode == 69 and "dnsbl.metrics: 127.0.0.1:53 is in use" in done.stderr


def test_no_zones_are_wrong_settings(served: Served, tmp_path: Path) -> None:
    settings = tmp_path / "none.toml"
    settings.write_text('[store]\npath = "store"\n')
    words = (sys.executable, "-m", "spamcannibal", "-c", settings, "dnsbl")
    done = served.host.run(*words, check=False, env=environment())
    assert done.returncode == 78 and "dnsbl.zone: none to answer for" in done.stderr


def test_a_killed_server_comes_back_and_term_ends_it(tmp_path: Path) -> None:
    with Lab("dnk") as lab:
        made = Served(lab.host("ns"), tmp_path)
        made.add("192.0.2.1")
        for _ in range(3):
            process = made.start()
            assert made.short(listed("192.0.2.1")) == "127.0.0.2"
            process.kill()
            process.wait()
        made.store.close()  # with nobody else there, the server makes the store ready by itself
        process = made.start()
        assert made.short(listed("192.0.2.1")) == "127.0.0.2"
        process.terminate()
        assert process.wait(20) == 0
        assert "STOP service=dnsbl" in made.log.read_text()


def test_an_unprivileged_user_answers_on_port_53_and_can_write_no_database(open_path: Path) -> None:
    if shutil.which("runuser") is None:
        pytest.skip("needs runuser")
    with Lab("dnu") as lab:
        made = Served(lab.host("ns"), open_path)
        made.add("192.0.2.1", "seen")
        made.settings.write_text(SETTINGS.replace("tcp_idle_s = 2", 'tcp_idle_s = 2\nuser = "nobody"'))
        store = open_path / "store"
        run("chown", "-R", ":nogroup", store)
        store.chmod(0o2750)  # nor may it make or remove files
        files = [path for path in store.iterdir() if not path.name.startswith(("__db", "spamcannibal.lock"))]
        process = made.start()
        assert Path(f"/proc/{process.pid}").stat().st_uid != 0
        assert made.short(listed("192.0.2.1"), "TXT") == '"seen"'
        made.add("192.0.2.2", "later")
        wait_for(lambda: made.short(listed("192.0.2.2"), "TXT") == '"later"', "it follows")
        for act in [f"echo >>{path}" for path in files] + [f"rm -f {files[0]}", f"touch {store}/new"]:
            assert run("runuser", "-u", "nobody", "-g", "nogroup", "--", "sh", "-c", act, check=False).returncode, act
        assert {"tarpit", "journal"} <= {path.name for path in files}
        process.terminate()
        assert process.wait(20) == 0
        made.store.close()  # with nobody else there, as after a boot, it was made ready before the user changed
        process = made.start()
        assert made.short(listed("192.0.2.2"), "TXT") == '"later"'
        process.terminate()
        assert process.wait(20) == 0


def test_a_user_without_rights_to_the_store_is_told_which(open_path: Path) -> None:
    with Lab("dnv") as lab:
        made = Served(lab.host("ns"), open_path)
        made.settings.write_text(SETTINGS.replace("tcp_idle_s = 2", 'tcp_idle_s = 2\nuser = "nobody"'))
        with made.log.open("ab") as log:
            made.host.start(*made.command("dnsbl"), stderr=log, env=environment())
        wait_for(lambda: "Permission denied" in made.log.read_text(), "it says what it may not")
        assert str(open_path / "store") in made.log.read_text()
        assert "SERVFAIL" in made.dig(listed("127.0.0.2"))
        made.store.close()
