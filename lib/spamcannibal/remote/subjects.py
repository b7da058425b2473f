"""Who can be asked about an address: a remote list, or reverse DNS. Pure: names to ask for, answers to believe."""

from typing import NamedTuple, Protocol

from spamcannibal.remote.exchange import Outcome as Heard
from spamcannibal.remote.judge import Judge, pointers, unknown
from spamcannibal.remote.lists import RemoteList
from spamcannibal.remote.query import PTR, A, list_name, pack_name, pointer_name
from spamcannibal.remote.verdict import Found, Outcome, Pointers, Verdict

Answer = Verdict | Pointers

REVERSE = "in-addr.arpa"


class Read(NamedTuple):
    """An answer, how long it may be kept, and whether it says anything; `wants_text` asks for a TXT record too."""

    answer: Answer
    ttl_s: int
    is_usable: bool
    is_hit: bool = False
    wants_text: bool = False


class Subject(Protocol):
    """Who is asked. `zone` may be shown; a name may not, since it may hold a key."""

    zone: str
    qtype: int

    def speaks(self, addr: bytes) -> bool:
        """Tell whether it can be asked about an address."""

    def name(self, addr: bytes) -> bytes:
        """Return the name to ask for."""

    def read(self, heard: Heard) -> Read:
        """Return what was heard as an answer."""

    def unasked(self, why: str) -> Answer:
        """Return the answer of one who was not asked."""


class ListSubject:
    """A remote list, with the key of a keyed one."""

    def __init__(self, one: RemoteList, key: str = "") -> None:
        self.zone, self.qtype = one.zone, A
        self.suffix = pack_name(f"{key}.{one.zone}" if key else one.zone)
        self._list, self._judge = one, Judge(one)

    def speaks(self, addr: bytes) -> bool:
        return self._list.speaks(addr)

    def name(self, addr: bytes) -> bytes:
        return list_name(addr, self.suffix)

    def read(self, heard: Heard) -> Read:
        verdict = self._judge.verdict(heard)
        is_hit = verdict.outcome is Outcome.LISTED
        return Read(verdict, verdict.ttl_s, verdict.outcome is not Outcome.UNKNOWN, is_hit, is_hit and self._list.text)

    def unasked(self, why: str) -> Answer:
        return unknown(self.zone, why)


class ReverseSubject:
    """Reverse DNS."""

    zone, qtype = REVERSE, PTR

    def speaks(self, addr: bytes) -> bool:
        return True

    def name(self, addr: bytes) -> bytes:
        return pointer_name(addr)

    def read(self, heard: Heard) -> Read:
        found = pointers(heard)
        ttl_s = 0 if isinstance(heard, str) else heard.ttl_s
        return Read(found, ttl_s, found.outcome is not Found.UNKNOWN, is_hit=found.outcome is Found.MISSING)

    def unasked(self, why: str) -> Answer:
        return Pointers(Found.UNKNOWN, reason=why)
