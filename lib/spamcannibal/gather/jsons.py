"""Reports as JSON: our own form, and what Rspamd's metadata exporter posts. Pure.

    {"colour": "black", "address": "192.0.2.7", "reason": "why", "key": "SECRET"}       reason and key are optional
    [{...}, {...}]                                                                      up to REPORTS_LIMIT of them

With "peer": true it says that it comes from another site (share.py), and counts only as a peer's.

Rspamd (`formatter = "json"`) sends one object a message; of it count `ip`, `user`, `action`, `symbols` and `score`:

| action | report |
|---|---|
| reject | black |
| add header, rewrite subject | brown |
| no action, greylist, soft reject, and whatever else | none |

A message of an authenticated `user` is none either: its address is a customer's.
"""

import json
from typing import Any

from spamcannibal.decode import shown
from spamcannibal.errors import WireError
from spamcannibal.gather.line import VERBS, Refused, Said, make_report

REPORTS_LIMIT = 1000
ACTIONS = {"reject": "black", "add header": "brown", "rewrite subject": "brown"}
SYMBOLS_SHOWN = 3

Taken = Said | Refused


def load(data: bytes) -> Any:
    """Return the value of JSON bytes; WireError if they are not that."""
    try:
        return json.loads(data)
    except (ValueError, RecursionError) as error:
        raise WireError(f"not JSON: {error}") from None


def parse_reports(value: Any, v6_plen: int) -> list[Taken]:
    """Return the reports of our own form, one or a list; WireError if it is neither."""
    items = value if isinstance(value, list) else [value]
    if len(items) > REPORTS_LIMIT:
        raise WireError(f"got {len(items)} reports, want at most {REPORTS_LIMIT}")
    return [_report(item, v6_plen) for item in items]


def parse_rspamd(value: Any, v6_plen: int) -> list[Taken]:
    """Return the report of what Rspamd posts about a message, none if it says nothing of the sender."""
    if not isinstance(value, dict) or not isinstance(value.get("action"), str):
        raise WireError('not of Rspamd\'s metadata exporter: want an object with "action"')
    colour = ACTIONS.get(value["action"])
    if colour is None or value.get("user", "unknown") not in ("unknown", "", None):
        return []
    address = value.get("ip")
    if not isinstance(address, str) or address == "unknown":
        return [Refused("no_address")]
    made = make_report(colour, address, _symbols(value.get("symbols")), v6_plen)
    return [Said(made) if not isinstance(made, Refused) else made]


def _report(item: Any, v6_plen: int) -> Taken:
    if not isinstance(item, dict):
        return Refused("not_json", f"want an object, got {shown(item)}")
    colour, address, reason, key = (item.get(name, "") for name in ("colour", "address", "reason", "key"))
    if colour not in VERBS:
        return Refused("unknown_verb", f"colour: want one of {', '.join(VERBS)}")
    if not isinstance(address, str) or not address:
        return Refused("no_address")
    if not isinstance(reason, str) or not isinstance(key, str):
        return Refused("not_json", "reason and key: want texts")
    made = make_report(colour, address, reason, v6_plen)
    return Said(made, key, bool(item.get("peer"))) if not isinstance(made, Refused) else made


def _symbols(symbols: Any) -> str:
    """Return what weighed most, as a reason."""
    items = symbols if isinstance(symbols, list) else []
    scored = [
        (item["score"], item["name"])
        for item in items
        if isinstance(item, dict)
        and isinstance(item.get("name"), str)
        and isinstance(item.get("score"), int | float)
        and item["score"] > 0
    ]
    return " ".join(name for _, name in sorted(scored, reverse=True)[:SYMBOLS_SHOWN])
