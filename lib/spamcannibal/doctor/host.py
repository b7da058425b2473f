"""Gather the facts of this host: kernel, rules, queues, files, clock, processes. It judges nothing."""

import ctypes
import os
import pwd
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from spamcannibal._core import Trap
from spamcannibal.checks import queue_range
from spamcannibal.doctor import process
from spamcannibal.doctor.finding import Untold, Wrong
from spamcannibal.doctor.keeping import Books, Folder
from spamcannibal.doctor.packets import UNWRITTEN_S, InPlace, Reader
from spamcannibal.errors import SpamCannibalError
from spamcannibal.service import CAP_NET_ADMIN
from spamcannibal.settings import Settings
from spamcannibal.store.alone import last_run_s
from spamcannibal.store.handles import LOADING_KEY
from spamcannibal.store.stores import Store
from spamcannibal.tarpit import firewall
from spamcannibal.tarpit.keep import SECRET_BYTES, load_slots
from spamcannibal.tarpit.notes import QueueRow, has_capability, parse_queue_table
from spamcannibal.tarpit.rules import Rule

PROC = Path("/proc")
QUEUES = PROC / "self/net/netfilter/nfnetlink_queue"
FILES_LIMIT = 10_000
NO_RIGHT = "only root (CAP_NET_ADMIN) can see it"
# <linux/timex.h>: the state that adjtimex returns, and the status bit, of a clock that nobody sets right
_TIME_ERROR, _STA_UNSYNC, _TIMEX_BYTES, _STATUS_AT = 5, 0x40, 208, 40

T = TypeVar("T")


def told(ask: Callable[[], T]) -> T | Untold:
    """Return an answer, or why there is none."""
    try:
        return ask()
    except SpamCannibalError as error:
        return Untold(str(error))
    except OSError as error:
        return Untold(f"{error.filename or 'the kernel'}: {error.strerror or error}")


def backend(settings: Settings) -> str | Untold | Wrong:
    """Return what `firewall apply` would use."""
    if not _may_see():
        return Untold(NO_RIGHT)
    try:
        return firewall.choose(firewall.plan(settings), settings.firewall.backend)
    except SpamCannibalError as error:
        return Wrong(str(error).removesuffix(f"; {firewall.CURE}"), firewall.CURE)


def rules_wanted(settings: Settings, chosen: str) -> list[Rule] | Untold:
    """Return the rules that `firewall apply` would make."""
    return told(lambda: firewall.would_be(firewall.plan(settings), chosen))


def rules_present() -> InPlace | Untold:
    """Return our rules in the kernel."""
    if not _may_see():
        return Untold(NO_RIGHT)
    return told(lambda: InPlace(list(firewall.present()), firewall.behind()))


def queues() -> dict[int, QueueRow] | Untold:
    """Return the bound queues of this network namespace."""
    if not _may_see():
        return Untold(NO_RIGHT)
    return told(lambda: parse_queue_table(QUEUES.read_text("ascii")))


def readers(rows: dict[int, QueueRow]) -> dict[int, Reader]:
    """Return the processes among those that read queues: a netlink port is mostly the number of its process."""
    found = {}
    for port in {row.port for row in rows.values()}:
        with suppress(OSError):
            stat = process.parse_stat((PROC / str(port) / "stat").read_text())
            name = (PROC / str(port) / "comm").read_text().strip()
            found[port] = Reader(port, name, stat is not None and stat[0] in "Tt")
    return found


def slots_age_s(settings: Settings) -> float | Untold | None:
    """Return how long ago the tarpit wrote down whom it holds."""
    return told(lambda: _age_s(Path(settings.store.path) / "tarpit.slots"))


def held(settings: Settings) -> int | Untold:
    """Return how many connections the tarpit held by stutter when it wrote them down, lately."""
    age_s = slots_age_s(settings)
    if isinstance(age_s, Untold):
        return age_s
    if age_s is None or age_s > UNWRITTEN_S:
        return Untold("nothing written lately")
    trap = Trap(max(1, settings.tarpit.connections), bytes(SECRET_BYTES))
    try:
        return told(lambda: trap.load(load_slots(Path(settings.store.path))))
    except ValueError as error:
        return Untold(f"tarpit.slots: {error}")


def folder(path: Path) -> Folder | Untold:
    """Return what the file system says of the database."""
    return told(lambda: _folder(path))


def books(store: Store) -> Books | Untold:
    """Return what the database says of itself."""

    def look() -> Books:
        seq = store.last_seq()
        newest = store.change(seq) if seq else None
        is_loading = store.env.read(lambda: bool(store.env.db("meta").exists(LOADING_KEY)))
        return Books(store.counts()["tarpit"], seq, newest.time_ms / 1000 if newest else None, is_loading)

    return told(look)


def last_runs(settings: Settings, jobs: tuple[str, ...]) -> dict[str, float | Untold | None]:
    """Return when each job came to its end."""
    path = Path(settings.store.path)
    return {job: told(lambda job=job: last_run_s(path, job)) for job in jobs}  # type: ignore[misc]


def is_clock_set() -> bool | Untold:
    """Ask the kernel whether something keeps its clock right (adjtimex(2), which changes nothing without modes)."""
    libc = ctypes.CDLL(None, use_errno=True)
    timex = ctypes.create_string_buffer(_TIMEX_BYTES)
    state = libc.adjtimex(timex)
    if state < 0:
        return Untold(f"adjtimex: {os.strerror(ctypes.get_errno())}")
    status = int.from_bytes(timex.raw[_STATUS_AT : _STATUS_AT + 4], "little")
    return state != _TIME_ERROR and not status & _STA_UNSYNC


def services(config: Path | None) -> Iterator[process.Service]:
    """Yield our services of this network namespace that run with the settings file `config`, None the usual one."""
    boot_s = process.parse_boot_s((PROC / "stat").read_text("ascii")) or 0.0
    ticks, here = os.sysconf("SC_CLK_TCK"), (PROC / "self/ns/net").readlink()
    for entry in PROC.iterdir():
        if not entry.name.isdigit():
            continue
        # What ends meanwhile, or is another's, is left out.
        with suppress(OSError):
            argv = (entry / "cmdline").read_bytes().decode("utf-8", "replace").split("\0")[:-1]
            found = process.read_argv(argv)
            if found is None or (entry / "ns/net").readlink() != here:
                continue
            named = ((entry / "cwd").readlink() / found[1]).resolve() if found[1] else None
            stat = process.parse_stat((entry / "stat").read_text())
            if named == config and stat is not None:
                yield process.Service(found[0], int(entry.name), boot_s + stat[1] / ticks, found[1])


def queue_numbers(settings: Settings) -> range:
    return queue_range(settings.tarpit.queues)


def _may_see() -> bool:
    return has_capability((PROC / "self/status").read_text("ascii"), CAP_NET_ADMIN)


def _age_s(path: Path) -> float | None:
    try:
        return max(0.0, time.time() - path.stat().st_mtime)
    except FileNotFoundError:
        return None


def _folder(path: Path) -> Folder:
    stat, space = path.stat(), os.statvfs(path)
    foreign, log_bytes = [], 0
    with os.scandir(path) as entries:
        for entry, _ in zip(entries, range(FILES_LIMIT), strict=False):
            with suppress(FileNotFoundError):
                about = entry.stat(follow_symlinks=False)
                log_bytes += about.st_size if entry.name.startswith("log.") else 0
                if about.st_uid != stat.st_uid:
                    foreign.append(entry.name)
    free = space.f_bavail * space.f_frsize
    return Folder(str(path), _user(stat.st_uid), stat.st_mode & 0o7777, sorted(foreign), free, log_bytes)


def _user(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)
