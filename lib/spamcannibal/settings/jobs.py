"""The section [jobs]: the rules of blcheck and blpreen, and how long cleanup keeps what."""

import re
from pathlib import Path
from typing import Annotated

from msgspec import Meta, Struct
from msgspec.structs import replace

from spamcannibal.checks import LINE_FORM, is_line, is_path
from spamcannibal.decode import Checks

DAY_S = 86_400
YEAR_S = 365 * DAY_S
RULES = ("block_list", "missing_ptr", "generic_ptr", "countries")

Days = Annotated[int, Meta(ge=1, le=36_500)]
Duration = Annotated[float, Meta(ge=1, le=10 * YEAR_S)]


class JobsSettings(Struct, frozen=True):
    block_list: str = ""
    block_text: str = "in my bad address list"
    block_expires_s: Duration = 30 * DAY_S
    missing_ptr: bool = False
    missing_ptr_text: str = "a mail server needs a PTR record"
    missing_ptr_expires_s: Duration = 7 * DAY_S
    generic_ptr: str = ""
    generic_text: str = "a mail server needs a name of its own"
    generic_expires_s: Duration = 7 * DAY_S
    countries: tuple[str, ...] = ()
    country_db: tuple[str, ...] = ("/usr/share/tor/geoip", "/usr/share/tor/geoip6")
    country_text: str = "in my bad country list"
    country_expires_s: Duration = 30 * DAY_S
    shadow: tuple[str, ...] = ()
    threshold: Annotated[float, Meta(gt=0, le=1000)] = 1.0
    unknown_runs: Annotated[int, Meta(ge=1, le=1000)] = 5
    fresh_s: Duration = DAY_S
    recheck_contact_s: Duration = 7 * DAY_S
    recheck_due_s: Duration = DAY_S
    archive_days: Days = 30
    journal_days: Days = 90


def resolved(settings: JobsSettings, base: Path) -> JobsSettings:
    """Return the settings with absolute paths; an empty one stays so."""
    block_list, generic_ptr = (str(base / path) if path else "" for path in (settings.block_list, settings.generic_ptr))
    country_db = tuple(str(base / path) for path in settings.country_db)
    return replace(settings, block_list=block_list, generic_ptr=generic_ptr, country_db=country_db)


def _is_country(text: str) -> bool:
    return re.fullmatch("[A-Z]{2}", text) is not None


CHECKS: Checks = {
    (JobsSettings, "block_text"): (is_line, LINE_FORM),
    (JobsSettings, "missing_ptr_text"): (is_line, LINE_FORM),
    (JobsSettings, "generic_text"): (is_line, LINE_FORM),
    (JobsSettings, "country_text"): (is_line, LINE_FORM),
    (JobsSettings, "countries"): (_is_country, "an ISO 3166 code of two capital letters"),
    (JobsSettings, "country_db"): (is_path, "a path"),
}
