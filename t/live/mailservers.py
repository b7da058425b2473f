"""Postfix and Exim for tests, each with everything in one directory, in a namespace of the test.

    config = postfix_at(path / "postfix", "smtpd_client_restrictions = ...\\n")
    host.start("postfix", "-c", config, "start-fg")              ended by `postfix -c CONFIG abort`

    exim = Exim(path, "acl_smtp_rcpt = ...\\n...")                  the package is unpacked where it is not installed
    process = exim.start(host)

The directory must be open to the mail servers' own users, which pytest's is not. `within` runs a command that sees some
files of /etc as ours.
"""

from __future__ import annotations

import fcntl
import grp
import pwd
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from live.nets import ROOT, Host, run

POSTFIX_MAIN = """\
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
smtpd_peername_lookup = no
"""
POSTFIX_MASTER = """\
25        inet  n  -  n  -   -  smtpd
pickup    unix  n  -  n  1   1  pickup
cleanup   unix  n  -  n  -   0  cleanup
qmgr      unix  n  -  n  300 1  qmgr
rewrite   unix  -  -  n  -   -  trivial-rewrite
proxymap  unix  -  -  n  -   -  proxymap
anvil     unix  -  -  n  -   1  anvil
postlog   unix-dgram n -  n  -   1  postlogd
"""
EXIM_MAIN = """\
primary_hostname = mx.example.net
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
queue_only = true
"""


def postfix_at(config: Path, main: str, services: str = "", whole: bool = False) -> Path:
    """Make Postfix's directory: main.cf with these lines behind ours, master.cf with these services.

    `whole`: with what /etc/postfix holds beside, which `postfix start` and sendmail(1) look for.
    """
    if shutil.which("postfix") is None:
        pytest.skip("needs postfix")
    if whole:
        shutil.copytree("/etc/postfix", config, symlinks=True)
    for folder in (config, config / "queue", config / "data"):
        folder.mkdir(exist_ok=True)
        folder.chmod(0o755)
    shutil.chown(config / "data", pwd.getpwnam("postfix").pw_uid, grp.getgrnam("postfix").gr_gid)
    (config / "main.cf").write_text(POSTFIX_MAIN.format(path=config) + main)
    (config / "master.cf").write_text(POSTFIX_MASTER + services)
    return config


class Exim:
    """An Exim with its home in a directory; `home` has its spool."""

    def __init__(self, path: Path, settings: str, files: Mapping[str, Path] | None = None) -> None:
        """`settings` follow ours, ACLs included; `files` are those of /etc that it is to see."""
        self.path, self.home = path, path / "exim-home"
        found = shutil.which("exim4")
        self.binary, self.libraries = (Path(found), Path("/nowhere")) if found else unpacked_exim(path)
        self._files = dict(files or {})
        for name, entry in (("passwd", "Debian-exim:x:64999:64999::/:/bin/false"), ("group", "Debian-exim:x:64999:")):
            text = Path("/etc", name).read_text()
            self._files[name] = path / name
            self._files[name].write_text(text if "Debian-exim" in text else text + entry + "\n")
        for folder in (self.home, self.home / "spool"):
            folder.mkdir()
            folder.chmod(0o777)
        (path / "exim.conf").write_text(EXIM_MAIN.format(path=self.home) + settings)

    def argv(self, *words: object) -> list[str]:
        """The command line of Exim with our configuration."""
        environment = f"LD_LIBRARY_PATH={self.libraries}"
        command = ("env", environment, self.binary, "-C", self.path / "exim.conf", *words)
        return within(*command, files=self._files)

    def start(self, host: Host) -> subprocess.Popen[Any]:
        """Start the daemon; what it prints is in `said`."""
        with (self.path / "exim.out").open("wb") as log:
            return host.start(*self.argv("-bdf"), stdout=log, stderr=log)

    def said(self) -> str:
        return (self.path / "exim.out").read_text()


def within(*argv: object, files: Mapping[str, Path]) -> list[str]:
    """A command line that sees some files of /etc as ours."""
    mounts = " && ".join(f"mount --bind {path} /etc/{name}" for name, path in files.items())
    return ["unshare", "--mount", "sh", "-c", f'{mounts} && exec "$@"', "sh", *map(str, argv)]


def unpacked_exim(path: Path) -> tuple[Path, Path]:
    """Unpack Exim's package, which can't be installed beside Postfix: the binary, and its libraries."""
    unpack("exim4", ("exim4-daemon-light",), path, and_maybe=("libidn12",))
    return path / "root/usr/sbin/exim4", next((path / "root/usr/lib").glob("*-linux-gnu"))


def unpack(kept: str, packages: Sequence[str], path: Path, and_maybe: Sequence[str] = ()) -> None:
    """Unpack Debian packages below `path`/root; they are fetched once and kept in build/`kept`. Skip if they can't be.

    Without `and_maybe`, which the archive may no longer have by these names, it goes on.
    """
    store = ROOT / "build" / kept
    store.mkdir(parents=True, exist_ok=True)
    with (store / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # several tests want them at once
        for package in (*packages, *and_maybe):
            if list(store.glob(f"{package}_*.deb")):
                continue
            got = run("sh", "-c", f"cd {path} && apt-get -q download {package}", check=False, timeout=120)
            if got.returncode and package in packages:
                pytest.skip(f"needs to download the package {package}: {got.stderr.strip().splitlines()[-1]}")
        for file in path.glob("*.deb"):
            shutil.move(file, store / file.name)
    for file in store.glob("*.deb"):
        run("dpkg", "-x", file, path / "root")
