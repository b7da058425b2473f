"""Types of settings' values that several sections share."""

from typing import Annotated, Literal

from msgspec import Meta

Mode = Literal["throttle", "persist", "stutter", "drop", "observe"]
Count = Annotated[int, Meta(ge=1, le=100_000_000)]
CountOrNone = Annotated[int, Meta(ge=0, le=100_000_000)]
Port = Annotated[int, Meta(ge=1, le=65535)]
Seconds = Annotated[float, Meta(gt=0, le=86400)]
WholeSeconds = Annotated[int, Meta(ge=1, le=2**31 - 1)]
