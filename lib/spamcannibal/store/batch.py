"""One writing transaction: listings, removals and amendments with everything that belongs to them.

A Batch lives inside one Env.run. It keeps the tally in memory and hands out sequence numbers; `finish` writes the
tally back. Since only one writer is inside at a time, numbers are gapless and in commit order, and what an aborted
transaction numbered is numbered again.

    list     tarpit · evidence or blcontrib · expiry · journal · history;  the address leaves archive
    amend    tarpit · expiry · journal · history
    unlist   tarpit, evidence, blcontrib and expiry go · journal · history keeps what went, for undo

What was proven here (evidence) stands above what another list told us (blcontrib): hearsay does not change a proven
listing, proof turns hearsay into a proven listing. Hearsay never carries the code 127.0.0.2. A listing on trial
(SHADOW) stands above nothing: what is listed for good takes its place, and confirms it if another source does so.
"""

from typing import Any

import msgspec

from spamcannibal import layout, record
from spamcannibal.errors import Unavailable
from spamcannibal.record import EXCLUDED, SHADOW, Action, Cause, Change, Contrib, Listing, Mode, Piece
from spamcannibal.store.contacts import match, read_tally, touch, write_tally
from spamcannibal.store.env import Env, Txn
from spamcannibal.store.handles import LOADING_KEY, NAMES
from spamcannibal.store.trial_rows import NAME, TRIAL, confirmed_key, pack_count, unpack_count

UNASKED = frozenset({"admin", "promote", "load", "undo"})  # who says nothing about whether a trial is right
Pieces = list[Piece]  # inside the class, `list` is the method


def history_row(key: bytes, seq: int) -> bytes:
    """Give the key of history: the length in front keeps the rows of one key together."""
    return bytes((len(key),)) + key + layout.pack_seq(seq)


class Hearsay(msgspec.Struct, frozen=True):
    """Who told us: every list that caused the entry, the heaviest first."""

    causes: tuple[Cause, ...]


class NewListing(msgspec.Struct, frozen=True):
    """What to list and why. With `contrib` it is hearsay; otherwise proven, by `evidence` or else by `text`."""

    key: bytes
    code: bytes = record.PROVEN_CODE
    text: str = ""
    source: str = ""
    mode: Mode = Mode.DEFAULT
    expiry_ms: int = 0
    evidence: bytes | None = None
    contrib: Hearsay | None = None
    flags: int = 0


class Limits(msgspec.Struct, frozen=True):
    """How much evidence is kept for one key: bytes of a piece, newest pieces."""

    evidence_bytes: int = 10_000
    evidence_pieces: int = 16


class Batch:
    """The state of one transaction."""

    def __init__(self, env: Env, txn: Txn, now_ms: int, limits: Limits) -> None:
        self._env = env
        self._tarpit, self._archive, self._blcontrib, self._evidence, self._journals, self._history, self._expiry = (
            env.db(name) for name in NAMES[:7]
        )
        self.txn = txn
        self._now_ms = now_ms
        self._limits = limits
        if env.db("meta").exists(LOADING_KEY, txn=txn):
            raise Unavailable(
                f"{env.path}: a dump is being loaded; wait, or if that failed run `spamcannibal db load` again"
            )
        self.tally = read_tally(env, txn)

    def finish(self) -> None:
        write_tally(self._env, self.txn, self.tally)

    def list(self, item: NewListing) -> int:
        """List or amend; give the journal record's number, or the one that already says so."""
        return self.list_over(item, self.raw_of(item.key))

    def raw_of(self, key: bytes) -> bytes | None:
        """Give what tarpit holds for a key, if anything."""
        raw: bytes | None = self._tarpit.get(key, txn=self.txn)
        return raw

    def list_over(self, item: NewListing, raw: bytes | None) -> int:
        """Do what `list` does where raw_of gave `raw` in this transaction, and nothing changed the key since."""
        is_trial = raw is not None and layout.is_shadow(raw) and not item.flags & SHADOW
        is_hearsay = item.contrib is not None and not is_trial
        if is_hearsay and raw is not None and self._evidence.exists(item.key, txn=self.txn):
            return layout.unpack_listing(raw).seq
        code = self._justify(item, is_new=raw is None)
        wanted = Wanted(code, item.mode, item.flags, item.expiry_ms, item.text)
        if raw is None:
            return self._insert(item.key, wanted, item.source)
        return self._change(item.key, layout.unpack_listing(raw), wanted, item.source)

    def amend(self, key: bytes, changes: "Amendment", source: str) -> int:
        """Change what is not None in changes; give the number, 0 if the key is not listed."""
        raw = self._tarpit.get(key, txn=self.txn)
        if raw is None:
            return 0
        old = layout.unpack_listing(raw)
        given = {name: value for name, value in msgspec.structs.asdict(changes).items() if value is not None}
        return self._change(key, old, msgspec.structs.replace(self._wanted(old), **given), source)

    def unlist(self, key: bytes, source: str, reason: str) -> int:
        """Remove a listing with its evidence; give the number, 0 if the key is not listed."""
        raw = self._tarpit.get(key, txn=self.txn)
        if raw is None:
            return 0
        old = layout.unpack_listing(raw)
        self._tarpit.delete(key, self.txn)
        self.tally.count(key, -1)
        if old.expiry_ms:
            self._expiry.delete(layout.pack_seq(old.expiry_ms) + key, self.txn)
        contrib, evidence = (self._take(store, key) for store in (self._blcontrib, self._evidence))
        self.tally.blcontrib -= contrib is not None
        self.tally.evidence -= evidence is not None
        self._take(self._env.db(NAME), TRIAL + key)
        ended = Wanted(old.code, old.mode, old.flags, old.expiry_ms, reason)
        return self._journal(Action.UNLIST, key, ended, source, layout.pack_removed(contrib, evidence))

    def restore(self, key: bytes, wanted: "Wanted", contrib: Contrib | None, pieces: Pieces, source: str) -> int:
        """Make a listing what it was, with its reasons: hearsay or evidence, not both; give the number."""
        for name, data in (
            ("blcontrib", layout.pack_contrib(contrib) if contrib else None),
            ("evidence", layout.pack_evidence(pieces) if pieces else None),
        ):
            store = self._env.db(name)
            had = self._take(store, key) is not None
            if data is not None:
                store.put(key, data, self.txn)
            setattr(self.tally, name, getattr(self.tally, name) - had + (data is not None))
        raw = self._tarpit.get(key, txn=self.txn)
        if raw is None:
            return self._insert(key, wanted, source)
        return self._change(key, layout.unpack_listing(raw), wanted, source)

    def leap(self, seq: int) -> None:
        """Go on counting past `seq`, by saying the newest change once more; see restore.py."""
        raw = self._journals.get(layout.pack_seq(self.tally.seq), txn=self.txn)
        if raw is None or self.tally.seq > seq:
            return
        change = layout.unpack_change(self.tally.seq, raw)
        said = Wanted(change.code, change.mode, change.flags, change.expiry_ms, change.text)
        self.tally.seq = seq
        if change.action is Action.UNLIST:
            self._journal(Action.UNLIST, change.key, said, change.source)
            return
        listing = layout.unpack_listing(self._tarpit.get(change.key, txn=self.txn))
        number = self._journal(Action.AMEND, change.key, said, change.source)
        self._put(change.key, said, number, listing.listed_ms, listing.contact_ms)

    def examined(self, addr: bytes) -> None:
        """Take a host out of archive; what lists it by now, perhaps the network around it, has its last contact."""
        contact_ms = self._forget_contact(addr)
        found = match(self._tarpit, self.tally, addr, self.txn) if contact_ms else None
        if found is not None:
            touch(self._tarpit, self.txn, found, contact_ms)

    def is_listed(self, key: bytes) -> bool:
        return bool(self._tarpit.exists(key, txn=self.txn))

    def is_settled(self, key: bytes) -> bool:
        """Tell whether a key is listed, and not only on trial."""
        raw = self._tarpit.get(key, txn=self.txn)
        return raw is not None and not layout.is_shadow(raw)

    def flags_of(self, key: bytes) -> int:
        """Give a listing's flags, 0 if the key is not listed."""
        raw = self._tarpit.get(key, txn=self.txn)
        return layout.unpack_listing(raw).flags if raw is not None else 0

    def seq_of(self, key: bytes) -> int:
        """Give the number of a listing's newest change, 0 if the key is not listed."""
        raw = self._tarpit.get(key, txn=self.txn)
        return layout.unpack_listing(raw).seq if raw is not None else 0

    def put(self, name: str, key: bytes, data: bytes) -> None:
        """Write a row of a database that is not tallied."""
        self._env.db(name).put(key, data, self.txn)

    def drop(self, name: str, key: bytes) -> None:
        """Delete a row as it is, with nothing that belongs to it."""
        had = self._take(self._env.db(name), key) is not None
        if name in ("archive", "blcontrib", "evidence"):
            setattr(self.tally, name, getattr(self.tally, name) - had)

    def _insert(self, key: bytes, wanted: "Wanted", source: str) -> int:
        contact_ms = self._forget_contact(key)
        seq = self._journal(Action.LIST, key, wanted, source)
        self._put(key, wanted, seq, self._now_ms, contact_ms)
        self.tally.count(key, 1)
        return seq

    def _change(self, key: bytes, old: Listing, wanted: "Wanted", source: str) -> int:
        if wanted == self._wanted(old):
            return old.seq
        if old.flags & SHADOW and not wanted.flags & (SHADOW | EXCLUDED):
            self._confirm(old, source)
        seq = self._journal(Action.AMEND, key, wanted, source)
        if old.expiry_ms and old.expiry_ms != wanted.expiry_ms:
            self._expiry.delete(layout.pack_seq(old.expiry_ms) + key, self.txn)
        self._put(key, wanted, seq, old.listed_ms, old.contact_ms)
        return seq

    def _confirm(self, trial: Listing, source: str) -> None:
        """Count that another source listed for good what was on trial; what people decide confirms nothing."""
        raw = self._journals.get(layout.pack_seq(trial.seq), txn=self.txn)
        by = layout.unpack_change(trial.seq, raw).source if raw else ""
        if source.partition(":")[0] in UNASKED or source == by:
            return
        trials, row = self._env.db(NAME), confirmed_key(by)
        had = trials.get(row, txn=self.txn)
        trials.put(row, pack_count((unpack_count(had) if had else 0) + 1), self.txn)

    def _put(self, key: bytes, wanted: "Wanted", seq: int, listed_ms: int, contact_ms: int) -> None:
        said = (wanted.code, wanted.mode, wanted.flags)
        listing = Listing(*said, listed_ms, contact_ms, wanted.expiry_ms, seq, bool(wanted.text))
        self._tarpit.put(key, layout.pack_listing(listing), self.txn)
        if wanted.expiry_ms:
            self._expiry.put(layout.pack_seq(wanted.expiry_ms) + key, b"", self.txn)

    def _wanted(self, listing: Listing) -> "Wanted":
        """Give what a listing says now; its text stands in the journal."""
        raw = self._journals.get(layout.pack_seq(listing.seq), txn=self.txn)
        text = layout.unpack_change(listing.seq, raw).text if raw else ""
        return Wanted(listing.code, listing.mode, listing.flags, listing.expiry_ms, text)

    def _journal(self, action: Action, key: bytes, wanted: "Wanted", source: str, removed: bytes = b"") -> int:
        self.tally.seq += 1
        seq = self.tally.seq
        said = (wanted.code, wanted.text, source, wanted.expiry_ms, wanted.flags, wanted.mode)
        change = Change(seq, self._now_ms, action, key, *said)
        packed = layout.pack_seq(seq)
        self._journals.put(packed, layout.pack_change(change), self.txn)
        self._history.put(history_row(key, seq), removed, self.txn)
        return seq

    def _justify(self, item: NewListing, is_new: bool) -> bytes:
        """Write why, as hearsay or as evidence; give the answer code. A key that is not listed has neither so far."""
        if item.contrib is not None:
            code = record.HEARSAY_CODE if item.code == record.PROVEN_CODE else item.code
            contrib = Contrib(code, item.expiry_ms, item.contrib.causes)
            self.tally.blcontrib += is_new or not self._blcontrib.exists(item.key, txn=self.txn)
            if not is_new:
                self.tally.evidence -= self._take(self._evidence, item.key) is not None  # of a trial that is over
            self._blcontrib.put(item.key, layout.pack_contrib(contrib), self.txn)
            return code
        body = item.text.encode("utf-8", "replace") if item.evidence is None else item.evidence
        piece = Piece(self._now_ms, item.source, body[: self._limits.evidence_bytes])
        if is_new:
            self.tally.evidence += 1
            self._evidence.put(item.key, layout.pack_evidence([piece]), self.txn)
        else:
            self.tally.blcontrib -= self._take(self._blcontrib, item.key) is not None
            self.add_evidence(item.key, piece)
        return item.code

    def add_evidence(self, key: bytes, piece: Piece) -> None:
        """Append a piece, dropping the oldest past the limit; what the newest piece says already is not said again."""
        raw = self._evidence.get(key, txn=self.txn)
        pieces = layout.unpack_evidence(raw) if raw is not None else []
        if pieces and (pieces[-1].source, pieces[-1].body) == (piece.source, piece.body):
            return
        self.tally.evidence += raw is None
        self._evidence.put(key, layout.pack_evidence([*pieces, piece][-self._limits.evidence_pieces :]), self.txn)

    def _forget_contact(self, key: bytes) -> int:
        """Take a host out of archive; give when it last knocked, 0 if it did not."""
        raw = self._take(self._archive, key) if self.tally.archive else None
        if raw is None:
            return 0
        self.tally.archive -= 1
        return layout.unpack_contact(raw).last_ms

    def _take(self, store: Any, key: bytes) -> bytes | None:
        raw: bytes | None = store.get(key, txn=self.txn)
        if raw is not None:
            store.delete(key, self.txn)
        return raw


class Wanted(msgspec.Struct, frozen=True):
    """What a listing says, as far as a change of it is worth a journal record."""

    code: bytes
    mode: Mode
    flags: int
    expiry_ms: int
    text: str


class Amendment(msgspec.Struct, frozen=True):
    """What to change of a listing; None leaves as it is."""

    code: bytes | None = None
    mode: Mode | None = None
    flags: int | None = None
    expiry_ms: int | None = None
    text: str | None = None
