"""The never-list's file: read with the addresses of this host, watched, and written whole or not at all."""

import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from spamcannibal.addr import parse_addr
from spamcannibal.errors import ConfigError, SpamCannibalError, Unavailable
from spamcannibal.guard import Guard, NeverList, parse_fib_trie, parse_if_inet6, parse_never_list
from spamcannibal.settings import Settings

LIMIT_BYTES = 64 << 20

Stamp = tuple[int, int, int]


class LazyGuard:
    """The never-list, read when the first writer asks: who only reads needs neither the file nor the own names."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._never_list: NeverList | None = None
        self._stamp: Stamp | None = None

    def check(self, key: bytes) -> None:
        """Raise NeverListed if the key must not be listed."""
        if self._never_list is None:
            self._stamp = stamp(Path(self._settings.guard.never_list))
            self._never_list = read_never_list(self._settings)
        self._never_list.check(key)

    def renew(self) -> None:
        """Read the file again at the next check, if it is another by now."""
        if stamp(Path(self._settings.guard.never_list)) != self._stamp:
            self._never_list = None


def renew(guard: Guard) -> None:
    """Let a store's guard see that the file is another by now."""
    if isinstance(guard, LazyGuard):
        guard.renew()


def read_never_list(settings: Settings) -> NeverList:
    """Return the never-list of the settings; ConfigError if it can't be read, Unavailable if an own name is unknown."""
    path = Path(settings.guard.never_list)
    return parse_text(settings, read_text(path))


def read_text(path: Path) -> str:
    """Return the file's text; ConfigError if it can't be read."""
    try:
        with path.open("rb") as stream:
            raw = stream.read(LIMIT_BYTES + 1)
    except OSError as error:
        raise ConfigError(
            f"guard.never_list: can't read {path}: {error.strerror}; a sample is conf/never-list"
        ) from None
    if len(raw) > LIMIT_BYTES:
        raise ConfigError(f"guard.never_list: {path} is too long, want at most {LIMIT_BYTES} bytes")
    return raw.decode("utf-8", "backslashreplace")


def parse_text(settings: Settings, text: str) -> NeverList:
    """Return the never-list that a text makes on this host; ConfigError holds every wrong line."""
    own = {*host_addresses(), *name_addresses(settings.guard.own_names)}
    return parse_never_list(text, sorted(own), settings.guard.never_list)


def save_text(path: Path, text: str) -> Path:
    """Put a text in the file's place, owner and mode as before, and return where the old one is kept.

    Whoever reads meanwhile sees the old file or the new one. SpamCannibalError says why it can't be.
    """
    new, old = path.with_name(f"{path.name}.new"), path.with_name(f"{path.name}.old")
    try:
        was = path.stat()
        made = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, stat.S_IMODE(was.st_mode))
        try:
            with os.fdopen(made, "wb") as stream:
                if os.geteuid() == 0:
                    os.fchown(stream.fileno(), was.st_uid, was.st_gid)
                os.fchmod(stream.fileno(), stat.S_IMODE(was.st_mode))
                stream.write(text.encode("utf-8", "replace"))
                stream.flush()
                os.fsync(stream.fileno())
            with suppress(FileNotFoundError):
                old.unlink()
            os.link(path, old)
            new.replace(path)
        except BaseException:
            new.unlink(missing_ok=True)
            raise
        _settle(path.parent)
    except FileExistsError:
        raise SpamCannibalError(f"{new} is there already: somebody else writes it, or died doing so") from None
    except OSError as error:
        raise SpamCannibalError(f"can't write {error.filename or path}: {error.strerror}") from None
    return old


def objection(path: Path) -> str:
    """Say why the file can't be written by this process, "" if it can."""
    if not path.exists():
        return f"{path} is missing"
    if not os.access(path, os.R_OK):
        return f"this server may not read {path}"
    if not os.access(path.parent, os.W_OK):
        return f"this server may not write in {path.parent}"
    return ""


def stamp(path: Path) -> Stamp | None:
    """Return what changes whenever the file does, None if it is not there."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino


def host_addresses(proc: Path = Path("/proc/net")) -> Iterator[bytes]:
    """Yield the addresses of this network namespace's interfaces."""
    for name, parse in (("fib_trie", parse_fib_trie), ("if_inet6", parse_if_inet6)):
        path = proc / name
        # A kernel without the protocol has no such file, and no such address.
        if path.exists():
            yield from parse(path.read_text("ascii"))


def name_addresses(names: Sequence[str], setting: str = "guard.own_names") -> Iterator[bytes]:
    """Yield the addresses of host names; Unavailable if one has none, since listing it by mistake must not happen."""
    for name in names:
        import socket  # here, since most have no names, and a command at a terminal waits for each import

        try:
            found = socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as error:
            raise Unavailable(f"{setting}: can't find the addresses of {name}: {error}") from None
        for *_, address in found:
            yield parse_addr(str(address[0]).partition("%")[0])


def _settle(folder: Path) -> None:
    """Put the folder's entries on disk."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
