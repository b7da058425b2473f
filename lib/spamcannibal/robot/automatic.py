"""Who must not be answered: automatic mail, bounces, lists, our own loop (RFC 3834, section 2)."""

import re

from spamcannibal.robot.message import Entity

_LIST_FIELDS = ("list-id", "list-post", "list-unsubscribe", "mailing-list", "x-mailing-list", "x-mailman-version")
_MACHINE_FIELDS = ("x-autoreply", "x-autorespond", "x-auto-reply-from", "x-loop")
_PRECEDENCES = {"bulk", "junk", "list", "auto_reply"}
_MACHINES = re.compile(
    r"(mailer-daemon|postmaster|listserv|majordomo|no-?reply|do-?not-?reply|owner-.*|.*-(owner|request|bounces?))@"
)
_REPORTS = {"delivery-status", "disposition-notification"}


def is_automatic(entity: Entity, loop_header: str = "X-Spamcannibal-Loop") -> str:
    """Return why no answer may be sent to this message, "" if one may; `loop_header` marks our own answers."""
    names = {name.lower() for name, _ in entity.headers}
    submitted = entity.header("auto-submitted").partition(";")[0].strip().lower()
    if loop_header.lower() in names:
        return f"it came from this robot ({loop_header})"
    if submitted not in ("", "no"):
        return f"it was sent by a machine (Auto-Submitted: {submitted[:40]})"
    if "return-path" in names and entity.header("return-path") == "<>":
        return "it is a bounce (empty Return-Path)"
    if entity.content_type == "multipart/report" and entity.params.get("report-type", "").lower() in _REPORTS:
        return f"it is a bounce (report of type {entity.params['report-type'].lower()})"
    precedence = entity.header("precedence").lower()
    if precedence in _PRECEDENCES:
        return f"it was sent to many (Precedence: {precedence})"
    for name in (*_LIST_FIELDS, *_MACHINE_FIELDS):
        if name in names:
            kind = "a list" if name in _LIST_FIELDS else "a machine"
            return f"it came from {kind} ({name.title()})"
    if re.search(r"\b(all|autoreply)\b", entity.header("x-auto-response-suppress").lower()):
        return "its sender wants no automatic answer (X-Auto-Response-Suppress)"
    return _machine(entity.header("from"))


def _machine(sender: str) -> str:
    """Return why the address of a From field is no person's, "" if it may be."""
    addresses = re.findall(r"[^\s<>,;\"()]{1,64}@", sender.lower())
    found = next((address for address in addresses if _MACHINES.fullmatch(address)), "")
    return f"its sender is a machine ({found[:-1]})" if found else ""
