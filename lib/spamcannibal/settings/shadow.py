"""The section [shadow]: what listings on trial must reach before `list promote` turns them on."""

from typing import Annotated

from msgspec import Meta, Struct

from spamcannibal.decode import Checks

Share = Annotated[float, Meta(ge=0, le=1)]


class ShadowSettings(Struct, frozen=True):
    precision: Annotated[float, Meta(ge=0.5, lt=1)] = 0.95
    observations: Annotated[int, Meta(ge=1, le=1_000_000)] = 50
    judged: Share = 0.2
    logs_age_s: Annotated[float, Meta(ge=3600, le=31_536_000)] = 604_800.0


CHECKS: Checks = {}
