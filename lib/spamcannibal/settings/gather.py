"""The section [gather] with its reporters."""

import re
from collections.abc import Callable, Iterator
from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct

from spamcannibal.checks import LINE_FORM, is_endpoint, is_line, is_name, is_path, is_prefix, is_user
from spamcannibal.decode import Checks
from spamcannibal.settings.kinds import Count, Seconds

Colour = Literal["black", "white", "yellow", "brown", "nobl"]
Weight = Annotated[float, Meta(gt=0, le=1000)]
Lasting = Annotated[float, Meta(ge=1, le=31_536_000)]


class ReporterSettings(Struct, frozen=True):
    name: str
    addresses: tuple[str, ...] = ()
    fingerprints: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    key_file: str = ""
    colours: tuple[Colour, ...] = ("black", "white", "yellow", "brown", "nobl")
    weight: Weight = 1.0
    most: Annotated[float, Meta(ge=0, le=1000)] = 0.0
    prefixes: bool = False
    peer: bool = False
    per_s: Annotated[float, Meta(ge=0.01, le=1_000_000)] = 100.0
    per_hour: Count = 1000


class GatherSettings(Struct, frozen=True):
    listen: tuple[str, ...] = ("127.0.0.1:10044", "[::1]:10044")
    tls_listen: tuple[str, ...] = ()
    tls_certificate: str = ""
    tls_key: str = ""
    tls_clients: str = ""
    socket: str = ""
    socket_mode: str = "660"
    connections: Annotated[int, Meta(ge=8, le=65536)] = 1024
    idle_s: Annotated[float, Meta(ge=0.1, le=60)] = 3.0
    kept_s: Annotated[float, Meta(ge=1, le=86400)] = 300.0
    within_s: Seconds = 3600.0
    half_life_s: Seconds = 3600.0
    session_s: Seconds = 60.0
    black_weight: Weight = 2.0
    white_weight: Weight = 1.0
    yellow_weight: Weight = 1.0
    brown_weight: Weight = 1.0
    nobl_weight: Weight = 1.0
    black_s: Lasting = 86400.0
    white_s: Lasting = 86400.0
    yellow_s: Lasting = 86400.0
    brown_s: Lasting = 86400.0
    nobl_s: Lasting = 86400.0
    addresses: Annotated[int, Meta(ge=1, le=10_000_000)] = 100_000
    ask: tuple[str, ...] = ("127.0.0.0/8", "::1", "local")
    act: Literal["dunno", "reject", "defer"] = "dunno"
    milter_act: Literal["dunno", "reject", "defer"] = "reject"
    text: str = "$ is listed for sending spam"
    observe: bool = False
    user: str = ""
    reporter: tuple[ReporterSettings, ...] = ()


def _is_origin(text: str) -> bool:
    return text == "local" or is_prefix(text)


def _is_file(text: str) -> bool:
    return text == "" or is_path(text)


def _is_fingerprint(text: str) -> bool:
    return re.fullmatch(r"[0-9a-fA-F]{64}|[0-9a-fA-F]{2}(:[0-9a-fA-F]{2}){31}", text) is not None


def _is_word(text: str) -> bool:
    return re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,62}", text) is not None


_ORIGIN = "an address, a prefix, or local"
_FILE = "a path, or empty"
CHECKS: Checks = {
    (GatherSettings, "listen"): (is_endpoint, "ADDRESS:PORT, IPv6 as [ADDRESS]:PORT"),
    (GatherSettings, "tls_listen"): (is_endpoint, "ADDRESS:PORT, IPv6 as [ADDRESS]:PORT"),
    (GatherSettings, "tls_certificate"): (_is_file, _FILE),
    (GatherSettings, "tls_key"): (_is_file, _FILE),
    (GatherSettings, "tls_clients"): (_is_file, _FILE),
    (GatherSettings, "socket"): (_is_file, _FILE),
    (GatherSettings, "socket_mode"): (lambda text: re.fullmatch("[0-7]{3}", text) is not None, "three octal digits"),
    (GatherSettings, "ask"): (_is_origin, _ORIGIN),
    (GatherSettings, "text"): (is_line, LINE_FORM),
    (GatherSettings, "user"): (is_user, "a user name, or empty"),
    (ReporterSettings, "name"): (_is_word, "letters, digits, _ . and -, at most 63"),
    (ReporterSettings, "addresses"): (_is_origin, _ORIGIN),
    (ReporterSettings, "fingerprints"): (_is_fingerprint, "SHA-256 as 64 hexadecimal digits, perhaps with colons"),
    (ReporterSettings, "names"): (is_name, "a host name"),
    (ReporterSettings, "key_file"): (_is_file, _FILE),
}


def conflicts(gather: GatherSettings) -> Iterator[tuple[str, str]]:
    """Yield (section.key, the rest of the message) for keys that contradict each other."""
    if gather.tls_listen and not gather.tls_certificate:
        yield "gather.tls_listen", ": needs tls_certificate (and tls_key, if that is another file)"
    seen: set[str] = set()
    for i, reporter in enumerate(gather.reporter):
        where = f"[{i}] ({reporter.name})"
        if reporter.name in seen:
            yield "gather.reporter", f"{where}: the same name twice"
        seen.add(reporter.name)
        if not (reporter.addresses or reporter.fingerprints or reporter.names or reporter.key_file):
            yield "gather.reporter", f"{where}: want addresses, fingerprints, names or key_file: who is it?"
        if (reporter.fingerprints or reporter.names) and not (gather.tls_listen and gather.tls_clients):
            yield "gather.reporter", f"{where}: certificates need tls_listen and tls_clients"
        if 0 < reporter.most < reporter.weight:
            yield "gather.reporter", f"{where}.most: got {reporter.most:g}, want 0 or at least the weight"


def resolved(gather: GatherSettings, absolute: Callable[[str], str]) -> GatherSettings:
    """Return the settings with absolute paths; what is not set stays empty."""
    files = ("tls_certificate", "tls_key", "tls_clients", "socket")
    paths = {name: absolute(getattr(gather, name)) for name in files if getattr(gather, name)}
    reporters = tuple(
        msgspec.structs.replace(one, key_file=absolute(one.key_file)) if one.key_file else one
        for one in gather.reporter
    )
    return msgspec.structs.replace(gather, reporter=reporters, **paths)
