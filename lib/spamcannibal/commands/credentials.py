"""Shared keys and TLS certificates of gather, follow and share: read, and looked over by `config check`."""

import grp
import os
import pwd
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from spamcannibal.errors import ConfigError
from spamcannibal.settings import Settings
from spamcannibal.settings.gather import GatherSettings
from spamcannibal.settings.share import PeerSettings

KEY_LIMIT_BYTES = 256
_PRIVATE = b"PRIVATE KEY-----"
_FILE_LIMIT_BYTES = 1 << 20


def read_key(path: Path) -> bytes:
    """Return the shared key of a file: one word of printable ASCII."""
    key = _read(path, "key", f"`(umask 027; openssl rand -hex 16 > {path})` makes one", KEY_LIMIT_BYTES).strip()
    _check_private(path)
    if not 16 <= len(key) <= KEY_LIMIT_BYTES or any(not 33 <= octet <= 126 for octet in key):
        form = f"16 to {KEY_LIMIT_BYTES} characters without spaces, as `openssl rand -hex 16` makes them"
        raise ConfigError(f"{path}: want a key of {form}")
    return key


def server_tls(gather: GatherSettings) -> ssl.SSLContext | None:
    """Return how the gather listener speaks TLS; None where none is wanted, ConfigError if files are wrong."""
    if not gather.tls_listen:
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    _load_own(context, gather.tls_certificate, gather.tls_key, "gather.tls_")
    if gather.tls_clients:
        _load_others(context, gather.tls_clients, "gather.tls_clients")
        context.verify_mode = ssl.CERT_OPTIONAL
    return context


def client_tls(peer: PeerSettings) -> ssl.SSLContext | None:
    """Return how TLS is spoken to a site: whom we trust, whether by name, and who we are; None without it."""
    if not peer.authority:
        return None
    where = f"share.peer ({peer.name})."
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    _load_others(context, peer.authority, f"{where}authority")
    context.check_hostname = bool(peer.host)
    if peer.certificate:
        _load_own(context, peer.certificate, peer.certificate_key, where, "certificate_key")
    return context


def problems(settings: Settings) -> Iterator[str]:
    """Yield what is wrong with the files that gather, follow and share name, read as the users that these become."""
    gather, follow, share = settings.gather, settings.follow, settings.share
    looks: list[tuple[str, str, Callable[[], object]]] = [("gather", "", lambda: server_tls(gather))]
    for one in gather.reporter:
        looks.append(("gather", f"gather.reporter ({one.name}).key_file: ", _key_look(one.key_file)))
    looks.append(("follow", "follow.key_file: ", _key_look(follow.key_file)))
    for peer in share.peer:
        looks.append(("share", f"share.peer ({peer.name}).key_file: ", _key_look(peer.key_file)))
        looks.append(("share", "", partial(client_tls, peer)))
    # follow reads its key before it becomes its user.
    users = {"gather": gather.user, "follow": "", "share": share.user}
    for section, user in users.items():
        try:
            with _acting(user, f"{section}.user"):
                yield from [problem for of, where, look in looks if of == section for problem in _told(look, where)]
        except ConfigError as error:
            yield from error.problems


def _told(look: Callable[[], object], where: str) -> list[str]:
    try:
        look()
    except ConfigError as error:
        return [where + problem for problem in error.problems]
    return []


def _key_look(path: str) -> Callable[[], object]:
    return lambda: read_key(Path(path)) if path else None


@contextmanager
def _acting(user: str, setting: str) -> Iterator[None]:
    """Be a user for a while, if we may: what root can read says nothing about him."""
    try:
        entry = pwd.getpwnam(user) if user else None
    except KeyError:
        raise ConfigError(f"{setting}: no such user: {user!r}; `adduser --system --group {user}` makes one") from None
    if entry is None or os.geteuid() != 0:
        yield
        return
    groups, group = os.getgroups(), os.getegid()
    os.setgroups(os.getgrouplist(user, entry.pw_gid))
    os.setegid(entry.pw_gid)
    os.seteuid(entry.pw_uid)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(group)
        os.setgroups(groups)


def _load_own(context: ssl.SSLContext, certificate: str, key: str, where: str, key_name: str = "key") -> None:
    """Load the certificate that we show, with its key, which may be in the same file."""
    _check_pem(certificate, b"CERTIFICATE-----", f"{where}certificate")
    name, path = (f"{where}{key_name}", key) if key else (f"{where}certificate", certificate)
    try:
        _check_pem(path, _PRIVATE, name)
        _check_private(Path(path))
    except ConfigError as error:
        hint = "" if key else f" ({where}{key_name} names another file for the key)"
        raise ConfigError(*(problem + hint for problem in error.problems)) from None
    try:
        context.load_cert_chain(certificate, key or None, password=lambda: "")
    except ssl.SSLError as error:
        why = "it does not belong to the certificate" if error.reason == "KEY_VALUES_MISMATCH" else _why(error)
        raise ConfigError(f"{name}: {path}: {why}; want the key, without a password, of {certificate}") from None


def _load_others(context: ssl.SSLContext, path: str, where: str) -> None:
    """Load the certificates of those whom we trust."""
    _check_pem(path, b"CERTIFICATE-----", where)
    try:
        context.load_verify_locations(path)
    except ssl.SSLError as error:
        raise ConfigError(f"{where}: {path}: {_why(error)}; want certificates as PEM") from None


def _why(error: ssl.SSLError) -> Any:
    return (error.reason or str(error)).lower().replace("_", " ")


def _check_pem(path: str, what: bytes, where: str) -> None:
    """Raise ConfigError if a file can't be read, or has no such part."""
    kind = "key" if what == _PRIVATE else "certificate"
    try:
        data = _read(Path(path), kind, "see openssl-req(1)", _FILE_LIMIT_BYTES)
    except ConfigError as error:
        raise ConfigError(*(f"{where}: {problem}" for problem in error.problems)) from None
    if what not in data:
        raise ConfigError(f"{where}: {path}: no {kind} in it, want one as PEM")


def _read(path: Path, kind: str, cure: str, limit_bytes: int) -> bytes:
    try:
        with path.open("rb") as stream:
            return stream.read(limit_bytes + 1)
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such file, want a {kind}; {cure}") from None
    except OSError as error:
        if not isinstance(error, PermissionError):
            raise ConfigError(f"{path}: can't read the {kind}: {error.strerror}") from None
    user = pwd.getpwuid(os.geteuid())
    cure = f"chgrp {grp.getgrgid(user.pw_gid).gr_name} {path} && chmod 640 {path}, and its folders must let him in"
    raise ConfigError(f"{path}: {user.pw_name} can't read the {kind}; {cure}")


def _check_private(path: Path) -> None:
    """Raise ConfigError if a file that holds a secret is everybody's."""
    if path.stat().st_mode & 0o007:
        raise ConfigError(f"{path}: everybody can read or write this key; chmod o= {path}")
