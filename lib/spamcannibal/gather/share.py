"""A change of our list -> the report that another site is told, if we found it out ourselves. Pure.

| source | told |
|---|---|
| robot:, trap: | yes: proven here |
| gather: | yes: our own reporters were enough; not what an old log says (gather:import) |
| admin: | if the settings say so |
| peer: | never: it needs another site's word (tally.py) |
| blcheck:, import:, undo: and all others | never: others' word, or nobody's |

What is told must be published and in force. Removals are not told: the other site's own terms end what it made of our
report, and a site that takes our word for less than proof need not take our word for its end.
"""

from collections.abc import Collection
from typing import NamedTuple

from spamcannibal.gather.line import Report, clean
from spamcannibal.gather.standing import colour_of
from spamcannibal.record import PUBLISHED, Action, Change

KINDS = ("robot", "trap", "gather", "admin")


class Selection(NamedTuple):
    """What a site is told: kinds of sources, some of KINDS, and colours."""

    kinds: Collection[str] = ("robot", "trap", "gather")
    colours: Collection[str] = ("black",)

    def report(self, change: Change, now: float) -> Report | None:
        """Return what to tell of a change that is a listing's newest; None for nothing."""
        kind, _, name = change.source.partition(":")
        if kind not in self.kinds or (kind == "gather" and name.startswith("import ")):
            return None
        if change.action is Action.UNLIST or not change.flags & PUBLISHED:
            return None
        if change.expiry_ms and change.expiry_ms <= now * 1000:
            return None
        colour = colour_of(change.state)
        return Report(colour, change.key, clean(change.text)) if colour in self.colours else None
