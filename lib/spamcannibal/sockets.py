"""Bound stream sockets for our servers, TCP and Unix; until they listen, whoever comes is refused at once.

Errors are Unsupported, in the name of the setting that says where.
"""

import os
import pwd
import resource
import socket
import stat
from contextlib import suppress
from pathlib import Path
from typing import Any

from spamcannibal.addr import format_addr, format_endpoint
from spamcannibal.errors import ConfigError, Unsupported


def bind(addr: bytes, port: int, setting: str) -> socket.socket:
    """Return a TCP socket bound to an address; one of IPv6 takes IPv6 only."""
    family = socket.AF_INET6 if len(addr) == 16 else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind((format_addr(addr), port))
    except OSError as error:
        sock.close()
        raise Unsupported(f"{setting}: can't bind {format_endpoint(addr, port)}: {error.strerror}") from None
    return sock


def bind_local(path: str, setting: str, mode: int = 0o660, owner: tuple[int, int] = (-1, -1)) -> socket.socket:
    """Return a Unix socket bound to a path, for an owner (user and group); one that a dead process left is replaced."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        _remove_dead(path)
        sock.bind(path)
        Path(path).chmod(mode)
        os.chown(path, *owner)
    except OSError as error:
        sock.close()
        raise Unsupported(f"{setting}: can't bind {path}: {error.strerror or error}") from None
    return sock


def owner_of(user: str, setting: str) -> tuple[int, int]:
    """Return the ids of a user and his group, to be a socket's owner; without a user it stays as it is made."""
    try:
        entry = pwd.getpwnam(user) if user else None
    except KeyError:
        raise ConfigError(f"{setting}: no such user: {user!r}") from None
    return (entry.pw_uid, entry.pw_gid) if entry else (-1, -1)


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


def _remove_dead(path: str) -> None:
    """Remove a socket that nobody listens on; OSError if anything else is there."""
    try:
        is_socket = stat.S_ISSOCK(Path(path).lstat().st_mode)
    except FileNotFoundError:
        return
    if not is_socket:
        raise OSError("something is there that is no socket; remove it, or name another path")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            Path(path).unlink()
            return
    raise OSError("somebody listens there already")
