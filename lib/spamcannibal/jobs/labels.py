"""Zone labels of blcontrib: the original's names for our own rules, beside the domains of other people's lists.

| label | answer code | rule |
|---|---|---|
| BlackList | 127.0.0.5 | an address list of ours |
| in-addr.arpa | 127.0.0.4 | no reverse DNS, IPv6 too |
| genericPTR, formerly also ONLY_COUNT_ONE | 127.0.0.7 | names that a provider gives by the thousand |
| two capital letters | 127.0.0.6 | the country |
| a domain | that of the list | another list said so |
"""

from enum import Enum

BLOCK, MISSING_PTR, GENERIC_PTR = "BlackList", "in-addr.arpa", "genericPTR"
REVERSE = "reverse DNS"  # what the second and the third are told by


class Kind(Enum):
    BLOCK = bytes((127, 0, 0, 5))
    MISSING_PTR = bytes((127, 0, 0, 4))
    GENERIC_PTR = bytes((127, 0, 0, 7))
    COUNTRY = bytes((127, 0, 0, 6))
    REMOTE = bytes((127, 0, 0, 3))

    @property
    def code(self) -> bytes:
        """Our answer code; of REMOTE the default."""
        return self.value


# What [jobs] calls the rules.
SETTINGS = {
    Kind.BLOCK: "block_list",
    Kind.MISSING_PTR: "missing_ptr",
    Kind.GENERIC_PTR: "generic_ptr",
    Kind.COUNTRY: "countries",
}

_KINDS = {
    BLOCK: Kind.BLOCK,
    MISSING_PTR: Kind.MISSING_PTR,
    GENERIC_PTR: Kind.GENERIC_PTR,
    "ONLY_COUNT_ONE": Kind.GENERIC_PTR,
}


def kind_of(zone: str) -> Kind:
    """Return whose word a label stands for."""
    if len(zone) == 2 and zone.isascii() and zone.isupper() and zone.isalpha():
        return Kind.COUNTRY
    return _KINDS.get(zone, Kind.REMOTE)
