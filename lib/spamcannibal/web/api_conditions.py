"""Conditions of requests on listings (RFC 9110, section 13): a listing's entity tag is the number of its newest change.

Pure. An If-Match or If-None-Match that does not hold is a Problem; 0 stands for what is not listed.
"""

from typing import NamedTuple

from spamcannibal.web.api_problem import Problem


class Conditions(NamedTuple):
    """The two fields as they came, "" where there is none."""

    if_match: str = ""
    if_none_match: str = ""

    def check(self, seq: int) -> None:
        """Raise Problem unless they hold for a listing whose newest change is `seq`."""
        is_tag = f'its entity tag is "{seq}"' if seq else "it is not listed"
        if self.if_match and not _names(self.if_match, seq):
            raise Problem("changed", f"If-Match does not hold: {is_tag}")
        if self.if_none_match and _names(self.if_none_match, seq):
            raise Problem("changed", f"If-None-Match does not hold: {is_tag}")


def _names(field: str, seq: int) -> bool:
    tags = {word.strip() for word in field.split(",")}
    return seq > 0 and not tags.isdisjoint(("*", f'"{seq}"'))
