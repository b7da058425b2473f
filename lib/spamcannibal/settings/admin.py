"""The section [admin]: who may come to the pages of administration, and how long a login lasts."""

import re
from typing import Annotated

from msgspec import Meta, Struct

from spamcannibal.checks import is_prefix
from spamcannibal.decode import Checks
from spamcannibal.settings.kinds import Count, Seconds


class AdminSettings(Struct, frozen=True):
    enabled: bool = True
    nets: tuple[str, ...] = ("0.0.0.0/0", "::/0")
    idle_s: Seconds = 1800.0
    session_s: Seconds = 43_200.0
    tries: Annotated[int, Meta(ge=1, le=100)] = 5
    lock_s: Seconds = 30.0
    lock_max_s: Seconds = 3600.0
    tries_per_minute: Count = 30
    proxy_header: str = ""
    lines: Annotated[int, Meta(ge=1, le=100_000)] = 10_000


CHECKS: Checks = {
    (AdminSettings, "nets"): (is_prefix, "an address or a prefix"),
    (AdminSettings, "proxy_header"): (
        lambda text: text == "" or re.fullmatch("[A-Za-z][A-Za-z0-9-]{0,63}", text) is not None,
        "the name of a header field, or empty",
    ),
}
