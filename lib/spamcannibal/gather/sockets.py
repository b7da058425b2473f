"""Bound sockets for the gather listener, which do not listen yet: until they do, a mail server is refused at once."""

import os
import pwd
import resource
import socket
import stat
from contextlib import suppress
from pathlib import Path
from typing import Any

from spamcannibal.addr import format_addr
from spamcannibal.errors import ConfigError, Unsupported


def bind(addr: bytes, port: int) -> socket.socket:
    """Return a TCP socket bound to an address, not listening yet; Unsupported says why not."""
    family = socket.AF_INET6 if len(addr) == 16 else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind((format_addr(addr), port))
    except OSError as error:
        sock.close()
        raise Unsupported(f"gather.listen: can't bind {format_addr(addr)} port {port}: {error.strerror}") from None
    return sock


def bind_local(path: str, mode: str, user: str = "") -> socket.socket:
    """Return a Unix socket bound to a path, not listening yet; one that a dead process left is replaced.

    It belongs to the user, if one is named, and his group.
    """
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        _remove_dead(path)
        sock.bind(path)
        Path(path).chmod(int(mode, 8))
        if user:
            entry = pwd.getpwnam(user)
            os.chown(path, entry.pw_uid, entry.pw_gid)
    except KeyError:
        sock.close()
        raise ConfigError(f"gather.user: no such user: {user!r}") from None
    except OSError as error:
        sock.close()
        raise Unsupported(f"gather.socket: can't bind {path}: {error.strerror}") from None
    return sock


def _remove_dead(path: str) -> None:
    """Remove a socket that nobody listens on; anything else stays, and binding fails."""
    try:
        if not stat.S_ISSOCK(Path(path).lstat().st_mode):
            return
    except FileNotFoundError:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            Path(path).unlink()


def raise_descriptors(count: int) -> None:
    """Let this process have so many open files, as far as it may."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < count:
        with suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (count if hard < 0 else min(count, hard), hard))


def shown(sock: socket.socket) -> str:
    """Return where a socket listens."""
    name: Any = sock.getsockname()
    if isinstance(name, str):
        return name
    return f"[{name[0]}]:{name[1]}" if ":" in name[0] else f"{name[0]}:{name[1]}"
