"""The API against its own description, by schemathesis: whatever a client sends, the answer is a described one."""

import re

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.specs.openapi.checks import negative_data_rejection, positive_data_acceptance

from apikit import api_site
from spamcannibal.addr import format_key, make_key, mask
from spamcannibal.web.api_routes import ROUTES

EXAMPLES = 15
# What is of the right form may still make no sense: a time to come that is over, a cursor that nobody gave. And what
# was to be wrong may have become right by the token, or be left out on its way. test_api.py has both.
NOT_ASKED = [negative_data_rejection, positive_data_acceptance]

prefixes = st.one_of(
    st.tuples(st.binary(min_size=4, max_size=4), st.integers(0, 32)),
    st.tuples(st.binary(min_size=16, max_size=16), st.integers(0, 128)),
).map(lambda pair: format_key(make_key(mask(*pair), pair[1])))
codes = (
    st.tuples(*[st.integers(0, 255)] * 3)
    .filter(lambda rest: rest > (0, 0, 1))
    .map(lambda rest: ".".join(map(str, (127, *rest))))
)
schemathesis.openapi.format("prefix", prefixes)
schemathesis.openapi.format("answer-code", codes)


@pytest.fixture(scope="module")
def described(tmp_path_factory):
    """The API's description as it is served, and the header fields of who may do everything."""
    path = tmp_path_factory.mktemp("schema")
    (path / "never-list").write_text("198.51.100.0/24\n")
    sections = {
        "api": {"per_minute": 100_000_000, "stream_s": 1.0, "removals_per_hour": 100_000},
        "web": {"per_minute": 100_000_000},
        "guard": {"never_list": str(path / "never-list")},
    }
    with api_site(path / "store", **sections) as (_, program):
        schema = schemathesis.openapi.from_wsgi("/api/v1/openapi.json", program.web.application)
        yield schema, {"Authorization": f"Bearer {program.secret}"}


@pytest.mark.parametrize("mode", list(GenerationMode), ids=lambda mode: mode.value)
@pytest.mark.parametrize("route", ROUTES, ids=lambda route: route.name)
def test_every_answer_is_as_described(described, route, mode):
    schema, fields = described
    operation = schema[re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", route.path)][route.method]

    @given(operation.as_strategy(generation_mode=mode))
    @settings(
        max_examples=EXAMPLES, derandomize=True, deadline=None, database=None, suppress_health_check=list(HealthCheck)
    )
    def check(case):
        case.call_and_validate(headers=fields, excluded_checks=NOT_ASKED)

    check()
