"""DKIM (RFC 6376) by dkimpy: which signatures of a message hold, as far as a report can rest on them.

A signature counts only if it covers the whole body (no l=), From, which must be there once, and those fields that say
how to read the body; if it is the sender's domain that signed, or one above it; and if it says when (t=). A key that
can't be had because of the DNS is Unavailable: unknown is not bad.
"""

import base64
import re
from collections import Counter
from collections.abc import Callable

import dkim
import dns.exception
import dns.name
import dns.resolver

from spamcannibal.errors import Unavailable
from spamcannibal.robot.message import Entity
from spamcannibal.robot.policy import Verified

SIGNATURES_LIMIT = 5
WAIT_S = 5
_DECISIVE = {b"from", b"content-type", b"content-transfer-encoding"}
_SENDER = re.compile(r'(?:[^<>@,;:"]*|"[^"<>]*" *)<([^\s<>@,;:"]+@[A-Za-z0-9.-]+)>|([^\s<>@,;:"]+@[A-Za-z0-9.-]+)')

Lookup = Callable[[bytes, float], bytes | None]


def sender_of(entity: Entity) -> str:
    """Return the one address of the one From field, lower case; "" if there is not exactly one."""
    fields = entity.headers_of("from")
    match = _SENDER.fullmatch(fields[0].strip()) if len(fields) == 1 else None
    return (match[1] or match[2]).lower() if match else ""


def look_up(name: bytes, timeout: float) -> bytes | None:
    """Return the text at a name, None if there is none; dkimpy's own look-up takes SERVFAIL for that, too."""
    text = name.decode("ascii", "replace")
    try:
        answer = dns.resolver.resolve(text, "TXT", lifetime=timeout, search=False)
    except (dns.resolver.NXDOMAIN, dns.resolver.NoAnswer, dns.name.LabelTooLong, dns.name.EmptyLabel):
        return None
    except dns.exception.DNSException as error:
        raise Unavailable(f"DKIM: can't look up {text}: {type(error).__name__}") from None
    return b"".join(next(iter(answer)).strings)


def verify(raw: bytes, sender: str, lookup: Lookup = look_up) -> list[Verified]:
    """Return the signatures that hold for a message from `sender`; Unavailable if a key could not be looked up."""
    failed: list[str] = []

    def look(name: bytes, timeout: float = WAIT_S) -> bytes | None:
        try:
            return lookup(name, timeout)
        except Unavailable as error:
            failed.append(str(error))
            return None

    message = dkim.DKIM(raw, timeout=WAIT_S)
    count = sum(name.lower() == b"dkim-signature" for name, _ in message.headers)
    found = [_one(message, number, sender, look) for number in range(min(count, SIGNATURES_LIMIT))]
    good = [each for each in found if each]
    if failed and not good:
        raise Unavailable(failed[0])
    return good


def _one(message: "dkim.DKIM", number: int, sender: str, look: Lookup) -> Verified | None:
    """Return one signature if it holds and covers what it must."""
    try:
        if not message.verify(number, dnsfunc=look):
            return None
    except (dkim.DKIMException, ValueError, KeyError, IndexError, UnicodeError):
        return None
    fields = message.signature_fields
    covered = {name.strip().lower() for name in fields.get(b"h", b"").split(b":")}
    made = fields.get(b"t", b"")
    domain = fields.get(b"d", b"").decode("ascii", "replace").lower()
    there = Counter(name.strip().lower() for name, _ in message.headers if name.strip().lower() in _DECISIVE)
    is_covered = b"from" in there and all(count == 1 and name in covered for name, count in there.items())
    sender_domain = sender.rpartition("@")[2]
    is_aligned = bool(domain) and (sender_domain == domain or sender_domain.endswith("." + domain))
    if b"l" in fields or not is_covered or not made.isdigit() or not is_aligned:
        return None
    return Verified(domain, sender, int(made), base64.b64decode(re.sub(rb"\s", b"", fields.get(b"bh", b""))))
