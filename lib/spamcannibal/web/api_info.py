"""Operations that only tell: look-ups, the never-list, counts, how remote lists fare, how this site stands."""

import itertools
import sys
from pathlib import Path as FilePath
from typing import Annotated, Any

from msgspec import Meta, Struct

from spamcannibal import __version__, explain
from spamcannibal.addr import format_key, parse_key
from spamcannibal.errors import AddrError, NeverListed
from spamcannibal.remote.health import MEMORY_LIMIT_BYTES, Memory, decode
from spamcannibal.rows import when
from spamcannibal.settings import Settings
from spamcannibal.store.examine import hits
from spamcannibal.web import api_views as views
from spamcannibal.web.api_call import Answer, Call
from spamcannibal.web.api_problem import PROBLEMS, Problem


class Lines(Struct, frozen=True, forbid_unknown_fields=True):
    after: Annotated[int, Meta(ge=0, le=1_000_000, description="Lines past this one.")] = 0
    limit: views.Limit = 100


class Kind(Struct, frozen=True, forbid_unknown_fields=True):
    kind: Annotated[str, Meta(max_length=40)]


class ProblemView(Struct, frozen=True):
    """What a problem's `type` leads to."""

    type: str
    status: int
    title: str
    about: str


class NeverAnswer(Struct, frozen=True):
    """`rule` is what forbids to list it, with the file's line; null if nothing does."""

    key: str
    rule: str | None


class NeverLine(Struct, frozen=True):
    line: int
    rule: str


class NeverPage(Struct, frozen=True):
    """The never-list as its file has it; keywords such as @own stand for what they hold on this host."""

    rules: list[NeverLine]
    next: int | None


class Hit(Struct, frozen=True):
    zone: str
    hits: int


class Stats(Struct, frozen=True):
    """Records by store, and how often each remote list and rule caused a listing since a time."""

    records: dict[str, int]
    last_seq: int
    since: str | None
    zones: list[Hit]
    passed: int
    passed_unsure: int
    never_listed: int


class RemoteHealth(Struct, frozen=True):
    """A list of remote.lists in one family: set aside or asked, why, and when it was tested last."""

    list: str
    family: str
    aside: bool
    why: str
    checked: str | None


class Remote(Struct, frozen=True):
    lists: list[RemoteHealth]


class Status(Struct, frozen=True):
    """How this site stands; `waiting` counts streams and requests that wait, of at most `places`."""

    version: str
    python: str
    time: str | None
    last_seq: int
    last_change: str | None
    listings: int
    zones: list[str]
    waiting: int


def lookup(call: Call) -> Answer:
    """Tell everything that is known of an address or prefix."""
    site = call.site
    try:
        key = parse_key(call.path.address)
    except AddrError as error:
        raise Problem("bad-request", str(error), field="address") from None
    account = explain.explain(site.store, site.zones, key)
    found = explain.document(account, site.settings)
    if "read" not in call.caller.scopes:
        found["matches"] = [_public(match) for match in found["matches"]]
    return Answer(views.Document(**found))


def never(call: Call) -> Answer:
    """Tell whether something is on the never-list."""
    try:
        key = parse_key(call.path.key)
    except AddrError as error:
        raise Problem("bad-request", str(error), field="key") from None
    try:
        call.site.store.guard.check(key)
    except NeverListed as error:
        return Answer(NeverAnswer(format_key(key), error.rule))
    return Answer(NeverAnswer(format_key(key), None))


def never_list(call: Call) -> Answer:
    """Page through the never-list."""
    query: Lines = call.query
    path = FilePath(call.site.settings.guard.never_list)
    rows: list[NeverLine] = []
    try:
        with path.open(encoding="utf-8", errors="backslashreplace") as stream:
            for number, line in itertools.islice(enumerate(stream, 1), query.after, None):
                rule = line.partition("#")[0].strip()
                if rule and len(rows) == query.limit:
                    return Answer(NeverPage(rows, number - 1))
                if rule:
                    rows.append(NeverLine(number, rule[:200]))
    except OSError as error:
        raise Problem("unavailable", f"the never-list can't be read: {error.strerror}", {"Retry-After": "60"}) from None
    return Answer(NeverPage(rows, None))


def stats(call: Call) -> Answer:
    """Count."""
    store = call.site.store
    counts, found = store.counts(), hits(store)
    last_seq = counts.pop("journal")
    if found is None:
        return Answer(Stats(counts, last_seq, None, [], 0, 0, 0))
    zones = [Hit(zone, count) for zone, count in found.zones.items()]
    return Answer(Stats(counts, last_seq, when(found.since_ms), zones, found.passed, found.given_up, found.never))


def remote(call: Call) -> Answer:
    """Tell how remote lists fare."""
    return Answer(Remote(health(call.site.settings)))


def health(settings: Settings) -> list[RemoteHealth]:
    """Return the state of each list of the settings, in each family in which it was tested."""
    wanted = set(map(str.lower, settings.remote.lists))
    rows = []
    for name, state in memory(FilePath(settings.remote.state_file)).states.items():
        zone, _, family = name.partition(" ")
        if zone.lower() in wanted:
            rows.append(RemoteHealth(zone, family, state.is_aside, state.why, when(int(state.checked * 1000))))
    return sorted(rows, key=lambda row: (row.list, row.family))


def memory(path: FilePath) -> Memory:
    """Return what is remembered of remote lists; nothing where it can't be read."""
    try:
        with path.open("rb") as stream:
            return decode(stream.read(MEMORY_LIMIT_BYTES)) or Memory()
    except OSError:
        return Memory()


def status(call: Call) -> Answer:
    """Tell how this site stands."""
    site, store = call.site, call.site.store
    last_seq = store.last_seq()
    newest = store.change(last_seq)
    return Answer(
        Status(
            __version__,
            sys.version.partition(" ")[0],
            when(int(site.clock() * 1000)),
            last_seq,
            when(newest.time_ms) if newest else None,
            store.counts()["tarpit"],
            sorted(site.zones),
            call.tools.places.taken,
        )
    )


def problem(call: Call) -> Answer:
    """Tell what a kind of problem is."""
    kind = call.path.kind
    if kind not in PROBLEMS:
        raise Problem("not-found", "there is no such kind of problem")
    status_code, title, about = PROBLEMS[kind]
    return Answer(ProblemView(kind, status_code, title, about))


def _public(match: dict[str, Any]) -> dict[str, Any]:
    """Leave out what only who may read sees: the evidence itself."""
    return {**match, "evidence": [{**piece, "body": None} for piece in match["evidence"]]}
