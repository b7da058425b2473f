"""Bench `robot`: signed reports from a Maildir in one process, against one process for each; and parsing alone.

    python t/bench/bench_robot.py [--quick]

Reports are PGP/MIME mails of about 20 kB by one submitter, each with a spam of a source of its own. Every measurement
has a store of its own, which is empty. The peer of the ratio is the robot as a pipe transport runs it: a process for
each message, with standard input; what it costs to start, to open the store and to close it is paid each time.

| ratio | this | peer |
|---|---|---|
| batch_vs_process | messages/s of `spamcannibal robot MAILDIR` | of `spamcannibal robot < MESSAGE` |

Figures: `batch_per_s` and `process_per_s`; `parsed_per_s`, reports read, their signed part found, the message in it
found and its hops read, without gpg, store or files; `redacted_per_s`, their public view made, too; `batch_rss_mb`,
the largest memory of the batch process, and `batch_rss_growth_mb`, how much more that is than for a tenth as many,
both with a database cache of 1 MiB, which counts as memory as it fills.
"""

import argparse
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import robotkit
from bench.common import Pairs, progress_line, report
from spamcannibal.robot.embedded import embedded
from spamcannibal.robot.message import read_entity
from spamcannibal.robot.pgpparts import Signed, find_pgp
from spamcannibal.robot.received import Ours, trace
from spamcannibal.robot.redact import redact

MESSAGE_BYTES = 20_000
OURS = Ours(names=frozenset({".example.net"}))
SETTINGS = """\
[store]
path = "{db}"
cache_bytes = "{cache}"
[guard]
never_list = "{base}/never-list"
max_per_net = 1000000
[robot]
path = "{base}/robot"
own_hosts = [".example.net"]
[[robot.submitter]]
name = "alice"
fingerprint = "{alice}"
"""


@dataclass(frozen=True)
class Size:
    """Rounds of pairs, messages of a batch, messages one by one, messages to parse."""

    rounds: int
    batch: int
    single: int
    parsed: int


FULL, QUICK = Size(5, 1000, 60, 2000), Size(5, 100, 6, 300)


def main() -> None:
    parser = argparse.ArgumentParser(description="the mail robot")
    parser.add_argument("--quick", action="store_true", help="fewer messages: under a minute")
    size = QUICK if parser.parse_args().quick else FULL
    pairs = Pairs()
    with tempfile.TemporaryDirectory(prefix="sc-bench-") as place, robotkit.People() as people:
        site = Site(Path(place), people)
        mails = site.make(size.batch)
        for turn in range(size.rounds):
            progress_line(f"round {turn + 1} of {size.rounds}")
            pairs.run("batch_vs_process", site.batch, lambda: site.one_by_one(mails[: size.single]), turn)
        progress_line("memory")
        growth_mb = site.rss_of(mails) - site.rss_of(mails[: size.batch // 10])
    speeds = pairs.medians()
    parsed, redacted = parse_speeds(mails, size.parsed)
    figures = {
        "batch_per_s": speeds["batch_vs_process_this"],
        "process_per_s": speeds["batch_vs_process_peer"],
        "parsed_per_s": parsed,
        "redacted_per_s": redacted,
        "batch_rss_mb": site.rss_mb,
        "batch_rss_growth_mb": growth_mb,
    }
    report("robot", pairs, figures)


class Site:
    """Keys, reports in a Maildir, and stores that are used once."""

    def __init__(self, base: Path, people: robotkit.People) -> None:
        self.base = base
        self.alice = people.person("alice")
        self.rss_mb = 0.0
        (base / "robot").mkdir(mode=0o700)
        (base / "robot/gnupg").symlink_to(people.person("robot").knows(self.alice).home)
        (base / "never-list").write_text("@special\n")

    def make(self, count: int) -> list[bytes]:
        """Write so many reports into the Maildir; return them."""
        mails = []
        for folder in ("new", "cur", "tmp"):
            (self.base / "reports" / folder).mkdir(parents=True)
        for number in range(count):
            if number % 50 == 0:
                progress_line(f"signing report {number} of {count}")
            source = f"2001:db8:{number:x}::9" if number > 255 else f"203.0.113.{number}"
            line = f"{number}: buy https://pills.example/{number}/offer?id={number:08x}, it is the best you can get\n"
            raw = self.alice.report(robotkit.spam(source, body=line * (MESSAGE_BYTES // len(line))))
            (self.base / "reports/new" / f"{number:06}").write_bytes(raw)
            mails.append(raw)
        return mails

    def batch(self) -> float:
        """Take the whole Maildir in one process; return messages a second."""
        count = len(list((self.base / "reports/new").iterdir()))
        with self.store() as settings:
            elapsed_s, self.rss_mb = run(settings, self.base / "reports")
        return count / elapsed_s

    def one_by_one(self, mails: Sequence[bytes]) -> float:
        """Take each message in a process of its own; return messages a second."""
        with self.store() as settings:
            began = time.perf_counter()
            for raw in mails:
                argv = [sys.executable, "-P", "-m", "spamcannibal", "-c", settings, "robot"]
                subprocess.run(argv, input=raw, check=True, stderr=subprocess.DEVNULL)
            return len(mails) / (time.perf_counter() - began)

    def rss_of(self, mails: Sequence[bytes]) -> float:
        """Return the largest memory of a batch of these."""
        box = self.base / "box"
        box.write_bytes(b"".join(b"From a\n" + raw + b"\n" for raw in mails))
        with self.store("1MiB") as settings:
            return run(settings, box)[1]

    @contextmanager
    def store(self, cache: str = "64MiB") -> Iterator[Path]:
        """Yield settings with a store that nobody used, and no originals."""
        with tempfile.TemporaryDirectory(dir=self.base) as db:
            settings = Path(db, "spamcannibal.toml")
            values = {"db": f"{db}/db", "cache": cache, "base": self.base, "alice": self.alice.fingerprint}
            settings.write_text(SETTINGS.format(**values))
            try:
                yield settings
            finally:
                for path in (self.base / "robot/originals/new").glob("*"):
                    path.unlink()


def run(settings: Path, reports: Path) -> tuple[float, float]:
    """Take a Maildir or mbox in one process, all must be listed; return seconds and its largest memory in MB."""
    began = time.perf_counter()
    argv = [sys.executable, "-P", "-m", "spamcannibal", "-c", settings, "robot", reports]
    process = subprocess.Popen(argv, stdout=subprocess.DEVNULL)
    peak_kb = 0
    while process.poll() is None:
        # Not getrusage: what it says of a child begins with what its parent had.
        with suppress(OSError):
            found = re.search(r"VmHWM:\s*(\d+) kB", Path(f"/proc/{process.pid}/status").read_text("ascii"))
            peak_kb = max(peak_kb, int(found[1])) if found else peak_kb
        time.sleep(0.01)
    if process.returncode:
        raise SystemExit(f"the robot refused some of its own reports: exit {process.returncode}")
    return time.perf_counter() - began, peak_kb / 1000


def parse_speeds(mails: Sequence[bytes], count: int) -> tuple[float, float]:
    """Return messages a second, parsed only, and with the public view: medians of five runs."""
    speeds: tuple[list[float], list[float]] = ([], [])
    for number in range(5):
        progress_line(f"parsing, {number + 1} of 5")
        for found, is_redacted in zip(speeds, (False, True), strict=True):
            began = time.perf_counter()
            for at in range(count):
                parse(mails[at % len(mails)], is_redacted)
            found.append(count / (time.perf_counter() - began))
    return median(speeds[0]), median(speeds[1])


def parse(raw: bytes, is_redacted: bool) -> None:
    """Do what the robot does to a report but for asking gpg."""
    protected = find_pgp(read_entity(raw))
    assert isinstance(protected, Signed)
    (message,) = embedded(read_entity(protected.content))
    assert trace(message.header_lines, OURS).source
    if is_redacted:
        redact(message.raw)


if __name__ == "__main__":
    main()
