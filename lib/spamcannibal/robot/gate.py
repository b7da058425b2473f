"""Who sent this, proved: a message in, the submitter with what they vouch for out, or a WireError with the reason.

Only what the proof covers is handed on: of an OpenPGP message what was signed, nothing around it.
"""

import hashlib
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from spamcannibal.errors import WireError
from spamcannibal.robot import dkimcheck, policy
from spamcannibal.robot.answer import recipient_of
from spamcannibal.robot.message import Entity, Limits, read_entity
from spamcannibal.robot.pgp import Opened, Pgp
from spamcannibal.robot.pgpparts import Protected, Signed, find_pgp
from spamcannibal.robot.policy import Submitter
from spamcannibal.robot.status import Signer

_LAYERS = 3  # encrypted, in it signed, and no more
_LINE_ENDS = re.compile(rb"[ \t\r]*\n")


@dataclass(frozen=True, slots=True)
class Mark:
    """By which a message is known again: when its signature was made, and a digest of what was signed by whom."""

    time_s: int
    digest: bytes


@dataclass(frozen=True, slots=True)
class Proven:
    """A message by a submitter. `mark` is None where there is no signature, and so no way to know a replay."""

    submitter: Submitter
    content: Entity
    mark: Mark | None
    recipient: str
    is_signed: bool


class Gate:
    """Asks gpg and DNS, by the rules of policy.py."""

    def __init__(self, submitters: Sequence[Submitter], limits: Limits, pgp: Callable[[], Pgp]) -> None:
        """`pgp` gives gpg when it is needed: a message without OpenPGP does not need it."""
        self._submitters = submitters
        self._limits = limits
        self._pgp = pgp
        self.lookup: dkimcheck.Lookup = dkimcheck.look_up

    def prove(self, entity: Entity) -> Proven:
        """Return who vouches for a message, and for what of it."""
        protected = find_pgp(entity)
        if protected is not None:
            return self._by_pgp(entity, protected)
        found = policy.by_header(entity.headers, self._submitters)
        if found:
            return Proven(found, entity, None, recipient_of(found), False)
        return self._by_dkim(entity)

    def _by_pgp(self, entity: Entity, protected: Protected) -> Proven:
        content = b""
        for _ in range(_LAYERS):
            is_mime = isinstance(protected, Signed) or _is_encrypted_mime(entity)
            opened = self._open(protected)
            content, signer = opened.content, opened.signer
            entity = read_entity(content if is_mime else b"\n" + content, self._limits)
            if signer is not None:
                return self._signed(signer, content, entity)
            inner = find_pgp(entity)
            if inner is None:
                break
            protected = inner
        raise WireError("OpenPGP: it is encrypted but not signed")

    def _open(self, protected: Protected) -> Opened:
        if isinstance(protected, Signed):
            return Opened(protected.content, self._pgp().check(protected.content, protected.signature))
        return self._pgp().open(protected.armor)

    def _signed(self, signer: Signer, content: bytes, entity: Entity) -> Proven:
        submitter = policy.by_fingerprint(signer.fingerprint, self._submitters)
        mark = Mark(signer.time_s, _digest(signer.fingerprint, str(signer.time_s), _bare(content)))
        return Proven(submitter, entity, mark, recipient_of(submitter, signer.user_id), True)

    def _by_dkim(self, entity: Entity) -> Proven:
        sender = dkimcheck.sender_of(entity)
        domain = sender.rpartition("@")[2]
        hopeful = [each for each in self._submitters if each.dkim.lower() in (sender, domain) and domain]
        if hopeful:
            raw = entity.raw[entity.start : entity.end]
            found = policy.by_dkim(dkimcheck.verify(raw, sender, self.lookup), hopeful)
            if found:
                submitter, signature = found
                mark = Mark(signature.time_s, _digest("dkim", signature.domain, signature.body_hash))
                return Proven(submitter, entity, mark, recipient_of(submitter, "", sender), False)
        raise WireError("it is not signed, and nobody else who may report vouches for it")


def _is_encrypted_mime(entity: Entity) -> bool:
    return entity.content_type == "multipart/encrypted" or any(map(_is_encrypted_mime, entity.parts))


def _bare(content: bytes) -> bytes:
    """Return a content without what may change in a text that stays validly signed: line ends, blanks before them."""
    return _LINE_ENDS.sub(b"\n", content + b"\n").rstrip(b"\n")


def _digest(*parts: str | bytes) -> bytes:
    made = hashlib.sha256()
    for part in parts:
        data = part.encode() if isinstance(part, str) else part
        made.update(len(data).to_bytes(8, "big") + data)
    return made.digest()
