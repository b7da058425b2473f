"""The never-list: shown to all, edited by owners: checked, previewed against the present list, written whole, kept."""

import hashlib
from pathlib import Path

from flask import Blueprint, Response, g, make_response, render_template, request

from spamcannibal.errors import ConfigError, SpamCannibalError
from spamcannibal.guard import NeverList
from spamcannibal.neverfile import objection, parse_text, read_text, renew, save_text
from spamcannibal.record import EXCLUDED
from spamcannibal.rows import listing_row
from spamcannibal.web import drafts
from spamcannibal.web.app import here

TEXT_LIMIT = 200_000
HITS_SHOWN = 100
LOOKED_LIMIT = 2_000_000
PAGE_LIMIT = 1000

blueprint = Blueprint("never", __name__, url_prefix="/never")


@blueprint.get("/")
def show() -> Response:
    """Show the file, for owners to edit."""
    return _page(_text())


@blueprint.post("/")
def preview() -> Response:
    """Check a new text, and show which present listings it would concern: they stay, until somebody removes them."""
    site = here()
    text = request.form.get("text", "").replace("\r\n", "\n")
    path = Path(site.settings.guard.never_list)
    why = objection(path) or ("it is too long for this page" if len(text) > TEXT_LIMIT else "")
    if why:
        return _page(text, (f"Not saved: {why}. Edit the file on the host.",), 400)
    try:
        made = parse_text(site.settings, text)
    except ConfigError as error:
        return _page(text, error.problems, 400)
    before = _text()
    rows, is_whole = _hits(made)
    draft = drafts.keep(site, g.visit, "never", body=text, said={"was": _digest(before)})
    page = render_template(
        "admin_never_preview.html",
        rows=rows,
        is_whole=is_whole,
        added=_lines(text) - _lines(before),
        gone=_lines(before) - _lines(text),
        count=len(made),
        draft=draft,
    )
    return make_response(page)


@blueprint.post("/save")
def save() -> Response:
    """Write what was previewed, if the file is what it was then."""
    site = here()
    draft = drafts.take(site, g.visit, ("never",), request.form.get("draft", ""))
    path = Path(site.settings.guard.never_list)
    if _digest(_text()) != draft.said["was"]:
        raise drafts.Stale("The file was changed meanwhile. Nothing was done: look at it again.")
    try:
        old = save_text(path, draft.body)
    except SpamCannibalError as error:
        return _page(draft.body, (f"Not saved: {error}.",), 500)
    renew(site.store.guard)
    site.log.emit("ADMIN", user=g.visit.name, src=g.visitor, does="never-list", file=str(path))
    return _page(draft.body, done=str(old))


def _hits(made: NeverList) -> tuple[list[dict[str, object]], bool]:
    """Return present listings that a never-list would forbid, up to HITS_SHOWN, and whether these are all."""
    store, after, looked = here().store, None, 0
    rows: list[dict[str, object]] = []
    while page := store.page("tarpit", after, PAGE_LIMIT):
        for key, listing in page:
            rule = made.find(key) if not listing.flags & EXCLUDED else None
            if rule and len(rows) == HITS_SHOWN:
                return rows, False
            if rule:
                rows.append({**listing_row(key, listing, store.change(listing.seq)), "rule": rule})
        after, looked = page[-1][0], looked + len(page)
        if looked >= LOOKED_LIMIT:
            return rows, False
    return rows, True


def _text() -> str:
    """Return the file's text, "" if it can't be read: then the page says so."""
    try:
        return read_text(Path(here().settings.guard.never_list))
    except ConfigError:
        return ""


def _page(text: str, problems: tuple[str, ...] = (), status: int = 200, done: str = "") -> Response:
    path = Path(here().settings.guard.never_list)
    shown = {"text": text[:TEXT_LIMIT], "is_long": len(text) > TEXT_LIMIT, "path": str(path), "done": done}
    why = objection(path)
    page = render_template(
        "admin_never.html", problems=problems[:50], more=max(0, len(problems) - 50), why=why, **shown
    )
    return make_response(page, status)


def _lines(text: str) -> set[str]:
    return {line.strip() for line in text.split("\n") if line.strip()}


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()
