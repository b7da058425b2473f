"""The application: its parts, and what holds for every page: who may come how often, headers, errors.

In: a Site. Out: a WSGI application. Every answer has a strict content policy, nothing of it comes from elsewhere, no
text of an error holds more than its reason, and whatever goes wrong is a page with a status (JSON where JSON is asked).
"""

import math
from collections.abc import Callable, Iterator
from functools import lru_cache
from http import HTTPStatus
from typing import Any, cast

from flask import Blueprint, Flask, Response, current_app, g, jsonify, render_template, request, url_for
from jinja2 import BytecodeCache, FileSystemBytecodeCache
from werkzeug.exceptions import HTTPException, TooManyRequests

from spamcannibal.errors import AddrError, ConfigError, Replaced, SpamCannibalError, StoreError, Unavailable
from spamcannibal.inert import inert, inert_lines
from spamcannibal.rows import when
from spamcannibal.web import visitor
from spamcannibal.web.limits import Limiter
from spamcannibal.web.site import Site
from spamcannibal.web.turn import taking_turns

RETRY_S = 30
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), interest-cohort=()",
    "Cache-Control": "no-store",
    "Strict-Transport-Security": "max-age=31536000",  # the last: only for a site that is there by HTTPS
}
_HEADERS = tuple((name.lower(), name, value) for name, value in HEADERS.items())
# What the navigation of every page shows: end point, word.
NAVIGATION = (
    ("home.index", "Look up"),
    ("removal.form", "Get off the list"),
    ("policy.show", "Policy"),
    ("activity.index", "Activity"),
)
UNLIMITED = ("static", "metrics.health")
OWN_RATES = ("api", "bouncer", "metrics")  # parts that count by token, and by address only without one


def create_app(site: Site, path: str | None = None) -> Flask:
    """Return the application of a site; for the one request of a CGI server, only what its `path` needs."""
    app = Flask(__name__)
    app.extensions["site"] = site
    cast(Any, app).wsgi_app = taking_turns(app.wsgi_app)
    app.config.update(
        MAX_CONTENT_LENGTH=site.settings.web.body_limit_bytes,
        MAX_FORM_MEMORY_SIZE=site.settings.web.body_limit_bytes,
        MAX_FORM_PARTS=1000,
    )
    app.url_map.strict_slashes = False
    app.jinja_env.filters.update(inert=inert, inert_lines=inert_lines, when=when)
    app.jinja_env.trim_blocks = app.jinja_env.lstrip_blocks = True
    if path is not None:
        app.jinja_env.bytecode_cache = _compiled()
    for blueprint in _blueprints(path):
        app.register_blueprint(blueprint)
    limiter = app.extensions["limiter"] = Limiter(site.settings.web.per_minute)
    app.before_request(_admit(site, limiter))
    app.after_request(_harden)
    app.context_processor(lambda: _everywhere(site, request.script_root))
    app.register_error_handler(HTTPException, cast("Callable[[Any], Any]", _refuse))
    app.register_error_handler(SpamCannibalError, cast("Callable[[Any], Any]", _fail))
    app.register_error_handler(Exception, _fault)
    return app


def _compiled() -> BytecodeCache | None:
    """Return where a CGI request finds templates compiled by the one before: a folder that only its user can enter.

    jinja2 makes it, and raises if somebody else could have written there.
    """
    try:
        return FileSystemBytecodeCache()
    except (OSError, RuntimeError):
        return None


def _blueprints(path: str | None) -> Iterator[Blueprint]:
    """Yield the parts, imported here: public pages, which link to each other, and what stands for itself."""
    from spamcannibal.web import activity, home, lookup, policy, removal

    yield from (part.blueprint for part in (home, lookup, removal, policy, activity))
    if path is None or path.startswith("/admin"):
        from spamcannibal.web import admin

        yield admin.blueprint
    if path is None or path.startswith(("/api", "/v1")):
        from spamcannibal.web import api, bouncer

        yield from (api.blueprint, bouncer.blueprint)
    if path is None or path.startswith(("/metrics", "/healthz")):
        from spamcannibal.web import metrics

        yield metrics.blueprint


def here() -> Site:
    """Return the site of the request."""
    return cast(Site, current_app.extensions["site"])


def _everywhere(site: Site, root: str) -> dict[str, Any]:
    """Return what every template has; `root` is where the application is."""

    def link(endpoint: str, **values: Any) -> str:
        """Return what flask.url_for does: a page has a dozen of them, nearly always the same."""
        return _linked(root, endpoint, tuple(values.items()))

    return {"site": site.settings.web, "frame": _frame(root), "url_for": link}


@lru_cache(64)
def _frame(root: str) -> dict[str, Any]:
    """Return the links that every page has."""
    files = {name: _linked(root, "static", (("filename", name),)) for name in ("style.css", "icon.svg", "comfort.js")}
    pages = [(endpoint, _linked(root, endpoint, ()), word) for endpoint, word in NAVIGATION]
    return {"files": files, "home": _linked(root, "home.index", ()), "pages": pages}


@lru_cache(4096)
def _linked(root: str, endpoint: str, values: tuple[tuple[str, Any], ...]) -> str:
    return url_for(endpoint, **dict(values))


def wants_json() -> bool:
    """Tell whether the answer is to be JSON: the API, a path that ends so, or a client that prefers it."""
    if request.path.startswith(("/api/", "/v1/")) or request.path.endswith(".json"):
        return True
    return request.accept_mimetypes.best_match(["text/html", "application/json"]) == "application/json"


def _admit(site: Site, limiter: Limiter) -> Callable[[], None]:
    def admit() -> None:
        forwarded = request.headers.get("X-Forwarded-For", "")
        g.visitor = visitor.visitor(request.remote_addr, forwarded, site.settings.web.proxies)
        if request.endpoint in UNLIMITED or request.blueprint in OWN_RATES:
            return
        wait_s = limiter.wait_s(visitor.neighbourhood(g.visitor), site.clock())
        if wait_s:
            raise TooManyRequests("Too many requests from your address.", retry_after=math.ceil(wait_s))

    return admit


def _harden(response: Response) -> Response:
    headers = response.headers
    had = {name.lower() for name, _ in headers}
    for low, name, value in _HEADERS if here().settings.web.url.startswith("https:") else _HEADERS[:-1]:
        if low not in had:
            headers.add(name, value)
    return response


def _refuse(error: HTTPException) -> Response:
    """Answer what werkzeug or a page raised by itself: redirects pass, the rest gets our page."""
    if error.response is not None or error.code is None or error.code < 400:
        return cast(Response, error.get_response())
    answer = _problem(error.code, error.description or "")
    for name, value in error.get_headers():
        if name.lower() not in ("content-type", "content-length"):
            answer.headers[name] = value
    return answer


def _fail(error: SpamCannibalError) -> Response:
    """Answer an error of ours."""
    site = here()
    if isinstance(error, AddrError):
        return _problem(HTTPStatus.BAD_REQUEST, str(error))
    if isinstance(error, StoreError | Unavailable | ConfigError):
        site.is_over = site.is_over or isinstance(error, Replaced)
        site.log.emit("WEB", path=_path(), status=503, why=str(error))
        what = "This service" if isinstance(error, ConfigError) else "The database"
        answer = _problem(HTTPStatus.SERVICE_UNAVAILABLE, f"{what} is not available now. Please try again later.")
        answer.headers["Retry-After"] = str(RETRY_S)
        return answer
    return _problem(HTTPStatus.BAD_REQUEST, str(error))


def _fault(error: Exception) -> Response:
    """Answer a bug of ours: the one boundary of a request."""
    here().log.emit("WEB", path=_path(), status=500, why=f"a fault: {type(error).__name__}: {error}")
    return _problem(HTTPStatus.INTERNAL_SERVER_ERROR, "Something went wrong here. It was written to the log.")


def _path() -> str:
    """Return the path for the log: of a page of removal its form, as its address is the visitor's secret."""
    return request.url_rule.rule if request.url_rule and request.blueprint == "removal" else request.path


def _problem(status: int, why: str) -> Response:
    """Return an error's answer: a page, problem+json (RFC 9457), or a line of text."""
    title = HTTPStatus(status).phrase
    why = inert(why, 500)
    if wants_json():
        answer = jsonify({"type": "about:blank", "title": title, "status": int(status), "detail": why})
        answer.content_type = "application/problem+json"
    elif request.path.endswith((".txt", ".csv")):
        answer = Response(f"{title}: {why}\n", content_type="text/plain; charset=utf-8")
    else:
        answer = Response(render_template("error.html", status=int(status), title=title, why=why))
    answer.status_code = status
    return answer
