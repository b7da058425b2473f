"""The section [share]: other sites that are told what is proven here."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal

from msgspec import Meta, Struct
from msgspec.structs import replace

from spamcannibal.checks import is_endpoint, is_name, is_path, is_user
from spamcannibal.decode import Checks


class PeerSettings(Struct, frozen=True):
    name: str
    server: str
    key_file: str = ""
    authority: str = ""
    host: str = ""
    certificate: str = ""
    certificate_key: str = ""
    sources: tuple[Literal["robot", "trap", "gather", "admin"], ...] = ("robot", "trap", "gather")
    colours: tuple[Literal["black", "white", "yellow", "brown", "nobl"], ...] = ("black",)
    per_s: Annotated[float, Meta(ge=0.01, le=10_000)] = 10.0


class ShareSettings(Struct, frozen=True):
    state_file: str = "/var/lib/spamcannibal-share/places.json"
    user: str = ""
    peer: tuple[PeerSettings, ...] = ()


def conflicts(share: ShareSettings) -> Iterator[tuple[str, str]]:
    """Yield (section.key, the rest of the message) for keys that contradict each other."""
    names = [peer.name for peer in share.peer]
    for i, peer in enumerate(share.peer):
        where = f"[{i}] ({peer.name})"
        if peer.name in names[:i]:
            yield "share.peer", f"{where}: the same name twice"
        if (peer.host or peer.certificate) and not peer.authority:
            yield "share.peer", f"{where}: host and certificate are for TLS, which needs authority"
        if peer.certificate_key and not peer.certificate:
            yield "share.peer", f"{where}.certificate_key: there is no certificate"


def resolved(share: ShareSettings, base: Path) -> ShareSettings:
    """Return the settings with absolute paths; what is not set stays empty."""

    def absolute(path: str) -> str:
        return str(base / path) if path and not is_endpoint(path) else path

    files = ("server", "key_file", "authority", "certificate", "certificate_key")
    peers = tuple(replace(peer, **{name: absolute(getattr(peer, name)) for name in files}) for peer in share.peer)
    return replace(share, state_file=absolute(share.state_file), peer=peers)


def _is_word(text: str) -> bool:
    return re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,62}", text) is not None


def _is_file(text: str) -> bool:
    return text == "" or is_path(text)


_FILE = "a path, or empty"
CHECKS: Checks = {
    (ShareSettings, "state_file"): (is_path, "a path"),
    (ShareSettings, "user"): (is_user, "a user name, or empty"),
    (PeerSettings, "name"): (_is_word, "letters, digits, _ . and -, at most 63"),
    (PeerSettings, "server"): (is_path, "ADDRESS:PORT, or a socket's path"),
    (PeerSettings, "key_file"): (_is_file, _FILE),
    (PeerSettings, "authority"): (_is_file, _FILE),
    (PeerSettings, "host"): (lambda text: text == "" or is_name(text), "a host name, or empty"),
    (PeerSettings, "certificate"): (_is_file, _FILE),
    (PeerSettings, "certificate_key"): (_is_file, _FILE),
}
