"""The robot behind a real Postfix, by pipe transport and by LMTP: from a client's report to the listing and the signed
answer in the client's mailbox; and what stays in the queue while the robot can't work.
"""

from __future__ import annotations

import email
import email.policy
import os
import pwd
import re
import shutil
import signal
import smtplib
import subprocess
import time
from collections.abc import Iterator
from email.message import EmailMessage
from pathlib import Path
from socket import AF_UNIX, SOCK_STREAM, socket
from tempfile import TemporaryDirectory
from typing import Any

import pytest

import robotkit
from live.mailservers import postfix_at
from live.nets import ROOT, Host, Lab, wait_for
from spamcannibal.addr import format_key
from storekit import open_store

MX, CLIENT = "10.77.0.1", "10.77.0.2"
USER = "nobody"
MAIN = """\
smtpd_recipient_restrictions = permit_auth_destination, permit_mynetworks, reject
relay_domains = mx.example.net
export_environment = PATH=/usr/bin:/bin PYTHONPATH={code}/lib
transport_maps = inline:{{ {{ robot@mx.example.net = {transport} }} }}
virtual_mailbox_domains = example.org
virtual_mailbox_base = {path}/boxes
virtual_mailbox_maps = inline:{{ alice@example.org=alice/, eve@example.org=eve/ }}
virtual_uid_maps = static:{uid}
virtual_gid_maps = static:{gid}
minimal_backoff_time = 1s
queue_run_delay = 1s
"""
SERVICES = """\
bounce    unix  -  -  n  -   0  bounce
defer     unix  -  -  n  -   0  bounce
trace     unix  -  -  n  -   0  bounce
error     unix  -  -  n  -   -  error
retry     unix  -  -  n  -   -  error
virtual   unix  -  n  n  -   -  virtual
showq     unix  n  -  n  -   -  showq
lmtp      unix  -  -  n  -   -  lmtp
robot     unix  -  n  n  -   2  pipe
  flags=R user={user} argv={code}/.venv/bin/python -P {code}/bin/sc_mailfilter -c {path}/spamcannibal.toml
"""
SETTINGS = """\
[store]
path = "db"
cache_bytes = "1MiB"
[robot]
path = "{path}/robot"
user = "{user}"
key = "{robot}"
address = "robot@mx.example.net"
own_hosts = [".example.net"]
lmtp = "{path}/lmtp"
lmtp_group = "postfix"
{out}
[[robot.submitter]]
name = "alice"
fingerprint = "{alice}"
"""


class Site:
    """Postfix and the robot in one namespace, who reports in another."""

    def __init__(self, mx: Host, client: Host, path: Path, transport: str) -> None:
        self.mx, self.client, self.path = mx, client, path
        self.transport = transport
        self.people = robotkit.People()
        self.alice, self.eve = self.people.person("alice"), self.people.person("eve")
        robot = self.people.person("robot").decrypts().knows(self.alice, self.eve)
        self.alice.knows(robot)
        self.owner = pwd.getpwnam(USER)
        for name in ("robot", "db", "boxes"):
            (path / name).mkdir(mode=0o700)
        robotkit.stop_agent(robot.home)
        shutil.copytree(robot.home, path / "robot/gnupg", ignore=shutil.ignore_patterns("S.*"))
        # Answers leave by the other way of the two, too.
        out = 'smtp = "127.0.0.1:25"' if transport == "lmtp" else 'sendmail = "/usr/sbin/sendmail"'
        text = SETTINGS.format(
            path=path, user=USER, robot=robot.fingerprint, alice=self.alice.fingerprint, out=out
        )
        (path / "spamcannibal.toml").write_text(text)
        (path / "never-list").write_text("@special\n@own\n")
        for folder in ("robot", "db", "boxes"):
            for each in (path / folder, *(path / folder).rglob("*")):
                os.chown(each, self.owner.pw_uid, self.owner.pw_gid)

    def start(self) -> None:
        config, code = self.path / "postfix", self.path / "code"
        transport = "robot:" if self.transport == "pipe" else f"lmtp:unix:{self.path}/lmtp"
        values: dict[str, Any] = {"uid": self.owner.pw_uid, "gid": self.owner.pw_gid, "transport": transport}
        main = MAIN.format(path=config, code=code, **values)
        # whole: its tables of files, and what checks them
        postfix_at(config, main, SERVICES.format(path=self.path, code=code, user=USER), whole=True)
        (config / "boxes").symlink_to(self.path / "boxes")
        code.mkdir()
        # The checkout where the robot's user can read it, and our configuration where sendmail(1) looks for it.
        mounts = f"mount --bind {ROOT} {code} && mount --bind {config} /etc/postfix"
        argv = ["unshare", "--mount", "sh", "-c", f'{mounts} && exec "$@"', "sh", "postfix", "start-fg"]
        self.mx.start(*argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        if self.transport == "lmtp":
            self.robot = self.serve()
        wait_for(self.is_up, "Postfix answers", 30)

    def serve(self) -> subprocess.Popen[bytes]:
        """Start the LMTP server, and wait until it listens."""
        command = ("spamcannibal", "-c", self.path / "spamcannibal.toml", "robot", "--lmtp")
        argv = [ROOT / ".venv/bin/python", "-P", "-m", *command]
        log = (self.path / "robot.log").open("ab")
        process = self.mx.start(*argv, stdout=log, stderr=log)
        wait_for(lambda: b"START" in (self.path / "robot.log").read_bytes() or process.poll() is not None, "LMTP", 30)
        assert process.poll() is None, (self.path / "robot.log").read_text()
        return process

    def is_up(self) -> bool:
        try:
            with self.client.entered(), smtplib.SMTP(MX, 25, timeout=20) as session:
                return session.noop()[0] == 250
        except (OSError, smtplib.SMTPException):
            return False

    def send(self, sender: str, raw: bytes) -> None:
        with self.client.entered(), smtplib.SMTP(MX, 25, timeout=30) as session:
            session.sendmail(sender, ["robot@mx.example.net"], raw)

    def listed(self) -> set[str]:
        store = open_store(self.path / "db")
        try:
            return {format_key(key) for key, _ in store.states(None, 100)}
        finally:
            store.close()

    def box(self, name: str) -> list[bytes]:
        return [path.read_bytes() for path in (self.path / "boxes" / name / "new").glob("*")]

    def kept(self, name: str) -> list[bytes]:
        return [path.read_bytes() for path in (self.path / "robot" / name / "new").glob("*")]

    def queue(self) -> str:
        return self.mx.run("postqueue", "-c", self.path / "postfix", "-j", check=False).stdout

    def log(self) -> str:
        paths = (self.path / "postfix/mail.log", self.path / "robot.log")
        return "".join(path.read_text() for path in paths if path.exists())

    def close(self) -> None:
        self.mx.run("postfix", "-c", self.path / "postfix", "abort", check=False)
        robotkit.stop_agent(self.path / "robot/gnupg")
        self.people.__exit__()


@pytest.fixture(params=["pipe", "lmtp"])
def site(request: pytest.FixtureRequest) -> Iterator[Site]:
    for program in ("postfix", "gpg"):
        if shutil.which(program) is None:
            pytest.skip(f"needs {program}")
    # Not pytest's directory: every session takes the rights of others from it, and mail servers are others.
    with TemporaryDirectory(prefix="sc-robot-") as place, Lab("rbt") as lab:
        path = Path(place)
        path.chmod(0o755)
        mx, client = lab.host("mx"), lab.host("client")
        lab.link(mx, client, f"{MX}/24", f"{CLIENT}/24")
        made = Site(mx, client, path, request.param)
        try:
            made.start()
            yield made
        finally:
            print(made.log())  # shown when the test failed
            made.close()


def checked(site: Site, raw: bytes) -> EmailMessage:
    """What an answer says, its signature checked by the client's gpg."""
    answer = email.message_from_bytes(raw, policy=email.policy.default)
    boundary = b"--" + str(answer.get_boundary()).encode()
    _, part, signature, _ = raw.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n").split(boundary)
    (site.alice.home / "part").write_bytes(part.removeprefix(b"\r\n").removesuffix(b"\r\n"))
    armor = signature.partition(b"\r\n\r\n")[2]
    told = site.alice.gpg("--status-fd", "1", "--verify", "-", str(site.alice.home / "part"), data=armor)
    assert b"[GNUPG:] GOODSIG" in told
    assert isinstance(answer, EmailMessage)
    return answer


def test_a_report_goes_from_the_client_to_the_list_and_the_answer_comes_back(site: Site) -> None:
    site.send("alice@example.org", site.alice.report(robotkit.spam("203.0.113.9")))
    wait_for(lambda: site.box("alice"), "the answer in alice's mailbox", 120)
    assert site.listed() == {"203.0.113.9"}
    (raw,) = site.box("alice")
    answer = checked(site, raw)
    assert answer["Subject"] == "SpamCannibal: listed 203.0.113.9"
    assert (answer["Auto-Submitted"], answer["Return-Path"]) == ("auto-replied", "<>")
    assert "203.0.113.9 is listed now" in next(answer.iter_parts()).get_content()
    assert len(site.kept("originals")) == 1

    # Nobody vouches for this one: no answer, but the mail server tells its sender that it was refused.
    site.send("eve@example.org", site.eve.report(robotkit.spam("203.0.113.10")))
    wait_for(lambda: site.box("eve"), "the bounce in eve's mailbox", 120)
    (bounce,) = site.box("eve")
    assert b"MAILER-DAEMON" in bounce and b"may not report" in bounce
    assert site.listed() == {"203.0.113.9"}
    assert len(site.kept("strangers")) == 1 and len(site.box("alice")) == 1


def test_while_the_robot_cannot_work_the_mail_stays_in_the_queue(site: Site) -> None:
    never = site.path / "never-list"
    text = never.read_text()
    never.unlink()
    if site.transport == "lmtp":  # it reads the list once
        site.robot.terminate()
        site.robot.wait(30)
        site.robot = site.serve()
    site.send("alice@example.org", site.alice.report(robotkit.spam("203.0.113.9")))
    wait_for(lambda: "never_list" in site.queue(), "the mail deferred, with the reason", 120)
    assert not site.box("alice") and not site.kept("dead") and not site.kept("strangers")
    never.write_text(text)
    wait_for(lambda: flushed(site), "the answer once the robot can work", 120, 1.0)
    assert site.listed() == {"203.0.113.9"}
    checked(site, site.box("alice")[0])


def flushed(site: Site) -> bool:
    site.mx.run("postqueue", "-c", site.path / "postfix", "-f", check=False)
    return bool(site.box("alice"))


def talk(sock: socket, line: bytes) -> bytes:
    """Say something, and return the reply, all its lines."""
    sock.sendall(line)
    reply = b""
    while not re.search(rb"(?m)^\d{3} [^\r]*\r\n$", reply):
        piece = sock.recv(65536)
        assert piece, reply
        reply += piece
    return reply


@pytest.mark.parametrize("site", ["lmtp"], indirect=True)
def test_lmtp_takes_its_limits_and_stops_in_order(site: Site) -> None:
    path = str(site.path / "lmtp")
    assert (site.path / "lmtp").stat().st_mode & 0o777 == 0o660
    assert (site.path / "lmtp").group() == "postfix"
    with socket(AF_UNIX, SOCK_STREAM) as sock:
        sock.settimeout(30)
        sock.connect(path)
        sock.recv(1000)
        assert talk(sock, b"HELO x\r\n").startswith(b"500")
        assert b"SIZE 1048576" in talk(sock, b"LHLO x\r\n")
        talk(sock, b"MAIL FROM:<a@example.org>\r\n")
        for _ in range(2):
            assert talk(sock, b"RCPT TO:<robot@mx.example.net>\r\n").startswith(b"250")
        assert talk(sock, b"DATA\r\n").startswith(b"354")
        sock.sendall(b"Subject: x\r\n\r\n..dot\r\n" + b"x" * 3_000_000)
        answer = talk(sock, b"\r\n.\r\n")
        while answer.count(b"\r\n") < 2:
            answer += sock.recv(1000)
        assert answer == b"552 5.3.4 message too long\r\n" * 2
        assert talk(sock, b"RSET\r\n").startswith(b"250")
        talk(sock, b"MAIL FROM:<a@example.org>\r\n")
        talk(sock, b"RCPT TO:<robot@mx.example.net>\r\n")
        assert talk(sock, b"DATA\r\n").startswith(b"354")
        answer = talk(sock, b"Subject: x\r\n\r\n..dot\r\n.\r\n")
        assert answer.startswith(b"550 5.7.1 it is not signed")
    assert site.kept("strangers")[0].endswith(b"\r\n\r\n.dot\r\n")
    # Wrong settings change nothing, and are told.
    text = (site.path / "spamcannibal.toml").read_text()
    (site.path / "spamcannibal.toml").write_text(text + "nonsense = 1\n")
    site.robot.send_signal(signal.SIGHUP)
    wait_for(lambda: "RELOAD ok=false" in site.log(), "the reload told", 30)
    (site.path / "spamcannibal.toml").write_text(text.replace("[robot]", '[robot]\nrefusals = "keep"'))
    site.robot.send_signal(signal.SIGHUP)
    wait_for(lambda: "RELOAD ok=true" in site.log(), "the reload", 30)
    with socket(AF_UNIX, SOCK_STREAM) as sock:
        sock.settimeout(30)
        sock.connect(path)
        sock.recv(1000)
        for line in (b"LHLO x", b"MAIL FROM:<a@example.org>", b"RCPT TO:<robot@mx.example.net>", b"DATA"):
            talk(sock, line + b"\r\n")
        assert talk(sock, b"Subject: y\r\n\r\n.\r\n").startswith(b"250 2.0.0 it is not signed")
    open_ones = [socket(AF_UNIX, SOCK_STREAM) for _ in range(21)]
    try:
        for each in open_ones:
            each.settimeout(30)
            each.connect(path)
        assert open_ones[-1].recv(100).startswith(b"421 4.3.2 too many connections")
    finally:
        for each in open_ones:
            each.close()
    before = time.monotonic()
    site.robot.terminate()
    assert site.robot.wait(30) == 0 and time.monotonic() - before < 30
    assert "STOP service=robot refused=2" in site.log()
