"""Reports of activity as they were made for the page, and its parts as files.

What a report is made of changes once a minute, or with the list; until then it is kept, for some spans of time.
"""

import threading
from dataclasses import dataclass, replace

from cachetools import LRUCache
from flask import Response, current_app, jsonify, render_template, url_for
from markupsafe import Markup

from spamcannibal.activity.chart import NARROW, WIDE, draw
from spamcannibal.activity.report import sections
from spamcannibal.activity.tables import Section, as_csv, as_rows
from spamcannibal.happenings import State, brief, gather, state, words
from spamcannibal.rows import when
from spamcannibal.web.site import Site

KEPT = 7  # reports, of different spans
LEAST_S = 10.0  # so long one is good whatever happens: a list that changes each second does not make it anew each time
MOST_S = 60.0  # some of it is of the moment


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
        self._made: LRUCache[int, Made] = LRUCache(KEPT)
        self._lock = threading.Lock()

    def get(self, site: Site, days: int) -> Made:
        """Return the report of so many days."""
        with self._lock:
            now = site.clock()
            made = self._made.get(days)
            if made is None or not _is_good(made, site, now):
                self._made[days] = made = _make(site, days, now)
            return made


def report(site: Site, days: int) -> Made:
    """Return the report of so many days, made anew if it must be."""
    cache: Cache = current_app.extensions.setdefault("activity", Cache())
    return cache.get(site, days)


def document(made: Made) -> Response:
    """Return a whole report as JSON."""
    found = {name: as_rows(section.table, when) for name, section in made.sections.items()}
    return jsonify({"time": when(int(made.time_s * 1000)), **found})


def part(section: Section, form: str) -> Response | None:
    """Return a section as JSON, CSV or a drawing; None if it has no such form."""
    if form == "json":
        return jsonify(as_rows(section.table, when))
    if form == "svg" and section.draw:
        return Response(draw(section, brief), content_type="image/svg+xml; charset=utf-8")
    if form != "csv":
        return None
    answer = Response(as_csv(section.table, when), content_type="text/csv; charset=utf-8")
    answer.headers["Content-Disposition"] = f'attachment; filename="activity-{section.name}.csv"'
    return answer


def public_source(source: str) -> str:
    """Return what everybody may know of who changed the list: the kind, and of other people's lists which."""
    return source if source.startswith("blcheck:") else source.partition(":")[0]


def _is_good(made: Made, site: Site, now: float) -> bool:
    age_s = now - made.time_s
    if not 0 <= age_s < MOST_S:
        return False
    return age_s < LEAST_S or made.state == state(site.settings, site.store)


def _make(site: Site, days: int, now: float) -> Made:
    facts = replace(gather(site.settings, site.store, days, now), source=public_source)
    found = sections(facts)
    body = render_template(
        "activity_body.html",
        **words(facts, found),
        drawn=lambda section, size: Markup(draw(section, brief, size)),
        sizes={"wide": WIDE, "narrow": NARROW},
        link=lambda name, form: url_for("activity.part", name=name, form=form, days=days),
    )
    at = state(site.settings, site.store)
    return Made(at, now, {section.name: section for section in found}, Markup(body))
