"""`spamcannibal report daily|weekly` as text, page, PDF and mail; other words are still sources for abuse contacts."""

import email
import email.policy
import json
import re
import shutil
import subprocess
import time

import pytest
from click.testing import CliRunner

from spamcannibal.activity.figures import DAY, Entry, Figures, Gauge, Hold, Lists, rank, start_of
from spamcannibal.addr import parse_addr
from spamcannibal.commands import main
from spamcannibal.store.activity import Activity
from spamcannibal.store.stores import NewListing
from storekit import open_store

A = parse_addr("192.0.2.7")
EVIL = "admin:</pre><script>alert(1)</script>$\\frac{1}{2}$\u202e"
SETTINGS = """\
[store]
path = "{path}/store"
[jobs]
country_db = ["{path}/none"]
[robot]
sendmail = "{path}/sendmail"
[activity]
sender = "robot@mx.example.net"
recipients = ["postmaster@example.net", "root@example.net"]
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A store with figures of yesterday and of a week ago, settings, and a sendmail that keeps what it gets."""
    path = tmp_path_factory.mktemp("report")
    (path / "spamcannibal.toml").write_text(SETTINGS.format(path=path))
    program = path / "sendmail"
    program.write_text(f'#!/bin/sh\necho "$@" >> {path}/argv\ncat > {path}/mail\n')
    program.chmod(0o755)
    store = open_store(path / "store")
    activity, now = Activity(store.env), time.time()
    midnight = start_of(DAY, now)
    for time_s, held in ((midnight - 3600, 5), (midnight - 3 * 86_400, 70), (midnight + 1, 1000)):
        hold = Hold(A, int(time_s * 1000) - 60_000, int(time_s * 1000), 9, 25)
        lists = Lists({"networks": rank({"192.0.2.0/24": held}), "ports": rank({"25": held})}, [hold])
        figures = Figures({"packets.held": held, "packets.passed": 2}, {"sources": Gauge(60, 60, 1)})
        activity.add([Entry(time_s, figures, lists)], now)
    store.list([NewListing(A, source=EVIL)], midnight - 100)
    store.close()
    return path


def run(folder, *words, code=0):
    done = CliRunner().invoke(main.cli, ["-c", str(folder / "spamcannibal.toml"), "report", *words])
    assert done.exit_code == code, (done.output, done.exception)
    return done


@pytest.mark.parametrize(("name", "held"), [("daily", 5), ("weekly", 75)])
def test_the_days_before_today_are_told_and_today_is_not(folder, name, held):
    document = json.loads(run(folder, name, "--json").stdout)
    assert {row["what"]: row["value"] for row in document["totals"]}["packets held busy"] == held
    assert document["networks"] == [{"network": "192.0.2.0/24", "packets": held, "share": 1.0}]
    assert document["until"][10:] == "T00:00:00Z"
    assert sum(row["held"] or 0 for row in document["packets"]) == held
    assert len(document["packets"]) == (24 if name == "daily" else 7)


def test_the_text_has_every_section_and_nothing_that_a_terminal_obeys(folder):
    text = run(folder, "daily").stdout
    for words in ("Held longest", "192.0.2.7", "1 min 0 s", "Remote lists", "All times are UTC", "\\u202e"):
        assert words in text
    assert all(char.isprintable() or char == "\n" for char in text)


def test_the_page_stands_alone(folder, tmp_path):
    run(folder, "weekly", "--html", str(tmp_path / "week.html"))
    page = (tmp_path / "week.html").read_text()
    assert page.startswith("<!doctype html>")
    assert page.count("<svg") == 10
    assert "<style>" in page
    assert "prefers-color-scheme" in page
    assert "<script" not in page
    assert "&lt;script&gt;" in page
    assert not re.search(r'(?:src|href)="', page)
    assert "&#34;Liberation" not in page  # the sheet is as it was
    assert run(folder, "weekly", "--html", "-").stdout.startswith("<!doctype html>")
    assert [path.name for path in tmp_path.iterdir()] == ["week.html"]


def test_the_pdf_has_drawings_and_the_numbers(folder, tmp_path):
    run(folder, "weekly", "--pdf", str(tmp_path / "week.pdf"))
    data = (tmp_path / "week.pdf").read_bytes()
    assert data.startswith(b"%PDF-")
    assert len(re.findall(rb"/Type /Page\b", data)) >= 3
    if shutil.which("pdftotext") is None:
        pytest.skip("needs pdftotext (Debian's poppler-utils)")
    text = subprocess.run(
        ["pdftotext", "-layout", tmp_path / "week.pdf", "-"], capture_output=True, text=True, check=True
    )
    for words in ("HELD LONGEST", "192.0.2.0/24", "100.0 %", "packets held busy", "weekly report"):
        assert words in text.stdout


def parts(mail):
    return {part.get_filename() or "": part for part in mail.walk() if not part.is_multipart()}


def test_a_dry_run_prints_the_mail_that_would_be_sent(folder):
    done = run(folder, "daily", "--mail", "--dry-run")
    mail = email.message_from_bytes(done.stdout_bytes, policy=email.policy.default)
    assert not (folder / "argv").exists()
    assert mail["To"] == "postmaster@example.net, root@example.net"
    assert mail["Auto-Submitted"] == "auto-generated"
    found = parts(mail)
    assert list(found) == ["", "daily.html"]
    assert "Held longest" in found[""].get_content()
    assert found["daily.html"].get_content().count("<svg") == 10


def test_the_mail_goes_out_with_page_and_pdf(folder, tmp_path):
    run(folder, "weekly", "--mail", "--pdf", str(tmp_path / "x.pdf"))
    argv = (folder / "argv").read_text().split()
    assert argv == ["-i", "-f", "robot@mx.example.net", "--", "postmaster@example.net", "root@example.net"]
    mail = email.message_from_bytes((folder / "mail").read_bytes(), policy=email.policy.default)
    found = parts(mail)
    assert list(found) == ["", "weekly.html", "weekly.pdf"]
    assert found["weekly.pdf"].get_content().startswith(b"%PDF-")
    assert max(map(len, (folder / "mail").read_bytes().splitlines())) < 998
    (folder / "argv").unlink()


def test_without_recipients_nothing_is_mailed(folder, tmp_path):
    (tmp_path / "spamcannibal.toml").write_text(f'[store]\npath = "{folder}/store"\n')
    done = CliRunner().invoke(main.cli, ["-c", str(tmp_path / "spamcannibal.toml"), "report", "daily", "--mail"])
    assert "activity.recipients" in str(done.exception)


def test_a_dry_run_without_mail_is_wrong_usage(folder):
    run(folder, "daily", "--dry-run", code=2)


@pytest.mark.parametrize(
    "words", [("192.0.2.7",), ("abuse", "192.0.2.7"), ("--show", "192.0.2.7"), ("--form", "xarf", "192.0.2.7")]
)
def test_other_words_are_sources_for_their_abuse_contacts(folder, words):
    done = CliRunner().invoke(main.cli, ["-c", str(folder / "spamcannibal.toml"), "report", *words])
    assert "complaint.sender" in str(done.exception)


def test_a_file_that_can_not_be_written_is_told(folder, tmp_path):
    done = CliRunner().invoke(
        main.cli, ["-c", str(folder / "spamcannibal.toml"), "report", "daily", "--html", str(tmp_path / "no" / "x")]
    )
    assert "No such file" in str(done.exception)
