"""python -m lab [--stay]: build the laboratory, tell the story, remove everything; exit 0 only if all of it happened.

`--guard` is for the laboratory itself: a process that removes everything should its parent be killed.
"""

from __future__ import annotations

import contextlib
import signal
import sys
import threading
from types import FrameType

import click
from rich.console import Console

from lab.story import Story, failed_step
from lab.view import Board
from lab.world import CLEAN, LISTED, MAIL, ROOT, World, guard, world
from live.nets import missing

REAL_HOST = """
On a real mail host (README has the whole of it):
  python3 -m venv /opt/spamcannibal && /opt/spamcannibal/bin/pip install {root}
  install -d /etc/spamcannibal && cp {root}/conf/spamcannibal.toml {root}/conf/never-list /etc/spamcannibal/
  editor /etc/spamcannibal/never-list         # first of all: who must never be listed
  editor /etc/spamcannibal/spamcannibal.toml  # mode = "observe" to begin with; a [[dnsbl.zone]] or no dnsbl
  export PATH=/opt/spamcannibal/bin:$PATH
  spamcannibal config check
  spamcannibal firewall apply                 # mail goes on if the daemon is not there (queue bypass)
  spamcannibal up                             # or the systemd units of conf/systemd
  spamcannibal firewall remove                # undo
"""


@click.command()
@click.option("--stay", is_flag=True, help="Keep the laboratory running until Ctrl-C.")
@click.option("--guard", "guarded", type=int, hidden=True)
def main(stay: bool, guarded: int | None) -> None:
    """Show the main job in a laboratory of network namespaces."""
    if guarded:
        guard(guarded)
        return
    if lacking := missing():
        raise click.ClickException(lacking)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupt)
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = 120
    try:
        is_good = tell(console, stay)
    except KeyboardInterrupt:
        console.print("\nStopped; the laboratory is removed.")
        sys.exit(130)
    if is_good:
        console.print(REAL_HOST.format(root=ROOT), markup=False, soft_wrap=True)
    sys.exit(0 if is_good else 1)


def tell(console: Console, stay: bool) -> bool:
    """Build, tell, remove; say whether all of it happened."""
    board = Board(console)
    console.print("Laboratory: four network namespaces; nothing outside them is touched.\n")
    with world() as made:
        story = Story(made, board)
        try:
            with board.shown():
                story.run()
            if not console.is_terminal:
                console.print(board.table())
            if step := failed_step(board):
                console.print(f"\n{step.title}: {step.why}", markup=False)
                show_logs(console, made)
            console.print("All of it happened." if board.is_good else "NOT all of it happened.", style="bold")
            if stay:
                linger(console, made)
        finally:
            story.close()
    console.print("The laboratory is removed.")
    return board.is_good


def show_logs(console: Console, made: World) -> None:
    """Show the last lines of what the processes printed."""
    for path in sorted(made.path.glob("*.log")):
        tail = path.read_text(errors="replace").splitlines()[-25:]
        console.print(f"\n{path.name}:\n  " + "\n  ".join(tail), markup=False)


def linger(console: Console, made: World) -> None:
    """Start the services again and keep everything until Ctrl-C."""
    if made.up.poll() is not None:
        made.spamcannibal("firewall", "apply")
        made.start_up()
    call = f"bash -c 'cat </dev/tcp/{MAIL['v4'].host}/25'"
    lines = [
        f"\nIt stays until Ctrl-C. On the mail host ({MAIL['v4'].host}, {MAIL['v6'].host}):",
        f"  {made.command_line()} list show",
        f"Call it as the clean sender ({CLEAN['v4'].host}), and as the listed one ({LISTED['v4'].host}):",
        f"  {' '.join(made.clean.argv(call))}",
        f"  {' '.join(made.listed.argv(call))}",
        f"What the services say:\n  tail -f {made.path}/up.log",
    ]
    console.print("\n".join(lines), markup=False, soft_wrap=True)
    with contextlib.suppress(KeyboardInterrupt):
        threading.Event().wait()


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    main()
