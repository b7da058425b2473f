"""Gather the facts of this host: kernel, rules, queues, files, clock, processes. It judges nothing."""

import ctypes
import os
import pwd
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TypeVar

from spamcannibal._core import Trap
from spamcannibal.checks import queue_range
from spamcannibal.config import DEFAULT_PATH, ENVIRONMENT_KEY
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
    uptime_s = float((PROC / "uptime").read_text("ascii").split()[0])
    for port in {row.port for row in rows.values()}:
        with suppress(OSError):
            stat = _stat(PROC / str(port))
            name = (PROC / str(port) / "comm").read_text().strip()
            if stat is not None:
                age_s = uptime_s - stat[1] / os.sysconf("SC_CLK_TCK")
                found[port] = Reader(port, name, stat[0] in "Tt", max(0.0, age_s))
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
    return {job: told(partial(last_run_s, path, job)) for job in jobs}


def is_clock_set() -> bool | Untold:
    """Ask the kernel whether something keeps its clock right (adjtimex(2), which changes nothing without modes)."""
    libc = ctypes.CDLL(None, use_errno=True)
    timex = ctypes.create_string_buffer(_TIMEX_BYTES)
    state = libc.adjtimex(timex)
    if state < 0:
        return Untold(f"adjtimex: {os.strerror(ctypes.get_errno())}")
    status = int.from_bytes(timex.raw[_STATUS_AT : _STATUS_AT + 4], "little")
    return state != _TIME_ERROR and not status & _STA_UNSYNC


def services(config: Path, proc: Path = PROC) -> tuple[list[process.Service], set[str]]:
    """Return our services of this network namespace that run with the settings file `config`.

    And the names of those that run, but can't be told to be these: they are another user's.
    """
    boot_s = process.parse_boot_s((proc / "stat").read_text("ascii")) or 0.0
    here = (proc / "self/ns/net").readlink()
    found, unsure = [], set()
    for entry in proc.iterdir():
        read = _argv(entry) if entry.name.isdigit() else None
        if read is None:
            continue
        name, named = read
        try:
            is_here, file, stat = (entry / "ns/net").readlink() == here, _config(entry, named), _stat(entry)
        except PermissionError:
            unsure.add(name)
            continue
        except OSError:  # it ended meanwhile
            continue
        if is_here and file == config and stat is not None:
            found.append(process.Service(name, int(entry.name), boot_s + stat[1] / os.sysconf("SC_CLK_TCK")))
    return found, unsure


def queue_numbers(settings: Settings) -> range:
    return queue_range(settings.tarpit.queues)


def _argv(entry: Path) -> tuple[str, str | None] | None:
    """Return (service, what -c says) of a process, None if it is none of ours or has ended."""
    with suppress(OSError):
        return process.read_argv((entry / "cmdline").read_bytes().decode("utf-8", "replace").split("\0")[:-1])
    return None


def _config(entry: Path, named: str | None) -> Path:
    """Return the settings file of a process: what -c says, else its environment, else the usual one."""
    told = (word.partition(b"=") for word in (entry / "environ").read_bytes().split(b"\0"))
    environment = {name: value for name, _, value in told}
    path = named or os.fsdecode(environment.get(ENVIRONMENT_KEY.encode(), b"")) or str(DEFAULT_PATH)
    return ((entry / "cwd").readlink() / path).resolve()


def _stat(entry: Path) -> tuple[str, int] | None:
    return process.parse_stat((entry / "stat").read_text())


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
