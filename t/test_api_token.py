"""`spamcannibal token`: secrets are shown once, a token is what was asked for, and a revoked one is gone."""

import json
from datetime import datetime

import pytest
from click.testing import CliRunner

from spamcannibal.commands.main import cli
from spamcannibal.web.tokens import Tokens, name_in
from storekit import open_store


@pytest.fixture
def told(tmp_path):
    """Run `spamcannibal token ...` on a store of its own; give its JSON, or its result if it fails."""
    (tmp_path / "never-list").touch()
    config = tmp_path / "spamcannibal.toml"
    config.write_text(f'store.path = "{tmp_path}/store"\n[guard]\nnever_list = "never-list"\n')

    def run(*argv, code=0):
        done = CliRunner().invoke(cli, ["-c", str(config), "token", *argv])
        assert done.exit_code == code, done.output
        return json.loads(done.stdout) if "--json" in argv else done

    return run


def test_a_token_is_what_was_asked_for_and_its_secret_works(told, tmp_path):
    (row,) = told("add", "fw1", "--scope", "bouncer", "--from", "192.0.2.0/24", "--expires", "30d", "--json")
    assert (row["scopes"], row["from"], name_in(row["secret"])) == (["bouncer"], ["192.0.2.0/24"], "fw1")
    store = open_store(tmp_path / "store")
    made_s = datetime.fromisoformat(row["made"]).timestamp()
    name, token = Tokens(store.env).find(row["secret"], made_s)
    assert Tokens(store.env).find(row["secret"], made_s + 31 * 86_400) is None
    store.close()
    assert (name, token.scopes, token.nets) == ("fw1", ("bouncer",), ("192.0.2.0/24",))


def test_a_secret_is_shown_once(told):
    made = told("add", "a", "--scope", "read")
    secret = made.stdout.splitlines()[-1]
    assert secret.startswith("sc_a_")
    assert secret not in told("list").output
    assert "secret" not in told("list", "--json")[0]


def test_a_name_is_given_once_at_a_time(told):
    told("add", "a", "--scope", "read")
    assert "already" in str(told("add", "a", "--scope", "write", code=1).exception)
    told("revoke", "a")
    assert told("list", "--json") == []
    told("add", "a", "--scope", "write")


def test_dry_runs_do_nothing(told):
    (row,) = told("add", "a", "--scope", "read", "--dry-run", "--json")
    assert (row["secret"], told("list", "--json")) == (None, [])
    told("add", "a", "--scope", "read")
    assert told("revoke", "a", "--dry-run", "--json") == [{"token": "a", "done": "revoked"}]
    assert len(told("list", "--json")) == 1


@pytest.mark.parametrize(
    "argv",
    [
        ("add", "A", "--scope", "read"),
        ("add", "a_b", "--scope", "read"),
        ("add", "a"),
        ("add", "a", "--scope", "everything"),
        ("add", "a", "--scope", "read", "--from", "192.0.2.1/24"),
        ("add", "a", "--scope", "read", "--expires", "soon"),
    ],
)
def test_what_makes_no_sense_is_refused(told, argv):
    told(*argv, code=2)
    assert told("list", "--json") == []


def test_revoking_what_is_not_there_says_so(told):
    assert "not there" in told("revoke", "nobody", code=1).output
