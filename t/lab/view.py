"""The story's board: what is to happen, what came of it; a live table on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

MARKS = {"": "[dim]··", "now": "[yellow]..", "ok": "[bold green]ok", "NO": "[bold red]NO"}


@dataclass
class Step:
    """One line of the story; a cell may be a function, which is asked again at each drawing."""

    title: str
    state: str = ""
    began: float = 0.0
    took_s: float = 0.0
    why: str = ""
    cells: dict[str, str | Callable[[], str]] = field(default_factory=dict)

    def text(self, family: str) -> str:
        """Return what came of this step for "v4", "v6"."""
        cell = self.cells.get(family, "")
        return cell if isinstance(cell, str) else cell()


class Board:
    """The steps in order."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.steps: list[Step] = []
        self.began = time.monotonic()
        self._live: Live | None = None

    @property
    def is_good(self) -> bool:
        """Say whether every step happened."""
        return bool(self.steps) and all(step.state == "ok" for step in self.steps)

    def plan(self, title: str) -> Step:
        """Add a step to come."""
        self.steps.append(Step(title))
        return self.steps[-1]

    @contextmanager
    def shown(self) -> Iterator[None]:
        """Draw the board live for the block, if this is a terminal."""
        if not self.console.is_terminal:
            yield
            return
        with Live(get_renderable=self.table, console=self.console, refresh_per_second=5) as self._live:
            yield

    def begin(self, step: Step) -> None:
        """Mark a step as going on."""
        step.state, step.began = "now", time.monotonic()

    def end(self, step: Step, why: str = "") -> None:
        """Mark a step as done, or say why it was not; in plain form this is where its line comes out."""
        step.state, step.why, step.took_s = "NO" if why else "ok", why, time.monotonic() - step.began
        for family in ("v4", "v6"):
            step.cells[family] = step.text(family)
        if self._live is None:
            both = step.text("v4") if step.text("v4") == step.text("v6") else "  ".join(map(step.text, ("v4", "v6")))
            came = (why or both).splitlines()[0]
            line = f"[{time.monotonic() - self.began:5.1f} s] {step.state}  {step.title}: {came}"
            self.console.print(line, markup=False, soft_wrap=True)

    def table(self) -> Table:
        """Draw everything."""
        table = Table(title="SpamCannibal in its laboratory", title_justify="left", expand=False)
        for name, options in (("", {}), ("what happens", {}), ("IPv4", {}), ("IPv6", {}), ("s", {"justify": "right"})):
            table.add_column(name, **options)  # type: ignore[arg-type]
        for step in self.steps:
            took_s = time.monotonic() - step.began if step.state == "now" else step.took_s
            style = "" if step.state else "dim"
            seconds = f"{took_s:.1f}" if step.state else ""
            cells = (Text(step.title), Text(step.text("v4")), Text(step.text("v6")), seconds)
            table.add_row(MARKS[step.state], *cells, style=style)
        return table
