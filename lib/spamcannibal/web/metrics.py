"""/metrics for Prometheus, /healthz for whoever watches over the process.

/metrics is for api.metrics_from and for tokens that may. Every process counts its own requests; all the rest is of the
store, and the same whoever answers. /healthz says that the process answers, /healthz?ready that its database does.
"""

import time

from flask import Blueprint, Flask, Response, current_app, g, request
from flask.blueprints import BlueprintSetupState

from spamcannibal.errors import SpamCannibalError
from spamcannibal.web import api_callers
from spamcannibal.web.api import TOOLS, problem_response
from spamcannibal.web.api_problem import Problem
from spamcannibal.web.app import here
from spamcannibal.web.metrics_words import Requests
from spamcannibal.web.visitor import is_local, is_trusted

blueprint = Blueprint("metrics", __name__)
TEXT = "text/plain; version=0.0.4; charset=utf-8"
REQUESTS, DAYS = "metrics_requests", "metrics_days"


def _set_up(state: BlueprintSetupState) -> None:
    state.app.extensions[REQUESTS] = Requests()


@blueprint.get("/metrics")
def show() -> Response:
    """Give all figures; without the store those of the process."""
    # Imported here: whoever serves one CGI request is seldom asked for them.
    from spamcannibal.web.metrics_facts import Days, Fact, facts
    from spamcannibal.web.metrics_text import exposition

    _check_caller()
    site = here()
    days = current_app.extensions.setdefault(DAYS, Days())
    try:
        found = [*facts(site.store, site.settings, days, site.clock()), Fact("store_up", {}, 1)]
    except SpamCannibalError as error:
        site.log.emit("WEB", path=request.path, why=str(error))
        found = [Fact("store_up", {}, 0)]
    tools = current_app.extensions.get(TOOLS)  # none in a CGI request
    found.append(Fact("web_waiting", {}, tools.places.taken if tools else 0))
    requests = current_app.extensions[REQUESTS]
    return Response(exposition(found, requests, site.settings.api.metrics_dir), content_type=TEXT)


@blueprint.get("/healthz")
def health() -> Response:
    """Say that we are here, and if asked that the store is, too."""
    if "ready" in request.args:
        try:
            here().store.last_seq()
        except SpamCannibalError:
            return Response("the database does not answer\n", 503, {"Retry-After": "10"}, content_type="text/plain")
    return Response("ok\n", content_type="text/plain")


def _check_caller() -> None:
    """Raise Problem unless the caller may read the figures."""
    is_nearby = is_local(request.remote_addr) and "X-Forwarded-For" not in request.headers
    if not is_trusted(None if is_nearby else g.visitor, here().settings.api.metrics_from):
        api_callers.caller(api_callers.bearer(), "metrics", "read")


def _begin() -> None:
    g.began_s = time.perf_counter()


def _note(response: Response) -> Response:
    app: Flask = current_app
    part = request.blueprint or ("static" if request.endpoint == "static" else "none")
    took_s = time.perf_counter() - g.get("began_s", time.perf_counter())
    app.extensions[REQUESTS].note(part, response.status_code, took_s)
    return response


blueprint.record_once(_set_up)
blueprint.before_app_request(_begin)
blueprint.after_app_request(_note)
blueprint.register_error_handler(Problem, problem_response)
