"""An address inside a name: the forms in which providers write one, found and marked.

| mark | stands for |
|---|---|
| @ | the whole address |
| % | the last two or three octets of an IPv4 address, or the lower half of an IPv6 address |
| & | the last octet of an IPv4 address |

The forms of 192.0.2.7: 192-0-2-7, 7-2-0-192, 192-000-002-007, 192000002007, c0-00-02-07, c0000207, 070200c0 and
3221225991; of 2001:db8::7: 2001-db8--7, 2001-db8-0-0-0-0-0-7, 2001-0db8-…-0007, all nibbles together or apart, forward
or backward. Dots, underscores and an x between digits count as hyphens. No form is taken out of a longer number.
"""

import re

from spamcannibal.addr import format_addr

HEX = frozenset("0123456789abcdef")
DIGITS = frozenset("0123456789")
LEAST_NUMBER = 8  # digits of an address as one number: shorter ones may be anything

_SEPARATORS = str.maketrans("._", "--")
_CROSS = re.compile("(?<=[0-9a-f])x(?=[0-9a-f])")

# (text, the characters that must not stand beside it)
Form = tuple[str, frozenset[str]]


def marked(addr: bytes, name: str) -> str:
    """Return a name in lower case with the address in it replaced by "-@-", "-%-" or "-&-", the longest form found."""
    name = name.lower()
    evened = _CROSS.sub("-", name.translate(_SEPARATORS))
    kinds = _v4_forms(addr) if len(addr) == 4 else _v6_forms(addr)
    for mark, forms in zip("@%&", kinds, strict=False):
        for text, kin in forms:
            at = _find(evened, text, kin)
            if at >= 0:
                return f"{name[:at]}-{mark}-{name[at + len(text) :]}"
    return name


def _find(name: str, text: str, kin: frozenset[str]) -> int:
    """Return where a text stands alone in a name, -1 for nowhere."""
    at = name.find(text)
    while at >= 0:
        end = at + len(text)
        if (at == 0 or name[at - 1] not in kin) and (end == len(name) or name[end] not in kin):
            return at
        at = name.find(text, at + 1)
    return -1


def _v4_forms(addr: bytes) -> tuple[list[Form], list[Form], list[Form]]:
    """Return the forms of the whole address, of parts of it, and of its last octet."""
    whole = [*_octets(addr), *_octets(addr[::-1])]
    number = str(int.from_bytes(addr, "big"))
    if len(number) >= LEAST_NUMBER:
        whole.append((number, DIGITS))
    parts = [form for size in (3, 2) for part in (addr[-size:], addr[-size:][::-1]) for form in _octets(part)]
    last = [(str(addr[3]), DIGITS), (f"{addr[3]:03}", DIGITS)]
    return whole, [form for form in parts if len(form[0]) > 2 and not _is_short_hex(form)], last


def _octets(octets: bytes) -> list[Form]:
    """Return the forms of octets in this order."""
    plain, padded = map(str, octets), [f"{octet:03}" for octet in octets]
    digits = [f"{octet:02x}" for octet in octets]
    return [
        ("-".join(plain), DIGITS),
        ("-".join(padded), DIGITS),
        ("".join(padded), DIGITS),
        ("-".join(digits), HEX),
        ("".join(digits), HEX),
    ]


def _is_short_hex(form: Form) -> bool:
    """Tell whether a form is four hexadecimal digits, which are too often something else."""
    return form[1] is HEX and len(form[0]) < 6


def _v6_forms(addr: bytes) -> tuple[list[Form], list[Form]]:
    """Return the forms of the whole address and of its lower half."""
    nibbles = addr.hex()
    whole = [format_addr(addr).replace(":", "-"), *_groups(nibbles)]
    for digits in (nibbles, nibbles[::-1]):
        whole += [digits, "-".join(digits)]
    return [(text, HEX) for text in whole], [(text, HEX) for text in (*_groups(nibbles[16:]), nibbles[16:])]


def _groups(nibbles: str) -> list[str]:
    """Return groups of four nibbles, padded and not."""
    groups = [nibbles[i : i + 4] for i in range(0, len(nibbles), 4)]
    return ["-".join(groups), "-".join(group.lstrip("0") or "0" for group in groups)]
