"""The shipped catalogue of remote lists: every file reads, no list stands twice, no rule takes a refusal."""

import re
from pathlib import Path

import pytest

from spamcannibal.addr import parse_addr
from spamcannibal.remote.lists import decode_lists, is_refusal, parse_codes

ROOT = Path(__file__).parent.parent
FILES = sorted((ROOT / "conf" / "lists.d").glob("*.toml"))


def lists(path):
    problems = []
    found = decode_lists(path.read_text("utf-8"), path.name, problems)
    assert problems == []
    return found


ALL = [(path.stem, one) for path in FILES for one in lists(path)]


def test_the_catalogue_has_the_files_that_the_settings_tell_of():
    assert [path.name for path in FILES] == ["dead.toml", "free.toml", "registered.toml"]
    assert len(ALL) >= 40


def test_no_list_stands_there_twice():
    zones = [one.zone for _, one in ALL]
    assert len(set(zones)) == len(zones)


@pytest.mark.parametrize(("stem", "one"), ALL, ids=[one.zone for _, one in ALL])
def test_a_list_says_where_it_is_told_and_on_which_terms(stem, one):
    assert re.fullmatch(r"https?://[a-z0-9.-]+/\S*", one.url)
    assert bool(one.dead) == (stem == "dead")
    assert bool(one.key_file) <= (stem == "registered")
    assert one.dead or one.terms
    assert not one.dead or re.search(r"\bsince\b.*\b20\d\d\b", one.dead)
    assert one.code == "127.0.0.3" and one.has_test_points and not one.test_listed and not one.test_clear


LIVE = [one for _, one in ALL if not one.dead]


@pytest.mark.parametrize("one", LIVE, ids=[one.zone for one in LIVE])
def test_a_list_takes_no_refusal_and_no_code_twice(one):
    rules = [parse_codes(rule.codes) for rule in one.accept]
    refusals = [parse_addr(f"127.255.255.{last}") for last in range(256)]
    for code in [*refusals, *map(parse_addr, ("127.0.0.0", "127.0.0.1", "127.0.0.255", "127.0.1.255"))]:
        assert is_refusal(code)
        assert not any(rule.takes(code) for rule in rules)
    for number in range(2, 255):
        code = bytes((127, 0, 0, number))
        assert sum(rule.takes(code) for rule in rules) <= 1
    assert all(rule.reason for rule in one.accept)
    assert one.any or any(rule.takes(bytes((127, 0, 0, 2))) for rule in rules) or one.zone == "dnsbl.dronebl.org"
    assert 0 < one.weight <= 1 and all(rule.weight is None or 0 < rule.weight <= 1 for rule in one.accept)


def test_the_line_that_the_free_file_offers_names_lists_of_that_file():
    text = (ROOT / "conf" / "lists.d" / "free.toml").read_text("utf-8")
    offered = re.search(r"^# +lists = \[(.*)\]$", text, re.MULTILINE)[1]
    free = {one.zone for stem, one in ALL if stem == "free"}
    assert set(re.findall('"([^"]+)"', offered)) <= free


def test_what_the_original_asked_and_is_gone_is_known_to_be_dead():
    dead = {one.zone for _, one in ALL if one.dead}
    assert {"dnsbl.sorbs.net", "dnsbl.njabl.org", "list.dsbl.org", "dnsbl.tqmcube.com", "bl.spamcannibal.org"} <= dead
