"""The sections [robot] and [complaint]."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct

from spamcannibal.addr import parse_endpoint
from spamcannibal.checks import LINE_FORM, is_contact, is_endpoint, is_line, is_name, is_path, is_prefix, is_user
from spamcannibal.decode import Checks
from spamcannibal.settings.kinds import Count, CountOrNone, Seconds

Days = Annotated[float, Meta(ge=60, le=10 * 365 * 86400)]


class SubmitterSettings(Struct, frozen=True):
    name: str
    fingerprint: str = ""
    dkim: str = ""
    header: str = ""
    roles: tuple[Literal["report", "command"], ...] = ("report",)
    address: str = ""


class RobotSettings(Struct, frozen=True):
    path: str = "/var/lib/spamcannibal-robot"
    user: str = ""
    gpg: str = "gpg"
    key: str = ""
    passphrase_file: str = ""
    address: str = ""
    own_hosts: tuple[str, ...] = ()
    skip_private: bool = True
    trust_local: bool = False
    message_limit_bytes: Annotated[int, Meta(ge=1024, le=64 << 20)] = 1 << 20
    depth_limit: Annotated[int, Meta(ge=1, le=40)] = 16
    parts_limit: Annotated[int, Meta(ge=1, le=10_000)] = 200
    headers_limit: Annotated[int, Meta(ge=10, le=100_000)] = 1000
    replay_window_s: Days = 604_800.0
    text: str = ""
    expires_s: Annotated[float, Meta(ge=0, le=10 * 365 * 86400)] = 0.0
    hide: tuple[str, ...] = ()
    neighbours: bool = False
    refusals: Literal["bounce", "keep"] = "bounce"
    sendmail: str = "/usr/sbin/sendmail"
    smtp: str = ""
    wait_s: Seconds = 30.0
    dead_letters: Count = 10_000
    originals: Count = 20_000
    kept_bytes: Annotated[int, Meta(ge=1 << 20, le=1 << 40)] = 1 << 30
    kept_s: Days = 90 * 86400.0
    lmtp: str = "/run/spamcannibal-robot/lmtp"
    lmtp_group: str = ""
    lmtp_connections: Annotated[int, Meta(ge=1, le=1024)] = 20
    lmtp_idle_s: Seconds = 300.0
    submitter: tuple[SubmitterSettings, ...] = ()


class ContactSettings(Struct, frozen=True):
    nets: tuple[str, ...]
    addresses: tuple[str, ...]


class ComplaintSettings(Struct, frozen=True):
    sender: str = ""
    organisation: str = ""
    rdap: str = "https://rdap.org"
    wait_s: Seconds = 10.0
    per_contact_per_day: CountOrNone = 5
    copies: tuple[str, ...] = ()
    contact: tuple[ContactSettings, ...] = ()


def is_fingerprint(text: str) -> bool:
    return re.fullmatch(r"[0-9A-Fa-f]{40}", text) is not None


def is_own_host(text: str) -> bool:
    """Tell whether a text is a host name, ".name" for all below it, an address or a prefix."""
    return is_prefix(text) or is_name(text.removeprefix("."))


def is_header(text: str) -> bool:
    return re.fullmatch(r"[!-9;-~]{1,100}:[ \t]*\S[ -~]{7,900}", text) is not None


def is_vouched(text: str) -> bool:
    return is_name(text) or is_contact(text)


def is_listener(text: str) -> bool:
    """Tell whether a text is a socket's path, or an endpoint on the loopback interface."""
    if not is_endpoint(text):
        return text.startswith("/") and "\0" not in text and len(text.encode()) < 108
    addr, _ = parse_endpoint(text)
    return addr[0] == 127 if len(addr) == 4 else addr == bytes(15) + b"\x01"


def is_base_url(text: str) -> bool:
    return re.fullmatch(r"https?://[A-Za-z0-9.:\[\]-]{1,253}(/[A-Za-z0-9._~/-]*)?", text) is not None


def conflicts(settings: RobotSettings) -> Iterator[tuple[str, str]]:
    """Yield (section.key, the rest of the message) for submitters that nobody could be, or that may too much."""
    for i, each in enumerate(settings.submitter):
        where = f"[{i}]"
        proofs = sum(map(bool, (each.fingerprint, each.dkim, each.header)))
        if proofs != 1:
            yield "robot.submitter", f"{where}: got {proofs} of fingerprint, dkim and header, want exactly one"
        elif "command" in each.roles and not each.fingerprint:
            yield "robot.submitter", f"{where}.roles: command is for those who sign, want a fingerprint"
    if settings.address and not settings.key:
        yield "robot.key", ": missing, want the robot's own key to sign answers; `spamcannibal robot key new` makes it"


def resolved(settings: RobotSettings, base: Path) -> RobotSettings:
    """Return the settings with absolute paths."""
    passphrase = str(base / settings.passphrase_file) if settings.passphrase_file else ""
    return msgspec.structs.replace(settings, path=str(base / settings.path), passphrase_file=passphrase)


def _or_empty(text: str) -> bool:
    return text == "" or is_contact(text)


CHECKS: Checks = {
    (SubmitterSettings, "fingerprint"): (lambda text: text == "" or is_fingerprint(text), "40 hexadecimal digits"),
    (SubmitterSettings, "dkim"): (lambda text: text == "" or is_vouched(text), "a domain or a mail address"),
    (SubmitterSettings, "header"): (
        lambda text: text == "" or is_header(text),
        "NAME: VALUE, the value a secret of at least 8 characters",
    ),
    (SubmitterSettings, "address"): (_or_empty, "a mail address, or empty"),
    (RobotSettings, "path"): (is_path, "a path"),
    (RobotSettings, "user"): (is_user, "a user name, or empty"),
    (RobotSettings, "gpg"): (is_path, "a program"),
    (RobotSettings, "key"): (lambda text: text == "" or is_fingerprint(text), "40 hexadecimal digits, or empty"),
    (RobotSettings, "address"): (_or_empty, "a mail address, or empty"),
    (RobotSettings, "own_hosts"): (is_own_host, "a host name, .NAME for all below it, an address or a prefix"),
    (RobotSettings, "text"): (is_line, LINE_FORM),
    (RobotSettings, "hide"): (is_vouched, "a domain or a mail address"),
    (RobotSettings, "sendmail"): (is_path, "a program"),
    (RobotSettings, "smtp"): (lambda text: text == "" or is_endpoint(text), "ADDRESS:PORT, or empty"),
    (RobotSettings, "lmtp"): (is_listener, "a socket's absolute path, or ADDRESS:PORT on loopback"),
    (RobotSettings, "lmtp_group"): (is_user, "a group name, or empty"),
    (ContactSettings, "nets"): (is_prefix, "an address or a prefix"),
    (ContactSettings, "addresses"): (is_contact, "a mail address"),
    (ComplaintSettings, "sender"): (_or_empty, "a mail address, or empty"),
    (ComplaintSettings, "organisation"): (is_line, LINE_FORM),
    (ComplaintSettings, "rdap"): (lambda text: text == "" or is_base_url(text), "an http or https address, or empty"),
    (ComplaintSettings, "copies"): (is_contact, "a mail address"),
}
