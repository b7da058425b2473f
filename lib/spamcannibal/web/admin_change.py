"""Changes of the list: add, remove, undo. Each is shown first, with what it would do; just that is confirmed."""

from collections.abc import Callable, Sequence
from typing import Any

from flask import Blueprint, Response, g, make_response, render_template, request

from spamcannibal.addr import format_key, parse_key
from spamcannibal.decode import DURATIONS, parse_quantity
from spamcannibal.errors import SpamCannibalError
from spamcannibal.moments import FORM, parse_moment
from spamcannibal.neverfile import renew
from spamcannibal.record import PUBLISHED, Mode
from spamcannibal.store import undo as taking_back
from spamcannibal.store.preview import preview
from spamcannibal.store.stores import BATCH_LIMIT, NewListing, Store
from spamcannibal.store.timeline import seq_at
from spamcannibal.web import drafts
from spamcannibal.web.app import here
from spamcannibal.web.drafts import Draft
from spamcannibal.web.pasted import Pasted, read_pasted

SHOWN = 200  # rows of a preview; the sums are of all
TEXT_LIMIT = 1000
UNDO_SPAN = 200_000  # changes of the journal that a page reads for an undo

blueprint = Blueprint("change", __name__)

Fields = dict[str, str]


class Wrong(SpamCannibalError):
    """A form is not filled in so that it could be done."""


@blueprint.route("/add", methods=["GET", "POST"])
def add() -> Response:
    """Ask what to list and why, then show what that would do."""
    fields = _fields(("text", "evidence", "expires", "mode", "publish"))
    if request.method == "GET" or "from" in request.args:
        return _form("admin_add.html", {**fields, "publish": "1"})
    pasted, why = _pasted(), ""
    try:
        _check_keys(pasted)
        _check_terms(fields)
    except Wrong as error:
        why = str(error)
    if why or pasted.wrong:
        return _form("admin_add.html", fields, pasted, why, 400)
    site = here()
    renew(site.store.guard)
    found = preview(site.store, pasted.keys, site.clock())
    allowed = [effect.key for effect in found.effects if not effect.never]
    draft = (
        _keep(
            "add",
            allowed,
            said={name: fields[name] for name in ("text", "expires", "mode", "publish")},
            body=fields["evidence"],
        )
        if allowed
        else ""
    )
    return _page("admin_add_preview.html", found=found, allowed=len(allowed), draft=draft, fields=fields)


@blueprint.route("/remove", methods=["GET", "POST"])
def remove() -> Response:
    """Ask what to take off and why, then show what that would do."""
    fields = _fields(("reason",))
    if request.method == "GET":
        return _form("admin_remove.html", fields)
    pasted, why = _pasted(), ""
    try:
        _check_keys(pasted)
        _check_reason(fields["reason"])
    except Wrong as error:
        why = str(error)
    if why or pasted.wrong:
        return _form("admin_remove.html", fields, pasted, why, 400)
    site = here()
    found = preview(site.store, pasted.keys, site.clock(), budget=0)
    listed = [effect.key for effect in found.effects if effect.listing]
    draft = _keep("remove", listed, said=fields) if listed else ""
    return _page("admin_remove_preview.html", found=found, listed=len(listed), draft=draft, fields=fields)


@blueprint.post("/undo")
def undo() -> Response:
    """Show what taking changes back would do: those that were marked, or all of a source since a time."""
    fields = _fields(("reason", "source", "since", "until"))
    _check_reason(fields["reason"])
    chosen = _chosen(fields)
    numbers = sorted(number for seqs in chosen.values() for number in seqs)
    outcomes = _outcomes(chosen)
    draft = _keep(
        "undo",
        list(chosen),
        said={"reason": fields["reason"]},
        numbers=numbers,
        outcome=[each.done for each in outcomes],
    )
    return _page("admin_undo_preview.html", outcomes=outcomes[:SHOWN], count=len(outcomes), draft=draft, fields=fields)


@blueprint.post("/confirm")
def confirm() -> Response:
    """Do what was previewed."""
    site = here()
    draft = drafts.take(site, g.visit, tuple(DOERS), request.form.get("draft", ""))
    rows = DOERS[draft.kind](site.store, draft)
    does = f"{draft.kind}"
    changed = [row for row in rows if row["seq"]]
    site.log.emit("ADMIN", user=g.visit.name, src=g.visitor, does=does, keys=len(draft.keys), changed=len(changed))
    return _page("admin_done.html", kind=draft.kind, rows=rows[:SHOWN], count=len(rows), changed=len(changed))


def source() -> str:
    """Name who does this, as the journal has it."""
    return f"admin:{g.visit.name}"


def _add(store: Store, draft: Draft) -> list[dict[str, Any]]:
    now, said = here().clock(), draft.said
    renew(store.guard)
    expires = parse_quantity(said["expires"], DURATIONS) if said["expires"] else None
    keys = [parse_key(text) for text in draft.keys]
    for key in keys:
        store.guard.check(key)
    made = [
        NewListing(
            key,
            text=said["text"],
            source=source(),
            mode=Mode[said["mode"].upper()],
            expiry_ms=int((now + expires) * 1000) if expires else 0,
            evidence=draft.body.encode("utf-8", "replace") if draft.body else None,
            flags=PUBLISHED if said["publish"] else 0,
        )
        for key in keys
    ]
    rows: list[dict[str, Any]] = []
    for part in _parts(made):
        was = store.records("tarpit", [item.key for item in part])
        for item, old, seq in zip(part, was, store.list(part, now), strict=True):
            is_same = old is not None and old.seq == seq
            done = "was so already" if is_same else "changed" if old else "listed"
            rows.append({"key": item.key, "done": done, "seq": 0 if is_same else seq, "why": ""})
    return rows


def _remove(store: Store, draft: Draft) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for part in _parts([parse_key(text) for text in draft.keys]):
        seqs = store.unlist(part, source(), draft.said["reason"], here().clock())
        rows += (
            {"key": key, "done": "removed" if seq else "was not listed any more", "seq": seq, "why": ""}
            for key, seq in zip(part, seqs, strict=True)
        )
    return rows


def _undo(store: Store, draft: Draft) -> list[dict[str, Any]]:
    """Take back, unless what would become of it is something else by now."""
    now = here().clock()
    chosen = taking_back.numbered(store, draft.numbers)
    if [each.done for each in _outcomes(chosen)] != list(draft.outcome):
        raise drafts.Stale("The list was changed meanwhile. Nothing was done: look at it again.")
    steps = (taking_back.plan(store, key, seqs, now) for key, seqs in chosen.items())
    return [each._asdict() for each in taking_back.apply(store, steps, source(), draft.said["reason"], now)]


DOERS: dict[str, Callable[[Store, Draft], list[dict[str, Any]]]] = {"add": _add, "remove": _remove, "undo": _undo}


def _chosen(fields: Fields) -> dict[bytes, list[int]]:
    """Return the changes to take back, by key."""
    store, limit = here().store, here().settings.admin.lines
    marked = request.form.getlist("seq")[: limit + 1]
    if marked:
        wrong = next((text for text in marked if not (text.isascii() and text.isdigit() and len(text) < 20)), None)
        if wrong is not None:
            raise Wrong("A number of the journal was none.")
        chosen = taking_back.numbered(store, map(int, marked))
    elif fields["source"] and fields["since"]:
        first, last = _number(fields["since"]), _number(fields["until"]) if fields["until"] else store.last_seq()
        if last - first > UNDO_SPAN:
            raise Wrong(f"That is more than {UNDO_SPAN} changes: take a shorter time, or `spamcannibal list undo`.")
        chosen = taking_back.select(store, first, last, fields["source"])
    else:
        raise Wrong("Mark the changes to take back, or name a source and since when.")
    if not chosen:
        raise Wrong("There is no such change.")
    if len(chosen) > limit:
        raise Wrong(f"That is more than {limit} listings: take a shorter time, or `spamcannibal list undo`.")
    return {key: sorted(seqs) for key, seqs in sorted(chosen.items())}


def _outcomes(chosen: dict[bytes, list[int]]) -> list[taking_back.Done]:
    site = here()
    renew(site.store.guard)
    now = site.clock()
    ordered = sorted(chosen.items())
    return [taking_back.outcome(site.store, taking_back.plan(site.store, key, seqs, now)) for key, seqs in ordered]


def _number(text: str) -> int:
    """Return the number of the last change up to a moment."""
    store, found = here().store, parse_moment(text, here().clock())
    if found is None:
        raise Wrong(f"That is no time, want {FORM}.")
    return min(-found, store.last_seq()) if found < 0 else seq_at(store, found)


def _fields(names: Sequence[str]) -> Fields:
    return {name: request.form.get(name, "").strip() for name in names}


def _pasted() -> Pasted:
    settings = here().settings
    text = "\n".join(request.form.getlist("lines"))
    return read_pasted(text, settings.guard.v6_prefix, settings.admin.lines)


def _check_keys(pasted: Pasted) -> None:
    if not pasted.keys and not pasted.wrong:
        raise Wrong("Name at least one address or prefix.")


def _check_reason(text: str) -> None:
    if not text:
        raise Wrong("Say why: it is kept in the journal.")
    if len(text) > TEXT_LIMIT:
        raise Wrong(f"The reason is too long: want at most {TEXT_LIMIT} characters.")


def _check_terms(fields: Fields) -> None:
    if not fields["text"]:
        raise Wrong("Say why it is listed: the text is shown to the world.")
    if len(fields["text"]) > TEXT_LIMIT:
        raise Wrong(f"The text is too long: want at most {TEXT_LIMIT} characters.")
    if len(fields["evidence"].encode("utf-8", "replace")) > here().settings.store.evidence_limit_bytes:
        raise Wrong(f"The evidence is too long: want at most {here().settings.store.evidence_limit_bytes} bytes.")
    if fields["expires"] and not parse_quantity(fields["expires"], DURATIONS):
        raise Wrong("The time to stay listed is no duration, want a number with s, m, h, d or w, such as 36h or 30d.")
    if fields["mode"].upper() not in Mode.__members__:
        raise Wrong("There is no such way to refuse.")


def _keep(kind: str, keys: Sequence[bytes], **what: Any) -> str:
    return drafts.keep(here(), g.visit, kind, keys=[format_key(key) for key in keys], **what)


def _parts(items: list[Any]) -> list[list[Any]]:
    return [items[at : at + BATCH_LIMIT] for at in range(0, len(items), BATCH_LIMIT)]


def _form(template: str, fields: Fields, pasted: Pasted | None = None, why: str = "", status: int = 200) -> Response:
    lines = "\n".join(request.form.getlist("lines") or request.args.getlist("at"))
    shown = {"lines": lines, "mistakes": pasted.mistakes if pasted else [], "wrong": pasted.wrong if pasted else 0}
    modes = [mode.name.lower() for mode in Mode]
    page = render_template(template, fields=fields, why=why, modes=modes, limit=here().settings.admin.lines, **shown)
    return make_response(page, status)


def _page(template: str, **shown: Any) -> Response:
    return make_response(render_template(template, shown_limit=SHOWN, **shown))
