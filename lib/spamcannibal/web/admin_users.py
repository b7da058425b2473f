"""Users, for owners: made, shown, changed, removed. Whoever changes himself gets a new session."""

from flask import Blueprint, Response, g, make_response, redirect, render_template, request, url_for

from spamcannibal.errors import SpamCannibalError
from spamcannibal.rows import when
from spamcannibal.web.admin_access import begin
from spamcannibal.web.app import here
from spamcannibal.web.signin import SignIn
from spamcannibal.web.users import ROLES

blueprint = Blueprint("users", __name__, url_prefix="/users")


@blueprint.get("/")
def show() -> Response:
    """Show all users."""
    return _page()


@blueprint.post("/")
def add() -> Response:
    """Make a user."""
    site, form = here(), request.form
    name, role = form.get("user", "").strip(), form.get("role", "")
    if form.get("new", "") != form.get("again", ""):
        return _page("The password was not the same twice.", 400)
    why = SignIn(site).confirm(g.visit, form.get("password", ""), g.visitor)
    if why:
        return _page(why, 403)
    try:
        SignIn(site).users.add(name, role, form.get("new", ""), site.clock())
    except SpamCannibalError as error:
        return _page(f"{str(error)[:1].upper()}{str(error)[1:]}.", 400)
    _tell("made", name, role)
    return make_response(redirect(url_for("admin.users.show"), 303))


@blueprint.post("/<name>")
def change(name: str) -> Response:
    """Change a user: role, no one-time passwords, unlocked, removed."""
    door = SignIn(here())
    does = request.form.get("do", "")
    why = door.confirm(g.visit, request.form.get("password", ""), g.visitor)
    if why:
        return _page(why, 403)
    try:
        if does == "role":
            door.users.set_role(name, request.form.get("role", ""))
        elif does == "code":
            door.users.set_secret(name, "")
        elif does == "unlock":
            door.unlock(name)
        elif does == "remove":
            door.users.remove(name)
        else:
            raise SpamCannibalError("there is nothing of that name to do")
    except SpamCannibalError as error:
        return _page(f"{str(error)[:1].upper()}{str(error)[1:]}.", 400)
    _tell(does, name, request.form.get("role", "") if does == "role" else None)
    return _onward(door, name)


def _onward(door: SignIn, name: str) -> Response:
    """Show the users again; whose own session ended by it gets another, of what he is now."""
    answer = make_response(redirect(url_for("admin.users.show"), 303))
    user = door.users.get(g.visit.name)
    if name == g.visit.name and user is not None and user.epoch != g.visit.session.epoch:
        now = here().clock()
        door.sessions.end(g.visit.secret, now)
        begin(answer, door.sessions.begin(name, user, now, g.visit.session.by_proxy))
    return answer


def _tell(what: str, name: str, role: str | None) -> None:
    here().log.emit("ADMIN", user=g.visit.name, src=g.visitor, does="user", what=what, whom=name, role=role)


def _page(why: str = "", status: int = 200) -> Response:
    rows = [
        {
            "name": name,
            "role": user.role,
            "code": bool(user.secret),
            "made": when(user.made_ms),
            "login": when(user.login_ms),
        }
        for name, user in SignIn(here()).users.all()
    ]
    return make_response(render_template("admin_users.html", rows=rows, roles=ROLES, why=why), status)
