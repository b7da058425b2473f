"""The small files that the tarpit keeps beside the store: two, so that a restart loses no held connection, and one to
look at.

    tarpit.secret   16 random bytes: the key of our sequence numbers; made once
    tarpit.slots    what _core.Trap.dump() gave: connections held by stutter; written every second or so and at the end
    tarpit.now      what goes on now (activity/now.py), written every second; the store's group may read it

All are written whole under another name and then put in place, the first two with mode 0600: who knows the secret can
forge ACKs. The slots are not forced to the disk: they are for the death of the process, not for that of the machine.
"""

import contextlib
import os
import secrets
from pathlib import Path

from spamcannibal.activity.now import FILES
from spamcannibal.errors import ConfigError, StoreError

SECRET_BYTES = 16
SLOTS_LIMIT_BYTES = 256 << 20


def load_secret(folder: Path) -> bytes:
    """Return the secret, made on first use; of several processes that make it at once, one wins for all."""
    path = folder / "tarpit.secret"
    try:
        if not path.exists():
            _write(path, secrets.token_bytes(SECRET_BYTES), is_new=True)
        secret = path.read_bytes()
    except OSError as error:
        raise StoreError(f"{path}: {error.strerror}; the tarpit's user must be able to write there") from error
    if len(secret) != SECRET_BYTES:
        raise ConfigError(f"{path}: got {len(secret)} bytes, want {SECRET_BYTES}; remove it and it is made anew")
    return secret


def load_slots(folder: Path) -> bytes:
    """Return the saved slots, empty if there are none."""
    path = folder / "tarpit.slots"
    try:
        with path.open("rb") as stream:
            return stream.read(SLOTS_LIMIT_BYTES)
    except FileNotFoundError:
        return b""
    except OSError as error:
        raise StoreError(f"{path}: {error.strerror}") from error


def save_slots(folder: Path, slots: bytes) -> None:
    """Replace the saved slots."""
    path = folder / "tarpit.slots"
    try:
        _write(path, slots, is_new=False)
    except OSError as error:
        raise StoreError(f"{path}: {error.strerror}") from error


def save_now(folder: Path, told: bytes) -> None:
    """Replace what is told of this moment."""
    path = folder / FILES["tarpit"]
    try:
        _write(path, told, is_new=False, mode=0o640)
    except OSError as error:
        raise StoreError(f"{path}: {error.strerror}") from None


def _write(path: Path, data: bytes, is_new: bool, mode: int = 0o600) -> None:
    """Put a whole file in place; a new one is on the disk then, and leaves one that is there meanwhile alone."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, mode)
    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(data)
            if is_new:
                stream.flush()
                os.fsync(stream.fileno())
        if not is_new:
            temporary.replace(path)
            return
        with contextlib.suppress(FileExistsError):
            path.hardlink_to(temporary)
    finally:
        temporary.unlink(missing_ok=True)
