"""The section [activity]: how long figures are kept, and who gets the reports."""

from typing import Annotated

from msgspec import Meta, Struct

from spamcannibal.checks import is_contact
from spamcannibal.decode import Checks
from spamcannibal.settings.kinds import Seconds

Days = Annotated[int, Meta(ge=1, le=36_500)]


class ActivitySettings(Struct, frozen=True):
    minutes_days: Annotated[int, Meta(ge=1, le=14)] = 2
    hours_days: Annotated[int, Meta(ge=2, le=1000)] = 90
    days: Days = 1825
    hold_gap_s: Seconds = 600.0
    public: bool = True
    sender: str = ""
    recipients: tuple[str, ...] = ()


CHECKS: Checks = {
    (ActivitySettings, "sender"): (lambda text: text == "" or is_contact(text), "a mail address, or empty"),
    (ActivitySettings, "recipients"): (is_contact, "a mail address"),
}
