"""Operations on the journal: read it, wait for it, follow it, take changes back.

Who waits holds a thread of the server; there are places for some (api.streams). Without a place a request that waits is
answered at once, and a stream ends after what there is: a 503 would make browsers' readers give up for good.
"""

from collections.abc import Iterator
from typing import Annotated, Any, Literal

from msgspec import Meta, Struct

from spamcannibal.addr import format_key
from spamcannibal.errors import SpamCannibalError, StoreError
from spamcannibal.record import Change
from spamcannibal.store import undo as undoing
from spamcannibal.store.stores import Store
from spamcannibal.web import api_views as views
from spamcannibal.web.api_call import Answer, Call
from spamcannibal.web.api_problem import Problem
from spamcannibal.web.api_stream import Feed, Pace
from spamcannibal.web.turn import away

PAGE_LIMIT = 500
UNDO_LIMIT = 1000


class After(Struct, frozen=True, forbid_unknown_fields=True):
    after: Annotated[views.Seq, Meta(description="Changes past this number; default is the first.")] = 0
    limit: views.Limit = 100
    wait: Annotated[float, Meta(ge=0, le=60, description="Wait so many seconds for one if there is none.")] = 0


class Since(Struct, frozen=True, forbid_unknown_fields=True):
    after: Annotated[views.Seq | None, Meta(description="Begin past this number; default is now.")] = None


class Number(Struct, frozen=True, forbid_unknown_fields=True):
    seq: views.Seq


class Undo(Struct, frozen=True, forbid_unknown_fields=True):
    """Which changes to take back, and why, for the journal."""

    numbers: Annotated[list[views.Seq], Meta(min_length=1, max_length=UNDO_LIMIT)]
    reason: views.Line = ""


class JournalPage(Struct, frozen=True):
    """`next` is what to ask for as `after`. `gap`: changes between `after` and the first one here are gone, or `after`
    is past the last, as after a restore: what you know of the list is not the list.
    """

    changes: list[views.ChangeView]
    next: int
    last: int
    gap: bool


class Undone(Struct, frozen=True):
    """What became of one key; `why` says what kept it from being changed."""

    key: str
    done: Literal["listed", "unlisted", "changed", "same", "left"]
    seq: int | None
    why: str


class UndoneAll(Struct, frozen=True):
    dry_run: bool
    keys: list[Undone]


def read(call: Call) -> Answer:
    """Give changes, waiting for them if asked."""
    query: After = call.query
    store = call.site.store
    last = store.last_seq()
    if query.after > last:
        return Answer(JournalPage([], last, last, True))
    changes = store.read(query.after, query.limit)
    if not changes and query.wait and call.tools.places.take():
        try:
            changes = _awaited(call, query)
        finally:
            call.tools.places.give()
    rows = [views.change_view(change) for change in changes]
    following = changes[-1].seq if changes else query.after
    gap = bool(changes) and changes[0].seq != query.after + 1
    return Answer(JournalPage(rows, following, store.last_seq(), gap))


def change(call: Call) -> Answer:
    """Give one change."""
    found = call.site.store.change(call.path.seq)
    if found is None:
        raise Problem("not-found", f"the journal has no change number {call.path.seq}")
    return Answer(views.change_view(found))


def stream(call: Call) -> Answer:
    """Follow the journal."""
    store, site = call.site.store, call.site
    after = _event_id(call.last_event_id)
    after = call.query.after if after is None else after
    api = site.settings.api
    pace = Pace(api.stream_s, min(api.heartbeat_s, api.stream_s))
    feed = Feed(store.last_seq() if after is None else after, site.clock(), pace)
    return Answer(_events(call, store, feed), headers={"X-Accel-Buffering": "no"})


def undo(call: Call) -> Answer:
    """Take changes back by number."""
    body: Undo = call.body
    store, now = call.site.store, call.site.clock()
    try:
        chosen = undoing.numbered(store, body.numbers)
    except StoreError as error:
        raise Problem("not-found", str(error)) from None
    steps = [undoing.plan(store, key, seqs, now) for key, seqs in chosen.items()]
    if call.query.dry_run:
        done = [undoing.outcome(store, step) for step in steps]
    else:
        done = list(undoing.apply(store, steps, call.caller.source, body.reason or "undo", now))
    return Answer(UndoneAll(call.query.dry_run, [_undone(each) for each in done]))


def _undone(each: undoing.Done) -> Undone:
    word: Any = each.done
    return Undone(format_key(each.key), word, each.seq or None, each.why)


def _event_id(text: str) -> int | None:
    """Return the number that a client saw last; None if it says none of ours."""
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 19 else None


def _awaited(call: Call, query: After) -> list[Change]:
    """Wait for changes as long as asked and allowed."""
    site = call.site
    end_s = site.clock() + min(query.wait, site.settings.api.wait_s)
    while not site.is_over and site.clock() < end_s and not call.is_gone():
        with away():
            site.pause(site.settings.store.follow_interval_s)
        changes = site.store.read(query.after, query.limit)
        if changes:
            return changes
    return []


def _events(call: Call, store: Store, feed: Feed) -> Iterator[bytes]:
    """Yield a stream's bytes; what hinders ends it, and its reader comes again."""
    site = call.site
    has_place = call.tools.places.take()
    try:
        yield feed.opening()
        while not (site.is_over or feed.is_over(site.clock()) or call.is_gone()):
            last = store.last_seq()
            changes = store.read(feed.seq, PAGE_LIMIT)
            data = feed.turn(changes, last, site.clock())
            if data:
                yield data
            if not changes and not has_place:
                return
            if not changes:
                site.pause(site.settings.store.follow_interval_s)
    except SpamCannibalError:
        return
    finally:
        if has_place:
            call.tools.places.give()
