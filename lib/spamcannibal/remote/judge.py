"""Replies -> verdicts: which answers of a list count. Pure; the rules and the reasons for them stand in lists.py."""

from collections.abc import Sequence
from typing import NamedTuple

from spamcannibal.addr import format_addr
from spamcannibal.remote.exchange import Outcome as Heard
from spamcannibal.remote.lists import Codes, RemoteList, is_refusal, parse_codes
from spamcannibal.remote.verdict import Found, Outcome, Pointers, Verdict
from spamcannibal.remote.wire import NXDOMAIN

TEXT_LIMIT = 1000
ODD_SHOWN = 3


class _Rule(NamedTuple):
    codes: Codes
    reason: str
    weight: float
    place: int


class Judge:
    """Judges the replies of one list."""

    def __init__(self, one: RemoteList) -> None:
        self.list = one
        self._rules: list[_Rule] = []
        for place, rule in enumerate(one.accept):
            codes = parse_codes(rule.codes)
            if codes is not None:
                weight = one.weight if rule.weight is None else rule.weight
                self._rules.append(_Rule(codes, rule.reason, weight, place))

    def verdict(self, heard: Heard) -> Verdict:
        """Return what the answer to an A question means; its text is not known yet."""
        zone = self.list.zone
        if isinstance(heard, str):
            return unknown(zone, heard)
        if not heard.data:
            return Verdict(zone, Outcome.CLEAR, ttl_s=heard.ttl_s)
        odd = self._odd(heard.data)
        if odd:
            return unknown(zone, odd)
        rules = [(code, rule) for code in heard.data for rule in (self._rule(code),) if rule is not None]
        if not rules:
            codes = ", ".join(map(format_addr, heard.data[:ODD_SHOWN]))
            return Verdict(zone, Outcome.CLEAR, reason=f"{codes}: no accept rule takes it", ttl_s=heard.ttl_s)
        top = max((rule for _, rule in rules), key=_heaviness)
        taken = tuple(code for code, _ in rules)
        return Verdict(zone, Outcome.LISTED, taken, top.reason, "", top.weight, heard.ttl_s)

    def _odd(self, codes: Sequence[bytes]) -> str:
        """Say what in an answer makes all of it worthless, "" if nothing does."""
        outside = [code for code in codes if code[0] != 127]
        if outside:
            return f"{', '.join(map(format_addr, outside[:ODD_SHOWN]))}: no answer of a list, which lie in 127/8"
        refused = next((code for code in codes if is_refusal(code) and not self._rule(code)), None)
        return f"{format_addr(refused)}: refused by the list" if refused else ""

    def _rule(self, code: bytes) -> _Rule | None:
        """Return the heaviest rule that takes a code."""
        if self.list.any:
            return None if is_refusal(code) else _Rule(Codes(0, 0), "", self.list.weight, 0)
        return max((rule for rule in self._rules if rule.codes.takes(code)), key=_heaviness, default=None)


def _heaviness(rule: _Rule) -> tuple[float, int]:
    """Order rules; of equal ones the first in the file is heavier, so that the order of answers does not matter."""
    return rule.weight, -rule.place


def unknown(zone: str, why: str) -> Verdict:
    return Verdict(zone, Outcome.UNKNOWN, reason=why)


def choose_text(heard: Heard) -> str:
    """Return the text of a TXT answer: the first that speaks of spam, else of SMTP, else the first; "" if none."""
    if isinstance(heard, str):
        return ""
    texts = [data.decode("utf-8", "replace")[:TEXT_LIMIT] for data in heard.data]
    for word in ("spam", "smtp", ""):
        found = next((text for text in texts if word in text.lower()), None)
        if found is not None:
            return found
    return ""


def pointers(heard: Heard) -> Pointers:
    """Return what the answer to a PTR question means."""
    if isinstance(heard, str):
        return Pointers(Found.UNKNOWN, reason=heard)
    if not heard.data:
        return Pointers(Found.MISSING, reason="NXDOMAIN" if heard.rcode == NXDOMAIN else "NODATA")
    return Pointers(Found.FOUND, tuple(name.decode("ascii") for name in heard.data))
