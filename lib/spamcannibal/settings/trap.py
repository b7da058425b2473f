"""The section [trap]: an SMTP server for recipients that nobody should write to."""

import re
from typing import Annotated, Literal

from msgspec import Meta, Struct

from spamcannibal.checks import LINE_FORM, is_contact, is_endpoint, is_line, is_name, is_user
from spamcannibal.decode import Checks
from spamcannibal.settings.kinds import Seconds


class TrapSettings(Struct, frozen=True):
    name: str = "main"
    listen: tuple[str, ...] = ("0.0.0.0:25", "[::]:25")
    hostname: str = ""
    recipients: tuple[str, ...] = ()
    answer: Literal["refuse", "accept"] = "refuse"
    text: str = "$ is listed for sending to a spam trap"
    expires_s: Annotated[float, Meta(ge=0, le=10 * 365 * 86400)] = 86400.0
    message_limit_bytes: Annotated[int, Meta(ge=1024, le=64 << 20)] = 256 << 10
    connections: Annotated[int, Meta(ge=1, le=10_000)] = 100
    per_source: Annotated[int, Meta(ge=1, le=10_000)] = 5
    per_minute: Annotated[float, Meta(ge=1, le=100_000)] = 60.0
    idle_s: Seconds = 60.0
    session_s: Seconds = 300.0
    observe: bool = False
    user: str = ""


def is_recipient(text: str) -> bool:
    """Tell whether a text is a mail address, a domain, ".domain" for all below it, or "*"."""
    return text == "*" or is_contact(text) or is_name(text.removeprefix("."))


def is_trap_name(text: str) -> bool:
    return re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,62}", text) is not None


CHECKS: Checks = {
    (TrapSettings, "name"): (is_trap_name, "letters, digits, _ . and -, at most 63"),
    (TrapSettings, "listen"): (is_endpoint, "ADDRESS:PORT, IPv6 as [ADDRESS]:PORT"),
    (TrapSettings, "hostname"): (lambda text: text == "" or is_name(text), "a host name, or empty"),
    (TrapSettings, "recipients"): (is_recipient, 'a mail address, a domain, .DOMAIN for all below it, or "*"'),
    (TrapSettings, "text"): (is_line, LINE_FORM),
    (TrapSettings, "user"): (is_user, "a user name, or empty"),
}
