"""What real Postfix and Exim log of accepted mail, as `spamcannibal replay --lists` counts it."""

from __future__ import annotations

import smtplib
from collections import Counter
from pathlib import Path

from live.mailservers import Exim, postfix_at
from live.nets import ROOT, wait_for
from live.test_received_servers import CLIENT, EXIM, MX, Site, open_path, site
from spamcannibal.addr import format_addr
from spamcannibal.gather.logfiles import LogFile
from spamcannibal.gather.mails import Mails, decode_mails

__all__ = ["open_path", "site"]  # fixtures
POSTFIX = "smtpd_recipient_restrictions = permit_auth_destination, reject\n"
SENDERS = ("a@client.example", "", '"b c"@client.example')


def talk(where: Site) -> Counter[str]:
    """Send messages, and sessions that come to nothing; give how many of each client were accepted."""
    taken: Counter[str] = Counter()
    for number, client in enumerate(CLIENT):
        for sender in SENDERS:
            taken[client] += bool(where.send(number, "client.example", sender, "root@example.net"))
        with where.client.entered(), smtplib.SMTP(MX[number], 25, timeout=20) as session:
            session.docmd("EHLO client.example")
            session.docmd("MAIL FROM:<a@client.example>")
            session.docmd("RCPT TO:<root@example.net>")  # taken, and then the client thinks better of it
        with where.client.entered(), smtplib.SMTP(MX[number], 25, timeout=20) as session:
            session.docmd("EHLO client.example")
            session.docmd("MAIL FROM:<a@client.example>")
            session.docmd("DATA")  # without a recipient
    assert all(taken[client] for client in CLIENT)
    return taken


def counted(log: Path) -> Counter[str]:
    problems: list[str] = []
    mails = Mails(decode_mails((ROOT / "conf/log-mails.toml").read_text(), "log-mails.toml", problems))
    assert not problems
    return Counter(format_addr(mail.addr) for block in LogFile(str(log)) for mail in mails.look(block))


def test_postfix_accepts_what_is_counted(site: Site, open_path: Path) -> None:
    config = postfix_at(open_path / "postfix", POSTFIX, whole=True)
    site.mx.run("postfix", "-c", config, "start")
    try:
        wait_for(site.is_up, "Postfix answers", 30)
        taken = talk(site)
        wait_for(lambda: counted(config / "mail.log") == taken, f"{taken} in the log", 20)
    finally:
        site.mx.run("postfix", "-c", config, "abort", check=False)


def test_exim_accepts_what_is_counted_but_for_quoted_senders(site: Site, open_path: Path) -> None:
    exim = Exim(open_path, EXIM)
    process = exim.start(site.mx)
    wait_for(lambda: site.is_up() or process.poll() is not None, "Exim answers", 30)
    assert process.poll() is None, exim.said()
    taken = talk(site)
    (log,) = exim.home.rglob("*main*log*")
    wait_for(lambda: counted(log) == Counter(dict.fromkeys(CLIENT, 2)), f"{taken} in {log.read_text()}", 20)
