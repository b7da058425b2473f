"""The section [web]."""

import re
from collections.abc import Iterator
from typing import Annotated

from msgspec import Meta, Struct

from spamcannibal.checks import LOCAL, is_contact, is_endpoint, is_prefix, is_user
from spamcannibal.decode import Checks
from spamcannibal.settings.kinds import Count, Seconds


class WebSettings(Struct, frozen=True):
    listen: tuple[str, ...] = ("127.0.0.1:8025",)
    socket_mode: str = "660"
    threads: Annotated[int, Meta(ge=1, le=64)] = 4
    connections: Annotated[int, Meta(ge=4, le=10_000)] = 200
    idle_s: Seconds = 60.0
    user: str = ""
    url: str = ""
    name: str = "SpamCannibal"
    contact: str = ""
    proxies: tuple[str, ...] = ("127.0.0.0/8", "::1", LOCAL)
    per_minute: Count = 240
    body_limit_bytes: Annotated[int, Meta(ge=4096, le=16 << 20)] = 256 << 10


def is_site(text: str) -> bool:
    return re.fullmatch(r"https?://[A-Za-z0-9.:\[\]-]{1,253}(/[A-Za-z0-9._~/-]*)?", text) is not None


def is_title(text: str) -> bool:
    return text.isprintable() and 0 < len(text) <= 80


CHECKS: Checks = {
    (WebSettings, "listen"): (
        lambda text: is_endpoint(text) or (text.startswith("/") and len(text.encode()) < 108),
        "ADDRESS:PORT, IPv6 as [ADDRESS]:PORT, or a socket's absolute path",
    ),
    (WebSettings, "socket_mode"): (lambda text: re.fullmatch("[0-7]{3}", text) is not None, "three octal digits"),
    (WebSettings, "user"): (is_user, "a user name, or empty"),
    (WebSettings, "url"): (lambda text: text == "" or is_site(text), "an http or https address, or empty"),
    (WebSettings, "name"): (is_title, "1 to 80 printable characters"),
    (WebSettings, "contact"): (lambda text: text == "" or is_contact(text), "a mail address, or empty"),
    (WebSettings, "proxies"): (lambda text: text == LOCAL or is_prefix(text), f'an address, a prefix, or "{LOCAL}"'),
}


def conflicts(web: WebSettings) -> Iterator[tuple[str, str]]:
    """Yield (section.key, the rest of the message) for keys that contradict each other."""
    if len({place.startswith("/") for place in web.listen}) > 1:
        yield "web.listen", ": sockets and ports, want only one kind: the server can't have both"
