"""What visitors write for an address or prefix, read generously: blanks, brackets, 192-0-2-7, host bits. Pure.

Whatever is meant has one spelling, that of addr.format_key, to which pages redirect. What our own forms and links say
beside it is read strictly: a search that left out what it does not understand would find too much.
"""

import re
from collections.abc import Collection

from spamcannibal.addr import make_key, mask, parse_addr, parse_key
from spamcannibal.errors import AddrError

TEXT_LIMIT = 200
DIGITS_LIMIT = 19  # of a change's number: some of an unsigned 64-bit one's


def read_key(text: str) -> bytes:
    """Return the key that a text means; AddrError says why it means none."""
    text = text.strip()[:TEXT_LIMIT].removeprefix("[").removesuffix("]")
    if re.fullmatch(r"[0-9]{1,3}(-[0-9]{1,3}){3}(/[0-9]{1,3})?", text):
        text = text.replace("-", ".")
    host, slash, length = text.partition("/")
    if slash and re.fullmatch("[0-9]{1,3}", length):
        addr = parse_addr(host)
        size = len(addr) * 8
        # An IPv4-mapped prefix is for parse_key, which knows its shorter length.
        if ":" not in host or size == 128:
            plen = int(length)
            if plen <= size:
                return make_key(mask(addr, plen), plen)
    return parse_key(text)


def read_addr(text: str) -> bytes:
    """Return the address that a text means; AddrError says why it means none, a prefix among them."""
    key = read_key(text)
    if len(key) not in (4, 16):
        raise AddrError("that is a network: want one address in it")
    return key


def read_number(name: str, text: str) -> int:
    """Return a change's number, 0 for an empty text; AddrError if it is none."""
    if text and not (text.isascii() and text.isdigit() and len(text) <= DIGITS_LIMIT):
        raise AddrError(f"{name}: want the number of a change")
    return int(text or 0)


def read_choice(name: str, text: str, choices: Collection[str]) -> str:
    """Return a text that is empty or one of the choices; AddrError if it is not."""
    if text and text not in choices:
        raise AddrError(f"{name}: want one of {', '.join(choices)}")
    return text
