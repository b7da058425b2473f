"""Captures through the tarpit's decisions: reading, totals, sources as rows, and the picture of it."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from spamcannibal._core import Replay, Trap
from spamcannibal.addr import make_key, mask
from spamcannibal.commands.against import Against, size_of
from spamcannibal.commands.common import progress
from spamcannibal.commands.picture import written
from spamcannibal.errors import SpamCannibalError
from spamcannibal.rows import when
from spamcannibal.settings import Settings

SOURCES_LIMIT = 1_000_000
DRAWN_SOURCES = 15
SECRET_BYTES = 16
COLOURS = {"passed": "#c9c9c9", "shadowed": "#e0a030", "dropped": "#b22222"}
LABELS = {"passed": "passes", "shadowed": "a shadow listing would refuse", "dropped": "refused"}
SOURCE_COLUMNS = ("source", "fate", "mode", "entry", "listed by", "packets", "connections", "answered", "bytes", "last")


class Read(msgspec.Struct):
    """What reading came to: time spent on it and on deciding, packets of link types that are not known, damage."""

    files: int = 0
    read_s: float = 0.0
    decide_s: float = 0.0
    links: dict[str, int] = {}
    damage: list[str] = []


def run(found: Against, settings: Settings, files: Sequence[str], ports: Sequence[int]) -> tuple[Replay, Read]:
    """Decide all packets; SpamCannibalError if none of the files could be read at all."""
    from spamcannibal.tarpit.notes import trap_settings
    from spamcannibal.tarpit.replay import Capture, link_name

    trap = Trap(max(1, settings.tarpit.connections), _secret(settings))
    try:
        trap.configure(**trap_settings(settings.tarpit, "localhost"))
    except ValueError as error:
        raise SpamCannibalError(f"tarpit: {error}") from None
    replay = Replay(trap, found.tables.listings, found.tables.shadows, ports, SOURCES_LIMIT)
    read = Read()
    with progress(size_of(files), "replaying") as step:
        for file in files:
            capture = Capture(file, step)
            began = time.perf_counter()
            for part in capture:
                got = time.perf_counter()
                read.read_s += got - began
                try:
                    replay.feed(*part)
                except ValueError:
                    name = link_name(part.link)
                    read.links[name] = read.links.get(name, 0) + len(part.frames)
                began = time.perf_counter()
                read.decide_s += began - got
            read.files += 1
            if capture.damage:
                read.damage.append(f"{file}: {capture.damage}")
    return replay, read


def totals(replay: Replay, read: Read) -> dict[str, Any]:
    """Give what the tarpit would have done, in all."""
    counts = replay.counts()
    start_ms, span_ms, spans = replay.timeline()
    decided = counts["packets"]
    return {
        "files": read.files,
        "from": when(start_ms) if spans else None,
        "to": when(start_ms + span_ms * len(spans)) if spans else None,
        **counts,
        "other_links": read.links,
        "events": {name.lower(): count for name, count in replay.events().items()},
        "read_pps": round(decided / read.read_s) if read.read_s else None,
        "decide_pps": round(decided / read.decide_s) if read.decide_s else None,
        "damage": read.damage,
    }


def source_rows(replay: Replay, found: Against, limit: int) -> list[dict[str, Any]]:
    """Give the sources that something lists as rows, who would have lost most packets first."""
    ranks = {"dropped": 0, "observed": 1, "shadowed": 2, "passed": 3}
    sources = sorted(replay.sources(), key=lambda source: (ranks[source[3]], -source[5], source[0]))
    rows = []
    for addr, plen, _, fate, mode, packets, connections, answered, bytes_in, bytes_out, first, last in (
        sources[:limit] if limit else sources
    ):
        key = make_key(mask(addr, plen), plen)
        rows.append(
            {
                "source": addr,
                "fate": {"dropped": "refused", "shadowed": "shadow", "passed": "excepted"}.get(fate, fate),
                "mode": mode if fate == "dropped" else None,
                "entry": key,
                "listed by": found.source(key),
                "packets": packets,
                "connections": connections,
                "answered": answered,
                "bytes": bytes_in,
                "bytes_out": bytes_out,
                "first": when(first),
                "last": when(last),
            }
        )
    return rows


def draw(path: str, replay: Replay, rows: Sequence[dict[str, Any]]) -> None:
    """Write the picture: packets by time, and the sources that would have lost most."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib.figure import Figure

    start_ms, span_ms, spans = replay.timeline()
    named = [row for row in rows if row["fate"] in ("refused", "shadow")][:DRAWN_SOURCES]
    figure = Figure(figsize=(10, 4 + 0.3 * len(named)), layout="constrained")
    times, sources = figure.subplots(2, 1, height_ratios=(3, 0.5 + 0.3 * len(named)))
    hours = [(i + 0.5) * span_ms / 3_600_000 for i in range(len(spans))]
    bottom = [0] * len(spans)
    for place, fate in reversed([*enumerate(COLOURS)]):
        heights = [span[place] for span in spans]
        times.bar(hours, heights, span_ms / 3_600_000, bottom, color=COLOURS[fate], label=LABELS[fate])
        bottom = [low + height for low, height in zip(bottom, heights, strict=True)]
    times.set_xlabel(f"hours since {when(start_ms) or '-'}")
    times.set_ylabel(f"packets in {span_ms / 1000:g} s")
    times.legend(loc="upper right", fontsize="small")
    _draw_sources(sources, named)
    written(figure, path)


def _draw_sources(axes: Any, rows: Sequence[dict[str, Any]]) -> None:
    from spamcannibal.addr import format_addr

    colours = [COLOURS["dropped" if row["fate"] == "refused" else "shadowed"] for row in rows]
    axes.barh(range(len(rows)), [row["packets"] for row in rows], color=colours)
    axes.set_yticks(range(len(rows)), [format_addr(row["source"]) for row in rows])
    axes.invert_yaxis()
    axes.set_xlabel("packets of whom something lists" if rows else "nobody here is listed")


def _secret(settings: Settings) -> bytes:
    """Return the tarpit's secret if we may read it: packets that it answered are then known again."""
    try:
        secret = (Path(settings.store.path) / "tarpit.secret").read_bytes()
    except OSError:
        return bytes(SECRET_BYTES)
    return secret if len(secret) == SECRET_BYTES else bytes(SECRET_BYTES)
