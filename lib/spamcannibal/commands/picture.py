"""Pictures by matplotlib: verdicts as addresses x lists, one colour an outcome; and the writing of any other."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from spamcannibal.errors import SpamCannibalError
from spamcannibal.remote.verdict import Outcome, Verdict

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLOURS = ("#ffffff", "#2e8b57", "#c9c9c9", "#b22222")  # not asked, clear, unknown, listed
LABELS = ("not asked", "clear", "unknown", "listed")
RANKS = {Outcome.CLEAR: 1, Outcome.UNKNOWN: 2, Outcome.LISTED: 3}
NAMED_ROWS = 100  # past it rows are too low to be named
INCHES_A_ROW, INCHES_A_LIST, MOST_INCHES = 0.2, 0.5, 60.0


def draw_matrix(path: str, zones: Sequence[str], rows: Sequence[tuple[str, Sequence[Verdict]]]) -> None:
    """Write the picture; SpamCannibalError if the file's name ends in no known form, or it can't be written."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib.colors import ListedColormap
    from matplotlib.figure import Figure
    from matplotlib.patches import Patch

    places = {zone: place for place, zone in enumerate(zones)}
    cells = [[0] * len(zones) for _ in rows] or [[0] * len(zones)]
    for row, (_, verdicts) in zip(cells, rows, strict=False):
        for verdict in verdicts:
            row[places[verdict.zone]] = RANKS[verdict.outcome]
    width = min(MOST_INCHES, 3 + INCHES_A_LIST * len(zones))
    height = min(MOST_INCHES, 2.5 + INCHES_A_ROW * min(len(rows), NAMED_ROWS))
    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.subplots()
    axes.imshow(cells, cmap=ListedColormap(COLOURS), vmin=0, vmax=3, aspect="auto", interpolation="nearest")
    axes.set_xticks(range(len(zones)), zones, rotation=60, ha="right")
    if len(rows) <= NAMED_ROWS:
        axes.set_yticks(range(len(rows)), [address for address, _ in rows])
    else:
        axes.set_ylabel(f"{len(rows)} addresses")
    if len(rows) <= NAMED_ROWS:
        for axis, count in ((axes.xaxis, len(zones)), (axes.yaxis, len(rows))):
            axis.set_ticks([place - 0.5 for place in range(1, count)], minor=True)
        axes.tick_params(which="minor", length=0)
        axes.grid(which="minor", color="#ffffff", linewidth=1)
    legend = zip(COLOURS, LABELS, strict=True)
    handles = [Patch(facecolor=colour, edgecolor="black", label=label) for colour, label in legend]
    figure.legend(handles=handles, loc="outside upper center", ncols=len(LABELS), fontsize="small")
    written(figure, path)


def written(figure: "Figure", path: str) -> None:
    """Write a picture; SpamCannibalError if the file's name ends in no known form, or it can't be written."""
    try:
        figure.savefig(path)
    except (OSError, ValueError) as error:
        raise SpamCannibalError(f"{path}: can't write the picture: {error}") from None
