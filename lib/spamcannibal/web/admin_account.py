"""One's own account: a new password, one-time passwords on and off; each wants the password of now."""

from flask import Blueprint, Response, g, make_response, redirect, render_template, request, url_for
from markupsafe import Markup

from spamcannibal.errors import SpamCannibalError
from spamcannibal.web import totp
from spamcannibal.web.admin_access import begin
from spamcannibal.web.app import here
from spamcannibal.web.drafts import Stale, keep, take
from spamcannibal.web.signin import SignIn
from spamcannibal.web.users import digest

KIND = "secret"

blueprint = Blueprint("account", __name__, url_prefix="/account")


@blueprint.get("/")
def show() -> Response:
    """Show the account, with a new secret for who has no one-time passwords yet."""
    return _page()


@blueprint.post("/password")
def password() -> Response:
    """Take a new password: all sessions end, this browser gets a new one."""
    new = request.form.get("new", "")
    door = SignIn(here())
    why = door.confirm(g.visit, request.form.get("password", ""), g.visitor)
    if not why and new != request.form.get("again", ""):
        why = "The new password was not the same twice."
    if why:
        return _page(why, 400)
    try:
        user = door.users.set_password(g.visit.name, new)
    except SpamCannibalError as error:
        return _page(f"{str(error).capitalize()}.", 400)
    return _renewed(door, user, "password")


@blueprint.post("/code")
def code() -> Response:
    """Switch one-time passwords on, once a code proves that the secret arrived, or off."""
    site, door = here(), SignIn(here())
    why = door.confirm(g.visit, request.form.get("password", ""), g.visitor)
    if why:
        return _page(why, 400)
    if g.visit.user.secret:
        return _renewed(door, door.users.set_secret(g.visit.name, ""), "code off")
    try:
        secret = take(site, g.visit, (KIND,), request.form.get("draft", "")).body
    except Stale:
        return _page("That secret is too old: take the one below.", 409)
    step = totp.step_of(secret, request.form.get("code", ""), 0, site.clock())
    if step is None:
        return _page("That code was wrong. The secret is another now: delete the old one in your program.", 400)
    return _renewed(door, door.users.set_secret(g.visit.name, secret, step), "code on")


def _renewed(door: SignIn, user: object, what: str) -> Response:
    """Say what was done, and give this browser a session of what the user is now."""
    site = here()
    site.log.emit("ADMIN", user=g.visit.name, src=g.visitor, does="account", what=what)
    found = door.users.get(g.visit.name)
    if found is None:
        return make_response(redirect(url_for("admin.login"), 303))
    door.sessions.end(g.visit.secret, site.clock())
    answer = make_response(redirect(url_for("admin.account.show"), 303))
    begin(answer, door.sessions.begin(g.visit.name, found, site.clock(), g.visit.session.by_proxy))
    return answer


def _page(why: str = "", status: int = 200) -> Response:
    site, visit = here(), g.visit
    shown = {"why": why, "secret": "", "uri": "", "picture": "", "draft": ""}
    if not visit.user.secret:
        secret = totp.new_secret()
        uri = totp.uri(secret, visit.name, site.settings.web.name)
        picture = Markup(totp.picture(uri))  # of our own making: nothing of it is outside text
        # One for each session, however often he looks.
        shown |= {
            "secret": secret,
            "uri": uri,
            "picture": picture,
            "draft": keep(site, visit, KIND, digest(visit.secret + KIND), body=secret),
        }
    return make_response(render_template("admin_account.html", **shown), status)
