"""The journal: what changed, by whom and why, newest first, so far back at a time; what is marked can be undone."""

from typing import Any

from flask import Blueprint, Response, make_response, render_template, request

from spamcannibal.errors import AddrError, StoreError
from spamcannibal.moments import FORM, parse_moment
from spamcannibal.record import Action
from spamcannibal.rows import change_row
from spamcannibal.store.search import WantedChange, search_changes, time_of
from spamcannibal.web.app import here
from spamcannibal.web.spelling import read_choice, read_key, read_number

PAGE = 100
BUDGET = 20_000  # changes that one page looks at
FIELDS = ("within", "text", "source", "action", "since")
ACTIONS = tuple(action.name.lower() for action in Action)

blueprint = Blueprint("journal", __name__)


@blueprint.get("/journal")
def show() -> Response:
    """Show changes."""
    asked = {name: request.args.get(name, "").strip() for name in FIELDS}
    try:
        wanted, before = _wanted(asked), read_number("before", request.args.get("before", ""))
    except (AddrError, StoreError) as error:
        return _page(asked, why=str(error), status=400)
    found = search_changes(here().store, wanted, before, PAGE, BUDGET)
    rows = [{"key": change.key, **change_row(change)} for change in found.rows]
    further = {**{name: text for name, text in asked.items() if text}, "before": found.before} if found.before else None
    return _page(asked, rows=rows, looked=found.looked, further=further)


def _wanted(asked: dict[str, str]) -> WantedChange:
    word = read_choice("action", asked["action"], ACTIONS)
    action = Action[word.upper()] if word else None
    since = parse_moment(asked["since"], here().clock()) if asked["since"] else 0
    if since is None:
        raise AddrError(f"not a time, want {FORM}")
    within = read_key(asked["within"]) if asked["within"] else None
    return WantedChange(within, asked["text"], asked["source"], action, time_of(here().store, since))


def _page(asked: dict[str, str], status: int = 200, **shown: Any) -> Response:
    found = {"rows": [], "looked": 0, "further": None, "why": "", **shown}
    return make_response(render_template("admin_journal.html", asked=asked, actions=ACTIONS, **found), status)
