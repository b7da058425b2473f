"""The API's routes -> its OpenAPI 3.1 description. Pure.

The description is a file beside this module, openapi.json, which is served as it is; a test holds that it is what
`document` makes of the routes, so code and description can't differ. `python -m spamcannibal.web.api_openapi FILE`
writes it.
"""

import re
import sys
from collections.abc import Sequence
from typing import Any

import msgspec

from spamcannibal.web.api_call import Route
from spamcannibal.web.api_problem import PROBLEMS

VERSION = "1.0"
EVENT: dict[str, Any] = {
    "description": "An event; data is a ChangeView as JSON, of a reset the numbers between which changes are gone.",
    "type": "object",
    "properties": {
        "id": {"type": "string"},
        "event": {"enum": ["list", "unlist", "amend", "reset"]},
        "data": {"type": "string"},
    },
}
REF = "#/components/schemas/{name}"
ABOUT = """\
The list of a SpamCannibal site, for programs. Tokens are made by `spamcannibal token add NAME --scope SCOPE`; a request
carries one as `Authorization: Bearer SECRET`, never in its address. Every operation names the scope that it needs;
those without one are for anybody.

Times are RFC 3339 in UTC. An IPv6 address stands for its /64 (or what guard.v6_prefix says): write /128 for one host. A
prefix's slash may stand in a path as it is, or as %2F. Unknown parameters and fields are refused, so that a misspelt
one is no silent no.

Answers carry an entity tag: ask again with If-None-Match, and nothing changed costs a 304. A listing's is the number of
its newest change; with If-Match a write happens only if that still is so. `dry_run=true` says what a write would do.
Errors are RFC 9457 problems. What a token changes stands in the journal as api:NAME.
"""


def document(routes: Sequence[Route]) -> dict[str, Any]:
    """Return the description."""
    kinds = [kind for route in routes for kind in (route.answer, route.body) if kind not in (None, str)]
    _, schemas = msgspec.json.schema_components(kinds, ref_template=REF)
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        paths.setdefault(_path(route.path), {})[route.method.lower()] = _operation(route)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "SpamCannibal",
            "version": VERSION,
            "description": ABOUT,
            "license": {"name": "GPL-2.0-or-later", "identifier": "GPL-2.0-or-later"},
        },
        "servers": [{"url": "/api/v1", "description": "Below the address of the pages."}],
        "paths": paths,
        "components": {
            "schemas": {**schemas, "Problem": _problem_schema()},
            "responses": {kind: _problem(kind) for kind in PROBLEMS},
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
    }


def encode(described: dict[str, Any]) -> bytes:
    """Return the file's bytes."""
    return msgspec.json.format(msgspec.json.encode(described, order="deterministic"), indent=1) + b"\n"


def _path(rule: str) -> str:
    return re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", rule)


def _operation(route: Route) -> dict[str, Any]:
    made: dict[str, Any] = {
        "operationId": route.name,
        "summary": route.about.partition(".")[0] + ".",
        "description": _about(route),
        "parameters": [*_parameters(route.keys, "path"), *_parameters(route.query, "query"), *_fields(route)],
        "responses": _responses(route),
    }
    if route.scopes:
        made["security"] = [{"token": []}]
    if route.body:
        made["requestBody"] = {"required": True, "content": {"application/json": {"schema": _ref(route.body)}}}
    return made


def _about(route: Route) -> str:
    scopes = " or ".join(route.scopes)
    return f"{route.about}\n\n{f'Scope: {scopes}.' if scopes else 'For anybody; a token is looked at if there is one.'}"


def _parameters(kind: type[msgspec.Struct], where: str) -> list[dict[str, Any]]:
    described = msgspec.json.schema(kind)
    body = described["$defs"][kind.__name__]
    return [
        {
            "name": name,
            "in": where,
            "required": where == "path" or name in body.get("required", ()),
            **({"description": schema["description"]} if "description" in schema else {}),
            "schema": _flat({word: value for word, value in schema.items() if word != "description"}),
        }
        for name, schema in body["properties"].items()
    ]


def _flat(schema: dict[str, Any]) -> dict[str, Any]:
    """Return a parameter's schema without null: a query has no way to say it."""
    choices = [each for each in schema.get("anyOf", ()) if each != {"type": "null"}]
    if len(choices) != 1:
        return schema
    return {word: value for word, value in choices[0].items() if word != "description"}


def _fields(route: Route) -> list[dict[str, Any]]:
    """Return the header fields that an operation heeds."""
    named = []
    if route.method == "GET" and route.media == "application/json":
        named = [("If-None-Match", "Answer 304 if the entity tag still is this one.")]
    if route.method in ("PUT", "PATCH", "DELETE"):
        named = [
            ("If-Match", "Do it only if the listing's entity tag is this one."),
            ("If-None-Match", "Do it only if it is not listed: *"),
        ][: 2 if route.method == "PUT" else 1]
    if route.media == "text/event-stream":
        named = [("Last-Event-ID", "Go on past this number.")]
    return [
        {"name": name, "in": "header", "required": False, "description": about, "schema": {"type": "string"}}
        for name, about in named
    ]


def _responses(route: Route) -> dict[str, Any]:
    schema = EVENT if route.answer is str else _ref(route.answer)
    good = {
        "description": "Done." if route.method != "GET" else "What was asked for.",
        "content": {route.media: {"schema": schema}},
    }
    made: dict[str, Any] = {"200": good}
    if route.creates:
        made["201"] = {**good, "description": "It was not listed before."}
    if route.method == "GET" and route.media == "application/json":
        made["304"] = {"description": "The entity tag still is that of If-None-Match."}
    kinds = ["bad-request", *(("unauthorized", "forbidden") if route.scopes else ()), *route.problems]
    kinds += ["unsupported-type"] if route.body else []
    kinds += ["not-found"] if "<" in route.path else []  # a path that is none
    for kind in (*kinds, "too-many", "unavailable"):
        made.setdefault(str(PROBLEMS[kind][0]), {"$ref": f"#/components/responses/{kind}"})
    made.setdefault("401", {"$ref": "#/components/responses/unauthorized"})
    made.setdefault("403", {"$ref": "#/components/responses/forbidden"})
    return dict(sorted(made.items()))


def _problem(kind: str) -> dict[str, Any]:
    _, title, about = PROBLEMS[kind]
    return {
        "description": f"{title}. {about}",
        "content": {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}},
    }


def _problem_schema() -> dict[str, Any]:
    text = {"type": "string"}
    return {
        "title": "Problem",
        "description": "An error (RFC 9457).",
        "type": "object",
        "properties": {
            "type": text,
            "title": text,
            "status": {"type": "integer"},
            "detail": text,
            "field": {**text, "description": "The parameter or field that is wrong."},
            "rule": {**text, "description": "The never-list's line."},
            "key": text,
        },
        "required": ["type", "title", "status", "detail"],
    }


def _ref(kind: type[msgspec.Struct]) -> dict[str, str]:
    return {"$ref": REF.format(name=kind.__name__)}


def main() -> None:
    """Write the file."""
    from pathlib import Path

    from spamcannibal.web.api_routes import ROUTES

    Path(sys.argv[1]).write_bytes(encode(document(ROUTES)))


if __name__ == "__main__":
    main()
