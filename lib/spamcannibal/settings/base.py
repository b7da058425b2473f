"""The sections [store], [guard], [services] and [log]."""

from typing import Annotated, Literal

from msgspec import Meta, Struct

from spamcannibal.checks import is_name, is_path
from spamcannibal.decode import Checks
from spamcannibal.settings.kinds import Count, Seconds

Service = Literal["tarpit", "dnsbl", "gather", "follow", "robot", "trap", "share", "web"]


class StoreSettings(Struct, frozen=True):
    path: str = "/var/lib/spamcannibal"
    cache_bytes: Annotated[int, Meta(ge=1 << 20, le=1 << 40)] = 64 << 20
    follow_interval_s: Seconds = 0.1
    evidence_limit_bytes: Annotated[int, Meta(ge=256, le=1 << 20)] = 10_000
    evidence_pieces: Annotated[int, Meta(ge=1, le=1000)] = 16


class GuardSettings(Struct, frozen=True):
    never_list: str = "never-list"
    own_names: tuple[str, ...] = ()
    v6_prefix: Annotated[int, Meta(ge=16, le=128)] = 64
    max_listings_per_run: Count = 10_000
    max_listings_per_hour: Count = 20_000
    max_per_source_per_hour: Count = 5_000
    max_per_net: Count = 64
    max_removals_per_run: Count = 50_000


class ServicesSettings(Struct, frozen=True):
    enabled: tuple[Service, ...] = ("tarpit", "dnsbl")
    restart_initial_s: Seconds = 0.5
    restart_max_s: Seconds = 30.0


class LogSettings(Struct, frozen=True):
    format: Literal["text", "json"] = "text"


CHECKS: Checks = {
    (StoreSettings, "path"): (is_path, "a path"),
    (GuardSettings, "never_list"): (is_path, "a path"),
    (GuardSettings, "own_names"): (is_name, "a host name"),
}
