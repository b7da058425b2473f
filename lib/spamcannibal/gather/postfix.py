"""The look-up protocols of Postfix: bytes in, requests and replies out. Pure.

| protocol | request | reply | source |
|---|---|---|---|
| policy | name=value lines, an empty line | action=ACTION, an empty line | SMTPD_POLICY_README |
| socketmap | netstring "NAME KEY" | netstring "OK VALUE", "NOTFOUND " | socketmap_table(5) |
| tcp_table | get KEY, an octet %XX where it must | 200 VALUE, 500 TEXT | tcp_table(5) |

A connection carries many requests. `take_*` return (request, rest of the bytes), None where more must come, and raise
WireError for what is none.
"""

import re
from collections.abc import Mapping

from spamcannibal.errors import WireError

POLICY_LIMIT_BYTES = 65536  # Postfix sends some 30 attributes; certificates' subjects are the longest
NETSTRING_LIMIT_BYTES = 1024
ACTIONS: Mapping[str, str] = {"dunno": "DUNNO", "reject": "REJECT", "defer": "DEFER"}
_QUOTED = re.compile(rb"%([0-9A-Fa-f]{2})")
_UNSAFE = re.compile(r"[^!-$&-~]")


def take_policy(data: bytes) -> tuple[dict[str, str], bytes] | None:
    """Take the attributes of one policy request; of a name that comes twice the last counts."""
    end = data.find(b"\n\n")
    if end < 0:
        if len(data) > POLICY_LIMIT_BYTES:
            raise WireError(f"policy request without an end, want at most {POLICY_LIMIT_BYTES} bytes")
        return None
    if end > POLICY_LIMIT_BYTES:
        raise WireError(f"policy request: got {end} bytes, want at most {POLICY_LIMIT_BYTES}")
    text = data[:end].decode("utf-8", "replace")
    attributes = dict(line.partition("=")[::2] for line in text.split("\n"))
    if attributes.get("request") != "smtpd_access_policy":
        raise WireError("policy request: want request=smtpd_access_policy")
    return attributes, data[end + 2 :]


def policy_reply(action: str) -> bytes:
    return f"action={action}\n\n".encode("ascii", "replace")


def take_netstring(data: bytes) -> tuple[bytes, bytes] | None:
    """Take the payload of one netstring."""
    digits, colon, rest = data.partition(b":")
    if not digits.isdigit() or len(digits) > 4 or (digits[:1] == b"0" and len(digits) > 1):
        raise WireError("netstring: want LENGTH:BYTES,")
    size = int(digits)
    if size > NETSTRING_LIMIT_BYTES:
        raise WireError(f"netstring: got {size} bytes, want at most {NETSTRING_LIMIT_BYTES}")
    if not colon or len(rest) <= size:
        return None
    if rest[size : size + 1] != b",":
        raise WireError("netstring: want a comma at its end")
    return rest[:size], rest[size + 1 :]


def socketmap_reply(value: str | None) -> bytes:
    """Return the reply that a key has this value, or (None) that there is none."""
    text = b"NOTFOUND " if value is None else b"OK " + value.encode("ascii", "replace")
    return b"%d:%s," % (len(text), text)


def parse_tcp_request(line: bytes) -> str:
    """Return the key of "get KEY"; `line` is without its end."""
    verb, _, key = line.partition(b" ")
    if verb != b"get" or not key:
        raise WireError("tcp_table request: want get KEY")
    return _QUOTED.sub(lambda found: bytes.fromhex(found[1].decode()), key).decode("utf-8", "replace")


def tcp_reply(value: str | None) -> bytes:
    """Return the reply that a key has this value, or (None) that there is none."""
    if value is None:
        return b"500 none\n"
    quoted = _UNSAFE.sub(lambda found: "".join(f"%{octet:02x}" for octet in found[0].encode()), value)
    return f"200 {quoted}\n".encode()


def access(act: str, text: str) -> str:
    """Return the action of access(5) for a listed client: `act` is dunno, reject or defer."""
    return ACTIONS[act] if act == "dunno" else f"{ACTIONS[act]} {text}"
