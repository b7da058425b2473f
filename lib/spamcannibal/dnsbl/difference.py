"""What changed in a zone between two serials, as records to delete and to add: a slice of the journal, condensed.

Each key that the slice names gives the places that it may touch (places.py); what stood there at either serial is asked
of the list as it was (store/past.py). TooLong where the whole zone is the better answer, Unavailable where the journal
does not reach back.
"""

from collections.abc import Iterator
from typing import NamedTuple

from spamcannibal.dnsbl import stream
from spamcannibal.dnsbl.export.entry import Entry, of_key
from spamcannibal.dnsbl.places import Place, label, owned, touched
from spamcannibal.dnsbl.shown import Shown, TooLong
from spamcannibal.dnsbl.stream import Record
from spamcannibal.dnsbl.zone import Zone
from spamcannibal.errors import Unavailable
from spamcannibal.store.past import Past
from spamcannibal.store.stores import Store

PLACE_LIMIT = 50_000
READ_LIMIT = 5000


class Difference(NamedTuple):
    deleted: list[Record]
    added: list[Record]


def difference(zone: Zone, store: Store, old_seq: int, new_seq: int, limit: int) -> Difference:
    """Return what became of a zone; `limit` is the number of changes from which on the zone is sent whole."""
    before, after = Shown(zone, Past(store, old_seq)), Shown(zone, Past(store, new_seq))
    places: set[Place] = set()
    for key in changed(store, old_seq, new_seq, limit):
        was, now = before.entry(key), after.entry(key)
        if was == now and (was is None or before.texts([was]) == after.texts([was])):
            continue
        for place in touched(of_key(key, b""), (before, after)):
            places.add(place)
            if len(places) > PLACE_LIMIT:
                raise TooLong(f"more than {PLACE_LIMIT} names to look at")
    return _compared(zone, before, after, sorted(places))


def changed(store: Store, old_seq: int, new_seq: int, limit: int) -> set[bytes]:
    """Return the keys that the journal names past one number up to another."""
    if new_seq - old_seq > limit:
        raise TooLong(f"{new_seq - old_seq} changes")
    keys: set[bytes] = set()
    at = old_seq
    while at < new_seq:
        changes = store.read(at, min(READ_LIMIT, new_seq - at))
        if not changes or changes[0].seq != at + 1 or changes[-1].seq != at + len(changes):
            raise Unavailable(f"the journal does not hold all changes past {old_seq}")
        keys.update(change.key for change in changes)
        at = changes[-1].seq
    return keys


def _compared(zone: Zone, before: Shown, after: Shown, places: list[Place]) -> Difference:
    pairs = [(place, owned(place, before), owned(place, after)) for place in places]
    old_texts = before.texts([was for _, was, _ in pairs if was is not None])
    new_texts = after.texts([now for _, _, now in pairs if now is not None])
    deleted: list[Record] = []
    added: list[Record] = []
    for place, was, now in pairs:
        gone, new = (list(_records(zone, place, entry, texts)) for entry, texts in ((was, old_texts), (now, new_texts)))
        deleted += [record for record in gone if record not in new]
        added += [record for record in new if record not in gone]
    return Difference(deleted, added)


def _records(zone: Zone, place: Place, entry: Entry | None, texts: dict[bytes, str]) -> Iterator[Record]:
    if entry is not None:
        yield from stream.listing(zone, label(place, entry), entry, texts.get(entry.key, ""))
