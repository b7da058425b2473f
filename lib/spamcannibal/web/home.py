"""The front page: a search, what this list is, and where old links lead."""

from flask import Blueprint, Response, g, make_response, redirect, render_template, request, url_for

from spamcannibal.addr import format_addr
from spamcannibal.record import EXCLUDED, SHADOW
from spamcannibal.web.app import here
from spamcannibal.web.visitor import NOBODY

# Pages of the original, by what it called them.
OLD_PAGES = {"contact": "removal.form", "delist": "removal.form", "lookup": "home.index", "spamlst": "home.index"}

blueprint = Blueprint("home", __name__)


@blueprint.get("/")
def index() -> Response:
    """Show the search; a query as the original's, or nothing but an address, is looked up."""
    old = request.args.get("lookup") or request.args.get("query")
    bare = next((name for name, value in request.args.items() if not value), "")
    if old or bare:
        return make_response(redirect(url_for("lookup.ask", q=old or bare)))
    page = OLD_PAGES.get(request.args.get("page", ""), "home.index")
    if page != "home.index":
        return make_response(redirect(url_for(page)))
    return search_page()


def search_page(text: str = "", error: str = "", status: int = 200) -> Response:
    """Return the front page, or the search again after one that named no address."""
    site = here()
    own = None
    if g.visitor != NOBODY and not error:
        found = site.store.get(g.visitor)
        own = {"addr": format_addr(g.visitor), "is_listed": bool(found and not found[1].flags & (EXCLUDED | SHADOW))}
    zones = [zone for zone in site.settings.dnsbl.zone if not zone.sunset]
    return make_response(render_template("home.html", text=text, error=error, own=own, zones=zones), status)
