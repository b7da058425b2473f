"""The command `received`: what it shows, its exit codes, and what is ours by the settings."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from spamcannibal.commands.main import cli
from spamcannibal.errors import SpamCannibalError, WireError

SPAM = (
    "Received: from x (unknown [192.0.2.7]) by mx.example.net with ESMTP id 1; Tue, 24 Nov 2026 14:01:35 +0000\n"
    "Received: from y (unknown [203.0.113.66]) by mx.example.net with ESMTP id 1; Tue, 24 Nov 2026 14:01:34 +0000\n"
    "Subject: x\n\nbody\n"
)


@pytest.fixture
def run(tmp_path: Path):
    (tmp_path / "lab.toml").write_text(
        '[robot]\nown_hosts = [".example.net", "198.51.100.0/28"]\nmessage_limit_bytes = 4096\n'
    )

    def call(message: str, *argv: str) -> Result:
        (tmp_path / "mail.eml").write_text(message)
        args = ["-c", str(tmp_path / "lab.toml"), "received", *argv, str(tmp_path / "mail.eml")]
        return CliRunner().invoke(cli, args, prog_name="spamcannibal")

    return call


def test_it_names_the_source_and_what_it_believed(run) -> None:
    done = run(SPAM)
    assert done.exit_code == 0
    assert "source: 192.0.2.7 (hop 1: " in done.stdout
    first, second = [line.split()[:4] for line in done.stdout.splitlines()[1:3]]
    assert (first, second) == (
        ["1", "yes", "192.0.2.7", "mx.example.net"],
        ["2", "no", "203.0.113.66", "mx.example.net"],
    )


def test_json_holds_all_of_it(run) -> None:
    done = run(SPAM, "--json")
    (found,) = json.loads(done.stdout)
    assert (found["source"], [hop["believed"] for hop in found["hops"]]) == ("192.0.2.7", [True, False])
    assert found["hops"][0]["raw"].startswith("from x (unknown")


def test_no_source_is_exit_code_1(run) -> None:
    done = run(SPAM.replace("mx.example.net", "mx.other.example"))
    assert done.exit_code == 1
    assert "source: none (hop 1: recorded by mx.other.example, which is not ours (robot.own_hosts))" in done.stdout


def test_more_of_ours_by_option(run) -> None:
    done = run(SPAM.replace("mx.example.net", "mx.other.example"), "--ours", ".other.example", "--ours", "192.0.2.0/28")
    assert "source: 203.0.113.66" in done.stdout


@pytest.mark.parametrize(
    "report",
    [
        "From: a\n\n" + "".join(f"> {line}\n" for line in SPAM.splitlines()),
        "From: a\n\n-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA512\n\n"
        + "".join(f"> {line}\n" for line in SPAM.splitlines())
        + "-----BEGIN PGP SIGNATURE-----\n\nxx\n-----END PGP SIGNATURE-----\n",
        "Content-Type: multipart/mixed; boundary=b\n\n--b\nContent-Type: message/rfc822\n\n" + SPAM + "\n--b--\n",
    ],
    ids=["quoted", "clearsigned", "attached"],
)
def test_inside_explains_the_messages_in_a_report(run, report: str) -> None:
    done = run(report, "--inside")
    assert (done.exit_code, "source: 192.0.2.7" in done.stdout) == (0, True)


@pytest.mark.parametrize(
    ("report", "wrong"),
    [
        ("Subject: x\n\nnothing\n", "no message in it"),
        ("a: b\n\n-----BEGIN PGP MESSAGE-----\n\nxx\n-----END PGP MESSAGE-----\n", "encrypted"),
        ("Subject: x\n\n" + "x" * 5000, "robot.message_limit_bytes"),
    ],
)
def test_what_can_not_be_explained_says_why(run, report: str, wrong: str) -> None:
    done = run(report, "--inside")
    assert isinstance(done.exception, WireError)
    assert wrong in str(done.exception)


def test_a_name_without_an_address_is_told_with_its_setting(run, tmp_path: Path) -> None:
    done = run(SPAM, "--ours", "no-such-host.invalid")
    assert isinstance(done.exception, SpamCannibalError)
    assert "robot.own_hosts" in str(done.exception)
    assert done.exception.exit_code == 75
