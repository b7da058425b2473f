"""What others answer: DNS server, zones, resolvers, remote lists, listeners, the robot's keys -> findings. Pure."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from spamcannibal.doctor.finding import Finding, State, Untold, Wrong, excuse, some
from spamcannibal.doctor.keeping import age

RUN = "spamcannibal up"
STALE_S = 7 * 86400.0  # a remote list untested for longer is one that nothing uses
EXPIRY_S = 30 * 86400.0


@dataclass(frozen=True)
class Spoken:
    """What a server says of a zone: the two test points (None: unknown), and how far it is behind the journal."""

    zone: str
    listed: bool | None
    clear: bool | None
    behind: int | None
    rcode: str = "NOERROR"


@dataclass(frozen=True)
class Sampled:
    """How many addresses were asked about, and those whose answer is not the database's."""

    asked: int
    different: Sequence[str]


@dataclass(frozen=True)
class ListHealth:
    """A remote list in a family; `why` is empty unless it is set aside, `checked` 0 if it was never tested."""

    zone: str
    family: str
    why: str
    checked: float


@dataclass(frozen=True)
class Key:
    """An OpenPGP key of the robot's directory: `expires_s` is 0 for never."""

    fingerprint: str
    is_usable: bool
    is_own: bool
    expires_s: float


def server(endpoint: str, fact: Sequence[Spoken] | Untold | Wrong) -> Finding:
    """Judge the DNS server at one address by all its zones."""
    check = f"dns {endpoint}"
    if isinstance(fact, Untold | Wrong):
        return excuse(check, fact, f"{RUN} (or systemctl start spamcannibal-dnsbl)")
    refused = [one.zone for one in fact if one.rcode == "REFUSED"]
    silent = [f"{one.zone} ({one.rcode})" for one in fact if one.rcode not in ("NOERROR", "NXDOMAIN", "REFUSED")]
    if silent:
        told = f"no answer about {some(silent)}: the server does not have its data"
        return Finding(check, State.BAD, told, "see its log for TROUBLE lines; restart spamcannibal dnsbl")
    wrong = [one.zone for one in fact if one.listed is False or one.clear is False]
    if wrong:
        told = f"wrong test points in {some(wrong)}: 127.0.0.2 must be listed, 127.0.0.1 not"
        return Finding(check, State.BAD, told, "is it another server? dnsbl.listen says where ours is")
    late = [one for one in fact if one.behind]
    if late:
        told = f"{late[0].zone} is {late[0].behind} changes behind the database"
        return Finding(check, State.BAD, told, "restart spamcannibal dnsbl; is store.path the same for both?")
    if refused:
        told = f"we may not ask in {some(refused)}"
        return Finding(check, State.UNKNOWN, told, "dnsbl.zone.allow: add 127.0.0.0/8 and ::1")
    unclear = [one.zone for one in fact if None in (one.listed, one.clear, one.behind)]
    if unclear:
        return Finding(
            check, State.UNKNOWN, f"an unclear answer in {some(unclear)}", "spamcannibal dnsbl query 127.0.0.2"
        )
    return Finding(check, State.OK, f"{len(fact)} zones, all as new as the database")


def delegation(zone: str, fact: bool | Untold) -> Finding:
    """Tell whether the system's resolver finds our zone: the test point of it is listed."""
    check = f"zone {zone}"
    if isinstance(fact, Untold):
        return excuse(check, fact, "see /etc/resolv.conf")
    if not fact:
        told = "the system's resolver does not find it"
        return Finding(check, State.WARNING, told, f"have the parent zone delegate {zone}, or the resolver forward it")
    return Finding(check, State.OK, "found by the system's resolver")


def drift(zone: str, fact: Sampled | Untold) -> Finding:
    """Compare what the server answers for a sample with the database."""
    check = f"drift {zone}"
    if isinstance(fact, Untold):
        return excuse(check, fact, "start spamcannibal dnsbl")
    if fact.different:
        told = f"{len(fact.different)} of {fact.asked} answers are not the database's: {some(fact.different)}"
        return Finding(check, State.BAD, told, "restart spamcannibal dnsbl; spamcannibal db check")
    return Finding(check, State.OK, f"{fact.asked} answers, all as the database has them")


def resolvers(fact: Mapping[str, str]) -> Finding:
    """Judge the resolvers: an empty text for each that finds what always is there, else why not."""
    down = [f"{name}: {why}" for name, why in fact.items() if why]
    if not fact:
        return Finding("resolver", State.UNKNOWN, "remote.canary is empty, so nobody was asked", "set remote.canary")
    if len(down) == len(fact):
        told = f"none answers ({some(down)}): nothing can be learnt from other lists"
        return Finding("resolver", State.BAD, told, "set remote.resolvers, or mend /etc/resolv.conf")
    if down:
        return Finding("resolver", State.WARNING, some(down), "take it out of remote.resolvers or /etc/resolv.conf")
    return Finding("resolver", State.OK, f"{some(fact)} answers" if len(fact) == 1 else f"{some(fact)} answer")


def lists(fact: Sequence[ListHealth] | Wrong | Untold, now: float) -> Finding:
    """Judge the remote lists by what their last tests found."""
    test = "spamcannibal remote health"
    if isinstance(fact, Untold | Wrong):
        return excuse("remote lists", fact, test)
    aside = [f"{one.zone} ({one.family}): {one.why}" for one in fact if one.why]
    told = f"{len(aside)} of {len(fact)} set aside: {some(aside)}"
    if aside:
        cure = "take them out of remote.lists, or wait for `spamcannibal remote health` to bring them back"
        return Finding("remote lists", State.BAD if len(aside) == len(fact) else State.WARNING, told, cure)
    untested = [f"{one.zone} ({one.family})" for one in fact if now - one.checked > STALE_S]
    if untested:
        return Finding("remote lists", State.UNKNOWN, f"not tested lately: {some(untested)}", test)
    return Finding("remote lists", State.OK, f"{len(fact)} tested, none set aside")


def listener(where: str, fact: str | Untold | Wrong) -> Finding:
    """Judge a listener; the fact is what it said, "" if there is nothing to be said but that it takes connections."""
    name = where.partition(" ")[0]
    if not isinstance(fact, str):
        return excuse(where, fact, f"{RUN} (or systemctl start spamcannibal-{name})")
    return Finding(where, State.OK, fact or "takes connections")


def robot(
    keys: Sequence[Key] | Untold | Wrong, own: str, submitters: Mapping[str, str], now: float
) -> Iterator[Finding]:
    """Judge the robot's own key and those of who may report, fingerprints by name."""
    if isinstance(keys, Untold | Wrong):
        yield excuse("robot keys", keys, "spamcannibal robot key list; `robot key new` makes the directory")
        return
    by_print = {key.fingerprint.upper(): key for key in keys}
    if own:
        yield _own_key(by_print.get(own.upper()), own, now)
    missing = [name for name, wanted in submitters.items() if not _is_usable(by_print.get(wanted.upper()))]
    if missing:
        told = f"no usable key of {some(missing)}: their reports are refused"
        yield Finding("robot submitters", State.WARNING, told, "spamcannibal robot key import FILE")
    elif submitters:
        yield Finding("robot submitters", State.OK, f"{len(submitters)} usable keys")


def _own_key(key: Key | None, own: str, now: float) -> Finding:
    if key is None or not key.is_own or not key.is_usable:
        told = f"{own} is {'not there' if key is None else 'not usable'}: answers can't be signed"
        return Finding("robot key", State.BAD, told, 'spamcannibal robot key new "Robot <...>", and set robot.key')
    left_s = key.expires_s - now
    if key.expires_s and left_s < EXPIRY_S:
        return Finding("robot key", State.WARNING, f"ends in {age(left_s)}", "make a new one, and set robot.key")
    return Finding("robot key", State.OK, "can sign")


def _is_usable(key: Key | None) -> bool:
    return key is not None and key.is_usable
