"""What the activity report is made of, gathered by whoever has it. Pure."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from spamcannibal.activity.figures import Figures, Hold, Lists
from spamcannibal.activity.now import Now

SHOWN = 50  # rows of a list
VERDICTS = ("held", "dropped", "observed", "passed", "unseen")
REPLIES = {
    "dns.NOERROR": "listed or other data",
    "dns.NXDOMAIN": "not listed",
    "dns.REFUSED": "refused",
    "dns.SERVFAIL": "failed",
    "dns.FORMERR": "malformed",
    "dns.limited": "rate limited",
    "dns.silent": "without a reply",
}
DRAWN_REPLIES = ("dns.NOERROR", "dns.NXDOMAIN", "dns.REFUSED", "dns.limited")


@dataclass(frozen=True)
class Facts:
    """What a report is made of: spans of `unit` from `since_s` up to `until_s`, and the rest as of `now_ms`.

    `hours` are the figures by hour, for the hours of the day; `country` names an address's country, None without a
    database; `remote` has (list, state, hits); `uncounted` changes of the list are missing.
    """

    now_ms: int
    unit: int
    since_s: int
    until_s: int
    spans: Sequence[tuple[int, Figures]]
    hours: Sequence[tuple[int, Figures]]
    lists: Lists
    minute: tuple[int, Figures] | None
    tarpit: Now | None
    gone: Sequence[Hold]
    listings: int
    remote: Sequence[tuple[str, str, int | None]] = ()
    country: Callable[[bytes], str | None] | None = None
    hold_gap_ms: int = 600_000
    uncounted: int = 0
    inert: Callable[[str], str] = str  # makes outside text harmless
    source: Callable[[str], str] = str  # how the source of a change is told

    @property
    def uncounted_words(self) -> str:
        """What a reader must know if changes are missing, "" if none are."""
        return f"{self.uncounted:,} changes are not counted yet." if self.uncounted else ""
