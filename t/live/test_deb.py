"""The Debian package: built, looked at by lintian, installed on a fresh Debian that boots, upgraded, removed, purged.

The tests stand in the order of a package's life and share one machine.
"""

from __future__ import annotations

import gzip
import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from live.machine import Machine, lacking
from live.nets import ROOT, wait_for

pytestmark = pytest.mark.timeout(1500)  # the first of them waits for the package and the machine to be built

DAEMONS = ("tarpit", "dnsbl", "gather", "follow", "trap", "robot", "share", "web", "export@list")
JOBS = ("blcheck", "blpreen", "cleanup", "drift@list", "report")
SETTINGS = """\
[[dnsbl.zone]]
name = "bl.example.net"
[dnsbl]
listen = ["127.0.0.1:53"]
[[gather.reporter]]
name = "local"
addresses = ["127.0.0.0/8"]
[trap]
listen = ["127.0.0.1:25"]
recipients = ["trap@example.net"]
answer = "accept"
[jobs]
block_list = "block-list"
[activity]
sender = "robot@mx.example.net"
recipients = ["trap@example.net"]
[follow]
files = ["/var/log/mail.log"]
[robot]
smtp = "127.0.0.1:25"
[[share.peer]]
name = "site2"
server = "127.0.0.1:10044"
"""
ROBOT = '[robot]\naddress = "robot@mx.example.net"\nkey = "{key}"\n'
EXPORT = 'FOLLOW="{0}"\nCHECK="{0}"\n'
# Of a program that was refused what it needs.
BROKEN = re.compile(r"Traceback|Errno 1\b|not permitted|denied|SIGSYS", re.IGNORECASE)


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    missing = lacking() or next((f"needs {tool}" for tool in ("dh", "lintian") if not shutil.which(tool)), None)
    if missing:
        pytest.skip(missing)
    with Machine(tmp_path_factory.mktemp("machine")) as made:
        yield made


@pytest.fixture(scope="module")
def package(machine: Machine) -> Path:
    """Build it while the machine is made, from the sources of this checkout."""
    folder = machine.root.parent
    env = {**os.environ, "DEBFULLNAME": "Packager", "DEBEMAIL": "packager@mx.example.net"}
    argv = [ROOT / "bin/build-deb", "--quick", "--output", folder]
    done = subprocess.run(argv, env=env, capture_output=True, text=True, timeout=800, check=False)
    assert done.returncode == 0, done.stderr
    return Path(done.stdout.strip())


@pytest.fixture(scope="module")
def lintian(package: Path) -> Iterator[subprocess.Popen[str]]:
    # Left out is what takes half the time and knows no errors.
    slow = "languages/javascript/embedded,binaries/spelling"
    argv = ["lintian", "--allow-root", "--fail-on", "error", "--dont-check-part", slow, package]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        yield process


@pytest.fixture(scope="module")
def booted(machine: Machine, package: Path, lintian: object) -> Machine:
    machine.install(package)
    machine.boot()
    return machine


def states(machine: Machine) -> dict[str, str]:
    """Our units that are loaded, with what they do."""
    shown = machine.run("systemctl", "list-units", "spamcannibal*", "--all", "--plain", "--no-legend").stdout
    return {line.split()[0]: line.split()[2] for line in shown.splitlines()}


def rules(machine: Machine) -> str:
    return machine.run("sh", "-c", "iptables-save; ip6tables-save").stdout


def test_its_version_is_that_of_the_program(package: Path) -> None:
    (version,) = re.findall(r'^    version="(.*)",$', (ROOT / "setup.py").read_text(), re.MULTILINE)
    fields = ("dpkg-deb", "--field", package, "Version", "Depends")
    shown = subprocess.run(fields, capture_output=True, text=True, check=True).stdout
    made, needed = re.findall(r"^(?:Version|Depends): (.*)$", shown, re.MULTILINE)
    assert made.replace("~", ".") == version or made == version
    # What the compiled parts were linked to, found by dpkg's tools.
    assert {"libdb5.3", "libnetfilter-queue1"} <= set(re.findall(r"[a-z0-9.+-]+", needed))


def test_nothing_is_enabled_or_started_by_installing(booted: Machine) -> None:
    shown = booted.run("systemctl", "list-unit-files", "spamcannibal*", "--no-legend").stdout
    units = dict(line.split()[:2] for line in shown.splitlines())
    assert {f"spamcannibal-{name.partition('@')[0]}" for name in (*DAEMONS, *JOBS)} <= {
        re.split(r"[@.]", unit)[0] for unit in units
    }
    assert set(units.values()) <= {"disabled", "static"}
    assert not states(booted)
    assert "NFQUEUE" not in rules(booted)
    cron = booted.run("cat", "/etc/cron.d/spamcannibal").stdout
    assert not re.search(r"^[*0-9]", cron, re.MULTILINE)


def test_the_command_works_at_once(booted: Machine) -> None:
    assert "Refuse mail" in booted.run("spamcannibal", "--help").stdout
    assert booted.run("spamcannibal", "config", "check").stdout == "ok\n"
    found = json.loads(booted.run("spamcannibal", "doctor", "--json", check=False).stdout)
    assert found
    assert all(one["cure"] for one in found if one["state"] == "bad")
    for name in ("dbtarpit", "dnsbls", "sc_BLcheck", "sc_BLpreen", "sc_cleanup", "sc_mailfilter"):
        booted.run(name, "--help")


def test_its_libraries_are_its_own(booted: Machine) -> None:
    program = "import sys, spamcannibal._core, click, msgspec, matplotlib, scapy; print(*sys.path, sep='\\n')"
    paths = booted.run("/usr/lib/spamcannibal/bin/python3", "-I", "-c", program).stdout
    assert "/usr/lib/spamcannibal/lib/python3" in paths
    assert "dist-packages" not in paths


def test_users_and_folders_are_there(booted: Machine) -> None:
    shown = booted.run(
        *("stat", "-c", "%n %U %G %a", "/etc/spamcannibal"),
        *(f"/var/lib/spamcannibal{end}" for end in ("", "-robot", "-share", "-follow")),
    ).stdout
    assert shown.splitlines() == [
        "/etc/spamcannibal root spamcannibal 2750",
        "/var/lib/spamcannibal spamcannibal spamcannibal 750",
        "/var/lib/spamcannibal-robot spamcannibal spamcannibal 700",
        "/var/lib/spamcannibal-share spamcannibal spamcannibal 750",
        "/var/lib/spamcannibal-follow spamcannibal-follow spamcannibal-follow 750",
    ]
    users = json.loads(booted.run("spamcannibal", "config", "show", "--json").stdout)
    named = {section: told["user"] for section, told in users.items() if "user" in told}
    assert set(named) == {"tarpit", "dnsbl", "gather", "follow", "robot", "share", "trap", "web"}
    assert {section for section, user in named.items() if user == "spamcannibal"} == set(named) - {"follow"}
    assert named["follow"] == "spamcannibal-follow"


def test_web_servers_can_run_the_cgi_scripts(booted: Machine) -> None:
    for name in ("cannibal.cgi", "spam_report.cgi"):
        booted.run("test", "-x", f"/usr/share/spamcannibal/cgi-bin/{name}")
    text = (booted.root / "usr/share/spamcannibal/conf/web/lighttpd.conf").read_text()
    python = re.search(r'"\.cgi" => "([^"]+)"', text)
    assert python, text
    booted.run(python[1], "-c", "import spamcannibal.commands.web")


def test_completion_and_manual_are_those_of_the_program(booted: Machine) -> None:
    share = booted.root / "usr/share"
    for shell, place in (
        ("bash", "bash-completion/completions/spamcannibal"),
        ("zsh", "zsh/vendor-completions/_spamcannibal"),
        ("fish", "fish/vendor_completions.d/spamcannibal.fish"),
    ):
        assert (share / place).read_text() == booted.run("spamcannibal", "completion", shell).stdout
    booted.run("spamcannibal", "man", "--all", "/root/man8")
    made = {path.name: path.read_text("utf-8") for path in (booted.root / "root/man8").iterdir()}
    shipped = {path.stem: gzip.decompress(path.read_bytes()).decode() for path in (share / "man/man8").glob("*.gz")}
    for name, text in made.items():
        # What is one line is for another page, which dpkg's tools make a link; else the first line has the date.
        assert text.startswith(".so") or text.partition("\n")[2] == shipped[name].partition("\n")[2]
        assert (share / f"man/man8/{name}.gz").exists()


def test_systemd_has_nothing_to_say_of_the_units(booted: Machine) -> None:
    folder = booted.root / "lib/systemd/system"
    units = [f"/lib/systemd/system/{path.name}" for path in folder.glob("spamcannibal-*")]
    done = booted.run("systemd-analyze", "verify", "--man=no", *units, check=False)
    assert not [line for line in done.stderr.splitlines() if "spamcannibal" in line]


@pytest.fixture(scope="module")
def serving(booted: Machine) -> Machine:
    """The machine with settings for every service, and all of them started."""
    conf = booted.root / "etc/spamcannibal"
    (conf / "conf.d/lab.toml").write_text(SETTINGS)
    (conf / "block-list").write_text("203.0.115.0/24\n")
    key = booted.run("spamcannibal", "robot", "key", "new", "Robot <robot@mx.example.net>")
    (fingerprint,) = set(re.findall(r"\b[0-9A-F]{40}\b", key.stdout + key.stderr))
    text = SETTINGS.replace("[robot]\n", ROBOT.format(key=fingerprint))
    (conf / "conf.d/lab.toml").write_text(text)
    (conf / "export/list").write_text(EXPORT.format("combined --zone bl.example.net -o /var/lib/rbldns/bl"))
    booted.run("sh", "-c", "install -m 640 -g adm /dev/null /var/log/mail.log")
    booted.run("mkdir", "-p", "/var/lib/rbldns", "/var/lib/prometheus/node-exporter")
    assert booted.run("spamcannibal", "config", "check").stdout == "ok\n"
    booted.run("systemctl", "enable", "spamcannibal-tarpit", "spamcannibal-cleanup.timer")
    booted.run("systemctl", "start", *(f"spamcannibal-{name}" for name in DAEMONS), check=False)
    return booted


def journal(machine: Machine, unit: str) -> str:
    return machine.run("journalctl", "--no-pager", "--output=cat", "--unit", unit).stdout


@pytest.mark.parametrize("name", DAEMONS)
def test_a_daemon_runs_under_its_restrictions(name: str, serving: Machine) -> None:
    unit = f"spamcannibal-{name}.service"
    assert states(serving)[unit] == "active", journal(serving, unit)
    serving.run("systemctl", "reload", unit)
    # systemctl does not wait for the daemon's READY=1 (systemd 252 lacks Type=notify-reload).
    wait_for(lambda: states(serving)[unit] != "reloading", f"{unit} has reloaded")
    assert states(serving)[unit] == "active", journal(serving, unit)
    pid = serving.run("systemctl", "show", "--value", "--property=MainPID", unit).stdout.strip()
    user = serving.run("stat", "-c", "%U", f"/proc/{pid}").stdout.strip()
    assert user == {"follow": "spamcannibal-follow", "export@list": "root"}.get(name, "spamcannibal")
    assert not BROKEN.search(journal(serving, unit)), journal(serving, unit)


def test_what_root_lists_is_held_answered_and_shown(serving: Machine) -> None:
    assert "NFQUEUE" in rules(serving)
    serving.run("spamcannibal", "list", "add", "203.0.114.7", "--text", "sent spam")
    found = serving.run("spamcannibal", "dnsbl", "query", "203.0.114.7", check=False).stdout
    assert "127.0.0.2" in found
    program = (
        "import urllib.request as r; print(r.urlopen('http://127.0.0.1:8025/lookup/203.0.114.7.json').read().decode())"
    )
    assert "sent spam" in serving.run("/usr/lib/spamcannibal/bin/python3", "-c", program).stdout
    owners = serving.run("sh", "-c", "find /var/lib/spamcannibal ! -user spamcannibal").stdout
    assert not owners


@pytest.mark.parametrize("name", JOBS)
def test_a_job_runs_under_its_restrictions(name: str, serving: Machine) -> None:
    unit = f"spamcannibal-{name}.service"
    serving.run("systemctl", "start", unit, check=False)
    shown = serving.run("systemctl", "show", "--property=Result", "--property=ExecMainStatus", unit).stdout
    assert "Result=success" in shown, journal(serving, unit)
    assert not BROKEN.search(journal(serving, unit)), journal(serving, unit)


def test_an_upgrade_goes_on_with_what_ran_and_keeps_what_was_written(serving: Machine, package: Path) -> None:
    never = serving.root / "etc/spamcannibal/never-list"
    never.write_text(never.read_text() + "203.0.113.0/24\n")
    serving.run("systemctl", "stop", "spamcannibal-trap")
    show = ("systemctl", "show", "--value", "--property=MainPID", "spamcannibal-tarpit")
    before = serving.run(*show).stdout
    serving.run("dpkg", "--install", f"/root/{package.name}")
    assert serving.run(*show).stdout not in (before, "0\n")
    running = {unit for unit, state in states(serving).items() if state == "active"}
    assert running == {f"spamcannibal-{name}.service" for name in DAEMONS if name != "trap"}
    assert never.read_text().endswith("203.0.113.0/24\n")
    assert "203.0.114.7" in serving.run("spamcannibal", "list", "find", "--text", "sent spam").stdout


def test_removing_leaves_no_rule_and_no_process_but_the_database(serving: Machine) -> None:
    serving.run("dpkg", "--remove", "spamcannibal")
    assert "NFQUEUE" not in rules(serving)
    assert "active" not in states(serving).values()
    assert not (serving.root / "usr/lib/spamcannibal").exists()
    assert (serving.root / "etc/spamcannibal/never-list").read_text().endswith("203.0.113.0/24\n")
    assert (serving.root / "var/lib/spamcannibal/tarpit").exists()


def test_purging_deletes_the_database_only_if_told_so(serving: Machine) -> None:
    folders = [serving.root / f"var/lib/spamcannibal{end}" for end in ("", "-robot", "-share", "-follow")]
    # As dpkg would call it, asked nothing: there is nobody to answer.
    said = serving.run("/var/lib/dpkg/info/spamcannibal.postrm", "purge").stderr
    assert "stays in /var/lib/spamcannibal" in said
    assert all(folder.exists() for folder in folders)
    serving.run("debconf-set-selections", text="spamcannibal spamcannibal/purge-data boolean true\n")
    serving.run("dpkg", "--purge", "spamcannibal")
    assert not any(folder.exists() for folder in folders)
    assert not (serving.root / "etc/spamcannibal/never-list").exists()
    assert not serving.run("find", "/etc/systemd", "/var/lib/systemd", "-name", "spamcannibal*").stdout


def test_lintian_finds_no_error(lintian: subprocess.Popen[str]) -> None:
    said = lintian.communicate(timeout=600)[0]
    assert lintian.returncode == 0, said
