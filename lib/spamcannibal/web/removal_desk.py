"""What is done with requests to be taken off the list: taken, proven, decided, told. For the pages and the operator.

    waiting(site)                         the operator's queue: (id, Request), the oldest first
    approve(site, id, by, reason, now)    remove it; refuse(...) leaves it; both tell who asked
    forecast(site, id)                    what approve would do: the request, and the entry

`by` is a source as the journal has it, "admin:alice". Declined says why something can't be done.
"""

from dataclasses import replace
from typing import NamedTuple

from spamcannibal import removal
from spamcannibal.addr import format_addr, format_key, parse_addr, parse_key
from spamcannibal.removal import Case, Declined, Request, Terms, Verdict, Way
from spamcannibal.store.removals import SOURCE, case_of, unlist
from spamcannibal.web.removal_mail import token_mail
from spamcannibal.web.removal_post import LATER, house, post, removals, say, tell
from spamcannibal.web.site import Site
from spamcannibal.web.visitor import neighbourhood

TRIES = 3  # how often an entry may change under our hands before we leave it to the operator


class Wish(NamedTuple):
    """What a visitor asks for. `recipient` is one of those offered for the way "mail"; all else is as he wrote it."""

    addr: bytes
    way: Way
    recipient: str = ""
    reply: str = ""
    message: str = ""


class Offer(NamedTuple):
    """How control of an address can be proven; `names` are its confirmed ones, None unknown."""

    names: tuple[str, ...] | None
    recipients: tuple[str, ...]
    texts: tuple[str, ...]
    can_visit: bool


def case(site: Site, addr: bytes, now: float) -> Case | None:
    """Return what is known of the entry that decides about an address, but for its names."""
    found = case_of(site.store, addr)
    return replace(found, refused_s=removals(site).refused_s(found.key, now)) if found else None


def obstacle(found: Case | None) -> str:
    """Say why an address needs no request, or why one would be in vain; "" if it may be made."""
    verdict = removal.decide(found, Terms(), 0.0)
    return "; ".join(verdict.why) if verdict.state == "closed" else ""


def offer(site: Site, addr: bytes, visitor: bytes) -> Offer:
    """Return how control of an address can be proven by this visitor."""
    settings = site.settings.removal
    names = site.asked.confirmed(addr) if settings.mail or settings.dns else None
    can_mail = settings.mail and house(site) is not None and bool(site.settings.web.url)
    recipients = removal.role_addresses(names or ()) if can_mail else ()
    if can_mail and not recipients:
        recipients = site.asked.remembered(("abuse", addr), lambda: site.contacts(addr)) or ()
    texts = removal.dns_names(addr, site.asked.pointers(addr) or ()) if settings.dns else ()
    return Offer(names, recipients, texts, settings.visit and _is_there(site, addr, visitor))


def start(site: Site, wish: Wish, visitor: bytes) -> str:
    """Take a request and return its handle; Declined or Unavailable says why not."""
    now, settings = site.clock(), site.settings.removal
    if not settings.enabled:
        raise Declined("Removal by these pages is switched off here.")
    found = case(site, wish.addr, now)
    why = obstacle(found)
    if found is None or why:
        raise Declined(f"{format_addr(wish.addr)} can't be taken off: {why}.")
    offered = offer(site, wish.addr, visitor)
    _check_way(wish, offered)
    _count(site, visitor, wish, now)
    handle, secret = site.token(), site.token()
    id_ = removal.id_of(handle)
    request = Request(
        addr=format_addr(wish.addr),
        key=format_key(found.key),
        way=wish.way,
        made_ms=int(now * 1000),
        moved_ms=int(now * 1000),
        proof=removal.proof_of(secret) if wish.way == "mail" else "",
        place=wish.recipient if wish.way == "mail" else "",
        reply=wish.reply,
        message=wish.message[: removal.MESSAGE_LIMIT],
        visitor=format_addr(visitor),
    )
    until = now + settings.proof_s
    removals(site).add(id_, request, now, until)
    say(site, "asked", id_, request)
    if wish.way == "mail":
        by, token = house(site), f"{id_}.{secret}"
        assert by is not None
        post(site, wish.recipient, token_mail(by, request, token, int(until * 1000), now))
    return handle


def find(site: Site, handle: str) -> tuple[str, Request] | None:
    """Return (id, request) of a handle, None if there is none any more."""
    id_ = removal.id_of(handle)
    found = removals(site).get(id_, site.clock())
    return (id_, found) if found else None


def find_token(site: Site, token: str) -> tuple[str, Request]:
    """Return (id, request) of a mail's token, which was not used yet; Declined says what is wrong with it."""
    id_, _, secret = token.partition(".")
    found = removals(site).get(id_, site.clock()) if id_.isalnum() else None
    if found is None or not removal.is_proof(found, secret):
        site.log.emit("REMOVAL", what="forged", id=id_[:24] or None)
        raise Declined("This link is not known here, or its time is over.")
    if found.state != "asked":
        say(site, "replayed", id_, found)
        raise Declined("This link was used before; it works once.")
    return id_, found


def prove_mail(site: Site, token: str) -> tuple[str, Request]:
    """Take a mail's token, and decide; return (id, request)."""
    id_, found = find_token(site, token)
    return id_, _proven(site, id_, found, found.place)


def prove_dns(site: Site, handle: str, id_: str, request: Request) -> Request:
    """Look for the TXT record of a request, and decide; Declined if it is not there."""
    addr = parse_addr(request.addr)
    names = removal.dns_names(addr, site.asked.pointers(addr) or ())
    place = site.asked.has_text(names, lambda texts: removal.is_published(handle, texts))
    if place is None:
        raise Declined("The DNS can't be asked now; try again in a minute.")
    if not place:
        raise Declined("The record was not found. The DNS may take a while to show it.")
    return _proven(site, id_, request, place)


def prove_visit(site: Site, id_: str, request: Request, visitor: bytes) -> Request:
    """Take it as a proof that a visitor comes from the address, and decide."""
    if not site.settings.removal.visit or not _is_there(site, parse_addr(request.addr), visitor):
        raise Declined(f"You do not come from {request.addr} now.")
    return _proven(site, id_, request, format_addr(visitor))


def settle(site: Site, id_: str, request: Request) -> Request:
    """Decide about a proven or waiting request, and do it; return it as it is then."""
    now = site.clock()
    for _ in range(TRIES):
        found, verdict = _verdict(site, request, now)
        seq = 0
        if verdict.state == "removed":
            assert found is not None
            if not _may_remove(site, now):
                verdict = Verdict("queued", ("many were taken off today",), now + 86400.0)
            else:
                seq = unlist(site.store, found, SOURCE, _reason(id_, request), now)
        if verdict.state != "removed" or seq:
            break
    else:
        verdict = Verdict("queued", ("its entry changes while we look at it",), now + 3600.0)
    return _move(site, id_, request, verdict, SOURCE, seq)


def waiting(site: Site) -> list[tuple[str, Request]]:
    """Return the requests that wait for the operator, the oldest first."""
    return removals(site).waiting(site.clock())


def forecast(site: Site, id_: str) -> tuple[Request, Case | None]:
    """Return a waiting request and the entry that its approval would remove; Declined if there is no such request."""
    now = site.clock()
    request = removals(site).get(id_, now)
    if request is None:
        raise Declined(f"There is no request {id_}.")
    if request.state != "queued":
        raise Declined(f"Request {id_} does not wait: it is {request.state}.")
    found = case_of(site.store, parse_addr(request.addr))
    return request, found if found and format_key(found.key) == request.key else None


def approve(site: Site, id_: str, by: str, reason: str = "") -> Request:
    """Remove the entry of a waiting request, as the operator says, and tell who asked."""
    request, found = forecast(site, id_)
    why = (reason,) if reason else ()
    if found is None:
        return _move(site, id_, request, Verdict("closed", ("it is not listed any more", *why)), by, 0)
    text = f"request {id_}" + (f": {reason}" if reason else "")
    (seq,) = site.store.unlist([found.key], by, text, site.clock())
    return _move(site, id_, request, Verdict("removed", why), by, seq)


def refuse(site: Site, id_: str, by: str, reason: str = "") -> Request:
    """Leave the entry of a waiting request, and tell who asked; no other request about it is automatic for a while."""
    request, _ = forecast(site, id_)
    removals(site).note_refusal(request.key, site.clock())
    return _move(site, id_, request, Verdict("refused", (reason,) if reason else ()), by, 0)


def terms_of(site: Site) -> Terms:
    settings = site.settings.removal
    return Terms(
        automatic=settings.automatic,
        kinds=frozenset(settings.sources),
        named=settings.named,
        quiet_s=settings.quiet_s,
        cooldown_s=settings.cooldown_s,
        cooldown_limit_s=settings.cooldown_limit_s,
        removals=settings.removals,
        refused_s=settings.refused_s,
        manual=tuple(map(parse_key, settings.manual)),
        v6_prefix=site.settings.guard.v6_prefix,
    )


def _verdict(site: Site, request: Request, now: float) -> tuple[Case | None, Verdict]:
    """Decide; a request is about the entry that listed the address when it was made, and no other."""
    addr, terms = parse_addr(request.addr), terms_of(site)
    found = case(site, addr, now)
    if found is None or format_key(found.key) != request.key:
        return None, removal.decide(None, terms, now)
    if terms.named:
        found = replace(found, names=site.asked.confirmed(addr))
    return found, removal.decide(found, terms, now)


def _proven(site: Site, id_: str, request: Request, place: str) -> Request:
    """Note a proof, which counts once, and decide."""
    moved = removals(site).move(id_, "proven", site.clock(), {"place": place}, may="asked")
    if moved is None:
        say(site, "replayed", id_, request)
        raise Declined("This was used before; it works once.")
    say(site, "proven", id_, moved)
    return settle(site, id_, moved)


def _move(site: Site, id_: str, request: Request, verdict: Verdict, by: str, seq: int) -> Request:
    """Write a verdict down, and tell those whom it concerns, unless it is what stood there before."""
    said = {"why": verdict.why, "by": by, "again_ms": int(verdict.again_s * 1000), "seq": seq}
    moved = removals(site).move(id_, verdict.state, site.clock(), said)
    if moved is None:
        raise Declined(f"Request {id_} was dealt with meanwhile.")
    say(site, moved.state, id_, moved)
    if moved.state != request.state:
        tell(site, id_, moved)
    return moved


def _count(site: Site, visitor: bytes, wish: Wish, now: float) -> None:
    """Count a request; Declined if there were too many of this visitor, or about this address."""
    settings, kept = site.settings.removal, removals(site)
    who = neighbourhood(visitor).hex()
    limits = (("visitor", who, settings.per_visitor), ("address", format_addr(wish.addr), settings.per_address))
    for what, whom, most in limits:
        if not kept.allow(what, whom, most, now):
            site.log.emit("REMOVAL", what="too many", by=what, src=format_addr(wish.addr))
            raise Declined(LATER)


def _check_way(wish: Wish, offered: Offer) -> None:
    if wish.way == "mail" and wish.recipient not in offered.recipients:
        raise Declined("That is no address that answers for it, or its names are not known now.")
    if wish.way == "dns" and not offered.texts:
        raise Declined("Proof by DNS is switched off here.")
    if wish.way == "visit" and not offered.can_visit:
        raise Declined("You do not come from the address, or that is no proof here.")


def _may_remove(site: Site, now: float) -> bool:
    return removals(site).allow("removed", "all", site.settings.removal.per_day, now)


def _reason(id_: str, request: Request) -> str:
    return f"request {id_}: proven by {request.way} at {request.place}"


def _is_there(site: Site, addr: bytes, visitor: bytes) -> bool:
    """Tell whether a visitor comes from an address; of an IPv6 one, from its /64."""
    return neighbourhood(addr) == neighbourhood(visitor)
