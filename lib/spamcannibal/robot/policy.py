"""Who may report or command: the proofs that a message carries in, the submitter whom they name out. Pure.

| proof | is | may |
|---|---|---|
| fingerprint | of the primary key of one good OpenPGP signature, see status.py | report, command |
| DKIM | a signature of the sender's domain over the whole body and From, see dkimcheck.py | report |
| header | a line that our own mail server adds, and takes out of what comes from outside | report |

The first submitter that a proof fits is the one. An OpenPGP signature stands above the others: one that is bad or
unknown refuses the message, whatever else it carries. Without any submitter everything is refused.
"""

import hmac
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from spamcannibal.errors import WireError

REPORT, COMMAND = "report", "command"


@dataclass(frozen=True, slots=True)
class Submitter:
    """Who may, by exactly one of fingerprint (upper case), dkim (a domain or an address) and header ("Name: value").

    `address` is where answers go: to a signer whose address is not given, to that of the key.
    """

    name: str
    fingerprint: str = ""
    dkim: str = ""
    header: str = ""
    roles: frozenset[str] = frozenset({REPORT})
    address: str = ""

    @property
    def source(self) -> str:
        """How the journal names it."""
        return f"robot:{self.fingerprint or self.dkim or self.name}"


@dataclass(frozen=True, slots=True)
class Verified:
    """A DKIM signature that holds: its domain, the address of From, the time it was made, the hash of the body."""

    domain: str
    sender: str
    time_s: int
    body_hash: bytes


def by_fingerprint(fingerprint: str, submitters: Iterable[Submitter]) -> Submitter:
    """Return the submitter with this key; WireError if nobody has it."""
    for each in submitters:
        if each.fingerprint and each.fingerprint == fingerprint:
            return each
    raise WireError(f"signed by {fingerprint}, which may not report: not among robot.submitter")


def by_dkim(verified: Sequence[Verified], submitters: Iterable[Submitter]) -> tuple[Submitter, Verified] | None:
    """Return the submitter whose domain or address a signature vouches for, and that signature."""
    for each in submitters:
        wanted = each.dkim.lower()
        domain = wanted.rpartition("@")[2]
        for signature in verified:
            sender = signature.sender if "@" in wanted else signature.sender.rpartition("@")[2]
            if wanted and signature.domain == domain and sender == wanted:
                return each, signature
    return None


def by_header(headers: Iterable[tuple[str, str]], submitters: Iterable[Submitter]) -> Submitter | None:
    """Return the submitter whose header line stands among those of the message."""
    given = [(name.strip().lower(), value.strip().encode("utf-8", "surrogateescape")) for name, value in headers]
    for each in submitters:
        wanted, _, secret = each.header.partition(":")
        wanted_value = secret.strip().encode()
        if not wanted or not wanted_value:
            continue
        if any(name == wanted.lower() and hmac.compare_digest(value, wanted_value) for name, value in given):
            return each
    return None


def needs_role(submitter: Submitter, role: str) -> None:
    """Raise WireError unless the submitter has the role."""
    if role not in submitter.roles:
        roles = ", ".join(sorted(submitter.roles))
        raise WireError(f"{submitter.name} may not {role}: roles of robot.submitter are {roles}")


def check_time(signed_s: int, now: float, window_s: float, ahead_s: float) -> None:
    """Raise WireError unless the signature was made within the window before now; some clocks run ahead."""
    if signed_s > now + ahead_s:
        raise WireError(f"signed {signed_s - now:.0f} s in the future; see to the clocks")
    if signed_s < now - window_s:
        age_h, window_h = (now - signed_s) / 3600, window_s / 3600
        raise WireError(f"signed {age_h:.0f} h ago, want at most {window_h:g} h (robot.replay_window_s)")
