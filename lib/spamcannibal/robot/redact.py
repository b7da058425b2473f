"""The public view of evidence: what shows why stays, what points at a person or back to the trap goes.

In: a message as it came, and Rules. Out: UTF-8 text, its header, then its text parts decoded, one after the other.

| goes | stays |
|---|---|
| recipients' addresses, in every spelling of scrub.py | the sender's addresses and names |
| recipients' names as To and Cc state them | subject, text |
| envelope senders' local parts, message and queue ids, signatures | their domains, the sending host's addresses |
| in URLs: query, fragment, path segments and host labels that may be tokens | scheme, host, plain words of the path |
| long runs of letters and digits anywhere (tokens) | dates, numbers, words |
| our hosts' names, addresses and nets; private addresses | everybody else's |
| unsubscribe fields, attachments' content | that they were there |

Recipients are those of To, Cc, Delivered-To and the like, of `for <...>` in Received fields, and those of the Rules.

A second pass changes nothing: the rules are applied until none applies any more, at most PASSES times, and a text on
which they never come to rest is not shown at all. All patterns are linear, all sizes bounded by the input's.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from spamcannibal.errors import WireError
from spamcannibal.robot.fields import decode_words
from spamcannibal.robot.message import Entity, Limits, read_entity, read_header
from spamcannibal.robot.scrub import Hidden, Scrub, escape

PASSES = 8
NOT_SHOWN = b"[not shown: it can't be made fit for the public]\n"
LIMITS = Limits(message_bytes=64 << 20, depth=40, parts=10_000, headers=100_000, header_bytes=64 << 20)

_RECIPIENTS = {
    "to", "cc", "bcc", "apparently-to", "delivered-to", "x-delivered-to", "x-original-to", "x-envelope-to",
    "envelope-to", "original-recipient", "final-recipient", "x-rcpt-to", "x-forwarded-to", "x-forwarded-for",
    "resent-to", "resent-cc", "resent-bcc", "x-real-to", "x-apparently-to", "x-mail-from-to", "x-recipient",
}  # fmt: skip
_ENVELOPES = {"return-path", "errors-to", "x-envelope-from", "envelope-from", "x-mail-from", "bounces-to", "x-sender"}
_IDS = {"message-id", "in-reply-to", "references", "resent-message-id", "x-message-id", "content-id", "feedback-id"}
_LINKS = {"list-unsubscribe", "list-unsubscribe-post", "list-subscribe", "list-help", "list-owner", "x-unsubscribe"}
_MIME = {"content-type", "content-transfer-encoding", "mime-version", "content-length", "lines"}
_SIGNATURES = ("dkim-signature", "arc-", "x-google-dkim-signature", "domainkey-signature")

_FOR = re.compile(r"(?<=\bfor )\s*<?([^\s<>;()]{1,320}@[^\s<>;()]{1,255})>?")
_ENVELOPE = re.compile(r"(\b(?:envelope-from|smtp\.mailfrom|mailfrom|mfrom|sender)[ =:]+\"?<?)[^\s<>@;\"]{1,320}(?=@)")
_ID = re.compile(r"(\bid )(?!\[)([^\s;()]{4,200})")
_TAG = re.compile(r"(?<![\w-])(b|bh|x|t)=[^;]+")
_ANGLES = re.compile(r"<?[^\s<>@,;]{1,400}(@[^\s<>,;]{1,255})?>?")
_ADDRESS = re.compile(r"[^\s<>,;:\"()\[\]@]{1,64}@[^\s<>,;:\"()@]{1,255}")


@dataclass(frozen=True)
class Rules:
    """What is to be hidden beside what the message names as recipient.

    `names` and `keys` are those of our hosts and nets (".example.org": all below it), `addresses` of mail, `domains`
    all addresses in which are ours. The result is at most `limit_bytes` long.
    """

    names: frozenset[str] = frozenset()
    keys: tuple[bytes, ...] = ()
    addresses: tuple[str, ...] = ()
    domains: tuple[str, ...] = ()
    limit_bytes: int = 10_000


DEFAULT_RULES = Rules()


def redact(raw: bytes, rules: Rules = DEFAULT_RULES) -> bytes:
    """Return what of a message may be shown to everybody, as UTF-8; NOT_SHOWN if that can't be told."""
    # What comes out is about as long as what goes in; so the input is cut, but well behind the limit: MIME takes space.
    text = raw[: rules.limit_bytes * 4]
    for _ in range(PASSES):
        shown = _pass(text, rules)
        if shown == text:
            return shown
        text = shown
    return NOT_SHOWN


def _pass(raw: bytes, rules: Rules) -> bytes:
    """Apply every rule once."""
    try:
        entity = read_entity(raw, LIMITS)
        body = _body(entity)
    except WireError as error:
        fields, at = read_header(raw, LIMITS)
        entity = Entity(raw, 0, at, at, fields, "text/plain", {}, ())
        body = f"[body not shown: {error}]"
    names = tuple(sorted(rules.names))
    scrub = Scrub(Hidden(_recipients(entity, rules), _people(entity), rules.domains, names, rules.keys))
    lines = [_field(name, value) for name, value in _shown_fields(entity)]
    if entity.headers or entity.body_start > entity.start:
        lines.append("")
    return _cut(scrub.text("\n".join([*lines, body])), rules.limit_bytes)


def _shown_fields(entity: Entity) -> Iterator[tuple[str, str]]:
    """Yield the fields that say something about a message whose parts are shown decoded."""
    for name, value in entity.headers:
        if name.lower() not in _MIME:
            yield name, decode_words(value)


def _recipients(entity: Entity, rules: Rules) -> tuple[str, ...]:
    """Return the mail addresses to hide, in lower case and as written, those that hold others first."""
    found = set(rules.addresses)
    for name, value in _shown_fields(entity):
        lower = name.lower()
        if lower in _RECIPIENTS:
            found.update(address.strip(".'") for address in _ADDRESS.findall(value))
        elif lower == "received":
            found.update(match[1].strip(".'") for match in _FOR.finditer(value))
    return _longest_first({form for address in found if "@" in address for form in (address, address.lower())})


def _people(entity: Entity) -> tuple[str, ...]:
    """Return the recipients' names as the message states them."""
    fields = [value for name, value in _shown_fields(entity) if name.lower() in ("to", "cc")]
    names = {part.partition("<")[0].strip(" \"'") for value in fields for part in value.split(",") if "<" in part}
    return _longest_first(name for name in names if 4 <= len(name) <= 80 and "@" not in name)


def _longest_first(texts: Iterable[str]) -> tuple[str, ...]:
    return tuple(sorted(texts, key=lambda text: (-len(text), text)))


def _field(name: str, value: str) -> str:
    """Return one field as a line, without what its place in the header tells to be private."""
    lower = name.lower()
    if lower in _RECIPIENTS:
        value = "[recipient]"
    elif lower in _LINKS:
        value = "[unsubscribe]"
    elif lower in _IDS:
        value = _ANGLES.sub(lambda match: f"[id]{match[1] or ''}", value)
    elif lower in _ENVELOPES:
        value = _ANGLES.sub(lambda match: f"[sender]{match[1] or ''}", value)
    elif lower.startswith(_SIGNATURES):
        value = _TAG.sub(r"\1=[value]", value)
    elif lower == "received":
        value = _ID.sub(r"\1[id]", _FOR.sub("[recipient]", value))
    value = _ENVELOPE.sub(r"\1[sender]", value)
    return escape(f"{name}: {value}").replace("\n", "\\n")


def _body(entity: Entity) -> str:
    """Return the text of a message's parts, each below a line that says what it is."""
    if not entity.parts:
        return _leaf(entity)
    shown = []
    for number, part in enumerate(entity.leaves(), 1):
        shown.append(f"[part {number}: {escape(part.content_type)}]\n{_leaf(part)}")
    return "\n".join(shown)


def _leaf(part: Entity) -> str:
    if part.content_type.startswith("text/") or part.content_type in ("message/rfc822", "message/delivery-status"):
        return escape(part.text())
    return f"[{len(part.content())} bytes, not shown]"


def _cut(text: str, limit: int) -> bytes:
    """Return the lines of a text, or the words of a long line, that fit into so many bytes."""
    raw = text.encode("utf-8", "backslashreplace")
    if len(raw) <= limit:
        return raw
    at = raw.rfind(b"\n", limit // 2, limit)
    at = raw.rfind(b" ", 0, limit) if at < 0 else at
    return raw[: at + 1] or NOT_SHOWN
