"""Who may what on the pages of administration: the one place that decides, before any page is asked.

RIGHTS names every page with the least role for each method; what is not named is refused. A request that changes
something must come from a page of ours (csrf.py). Who comes is told by a session's cookie, or, where [admin]
proxy_header says so, by a proxy.

Cookies are HttpOnly, SameSite=Strict, Secure and bound to this very host (__Host-, RFC 6265bis section 4.1.3.2); over
plain http they are not Secure, and this is allowed on the host itself only: elsewhere a password would be read.
"""

from typing import Any

from flask import Response, g, make_response, redirect, request, url_for
from werkzeug.exceptions import Forbidden, MethodNotAllowed, NotFound, Unauthorized

from spamcannibal.addr import covers, format_addr, parse_addr, parse_key
from spamcannibal.errors import AddrError
from spamcannibal.web import csrf
from spamcannibal.web.app import here, wants_json
from spamcannibal.web.sessions import Visit
from spamcannibal.web.signin import SignIn
from spamcannibal.web.users import ROLES, Role
from spamcannibal.web.visitor import is_trusted

VIEWER, EDITOR, OWNER = Role.VIEWER, Role.EDITOR, Role.OWNER
OPEN = None  # whoever comes: only what leads to a login

RIGHTS: dict[str, dict[str, Role | None]] = {
    "admin.login": {"GET": OPEN},
    "admin.log_in": {"POST": OPEN},
    "admin.logout": {"POST": VIEWER},
    "admin.home": {"GET": VIEWER},
    "admin.account.show": {"GET": VIEWER},
    "admin.account.password": {"POST": VIEWER},
    "admin.account.code": {"POST": VIEWER},
    "admin.list.search": {"GET": VIEWER},
    "admin.list.find": {"GET": VIEWER},
    "admin.list.entry": {"GET": VIEWER},
    "admin.list.net": {"GET": VIEWER},
    "admin.journal.show": {"GET": VIEWER},
    "admin.health.show": {"GET": VIEWER},
    "admin.never.show": {"GET": VIEWER},
    "admin.never.preview": {"POST": OWNER},
    "admin.never.save": {"POST": OWNER},
    "admin.change.add": {"GET": EDITOR, "POST": EDITOR},
    "admin.change.remove": {"GET": EDITOR, "POST": EDITOR},
    "admin.change.undo": {"POST": EDITOR},
    "admin.change.confirm": {"POST": EDITOR},
    "admin.queue.show": {"GET": VIEWER},
    "admin.queue.one": {"GET": EDITOR},
    "admin.queue.answer": {"POST": EDITOR},
    "admin.users.show": {"GET": OWNER},
    "admin.users.add": {"POST": OWNER},
    "admin.users.change": {"POST": OWNER},
}
# What the pages link to: end point, word.
LINKS = (
    ("admin.home", "Overview"),
    ("admin.list.search", "List"),
    ("admin.change.add", "Add"),
    ("admin.change.remove", "Remove"),
    ("admin.queue.show", "Requests"),
    ("admin.journal.show", "Journal"),
    ("admin.never.show", "Never-list"),
    ("admin.health.show", "Health"),
    ("admin.users.show", "Users"),
    ("admin.account.show", "Account"),
)
SAFE = ("GET", "HEAD")
COOKIE, BROWSER_COOKIE = "spamcannibal", "spamcannibal-browser"
COOKIE_LIMIT = 200
BROWSER_S = 180 * 86400
LOOPBACK = (parse_key("127.0.0.0/8"), parse_key("::1"))


def admit() -> Response | None:
    """Let the request pass, or answer it: before every page of administration. Sets g.visit and g.secret."""
    admin = here().settings.admin
    if not admin.enabled:
        raise NotFound
    if not any(covers(parse_key(net), g.visitor) for net in admin.nets):
        _tell("not from this network")
        raise Forbidden("Administration is not open to your network.")
    method = "GET" if request.method == "HEAD" else request.method
    rights = RIGHTS.get(request.endpoint or "", {})
    if method not in rights:
        raise MethodNotAllowed(valid_methods=list(rights)) if rights else Forbidden("Nobody may do this.")
    g.visit, g.secret = _visit()
    if method not in SAFE:
        _check_meant()
    return _check_right(rights[method])


def finish(response: Response) -> Response:
    """Give a browser that has none the secret that its forms are bound to, and let it say where forms come from."""
    if getattr(g, "is_fresh", False):
        set_cookie(response, COOKIE, g.secret)
    response.headers["Referrer-Policy"] = "same-origin"  # with no-referrer browsers send no Origin
    return response


def shown() -> dict[str, Any]:
    """Return what every template of administration may use."""
    visit: Visit | None = getattr(g, "visit", None)
    rank = visit.rank if visit else 0
    secret = getattr(g, "secret", "")
    may = {name: rank >= Role[name.upper()] for name in ROLES}
    links = [each for each in LINKS if rank >= (RIGHTS[each[0]]["GET"] or rank)] if visit else []
    return {"visit": visit, "may": may, "form_token": csrf.token(secret) if secret else "", "links": links}


def begin(response: Response, visit: Visit) -> None:
    """Hand a new session to the browser, in place of what it had."""
    g.is_fresh = False
    set_cookie(response, COOKIE, visit.secret)


def set_cookie(response: Response, name: str, value: str, age_s: int | None = None) -> None:
    """Set one of our cookies, or take it away (value "")."""
    local = is_local()
    response.set_cookie(
        _cookie(name),
        value,
        max_age=0 if not value else age_s,
        path="/",
        secure=not local,
        httponly=True,
        samesite="Strict",
    )


def cookie(name: str) -> str:
    """Return the value of one of our cookies, "" if it is missing or none of ours."""
    value = request.cookies.get(_cookie(name), "")
    return value if len(value) <= COOKIE_LIMIT and value.isascii() else ""


def is_local() -> bool:
    """Tell whether the browser runs on this host, or comes by a tunnel to it, and speaks plain http."""
    host = request.host.rpartition(":")[0] if not request.host.endswith("]") else request.host
    name = (host or request.host).strip("[]")
    return (name == "localhost" or _is_loopback(name)) and _is_loopback(format_addr(g.visitor)) and not _by_tls()


def is_safe() -> bool:
    """Tell whether nobody on the way reads what the browser sends, as far as we can know."""
    return is_local() or _is_https()


def _visit() -> tuple[Visit | None, str]:
    """Return who comes, and the secret that his forms are bound to."""
    site, door, now = here(), SignIn(here()), here().clock()
    secret = cookie(COOKIE)
    visit = door.sessions.find(secret, now)
    name = _named_by_proxy()
    if visit and visit.session.by_proxy and visit.name != name:
        door.sessions.end(secret, now)
        visit = None
    if visit is None and name:
        user = door.users.get(name)
        if user is None:
            _tell("no such user, says the proxy")
        else:
            visit = door.sessions.begin(name, user, now, by_proxy=True)
            secret, g.is_fresh = visit.secret, True
            site.log.emit("LOGIN", ok=True, user=name, src=g.visitor, by="proxy")
    if not secret:
        secret, g.is_fresh = site.token(), True
    return visit, secret


def _named_by_proxy() -> str:
    """Return whom a trusted proxy vouches for, "" for nobody."""
    site = here()
    field = site.settings.admin.proxy_header
    return request.headers.get(field, "") if field and _is_by_proxy() else ""


def _check_meant() -> None:
    """Refuse what a page of somebody else's may have made the browser send."""
    url_host = here().settings.web.url.partition("://")[2].partition("/")[0]
    hosts = [host for host in (request.host, url_host) if host]
    if not csrf.is_same_site(request.headers.get("Sec-Fetch-Site"), request.headers.get("Origin"), hosts):
        _tell("from another site")
        raise Forbidden("This came from a page of another site.")
    if getattr(g, "is_fresh", False) or not csrf.is_token(g.secret, request.form.get("token", "")):
        _tell("wrong form token")
        raise Forbidden(
            "The form was of another login, or your browser keeps no cookies from here. Go back, load it again."
        )


def _check_right(least: Role | None) -> Response | None:
    """Refuse who may not; send who is nobody yet to the login."""
    if least is None:
        return None
    visit: Visit | None = g.visit
    if visit is None:
        if request.method in SAFE and not wants_json():
            path = request.full_path.rstrip("?")
            return make_response(redirect(url_for("admin.login", next=path if len(path) < 500 else None), 303))
        raise Unauthorized("Log in first.")
    if visit.rank < least:
        _tell("not his to do")
        raise Forbidden(f"Only who is {least.name.lower()} may do this.")
    return None


def _tell(why: str) -> None:
    visit: Visit | None = getattr(g, "visit", None)
    here().log.emit("LOGIN", ok=False, user=visit.name if visit else None, src=g.visitor, path=request.path, why=why)


def _cookie(name: str) -> str:
    return name if is_local() else f"__Host-{name}"


def _is_https() -> bool:
    return here().settings.web.url.startswith("https:") or request.scheme == "https" or _by_tls()


def _by_tls() -> bool:
    """Tell whether a trusted proxy says that it was asked over TLS."""
    told = request.headers.get("X-Forwarded-Proto", "").rpartition(",")[2].strip().lower()
    return request.scheme == "https" or (told == "https" and _is_by_proxy())


def _is_by_proxy() -> bool:
    try:
        peer = parse_addr(request.remote_addr or "")
    except AddrError:
        peer = None
    return is_trusted(peer, here().settings.web.proxies)


def _is_loopback(text: str) -> bool:
    try:
        return any(covers(net, parse_addr(text)) for net in LOOPBACK)
    except AddrError:
        return False
