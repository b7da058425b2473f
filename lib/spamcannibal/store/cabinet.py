"""Small records of the web pages and their like: users, sessions, tokens, requests; a drawer for each kind.

    database `cabinet`
    drawer, ASCII · 0 u8 · id, UTF-8    until_ms u64 (0: no end) · the record as JSON
    drawer, ASCII · 0 u8                how many records the drawer holds, u64

A drawer has a limit. A record whose time is over is not given any more; it goes when the drawer is swept, which a full
drawer does by itself before it refuses. Drawers of PASSING hold what a restored copy must not bring back.
"""

from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

import msgspec

from spamcannibal.errors import StoreError, Unavailable
from spamcannibal.layout import pack_seq, unpack_seq
from spamcannibal.store.env import Env, Txn
from spamcannibal.store.lines import KeptValue
from spamcannibal.store.stores import scan

T = TypeVar("T")
Row = tuple[bytes, bytes]

ID_LIMIT_BYTES = 256
SWEEP_LIMIT = 1000
PASSING = frozenset({"session", "attempt", "gate", "draft", "bouncer"})
_SIZE = 8


class Drawer(Generic[T]):
    """The records of one kind, each a `kind` (a msgspec.Struct) under an id; at most `limit`."""

    def __init__(self, env: Env, name: str, kind: type[T], limit: int) -> None:
        self._env = env
        self._name = name
        self._head = name.encode("ascii") + b"\0"
        self._decode = msgspec.json.Decoder(kind).decode
        self._limit = limit

    def get(self, id_: str, now: float) -> T | None:
        """Return the record of an id; None if there is none, or its time is over."""
        if not id_ or len(id_.encode()) > ID_LIMIT_BYTES:
            return None
        data = self._env.read(lambda: self._env.db("cabinet").get(self._key(id_)))
        return None if data is None or _is_over(data, now) else self._value(data)

    def put(self, id_: str, record: T, now: float, until: float = 0.0) -> None:
        """Keep a record until then (0: for ever), durably; Unavailable if the drawer is full."""
        self.change(id_, lambda old: record, now, until)

    def change(self, id_: str, fn: Callable[[T | None], T | None], now: float, until: float = 0.0) -> T | None:
        """Put fn(record) in the record's place, in one transaction, and return it; None takes it out.

        `fn` gets None where there is no record that counts. It may be called twice; what it raises changes nothing.
        """
        return self._change(id_, lambda old, txn: fn(old), now, until)

    def change_among(
        self, id_: str, fn: Callable[[dict[str, T]], T | None], now: float, until: float = 0.0
    ) -> T | None:
        """As change, with fn(all records by their ids), all of one moment: for a drawer that is small."""
        return self._change(id_, lambda _, txn: fn(self._all(now, txn)), now, until)

    def _change(self, id_: str, fn: Callable[[T | None, Txn], T | None], now: float, until: float) -> T | None:
        key = self._key(id_)

        def write(txn: Txn) -> T | None:
            db = self._env.db("cabinet")
            data = db.get(key, txn=txn)
            made = fn(None if data is None or _is_over(data, now) else self._value(data), txn)
            if made is None:
                self._remove([key] if data is not None else [], txn)
                return None
            if data is None:
                self._make_room(now, txn)
            db.put(key, pack_seq(int(until * 1000)) + msgspec.json.encode(made), txn)
            return made

        return self._env.run(write)

    def take(self, id_: str, now: float) -> T | None:
        """Take a record out and return it: whoever asks again gets None."""
        taken: list[T | None] = []
        self.change(id_, taken.append, now)
        return taken[-1]

    def page(self, after: str, limit: int, now: float) -> list[tuple[str, T]]:
        """Return up to `limit` (id, record) past `after` ("": from the first) in order of ids, without what is over."""
        start = self._head + after.encode() + b"\0"
        rows: list[Row] = []
        while len(rows) < limit:
            page = _scan(self._env, start, limit)
            mine = [row for row in page if row[0].startswith(self._head)]
            rows += [row for row in mine if not _is_over(row[1], now)]
            if len(mine) < limit:
                break
            start = mine[-1][0] + b"\0"
        return [(key[len(self._head) :].decode(), self._value(data)) for key, data in rows[:limit]]

    def count(self) -> int:
        """Return how many there are, those whose time is over and that no sweep has met yet among them."""
        return self._env.read(lambda: self._count(None))

    def sweep(self, now: float) -> int:
        """Remove some records whose time is over; return how many."""
        return self._env.run(lambda txn: self._sweep(now, txn), durable=False)

    def _all(self, now: float, txn: Txn) -> dict[str, T]:
        rows = scan(self._env.db("cabinet"), self._head + b"\0", self._limit, txn)
        mine = [(key[len(self._head) :].decode(), data) for key, data in rows if key.startswith(self._head)]
        return {id_: self._value(data) for id_, data in mine if not _is_over(data, now)}

    def _key(self, id_: str) -> bytes:
        key = id_.encode()
        if not 0 < len(key) <= ID_LIMIT_BYTES:
            raise StoreError(f"cabinet: {self._name}: an id of {len(key)} bytes, want 1 to {ID_LIMIT_BYTES}")
        return self._head + key

    def _value(self, data: bytes) -> T:
        try:
            return self._decode(data[_SIZE:])
        except msgspec.MsgspecError as error:
            raise StoreError(f"cabinet: {self._name}: damaged record ({error})") from None

    def _count(self, txn: Txn) -> int:
        data = self._env.db("cabinet").get(self._head, txn=txn)
        return 0 if data is None else unpack_seq(data)

    def _make_room(self, now: float, txn: Txn) -> None:
        """Count one more; sweep first if that is too many."""
        if self._count(txn) >= self._limit and not self._sweep(now, txn):
            raise Unavailable(f"cabinet: {self._name}: {self._limit} are kept already; try later")
        self._env.db("cabinet").put(self._head, pack_seq(self._count(txn) + 1), txn)

    def _sweep(self, now: float, txn: Txn) -> int:
        start, over = self._head + b"\0", list[bytes]()
        while len(over) < SWEEP_LIMIT:
            rows = scan(self._env.db("cabinet"), start, SWEEP_LIMIT, txn)
            mine = [row for row in rows if row[0].startswith(self._head)]
            over += [key for key, data in mine if _is_over(data, now)]
            if len(mine) < SWEEP_LIMIT:
                break
            start = mine[-1][0] + b"\0"
        self._remove(over, txn)
        return len(over)

    def _remove(self, keys: list[bytes], txn: Txn) -> None:
        db = self._env.db("cabinet")
        for key in keys:
            db.delete(key, txn)
        if keys:
            db.put(self._head, pack_seq(max(0, self._count(txn) - len(keys))), txn)


def kept(env: Env) -> Iterator[KeptValue]:
    """Yield the records of all drawers but those of PASSING."""
    start = b""
    while rows := _scan(env, start, SWEEP_LIMIT):
        for key, data in rows:
            drawer, _, id_ = key.decode("utf-8", "replace").partition("\0")
            if id_ and drawer not in PASSING:
                yield KeptValue(drawer, id_, unpack_seq(data[:_SIZE]), data[_SIZE:])
        start = rows[-1][0] + b"\0"


def bring_back(env: Env, record: KeptValue, txn: Txn) -> None:
    """Put a record of a dump into its drawer, whatever that one's limit."""
    db, head = env.db("cabinet"), record.drawer.encode("ascii") + b"\0"
    key = head + record.id.encode()
    if not db.exists(key, txn=txn):
        count = db.get(head, txn=txn)
        db.put(head, pack_seq((unpack_seq(count) if count else 0) + 1), txn)
    db.put(key, pack_seq(record.until_ms) + record.value, txn)


def fault(row: Row) -> str | None:
    """Say what is wrong with a raw row, None if nothing is."""
    key, data = row
    drawer, mark, id_ = key.partition(b"\0")
    if not drawer or not mark:
        return "a key without a drawer"
    if len(data) < _SIZE or (not id_ and len(data) != _SIZE):
        return f"a record of {len(data)} bytes"
    try:
        id_.decode()
        if id_:
            msgspec.json.decode(data[_SIZE:])
    except (UnicodeDecodeError, msgspec.MsgspecError) as error:
        return str(error)
    return None


def _scan(env: Env, start: bytes, limit: int) -> list[Row]:
    return env.read(lambda: scan(env.db("cabinet"), start, limit))


def _is_over(data: bytes, now: float) -> bool:
    until_ms = unpack_seq(data[:_SIZE])
    return 0 < until_ms <= now * 1000
