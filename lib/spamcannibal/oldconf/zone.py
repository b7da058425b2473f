"""dnsbls.conf -> a zone that we publish: [[dnsbl.zone]] and where the server listens. Pure."""

import re
from typing import Any

from spamcannibal.addr import format_addr, parse_addr
from spamcannibal.checks import is_address, is_contact, is_name
from spamcannibal.decode import shown
from spamcannibal.oldconf.perl import Node
from spamcannibal.oldconf.reader import Hash, Reader

TIMES = {
    "neg_cache": ("soa_ttl_s",),
    "minimum": ("minimum_s", "ttl_s"),
    "refresh": ("refresh_s",),
    "retry": ("retry_s",),
    "expire": ("expire_s",),
}
NO_PLACE = {
    "block": "zone transfers are refused unless [[dnsbl.zone]] transfer allows them",
    "log": "events are lines on stderr; see [log]",
    "verbose": "events are lines on stderr; see [log]",
    "127.0.0.2": "the test point is always there; the text of listings is [[dnsbl.zone]] text",
    "response": "test entries besides 127.0.0.2 have no place",
    "environment": "the old database is read by: spamcannibal db import",
    "tarpit": "the old database is read by: spamcannibal db import",
    "contrib": "the old database is read by: spamcannibal db import",
    "evidence": "the old database is read by: spamcannibal db import",
}


def zone(reader: Reader, found: Hash) -> None:
    """Take dnsbls.conf: one zone that we publish."""
    node = found["zonename"]
    name = (reader.text(node, "zonename") or "").strip().rstrip(".").lower()
    if not is_name(name):
        reader.note(node, "zonename", "not a domain name; the zone is left out")
        return
    if any(one["name"] == name for one in reader.into.zones):
        reader.note(node, "zonename", "an earlier file has this zone; it is left out")
        return
    made: dict[str, Any] = {"name": name}
    for key, value in found.items():
        if key == "contact":
            _contact(reader, made, value)
        elif key in TIMES:
            for field_name in TIMES[key]:
                if time_s := reader.duration(value, key, 1, 2**31 - 1):
                    made[field_name] = time_s
        elif key in ("ns", "mx", "host"):
            _hosts(reader, made, key, value)
        elif key == "port":
            _port(reader, value)
        elif key != "zonename":
            reader.note(value, key, NO_PLACE.get(key, "unknown here; left out"))
    if made.get("expire_s", 604_800) <= made.get("refresh_s", 900) + made.get("retry_s", 300):
        reader.note(node, "expire", "not above refresh + retry (RFC 1912); all three are left at their defaults")
        for key in ("expire_s", "refresh_s", "retry_s"):
            made.pop(key, None)
    reader.into.zones.append(made)


def _contact(reader: Reader, made: dict[str, Any], node: Node) -> None:
    text = (reader.text(node, "contact") or "").strip().rstrip(".")
    text = text if "@" in text else text.replace(".", "@", 1)
    if is_contact(text):
        made["contact"] = text
    else:
        reader.note(node, "contact", "not a mail address; left out")


def _hosts(reader: Reader, made: dict[str, Any], key: str, node: Node) -> None:
    """Take name servers, exchangers or hosts: names with an address, a preference or nothing."""
    for name, value in reader.hash(node, key).items():
        word = name.strip().rstrip(".").lower()
        if not is_name(word):
            reader.note(value, f"{key}.{name}", "not a host name; left out")
            continue
        if key == "ns":
            made.setdefault("ns", {})[word] = None
        for item, raw in reader.texts(value, f"{key}.{name}"):
            text = raw.strip()
            if is_address(text) and word == made["name"]:
                made.setdefault("addresses", {})[format_addr(parse_addr(text))] = None
            elif is_address(text) and word.endswith(f".{made['name']}"):
                made.setdefault("hosts", {})[f"{word} {format_addr(parse_addr(text))}"] = None
            elif key == "mx" and re.fullmatch("[0-9]{1,5}", text) and int(text) < 65536:
                made.setdefault("mx", {})[f"{int(text)} {word}"] = None
            elif text:
                reader.note(item, f"{key}.{name}", f"got {shown(text)}, which has no place; look at the zone")


def _port(reader: Reader, node: Node) -> None:
    text = (reader.text(node, "port") or "").strip()
    if re.fullmatch("[0-9]{1,5}", text) and 0 < int(text) < 65536:
        reader.set("dnsbl", "listen", [f"0.0.0.0:{int(text)}", f"[::]:{int(text)}"])
    else:
        reader.note(node, "port", "not a port; left out")
