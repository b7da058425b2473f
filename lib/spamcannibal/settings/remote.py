"""The section [remote]."""

import re
from typing import Annotated

from msgspec import Meta, Struct

from spamcannibal.checks import is_address, is_endpoint, is_name, is_path
from spamcannibal.decode import Checks
from spamcannibal.settings.kinds import Count, CountOrNone, Seconds

CANARY_FORM = "NAME TYPE, the type one of A AAAA NS SOA TXT"


class RemoteSettings(Struct, frozen=True):
    lists: tuple[str, ...] = ()
    lists_dir: str = "lists.d"
    resolvers: tuple[str, ...] = ()
    canary: tuple[str, ...] = (". NS", "com NS", "net NS", "org NS")
    reverse_canary: tuple[str, ...] = ("198.41.0.4", "193.0.14.129", "8.8.8.8")
    timeout_s: Annotated[float, Meta(ge=0.05, le=120)] = 8.0
    tries: Annotated[int, Meta(ge=1, le=16)] = 4
    retry_s: Annotated[float, Meta(ge=0.01, le=30)] = 1.0
    in_flight: Annotated[int, Meta(ge=1, le=16384)] = 1000
    list_in_flight: Annotated[int, Meta(ge=1, le=16384)] = 200
    tcp_connections: Annotated[int, Meta(ge=1, le=1024)] = 16
    mixed_case: bool = True
    cache_entries: CountOrNone = 100_000
    cache_limit_s: Seconds = 3600.0
    health_interval_s: Seconds = 3600.0
    health_retry_s: Seconds = 300.0
    health_passes: Annotated[int, Meta(ge=1, le=100)] = 2
    failures: Count = 20
    state_file: str = ""


def _is_canary(text: str) -> bool:
    match = re.fullmatch(r"(\S+) (A|AAAA|NS|SOA|TXT)", text)
    return match is not None and (match[1] == "." or is_name(match[1]))


CHECKS: Checks = {
    (RemoteSettings, "lists"): (is_name, "a zone of lists_dir, without a trailing dot"),
    (RemoteSettings, "lists_dir"): (is_path, "a path"),
    (RemoteSettings, "resolvers"): (lambda text: is_address(text) or is_endpoint(text), "ADDRESS or ADDRESS:PORT"),
    (RemoteSettings, "canary"): (_is_canary, CANARY_FORM),
    (RemoteSettings, "reverse_canary"): (is_address, "an address"),
    (RemoteSettings, "state_file"): (lambda text: text == "" or is_path(text), "a path, or empty"),
}
