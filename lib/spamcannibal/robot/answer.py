"""The answer to a submitter: what was done or why not, as a mail signed by PGP/MIME (RFC 3156). Pure.

It is marked so that nothing answers it (Auto-Submitted: auto-replied, RFC 3834) and that it is known when it comes
back (the loop header). To whom it goes never depends on what anybody but the submitter can write: a mail that was
signed by one and sent by another must not make us write to that other.
"""

import binascii
import re
from dataclasses import dataclass
from email.utils import formatdate

from spamcannibal.robot.policy import Submitter

LOOP_HEADER = "X-Spamcannibal-Loop"
LINES_LIMIT = 500
REFERENCES_LIMIT = 20
# No "-" in front, which a mail program would take for an option.
_ADDRESS = re.compile(r"(?!-)[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]{1,63}@[A-Za-z0-9][A-Za-z0-9.-]{0,252}")
_MESSAGE_ID = re.compile(r"<[!-;=?-~]{1,250}>")


@dataclass(frozen=True, slots=True)
class Reply:
    """Where an answer goes and what it answers. `boundary` and `message_id` are made by the caller, from random."""

    sender: str
    recipient: str
    title: str
    lines: tuple[str, ...]
    answers_id: str = ""
    references: str = ""


def recipient_of(submitter: Submitter, user_id: str = "", sender: str = "") -> str:
    """Return where to answer: as the settings say, else the signing key's address, else a verified sender; or ""."""
    key_address = user_id.rpartition("<")[2].rstrip("> ")
    candidates = (submitter.address, key_address, sender)
    return next((each for each in candidates if _ADDRESS.fullmatch(each)), "")


def body_part(reply: Reply) -> bytes:
    """Return the part that is to be signed: its header and text, lines ended by CRLF, all of it ASCII."""
    lines = [line.rstrip() for line in reply.lines[:LINES_LIMIT]]
    text = "\n".join([*lines, "", "-- ", "This is an automatic answer of the SpamCannibal mail robot."])
    encoded = binascii.b2a_qp(text.encode("utf-8", "backslashreplace"), istext=True)
    # What a mail server may change on its way would break the signature.
    encoded = re.sub(rb"(?m)^From ", b"=46rom ", encoded)
    encoded = re.sub(rb"(?m)[ \t]+$", lambda blanks: b"".join(b"=%02X" % byte for byte in blanks[0]), encoded)
    head = b"Content-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: quoted-printable\n\n"
    return re.sub(rb"\r?\n", b"\r\n", head + encoded + b"\n")


def message(reply: Reply, part: bytes, signed: tuple[bytes, str], token: str, now: float) -> bytes:
    """Return the whole mail: the part as it was signed, and (signature, micalg). `token` is random hexadecimal."""
    signature, micalg = signed
    boundary = f"robot-{token}"
    answered = _MESSAGE_ID.findall(reply.answers_id)[:1]
    known = [each for each in _MESSAGE_ID.findall(reply.references)[-REFERENCES_LIMIT:] if each not in answered]
    fields = {
        "From": f"SpamCannibal <{reply.sender}>",
        "To": reply.recipient,
        "Subject": f"SpamCannibal: {_line(reply.title)}",
        "Date": formatdate(now),
        "Message-ID": f"<{token}@{reply.sender.rpartition('@')[2]}>",
        "In-Reply-To": "".join(answered),
        "References": "\r\n ".join([*known, *answered]),
        "Auto-Submitted": "auto-replied",
        LOOP_HEADER: reply.sender,
        "MIME-Version": "1.0",
        "Content-Type": (
            f'multipart/signed; micalg={micalg};\r\n protocol="application/pgp-signature"; boundary="{boundary}"'
        ),
    }
    head = "".join(f"{name}: {value}\r\n" for name, value in fields.items() if value).encode("ascii")
    mark = f"--{boundary}".encode()
    kind = b'Content-Type: application/pgp-signature; name="signature.asc"\r\n\r\n'
    armor = re.sub(rb"\r?\n", b"\r\n", signature)
    return b"\r\n".join([head, mark, part, mark, kind + armor, mark + b"--", b""])


def _line(text: str) -> str:
    return "".join(char if char.isascii() and char.isprintable() else "?" for char in text)[:120]
