"""Changes of the list as figures: how many by kind, and by whom."""

from collections import Counter
from collections.abc import Iterable

from spamcannibal.activity.figures import MINUTE, Entry, Figures, Lists, rank, start_of
from spamcannibal.record import Action, Change

SOURCE_CHARS = 100
_RANKS = {Action.LIST: "listed", Action.UNLIST: "unlisted"}


def count_changes(changes: Iterable[Change]) -> list[Entry]:
    """Return an entry for each minute in which there were changes."""
    counts: dict[int, Counter[str]] = {}
    ranks: dict[int, dict[str, Counter[str]]] = {}
    for change in changes:
        start = start_of(MINUTE, change.time_ms / 1000)
        counts.setdefault(start, Counter())[f"list.{change.action.name.lower()}"] += 1
        name = _RANKS.get(change.action)
        if name:
            by = ranks.setdefault(start, {}).setdefault(name, Counter())
            by[change.source[:SOURCE_CHARS] or "-"] += 1
    return [
        Entry(start, Figures(dict(number)), Lists({name: rank(by) for name, by in ranks.get(start, {}).items()}))
        for start, number in counts.items()
    ]
