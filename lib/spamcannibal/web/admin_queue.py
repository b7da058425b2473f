"""The requests for removal that wait for an operator: who asks, what is listed, and the answer, with a reason."""

from typing import Any

from flask import Blueprint, Response, g, make_response, redirect, render_template, request, url_for

from spamcannibal.removal import Declined
from spamcannibal.web import removal_desk as desk
from spamcannibal.web.app import here
from spamcannibal.web.drafts import Stale

SHOWN = 200
TEXT_LIMIT = 1000
ANSWERS = {"approve": desk.approve, "refuse": desk.refuse}

blueprint = Blueprint("queue", __name__, url_prefix="/queue")


@blueprint.get("/")
def show() -> str:
    """Show what waits, the oldest first."""
    waiting = desk.waiting(here())
    return render_template("admin_queue.html", rows=waiting[:SHOWN], count=len(waiting))


@blueprint.get("/<id_>")
def one(id_: str) -> Response:
    """Show a request, and what its approval would remove."""
    return _page(id_)


@blueprint.post("/<id_>")
def answer(id_: str) -> Response:
    """Approve or refuse a request, unless its entry is another than was shown."""
    site, form = here(), request.form
    reason, does = form.get("reason", "").strip(), form.get("do", "")
    if not 0 < len(reason) <= TEXT_LIMIT:
        return _page(id_, f"Say why, in at most {TEXT_LIMIT} characters: it is kept, and told to who asked.", 400)
    if does not in ANSWERS:
        return _page(id_, "There is no such answer.", 400)
    try:
        _, found = desk.forecast(site, id_)
        if form.get("seq", "") != str(found.seq if found else 0):
            raise Stale("The entry was changed meanwhile. Nothing was done: look at it again.")
        done = ANSWERS[does](site, id_, f"admin:{g.visit.name}", reason)
    except (Declined, Stale) as error:
        return _page(id_, str(error), 409)
    site.log.emit("ADMIN", user=g.visit.name, src=g.visitor, does=does, request=id_, address=done.addr)
    return make_response(redirect(url_for("admin.queue.show"), 303))


def _page(id_: str, why: str = "", status: int = 200) -> Response:
    shown: dict[str, Any] = {"wanted": None, "found": None}
    try:
        shown["wanted"], shown["found"] = desk.forecast(here(), id_)
    except Declined as error:
        why, status = why or str(error), 404 if status == 200 else status
    return make_response(render_template("admin_request.html", id=id_[:64], why=why, **shown), status)
