"""The activity report: a page, and each of its tables as CSV, JSON and, where there is one, a drawing.

What a report is made of changes once a minute, or with the list; until then it is kept, for some spans of time.
"""

import threading
from dataclasses import dataclass, replace

from cachetools import LRUCache
from flask import Blueprint, Response, current_app, jsonify, render_template, request, url_for
from markupsafe import Markup
from werkzeug.exceptions import BadRequest, Forbidden, NotFound

from spamcannibal.activity.chart import draw
from spamcannibal.activity.report import sections
from spamcannibal.activity.tables import Section, as_csv, as_rows
from spamcannibal.happenings import State, brief, gather, state, words
from spamcannibal.rows import when
from spamcannibal.web.app import here
from spamcannibal.web.site import Site

CHOICES = (1, 3, 7, 30, 90, 365, 1825)
USUAL = 7
LEAST_S = 10.0  # so long one is good whatever happens: a list that changes each second does not make it anew each time

blueprint = Blueprint("activity", __name__)


@dataclass(frozen=True)
class Made:
    """A report as it was made, with its page's body."""

    state: State
    time_s: float
    sections: dict[str, Section]
    body: Markup


class Cache:
    """The reports of a site; who comes while one is being made waits for it."""

    def __init__(self) -> None:
        self._made: LRUCache[int, Made] = LRUCache(len(CHOICES))
        self._lock = threading.Lock()

    def get(self, site: Site, days: int) -> Made:
        """Return the report of so many days."""
        with self._lock:
            made, now = self._made.get(days), site.clock()
            if made is not None and 0 <= now - made.time_s < LEAST_S:
                return made
            at = state(site.settings, site.store)
            is_good = made is not None and made.state == at and 0 <= now - made.time_s < 60
            if made is None or not is_good:
                self._made[days] = made = _make(site, days, now)
            return made


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
    made = _report(_days())
    found = {name: as_rows(section.table, when) for name, section in made.sections.items()}
    return jsonify({"time": when(int(made.time_s * 1000)), **found})


@blueprint.get("/activity/<name>.<form>")
def part(name: str, form: str) -> Response:
    section = _report(_days()).sections.get(name)
    if section is None or form not in ("csv", "json", "svg") or (form == "svg" and not section.draw):
        raise NotFound(f"There is no such part of the report: {name}.{form}")
    if form == "json":
        return jsonify(as_rows(section.table, when))
    if form == "svg":
        return Response(draw(section, brief), content_type="image/svg+xml; charset=utf-8")
    answer = Response(as_csv(section.table, when), content_type="text/csv; charset=utf-8")
    answer.headers["Content-Disposition"] = f'attachment; filename="activity-{section.name}.csv"'
    return answer


def public_source(source: str) -> str:
    """Return what everybody may know of who changed the list: the kind, and of other people's lists which."""
    return source if source.startswith("blcheck:") else source.partition(":")[0]


def _days() -> int:
    text = request.args.get("days", str(USUAL))
    if text not in map(str, CHOICES):
        raise BadRequest(f"days: got {text[:20]}, want one of {', '.join(map(str, CHOICES))}")
    return int(text)


def _report(days: int) -> Made:
    cache: Cache = current_app.extensions.setdefault("activity", Cache())
    return cache.get(here(), days)


def _make(site: Site, days: int, now: float) -> Made:
    facts = replace(gather(site.settings, site.store, days, now), source=public_source)
    found = sections(facts)
    body = render_template(
        "activity_body.html",
        **words(facts, found),
        drawn=lambda section: Markup(draw(section, brief)),
        link=lambda name, form: url_for("activity.part", name=name, form=form, days=days),
    )
    at = state(site.settings, site.store)
    return Made(at, now, {section.name: section for section in found}, Markup(body))
