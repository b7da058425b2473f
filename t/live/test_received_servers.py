"""What Postfix and Exim write about hostile clients, by IPv4 and IPv6: the traced source is the client or nobody."""

from __future__ import annotations

import re
import smtplib
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from live.mailservers import Exim, postfix_at
from live.nets import Host, Lab, wait_for
from spamcannibal.addr import format_addr, parse_addr
from spamcannibal.robot.fields import unfold
from spamcannibal.robot.received import Ours, trace

MX = ("198.51.100.3", "2001:db8:1::3")
CLIENT = ("192.0.2.7", "2001:db8:bad::7")
OURS = Ours(frozenset({"mx.example.net"}), tuple(map(parse_addr, MX)))
VICTIM = "8.8.8.8"
POSTFIX = """\
smtpd_recipient_restrictions = permit_auth_destination, reject
smtpd_client_restrictions = inline:{ { 192.0.2.7 = HOLD } { 2001:db8:bad::7 = HOLD } }
smtpd_hard_error_limit = 1000
"""
EXIM = """\
allow_domain_literals
helo_accept_junk_hosts = *
acl_smtp_rcpt = acl_rcpt
begin acl
acl_rcpt:
  accept
"""
# (greeting, envelope sender, recipient, must the source be found?)
TALK = {
    "plain": ("client.example", "x@sender.example", "a@example.net", True),
    "greeting is a literal": (f"[{VICTIM}]", "x@sender.example", "a@example.net", True),
    "greeting is an address": (VICTIM, "x@sender.example", "a@example.net", True),
    "bounce": ("client.example", "", "a@example.net", True),
    "greeting that holds a hop": (f"x (y [{VICTIM}]) by mx.example.net", "x@sender.example", "a@example.net", False),
    "greeting that closes": (f"x) ([{VICTIM}]", "x@sender.example", "a@example.net", False),
    "greeting that opens": ('x (" <', "x@sender.example", "a@example.net", False),
    "greeting with helo=": (f"x helo=[{VICTIM}] ident=y", "x@sender.example", "a@example.net", False),
    "sender that holds a hop": ("x", f'"[{VICTIM}] by mx.example.net"@sender.example', "a@example.net", False),
    "sender that closes": ("x", f'") by mx.example.net ([{VICTIM}] "@sender.example', "a@example.net", False),
    "recipient that holds one": ("x", "x@sender.example", f'"a ([{VICTIM}]) by x"@example.net', False),
}


class Site:
    """A mail server and a client; `written` gives the header of a message by its queue id."""

    def __init__(self, mx: Host, client: Host) -> None:
        self.mx, self.client = mx, client
        self.written: Callable[[str], str] = str

    def send(self, number: int, greeting: str, sender: str, recipient: str) -> str:
        """Send a message as the client likes; return the server's queue id, "" if it refused."""
        with self.client.entered(), smtplib.SMTP(MX[number], 25, timeout=20) as session:
            session.docmd(f"EHLO {greeting}")
            session.docmd(f"MAIL FROM:<{sender}>")
            code, _ = session.docmd(f"RCPT TO:<{recipient}>")
            if code != 250:
                return ""
            forged = f"Received: from v ([{VICTIM}]) by mx.example.net with SMTP; Tue, 24 Nov 2026 14:01:35 +0000\r\n"
            _, text = session.data(f"{forged}Subject: x\r\n\r\nx\r\n")
            return re.split(r"[ =]", text.decode())[-1]

    def is_up(self) -> bool:
        try:
            with self.client.entered(), smtplib.SMTP(MX[0], 25, timeout=20) as session:
                return session.noop()[0] == 250
        except (OSError, smtplib.SMTPException):
            return False


@pytest.fixture
def site() -> Iterator[Site]:
    with Lab("rcv") as lab:
        mx, client = lab.host("mx"), lab.host("client")
        for prefix, here, there in (("/24", MX[0], CLIENT[0]), ("/64", MX[1], CLIENT[1])):
            lab.link(mx, client, here + prefix, there + prefix)
            mx.ip("route", "add", there, "dev", "v0")
            client.ip("route", "add", here, "dev", "v0")
        yield Site(mx, client)


@pytest.fixture
def open_path() -> Iterator[Path]:
    """A directory that the mail servers' own users can reach, which pytest's is not."""
    with TemporaryDirectory(prefix="received-") as name:
        Path(name).chmod(0o755)
        yield Path(name)


def names_the_client_or_nobody(site: Site) -> None:
    found = set()
    for name, (greeting, sender, recipient, is_plain) in TALK.items():
        for number, client in enumerate(CLIENT):
            queue_id = site.send(number, greeting, sender, recipient)
            if not queue_id and not is_plain:
                continue
            header = site.written(queue_id)
            lines = unfold_fields(header)
            assert lines[0].startswith("Received: from "), header
            source = trace(lines, OURS).source
            said = format_addr(source) if source else "none"
            assert said in ({client} if is_plain else {client, "none"}), (name, header)
            found.add(said)
    assert set(CLIENT) <= found


def unfold_fields(header: str) -> list[str]:
    fields: list[str] = []
    for line in header.splitlines():
        if line[:1] in " \t" and fields:
            fields[-1] += "\n" + line
        else:
            fields.append(line)
    return [unfold(field) for field in fields if field]


def test_postfix(site: Site, open_path: Path) -> None:
    config = postfix_at(open_path / "postfix", POSTFIX, whole=True)
    site.mx.run("postfix", "-c", config, "start")
    try:
        wait_for(site.is_up, "Postfix answers", 30)
        site.written = lambda queue_id: site.mx.run("postcat", "-c", config, "-h", "-q", queue_id).stdout
        names_the_client_or_nobody(site)
    finally:
        site.mx.run("postfix", "-c", config, "abort", check=False)


def test_exim(site: Site, open_path: Path) -> None:
    exim = Exim(open_path, EXIM)
    process = exim.start(site.mx)
    wait_for(lambda: site.is_up() or process.poll() is not None, "Exim answers", 30)
    assert process.poll() is None, exim.said()

    def written(queue_id: str) -> str:
        (spooled,) = exim.home.rglob(f"{queue_id}-H")
        text = spooled.read_text("utf-8", "backslashreplace")
        fields = text[re.search(r"^\d+P Received:", text, re.MULTILINE).start() :]  # type: ignore[union-attr]
        return re.sub(r"^\d{3,}[A-Z *] ", "", fields, flags=re.MULTILINE)

    site.written = written
    names_the_client_or_nobody(site)
