"""The error tree: exit codes that mail servers and scripts act on, and one-line messages."""

import inspect

import pytest

from spamcannibal import errors


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        (errors.SpamCannibalError, 1),
        (errors.NeverListed, 1),
        (errors.WireError, 65),
        (errors.AddrError, 65),
        (errors.Unsupported, 69),
        (errors.StoreError, 74),
        (errors.Unavailable, 75),
        (errors.ConfigError, 78),
    ],
)
def test_exit_codes_are_those_of_sysexits(kind, code):
    assert kind.exit_code == code
    assert issubclass(kind, errors.SpamCannibalError)


def test_every_error_stands_in_the_module_docstring_with_its_code():
    for name, kind in inspect.getmembers(errors, inspect.isclass):
        assert any(line.startswith(f"| {name} | {kind.exit_code} ") for line in (errors.__doc__ or "").splitlines()), (
            name
        )


def test_never_listed_carries_key_and_rule_and_names_both():
    error = errors.NeverListed(b"\x7f\0\0\2", "never-list:3: @special", "127.0.0.2")
    assert (error.key, error.rule) == (b"\x7f\0\0\2", "never-list:3: @special")
    assert str(error) == "127.0.0.2 must never be listed: never-list:3: @special"
    assert "7f000002" in str(errors.NeverListed(b"\x7f\0\0\2", "x"))


def test_a_config_error_of_several_problems_is_one_line_that_counts_them():
    assert str(errors.ConfigError("a")) == "a"
    error = errors.ConfigError("a", "b", "c")
    assert error.problems == ("a", "b", "c")
    assert str(error).startswith("a (and 2 more")
