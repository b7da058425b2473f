"""The list, as an operator looks at it: a search that is bounded, an entry with all that is known, a network."""

from typing import Any

from flask import Blueprint, Response, current_app, make_response, redirect, render_template, request, url_for

from spamcannibal.addr import format_addr, format_key, make_key, mask, parse_key, split_key
from spamcannibal.errors import AddrError, StoreError
from spamcannibal.explain import explain
from spamcannibal.moments import FORM, parse_moment
from spamcannibal.record import FLAG_NAMES, Contact, Listing
from spamcannibal.rows import change_row, contrib_row, listing_row, piece_row, when
from spamcannibal.store.preview import count_inside, let_in
from spamcannibal.store.search import Wanted, span, time_of
from spamcannibal.store.search import search as search_listings
from spamcannibal.web.app import here
from spamcannibal.web.pointers import Pointers
from spamcannibal.web.spelling import read_choice, read_key

PAGE = 100
BUDGET = 20_000  # listings that one page looks at
NET = 256
CONTACTS_BUDGET = 20_000
DAY_MS = 86_400_000
FIELDS = ("within", "text", "source", "since", "until", "flag")

blueprint = Blueprint("list", __name__)


@blueprint.get("/list")
def search() -> Response:
    """Search the list; the answer says how far it looked."""
    asked = {name: request.args.get(name, "").strip() for name in FIELDS}
    try:
        wanted = _wanted(asked)
        after = parse_key(request.args["after"]) if request.args.get("after") else None
    except (AddrError, StoreError) as error:
        return _list_page(asked, why=str(error), status=400)
    found = search_listings(here().store, wanted, after, PAGE, BUDGET)
    rows = [listing_row(row.key, row.listing, row.change) for row in found.rows]
    further = None
    if found.after is not None:
        further = {**{name: text for name, text in asked.items() if text}, "after": format_key(found.after)}
    return _list_page(asked, rows=rows, looked=found.looked, further=further)


@blueprint.get("/entry")
def find() -> Response:
    """Go to the page of what was typed."""
    try:
        key = read_key(request.args.get("address", ""))
    except AddrError as error:
        return _list_page(dict.fromkeys(FIELDS, ""), why=str(error), status=400)
    return make_response(redirect(url_for("admin.list.entry", text=format_key(key)), 303))


@blueprint.get("/entry/<path:text>")
def entry(text: str) -> Response:
    """Show all that is known of an address or a network."""
    site, key = here(), read_key(text)
    if format_key(key) != text:
        return make_response(redirect(url_for("admin.list.entry", text=format_key(key)), 303))
    account = explain(site.store, site.zones, key)
    addr, plen = split_key(key)
    is_host = plen == len(addr) * 8
    inside, _, is_whole = count_inside(site.store, key)
    page = render_template(
        "admin_entry.html",
        key=text,
        account=account,
        is_host=is_host,
        matches=[_match(match) for match in account.matches],
        history=[{"key": change.key, **change_row(change)} for change in reversed(account.history)],
        answers=[(each.zone, format_addr(each.code) if each.code else None, each.key) for each in account.answers],
        names=_pointers().names([addr])[addr] if is_host else None,
        contact=_contact_row(account.contact),
        checked=when(account.checked.checked_ms) if account.checked else None,
        inside=inside,
        is_whole=is_whole,
        waiting=let_in(site.store, key, 0, CONTACTS_BUDGET) if not is_host else None,
        net=format_key(_net_around(key)),
    )
    return make_response(page)


@blueprint.get("/net/<path:text>")
def net(text: str) -> Response:
    """Show an IPv4 /24 address by address, or what is known inside an IPv6 /64 or /48."""
    site, key = here(), _net_around(read_key(text))
    if format_key(key) != text:
        return make_response(redirect(url_for("admin.list.net", text=format_key(key)), 303))
    after = parse_key(request.args["after"]) if request.args.get("after") else None
    keys = _keys_of(key, after)
    rows = _net_rows(keys)
    with_names = read_choice("names", request.args.get("names", ""), ("1",)) == "1"
    hosts = [row["key"] for row in rows if len(row["key"]) in (4, 16)]
    names = _pointers().names(hosts) if with_names else {}
    page = render_template(
        "admin_net.html",
        net=text,
        account=explain(site.store, {}, key),
        rows=[{**row, "names": names.get(row["key"]), "is_asked": row["key"] in names} for row in rows],
        with_names=with_names,
        further=format_key(keys[-1]) if len(key) == 17 and len(keys) == NET else None,
    )
    return make_response(page)


def _wanted(asked: dict[str, str]) -> Wanted:
    store = here().store
    word = read_choice("flag", asked["flag"], FLAG_NAMES.values())
    flag = next((bit for bit, name in FLAG_NAMES.items() if name == word), 0)
    since_ms, until_ms = (time_of(store, _moment(asked[n])) if asked[n] else None for n in ("since", "until"))
    within = read_key(asked["within"]) if asked["within"] else None
    return Wanted(within, asked["text"], asked["source"], None, flag, since_ms, until_ms)


def _moment(text: str) -> int:
    found = parse_moment(text, here().clock())
    if found is None:
        raise AddrError(f"not a time, want {FORM}")
    return found


def _list_page(asked: dict[str, str], status: int = 200, **shown: Any) -> Response:
    found = {"rows": [], "looked": 0, "further": None, "why": "", **shown}
    page = render_template("admin_list.html", asked=asked, flags=list(FLAG_NAMES.values()), **found)
    return make_response(page, status)


def _match(match: Any) -> dict[str, Any]:
    row = listing_row(match.key, match.listing, match.change)
    pieces = [piece_row(piece) for piece in reversed(match.evidence)]
    return {**row, "seq": match.change.seq, "contrib": contrib_row(match.contrib), "evidence": pieces}


def _contact_row(contact: Contact | None) -> dict[str, Any] | None:
    if contact is None:
        return None
    return {"count": contact.count, "first": when(contact.first_ms), "last": when(contact.last_ms)}


def _net_around(key: bytes) -> bytes:
    """Return the network that a page shows for a key: a /24; in IPv6 the /48 or a /64."""
    addr, plen = split_key(key)
    length = 24 if len(addr) == 4 else 48 if plen < 64 else 64
    return make_key(mask(addr, length), length)


def _keys_of(net: bytes, after: bytes | None) -> list[bytes]:
    """Return the keys that a network's page tells of: all 256 addresses, or the first that are known past `after`."""
    if len(net) == 5:
        return [net[:3] + bytes((last,)) for last in range(NET)]
    store = here().store
    first, end = span(net)
    start = first if after is None or (first is not None and after < first) else after
    found = set[bytes]()
    for name in ("tarpit", "archive"):
        found.update(key for key, _ in store.raw_page(name, start, NET) if end is None or key <= end)
    return sorted(found - {net})[:NET]


def _net_rows(keys: list[bytes]) -> list[dict[str, Any]]:
    store = here().store
    listings: list[Listing | None] = store.records("tarpit", keys)
    contacts: list[Contact | None] = store.records("archive", keys)
    rows: list[dict[str, Any]] = []
    before = 0
    for key, listing, contact in zip(keys, listings, contacts, strict=True):
        last_ms = listing.contact_ms if listing else contact.last_ms if contact else 0
        rows.append(
            {
                "key": key,
                "listing": listing_row(key, listing, store.change(listing.seq)) if listing else None,
                "last": when(last_ms),
                "is_new_day": last_ms // DAY_MS != before // DAY_MS,
                "is_known": bool(listing or contact),
            }
        )
        before = last_ms
    return rows


def _pointers() -> Pointers:
    site = here()
    found: Pointers = current_app.extensions.setdefault("pointers", Pointers(site.names, site.clock))
    return found
