"""Who answers for an address: contacts that the operator knows, else those in an answer of RDAP (RFC 9083). Pure.

RDAP's contacts are entities with the role "abuse", which stand in the network's entities or in those of its holder;
their addresses are in a jCard (RFC 7095). Nobody else is written to: a holder's other contacts did not ask for it.
"""

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from spamcannibal.addr import covers, split_key
from spamcannibal.errors import WireError

DEPTH_LIMIT = 4
CONTACTS_LIMIT = 5
_ADDRESS = re.compile(r"(?!-)[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]{1,63}@[A-Za-z0-9][A-Za-z0-9.-]{0,252}")


@dataclass(frozen=True, slots=True)
class Contact:
    """Whom to write to about sources in these nets (store keys)."""

    nets: tuple[bytes, ...]
    addresses: tuple[str, ...]


def known_contact(addr: bytes, contacts: Iterable[Contact]) -> tuple[str, ...]:
    """Return the addresses of the contact whose net holds an address most closely, none if there is no such."""
    holding = [(split_key(net)[1], each) for each in contacts for net in each.nets if covers(net, addr)]
    return max(holding, key=lambda pair: pair[0])[1].addresses if holding else ()


def abuse_contacts(document: bytes) -> tuple[str, ...]:
    """Return the addresses, each once, in their order; none if there are none. WireError if this is no RDAP answer."""
    try:
        answer = json.loads(document)
    except (ValueError, RecursionError):
        raise WireError("RDAP: the answer is no JSON") from None
    if not isinstance(answer, dict):
        raise WireError("RDAP: the answer is no object")
    found = dict.fromkeys(_addresses(answer, DEPTH_LIMIT))
    return tuple(found)[:CONTACTS_LIMIT]


def _addresses(holder: dict[str, Any], depth: int) -> Iterator[str]:
    entities = holder.get("entities")
    for entity in entities if isinstance(entities, list) and depth else ():
        if not isinstance(entity, dict):
            continue
        roles = entity.get("roles")
        if isinstance(roles, list) and "abuse" in roles:
            yield from _mail_of(entity.get("vcardArray"))
        yield from _addresses(entity, depth - 1)


def _mail_of(card: Any) -> Iterator[str]:
    """Yield the addresses of a jCard: ["vcard", [["email", {}, "text", "abuse@example.net"], ...]]."""
    properties = card[1] if isinstance(card, list) and len(card) > 1 else ()
    for each in properties if isinstance(properties, list) else ():
        if isinstance(each, list) and len(each) > 3 and each[0] == "email" and isinstance(each[3], str):
            text = each[3].strip()
            if _ADDRESS.fullmatch(text):
                yield text
