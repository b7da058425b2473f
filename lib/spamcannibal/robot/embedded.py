"""The messages inside a message: attached, in a feedback report, or pasted into the text.

In: the Entity of what its submitter signed. Out: Embedded, each with its header as lines and its bytes. Of the ways to
pass a message on, the first that fits counts, and what the spam itself may hold is not searched:

| kind | is |
|---|---|
| arf | message/rfc822 or text/rfc822-headers of a multipart/report that is the message, or its first part (RFC 5965) |
| attached | message/rfc822, text/rfc822-headers, or a file named *.eml; several |
| inline | the first header block with a Received field in the first text part, behind any quote prefix |

A mail program that forwards a message in the text attaches its attachments, too, and one of those may be a message
made up by the spammer. So a pasted message beside attached ones is refused.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from spamcannibal.errors import WireError
from spamcannibal.robot.fields import unfold
from spamcannibal.robot.message import DEFAULT_LIMITS, Entity, Limits, read_header

PREFIX_LIMIT = 40
BRIEF_HEADER_LINES = 3

_MESSAGES = {"message/rfc822", "message/global"}
_HEADERS = {"text/rfc822-headers", "message/global-headers"}
_FILES = re.compile(r'name\*?=[^;]{0,255}\.eml"?\s*(;|$)', re.IGNORECASE)
_FIELD = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,60}:(\s|$)")
_QUOTED_FIELD = re.compile(r"[^A-Za-z0-9]{0,40}[^\W\d_][\w-]{0,40}:\s+\S")


@dataclass(frozen=True)
class Embedded:
    """A message inside the message: `header_lines` unfolded "Name: value" in order, `raw` all of it.

    `kind` is "attached", "inline" or "arf"; `arf` the fields of the feedback report by lower-case name.
    """

    header_lines: tuple[str, ...]
    raw: bytes
    kind: str
    arf: Mapping[str, tuple[str, ...]] | None = None


def embedded(entity: Entity, limits: Limits = DEFAULT_LIMITS) -> tuple[Embedded, ...]:
    """Return the messages inside a message, none if it holds none; WireError if it is unclear which are meant."""
    report = _feedback_report(entity)
    if report:
        return tuple(_feedback(report, limits))
    attached = tuple(_attached(part, limits, "attached") for part in entity.leaves() if _is_message(part))
    text = next((part for part in entity.leaves() if part.content_type == "text/plain"), None)
    lines = text.text().split("\n") if text else []
    if attached and _has_header(lines):
        raise WireError(
            "a message in the text and others attached: can't tell which is meant; want it attached alone, or pasted"
        )
    return attached or tuple(_inline(lines, limits))


def _feedback_report(entity: Entity) -> Entity | None:
    """Return the feedback report that a message is."""
    for part in (entity, *entity.parts[:1]):
        if part.content_type == "multipart/report" and part.params.get("report-type", "").lower() == "feedback-report":
            return part
    return None


def _feedback(report: Entity, limits: Limits) -> Iterator[Embedded]:
    """Yield the messages of a feedback report, with what it says about them."""
    about = next((part for part in report.parts if part.content_type == "message/feedback-report"), None)
    if not about:
        raise WireError("a feedback report without its message/feedback-report part (RFC 5965)")
    fields: dict[str, tuple[str, ...]] = {}
    for name, value in read_header(about.content().lstrip(b"\r\n"), limits)[0]:
        fields[name.lower()] = (*fields.get(name.lower(), ()), unfold(value))
    for part in report.parts:
        if _is_message(part):
            yield _attached(part, limits, "arf", fields)


def _is_message(part: Entity) -> bool:
    names = f"{part.header('content-disposition')};{part.header('content-type')}"
    return part.content_type in _MESSAGES | _HEADERS or (
        not part.content_type.startswith("text/plain") and _FILES.search(names) is not None
    )


def _attached(part: Entity, limits: Limits, kind: str, arf: Mapping[str, tuple[str, ...]] | None = None) -> Embedded:
    """Return the message that a part holds."""
    raw = part.content().lstrip(b"\r\n")
    fields, _ = read_header(raw, limits)
    return Embedded(tuple(f"{name}: {unfold(value)}" for name, value in fields), raw, kind, arf)


def _has_header(lines: Sequence[str]) -> bool:
    """Tell whether a text holds a Received field, or some lines in a row like those that mail programs forward."""
    run = 0
    for line in lines:
        run = run + 1 if _QUOTED_FIELD.match(line) else 0
        if run >= BRIEF_HEADER_LINES or _prefix(line) is not None:
            return True
    return False


def _inline(lines: Sequence[str], limits: Limits) -> Iterator[Embedded]:
    """Yield the message pasted into a text."""
    for at, line in enumerate(lines):
        prefix = _prefix(line)
        if prefix is not None:
            yield _pasted(lines, at, prefix, limits)
            return


def _prefix(line: str) -> str | None:
    """Return what stands before a Received field, None if the line is none."""
    at = line[: PREFIX_LIMIT + len("received:")].lower().find("received:")
    prefix = line[:at]
    return None if at < 0 or (prefix and (prefix[-1].isalnum() or prefix[-1] in "-_")) else prefix


def _pasted(lines: Sequence[str], at: int, prefix: str, limits: Limits) -> Embedded:
    """Return the message whose first Received field is lines[at], behind `prefix`."""
    first = at
    for above in range(at - 1, max(at - limits.headers, -1), -1):
        line = _without(prefix, lines[above])
        if (
            not lines[above].startswith(prefix.rstrip())
            or not line.strip()
            or not (_FIELD.match(line) or line[0] in " \t")
        ):
            break
        first = above if _FIELD.match(line) else first
    fields: list[list[str]] = []
    size = 0
    end = len(lines)
    for number in range(first, len(lines)):
        line = _without(prefix, lines[number]).rstrip("\r")
        size += len(line) + 1
        if not line.strip():
            end = number + 1
            break
        if _FIELD.match(line) or not fields:
            fields.append([line])
        else:
            # A mail program that wraps lines takes the indent, and the prefix, from what it puts on the next line.
            fields[-1].append(line.strip())
        if len(fields) > limits.headers or size > limits.header_bytes:
            bounds = f"{limits.headers} fields, {limits.header_bytes} bytes"
            raise WireError(f"pasted header too long: want at most {bounds}")
    body = "\n".join(_body(lines[end:], prefix))
    folded = ["\n ".join(parts) for parts in fields]
    raw = "\n".join(folded) + "\n\n" + body
    return Embedded(tuple(map(unfold, folded)), raw.encode("utf-8", "backslashreplace"), "inline")


def _body(lines: Sequence[str], prefix: str) -> list[str]:
    """Return the body without its prefix; what follows the last quoted line is the submitter's own."""
    stop = len(lines)
    mark = prefix.strip()
    while mark and stop and not lines[stop - 1].lstrip().startswith(mark):
        stop -= 1
    return [_without(prefix, line).rstrip("\r") for line in lines[:stop]]


def _without(prefix: str, line: str) -> str:
    """Return a line without the prefix; a mail program may have cut the prefix's own blanks at the end."""
    if line.startswith(prefix):
        return line[len(prefix) :]
    bare = prefix.rstrip()
    return line[len(bare) :] if bare and line.startswith(bare) else line
