"""What Postfix and Exim write about hostile clients, by IPv4 and IPv6: the traced source is the client or nobody."""

from __future__ import annotations

import grp
import pwd
import re
import shutil
import smtplib
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from live.nets import Host, Lab, wait_for
from live.test_dnsbl_users import unpacked_exim
from spamcannibal.addr import format_addr, parse_addr
from spamcannibal.robot.fields import unfold
from spamcannibal.robot.received import Ours, trace

MX = ("198.51.100.3", "2001:db8:1::3")
CLIENT = ("192.0.2.7", "2001:db8:bad::7")
OURS = Ours(frozenset({"mx.example.net"}), tuple(map(parse_addr, MX)))
VICTIM = "8.8.8.8"
POSTFIX = """\
compatibility_level = 3.6
queue_directory = {path}/queue
data_directory = {path}/data
command_directory = /usr/sbin
daemon_directory = /usr/lib/postfix/sbin
maillog_file = {path}/mail.log
maillog_file_prefixes = {path}
myhostname = mx.example.net
mydestination = example.net
local_recipient_maps =
alias_maps =
inet_interfaces = all
inet_protocols = all
mynetworks = 127.0.0.0/8
smtpd_recipient_restrictions = permit_auth_destination, reject
smtpd_client_restrictions = inline:{{ {{ 192.0.2.7 = HOLD }} {{ 2001:db8:bad::7 = HOLD }} }}
smtpd_peername_lookup = no
smtpd_hard_error_limit = 1000
"""
MASTER = """\
25        inet  n  -  n  -   -  smtpd
pickup    unix  n  -  n  60  1  pickup
cleanup   unix  n  -  n  -   0  cleanup
qmgr      unix  n  -  n  300 1  qmgr
rewrite   unix  -  -  n  -   -  trivial-rewrite
proxymap  unix  -  -  n  -   -  proxymap
anvil     unix  -  -  n  -   1  anvil
postlog   unix-dgram n -  n  -   1  postlogd
"""
EXIM = """\
primary_hostname = mx.example.net
allow_domain_literals
spool_directory = {path}/spool
log_file_path = {path}/%slog
pid_file_path = {path}/exim.pid
daemon_smtp_ports = 25
local_interfaces = <; 0.0.0.0 ; ::0
never_users =
keep_environment =
host_lookup =
rfc1413_hosts =
tls_advertise_hosts =
smtp_enforce_sync = false
helo_accept_junk_hosts = *
queue_only = true
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
    if not shutil.which("postfix"):
        pytest.skip("needs postfix")
    config = open_path / "postfix"
    shutil.copytree("/etc/postfix", config, symlinks=True)
    for folder in (config / "queue", config / "data"):
        folder.mkdir()
        folder.chmod(0o755)
    shutil.chown(config / "data", pwd.getpwnam("postfix").pw_uid, grp.getgrnam("postfix").gr_gid)
    (config / "main.cf").write_text(POSTFIX.format(path=config))
    (config / "master.cf").write_text(MASTER)
    site.mx.run("postfix", "-c", config, "start")
    try:
        wait_for(site.is_up, "Postfix answers", 30)
        site.written = lambda queue_id: site.mx.run("postcat", "-c", config, "-h", "-q", queue_id).stdout
        names_the_client_or_nobody(site)
    finally:
        site.mx.run("postfix", "-c", config, "abort", check=False)


def test_exim(site: Site, open_path: Path) -> None:
    found = shutil.which("exim4")
    binary, libraries = (Path(found), Path("/nowhere")) if found else unpacked_exim(open_path)
    mounts = []
    for name, entry in (("passwd", "Debian-exim:x:64999:64999::/:/bin/false"), ("group", "Debian-exim:x:64999:")):
        text = Path("/etc", name).read_text()
        (open_path / name).write_text(text if "Debian-exim" in text else text + entry + "\n")
        mounts.append(f"mount --bind {open_path / name} /etc/{name}")
    home = open_path / "exim-home"
    for folder in (home, home / "spool"):
        folder.mkdir()
        folder.chmod(0o777)
    (open_path / "exim.conf").write_text(EXIM.format(path=home))
    command = ("env", f"LD_LIBRARY_PATH={libraries}", binary, "-C", open_path / "exim.conf", "-bdf")
    log = (open_path / "exim.out").open("wb")
    script = f'{" && ".join(mounts)} && exec "$@"'
    process = site.mx.start("unshare", "--mount", "sh", "-c", script, "sh", *command, stdout=log, stderr=log)
    wait_for(lambda: site.is_up() or process.poll() is not None, "Exim answers", 30)
    assert process.poll() is None, (open_path / "exim.out").read_text()

    def written(queue_id: str) -> str:
        (spooled,) = home.rglob(f"{queue_id}-H")
        text = spooled.read_text("utf-8", "backslashreplace")
        fields = text[re.search(r"^\d+P Received:", text, re.MULTILINE).start() :]  # type: ignore[union-attr]
        return re.sub(r"^\d{3,}[A-Z *] ", "", fields, flags=re.MULTILINE)

    site.written = written
    names_the_client_or_nobody(site)
