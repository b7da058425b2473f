"""Addresses as pasted into a form: words, one or more a line, `#` before a remark; every word that is none is named.

Pure. An IPv6 address stands for its network, as in `spamcannibal list add`; /128 is the host alone.
"""

import re
from typing import NamedTuple

from spamcannibal.addr import format_key, parse_listing_key
from spamcannibal.errors import AddrError

WRONG_LIMIT = 50


class Pasted(NamedTuple):
    """The keys, each once, in their order; line and text of the first WRONG_LIMIT of `wrong` mistakes."""

    keys: list[bytes]
    mistakes: list[tuple[int, str]]
    wrong: int


def key_text(key: bytes, is_exact: bool = False) -> str:
    """Return the text of a key; if exact, one that read_pasted takes for this very key."""
    return f"{format_key(key)}/128" if is_exact and len(key) == 16 else format_key(key)


def read_pasted(text: str, v6_plen: int, limit: int) -> Pasted:
    """Return what a text names; more than `limit` addresses are a mistake."""
    keys: dict[bytes, None] = {}
    mistakes: list[tuple[int, str]] = []
    wrong = 0
    for number, line in enumerate(re.split("\r\n|\r|\n", text), 1):
        for word in re.split(r"[\s,;]+", line.partition("#")[0]):
            if not word:
                continue
            try:
                key = parse_listing_key(word, v6_plen)
                if len(keys) >= limit and key not in keys:
                    return Pasted(
                        list(keys), [*mistakes, (number, f"too many: want at most {limit} addresses")], wrong + 1
                    )
                keys[key] = None
            except AddrError as error:
                wrong += 1
                if len(mistakes) < WRONG_LIMIT:
                    mistakes.append((number, str(error)))
    return Pasted(list(keys), mistakes, wrong)
