"""TSIG (RFC 8945): who a message is from, proven by a secret that both ends have. Pure: the time comes in.

    opened = open_request(data, keys, now)      None: not signed
    if opened.is_refused: send(refuse(opened, now))
    signer = Signer(opened.key, opened.mac)
    send(signer.sign(reply, now))               each further message of a transfer is chained to the one before

A TSIG is the last additional record; the MAC is over the message as it was without it, then:

| message | before the message | after it |
|---|---|---|
| request | | all variables |
| first reply | the request's MAC, after its length in two bytes | all variables |
| each further one | the MAC before it, likewise | time and fudge only |

    variables   key name · class ANY · TTL 0 · algorithm name · time u48 · fudge u16 · error u16 · other with its length
    data        algorithm name · time u48 · fudge u16 · MAC with its length · original id u16 · error u16 · other

Checked in the order of section 5.2: key (BADKEY), MAC (BADSIG), time (BADTIME), length (BADTRUNC: we take whole MACs
only). An unknown key and a wrong MAC get an unsigned error; a wrong clock a signed one with our time in it.
"""

import hmac
import struct
from collections.abc import Mapping
from typing import NamedTuple

from spamcannibal.dnsbl import wire
from spamcannibal.dnsbl.wire import HEADER, Labels, pack_name
from spamcannibal.errors import WireError

BADSIG, BADKEY, BADTIME, BADTRUNC = 16, 17, 18, 22
ERRORS = {BADSIG: "BADSIG", BADKEY: "BADKEY", BADTIME: "BADTIME", BADTRUNC: "BADTRUNC"}
NOTAUTH = 9
FUDGE_S = 300
RECORD_LIMIT = 64  # records before the TSIG in what we are sent: queries, NOTIFY and their answers have a few
ALGORITHMS = {
    "hmac-sha256": "sha256",
    "hmac-sha384": "sha384",
    "hmac-sha512": "sha512",
    "hmac-sha224": "sha224",
    "hmac-sha1": "sha1",
}
MARK = struct.pack(">HH", wire.TSIG, wire.ANY_CLASS)  # stands in every message that holds a TSIG
_FIXED = struct.Struct(">HHIH")
_TIMES = struct.Struct(">HIH")  # a u48 in two parts, fudge
_TAIL = struct.Struct(">HHH")  # original id, error, length of other
_LENGTH = struct.Struct(">H")

Keys = Mapping[Labels, "Key"]


class Key(NamedTuple):
    """A shared secret. `name` is in lower case, `algorithm` one of ALGORITHMS."""

    name: Labels
    algorithm: str
    secret: bytes

    @property
    def algorithm_name(self) -> bytes:
        return pack_name((self.algorithm.encode(),))

    def mac(self, *parts: bytes) -> bytes:
        return hmac.digest(self.secret, b"".join(parts), ALGORITHMS[self.algorithm])

    @property
    def overhead_bytes(self) -> int:
        """Return how much longer signing makes a message: an error's other data included."""
        return len(pack_name(self.name)) + _FIXED.size + len(_record(self, 0, self.mac(), 0, 0, bytes(6)))


class Record(NamedTuple):
    """A TSIG as it came; `message` is what it signs."""

    message: bytes
    name: Labels
    algorithm: Labels
    time_s: int
    fudge_s: int
    mac: bytes
    error: int
    other: bytes


class Opened(NamedTuple):
    """A signed request: without its TSIG, the key if we have it, its MAC, and what is wrong with it (0: nothing)."""

    message: bytes
    key: Key | None
    mac: bytes
    error: int
    record: Record

    @property
    def is_refused(self) -> bool:
        return self.error != 0


class Signer:
    """Signs what answers a message (`mac` is that message's), in order; `mac` empty signs a request of ours."""

    def __init__(self, key: Key, mac: bytes = b"") -> None:
        self.key = key
        self.mac = mac
        self._is_chained = False

    def sign(self, message: bytes, now: float, error: int = 0, signed_s: int | None = None) -> bytes:
        """Return the message with a TSIG; for BADTIME `signed_s` is the request's time, and ours goes along."""
        time_s = int(now) if signed_s is None else signed_s
        other = b"" if signed_s is None else int(now).to_bytes(6, "big")
        before = _LENGTH.pack(len(self.mac)) + self.mac if self.mac else b""
        after = _times(time_s) if self._is_chained else _variables(self.key, time_s, FUDGE_S, error, other)
        self.mac = self.key.mac(before, message, after)
        self._is_chained = True
        data = _record(self.key, time_s, self.mac, _ident(message), error, other)
        return _with_record(message, pack_name(self.key.name), data)


def open_request(data: bytes, keys: Keys, now: float) -> Opened | None:
    """Check a request's TSIG; None if it has none. WireError if what it has is malformed (FORMERR is due)."""
    record = find(data)
    if record is None:
        return None
    key = keys.get(record.name)
    if key is None or record.algorithm != (key.algorithm.encode(),):
        return Opened(record.message, None, record.mac, BADKEY, record)
    return Opened(record.message, key, record.mac, _check(record, key, b"", now), record)


def refuse(opened: Opened, now: float) -> bytes:
    """Return the reply to a request with a wrong TSIG: NOTAUTH, and in a TSIG what is wrong."""
    reply = bare(opened.message, NOTAUTH)
    if opened.error == BADTIME and opened.key is not None:
        return Signer(opened.key, opened.mac).sign(reply, now, BADTIME, opened.record.time_s)
    named = Key(opened.record.name, "", b"")
    algorithm = pack_name(opened.record.algorithm)
    data = algorithm + _times(int(now)) + _LENGTH.pack(0) + _TAIL.pack(_ident(reply), opened.error, 0)
    return _with_record(reply, pack_name(named.name), data)


def is_authentic(reply: bytes, key: Key, mac: bytes, now: float) -> bool:
    """Tell whether a reply to what we signed with `mac` is from who has the key. WireError if it is malformed."""
    record = find(reply)
    if record is None or record.name != key.name or record.algorithm != (key.algorithm.encode(),):
        return False
    return record.error == 0 and _check(record, key, mac, now) == 0


def find(data: bytes) -> Record | None:
    """Read the TSIG that ends a message, None if it has none; WireError if it is malformed or not the last record."""
    if MARK not in data:
        return None
    if len(data) < HEADER.size:
        raise WireError("a header cut short")
    *_, questions, answers, authority, additional = HEADER.unpack_from(data)
    at = HEADER.size
    for _ in range(questions):
        at = _past_name(data, at) + 4
    last = answers + authority + additional - 1
    if questions > 1 or last > RECORD_LIMIT:
        raise WireError("more records than we read")
    for index in range(last + 1):
        start, at = at, _past_name(data, at) + _FIXED.size
        if at > len(data):
            raise WireError("a record cut short")
        rtype, rclass, ttl, size = _FIXED.unpack_from(data, at - _FIXED.size)
        at += size
        if rtype != wire.TSIG:
            continue
        if index != last or additional == 0 or (rclass, ttl) != (wire.ANY_CLASS, 0) or at != len(data):
            raise WireError("a TSIG out of place")
        return _read(data, start, at - size)
    return None


def bare(message: bytes, rcode: int) -> bytes:
    """Return a reply of header and question."""
    ident, flags, *_ = HEADER.unpack_from(message)
    end = _past_name(message, HEADER.size) + 4
    kept = wire.QR | flags & (wire.OPCODE | wire.RD | wire.CD) | rcode
    return HEADER.pack(ident, kept, 1, 0, 0, 0) + message[HEADER.size : end]


def _check(record: Record, key: Key, request_mac: bytes, now: float) -> int:
    before = _LENGTH.pack(len(request_mac)) + request_mac if request_mac else b""
    after = _variables(key, record.time_s, record.fudge_s, record.error, record.other)
    whole = key.mac(before, record.message, after)
    if not max(10, len(whole) // 2) <= len(record.mac) <= len(whole):
        raise WireError("a MAC of a wrong length")
    if not hmac.compare_digest(whole[: len(record.mac)], record.mac):
        return BADSIG
    if abs(int(now) - record.time_s) > record.fudge_s:
        return BADTIME
    return 0 if len(record.mac) == len(whole) else BADTRUNC


def _read(data: bytes, start: int, at: int) -> Record:
    name, algorithm = _plain_name(data, start), _plain_name(data, at)
    at += wire.name_size(algorithm)
    try:
        high, low, fudge_s = _TIMES.unpack_from(data, at)
        (size,) = _LENGTH.unpack_from(data, at + _TIMES.size)
        at += _TIMES.size + _LENGTH.size
        mac = data[at : at + size]
        ident, error, other_size = _TAIL.unpack_from(data, at + size)
    except struct.error:
        raise WireError("a TSIG cut short") from None
    other = data[at + size + _TAIL.size :]
    if len(other) != other_size:
        raise WireError("a TSIG of a wrong length")
    _, flags, *counts, additional = HEADER.unpack_from(data)
    message = HEADER.pack(ident, flags, *counts, additional - 1) + data[HEADER.size : start]
    return Record(message, name, algorithm, high << 32 | low, fudge_s, mac, error, other)


def _plain_name(data: bytes, at: int) -> Labels:
    name = wire.read_name(data, at)
    if name is None:
        raise WireError("a TSIG's name that is none")
    return name[0]


def _past_name(data: bytes, at: int) -> int:
    end = wire.skip_name(data, at)
    if end is None:
        raise WireError("a name cut short")
    return end


def _times(time_s: int) -> bytes:
    return _TIMES.pack(time_s >> 32 & 0xFFFF, time_s & 0xFFFFFFFF, FUDGE_S)


def _variables(key: Key, time_s: int, fudge_s: int, error: int, other: bytes) -> bytes:
    head = pack_name(key.name) + struct.pack(">HI", wire.ANY_CLASS, 0) + key.algorithm_name
    times = _TIMES.pack(time_s >> 32 & 0xFFFF, time_s & 0xFFFFFFFF, fudge_s)
    return head + times + struct.pack(">HH", error, len(other)) + other


def _record(key: Key, time_s: int, mac: bytes, ident: int, error: int, other: bytes) -> bytes:
    tail = _TAIL.pack(ident, error, len(other)) + other
    return key.algorithm_name + _times(time_s) + _LENGTH.pack(len(mac)) + mac + tail


def _with_record(message: bytes, owner: bytes, data: bytes) -> bytes:
    *head, additional = HEADER.unpack_from(message)
    fixed = _FIXED.pack(wire.TSIG, wire.ANY_CLASS, 0, len(data))
    return HEADER.pack(*head, additional + 1) + message[HEADER.size :] + owner + fixed + data


def _ident(message: bytes) -> int:
    return int.from_bytes(message[:2], "big")
