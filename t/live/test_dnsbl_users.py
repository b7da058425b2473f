"""Who uses a blocklist, using ours: unbound that minimises names, Postfix and Exim that refuse a listed client."""

from __future__ import annotations

import shutil
import smtplib
import subprocess
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from live.mailservers import Exim, postfix_at, within
from live.nets import Host, Lab, wait_for
from live.test_dnsbl import SETTINGS, V6, ZONE, Served, listed

MX4, MX6 = "192.0.2.254", "2001:db8:1:2::254"
CLEAN4, CLEAN6 = "192.0.2.9", "2001:db8:1:3::9"
UNBOUND = """\
server:
    interface: 127.0.0.1
    port: 53
    do-not-query-localhost: no
    qname-minimisation: yes
    qname-minimisation-strict: {strict}
    module-config: "iterator"
    chroot: ""
    username: ""
    directory: "{path}"
    pidfile: ""
    logfile: "{path}/unbound.log"
    use-syslog: no
remote-control:
    control-enable: no
stub-zone:
    name: "bl.example.org"
    stub-addr: 127.0.0.1@5300
"""
POSTFIX = """\
smtpd_recipient_restrictions = reject_rbl_client bl.example.org=127.0.0.2, permit_auth_destination, reject
smtpd_delay_reject = yes
"""
EXIM = """\
acl_smtp_rcpt = acl_rcpt
begin acl
acl_rcpt:
  deny dnslists = bl.example.org=127.0.0.2
       message = $sender_host_address: $dnslist_text
  accept
"""


class Site:
    """A mail exchanger with our server and unbound in front of it in one namespace, clients in another."""

    def __init__(self, mx: Host, clients: Host, path: Path) -> None:
        self.mx = mx
        self.clients = clients
        self.path = path
        self.served = Served(mx, path)
        text = SETTINGS.replace('listen = ["127.0.0.1:53", "[::1]:53"]', 'listen = ["127.0.0.1:5300"]')
        self.served.settings.write_text(text)
        self.served.add("192.0.2.1", "sent spam to a trap: $")
        self.served.add("2001:db8:1:2::/64", "six of them")
        self.served.start()
        (path / "resolv.conf").write_text("nameserver 127.0.0.1\noptions timeout:2 attempts:3\n")

    def resolve(self, strict: bool) -> subprocess.Popen[bytes]:
        """Start unbound, and wait until it answers."""
        config = self.path / "unbound.conf"
        config.write_text(UNBOUND.format(path=self.path, strict="yes" if strict else "no"))
        process = self.mx.start("unbound", "-d", "-c", config, stderr=subprocess.DEVNULL)
        wait_for(lambda: "127.0.0.2" in self.dig("2.0.0.127." + ZONE, "+short"), "unbound answers")
        return process

    def dig(self, name: str, *words: str) -> str:
        return self.mx.run("dig", "+tries=1", "+time=3", "@127.0.0.1", *words, name, check=False).stdout

    def send(self, client: str, server: str) -> tuple[int, str]:
        """Offer a mail from one of the clients' addresses; the answer to the recipient."""
        with self.clients.entered(), smtplib.SMTP(server, 25, timeout=20, source_address=(client, 0)) as session:
            session.ehlo("client.example")
            session.mail("a@client.example")
            code, text = session.rcpt("b@example.net")
            return code, text.decode()

    def is_up(self) -> bool:
        try:
            return self.send(CLEAN4, MX4)[0] > 0
        except (OSError, smtplib.SMTPException):
            return False


@pytest.fixture
def site() -> Iterator[Site]:
    if shutil.which("unbound") is None:
        pytest.skip("needs unbound")
    # Not pytest's directory: every session takes the rights of others from it, and mail servers are others.
    with TemporaryDirectory(prefix="sc-mx-") as place, Lab("dnr") as lab:
        path = Path(place)
        path.chmod(0o755)
        mx, clients = lab.host("mx"), lab.host("clients")
        for ours, theirs in (
            (f"{MX4}/24", "192.0.2.1/24"),
            (f"{MX6}/64", f"{V6}/64"),
            ("2001:db8:1:3::254/64", f"{CLEAN6}/64"),
            ("192.0.2.253/24", f"{CLEAN4}/24"),
        ):
            lab.link(mx, clients, ours, theirs)
        made = Site(mx, clients, path)
        yield made
        made.served.store.close()


@pytest.mark.parametrize("strict", [False, True], ids=["relaxed", "strict"])
def test_unbound_that_minimises_names_finds_what_is_listed(site: Site, strict: bool) -> None:
    site.resolve(strict)
    for address, text in (("192.0.2.1", "sent spam to a trap: 192.0.2.1"), (V6, "six of them")):
        assert site.dig(listed(address), "+short").strip() == "127.0.0.2"
        assert site.dig(listed(address), "+short", "TXT").strip() == f'"{text}"'
    for address in (CLEAN4, CLEAN6, "127.0.0.1"):
        assert "status: NXDOMAIN" in site.dig(listed(address))
    # What it asked on the way down shows that it did minimise, in the server's own count.
    site.served.host.processes[0].terminate()
    assert site.served.host.processes[0].wait(20) == 0
    stop = next(line for line in site.served.log.read_text().splitlines() if line.startswith("STOP"))
    counts = dict(word.split("=") for word in stop.split() if "=" in word)
    assert int(counts["udp_nodata"]) >= 2


def refuses_listed_clients(site: Site, word: str) -> None:
    for client, server in (("192.0.2.1", MX4), (V6, MX6)):
        code, text = site.send(client, server)
        assert code in (550, 554) and word in text, (code, text)
    for client, server in ((CLEAN4, MX4), (CLEAN6, "2001:db8:1:3::254")):
        assert site.send(client, server)[0] == 250


def test_postfix_refuses_a_listed_client(site: Site) -> None:
    config = postfix_at(site.path / "postfix", POSTFIX)
    site.resolve(strict=False)
    start = within("postfix", "-c", config, "start-fg", files={"resolv.conf": site.path / "resolv.conf"})
    site.mx.start(*start, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_for(site.is_up, "postfix answers", 30)
        refuses_listed_clients(site, f"blocked using {ZONE}")
    finally:
        site.mx.run("postfix", "-c", config, "abort", check=False)


def test_exim_refuses_a_listed_client(site: Site) -> None:
    exim = Exim(site.path, EXIM, {"resolv.conf": site.path / "resolv.conf"})
    site.resolve(strict=False)
    process = exim.start(site.mx)
    wait_for(lambda: site.is_up() or process.poll() is not None, "exim answers", 30)
    assert process.poll() is None, exim.said()
    refuses_listed_clients(site, ": s")
