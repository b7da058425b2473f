"""The sections [tarpit] and [firewall]."""

from typing import Annotated, Literal

from msgspec import Meta, Struct

from spamcannibal.checks import QUEUES_FORM, is_interface, is_name, is_queues, is_user
from spamcannibal.decode import Checks
from spamcannibal.settings.kinds import Count, CountOrNone, Mode, Port


class TarpitSettings(Struct, frozen=True):
    queues: str = "0"
    mode: Mode = "stutter"
    throttle_window: Annotated[int, Meta(ge=1, le=64)] = 10
    greeting_name: str = ""
    stutter_interval_s: Annotated[float, Meta(ge=0.01, le=300)] = 10.0
    connections: CountOrNone = 100_000
    bandwidth_limit_bytes: Annotated[int, Meta(ge=0, le=1 << 40)] = 0
    other_protocols: bool = False
    loopback: bool = False
    answer_synack: bool = True
    cut_established: bool = True
    sightings: Count = 65536
    queue_length: Annotated[int, Meta(ge=1, le=1 << 20)] = 8192
    copy_bytes: Annotated[int, Meta(ge=120, le=65535)] = 128
    user: str = ""


class FirewallSettings(Struct, frozen=True):
    ports: tuple[Port, ...] = (25,)
    hooks: tuple[Literal["input", "forward"], ...] = ("input",)
    interfaces: tuple[str, ...] = ()
    backend: Literal["auto", "iptables-nft", "iptables-legacy", "nft"] = "auto"
    bypass: bool = True


CHECKS: Checks = {
    (TarpitSettings, "queues"): (is_queues, QUEUES_FORM),
    (TarpitSettings, "greeting_name"): (lambda text: text == "" or is_name(text), "a host name, or empty"),
    (TarpitSettings, "user"): (is_user, "a user name, or empty"),
    (FirewallSettings, "interfaces"): (is_interface, "an interface name"),
}
