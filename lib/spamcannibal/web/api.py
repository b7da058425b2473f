"""The API for programs under /api/v1, on HTTP: what api_routes.py lists and openapi.json beside it describes."""

import hashlib
from collections.abc import Callable
from importlib.resources import files
from typing import Any

import msgspec
from flask import Blueprint, Response, current_app, request, url_for
from flask.blueprints import BlueprintSetupState

from spamcannibal.breaker import Caps, is_counted
from spamcannibal.errors import NeverListed
from spamcannibal.record import Action, Change
from spamcannibal.settings import Settings
from spamcannibal.web import api_callers
from spamcannibal.web.api_call import Answer, Call, Route, Tools
from spamcannibal.web.api_conditions import Conditions
from spamcannibal.web.api_decode import decode_body, decode_pairs
from spamcannibal.web.api_fuse import Fuse
from spamcannibal.web.api_problem import PROBLEMS, Problem
from spamcannibal.web.api_routes import ROUTES
from spamcannibal.web.api_stream import Places
from spamcannibal.web.app import here
from spamcannibal.web.tokens import SOURCE

blueprint = Blueprint("api", __name__, url_prefix="/api/v1")
TOOLS = "api_tools"
PROBLEMS_PATH = "/api/v1/problems/"  # not by url_for: a CGI request for /metrics has no other part


def _set_up(state: BlueprintSetupState) -> None:
    """Give the application what operations share."""
    app = state.app
    settings: Settings = app.extensions["site"].settings
    app.extensions[TOOLS] = tools(settings)


def tools(settings: Settings) -> Tools:
    """Return what operations share."""
    guard, api = settings.guard, settings.api
    listed = Caps(0, guard.max_listings_per_hour, guard.max_per_source_per_hour, guard.max_per_net)
    removed = Caps(per_source=api.removals_per_hour)
    return Tools(
        Places(min(api.streams, settings.web.threads - 1)),
        Fuse(listed, "listings", lambda change: change.action is Action.LIST and is_counted(change.source)),
        Fuse(removed, "removals", _is_removal),
    )


def _is_removal(change: Change) -> bool:
    return change.action is Action.UNLIST and change.source.startswith(SOURCE)


def _view(route: Route) -> Callable[..., Response]:
    def view(**path: str) -> Response:
        return _response(route, route.run(_call(route, path)))

    return view


def _call(route: Route, path: dict[str, str]) -> Call:
    """Return the request, decoded, once its caller may do it."""
    caller = api_callers.caller(api_callers.bearer(), *route.scopes)
    keys = decode_pairs(path.items(), route.keys, "path")
    query = decode_pairs(request.args.items(multi=True), route.query, "query")
    body = None
    if route.body is not None:
        if request.mimetype != "application/json":
            raise Problem("unsupported-type", "want Content-Type: application/json")
        body = decode_body(request.get_data(), route.body)
    fields = request.headers
    conditions = Conditions(fields.get("If-Match", ""), fields.get("If-None-Match", ""))
    is_gone = request.environ.get("waitress.client_disconnected", lambda: False)
    last_id = fields.get("Last-Event-ID", "")
    return Call(here(), current_app.extensions[TOOLS], caller, keys, query, body, conditions, last_id, is_gone)


def _response(route: Route, answer: Answer) -> Response:
    if route.media != "application/json":
        response = Response(answer.value, answer.status, dict(answer.headers), content_type=route.media)
        response.headers["Cache-Control"] = "no-cache"
        return response
    data = msgspec.json.encode(answer.value)
    response = Response(data, answer.status, dict(answer.headers), content_type="application/json")
    if answer.status == 201:
        response.headers["Location"] = url_for("api.showListing", key=answer.value.key)
    is_read = request.method in ("GET", "HEAD")
    if answer.etag or is_read:
        response.set_etag(answer.etag or hashlib.sha256(data).hexdigest()[:32])
    if is_read:
        response.headers["Cache-Control"] = "private, no-cache"
        response.make_conditional(request)
    return response


def description() -> Response:
    """Serve the OpenAPI file."""
    api_callers.caller("")
    response = Response(files(__package__).joinpath("openapi.json").read_bytes(), content_type="application/json")
    response.add_etag()
    response.headers["Cache-Control"] = "no-cache"
    response.make_conditional(request)
    return response


def problem_response(problem: Problem) -> Response:
    """Return an error's answer."""
    _, title, _ = PROBLEMS[problem.kind]
    members: dict[str, Any] = {
        "type": f"{request.script_root}{PROBLEMS_PATH}{problem.kind}",
        "title": title,
        "status": problem.status,
        "detail": problem.detail,
        **{name: value for name, value in problem.extra.items() if value is not None},
    }
    kind = "application/problem+json"
    return Response(msgspec.json.encode(members), problem.status, problem.headers, content_type=kind)


def _never(error: NeverListed) -> Response:
    return problem_response(Problem("never-listed", str(error), rule=error.rule))


blueprint.record_once(_set_up)
blueprint.register_error_handler(Problem, problem_response)
blueprint.register_error_handler(NeverListed, _never)
blueprint.add_url_rule("/openapi.json", "description", description)
for _route in ROUTES:
    blueprint.add_url_rule(_route.path, _route.name, _view(_route), methods=[_route.method])
