"""Count what nobody counted yet: changes in the journal, and the minutes that the DNS server noted in its spool.

Whoever writes may do it, and several at once may: how far each was counted stands beside the figures, in the same
transaction. The tarpit does it once a minute, the web pages and reports before they show anything.
"""

from pathlib import Path

from spamcannibal.activity.changes import count_changes
from spamcannibal.activity.figures import Entry
from spamcannibal.activity.spool import read_lines
from spamcannibal.errors import StoreError
from spamcannibal.store.activity import Activity
from spamcannibal.store.stores import Store

PAGE_LIMIT = 1000
CHANGES_LIMIT = 20_000  # a call: some tenth of a second
SPOOL_FILE = "dnsbl.activity"
SPOOL_LIMIT_BYTES = 4 << 20
TAIL_BYTES = 64 << 10


def catch_up(store: Store, activity: Activity, now: float, limit: int = CHANGES_LIMIT) -> int:
    """Count the spool and up to `limit` changes; return how many changes are left."""
    _spool(activity, Path(store.env.path) / SPOOL_FILE, now)
    done = 0
    while done < limit:
        place = activity.place("journal")
        changes = store.read(place, min(PAGE_LIMIT, limit - done))
        if not changes:
            return 0
        activity.take_over("journal", (place, changes[-1].seq), count_changes(changes), now)
        done += len(changes)
    return max(0, store.last_seq() - activity.place("journal"))


def _spool(activity: Activity, path: Path, now: float) -> None:
    """Take over what the DNS server noted since the last time."""
    place = activity.place("dnsbl")
    lines = list(read_lines(_tail(path, place), place))
    if lines:
        entries = [Entry(line.start, line.figures, line.lists) for line in lines]
        activity.take_over("dnsbl", (place, lines[-1].at), entries, now)


def _tail(path: Path, after: int) -> list[bytes]:
    """Return the file's last lines, all of it if the last few do not reach back to `after`."""
    try:
        with path.open("rb") as stream:
            size = stream.seek(0, 2)
            stream.seek(max(0, size - TAIL_BYTES))
            lines = stream.read(TAIL_BYTES).splitlines()
            if size <= TAIL_BYTES:
                return lines
            first = next(iter(read_lines(lines[1:], 0)), None)
            if first is not None and first.at <= after:
                return lines[1:]
            stream.seek(0)
            return stream.read(SPOOL_LIMIT_BYTES).splitlines()
    except FileNotFoundError:
        return []
    except OSError as error:
        raise StoreError(f"{path}: {error.strerror}") from None
