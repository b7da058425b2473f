"""A place for the mail robot: settings, store, keys, and a mail program that keeps what it is given."""

import email
import email.policy
import subprocess
import sys
import time
from contextlib import closing

from click.testing import CliRunner

import robotkit
from spamcannibal.addr import format_key, parse_key
from spamcannibal.commands.main import cli
from spamcannibal.errors import SpamCannibalError
from spamcannibal.guard import parse_never_list
from spamcannibal.store.env import Env
from spamcannibal.store.stores import Store
from storekit import check_whole, listed

SETTINGS = """\
store.path = "db"
store.cache_bytes = "1MiB"
guard.own_names = []
[robot]
path = "{home}"
key = "{robot}"
address = "robot@mx.example.net"
own_hosts = [".example.net", "198.51.100.0/24"]
sendmail = "{sendmail}"
{extra}
[[robot.submitter]]
name = "alice"
fingerprint = "{alice}"
[[robot.submitter]]
name = "carol"
fingerprint = "{carol}"
roles = ["report", "command"]
[[robot.submitter]]
name = "the filter"
header = "X-Report: let me in"
"""
NEVER = "@special\n@private\n@resolvers\n@own\n198.51.100.0/24\n192.0.2.77\n"
SENDMAIL = '#!/bin/sh\necho "$@" >> "{path}/sent.args"\ncat > "{path}/sent.$$"\n'


def make_cast(people):
    """Who plays: the robot knows all but the stranger; alice may report, carol command, too, mallory nothing."""
    names = ("alice", "carol", "mallory", "stranger")
    made = {name: people.person(name) for name in names}
    made["robot"] = people.person("robot").decrypts().knows(made["alice"], made["carol"], made["mallory"])
    for name in names:
        made[name].knows(made["robot"])
    made["expired"] = people.person("expired", robotkit.PAST)
    revoked = people.person("revoked")
    made["report by revoked"] = revoked.report(robotkit.spam())
    revoked.revoke()
    made["robot"].knows(made["expired"], revoked)
    return made


class Site:
    """Settings, store and a mail program that keeps what it gets, below one directory."""

    def __init__(self, path, cast, extra=""):
        self.path = path
        self.home = path / "robot"
        self.home.mkdir(mode=0o700)
        (self.home / "gnupg").symlink_to(cast["robot"].home)
        self.sendmail = path / "sendmail"
        self.sendmail.write_text(SENDMAIL.format(path=path))
        self.sendmail.chmod(0o755)
        (path / "never-list").write_text(NEVER)
        self.write(cast, extra)
        with self.store() as store:
            store.transact(time.time(), lambda batch: None)

    def write(self, cast, extra=""):
        fingerprints = {name: cast[name].fingerprint for name in ("robot", "alice", "carol")}
        text = SETTINGS.format(home=self.home, sendmail=self.sendmail, extra=extra, **fingerprints)
        (self.path / "spamcannibal.toml").write_text(text)

    def store(self):
        never = parse_never_list(NEVER.replace("@own\n", ""), (), "never-list")
        return closing(Store(Env(self.path / "db", cache_bytes=1 << 20), never))

    def run(self, *words, data=b""):
        """The command in this process, which spares half a second."""
        argv = ["-c", str(self.path / "spamcannibal.toml"), *map(str, words)]
        done = CliRunner().invoke(cli, argv, input=data)
        assert done.exception is None or isinstance(done.exception, SystemExit | SpamCannibalError), done.exception
        return done

    def robot(self, raw, *words):
        return self.run("robot", *words, data=raw)

    def process(self, *words, data=b""):
        """The command as a process of its own."""
        argv = [sys.executable, "-P", "-m", "spamcannibal", "-c", self.path / "spamcannibal.toml", *words]
        return subprocess.run(argv, input=data, capture_output=True, check=False, timeout=120)

    def listed(self):
        with self.store() as store:
            check_whole(store)
            return {format_key(key) for key in listed(store)}

    def seq(self):
        with self.store() as store:
            return store.last_seq()

    def evidence(self, text):
        with self.store() as store:
            return store.evidence(parse_key(text))

    def kept(self, name):
        """What a folder keeps, the newest last."""
        found = sorted((self.home / name / "new").glob("*"), key=lambda path: path.stat().st_mtime_ns)
        return [path.read_bytes() for path in found]

    def answers(self):
        return [email.message_from_bytes(path.read_bytes(), policy=email.policy.default) for path in self.sent()]

    def sent(self):
        found = (path for path in self.path.glob("sent.*") if path.suffix != ".args")
        return sorted(found, key=lambda path: path.stat().st_mtime_ns)
