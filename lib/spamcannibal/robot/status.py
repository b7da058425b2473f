"""What gpg said about a message: its status lines in, the signer or a refusal with its reason out.

The lines are those of --status-fd (GnuPG's doc/DETAILS); what gpg prints for people is never looked at. A message
counts as signed only if all of this holds, so that no mixture of good and bad parts passes:

* gpg's exit code is 0, and no line tells of an error, of data where none may be, or of a failed decryption;
* there is exactly one signature, and it is GOODSIG with VALIDSIG: neither it nor its key is expired or revoked;
* there is at most one plaintext, none at all beside a detached signature.

Who signed is the fingerprint of the primary key, from VALIDSIG. A key id is never compared with anything: it can be
forged by making keys until one has it.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from spamcannibal.errors import WireError

PREFIX = b"[GNUPG:] "
# Keyword -> why such a signature does not count.
_STATES = {
    "BADSIG": "the signature does not fit the message, which was changed on the way",
    "EXPSIG": "the signature has expired",
    "EXPKEYSIG": "the key that signed has expired",
    "REVKEYSIG": "the key that signed was revoked",
}
_NO_PUBLIC_KEY = "9"  # reason code of ERRSIG
_FATAL = {
    "DECRYPTION_FAILED": "it can't be decrypted",
    "BADMDC": "the encrypted data was changed on the way",
    "UNEXPECTED": "it holds OpenPGP data where none may be",
    "ERROR": "it is damaged OpenPGP data",
}


@dataclass(frozen=True, slots=True)
class Signer:
    """Who signed, and when: fingerprint of the primary key, seconds since the epoch, the key's first user id."""

    fingerprint: str
    time_s: int
    user_id: str


def signer(lines: Iterable[bytes], code: int, is_detached: bool = False) -> Signer | None:
    """Return who signed, None for a message that was encrypted and is whole but not signed.

    WireError says why a message does not count as signed by anybody.
    """
    said = list(_words(lines))
    keywords = [keyword for keyword, _ in said]
    fatal = next((keyword for keyword in keywords if keyword in _FATAL), None)
    if fatal:
        raise WireError(f"OpenPGP: {_FATAL[fatal]}")
    if keywords.count("PLAINTEXT") > (0 if is_detached else 1):
        raise WireError("OpenPGP: more than one text in one message")
    if "NEWSIG" not in keywords and "DECRYPTION_OKAY" in keywords and not code:
        return None
    if keywords.count("NEWSIG") != 1:
        raise WireError(_not_one_signature(keywords))
    good = _only(said, "GOODSIG")
    valid = _only(said, "VALIDSIG")
    if code or not good or not valid:
        raise WireError(f"OpenPGP: {_why_not_good(said)}")
    fields = valid.split()
    # fingerprint, date, time, expiry, version, reserved, algorithm, hash, class, primary key's fingerprint
    if len(fields) < 10 or not fields[2].isdigit():
        raise WireError(f"OpenPGP: gpg told too little of the signature, got {ascii(valid)[:80]}")
    return Signer(fields[9].upper(), int(fields[2]), good.partition(" ")[2])


def recipients(lines: Iterable[bytes]) -> list[str]:
    """Return the ids of the keys that a message is encrypted to."""
    return [value.partition(" ")[0] for keyword, value in _words(lines) if keyword == "ENC_TO"]


def is_locked(lines: Iterable[bytes]) -> bool:
    """Tell whether a message stayed encrypted: to a key that is not ours, or one that could not be used."""
    keywords = {keyword for keyword, _ in _words(lines)}
    return "ENC_TO" in keywords and "DECRYPTION_OKAY" not in keywords


def created(lines: Iterable[bytes]) -> int | None:
    """Return the hash algorithm's number of a signature just made, None if none was."""
    value = _only(list(_words(lines)), "SIG_CREATED").split()
    return int(value[2]) if len(value) > 2 and value[2].isdigit() else None


def _words(lines: Iterable[bytes]) -> Iterator[tuple[str, str]]:
    """Yield keyword and rest of each status line."""
    for line in lines:
        if line.startswith(PREFIX):
            keyword, _, value = line[len(PREFIX) :].decode("utf-8", "replace").rstrip("\r\n").partition(" ")
            yield keyword, value


def _only(said: list[tuple[str, str]], keyword: str) -> str:
    """Return the value of a keyword that stands there exactly once, else nothing."""
    values = [value for each, value in said if each == keyword]
    return values[0] if len(values) == 1 else ""


def _not_one_signature(keywords: list[str]) -> str:
    if "NODATA" in keywords:
        return "OpenPGP: the data is cut short, or none at all"
    if "NEWSIG" in keywords:
        return "OpenPGP: several signatures, want one"
    return "OpenPGP: it is not signed"


def _why_not_good(said: list[tuple[str, str]]) -> str:
    for keyword, value in said:
        if keyword in _STATES:
            return f"{_STATES[keyword]} (key id {value.partition(' ')[0]})"
        if keyword == "ERRSIG":
            key_id, *rest = value.split()
            is_unknown = len(rest) > 4 and rest[4] == _NO_PUBLIC_KEY
            return f"signed by key id {key_id}, which is unknown here" if is_unknown else "it can't be verified"
    return "gpg did not accept it"
