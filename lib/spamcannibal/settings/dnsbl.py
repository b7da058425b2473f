"""The section [dnsbl] with its zones and keys."""

from typing import Annotated, Literal

from msgspec import Meta, Struct

from spamcannibal.checks import (
    LINE_FORM,
    is_address,
    is_contact,
    is_endpoint,
    is_exchanger,
    is_grant,
    is_host,
    is_line,
    is_name,
    is_path,
    is_prefix,
    is_secret,
    is_target,
    is_user,
)
from spamcannibal.decode import Checks
from spamcannibal.settings.kinds import Seconds, WholeSeconds


class KeySettings(Struct, frozen=True):
    name: str
    secret_file: str
    algorithm: Literal["hmac-sha256", "hmac-sha384", "hmac-sha512", "hmac-sha224", "hmac-sha1"] = "hmac-sha256"


class ZoneSettings(Struct, frozen=True):
    name: str
    contact: str = ""
    ns: tuple[str, ...] = ()
    mx: tuple[str, ...] = ()
    addresses: tuple[str, ...] = ()
    hosts: tuple[str, ...] = ()
    about: str = ""
    text: str = "$ is listed for sending spam"
    ttl_s: WholeSeconds = 300
    soa_ttl_s: WholeSeconds = 300
    minimum_s: WholeSeconds = 60
    refresh_s: WholeSeconds = 900
    retry_s: WholeSeconds = 300
    expire_s: WholeSeconds = 604_800
    promiscuous: bool = False
    colours: tuple[Literal["black", "white", "yellow", "brown", "nobl"], ...] = ()
    allow: tuple[str, ...] = ()
    sunset: bool = False
    transfer: tuple[str, ...] = ()
    also_notify: tuple[str, ...] = ()


class DnsblSettings(Struct, frozen=True):
    listen: tuple[str, ...] = ("127.0.0.1:5353", "[::1]:5353")
    threads: Annotated[int, Meta(ge=0, le=64)] = 0
    udp_payload_bytes: Annotated[int, Meta(ge=512, le=4096)] = 1232
    tcp_connections: Annotated[int, Meta(ge=1, le=65536)] = 256
    tcp_idle_s: Annotated[float, Meta(ge=0.1, le=600)] = 10.0
    rrl_per_s: Annotated[int, Meta(ge=0, le=1_000_000)] = 100
    rrl_all_per_s: Annotated[int, Meta(ge=0, le=10_000_000)] = 0
    rrl_slip: Annotated[int, Meta(ge=0, le=100)] = 2
    rrl_buckets: Annotated[int, Meta(ge=64, le=1 << 24)] = 65536
    rrl_exempt: tuple[str, ...] = ("127.0.0.0/8", "::1")
    cookies: bool = True
    cookie_secrets: tuple[str, ...] = ()
    version: str = ""
    server_id: str = ""
    max_lag_s: Seconds = 10.0
    stale_limit_s: Annotated[float, Meta(ge=0, le=31_536_000)] = 0.0
    metrics: str = ""
    top_talkers: Annotated[int, Meta(ge=8, le=65536)] = 1024
    transfers: Annotated[int, Meta(ge=1, le=64)] = 8
    notify_delay_s: Annotated[float, Meta(ge=0, le=3600)] = 1.0
    user: str = ""
    key: tuple[KeySettings, ...] = ()
    zone: tuple[ZoneSettings, ...] = ()


CHECKS: Checks = {
    (DnsblSettings, "user"): (is_user, "a user name, or empty"),
    (DnsblSettings, "cookie_secrets"): (is_secret, "32 hexadecimal digits"),
    (DnsblSettings, "version"): (is_line, LINE_FORM),
    (DnsblSettings, "server_id"): (is_line, LINE_FORM),
    (DnsblSettings, "metrics"): (lambda text: text == "" or is_endpoint(text), "ADDRESS:PORT, or empty"),
    (DnsblSettings, "rrl_exempt"): (is_prefix, "an address or a prefix"),
    (DnsblSettings, "listen"): (is_endpoint, "ADDRESS:PORT, IPv6 as [ADDRESS]:PORT"),
    (ZoneSettings, "name"): (is_name, "a domain name without a trailing dot"),
    (ZoneSettings, "contact"): (lambda text: text == "" or is_contact(text), "a mail address, or empty"),
    (ZoneSettings, "allow"): (is_prefix, "an address or a prefix"),
    (ZoneSettings, "transfer"): (is_grant, "PREFIX, key:NAME or PREFIX key:NAME"),
    (ZoneSettings, "also_notify"): (is_target, "ADDRESS or ADDRESS:PORT, and perhaps key:NAME"),
    (KeySettings, "name"): (is_name, "a domain name without a trailing dot"),
    (KeySettings, "secret_file"): (is_path, "a path"),
    (ZoneSettings, "ns"): (is_name, "a host name without a trailing dot"),
    (ZoneSettings, "mx"): (is_exchanger, "PREFERENCE NAME"),
    (ZoneSettings, "addresses"): (is_address, "an address"),
    (ZoneSettings, "hosts"): (is_host, "NAME ADDRESS"),
    (ZoneSettings, "about"): (is_line, LINE_FORM),
    (ZoneSettings, "text"): (is_line, LINE_FORM),
}
