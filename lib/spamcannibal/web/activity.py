"""The activity report: a page, and each of its tables as CSV, JSON and, where there is one, a drawing.

What makes it is imported by the first who asks for it: a look-up by a CGI server has no use for it.
"""

from typing import TYPE_CHECKING

from flask import Blueprint, Response, render_template, request
from werkzeug.exceptions import BadRequest, Forbidden, NotFound

from spamcannibal.web.app import here

if TYPE_CHECKING:
    from spamcannibal.web.activity_made import Made

CHOICES = (1, 3, 7, 30, 90, 365, 1825)
USUAL = 7

blueprint = Blueprint("activity", __name__)


@blueprint.before_request
def _admit() -> None:
    if not here().settings.activity.public:
        raise Forbidden("The activity report is not public here.")


@blueprint.get("/activity")
def index() -> str:
    days = _days()
    return render_template("activity.html", days=days, choices=CHOICES, body=_report(days).body)


@blueprint.get("/activity.json")
def whole() -> Response:
    from spamcannibal.web.activity_made import document

    return document(_report(_days()))


@blueprint.get("/activity/<name>.<form>")
def part(name: str, form: str) -> Response:
    from spamcannibal.web import activity_made

    section = _report(_days()).sections.get(name)
    answer = activity_made.part(section, form) if section else None
    if answer is None:
        raise NotFound(f"There is no such part of the report: {name}.{form}")
    return answer


def _days() -> int:
    text = request.args.get("days", str(USUAL))
    if text not in map(str, CHOICES):
        raise BadRequest(f"days: got {text[:20]}, want one of {', '.join(map(str, CHOICES))}")
    return int(text)


def _report(days: int) -> "Made":
    from spamcannibal.web.activity_made import report

    return report(here(), days)
