"""The full circle with real mail servers: Exim and Postfix report to us, we list, they refuse, by DNS and by asking us.

They run with the samples of conf/exim and conf/postfix, addresses and names apart; `spamcannibal up` runs the listener
and the DNS server.
"""

from __future__ import annotations

import json
import re
import smtplib
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from gather_kit import environment
from live.mailservers import Exim, postfix_at, within
from live.nets import ROOT, Host, Lab, wait_for
from spamcannibal.addr import parse_addr, reversed_name
from spamcannibal.gather.client import say

MX4, MX6 = "192.0.2.254", "2001:db8:1::254"
# Each kind of test has clients of its own; an IPv6 one is listed with its /64.
CLIENTS = {
    "first": ("192.0.2.1", "2001:db8:1::1"),
    "second": ("192.0.2.2", "2001:db8:2::1"),
    "clean": ("192.0.2.3", "2001:db8:3::1"),
}
SETTINGS = """\
[store]
path = "store"
[guard]
never_list = "never-list"
[dnsbl]
listen = ["127.0.0.1:53"]
[[dnsbl.zone]]
name = "bl.example.org"
[gather]
listen = ["127.0.0.1:10044", "[::1]:10044"]
[[gather.reporter]]
name = "mx"
addresses = ["127.0.0.1"]
weight = 2.0
[services]
enabled = ["dnsbl", "gather"]
"""
EXIM = """\
domainlist local_domains = example.net
hostlist relay_from_hosts =
{main}
begin acl
{acl}
begin routers
known:
  driver = redirect
  domains = +local_domains
  local_parts = good
  data = :blackhole:
"""
POSTFIX = """\
by_socketmap = check_client_access socketmap:inet:127.0.0.1:10044:reject
by_dns = reject_rbl_client bl.example.org=127.0.0.2
{gather}
"""
BY_POLICY, BY_SOCKETMAP, BY_DNS = 25, 26, 27


class Circle:
    """A mail exchanger with our services beside it in one namespace, clients in another."""

    def __init__(self, mx: Host, clients: Host, path: Path) -> None:
        self.mx = mx
        self.clients = clients
        self.path = path
        (path / "sc.toml").write_text(SETTINGS)
        (path / "never-list").write_text("@special\n")
        (path / "resolv.conf").write_text("nameserver 127.0.0.1\noptions timeout:2 attempts:3\n")

    def argv(self, *words: object) -> list[str]:
        return [sys.executable, "-P", "-m", "spamcannibal", "-c", str(self.path / "sc.toml"), *map(str, words)]

    def start(self) -> None:
        log = (self.path / "log").open("wb")
        self.up = self.mx.start(*self.argv("up"), stdout=log, stderr=log, env=environment())
        log.close()
        wait_for(lambda: "UP services" in (self.path / "log").read_text(), "our services are up", 60)

    def stop(self) -> None:
        self.up.terminate()
        assert self.up.wait(60) == 0

    def say(self, line: str) -> str:
        """What the listener answers to a line."""
        with self.mx.entered():
            return say((bytes((127, 0, 0, 1)), 10044), line)

    def status(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.say("status"))
        return found

    def session(self, client: str, *recipients: str, port: int = 25) -> list[tuple[int, str]]:
        """The answers to recipients, or to the connection if that is refused."""
        server = MX6 if ":" in client else MX4
        try:
            with self.clients.entered(), smtplib.SMTP(server, port, timeout=30, source_address=(client, 0)) as session:
                session.ehlo("client.example")
                session.mail("a@client.example")
                return [(code, text.decode()) for code, text in map(session.rcpt, recipients)]
        except smtplib.SMTPConnectError as error:
            text = error.smtp_error
            return [(error.smtp_code, text.decode() if isinstance(text, bytes) else text)]

    def is_up(self) -> bool:
        try:
            return bool(self.session(CLIENTS["clean"][0], "good@example.net"))
        except (OSError, smtplib.SMTPException):
            return False

    def await_zone(self, client: str) -> None:
        """Wait until the DNS server and the listener say that a client is listed."""
        name = f"{reversed_name(parse_addr(client))}.bl.example.org"

        def is_listed() -> bool:
            answer = self.mx.run("dig", "+short", "+tries=1", "+time=2", "@127.0.0.1", name, check=False).stdout
            return answer.strip() == "127.0.0.2" and self.say(f"query {client}").startswith("black ")

        wait_for(is_listed, f"{client} is listed", 30)

    def run_exim(self) -> Exim:
        main, _, acl = (ROOT / "conf/exim/gather.conf").read_text().partition("# --- begin acl ---")
        exim = Exim(self.path, EXIM.format(main=main, acl=acl), {"resolv.conf": self.path / "resolv.conf"})
        process = exim.start(self.mx)
        wait_for(lambda: self.is_up() or process.poll() is not None, "exim answers", 60)
        assert process.poll() is None, exim.said()
        return exim

    def run_postfix(self, services: str = "") -> Path:
        """Start Postfix, perhaps with more services; its configuration's directory, by which it is aborted."""
        config = self.path / "postfix"
        sample = (ROOT / "conf/postfix/gather.cf").read_text().replace("/etc/postfix", str(config))
        more = "".join(
            f"{port} inet n - n - - smtpd -o smtpd_client_restrictions=${name}\n"
            for port, name in ((BY_SOCKETMAP, "by_socketmap"), (BY_DNS, "by_dns"))
        )
        postfix_at(config, POSTFIX.format(gather=sample), more + services)
        (config / "traps").write_text("trap@example.net trap\n")
        start = within("postfix", "-c", config, "start-fg", files={"resolv.conf": self.path / "resolv.conf"})
        self.mx.start(*start, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        return config


@pytest.fixture
def circle() -> Iterator[Circle]:
    # Not pytest's directory: every session takes the rights of others from it, and mail servers are others.
    with TemporaryDirectory(prefix="sc-gather-") as place, Lab("gat") as lab:
        path = Path(place)
        path.chmod(0o755)
        mx, clients = lab.host("mx"), lab.host("clients")
        for n, (v4, v6) in enumerate(CLIENTS.values()):
            lab.link(mx, clients, f"192.0.2.{254 - n}/24", f"{v4}/24")
            lab.link(mx, clients, f"{MX6 if n == 0 else v6 + '00'}/64", f"{v6}/64")
        for v6 in (v6 for _, v6 in list(CLIENTS.values())[1:]):  # all of them know the one address of the exchanger
            clients.ip("-6", "route", "replace", f"{MX6}/128", "via", f"{v6}00")
        made = Circle(mx, clients, path)
        made.start()
        yield made


def test_exim_reports_and_refuses_by_dns_and_a_listener_that_is_down_or_hangs_costs_no_mail(circle: Circle) -> None:
    exim = circle.run_exim()
    for i, client in enumerate(CLIENTS["first"], 1):
        answers = circle.session(client, "nobody@example.net", "none@example.net", "good@example.net")
        assert [code for code, _ in answers] == [550, 550, 250], answers
        assert circle.say(f"explain {client}") == "none; reports: none"  # may be mistyped
        answers = circle.session(client, *(f"{i}@example.net" for i in range(5)), "good@example.net")
        assert [code for code, _ in answers] == [550] * 5 + [250], answers
        circle.await_zone(client)
        assert circle.status()["reporters"][0]["black"] == i  # once a session
        (answer,) = circle.session(client, "good@example.net")
        assert answer == (550, f"{client} is listed: unknown recipients")
        asked = f"${{readsocket{{inet:127.0.0.1:10044}}{{query {client}\\n}}{{3s}}{{}}{{down}}}}"
        assert circle.mx.run(*exim.argv("-be", asked)).stdout.strip() == "black unknown recipients"
    for client in CLIENTS["clean"]:
        assert circle.session(client, "good@example.net")[0][0] == 250
    # The reporter says that the first one is good after all: white wins.
    for client in CLIENTS["first"]:
        assert circle.say(f"white {client}") == "ok white"
        wait_for(lambda client=client: circle.session(client, "good@example.net")[0][0] == 250, "it is let in again")
    circle.stop()
    for client in CLIENTS["second"]:  # nobody listens: nothing is lost, nothing waits
        answers = circle.session(client, *(f"{i}@example.net" for i in range(3)), "good@example.net")
        assert [code for code, _ in answers] == [550] * 3 + [250]
    with circle.mx.entered():
        hung = socket.create_server(("127.0.0.1", 10044))
    with hung:  # it takes connections and never answers: Exim's own time-out, then the same
        answers = circle.session(CLIENTS["clean"][0], *(f"{i}@example.net" for i in range(4)), "good@example.net")
        assert [code for code, _ in answers] == [550] * 4 + [250]


def test_postfix_reports_traps_and_refuses_by_policy_socketmap_and_dns(circle: Circle) -> None:
    config = circle.run_postfix()
    try:
        wait_for(circle.is_up, "postfix answers", 60)
        for client in CLIENTS["first"]:
            for port in (BY_POLICY, BY_SOCKETMAP):  # by DNS, Postfix would remember it
                assert circle.session(client, "good@example.net", port=port)[0][0] == 250, port
            code, text = circle.session(client, "trap@example.net")[0]
            assert code == 554 and "Recipient address rejected" in text
            circle.await_zone(client)
            for port, word in (
                (BY_POLICY, "wrote to a trap"),
                (BY_SOCKETMAP, "wrote to a trap"),
                (BY_DNS, "bl.example.org"),
            ):
                code, text = circle.session(client, "good@example.net", port=port)[0]
                assert code == 554 and word in text, (port, code, text)
        for client in CLIENTS["clean"]:
            for port in (BY_POLICY, BY_SOCKETMAP, BY_DNS):
                assert circle.session(client, "good@example.net", port=port)[0][0] == 250
        told = circle.status()
        assert told["events_total"]["policy"] >= 8 and told["events_total"]["lookups"] >= 6
        circle.stop()
        for client in CLIENTS["first"]:  # nobody listens: mail goes on
            assert circle.session(client, "good@example.net")[0][0] == 250
        mails = (config / "mail.log").read_text()
        assert re.search("warning: .*127.0.0.1:10044", mails)
    finally:
        circle.mx.run("postfix", "-c", config, "abort", check=False)
