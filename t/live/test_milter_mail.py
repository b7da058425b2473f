"""Real mail servers that have the gather listener as their milter: Postfix and Sendmail, by the samples of conf/."""

from __future__ import annotations

import re
import signal
import smtplib
import socket

from live.mailservers import unpack, within
from live.nets import ROOT, run, wait_for
from live.test_gather_mail import CLIENTS, MX4, MX6, Circle, circle

__all__ = ["circle"]  # a fixture, of the tests of other ways to ask

BY_MILTER, SENDMAIL = 28, 29
SENDMAIL_MC = """\
divert(0)dnl
include(`{cf}m4/cf.m4')dnl
OSTYPE(`linux')dnl
define(`ALIAS_FILE', `')dnl
define(`STATUS_FILE', `')dnl
define(`QUEUE_DIR', `{path}/queue')dnl
define(`confPID_FILE', `{path}/pid')dnl
define(`confSERVICE_SWITCH_FILE', `{path}/switch')dnl
define(`confDEF_USER_ID', `65534:65534')dnl
define(`confDOMAIN_NAME', `mx.example.net')dnl
define(`confDELIVERY_MODE', `queueonly')dnl
FEATURE(`nocanonify')dnl
FEATURE(`accept_unresolvable_domains')dnl
FEATURE(`no_default_msa')dnl
LOCAL_DOMAIN(`example.net')dnl
DAEMON_OPTIONS(`Name=V4, Family=inet, Addr={v4}, Port={port}')dnl
DAEMON_OPTIONS(`Name=V6, Family=inet6, Addr={v6}, Port={port}')dnl
{gather}
MAILER(`local')dnl
MAILER(`smtp')dnl
"""
SENDMAIL_PACKAGES = ("sendmail-bin", "sendmail-cf", "m4", "libsigsegv2", "libwrap0", "liblockfile1", "libnsl2")


def black_list_the_first(circle: Circle) -> None:
    for client in CLIENTS["first"]:
        assert circle.say(f"black {client} $ is 100% spam") == "ok black"
        circle.await_zone(client)


def code(circle: Circle, client: str, port: int) -> int:
    """The code for a recipient, or for the connection if that is refused."""
    ((found, _),) = circle.session(client, "root@example.net", port=port)
    return found


def refusals(circle: Circle, client: str, port: int) -> list[tuple[int, str]]:
    """What a client hears who goes on, whatever he hears: as greeting, to MAIL and to RCPT."""
    server = MX6 if ":" in client else MX4
    with circle.clients.entered(), smtplib.SMTP(timeout=30, source_address=(client, 0)) as session:
        heard = [session.connect(server, port)]
        session.ehlo("client.example")
        heard += [session.mail("a@client.example"), session.rcpt("root@example.net")]
        return [(code, text.decode()) for code, text in heard]


def deferred(heard: list[tuple[int, str]]) -> bool:
    """Greeted, since a greeting has no code for "later", and put off at MAIL."""
    return [code for code, _ in heard[:2]] == [220, 451]


def test_postfix_refuses_whom_its_milter_knows_and_goes_on_without_it(circle: Circle) -> None:
    sample = (ROOT / "conf/postfix/gather.cf").read_text()
    (line,) = re.findall("^#(smtpd_milters = .*)$", sample, re.MULTILINE)
    config = circle.run_postfix(f"{BY_MILTER} inet n - n - - smtpd\n -o smtpd_client_restrictions=\n -o {{ {line} }}\n")
    try:
        wait_for(circle.is_up, "postfix answers", 60)
        for client in CLIENTS["first"]:
            assert code(circle, client, BY_MILTER) == 250
        black_list_the_first(circle)
        for client in CLIENTS["first"]:
            greeting, mail, _ = refusals(circle, client, BY_MILTER)
            assert greeting[0] == 554 and mail == (550, f"5.7.1 {client} is 100% spam")
        for client in CLIENTS["clean"]:
            assert code(circle, client, BY_MILTER) == 250
        counts = circle.status()["events_total"]
        assert counts["milter"] == 6 and "malformed" not in counts
        settings = circle.path / "sc.toml"
        settings.write_text(settings.read_text().replace("[gather]\n", '[gather]\nmilter_act = "defer"\n'))
        circle.up.send_signal(signal.SIGHUP)
        for client in CLIENTS["first"]:
            wait_for(lambda client=client: deferred(refusals(circle, client, BY_MILTER)), f"{client} is put off")
        here = (CLIENTS["clean"][0], 0)
        with circle.clients.entered(), smtplib.SMTP(MX4, BY_MILTER, timeout=30, source_address=here) as session:
            session.ehlo("client.example")
            circle.stop()  # in the middle of a session that was let in
            assert [session.mail("a@client.example")[0], session.rcpt("root@example.net")[0]] == [250, 250]
        for client in CLIENTS["first"]:  # nobody listens: mail goes on
            assert code(circle, client, BY_MILTER) == 250
        with circle.mx.entered():
            hung = socket.create_server(("127.0.0.1", 10044))
        with hung:  # it takes connections and never answers: Postfix's own time-out, then the same
            assert code(circle, CLIENTS["first"][0], BY_MILTER) == 250
        log = (config / "mail.log").read_text()
        assert re.search(r"milter-reject: CONNECT from .*: 550 5\.7\.1 \S+ is 100% spam", log)
    finally:
        circle.mx.run("postfix", "-c", config, "abort", check=False)


def run_sendmail(circle: Circle) -> None:
    path = circle.path / "sendmail"
    (path / "queue").mkdir(parents=True)
    unpack("sendmail", SENDMAIL_PACKAGES, path)
    root = path / "root"
    libraries = next((root / "usr/lib").glob("*-linux-gnu"))
    binary = root / "usr/libexec/sendmail/sendmail"
    binary.chmod(0o755)  # with rights of a group it would take no libraries of ours
    cf = f"{root}/usr/share/sendmail/cf/"
    sample = (ROOT / "conf/sendmail/gather.mc").read_text()
    (path / "switch").write_text("hosts files\n")
    # It waits a minute for a host name with a dot, else.
    (path / "hosts").write_text(f"127.0.0.1 mx.example.net {socket.gethostname()}\n")
    (path / "mc").write_text(SENDMAIL_MC.format(cf=cf, path=path, v4=MX4, v6=MX6, port=SENDMAIL, gather=sample))
    env = ("env", f"LD_LIBRARY_PATH={libraries}")
    made = run(*env, root / "usr/bin/m4", f"-D_CF_DIR_={cf}", path / "mc")
    (path / "cf").write_text(made.stdout)
    command = within(*env, binary, "-bD", "-C", path / "cf", files={"hosts": path / "hosts"})
    with (path / "out").open("wb") as log:
        process = circle.mx.start(*command, stdout=log, stderr=log)

    def is_up() -> bool:
        assert process.poll() is None, (path / "out").read_text()
        try:
            return code(circle, CLIENTS["clean"][0], SENDMAIL) == 250
        except OSError:
            return False

    wait_for(is_up, "sendmail answers", 60)


def test_sendmail_refuses_whom_its_milter_knows_and_goes_on_without_it(circle: Circle) -> None:
    run_sendmail(circle)
    black_list_the_first(circle)
    for client in CLIENTS["first"]:
        answers = refusals(circle, client, SENDMAIL)
        assert [code for code, _ in answers] == [554, 550, 550]
        assert all(text.endswith("Command rejected") for _, text in answers[1:])  # it keeps no text of ours
    for client in CLIENTS["clean"]:
        assert code(circle, client, SENDMAIL) == 250
    counts = circle.status()["events_total"]
    assert counts["milter"] >= 5 and "malformed" not in counts
    circle.stop()
    for client in CLIENTS["first"]:
        assert code(circle, client, SENDMAIL) == 250
