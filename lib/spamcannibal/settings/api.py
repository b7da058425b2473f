"""The section [api]: how much programs may ask for, and who may read the metrics."""

from typing import Annotated

from msgspec import Meta, Struct

from spamcannibal.checks import LOCAL, is_path, is_prefix
from spamcannibal.decode import Checks
from spamcannibal.settings.kinds import Count, Seconds


class ApiSettings(Struct, frozen=True):
    per_minute: Count = 600
    look_limit: Annotated[int, Meta(ge=1000, le=1_000_000)] = 20_000
    removals_per_hour: Count = 1000
    streams: Annotated[int, Meta(ge=0, le=63)] = 2
    stream_s: Seconds = 300.0
    heartbeat_s: Seconds = 15.0
    wait_s: Seconds = 30.0
    metrics_from: tuple[str, ...] = ("127.0.0.0/8", "::1", LOCAL)
    metrics_dir: str = ""


CHECKS: Checks = {
    (ApiSettings, "metrics_from"): (
        lambda text: text == LOCAL or is_prefix(text),
        f'an address, a prefix, or "{LOCAL}"',
    ),
    (ApiSettings, "metrics_dir"): (lambda text: text == "" or is_path(text), "a directory, or empty"),
}
