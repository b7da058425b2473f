"""What was dealt with before, so that it is not dealt with again: signatures of mails, complaints that were sent.

    database `seen`
    signature   1 u8 · when it was made, seconds u64 · digest 32    empty
    complaint   2 u8 · digest of the contact 32 · when, ms u64      empty

A signature is kept by its own time: what is older than the replay window is refused for that alone, and its row can go.
The digest is that of what was signed and by whom, never of the signature's bytes: these can be changed without making
it invalid (unhashed subpackets, malleable ECDSA), and the same report would count again.
"""

from collections.abc import Sequence

from spamcannibal.layout import pack_seq
from spamcannibal.store.env import Env, Txn
from spamcannibal.store.stores import scan

DIGEST_SIZE = 32
PRUNE_LIMIT = 1000
_SIGNATURE, _COMPLAINT = b"\x01", b"\x02"


class Seen:
    """The database of one store."""

    def __init__(self, env: Env) -> None:
        self._env = env

    def has(self, time_s: int, digest: bytes) -> bool:
        """Tell whether a signature was noted."""
        return bool(self._env.read(lambda: self._env.db("seen").exists(_signature(time_s, digest))))

    def note(self, time_s: int, digest: bytes, forget_before_s: float, txn: Txn) -> bool:
        """Note a signature in a transaction, and forget some that are older than the window; False: it was noted."""
        handle, key = self._env.db("seen"), _signature(time_s, digest)
        is_new = not handle.exists(key, txn=txn)
        handle.put(key, b"", txn)
        self._prune(_SIGNATURE, _SIGNATURE + pack_seq(max(0, int(forget_before_s))), txn)
        return is_new

    def complaints(self, contact: bytes, since_ms: int) -> int:
        """Count the complaints to a contact (a digest) since then, up to PRUNE_LIMIT."""
        start = _COMPLAINT + contact
        rows = self._env.read(lambda: scan(self._env.db("seen"), start + pack_seq(since_ms), PRUNE_LIMIT))
        return sum(key.startswith(start) for key, _ in rows)

    def note_complaint(self, contact: bytes, now_ms: int, forget_before_ms: int) -> None:
        """Note a complaint to a contact durably, and forget its old ones."""
        start = _COMPLAINT + contact

        def write(txn: Txn) -> None:
            self._env.db("seen").put(start + pack_seq(now_ms), b"", txn)
            self._prune(start, start + pack_seq(forget_before_ms), txn)

        self._env.run(write)

    def _prune(self, start: bytes, end: bytes, txn: Txn) -> None:
        """Delete some rows from start up to end."""
        handle = self._env.db("seen")
        rows: Sequence[tuple[bytes, bytes]] = scan(handle, start, PRUNE_LIMIT, txn)
        for key, _ in rows:
            if key >= end:
                break
            handle.delete(key, txn)


def is_row(key: bytes) -> bool:
    """Tell whether a key of the database is one of the two kinds."""
    return len(key) == 1 + 8 + DIGEST_SIZE and key[:1] in (_SIGNATURE, _COMPLAINT)


def _signature(time_s: int, digest: bytes) -> bytes:
    return _SIGNATURE + pack_seq(time_s) + digest
