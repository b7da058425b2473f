"""Administration, under /admin: login and logout, the overview, and the parts that the rest is made of.

| module | pages |
|---|---|
| admin_access | none: who may what, before each of them |
| admin_account | one's own password and one-time passwords |
| admin_list | search, an entry, a network |
| admin_change | add, remove, undo: first what it would do, then that |
| admin_journal | the journal |
| admin_never | the never-list |
| admin_queue | requests for removal |
| admin_users | users |
| admin_health | services, jobs, remote lists |
"""

import re
from collections import Counter
from typing import Any

from flask import Blueprint, Response, g, make_response, redirect, render_template, request, url_for
from werkzeug.exceptions import Forbidden

from spamcannibal.rows import change_row
from spamcannibal.standing import remote_lists
from spamcannibal.store.recent import changes_since, page_back
from spamcannibal.web import (
    admin_access,
    admin_account,
    admin_change,
    admin_health,
    admin_journal,
    admin_list,
    admin_never,
    admin_queue,
    admin_users,
    removal_desk,
)
from spamcannibal.web.admin_access import BROWSER_COOKIE, BROWSER_S, COOKIE, begin, cookie, is_safe, set_cookie
from spamcannibal.web.app import here
from spamcannibal.web.pasted import key_text
from spamcannibal.web.signin import Refused, SignIn, Try

DAY_MS = 86_400_000
CHANGES_LIMIT = 10_000
NEWEST = 10
FIELD_LIMIT = 4096

blueprint = Blueprint("admin", __name__, url_prefix="/admin")
blueprint.before_request(admin_access.admit)
blueprint.after_request(admin_access.finish)
blueprint.context_processor(admin_access.shown)
blueprint.add_app_template_filter(key_text)
for part in (
    admin_account,
    admin_change,
    admin_health,
    admin_journal,
    admin_list,
    admin_never,
    admin_queue,
    admin_users,
):
    blueprint.register_blueprint(part.blueprint)


@blueprint.get("/")
def home() -> str:
    """Show how things stand."""
    site = here()
    store = site.store
    newest = page_back(store, store.last_seq(), NEWEST)
    day: Counter[str] = Counter()
    for change in changes_since(store, int(site.clock() * 1000) - DAY_MS, CHANGES_LIMIT):
        day[f"{change.source.partition(':')[0] or '-'} {change.action.name.lower()}"] += 1
    return render_template(
        "admin.html",
        counts=store.counts(),
        day=sorted(day.items()),
        is_whole=day.total() < CHANGES_LIMIT,
        newest=[{"key": change.key, **change_row(change)} for change in newest],
        waiting=len(removal_desk.waiting(site)),
        aside=[row for row in remote_lists(site.settings) or () if row["why"]],
    )


@blueprint.get("/login")
def login() -> Response:
    """Show the form, or go on for who is logged in."""
    if g.visit:
        return _onward(request.args.get("next", ""))
    return _form(request.args.get("next", ""))


@blueprint.post("/login")
def log_in() -> Response:
    """Let in who proves to be a user."""
    if not is_safe():
        raise Forbidden("A password over plain http could be read on its way: use https, or a tunnel to this host.")
    given = {name: request.form.get(name, "")[:FIELD_LIMIT] for name in ("user", "password", "code", "next")}
    browser = cookie(BROWSER_COOKIE) or here().token()
    door = SignIn(here())
    found = door.sign_in(Try(given["user"].strip(), given["password"], given["code"], browser, g.visitor))
    if isinstance(found, Refused):
        answer = _form(given["next"], found.why, 429 if found.wait_s else 403)
        if found.wait_s:
            answer.headers["Retry-After"] = str(found.wait_s)
        return answer
    door.sessions.end(g.secret, here().clock())
    answer = _onward(given["next"])
    begin(answer, found)
    set_cookie(answer, BROWSER_COOKIE, browser, BROWSER_S)
    return answer


@blueprint.post("/logout")
def logout() -> Response:
    """End the session."""
    SignIn(here()).sessions.end(g.secret, here().clock())
    here().log.emit("LOGOUT", user=g.visit.name, src=g.visitor)
    answer = make_response(redirect(url_for("admin.login"), 303))
    set_cookie(answer, COOKIE, "")
    return answer


def own_path(text: str) -> str:
    """Return a path below /admin that a text names, "" if it is anything else."""
    fits = len(text) < 1000 and re.fullmatch(r"/admin(/[A-Za-z0-9._~:@%+,*-]*)*(\?[A-Za-z0-9._~:@%+,*=&/-]*)?", text)
    return text if fits and "//" not in text and "/.." not in text else ""


def _onward(text: str) -> Response:
    """Go where the visitor wanted to, if that is a page of ours."""
    path = own_path(text)
    target = request.script_root + path if path else url_for("admin.home")
    return make_response(redirect(target, 303))


def _form(onward: str, why: str = "", status: int = 200) -> Response:
    site = here()
    shown: dict[str, Any] = {"next": own_path(onward), "why": why, "is_safe": is_safe()}
    return make_response(render_template("admin_login.html", is_new=not SignIn(site).users.all(), **shown), status)
