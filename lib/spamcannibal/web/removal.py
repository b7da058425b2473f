"""The pages by which who is listed gets off: a form, the request's own page, and the page that a mail leads to.

GET changes nothing: mail scanners follow links. What changes something is a POST that holds a handle or a token.
"""

from typing import Any, cast, get_args

from flask import Blueprint, Response, g, make_response, redirect, render_template, request, url_for
from werkzeug.exceptions import NotFound

from spamcannibal import removal
from spamcannibal.addr import format_addr, parse_addr
from spamcannibal.checks import is_contact
from spamcannibal.errors import AddrError
from spamcannibal.removal import Declined, Request, Way
from spamcannibal.web import removal_desk as desk
from spamcannibal.web.app import here
from spamcannibal.web.spelling import read_addr

REPLY_LIMIT = 254  # RFC 5321 section 4.5.3.1.3

blueprint = Blueprint("removal", __name__)


@blueprint.get("/removal")
def form() -> Response:
    """Show the form: first for an address, then, for one that is listed, how to prove that it is the visitor's."""
    text = request.args.get("address", "")
    if not text.strip():
        return _form("")
    try:
        addr = read_addr(text)
    except AddrError as error:
        return _form(text, str(error), status=400)
    return _form(format_addr(addr), addr=addr)


@blueprint.post("/removal")
def ask() -> Response:
    """Take a request."""
    text = request.form.get("address", "")
    try:
        addr = read_addr(text)
        handle = desk.start(here(), _wish(addr), g.visitor)
    except AddrError as error:
        return _form(text, str(error), status=400)
    except Declined as error:
        return _form(format_addr(addr), str(error), addr=addr, status=400)
    return _seen(url_for("removal.show", handle=handle))


@blueprint.get("/removal/request/<handle>")
def show(handle: str) -> Response:
    """Show how a request stands."""
    _, found = _found(handle)
    return _page(handle, found)


@blueprint.post("/removal/request/<handle>")
def check(handle: str) -> Response:
    """Look for the proof of a request, or decide about it once more."""
    site = here()
    id_, found = _found(handle)
    try:
        if found.state == "asked" and found.way == "dns":
            desk.prove_dns(site, handle, id_, found)
        elif found.state == "asked" and found.way == "visit":
            desk.prove_visit(site, id_, found, g.visitor)
        elif found.state in ("proven", "queued"):
            desk.settle(site, id_, found)
    except Declined as error:
        return _page(handle, found, str(error), status=409)
    return _seen(url_for("removal.show", handle=handle))


@blueprint.get("/removal/confirm/<token>")
def confirm(token: str) -> Response:
    """Show what a mail's token would do."""
    try:
        _, found = desk.find_token(here(), token)
    except Declined as error:
        return _outcome(None, str(error), 410)
    return make_response(render_template("removal_confirm.html", token=token, wanted=found))


@blueprint.post("/removal/confirm/<token>")
def confirmed(token: str) -> Response:
    """Take a mail's token."""
    try:
        _, done = desk.prove_mail(here(), token)
    except Declined as error:
        return _outcome(None, str(error), 410)
    return _outcome(done)


def _wish(addr: bytes) -> desk.Wish:
    """Return what the form asks for; Declined if it is not filled in."""
    way, _, recipient = request.form.get("how", "").partition(" ")
    reply = request.form.get("reply", "").strip()
    if way not in get_args(Way):
        raise Declined("Choose how you will prove that the address is yours.")
    if reply and (len(reply) > REPLY_LIMIT or not is_contact(reply)):
        raise Declined("The address for the answer is no mail address; leave it empty if you want none.")
    message = request.form.get("message", "").strip()
    if len(message) > removal.MESSAGE_LIMIT:
        raise Declined(f"The message is too long: {len(message)} characters, want at most {removal.MESSAGE_LIMIT}.")
    return desk.Wish(addr, cast(Way, way), recipient, reply, message)


def _form(text: str, error: str = "", addr: bytes | None = None, status: int = 200) -> Response:
    site = here()
    shown: dict[str, Any] = {"found": None, "offer": None, "obstacle": ""}
    settings = site.settings.removal
    if addr is not None and settings.enabled:
        found = desk.case(site, addr, site.clock())
        shown = {"found": found, "obstacle": desk.obstacle(found), "offer": None}
        if not shown["obstacle"]:
            shown["offer"] = desk.offer(site, addr, g.visitor)
    page = render_template(
        "removal.html",
        text=text,
        error=error,
        addr=format_addr(addr) if addr else "",
        terms=settings,
        filled=request.form,
        message_limit=removal.MESSAGE_LIMIT,
        **shown,
    )
    return make_response(page, status)


def _page(handle: str, found: Request, error: str = "", status: int = 200) -> Response:
    """Return a request's page; where its TXT record may stand is for the one who has the handle only."""
    site = here()
    texts: tuple[str, ...] = ()
    if found.state == "asked" and found.way == "dns":
        addr = parse_addr(found.addr)
        texts = removal.dns_names(addr, site.asked.pointers(addr) or ())
    is_due = bool(found.again_ms) and found.again_ms <= site.clock() * 1000
    page = render_template(
        "removal_request.html",
        handle=handle,
        wanted=found,
        texts=texts,
        value=removal.dns_value(handle),
        error=error,
        is_due=is_due,
    )
    return make_response(page, status)


def _outcome(found: Request | None, error: str = "", status: int = 200) -> Response:
    return make_response(render_template("removal_request.html", handle="", wanted=found, error=error), status)


def _found(handle: str) -> tuple[str, Request]:
    found = desk.find(here(), handle)
    if found is None:
        raise NotFound("This request is not known here any more.")
    return found


def _seen(url: str) -> Response:
    """Send a browser on after a POST."""
    return make_response(redirect(url, 303))
