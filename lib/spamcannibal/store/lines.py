"""The lines of a dump: the whole store as JSON that any program can read. Pure: records in, lines out, and back.

The first line is the head, the last one the end with the number of lines between, so that a cut file is noticed. Times
are milliseconds since the epoch, `body64` is base64 where a body is no UTF-8.

    {"record":"head","format":2}
    {"record":"listing","key":"192.0.2.1","code":"127.0.0.2","mode":"default","flags":["published"],"listed":…,
     "contact":…,"expiry":…,"seq":7,"has_text":false,"evidence":[{"time":…,"source":"robot:…","body":"…"}]}
                    or "contrib":{"code":…,"expiry":…,"causes":[{"zone":…,"code":…,"text":…}]} instead of evidence
    {"record":"gone","key":"192.0.2.1"}                 what an earlier line said of this key is over
    {"record":"contact","key":"192.0.2.9","count":3,"first":…,"last":…}
    {"record":"change","seq":7,"time":…,"action":"list","key":"192.0.2.1","code":…,"mode":…,"flags":…,"expiry":…,
     "source":"robot:…","text":"…"}                     an unlist also has what it took away: "contrib", "evidence"
    {"record":"seen","row":"01…"}                       what the robot dealt with before: a row of seen.py, hexadecimal
    {"record":"kept","drawer":"user","id":"alice","until":0,"value":{…}}     a record of cabinet.py
    {"record":"activity","row":"0103…","value":[…]}     what happened: a row of activity_rows.py, its value as JSON
    {"record":"trial","row":"01…","value":"01…"}        a listing on trial: a row of trial_rows.py, hexadecimal
    {"record":"checked","key":"192.0.2.8","time":…,"unknown":0}
    {"record":"hits","since":…,"passed":…,"never":…,"given_up":…,"zones":{"bl.example.org":12}}
    {"record":"end","lines":6,"floor":0}                changes up to floor may be missing: they were pruned
"""

import base64
import binascii
from typing import Annotated

import msgspec
from msgspec import UNSET, UnsetType

from spamcannibal.addr import format_addr, format_key, parse_addr, parse_key
from spamcannibal.errors import StoreError, WireError
from spamcannibal.record import FLAG_NAMES, Action, Cause, Change, Checked, Contact, Contrib, Hits, Listing, Mode, Piece
from spamcannibal.store import activity_rows, trial_rows

FORMAT = 2
_FLAG_BITS = {name: bit for bit, name in FLAG_NAMES.items()}


Number = Annotated[int, msgspec.Meta(ge=0, le=(1 << 63) - 1)]
Count = Annotated[int, msgspec.Meta(ge=0, le=(1 << 32) - 1)]
ActivityRow = Annotated[str, msgspec.Meta(pattern=r"^0[1-5]([0-9a-f]{2}){1,40}\Z")]
Hex = Annotated[str, msgspec.Meta(pattern=r"^([0-9a-f]{2}){1,500}\Z")]
SeenRow = Annotated[str, msgspec.Meta(pattern=r"^0[12][0-9a-f]{80}\Z")]


class Body(msgspec.Struct, omit_defaults=True, forbid_unknown_fields=True):
    time: Number
    source: str
    body: str | UnsetType = UNSET
    body64: str | UnsetType = UNSET


class Word(msgspec.Struct, omit_defaults=True, forbid_unknown_fields=True):
    zone: str
    code: str
    addr: str = ""
    text: str = ""


class Heard(msgspec.Struct, forbid_unknown_fields=True):
    code: str
    expiry: Number
    causes: list[Word]


class Line(msgspec.Struct, tag_field="record", omit_defaults=True, forbid_unknown_fields=True):
    """Base of the lines; inherited because that is how msgspec shares the tag field."""


class HeadLine(Line, tag="head"):
    format: Number


class EndLine(Line, tag="end"):
    lines: Number
    floor: Number = 0


class GoneLine(Line, tag="gone"):
    key: str


class ListingLine(Line, tag="listing", kw_only=True):
    key: str
    code: str
    mode: str
    flags: list[str]
    listed: Number
    contact: Number
    expiry: Number
    seq: Number
    has_text: bool = False
    contrib: Heard | UnsetType = UNSET
    evidence: list[Body] = []


class ContactLine(Line, tag="contact"):
    key: str
    count: Count
    first: Number
    last: Number


class ChangeLine(Line, tag="change", kw_only=True):
    seq: Number
    time: Number
    action: str
    key: str
    code: str
    mode: str
    flags: list[str]
    expiry: Number
    source: str
    text: str
    contrib: Heard | UnsetType = UNSET
    evidence: list[Body] = []


class CheckedLine(Line, tag="checked"):
    key: str
    time: Number
    unknown: Count


class SeenLine(Line, tag="seen"):
    row: SeenRow


class ActivityLine(Line, tag="activity"):
    row: ActivityRow
    value: msgspec.Raw


class TrialLine(Line, tag="trial"):
    row: Hex
    value: Hex


class KeptLine(Line, tag="kept"):
    drawer: Annotated[str, msgspec.Meta(pattern=r"^[a-z_]{1,32}\Z")]
    id: Annotated[str, msgspec.Meta(min_length=1, max_length=256)]
    until: Number
    value: msgspec.Raw


class HitsLine(Line, tag="hits"):
    since: Number
    passed: Number
    never: Number
    given_up: Number
    zones: dict[str, Number]


Notes = CheckedLine | SeenLine | ActivityLine | TrialLine | KeptLine | HitsLine
AnyLine = HeadLine | ListingLine | GoneLine | ContactLine | ChangeLine | Notes | EndLine
Why = tuple[Contrib | None, list[Piece]]


class ListingValue(msgspec.Struct, frozen=True):
    key: bytes
    listing: Listing
    contrib: Contrib | None
    evidence: list[Piece]


class GoneValue(msgspec.Struct, frozen=True):
    key: bytes


class ContactValue(msgspec.Struct, frozen=True):
    key: bytes
    contact: Contact


class ChangeValue(msgspec.Struct, frozen=True):
    change: Change
    contrib: Contrib | None
    evidence: list[Piece]


class CheckedValue(msgspec.Struct, frozen=True):
    key: bytes
    checked: Checked


class SeenValue(msgspec.Struct, frozen=True):
    row: bytes


class KeptValue(msgspec.Struct, frozen=True):
    """A record of a drawer; `value` is its JSON."""

    drawer: str
    id: str
    until_ms: int
    value: bytes


class ActivityValue(msgspec.Struct, frozen=True):
    row: bytes
    data: bytes


class TrialValue(msgspec.Struct, frozen=True):
    row: bytes
    data: bytes


class HitsValue(msgspec.Struct, frozen=True):
    hits: Hits


NoteValue = CheckedValue | SeenValue | ActivityValue | TrialValue | KeptValue | HitsValue
Value = ListingValue | GoneValue | ContactValue | ChangeValue | NoteValue
_decoder: msgspec.json.Decoder[AnyLine] = msgspec.json.Decoder(AnyLine)
encode = msgspec.json.Encoder().encode


def parse(data: bytes, where: str) -> AnyLine:
    """Read one line; WireError names `where` and what is wrong."""
    try:
        return _decoder.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise WireError(f"{where}: {error}") from None


def listing_line(key: bytes, listing: Listing, why: Why) -> ListingLine:
    return ListingLine(
        key=format_key(key),
        code=format_addr(listing.code),
        mode=listing.mode.name.lower(),
        flags=flag_names(listing.flags),
        listed=listing.listed_ms,
        contact=listing.contact_ms,
        expiry=listing.expiry_ms,
        seq=listing.seq,
        has_text=listing.has_text,
        contrib=_heard(why[0]),
        evidence=[_body(piece) for piece in why[1]],
    )


def contact_line(key: bytes, contact: Contact) -> ContactLine:
    return ContactLine(format_key(key), contact.count, contact.first_ms, contact.last_ms)


def checked_line(key: bytes, checked: Checked) -> CheckedLine:
    return CheckedLine(format_key(key), checked.checked_ms, checked.unknown)


def seen_line(row: bytes) -> SeenLine:
    return SeenLine(row.hex())


def kept_line(kept: KeptValue) -> KeptLine:
    return KeptLine(kept.drawer, kept.id, kept.until_ms, msgspec.Raw(kept.value))


def activity_line(row: bytes, data: bytes) -> ActivityLine:
    return ActivityLine(row.hex(), msgspec.Raw(activity_rows.to_json(row, data)))


def trial_line(row: bytes, data: bytes) -> TrialLine:
    return TrialLine(row.hex(), data.hex())


def hits_line(hits: Hits) -> HitsLine:
    return HitsLine(hits.since_ms, hits.passed, hits.never, hits.given_up, hits.zones)


def change_line(change: Change, removed: Why) -> ChangeLine:
    return ChangeLine(
        seq=change.seq,
        time=change.time_ms,
        action=change.action.name.lower(),
        key=format_key(change.key),
        code=format_addr(change.code),
        mode=change.mode.name.lower(),
        flags=flag_names(change.flags),
        expiry=change.expiry_ms,
        source=change.source,
        text=change.text,
        contrib=_heard(removed[0]),
        evidence=[_body(piece) for piece in removed[1]],
    )


def value(line: AnyLine, where: str) -> Value:
    """Give what a line says in the program's terms; WireError names `where` and the field that is wrong."""
    try:
        return _value(line)
    except WireError as error:
        raise WireError(f"{where}: {error}") from None


def _value(line: AnyLine) -> Value:
    if isinstance(line, GoneLine):
        return GoneValue(parse_key(line.key))
    if isinstance(line, ContactLine):
        return ContactValue(parse_addr(line.key), Contact(line.count, line.first, line.last))
    if isinstance(line, CheckedLine):
        return CheckedValue(parse_key(line.key), Checked(line.time, line.unknown))
    if isinstance(line, SeenLine):
        return SeenValue(bytes.fromhex(line.row))
    if isinstance(line, ActivityLine):
        row = bytes.fromhex(line.row)
        return ActivityValue(row, activity_rows.from_json(row, bytes(line.value)))
    if isinstance(line, TrialLine):
        return _trial(line)
    if isinstance(line, KeptLine):
        return KeptValue(line.drawer, line.id, line.until, bytes(line.value))
    if isinstance(line, HitsLine):
        return HitsValue(Hits(line.since, line.passed, line.never, line.given_up, line.zones))
    if not isinstance(line, ListingLine | ChangeLine):
        raise WireError(f"record: got {type(line).__name__}, want one between head and end")
    said = (_code(line.code), _mode(line.mode), flag_bits(line.flags))
    contrib = None if isinstance(line.contrib, UnsetType) else _contrib(line.contrib)
    evidence = [_piece(body) for body in line.evidence]
    if isinstance(line, ListingLine):
        listing = Listing(*said, line.listed, line.contact, line.expiry, line.seq, line.has_text)
        return ListingValue(parse_key(line.key), listing, contrib, evidence)
    if line.action.upper() not in Action.__members__:
        raise WireError(f"action: got {line.action!r}, want one of {', '.join(Action.__members__).lower()}")
    code, mode, flags = said
    head = (line.seq, line.time, Action[line.action.upper()], parse_key(line.key))
    change = Change(*head, code, line.text, line.source, line.expiry, flags, mode)
    return ChangeValue(change, contrib, evidence)


def _trial(line: TrialLine) -> TrialValue:
    row, data = bytes.fromhex(line.row), bytes.fromhex(line.value)
    try:
        wrong = trial_rows.problem(row, data)
    except StoreError as error:
        wrong = str(error)
    if wrong:
        raise WireError(f"trial: {wrong}")
    return TrialValue(row, data)


def flag_names(flags: int) -> list[str]:
    return [name for bit, name in FLAG_NAMES.items() if flags & bit]


def flag_bits(names: list[str]) -> int:
    unknown = set(names) - _FLAG_BITS.keys()
    if unknown:
        raise WireError(f"flags: got {', '.join(sorted(unknown))!r}, want {', '.join(_FLAG_BITS)}")
    return sum(_FLAG_BITS[name] for name in set(names))


def _mode(name: str) -> Mode:
    if name.upper() not in Mode.__members__:
        raise WireError(f"mode: got {name!r}, want one of {', '.join(Mode.__members__).lower()}")
    return Mode[name.upper()]


def _code(text: str) -> bytes:
    code = parse_addr(text)
    if len(code) != 4 or code[0] != 127:
        raise WireError(f"code: got {text}, want an address in 127.0.0.0/8")
    return code


def _contrib(heard: Heard) -> Contrib:
    return Contrib(_code(heard.code), heard.expiry, tuple(map(_cause, heard.causes)))


def _cause(word: Word) -> Cause:
    code = parse_addr(word.code)
    if len(code) != 4:
        raise WireError(f"code: got {word.code}, want an IPv4 address")
    return Cause(word.zone, code, parse_addr(word.addr) if word.addr else b"", word.text)


def _heard(contrib: Contrib | None) -> Heard | UnsetType:
    if contrib is None:
        return UNSET
    return Heard(format_addr(contrib.code), contrib.expiry_ms, [_word(cause) for cause in contrib.causes])


def _word(cause: Cause) -> Word:
    addr = format_addr(cause.addr) if cause.addr else ""
    return Word(cause.zone, format_addr(cause.code), addr, cause.text)


def _body(piece: Piece) -> Body:
    try:
        return Body(piece.time_ms, piece.source, body=piece.body.decode("utf-8"))
    except UnicodeDecodeError:
        return Body(piece.time_ms, piece.source, body64=base64.b64encode(piece.body).decode("ascii"))


def _piece(body: Body) -> Piece:
    if isinstance(body.body64, str):
        try:
            return Piece(body.time, body.source, base64.b64decode(body.body64, validate=True))
        except (binascii.Error, ValueError):
            raise WireError("body64: not base64") from None
    return Piece(body.time, body.source, body.body.encode("utf-8") if isinstance(body.body, str) else b"")
