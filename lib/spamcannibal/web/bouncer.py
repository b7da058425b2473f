"""What CrowdSec's bouncers read, under /v1: decisions, as their local API has them (X-Api-Key; scope bouncer).

A bouncer that starts gets the whole list, then what changed since it asked last: one token for each bouncer, then. What
it has is noted once the last byte is on its way, so an answer that was cut short is told again.

No answer makes a bouncer drop what it has: it starts over only with its process, and even then a set may be left of one
that was killed. So no ban is told for longer than LEASE_S, after which it goes by itself, whatever we can't tell. Every
week all of them are told anew, as deleted and new, since nft's sets keep the end that they heard first; so they are to
whom we don't know any more, as after a restore. The journal is kept until all bouncers heard it (unheard_ms), but for
those that were away for so long that what they held is over.

Usage metrics that newer ones push are taken, and dropped.
"""

from collections.abc import Callable, Iterable, Iterator
from itertools import chain, islice

from flask import Blueprint, Response, request

from spamcannibal.addr import parse_key
from spamcannibal.errors import AddrError
from spamcannibal.store.stores import Store
from spamcannibal.web import api_callers
from spamcannibal.web import bouncer_feed as feed
from spamcannibal.web.api import problem_response
from spamcannibal.web.api_call import Caller
from spamcannibal.web.api_problem import Problem
from spamcannibal.web.app import here
from spamcannibal.web.bouncer_decisions import Ban, Filter, encode, filter_of

blueprint = Blueprint("bouncer", __name__, url_prefix="/v1")
CHUNK = 1000
RENEW_MS = 7 * 86_400_000  # a third of LEASE_S: a renewal may be late, or lost with a bouncer that starts over
NOTE_EVERY_MS = 300_000  # that a bouncer which hears nothing new is still there
SCOPES = ("bouncer", "read")
JSON = "application/json"
TRUE, FALSE = ("1", "t", "true"), ("0", "f", "false")


@blueprint.get("/decisions/stream")
def stream() -> Response:
    """Give what is new and what is over since the last time, or all that holds."""
    caller = _caller()
    store, now = here().store, here().clock()
    wanted = filter_of(request.args)
    if request.method == "HEAD":
        return Response(content_type=JSON)
    feed.expire(store, now)
    drawer = feed.drawer(store.env)
    is_start, before = _is_true("startup", False), drawer.get(caller.name, now)
    delta = None if before is None else feed.since(store, before.seq)
    seq = store.last_seq() if delta is None else delta.seq
    is_whole = is_start or before is None or delta is None or now * 1000 - before.whole_ms > RENEW_MS
    new = feed.everything(store) if is_whole or delta is None else iter(delta.new)
    deleted: Iterable[Ban] = delta.deleted if delta else ()
    if is_whole and not is_start:
        deleted = chain(deleted, feed.everything(store))
    body = _told(_only(new, wanted), _only(deleted, wanted), now)
    time_ms, agent = int(now * 1000), request.headers.get("User-Agent", "")[:100]
    kept = feed.Pulled(seq, time_ms, time_ms if is_whole or before is None else before.whole_ms, agent)
    if before and before.seq == seq and not is_whole and time_ms - before.time_ms < NOTE_EVERY_MS:
        return Response(body, content_type=JSON)
    return Response(_then(body, lambda: drawer.put(caller.name, kept, now)), content_type=JSON)


@blueprint.get("/decisions")
def decisions() -> Response:
    """Give what holds about an address or range, in a range, or all."""
    _caller()
    site = here()
    wanted = filter_of(request.args)
    found = _only(_asked(site.store), wanted)
    first = list(islice(found, 1))
    if request.method == "HEAD" or not first:
        return Response(b"null", content_type=JSON)  # as theirs says none: some bouncers look for just that
    body = chain((b"[",), _chunks(chain(first, found), site.clock()), (b"]",))
    return Response(body, content_type=JSON)


@blueprint.post("/usage-metrics")
def usage() -> Response:
    """Take figures that nobody here reads."""
    _caller()
    request.get_data()
    return Response(status=201)


def _caller() -> Caller:
    return api_callers.caller(request.headers.get("X-Api-Key", "").strip(), *SCOPES, unknown=403)


def _is_true(name: str, usual: bool) -> bool:
    """Return a flag of the query; Problem if it is neither true nor false, as Go's strconv.ParseBool has them."""
    text = request.args.get(name, "").lower()
    if text not in ("", *TRUE, *FALSE):
        raise Problem("bad-request", f"{name}: want true or false", field=name)
    return text in TRUE if text else usual


def _asked(store: Store) -> Iterator[Ban]:
    """Return the bans that a query is about."""
    args = request.args
    text = args.get("ip") or args.get("range") or args.get("value")
    if not text:
        return feed.everything(store)
    try:
        key = parse_key(text)
    except AddrError as error:
        raise Problem("bad-request", str(error)) from None
    return feed.about(store, key) if _is_true("contains", True) else feed.inside(store, key)


def _only(bans: Iterable[Ban], wanted: Filter) -> Iterator[Ban]:
    return iter(()) if wanted.wants_none else (ban for ban in bans if wanted.takes(ban))


def _told(new: Iterator[Ban], deleted: Iterator[Ban], now: float) -> Iterator[bytes]:
    yield b'{"new":['
    yield from _chunks((ban for ban in new if not 0 < ban.expiry_ms <= now * 1000), now)
    yield b'],"deleted":['
    yield from _chunks(deleted, now, is_over=True)
    yield b"]}"


def _chunks(bans: Iterator[Ban], now: float, is_over: bool = False) -> Iterator[bytes]:
    """Yield decisions as JSON, a thousand at a time."""
    comma = b""
    while chunk := list(islice(bans, CHUNK)):
        yield comma + encode(chunk, now, is_over)
        comma = b","


def _then(body: Iterator[bytes], note: Callable[[], None]) -> Iterator[bytes]:
    """Pass a body on, and note at its end what the bouncer has now."""
    yield from body
    note()


def _refused(problem: Problem) -> Response:
    """Answer as their API does: `message` says why, and a wrong key is a 403."""
    problem.extra["message"] = problem.detail
    response = problem_response(problem)
    if problem.status == 401:
        response.status_code = 403
        del response.headers["WWW-Authenticate"]
    return response


blueprint.register_error_handler(Problem, _refused)
