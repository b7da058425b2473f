"""Filters that report to the gather listener by the samples of conf/: Rspamd's metadata exporter, fail2ban's action."""

from __future__ import annotations

import configparser
import json
import os
import shutil
import subprocess
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from gather_kit import Gather, environment, gathering
from live.nets import ROOT, wait_for
from ports import free_port
from spamcannibal.addr import parse_key
from spamcannibal.record import EXCLUDED, PUBLISHED
from spamcannibal.store.stores import NewListing

SPAM, HAM = "bulk offer", "good morning"
MAIL = "From: <a@example.org>\r\nTo: <b@example.net>\r\nSubject: {}\r\nMessage-ID: <1@example.org>\r\n\r\nhello\r\n"
# The mail that every filter must reject (GTUBE) won't do: Rspamd exports nothing of it.
RULE = '{{ type = "header"; header = "subject"; regexp = true; map = "{path}/{name}"; score = {score}; }}'
# No network, and no thousands of patterns to compile, which takes half a minute.
OPTIONS = """\
dns {{ nameserver = ["127.0.0.1"]; timeout = 0.1s; retransmits = 1; }}
url_tld = "{path}/tld";
disable_hyperscan = true;
"""


@pytest.fixture
def gather(tmp_path: Path) -> Iterator[Gather]:
    with gathering(tmp_path) as made:
        yield made


@pytest.fixture
def rspamd(gather: Gather) -> Iterator[str]:
    """Rspamd with our sample in its local.d; where it scans."""
    if shutil.which("rspamd") is None:
        pytest.skip("needs rspamd")
    host, port = gather.endpoints[0]
    scan = free_port()
    with TemporaryDirectory(prefix="sc-rspamd-") as place:
        local = Path(place, "local.d")
        local.mkdir()
        sample = (ROOT / "conf/rspamd/metadata_exporter.conf").read_text()
        (local / "metadata_exporter.conf").write_text(sample.replace("127.0.0.1:10044", f"{host}:{port}"))
        (local / "logging.inc").write_text('type = "file";\nfilename = "' + place + '/log";\n')
        (local / "options.inc").write_text(OPTIONS.format(path=place))
        rules = (("BULK_OFFER", SPAM, 50), ("A_GREETING", HAM, -50))
        for name, subject, _ in rules:
            Path(place, name).write_text(f"/{subject}/\n")
        export(gather, Path(place, "spamcannibal.map"))
        told = [f"{name} {RULE.format(path=place, name=name, score=score)}\n" for name, _, score in rules]
        sample = (ROOT / "conf/rspamd/multimap.conf").read_text().replace("/var/lib/rspamd", place)
        (local / "multimap.conf").write_text("".join(told) + sample.replace("score = 15.0", "score = 100"))
        Path(place, "tld").write_text("com\norg\nnet\n")
        (local / "worker-normal.inc").write_text(f'bind_socket = "127.0.0.1:{scan}";\ncount = 1;\n')
        for worker in ("controller", "proxy", "fuzzy"):
            (local / f"worker-{worker}.inc").write_text("enabled = false;\n")
        variables = {"LOCAL_CONFDIR": place, "DBDIR": place, "RUNDIR": place, "LOGDIR": place}
        words = ["rspamd", "--insecure", "-f", *(f"--var={name}={value}" for name, value in variables.items())]
        process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            wait_for(lambda: is_up(f"http://127.0.0.1:{scan}") or process.poll() is not None, "rspamd answers", 60, 0.2)
            assert process.poll() is None, Path(place, "log").read_text()[-3000:]
            yield f"http://127.0.0.1:{scan}"
        finally:
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def export(gather: Gather, path: Path) -> None:
    """List a network with an exception, and a network of IPv6, and write what Rspamd looks up."""
    listed = (("203.0.113.0/24", PUBLISHED), ("203.0.113.9", PUBLISHED | EXCLUDED), ("2001:db8:9::/64", PUBLISHED))
    gather.store.list([NewListing(parse_key(text), flags=flags) for text, flags in listed], 1.0)
    subprocess.run([*gather.argv()[:-1], "export", "rspamd", "-o", path], check=True, timeout=60, env=environment())


def is_up(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/ping", timeout=5) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def scan(url: str, client: str, subject: str, **headers: str) -> str:
    """Have a mail scanned that came from a client; the action."""
    about = {"IP": client, "Helo": "mail.example.org", "From": "a@example.org", "Rcpt": "b@example.net", **headers}
    request = urllib.request.Request(f"{url}/checkv2", MAIL.format(subject).encode(), about)
    with urllib.request.urlopen(request, timeout=60) as answer:
        action: str = json.load(answer)["action"]
        return action


def test_rspamd_reports_whom_it_rejects(gather: Gather, rspamd: str) -> None:
    assert scan(rspamd, "198.51.100.8", SPAM, User="customer@example.net") == "reject"
    assert scan(rspamd, "198.51.100.9", HAM) == "no action"
    for client in ("198.51.100.7", "2001:db8:7::1"):
        assert scan(rspamd, client, SPAM) == "reject"
        gather.await_listing(client)
        assert gather.await_answer(client, "black BULK_OFFER")
    assert gather.listing("198.51.100.8") is None and gather.listing("198.51.100.9") is None


def test_rspamd_refuses_whom_our_export_lists(gather: Gather, rspamd: str) -> None:
    for client in ("203.0.113.7", "2001:db8:9::5"):
        assert scan(rspamd, client, HAM) == "reject"
    for client in ("203.0.113.9", "203.0.114.1", "2001:db8:8::5"):
        assert scan(rspamd, client, HAM) == "no action"


def test_fail2bans_action_reports(gather: Gather, tmp_path: Path) -> None:
    sample = configparser.RawConfigParser()
    sample.read(ROOT / "conf/fail2ban/spamcannibal.conf")
    command = sample["Definition"]["actionban"]
    host, port = gather.endpoints[0]
    tags = {**sample["Init"], "server": f"{host}:{port}", "reason": "postfix-sasl", "ip": "198.51.100.20"}
    for tag, value in tags.items():
        command = command.replace(f"<{tag}>", value)
    (tmp_path / "spamcannibal").write_text(f'#!/bin/sh\nexec {" ".join(gather.argv()[:-1])} "$@"\n')
    (tmp_path / "spamcannibal").chmod(0o755)
    path = f"{tmp_path}:{os.environ['PATH']}"
    subprocess.run(["sh", "-c", command], check=True, env={"PATH": path, "PYTHONPATH": str(ROOT / "lib")}, timeout=60)
    gather.await_listing("198.51.100.20")
    gather.await_answer("198.51.100.20", "black fail2ban: postfix-sasl")
