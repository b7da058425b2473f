"""The look-up: an address or prefix under its own link, as a page, JSON or text; every other spelling leads there."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

from flask import Blueprint, Response, g, jsonify, make_response, redirect, render_template, request, url_for

from spamcannibal import explain, removal
from spamcannibal.addr import format_key, parse_key
from spamcannibal.checks import is_prefix
from spamcannibal.errors import AddrError
from spamcannibal.inert import inert
from spamcannibal.rows import listing_row
from spamcannibal.settings import Settings
from spamcannibal.store.search import Wanted, search
from spamcannibal.web.app import here, wants_json
from spamcannibal.web.home import search_page
from spamcannibal.web.public import as_text, by_whom, public, source_kind
from spamcannibal.web.site import Site
from spamcannibal.web.spelling import read_key

if TYPE_CHECKING:
    from spamcannibal.robot.redact import Rules

INSIDE_SHOWN = 100
INSIDE_BUDGET = 5000
FORMS = (".json", ".txt")

blueprint = Blueprint("lookup", __name__)


@blueprint.get("/lookup")
def ask() -> Response:
    """Send a search on to its address."""
    text = request.args.get("q", "")
    if not text.strip():
        return _to(url_for("home.index"))
    try:
        return _to(url_for("lookup.show", text=format_key(read_key(text))))
    except AddrError as error:
        if wants_json():
            raise
        return search_page(text, str(error), 400)


@blueprint.get("/lookup/<path:text>")
def show(text: str) -> Response:
    """Show what is known of an address or prefix."""
    form = next((form for form in FORMS if text.endswith(form)), "")
    asked = text.removesuffix(form)
    try:
        key = read_key(asked)
    except AddrError as error:
        if form or wants_json():
            raise
        return search_page(asked, str(error), 400)
    if format_key(key) != asked:
        return _to(url_for("lookup.show", text=format_key(key) + form))
    return _answer(key, form)


def _answer(key: bytes, form: str) -> Response:
    site = here()
    if form == "" and wants_json():
        form = ".json"
    names = site.asked.pointers(key) if not form and len(key) in (4, 16) else None
    answer = _told(site, key, form, names)
    answer.vary.add("Accept")
    return answer


def _told(site: Site, key: bytes, form: str, names: tuple[str, ...] | None) -> Response:
    """Return the answer in one of the FORMS, or as a page."""
    is_own = key == g.visitor
    account = explain.explain(site.store, site.zones, key)
    document = explain.document(account, site.settings)

    def hidden(body: str) -> str:
        return _redacted(body, _rules(site.settings))

    shown = public(document, lambda zone: _link(site, zone), hidden, is_own)
    if len(key) not in (4, 16):
        shown["inside"] = _inside(site, key)
    if form == ".json":
        return jsonify(shown)
    if form == ".txt":
        lines = [inert(line, 2000) for line in as_text(shown)]
        return Response("\n".join([*lines, ""]), content_type="text/plain; charset=utf-8")
    is_host = len(key) in (4, 16)
    page = render_template(
        "lookup.html", shown=shown, names=names, is_host=is_host, is_own=is_own, can_ask=_can_ask(site, account)
    )
    return make_response(page)


def _can_ask(site: Site, account: explain.Account) -> bool:
    """Tell whether a request could remove what decides about an address."""
    match = account.deciding
    if match is None or len(account.addr) not in (4, 16) or not site.settings.removal.enabled:
        return False
    zones = [cause.zone for cause in match.contrib.causes] if match.contrib else []
    return not removal.obstacle(match.key, match.change.flags, zones)


def _inside(site: Site, key: bytes) -> dict[str, Any]:
    """Return what is listed in a prefix, as far as a short search finds it."""
    part = search(site.store, Wanted(within=key), None, INSIDE_SHOWN, INSIDE_BUDGET)
    rows = [(found, listing_row(*found)) for found in part.rows if found.key != key]
    entries = [
        {
            "key": format_key(found.key),
            "flags": row["flags"],
            "by": by_whom(source_kind(row["source"])),
            "text": row["text"],
            "since": row["listed"],
            "expires": row["expires"],
        }
        for found, row in rows
    ]
    return {"entries": entries, "is_whole": part.after is None}


def _link(site: Site, zone: str) -> str:
    one = site.lists().get(zone)
    return one.url if one else ""


def _rules(settings: Settings) -> Rules:
    """Return what is hidden of evidence that nobody redacted when it was written."""
    # Imported here, as below, since most evidence was redacted when it was written.
    from spamcannibal.robot.redact import Rules

    own = [*settings.robot.own_hosts, *settings.guard.own_names]
    hidden = (*settings.robot.hide, *settings.trap.recipients)
    return Rules(
        names=frozenset(name.lower() for name in own if not is_prefix(name)),
        keys=tuple(parse_key(name) for name in own if is_prefix(name)),
        addresses=tuple(each for each in hidden if "@" in each),
        domains=tuple(each.removeprefix(".") for each in hidden if "@" not in each and each != "*"),
        limit_bytes=settings.store.evidence_limit_bytes,
    )


@lru_cache(256)
def _redacted(body: str, rules: Rules) -> str:
    from spamcannibal.robot.redact import redact

    return redact(body.encode("utf-8", "replace"), rules).decode("utf-8", "replace")


def _to(url: str) -> Response:
    return make_response(redirect(url, 302))
