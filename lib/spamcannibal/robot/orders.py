"""Commands over signed mail: the signed text in, the orders that stand in its first paragraph out. Pure.

    list ADDRESS [for DURATION] [TEXT]     put it on the list; DURATION as 36h or 30d
    unlist ADDRESS [REASON]                take it off
    explain ADDRESS                        whether and why it is listed
    status                                 how the list stands

One order a line, up to ORDERS_LIMIT, one change an address; the first empty line ends them, so that a mail signature
may follow. An ADDRESS is an address (in IPv6 it stands for its network) or a prefix. One wrong line refuses them all:
half a plan is no plan.
"""

from dataclasses import dataclass

from spamcannibal.addr import format_key, listing_key, parse_addr, parse_key
from spamcannibal.decode import DURATIONS, nearest, parse_quantity, shown
from spamcannibal.errors import AddrError, WireError

ORDERS_LIMIT = 20
TEXT_LIMIT = 200
VERBS = ("list", "unlist", "explain", "status")


@dataclass(frozen=True, slots=True)
class Order:
    """What to do: `key` is what to list or unlist, or the address to explain; `text` why; 0 s: without an end."""

    verb: str
    key: bytes = b""
    text: str = ""
    expires_s: float = 0.0


def orders(text: str, v6_prefix: int = 64) -> tuple[Order, ...]:
    """Return the orders of a text, none if it does not begin with one; WireError names the line that is wrong."""
    lines = [line.strip() for line in text.strip().split("\n")]
    if lines[0].partition(" ")[0].lower() not in VERBS:
        return ()
    end = next((i for i, line in enumerate(lines) if not line or line == "--"), len(lines))
    if end > ORDERS_LIMIT:
        raise WireError(f"{end} commands in one mail, want at most {ORDERS_LIMIT}")
    found = tuple(_order(line, number, v6_prefix) for number, line in enumerate(lines[:end], 1))
    changed = [order.key for order in found if order.verb in ("list", "unlist")]
    twice = next((key for key in changed if changed.count(key) > 1), None)
    if twice:
        raise WireError(f"two commands about {format_key(twice)}; nothing was done")
    return found


def _order(line: str, number: int, v6_prefix: int) -> Order:
    verb, *rest = line.split(None, 1)
    verb = verb.lower()
    if verb not in VERBS:
        raise WireError(f"line {number}: unknown command {shown(verb)}{nearest(verb, VERBS)}; nothing was done")
    if verb == "status":
        return Order(verb)
    if not rest:
        raise WireError(f"line {number}: {verb}: no address; nothing was done")
    word, *more = rest[0].split(None, 1)
    try:
        key = _key(word, verb, v6_prefix)
    except AddrError as error:
        raise WireError(f"line {number}: {error}; nothing was done") from None
    text, expires_s = (more or [""])[0], 0.0
    if verb == "list" and text.split(None, 1)[:1] == ["for"]:
        expires_s, text = _duration(text, number)
    return Order(verb, key, "".join(c if c.isprintable() else " " for c in text)[:TEXT_LIMIT], expires_s)


def _key(word: str, verb: str, v6_prefix: int) -> bytes:
    if "/" in word or verb == "explain":
        return parse_key(word)
    return listing_key(parse_addr(word), v6_prefix)


def _duration(text: str, number: int) -> tuple[float, str]:
    """Return the seconds after "for", and the rest."""
    _, *words = text.split(None, 2)
    seconds = parse_quantity(words[0], DURATIONS) if words else None
    if not seconds:
        raise WireError(f"line {number}: after `for` got {shown(words[0] if words else '')}, want 36h or 30d")
    return seconds, words[1] if len(words) > 1 else ""
