"""Real secondaries (BIND, NSD, Knot) follow our zone through random changes by NOTIFY, IXFR and TSIG, and end equal."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

import dns.exception
import dns.message
import dns.query
import pytest

from live.nets import Host, Lab, wait_for
from spamcannibal.addr import make_key, mask, parse_addr, reversed_name, split_key
from spamcannibal.record import EXCLUDED, PUBLISHED, Mode
from spamcannibal.store.env import Env
from spamcannibal.store.stores import Amendment, NewListing, Store

ROOT = Path(__file__).parents[2]
ZONE = "bl.example.org"
SECRET = "c2VjcmV0IG9mIHRoaXJ0eS10d28gYnl0ZXMgLi4uLi4="
TSIG = f"hmac-sha256:xfer.example:{SECRET}"
NOW = 1_700_000_000
CHANGES, STEP = 1000, 25
PRIMARY = "127.0.0.1"
SETTINGS = f"""\
[store]
path = "store"
follow_interval_s = 0.02
[dnsbl]
listen = ["{PRIMARY}:53", "[::1]:53"]
threads = 1
rrl_per_s = 0
tcp_idle_s = 5
notify_delay_s = 0.05
[[dnsbl.key]]
name = "xfer.example"
secret_file = "xfer.secret"
[[dnsbl.zone]]
name = "{ZONE}"
ns = ["ns1.{ZONE}"]
hosts = ["ns1.{ZONE} 127.0.0.1"]
mx = ["10 mx.example.net"]
text = "listed here"
refresh_s = "1h"
transfer = ["key:xfer.example"]
also_notify = [NOTIFY]
"""

BIND = """\
key "xfer.example" {{ algorithm hmac-sha256; secret "{secret}"; }};
options {{ directory "{path}"; pid-file "{path}/named.pid"; session-keyfile "{path}/session.key";
  listen-on port 53 {{ {addr}; }}; listen-on-v6 {{ none; }}; recursion no; dnssec-validation no; empty-zones-enable no;
  notify no; ixfr-from-differences no; transfer-source {addr}; request-expire no; }};
controls {{ }};
server {primary} {{ keys {{ "xfer.example"; }}; }};
logging {{ channel all {{ stderr; severity debug 1; print-category yes; }}; category default {{ all; }}; }};
zone "{zone}" {{ type secondary; file "{path}/zone"; masterfile-format text; primaries {{ {primary}; }};
  allow-transfer {{ any; }}; allow-query {{ any; }}; max-ixfr-ratio unlimited; }};
"""
NSD = """\
server:
  ip-address: {addr}
  zonesdir: "{path}"
  database: ""
  pidfile: "{path}/nsd.pid"
  xfrdfile: "{path}/xfrd.state"
  xfrdir: "{path}"
  zonelistfile: "{path}/zone.list"
  username: ""
  verbosity: 3
  reuseport: no
  server-count: 1
  xfrd-reload-timeout: 0
remote-control:
  control-enable: no
key:
  name: "xfer.example"
  algorithm: hmac-sha256
  secret: "{secret}"
zone:
  name: "{zone}"
  zonefile: "{path}/zone"
  allow-notify: {primary} xfer.example
  request-xfr: {primary} xfer.example
  outgoing-interface: {addr}
  provide-xfr: 0.0.0.0/0 NOKEY
"""
KNOT = """\
server:
  rundir: "{path}"
  listen: {addr}@53
  udp-workers: 1
  tcp-workers: 1
  background-workers: 1
database:
  storage: "{path}"
log:
  - target: stderr
    any: info
key:
  - id: xfer.example
    algorithm: hmac-sha256
    secret: {secret}
remote:
  - id: primary
    address: {primary}@53
    via: {addr}
    key: xfer.example
acl:
  - id: notify
    address: {primary}
    key: xfer.example
    action: notify
  - id: all
    address: 0.0.0.0/0
    action: transfer
zone:
  - domain: {zone}
    storage: "{path}"
    file: zone
    master: primary
    acl: [notify, all]
    zonefile-sync: -1
    journal-content: changes
"""
SERVERS = {
    "named": ("127.0.0.11", BIND, ("named", "-g", "-n", "1", "-c")),
    "nsd": ("127.0.0.12", NSD, ("nsd", "-d", "-c")),
    "knotd": ("127.0.0.13", KNOT, ("knotd", "-c")),
}


class NoGuard:
    """Lets everything be listed; the never-list has its own tests."""

    def check(self, key: bytes) -> None: ...


@dataclass
class Scene:
    """Our server and three secondaries on loopback addresses of one namespace."""

    host: Host
    path: Path
    store: Store
    dice: random.Random = field(default_factory=lambda: random.Random(3))

    def ask(self, addr: str, name: str, rdtype: str) -> list[str]:
        reply = dns.query.udp(dns.message.make_query(name, rdtype), addr, timeout=5)
        return sorted(rdata.to_text() for rrset in reply.answer for rdata in rrset)

    def serial(self, addr: str) -> int:
        try:
            (soa,) = self.ask(addr, ZONE, "SOA")
        except (ValueError, OSError, dns.exception.DNSException):
            return -1
        return int(soa.split()[2])

    def zone(self, addr: str, *words: str) -> list[str]:
        """All records, as dig writes them (NSD chains more compression pointers than dnspython follows)."""
        told = self.host.run("dig", f"@{addr}", *words, ZONE, "AXFR", "+noall", "+answer", "+onesoa").stdout
        lines = told.splitlines()
        assert lines and "SOA" in lines[0], told
        return sorted(" ".join(line.split()) for line in lines)

    def key(self) -> bytes:
        dice = self.dice
        if dice.random() < 0.75:
            addr = bytes((60, dice.choice((1, 20)), dice.randrange(6), dice.randrange(256)))
            plen = dice.choice((32, 32, 32, 32, 28, 24, 22, 20))
        else:
            addr = parse_addr(f"2001:db8:{dice.randrange(3)}:{dice.randrange(4)}::{dice.randrange(5)}")
            plen = dice.choice((128, 64, 64, 62, 48, 46))
        return make_key(mask(addr, plen), plen)

    def change(self) -> None:
        """List, unlist or amend something."""
        dice, key = self.dice, self.key()
        flags = dice.choice((PUBLISHED, PUBLISHED, PUBLISHED, PUBLISHED | EXCLUDED, 0))
        text = dice.choice(("", f"text {dice.randrange(9)}", 'odd "text" \\ ' + "x" * dice.randrange(600)))
        if self.store.get_key(key) is None:
            self.store.list([NewListing(key, text=text, source="admin:me", flags=flags)], NOW)
        elif dice.random() < 0.5:
            self.store.unlist([key], "admin:me", "gone", NOW)
        else:
            changes = Amendment(flags=dice.choice((None, flags)), mode=dice.choice(list(Mode)), text=text)
            self.store.amend(key, changes, "admin:me", NOW)

    def sample(self, size: int) -> list[bytes]:
        """Addresses in and beside what is listed."""
        chosen = [parse_addr("127.0.0.2"), parse_addr("127.0.0.1")]
        for key, _ in self.store.states(None, 10_000):
            addr, plen = split_key(key)
            number, bits = int.from_bytes(addr, "big"), len(addr) * 8
            near = number + self.dice.choice((-1, 0, 0, (1 << bits - plen) - 1, 1 << bits - plen))
            chosen.append(near.to_bytes(len(addr), "big"))
        return self.dice.sample(chosen, min(size, len(chosen)))


@pytest.fixture(scope="module")
def scene() -> Iterator[Scene]:
    missing = [name for name in SERVERS if shutil.which(name) is None and not Path(f"/usr/sbin/{name}").exists()]
    if missing:
        pytest.skip(f"needs {', '.join(missing)}")
    with TemporaryDirectory(prefix="sc-") as place, Lab("xfer") as lab:
        path = Path(place)
        path.chmod(0o755)
        store = Store(Env(path / "store"), NoGuard())
        made = Scene(lab.host("ns"), path, store)
        for _ in range(150):
            made.change()
        (path / "xfer.secret").write_text(SECRET + "\n")
        (path / "xfer.secret").chmod(0o600)
        told = ", ".join(f'"{addr} key:xfer.example"' for addr, _, _ in SERVERS.values())
        (path / "sc.toml").write_text(SETTINGS.replace("NOTIFY", told))
        start_secondaries(made)
        start_primary(made)
        yield made
        store.close()


def start_primary(scene: Scene) -> subprocess.Popen[bytes]:
    env = {**os.environ, "PYTHONPATH": str(ROOT / "lib")}
    words = sys.executable, "-m", "spamcannibal", "-c", str(scene.path / "sc.toml"), "dnsbl"
    with (scene.path / "log").open("ab") as log:
        process = scene.host.start(*words, stderr=log, env=env)
    with scene.host.entered():
        wait_for(lambda: process.poll() is not None or scene.serial(PRIMARY) >= 0, "our server answers")
    assert process.poll() is None, (scene.path / "log").read_text()
    return process


def start_secondaries(scene: Scene) -> None:
    for name, (addr, settings, words) in SERVERS.items():
        scene.host.ip("addr", "add", f"{addr}/8", "dev", "lo")  # BIND listens where an interface has the address
        path = scene.path / name
        path.mkdir()
        text = settings.format(path=path, addr=addr, zone=ZONE, secret=SECRET, primary=PRIMARY)
        (path / "conf").write_text(text)
        with (path / "log").open("wb") as log:
            binary = shutil.which(words[0]) or f"/usr/sbin/{words[0]}"
            scene.host.start(binary, *words[1:], path / "conf", stderr=log, stdout=log)


def logs(scene: Scene) -> str:
    return "".join(f"--- {file}\n{file.read_text()[-3000:]}" for file in sorted(scene.path.glob("**/log")))


def wait_equal(scene: Scene, limit_s: float = 30.0) -> None:
    """Wait until every secondary has our newest serial."""
    want = scene.store.last_seq()
    addrs = [PRIMARY, *(addr for addr, _, _ in SERVERS.values())]
    try:
        wait_for(lambda: all(scene.serial(addr) == want for addr in addrs), f"all have serial {want}", limit_s)
    except AssertionError as error:
        raise AssertionError(f"{error}: {[scene.serial(addr) for addr in addrs]}\n{logs(scene)}") from None


def check_equal(scene: Scene) -> None:
    ours = scene.zone(PRIMARY, "-y", TSIG)
    for addr, _, _ in SERVERS.values():
        assert scene.zone(addr) == ours, addr
    for address in scene.sample(60):
        name = f"{reversed_name(address)}.{ZONE}"
        for rdtype in ("A", "TXT"):
            want = scene.ask(PRIMARY, name, rdtype)
            for addr, _, _ in SERVERS.values():
                assert scene.ask(addr, name, rdtype) == want, (addr, name, rdtype)


def test_secondaries_follow_a_thousand_changes_and_end_equal(scene: Scene) -> None:
    with scene.host.entered():
        wait_equal(scene)
        check_equal(scene)
        for step in range(CHANGES // STEP):
            for _ in range(STEP):
                scene.change()
            if step % 4 == 3:
                wait_equal(scene)
        wait_equal(scene)
        check_equal(scene)
    done = [line for line in (scene.path / "log").read_text().splitlines() if line.startswith("XFER ")]
    for addr, _, _ in SERVERS.values():
        mine = [line for line in done if f"peer={addr} " in line]
        assert not [line for line in mine if "result=done" not in line]
        forms = ["ixfr" if "form=ixfr" in line else "axfr" for line in mine]
        assert forms.count("ixfr") >= 8 and forms.count("axfr") <= 3, (addr, forms)


def test_a_secondary_that_was_away_and_a_primary_that_restarts_catch_up(scene: Scene) -> None:
    primary = next(process for process in scene.host.processes if "spamcannibal" in process.args)
    with scene.host.entered():
        primary.send_signal(signal.SIGTERM)
        assert primary.wait(20) == 0
        for _ in range(40):
            scene.change()
    start_primary(scene)
    with scene.host.entered():
        wait_equal(scene)
        check_equal(scene)


def test_nobody_else_gets_the_zone(scene: Scene) -> None:
    with scene.host.entered():
        wrong = "hmac-sha256:xfer.example:d3Jvbmcgc2VjcmV0IHdyb25nIHNlY3JldCB3cm9uZyE="
        for words in ((), ("-y", wrong), ("-y", wrong.replace("xfer", "other"))):
            told = scene.host.run("dig", f"@{PRIMARY}", *words, ZONE, "AXFR", check=False).stdout
            assert "Transfer failed" in told and "127.0.0.2" not in told
        told = scene.host.run("dig", f"@{PRIMARY}", "-y", TSIG, ZONE, "AXFR").stdout
        assert told.count("\tSOA\t") == 2 and "XFR size" in told and "Couldn't verify" not in told
        for number in range(2):  # after the serial of our start
            scene.store.list([NewListing(bytes((60, 99, 0, number)), source="admin:me", flags=PUBLISHED)], NOW)
        wait_equal(scene)
        newest = scene.store.last_seq()
        for serial, soas in ((newest, 1), (newest - 1, 4), (1, 2)):
            told = scene.host.run("kdig", f"@{PRIMARY}", "-y", TSIG, ZONE, f"IXFR={serial}").stdout
            assert told.count("\tSOA\t") == soas, told
