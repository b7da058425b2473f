"""What a daemon tells of this moment, in a small file that it writes every second: for `spamcannibal top` and pages.

`counts` are those of figures.py since the process began (`since_ms`), so that two readings give a rate; `holds` are the
longest holdings that go on.
"""

import msgspec

from spamcannibal.activity.figures import Hold
from spamcannibal.errors import WireError

HOLDS_TOLD = 50
FILES = {"tarpit": "tarpit.now", "dnsbl": "dnsbl.now"}
FILE_LIMIT_BYTES = 1 << 20


class Now(msgspec.Struct, omit_defaults=True):
    time_ms: int
    since_ms: int
    counts: dict[str, int] = {}
    gauges: dict[str, int] = {}
    holds: list[Hold] = []


_decode = msgspec.json.Decoder(Now).decode


def pack_now(now: Now) -> bytes:
    return msgspec.json.encode(now)


def read_now(data: bytes) -> Now:
    """Return what a file tells; WireError if it is none."""
    try:
        return _decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise WireError(f"not what a daemon writes: {error}") from None
