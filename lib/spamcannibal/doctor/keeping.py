"""What is kept on this host: facts about never-list, database, clock and jobs -> findings. Pure.

Times are float seconds since the epoch.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from spamcannibal.addr import format_key
from spamcannibal.doctor.finding import Finding, State, Untold, Wrong, excuse, some

MIB = 1 << 20
LOW_BYTES, LEAST_BYTES = 1024 * MIB, 128 * MIB
LOG_LIMIT_BYTES = 1024 * MIB
AHEAD_S = 60.0
# How long after its last run a job is missed: the timers run them every 5 minutes, hour and day.
MISSED_S = {"blcheck": 6 * 3600.0, "blpreen": 2 * 86400.0, "cleanup": 3 * 86400.0}


@dataclass(frozen=True)
class Folder:
    """The database's directory: who owns it, its mode, files in it that are another's, and space."""

    path: str
    owner: str
    mode: int
    foreign: Sequence[str]
    free_bytes: int
    log_bytes: int


@dataclass(frozen=True)
class Books:
    """What the open database says of itself; `last_s` is the time of its newest change, None if there is none."""

    listings: int
    seq: int
    last_s: float | None
    is_loading: bool = False


def never_list(problems: Sequence[str] | Untold, uncovered: Sequence[bytes], path: str) -> Finding:
    """Tell whether the never-list can be read and holds the own addresses; `uncovered` are those that it lacks."""
    if isinstance(problems, Untold):
        return excuse("never-list", problems, "guard.own_names: names that resolve, and a resolver that answers")
    if problems:
        return Finding("never-list", State.BAD, some(problems), "mend the file; a sample is conf/never-list")
    if uncovered:
        told = f"{path} does not hold this host's own {some(map(format_key, uncovered))}"
        return Finding("never-list", State.BAD, told, f"add lines @own and @special to {path}")
    return Finding("never-list", State.OK, f"{path} holds this host's own addresses")


def folder(fact: Folder | Untold, users: Mapping[str, str]) -> Iterator[Finding]:
    """Judge the database's directory; `users` are those that the settings give services, by setting."""
    if not isinstance(fact, Folder):
        yield excuse("permissions", fact, "run this as root, or as the user of the database")
        return
    writers = {user for setting, user in users.items() if user and setting != "dnsbl.user"}
    others = sorted(writers - {fact.owner})
    if fact.mode & 0o002:
        yield Finding("permissions", State.BAD, f"everybody can write {fact.path}", f"chmod o-w {fact.path}")
    elif others:
        told = f"{fact.path} belongs to {fact.owner}, and {some(others)} must write it"
        yield Finding("permissions", State.BAD, told, f"chown -R {others[0]} {fact.path}")
    elif fact.foreign:
        told = f"not of {fact.owner}, who owns the rest: {some(fact.foreign)}"
        yield Finding("permissions", State.BAD, told, f"chown -R --reference={fact.path} {fact.path}")
    else:
        yield Finding("permissions", State.OK, f"{fact.path} belongs to {fact.owner}, mode {fact.mode:o}")
    free = f"{fact.free_bytes // MIB} MiB free for {fact.path}"
    if fact.free_bytes < LOW_BYTES:
        state = State.BAD if fact.free_bytes < LEAST_BYTES else State.WARNING
        yield Finding("disk", state, free, "free some space; `spamcannibal db compact` gives back what is unused")
    elif fact.log_bytes > LOG_LIMIT_BYTES:
        told = f"{free}, but {fact.log_bytes // MIB} MiB of log files: no checkpoint, or a backup that hangs"
        yield Finding("disk", State.WARNING, told, "spamcannibal cleanup")
    else:
        yield Finding("disk", State.OK, free)


def books(fact: Books | Wrong | Untold, now: float) -> Finding:
    """Judge what the database says of itself."""
    if not isinstance(fact, Books):
        return excuse("store", fact, "spamcannibal db check")
    if fact.is_loading:
        return Finding("store", State.BAD, "a dump was not loaded to its end", "spamcannibal db load, once more")
    told = f"{fact.listings} listings, {fact.seq} changes"
    if fact.last_s is None:
        return Finding("store", State.OK, told)
    if fact.last_s > now + AHEAD_S:
        ahead = f"{told}, the last one {fact.last_s - now:.0f} s in the future"
        return Finding("store", State.WARNING, ahead, "set the clock right")
    return Finding("store", State.OK, f"{told}, the last one {age(now - fact.last_s)} ago")


def clock(is_set: bool | Untold) -> Finding:
    """Tell whether the kernel says that something keeps the clock right."""
    if isinstance(is_set, Untold):
        return excuse("clock", is_set, "run it on the host itself")
    if not is_set:
        return Finding("clock", State.WARNING, "nothing keeps it right", "run chrony or systemd-timesyncd")
    return Finding("clock", State.OK, "synchronised")


def jobs(last_s: Mapping[str, float | Untold | None], now: float) -> Iterator[Finding]:
    """Tell when each job that the settings use last came to its end; None is never."""
    for name, at in last_s.items():
        cure = f"spamcannibal {name}, and systemctl enable --now spamcannibal-{name}.timer"
        if isinstance(at, Untold):
            yield excuse(f"job {name}", at, "run this as root, or as the user of the database")
        elif at is None:
            yield Finding(f"job {name}", State.WARNING, "never ran", cure)
        elif now - at > MISSED_S[name]:
            yield Finding(f"job {name}", State.WARNING, f"ran last {age(now - at)} ago", cure)
        else:
            yield Finding(f"job {name}", State.OK, f"ran {age(now - at)} ago")


def age(seconds: float) -> str:
    """Say a span of time in the unit that fits."""
    for unit, size in (("d", 86400.0), ("h", 3600.0), ("min", 60.0)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{max(0.0, seconds):.0f} s"
