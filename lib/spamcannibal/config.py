"""Settings: one TOML file and its conf.d in, one frozen Settings out, every mistake named.

Read are FILE and then the *.toml of its sibling directory conf.d in the order of their names; a later file overrides
key by key (a list, [[dnsbl.zone]] too, as a whole). FILE is what the caller names, else $SPAMCANNIBAL_CONFIG, else
/etc/spamcannibal/spamcannibal.toml; only the last may be missing, which leaves the defaults below.

Values are decoded strictly (decode.py): unknown keys are errors, `_s` and `_bytes` keys take units. Paths are relative
to the directory of FILE. conf/spamcannibal.toml explains each key.
"""

import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, cast

import msgspec
from msgspec import Meta, Struct

from spamcannibal.checks import (
    LINE_FORM,
    QUEUES_FORM,
    is_address,
    is_contact,
    is_endpoint,
    is_exchanger,
    is_grant,
    is_host,
    is_interface,
    is_line,
    is_name,
    is_path,
    is_prefix,
    is_queues,
    is_secret,
    is_target,
    is_user,
)
from spamcannibal.checks import queue_range as queue_range
from spamcannibal.decode import Checks, Decoder, Pairs, nearest, shown, shown_key
from spamcannibal.errors import ConfigError

DEFAULT_PATH = Path("/etc/spamcannibal/spamcannibal.toml")
ENVIRONMENT_KEY = "SPAMCANNIBAL_CONFIG"
FILE_LIMIT_BYTES = 1 << 20

Mode = Literal["throttle", "persist", "stutter", "drop", "observe"]
Count = Annotated[int, Meta(ge=1, le=100_000_000)]
CountOrNone = Annotated[int, Meta(ge=0, le=100_000_000)]
Port = Annotated[int, Meta(ge=1, le=65535)]
Seconds = Annotated[float, Meta(gt=0, le=86400)]
WholeSeconds = Annotated[int, Meta(ge=1, le=2**31 - 1)]


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
    max_per_net: Count = 64


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
    max_lag_s: Seconds = 10.0
    stale_limit_s: Annotated[float, Meta(ge=0, le=31_536_000)] = 0.0
    metrics: str = ""
    top_talkers: Annotated[int, Meta(ge=8, le=65536)] = 1024
    transfers: Annotated[int, Meta(ge=1, le=64)] = 8
    notify_delay_s: Annotated[float, Meta(ge=0, le=3600)] = 1.0
    user: str = ""
    key: tuple[KeySettings, ...] = ()
    zone: tuple[ZoneSettings, ...] = ()


class ServicesSettings(Struct, frozen=True):
    enabled: tuple[Literal["tarpit", "dnsbl"], ...] = ("tarpit", "dnsbl")
    restart_initial_s: Seconds = 0.5
    restart_max_s: Seconds = 30.0


class LogSettings(Struct, frozen=True):
    format: Literal["text", "json"] = "text"


class Settings(Struct, frozen=True):
    store: StoreSettings = StoreSettings()
    guard: GuardSettings = GuardSettings()
    tarpit: TarpitSettings = TarpitSettings()
    firewall: FirewallSettings = FirewallSettings()
    dnsbl: DnsblSettings = DnsblSettings()
    services: ServicesSettings = ServicesSettings()
    log: LogSettings = LogSettings()


@dataclass(frozen=True)
class Reading:
    """What came of reading. `draft` has defaults where something is wrong; `origins` is "section.key" -> file."""

    draft: Settings
    problems: tuple[str, ...]
    files: tuple[Path, ...]
    origins: Mapping[str, str]

    @property
    def settings(self) -> Settings | None:
        """The settings, None if there are problems."""
        return None if self.problems else self.draft


def load(path: str | Path | None = None, env: Mapping[str, str] | None = None) -> Settings:
    """Return the settings; ConfigError with all problems if there are any."""
    reading = read(path, env)
    if reading.settings is None:
        raise ConfigError(*reading.problems)
    return reading.settings


def read(path: str | Path | None = None, env: Mapping[str, str] | None = None) -> Reading:
    """Read the settings and collect every problem instead of stopping at the first."""
    main, files = _find(path, env or {})
    problems: list[str] = []
    sections: dict[str, tuple[str, dict[str, tuple[Any, str]]]] = {}
    for file in files:
        for name, table in _read_file(file, problems).items():
            if not isinstance(table, dict):
                wrong = f"not a section, got {shown(table)}, want [{shown_key(name)}]"
                problems.append(f"{file}: {shown_key(name)}: {wrong}")
                continue
            _, pairs = sections.get(name, ("", {}))
            sections[name] = str(file), pairs | {key: (value, str(file)) for key, value in table.items()}
    origins = {f"{name}.{key}": origin for name, (_, pairs) in sections.items() for key, (_, origin) in pairs.items()}
    settings = _settings(sections, problems)
    if not problems:
        problems += [f"{origins.get(key, main)}: {key}{wrong}" for key, wrong in _conflicts(settings)]
    return Reading(_resolved(settings, main.parent), tuple(problems), files, origins)


# An empty text means "not set" where a default is empty.
CHECKS: Checks = {
    (StoreSettings, "path"): (is_path, "a path"),
    (GuardSettings, "never_list"): (is_path, "a path"),
    (GuardSettings, "own_names"): (is_name, "a host name"),
    (TarpitSettings, "queues"): (is_queues, QUEUES_FORM),
    (TarpitSettings, "greeting_name"): (lambda text: text == "" or is_name(text), "a host name, or empty"),
    (TarpitSettings, "user"): (is_user, "a user name, or empty"),
    (FirewallSettings, "interfaces"): (is_interface, "an interface name"),
    (DnsblSettings, "user"): (is_user, "a user name, or empty"),
    (DnsblSettings, "cookie_secrets"): (is_secret, "32 hexadecimal digits"),
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


def _find(path: str | Path | None, env: Mapping[str, str]) -> tuple[Path, tuple[Path, ...]]:
    """Return the main file's path, and the files to read in order."""
    named = path or env.get(ENVIRONMENT_KEY)
    main = Path(named).absolute() if named else DEFAULT_PATH
    head = (main,) if named or main.exists() else ()
    return main, (*head, *sorted((main.parent / "conf.d").glob("*.toml")))


def _read_file(file: Path, problems: list[str]) -> dict[str, Any]:
    """Return a file's tables; what is wrong with it goes into the problems."""
    try:
        with file.open("rb") as stream:
            raw = stream.read(FILE_LIMIT_BYTES + 1)
        if len(raw) > FILE_LIMIT_BYTES:
            raise ValueError(f"too long, want at most {FILE_LIMIT_BYTES} bytes")
        return tomllib.loads(raw.decode())
    except OSError as error:
        problems.append(f"{file}: can't read the settings: {error.strerror}")
    except tomllib.TOMLDecodeError as error:
        match = re.fullmatch(r"(.*) \(at line (\d+), column (\d+)\)", str(error), re.DOTALL)
        problems.append(f"{file}:{match[2]}: not TOML: {match[1]}, column {match[3]}" if match else f"{file}: {error}")
    except (ValueError, RecursionError) as error:
        problems.append(f"{file}: not TOML: {error}")
    return {}


def _settings(sections: Mapping[str, tuple[str, Pairs]], problems: list[str]) -> Settings:
    """Return the settings of sections given as name -> (file, pairs), the default for what is wrong."""
    kinds = {field.name: field.type for field in msgspec.structs.fields(Settings)}
    decoder = Decoder(CHECKS, problems)
    tables = {}
    for name, (file, pairs) in sections.items():
        if name in kinds:
            tables[name] = decoder.table(kinds[name], pairs, file, name)
        else:
            problems.append(f"{file}: {shown_key(name)}: unknown section{nearest(name, kinds)}")
    return Settings(**cast("dict[str, Any]", tables))


def _conflicts(settings: Settings) -> Iterator[tuple[str, str]]:
    """Yield (section.key, the rest of the message) for keys that contradict each other."""
    tarpit, services, zones = settings.tarpit, settings.services, settings.dnsbl.zone
    shortest = len(f"220 {tarpit.greeting_name}\r\n")
    if tarpit.greeting_name and shortest <= tarpit.throttle_window:
        yield "tarpit.throttle_window", f": got {tarpit.throttle_window}, want below the greeting's {shortest} bytes"
    if services.restart_max_s < services.restart_initial_s:
        yield "services.restart_max_s", f": got {services.restart_max_s}, want at least restart_initial_s"
    names = [zone.name.lower() for zone in zones]
    for i, zone in enumerate(zones):
        if zone.name.lower() in names[:i]:
            yield "dnsbl.zone", f"[{i}].name: the same zone twice, got {zone.name}"
        if zone.expire_s <= zone.refresh_s + zone.retry_s:
            yield "dnsbl.zone", f"[{i}].expire_s: got {zone.expire_s}, want above refresh_s + retry_s (RFC 1912)"


def _resolved(settings: Settings, base: Path) -> Settings:
    """Return the settings with absolute paths."""
    replace, dnsbl = msgspec.structs.replace, settings.dnsbl
    keys = tuple(replace(key, secret_file=str(base / key.secret_file)) for key in dnsbl.key)
    return replace(
        settings,
        dnsbl=replace(dnsbl, key=keys),
        store=replace(settings.store, path=str(base / settings.store.path)),
        guard=replace(settings.guard, never_list=str(base / settings.guard.never_list)),
    )
