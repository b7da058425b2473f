"""What the public sees of an account: explain.document without the persons. Pure: plain values in, plain values out.

| stays | goes |
|---|---|
| the kind of a source: a trap, a submitter, mail servers, other lists | who it was: names, fingerprints, reporters |
| texts of listings, which DNS shows too | texts of other changes: operators wrote them for themselves |
| evidence, redacted | evidence of mail servers' reports: it names them |
| when a listed source last knocked | that one that is not listed did, unless it asks itself |
| that the never-list has it | by which rule |

The robot and the trap redacted their evidence when they wrote it; what others brought is redacted here.
"""

from collections.abc import Callable, Mapping
from typing import Any

from spamcannibal.jobs.labels import Kind, kind_of

EVIDENCE_SHOWN = 5
HISTORY_SHOWN = 20
REDACTED = frozenset({"robot", "trap"})
WITHHELD = frozenset({"gather", "peer"})
KINDS = {
    "robot": "a signed report by somebody whom we know, with the message as evidence",
    "trap": "mail to a spam trap",
    "gather": "reports of mail servers here",
    "peer": "reports of mail servers elsewhere",
    "blcheck": "what other blocklists say, and rules of ours",
    "blpreen": "what other blocklists say, and rules of ours",
    "import": "a list that the operator imported",
    "expiry": "its time was over",
    "web": "a request for removal",
}
OTHERWISE = "the operator"
RULES = {
    Kind.BLOCK: "our own list of addresses that are refused",
    Kind.MISSING_PTR: "it has no name in reverse DNS",
    Kind.GENERIC_PTR: "its name is one that a provider gives by the thousand, no mail server's",
    Kind.COUNTRY: "its country",
}


def source_kind(source: str) -> str:
    """Return the kind of a source, without who it was."""
    return source.partition(":")[0]


def by_whom(kind: str) -> str:
    """Return a kind of source in words."""
    return KINDS.get(kind, OTHERWISE)


def public(
    document: Mapping[str, Any], links: Callable[[str], str], redact: Callable[[str], str], is_own: bool = False
) -> dict[str, Any]:
    """Return what may be shown. `links` gives a remote list's page or ""; `is_own`: the address asks itself."""
    entries = [_entry(match, links, redact) for match in document["matches"]]
    ended = [change for change in document["history"] if change["action"] == "unlist"]
    return {
        "address": document["address"],
        "listed": document["decision"] != "passes",
        "decision": document["decision"],
        "never_listed": document["never_list"] is not None,
        "entries": entries,
        "dns": document["dns"],
        "ended": _past(ended[-1]) if ended and not entries else None,
        "contact": document["contact"] if is_own else None,
        "history": [_past(change) for change in document["history"][-HISTORY_SHOWN:]],
    }


def _entry(match: Mapping[str, Any], links: Callable[[str], str], redact: Callable[[str], str]) -> dict[str, Any]:
    kind = source_kind(match["source"])
    causes = match["contrib"]["causes"] if match["contrib"] else []
    pieces = match["evidence"][-EVIDENCE_SHOWN:]
    return {
        "key": match["key"],
        "code": match["code"],
        "flags": match["flags"],
        "is_observed": match["mode"] == "observe",
        "kind": kind,
        "by": by_whom(kind),
        "text": match["text"],
        "since": match["listed"],
        "expires": match["expires"],
        "contact": match["contact"],
        "lists": [_cause(cause, links) for cause in causes],
        "evidence": [_piece(piece, redact) for piece in reversed(pieces)],
        "pieces": len(match["evidence"]),
    }


def _cause(cause: Mapping[str, Any], links: Callable[[str], str]) -> dict[str, Any]:
    kind = kind_of(cause["zone"])
    url = links(cause["zone"]) if kind is Kind.REMOTE else ""
    return {
        "zone": cause["zone"],
        "rule": RULES.get(kind, ""),
        "code": cause["code"],
        "text": cause["text"],
        "url": url if url.startswith(("https://", "http://")) else None,
    }


def _piece(piece: Mapping[str, Any], redact: Callable[[str], str]) -> dict[str, Any]:
    kind = source_kind(piece["source"])
    body = None if kind in WITHHELD else piece["body"] if kind in REDACTED else redact(piece["body"])
    return {"time": piece["time"], "by": by_whom(kind), "body": body}


def _past(change: Mapping[str, Any]) -> dict[str, Any]:
    kind = source_kind(change["source"])
    is_said = change["action"] != "unlist"
    return {
        "time": change["time"],
        "action": change["action"],
        "key": change["key"],
        "by": by_whom(kind),
        "text": change["text"] if is_said else "",
    }


def as_text(shown: Mapping[str, Any]) -> list[str]:
    """Return what is shown as lines, the first of which says it all."""
    what = "listed" if shown["listed"] else "not listed"
    lines = [f"{shown['address']} {what}" + (", but only observed" if shown["decision"] == "observed" else "")]
    for entry in shown["entries"]:
        until = f" until {entry['expires']}" if entry["expires"] else ""
        lines.append(f"entry {entry['key']} since {entry['since']}{until}: {entry['text'] or entry['by']}")
        lines += [f"told by {cause['zone']} {cause['code']}: {cause['text']}" for cause in entry["lists"]]
        if entry["contact"]:
            lines.append(f"last contact {entry['contact']}")
    if shown["never_listed"]:
        lines.append("on the never-list")
    if shown["ended"]:
        lines.append(f"was listed until {shown['ended']['time']}")
    lines += [f"DNS {answer['zone']}: {answer['code'] or 'not listed'}" for answer in shown["dns"]]
    return lines
