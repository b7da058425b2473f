"""Names and addresses as the DNS has them, for whoever has a question now and then and waits for its answer.

In: an address or a name. Out: what the resolvers of the settings say; None, unknown, if none of them does in time.
Questions about many addresses are those of Client. Each call has sockets of its own, so threads may ask at once.
"""

import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass

from spamcannibal.checks import is_name
from spamcannibal.remote.catalogue import resolvers
from spamcannibal.remote.query import AAAA, PTR, TXT, A, pack_name, pointer_name
from spamcannibal.remote.question import Question, Terms
from spamcannibal.remote.resolver import Resolver
from spamcannibal.settings.remote import RemoteSettings

ANSWERS_LIMIT = 32
SIZES = {A: 4, AAAA: 16}

Data = tuple[bytes, ...]


@dataclass(frozen=True)
class Resolved:
    """Asks the resolvers of the settings; a call takes at most `wait_s`. What it returns: see web.asked.Names."""

    remote: RemoteSettings
    wait_s: float = 3.0

    def pointers(self, addr: bytes) -> tuple[str, ...] | None:
        """Return the names that reverse DNS gives an address."""
        (found,) = self._ask([(pointer_name(addr), PTR)])
        return None if found is None else tuple(data.decode().rstrip(".") for data in found)

    def addresses(self, name: str) -> tuple[bytes, ...] | None:
        """Return the addresses of a name, none of what is no host's name."""
        if not is_name(name):
            return ()
        found = self._ask([(pack_name(name), qtype) for qtype in SIZES])
        known = [data for data in found if data is not None]
        return tuple(addr for data in known for addr in data) if len(known) == len(found) else None

    def texts(self, name: str) -> tuple[str, ...] | None:
        """Return the texts of a name's TXT records."""
        (found,) = self._ask([(pack_name(name), TXT)]) if is_name(name) else ((),)
        return None if found is None else tuple(data.decode("utf-8", "replace") for data in found)

    def _ask(self, asked: Sequence[tuple[bytes, int]]) -> list[Data | None]:
        """Ask all (name, type) at once; return what each answer holds, None for what is unknown."""
        remote, endpoints = self.remote, resolvers(self.remote)
        terms = Terms(len(endpoints), remote.tries, min(remote.retry_s, self.wait_s / 4), remote.mixed_case)
        found: list[Data | None] = [None] * len(asked)
        with closing(Resolver(endpoints, terms, len(asked), self.wait_s)) as resolver:
            for number, (name, qtype) in enumerate(asked):
                resolver.ask(Question(name, qtype, 0, self.wait_s, tag=number), time.monotonic())
            while resolver.in_flight:
                for question, outcome in resolver.turn(self.wait_s):
                    if not isinstance(outcome, str):
                        found[question.tag] = _fitting(outcome.data, question.qtype)
        return found


def _fitting(data: Data, qtype: int) -> Data:
    """Return so many records as pages need, of the length that their type has."""
    size = SIZES.get(qtype)
    return tuple(each for each in data if size is None or len(each) == size)[:ANSWERS_LIMIT]
