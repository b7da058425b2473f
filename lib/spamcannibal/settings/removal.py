"""The section [removal]: how whoever is listed gets off by the web pages."""

from typing import Annotated

from msgspec import Meta, Struct

from spamcannibal.checks import is_contact, is_prefix
from spamcannibal.decode import Checks
from spamcannibal.settings.kinds import Count, CountOrNone

DAY_S = 86400.0
KINDS = ("robot", "trap", "gather", "peer", "admin", "api", "import")

Lasting = Annotated[float, Meta(ge=0, le=10 * 365 * DAY_S)]
Limited = Annotated[float, Meta(ge=60, le=10 * 365 * DAY_S)]


class RemovalSettings(Struct, frozen=True):
    enabled: bool = True
    mail: bool = True
    dns: bool = True
    visit: bool = False
    sender: str = ""
    notify: tuple[str, ...] = ()
    automatic: bool = True
    sources: tuple[str, ...] = ("robot", "trap", "gather")
    named: bool = True
    quiet_s: Lasting = 2 * DAY_S
    cooldown_s: Lasting = 7 * DAY_S
    cooldown_limit_s: Lasting = 90 * DAY_S
    removals: CountOrNone = 3
    manual: tuple[str, ...] = ()
    refused_s: Lasting = 30 * DAY_S
    per_day: CountOrNone = 100
    proof_s: Limited = 2 * DAY_S
    kept_s: Limited = 90 * DAY_S
    per_visitor: Count = 10
    per_address: Count = 5
    per_recipient: Count = 5
    mails_per_day: Count = 500
    requests: Count = 20_000


CHECKS: Checks = {
    (RemovalSettings, "sender"): (lambda text: text == "" or is_contact(text), "a mail address, or empty"),
    (RemovalSettings, "notify"): (is_contact, "a mail address"),
    (RemovalSettings, "sources"): (KINDS.__contains__, f"of {', '.join(KINDS)}"),
    (RemovalSettings, "manual"): (is_prefix, "an address or a prefix"),
}
