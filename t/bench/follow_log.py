"""A mail log for the bench of `follow`: mostly ordinary lines of Postfix, a tenth of them signs; and how it is read."""

import random
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from spamcannibal.gather.follower import LogFollower, Manner
from spamcannibal.gather.line import Report
from spamcannibal.gather.signs import Signs, decode_signs

SIGNS = Path(__file__).parents[2] / "conf" / "log-signs.toml"
ORDINARY = (
    "postfix/smtpd[812]: connect from mail{n}.example.net[198.51.100.{d}]",
    "postfix/qmgr[9]: 4A0B1C2D{n:04x}: from=<user{n}@example.net>, size={n}00, nrcpt=1 (queue active)",
    "postfix/smtp[9]: 4A0B1C2D{n:04x}: to=<u{n}@example.org>, relay=mx.example.org[203.0.113.5]:25, delay=0.5,"
    " delays=0.1/0/0.2/0.2, dsn=2.0.0, status=sent (250 2.0.0 Ok: queued as 4A0B1C2D{n:04x})",
)
UNKNOWN = (
    "postfix/smtpd[9]: NOQUEUE: reject: RCPT from unknown[{addr}]: 550 5.1.1 <x{n}@mx.test>: Recipient address"
    " rejected: User unknown in local recipient table; from=<a@b.test> to=<x{n}@mx.test> proto=ESMTP helo=<b>"
)
PREGREET = r"postfix/postscreen[8]: PREGREET 14 after 0.1 from [{addr}]:5{d}: EHLO x\r\n"


def write_log(path: Path, lines: int) -> None:
    """Write so many lines, the same in every run but for the time."""
    rng, stamp = random.Random(1), datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f+00:00")
    ordinary = [f"{stamp} mx {form.format(n=n, d=n % 256)}\n" for form in ORDINARY for n in range(1000)]
    with path.open("w") as file:
        for n in range(lines):
            kind = rng.random()
            if kind < 0.9:
                file.write(rng.choice(ordinary))
                continue
            addr = f"9.{rng.randrange(256)}.{rng.randrange(64)}.{rng.randrange(4)}"
            form = UNKNOWN if kind < 0.98 else PREGREET
            file.write(f"{stamp} mx {form.format(addr=addr, n=n, d=n % 100)}\n")


class Nobody:
    """Takes reports."""

    def bring(self, reports: Sequence[Report]) -> list[str]:
        return ["ok"] * len(reports)

    def emit(self, verb: str, /, **fields: object) -> None: ...


def follow_per_s(path: Path) -> float:
    """Follow the log from its beginning to its end; the lines a second."""
    problems: list[str] = []
    signs = Signs(decode_signs(SIGNS.read_text("utf-8"), str(SIGNS), problems))
    follower = LogFollower([path], signs, Nobody(), Manner(from_start=True, grace_s=0), Nobody())
    began = time.perf_counter()
    while follower.turn():
        pass
    seconds = time.perf_counter() - began
    if problems or not follower.counts["reported"]:
        raise SystemExit(f"follow: nothing found in {path}: {problems}")
    return follower.counts["lines"] / seconds


def read_per_s(path: Path) -> float:
    """Read the log line by line, and do nothing with it."""
    began = time.perf_counter()
    with path.open("rb") as file:
        lines = sum(1 for _ in file)
    return lines / (time.perf_counter() - began)
