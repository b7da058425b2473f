"""What stands behind the ? of every page and operation: nonsense is a 400 with a reason, never something else that is
answered instead; and no page takes arguments that are not named here.
"""

import re
from urllib.parse import urlencode

import pytest
from flask import request
from werkzeug.datastructures import ImmutableMultiDict

from adminkit import cheap_hashes, logged_in
from apikit import LISTED, api_site, make_token
from spamcannibal.web.api_routes import ROUTES

ADDRESSES = ("x", "192.0.2", "192.0.2.256", "010.0.0.1", "192.0.2.7/33", "2001:db8:::1", "\0", "<b>", "é")
NUMBERS = ("abc", "-1", "1.5", "+1", "1_0", "\u0661", "9" * 40, "1 2", "0x10")
TIMES = ("yesterday?", "2027-13-01", "2027-01-01T25:00:00Z", "-", "1e3")
ANYTHING = ()  # any text may be looked for, or leads nowhere else
FILTERS = dict.fromkeys(
    ("scope", "scopes", "type", "origins", "scenarios_containing", "scenarios_not_containing"), ANYTHING
)
QUERIES = {
    "home.index": {"lookup": ANYTHING, "query": ANYTHING, "page": ANYTHING},  # the original's: a redirect
    "lookup.ask": {"q": ADDRESSES},
    "removal.form": {"address": (*ADDRESSES, "192.0.2.0/24")},
    "activity.index": {"days": (*NUMBERS, "", "2")},
    "activity.whole": {"days": (*NUMBERS, "", "2")},
    "activity.part": {"days": (*NUMBERS, "", "2")},
    "admin.login": {"next": ANYTHING},  # own_path: only pages of ours are gone to
    "admin.change.add": {"at": ANYTHING, "from": ANYTHING},  # fills a form in, which is judged when it comes
    "admin.change.remove": {"at": ANYTHING},
    "admin.list.find": {"address": (*ADDRESSES, "")},
    "admin.list.search": {
        "within": ADDRESSES, "text": ANYTHING, "source": ANYTHING, "since": TIMES, "until": TIMES,
        "flag": ("x", "PUBLISHED", "1"), "after": ADDRESSES,
    },
    "admin.list.net": {"after": ADDRESSES, "names": ("0", "yes")},
    "admin.journal.show": {
        "within": ADDRESSES, "text": ANYTHING, "source": ANYTHING, "action": ("x", "LIST", "1"), "since": TIMES,
        "before": NUMBERS,
    },
    "metrics.health": {"ready": ANYTHING},
    "bouncer.decisions": {
        "ip": ADDRESSES, "range": ADDRESSES, "value": ADDRESSES, "contains": ("x", "2", "yes"), **FILTERS,
    },
    "bouncer.stream": {"startup": ("x", "2", "yes"), **FILTERS},
}  # fmt: skip
OPERATIONS = {
    "prefix": ADDRESSES, "source": ("x" * 201,), "text": ("x" * 201,), "flag": ("x", "", "Published"),
    "since": (*TIMES, "", "2027", "1800000000", "2027-01-01T00:00:00"), "until": (*TIMES, "2027", "1800000000.5"),
    "limit": (*NUMBERS, "0", "1001"), "cursor": ("x", "=", "AAAA", "x" * 101), "after": (*NUMBERS, ""),
    "wait": ("abc", "-1", "61", "nan", "inf"), "dry_run": ("x", "2", "yes"), "reason": ("é", "\0", "x" * 5000),
}  # fmt: skip
PARTS = {
    "text": LISTED,
    "name": "hours",
    "form": "csv",
    "address": LISTED,
    "key": LISTED,
    "seq": "1",
    "kind": "breaker",
}


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    rates = {"per_minute": 1_000_000}
    with (
        cheap_hashes(),
        api_site(tmp_path_factory.mktemp("queries") / "store", api=rates, web=rates) as (site, program),
    ):
        site.program, site.owner, site.key = program, logged_in(site, "owner"), make_token(site, "fw", "bouncer")
        yield site


def path_of(site, endpoint):
    rule = next(rule for rule in site.owner.web.application.url_map.iter_rules() if rule.endpoint == endpoint)
    return re.sub(r"<(?:\w+:)?(\w+)>", lambda match: PARTS[match[1]], rule.rule)


@pytest.mark.parametrize(
    ("endpoint", "name"), [(endpoint, name) for endpoint, names in QUERIES.items() for name in names if names[name]]
)
def test_nonsense_is_refused_with_a_reason(site, endpoint, name):
    path = path_of(site, endpoint)
    if endpoint == "admin.list.net":
        path = path.replace(LISTED, "2001:db8::/48")  # of which there is more than one page
    for text in QUERIES[endpoint][name]:
        query = {name: text, **({"range": LISTED} if name == "contains" else {})}
        answer = site.owner.get(path, query_string=query, headers={"X-Api-Key": site.key})
        assert answer.status_code == 400, (path, name, text)
        if answer.mimetype == "text/html":
            assert re.search(r'class="(error|wrong|why)[^"]*"[^>]*>\s*\S|<p>\s*\S', answer.text), (path, name, text)
        else:
            assert len(answer.text) > 20, (path, name, text)


@pytest.mark.parametrize(
    "route", [route for route in ROUTES if route.query.__struct_fields__], ids=lambda one: one.name
)
def test_operations_refuse_nonsense_and_name_the_field(site, route):
    path = re.sub(r"<(?:\w+:)?(\w+)>", lambda match: PARTS[match[1]], route.path)
    body = {"numbers": [1]} if route.name == "undo" else {"body": "x"} if route.name == "addEvidence" else {}
    for name in route.query.__struct_fields__:
        for text in OPERATIONS[name]:
            query = urlencode({name: text})
            answer = site.program.ask(route.method, f"{path}?{query}", body if route.body else None)
            told = (answer.status_code, answer.json.get("field"))
            assert told == (400, name), (path, name, text, answer.text[:500])
        twice = site.program.ask(route.method, f"{path}?{name}=1&{name}=1", body if route.body else None)
        assert twice.status_code == 400
    assert site.program.ask(route.method, f"{path}?nothing=1", body if route.body else None).status_code == 400


def test_no_page_reads_an_argument_that_is_not_tried_here(site, monkeypatch):
    """Every page is asked with arguments that tell who looks at them."""
    read = {}

    class Told(ImmutableMultiDict):
        def note(self, name):
            if request.args is self:  # and no form
                read.setdefault(request.endpoint, set()).add(name)

        def __contains__(self, name):
            self.note(name)
            return super().__contains__(name)

        def __getitem__(self, name):
            self.note(name)
            return super().__getitem__(name)

        def getlist(self, name, *more):
            self.note(name)
            return super().getlist(name, *more)

    application = site.owner.web.application
    monkeypatch.setattr(application.request_class, "parameter_storage_class", Told, raising=False)
    for rule in application.url_map.iter_rules():
        if "GET" in rule.methods and not rule.endpoint.startswith("api."):
            path = re.sub(r"<(?:\w+:)?(\w+)>", lambda match: PARTS.get(match[1], "x"), rule.rule)
            site.owner.get(path, query_string={"zzz": "1"}, headers={"X-Api-Key": site.key})
    assert {name for names in read.values() for name in names} >= {"q", "days", "before", "startup"}
    found = {(endpoint, name) for endpoint, names in read.items() for name in names}
    assert found <= {(endpoint, name) for endpoint, names in QUERIES.items() for name in names}
