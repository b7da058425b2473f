"""The packet path: facts about kernel, rules and queues -> findings. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from spamcannibal.doctor.finding import Finding, State, Untold, Wrong, excuse, some
from spamcannibal.tarpit.notes import QueueRow
from spamcannibal.tarpit.rules import Rule

APPLY = "spamcannibal firewall apply"
RUN = "spamcannibal up (or systemctl start spamcannibal-tarpit)"
AS_ROOT = "run this as root"
UNWRITTEN_S = 120.0  # the daemon writes who is held every 30 s at the least (tarpit/clerk.py)
STARTING_S = 35.0

Place = tuple[str, str, str]


@dataclass(frozen=True)
class InPlace:
    """Our rules in the kernel, each with its backend, and what stands behind our jumps in their chains."""

    rules: Sequence[tuple[str, Rule]]
    behind: Sequence[str] = ()


@dataclass(frozen=True)
class Reader:
    """Who reads a queue: a process of this host, stopped or not, and for how long it has been there."""

    pid: int
    name: str
    is_stopped: bool = False
    age_s: float | None = None


def kernel(backend: str | Untold | Wrong, families: Sequence[int]) -> Finding:
    """Tell whether this host can queue packets; `backend` is what `firewall apply` would use."""
    if not isinstance(backend, str):
        return excuse("kernel", backend, AS_ROOT)
    note = "" if 6 in families else "; IPv4 only, as this kernel has no IPv6"
    return Finding("kernel", State.OK, f"queues packets by {backend}{note}")


def rules(backend: str, wanted: Sequence[Rule] | Untold, present: InPlace | Untold) -> Finding:
    """Compare our rules with what `firewall apply` would make by the backend."""
    if isinstance(present, Untold):
        return excuse("rules", present, AS_ROOT)
    backends = sorted({name for name, _ in present.rules})
    if not backends:
        return Finding("rules", State.BAD, "none of ours in the kernel: no packet is queued", APPLY)
    if len(backends) > 1:
        return Finding("rules", State.BAD, f"of {' and '.join(backends)} at once: packets are queued twice", APPLY)
    if backends != [backend]:
        told = f"in place by {backends[0]}, while {backend} would be used; not compared"
        return Finding("rules", State.WARNING, told, APPLY)
    if isinstance(wanted, Untold):
        return excuse("rules", wanted, f"{APPLY} (safe to repeat)")
    want, have = _places(wanted), _places([rule for _, rule in present.rules])
    wrong = [*_differences(want, have)]
    if wrong:
        return Finding("rules", State.BAD, "; ".join(wrong), APPLY)
    if present.behind:
        told = f"the operator's rule behind our jump never sees what was queued: {some(present.behind)}"
        return Finding("rules", State.WARNING, told, f"{APPLY} (it puts the jump last again)")
    return Finding("rules", State.OK, f"{len(present.rules)} rules by {backend}, as the settings want them")


def queues(
    numbers: Iterable[int],
    rows: Mapping[int, QueueRow] | Untold,
    readers: Mapping[int, Reader],
    limit: int,
) -> Finding:
    """Tell whether each queue is read, by whom, and whether they keep up; `readers` by netlink port."""
    if isinstance(rows, Untold):
        return excuse("queue", rows, AS_ROOT)
    numbers = list(numbers)
    unread = [str(number) for number in numbers if number not in rows]
    if unread:
        told = f"nobody reads queue {some(unread)}: listed senders are not held"
        return Finding("queue", State.BAD, told, RUN)
    mine = [rows[number] for number in numbers]
    stopped = [reader for row in mine if (reader := readers.get(row.port)) and reader.is_stopped]
    if stopped:
        told = f"process {stopped[0].pid} ({stopped[0].name}) is stopped, and packets wait for it"
        return Finding("queue", State.BAD, told, f"kill -CONT {stopped[0].pid}")
    waiting, dropped = sum(row.waiting for row in mine), sum(row.dropped + row.user_dropped for row in mine)
    by = some(dict.fromkeys(_reader(row.port, readers) for row in mine))
    figures = f"read by {by}, {waiting} packets waiting, {dropped} lost since it began"
    if waiting > limit:
        return Finding("queue", State.BAD, figures, "see the daemon's log, or set tarpit.queues to as many as CPUs")
    if dropped:
        return Finding("queue", State.WARNING, figures, "raise tarpit.queue_length, or tarpit.queues for more CPUs")
    return Finding("queue", State.OK, figures)


def writing(is_read: bool, age_s: float | Untold | None, readers: Iterable[Reader] = ()) -> Finding:
    """Tell whether a tarpit that reads its queues also writes what it notes: how old is its newest file?

    One that has just begun need not have written yet.
    """
    if isinstance(age_s, Untold):
        return excuse("tarpit", age_s, AS_ROOT)
    if not is_read:
        return Finding("tarpit", State.UNKNOWN, "no daemon runs, so nothing is written", RUN)
    if age_s is None or age_s > UNWRITTEN_S:
        told = "nothing written yet" if age_s is None else f"nothing written for {age_s:.0f} s"
        began_s = min((reader.age_s for reader in readers if reader.age_s is not None), default=STARTING_S)
        if began_s < STARTING_S:
            return Finding("tarpit", State.UNKNOWN, f"starting: it began {began_s:.0f} s ago; {told}", "ask again soon")
        return Finding("tarpit", State.BAD, told, "see its log for TROUBLE lines; is store.path the same for both?")
    return Finding("tarpit", State.OK, f"wrote its notes {age_s:.0f} s ago")


def _reader(port: int, readers: Mapping[int, Reader]) -> str:
    return f"process {port} ({readers[port].name})" if port in readers else f"netlink port {port}"


def _places(found: Iterable[Rule]) -> dict[Place, list[str]]:
    places: dict[Place, list[str]] = {}
    for rule in found:
        places.setdefault((rule.family, rule.table, rule.chain), []).append(rule.rule)
    return places


def _differences(want: Mapping[Place, list[str]], have: Mapping[Place, list[str]]) -> Iterable[str]:
    """Yield what differs, a text a place."""
    for place in {**want, **have}:
        wanted, found, where = want.get(place, []), have.get(place, []), " ".join(place)
        if wanted == found:
            continue
        lost, extra = [one for one in wanted if one not in found], [one for one in found if one not in wanted]
        if lost:
            yield f"{where}: missing {some(lost)}"
        if extra:
            yield f"{where}: not wanted {some(extra)}"
        if not lost and not extra:
            yield f"{where}: {'twice' if len(found) != len(wanted) else 'in the wrong order'}: {some(found)}"
