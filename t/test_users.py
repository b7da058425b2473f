"""Users, passwords, one-time passwords, sessions and locks: who gets in, who has to wait, and when it ends."""

import contextlib
import json
import threading

import pyotp
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from adminkit import PASSWORD, cheap_hashes, events, users
from spamcannibal.addr import parse_addr
from spamcannibal.commands import main
from spamcannibal.errors import SpamCannibalError
from spamcannibal.web import csrf, lockout, passwords, totp
from spamcannibal.web.lockout import Lock
from spamcannibal.web.sessions import Visit
from spamcannibal.web.signin import Refused, SignIn, Try, net_of
from spamcannibal.web.users import is_name
from webkit import NOW, make_site

HOME, AWAY = parse_addr("192.0.2.7"), parse_addr("203.0.113.9")
SECRET = pyotp.random_base32()


@pytest.fixture(autouse=True, scope="module")
def hashes():
    with cheap_hashes():
        yield


@pytest.fixture
def site(tmp_path):
    with make_site(tmp_path / "store") as site:
        users(site).add("alice", "owner", PASSWORD, NOW)
        yield site


def attempt(site, password=PASSWORD, name="alice", code="", browser="", visitor=HOME):
    return SignIn(site).sign_in(Try(name, password, code, browser, visitor))


# Names and passwords.


@pytest.mark.parametrize("name", ["a", "alice", "a.b_c-9", "x" * 32])
def test_a_plain_name_is_one(name):
    assert is_name(name)


@pytest.mark.parametrize(
    "name",
    [
        "",
        "Alice",
        "9a",
        "-a",
        "a" * 33,
        "a b",
        "a\n",
        "\u0430lice",
        "\uff41",
        "a\0",
        ".*",
        "a/b",
        "a:b",
        "\xdf",
        "\u2170",
    ],
)
def test_a_name_that_could_be_taken_for_another_is_none(site, name):
    assert not is_name(name)
    assert users(site).get(name) is None
    with pytest.raises(SpamCannibalError):
        users(site).add(name, "viewer", PASSWORD, NOW)


@pytest.mark.parametrize("password", ["", "short", "x" * 11, "a" * 20, "alicealicealice", "é" * 600 + "abc"])
def test_a_password_that_is_too_weak_or_too_long_is_refused(password):
    with pytest.raises(SpamCannibalError):
        passwords.check(password, "alice")


@given(st.text(max_size=40), st.text(max_size=40))
def test_only_the_password_itself_matches(right, wrong):
    known = passwords.hashed(right)
    assert passwords.matches(known, right)
    assert passwords.matches(known, wrong) is (right == wrong)
    assert not passwords.matches(None, right)


def test_a_password_does_not_end_at_a_zero_byte_nor_at_any_length():
    known = passwords.hashed("secret\0one")
    assert not passwords.matches(known, "secret\0two")
    assert not passwords.matches(known, "secret")
    known = passwords.hashed("x" * passwords.LIMIT_BYTES)
    assert not passwords.matches(known, "x" * (passwords.LIMIT_BYTES + 1))
    assert not passwords.matches("no hash at all", "x")


def test_a_hash_of_other_costs_is_made_anew_at_login(site, monkeypatch):
    before = users(site).get("alice").password
    monkeypatch.setattr(passwords, "COSTS", {"time_cost": 2, "memory_cost": 8, "parallelism": 1})
    assert isinstance(attempt(site), Visit)
    after = users(site).get("alice").password
    assert "t=1" in before
    assert "t=2" in after
    assert passwords.matches(after, PASSWORD)


def test_the_last_owner_stays(site):
    with pytest.raises(SpamCannibalError, match="only owner"):
        users(site).remove("alice")
    with pytest.raises(SpamCannibalError, match="only owner"):
        users(site).set_role("alice", "editor")
    users(site).set_role("alice", "owner")
    users(site).add("bob", "owner", PASSWORD, NOW)
    users(site).remove("alice")
    for name in ("alice", "Bob"):
        with pytest.raises(SpamCannibalError, match="there is no"):
            users(site).remove(name)


@pytest.mark.parametrize(
    "take", [lambda users, name: users.set_role(name, "editor"), lambda users, name: users.remove(name)]
)
def test_of_two_owners_who_take_each_other_down_one_stays(site, take):
    users(site).add("bob", "owner", PASSWORD, NOW)
    start = threading.Barrier(2)

    def takes(name):
        start.wait(30)
        with contextlib.suppress(SpamCannibalError):
            take(users(site), name)

    threads = [threading.Thread(target=takes, args=(name,)) for name in ("alice", "bob")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [user.role for _, user in users(site).all()].count("owner") == 1


# One-time passwords.


@given(st.integers(1000, 2**31), st.integers(-3, 3))
def test_a_code_counts_in_its_step_and_beside_and_once(now, away):
    code = pyotp.TOTP(SECRET).at(now + away * totp.STEP_S)
    step = totp.step_of(SECRET, code, -1, now)
    assert (step is not None) is (abs(away) <= totp.BESIDE or _collides(code, now))
    if step is not None:
        assert totp.step_of(SECRET, code, step, now) in (None, step + 1, step + 2)  # steps may share a code


def _collides(code, now):
    return code in {pyotp.TOTP(SECRET).at(now + step * totp.STEP_S) for step in (-1, 0, 1)}


@pytest.mark.parametrize("code", ["", "12345", "1234567", "abcdef", "١٢٣٤٥٦", "12 345\n6", "0" * 100_000])
def test_what_is_no_code_is_refused(code):
    assert totp.step_of(SECRET, code, 0, NOW) is None


def test_a_code_can_not_be_used_twice_not_even_at_once(site):
    users(site).set_secret("alice", SECRET)
    code = pyotp.TOTP(SECRET).at(NOW)
    found = []
    threads = [threading.Thread(target=lambda: found.append(attempt(site, code=code))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(isinstance(each, Visit) for each in found) == 1
    assert isinstance(attempt(site, code=code), Refused)
    site.clock.now += 90
    assert isinstance(attempt(site), Refused)
    # From another place: whether this one must wait now depends on which of the threads came first.
    assert isinstance(attempt(site, code=pyotp.TOTP(SECRET).at(NOW + 90), visitor=AWAY), Visit)


def test_the_picture_of_a_secret_has_no_style_of_its_own():
    picture = totp.picture(totp.uri(SECRET, "alice", "A & <b>"))
    assert picture.startswith("<svg")
    assert "style" not in picture
    assert "<script" not in picture


# Sessions.


def sessions(site):
    return SignIn(site).sessions


def test_a_session_ends_by_idleness_and_by_age(site):
    visit = attempt(site)
    for _ in range(24):
        site.clock.now += 1700
        assert sessions(site).find(visit.secret, site.clock())
    site.clock.now += 1801
    assert sessions(site).find(visit.secret, site.clock()) is None
    visit = attempt(site)
    start = site.clock.now
    while site.clock.now + 1700 < start + site.settings.admin.session_s:
        site.clock.now += 1700
        assert sessions(site).find(visit.secret, site.clock())
    site.clock.now += 1700
    assert sessions(site).find(visit.secret, site.clock()) is None


@pytest.mark.parametrize(
    "change",
    [
        lambda users: users.set_password("alice", PASSWORD + "!"),
        lambda users: users.set_role("alice", "editor"),
        lambda users: users.set_secret("alice", SECRET),
        lambda users: users.remove("alice"),
        lambda users: (users.remove("alice"), users.add("alice", "owner", PASSWORD, NOW)),
    ],
    ids=["password", "role", "code", "removed", "made anew"],
)
def test_all_sessions_of_a_user_end_with_what_he_was(site, change):
    users(site).add("bob", "owner", PASSWORD, NOW)
    mine, other = attempt(site), attempt(site, name="bob")
    change(users(site))
    assert sessions(site).find(mine.secret, NOW) is None
    assert sessions(site).find(other.secret, NOW)


def test_a_session_is_found_by_its_secret_alone(site):
    visit = attempt(site)
    rows = site.store.env.read(lambda: site.store.env.db("cabinet").items())
    assert not any(visit.secret.encode() in key + data for key, data in rows)
    assert not any(PASSWORD.encode() in data for _, data in rows)
    for wrong in ("", visit.secret[:-1], visit.secret + "x", "x" * 10_000, "\ud800"):
        assert sessions(site).find(wrong, NOW) is None
    sessions(site).end(visit.secret, NOW)
    assert sessions(site).find(visit.secret, NOW) is None


# Tokens of forms.


@given(st.text(), st.text())
def test_a_token_belongs_to_one_secret(mine, other):
    assert csrf.is_token(mine, csrf.token(mine)) is bool(mine)
    assert not csrf.is_token(mine, other)
    if other.encode("utf-8", "replace") != mine.encode("utf-8", "replace"):
        assert not csrf.is_token(mine, csrf.token(other))


@pytest.mark.parametrize(
    ("fetch_site", "origin", "is_ours"),
    [
        ("same-origin", None, True),
        ("same-origin", "null", True),
        ("cross-site", "https://bl.example", False),
        ("same-site", "https://bl.example", False),
        ("none", None, False),
        ("", None, False),
        (None, None, True),
        (None, "https://bl.example", True),
        (None, "https://BL.example", True),
        (None, "http://127.0.0.1:8025", True),
        (None, "null", False),
        (None, "https://bl.example.evil.example", False),
        (None, "https://evil.example/bl.example", False),
        (None, "bl.example", False),
        (None, "file://bl.example", False),
    ],
)
def test_a_browser_tells_where_a_request_comes_from(fetch_site, origin, is_ours):
    assert csrf.is_same_site(fetch_site, origin, ("bl.example", "127.0.0.1:8025")) is is_ours


# Locks.

LOCK = Lock(tries=5, first_s=30, max_s=3600)


@given(st.lists(st.floats(0, 4000), min_size=1, max_size=60))
def test_failures_wait_ever_longer_and_never_too_long(steps):
    count, now, waits = None, 1e9, []
    for step in steps:
        now += step
        if lockout.wait_s(count, now):
            continue
        count = lockout.failed(count, LOCK, now)
        waits.append(lockout.wait_s(count, now))
    assert waits[: LOCK.tries - 1] == [0] * len(waits[: LOCK.tries - 1])
    assert waits == sorted(waits)
    assert all(wait <= LOCK.max_s + 1e-6 for wait in waits)
    assert lockout.wait_s(count, now + LOCK.max_s) == 0


@given(st.lists(st.floats(0, 60), max_size=100), st.integers(1, 20))
def test_all_together_pass_the_gate_at_its_rate(steps, per_minute):
    gate, now, passed = None, 0.0, 0
    for step in steps:
        now += step
        made = lockout.passed(gate, per_minute, now)
        passed += made is not None
        gate = made or gate
    assert passed <= per_minute + now * per_minute / 60 + 1e-6


def test_many_guesses_at_once_get_no_further_than_one_after_the_other(site):
    found = []
    threads = [threading.Thread(target=lambda: found.append(attempt(site, "wrong" * 4))) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(each.wait_s == 0 for each in found) == 5
    assert attempt(site).wait_s > 0, "the right password waits, too"


def test_who_guesses_does_not_lock_the_user_out(site):
    known = attempt(site, browser="kept by the browser")
    assert isinstance(known, Visit)
    for _ in range(50):
        attempt(site, "wrong" * 4, visitor=AWAY)
        attempt(site, "wrong" * 4, visitor=HOME)
    assert isinstance(attempt(site, visitor=HOME), Refused)
    assert isinstance(attempt(site, visitor=HOME, browser="kept by the browser"), Visit)
    site.clock.now += 3600
    assert isinstance(attempt(site, visitor=HOME), Visit)


def test_guesses_from_everywhere_are_slowed_down_together(site):
    for number in range(31):
        last = attempt(site, "wrong" * 4, visitor=bytes((10, number, 0, 1)))
    assert last.wait_s == 2
    assert attempt(site, visitor=HOME).wait_s == 2
    site.clock.now += 2
    assert isinstance(attempt(site, visitor=HOME), Visit)


def test_a_name_that_nobody_has_is_answered_and_counted_like_a_wrong_password(site):
    for name in ("nobody", "ALICE", "\0", "x" * 1000, ".*"):
        assert attempt(site, name=name) == attempt(site, "wrong" * 4, visitor=AWAY)
    for _ in range(5):
        assert not attempt(site, name="nobody at all").wait_s
    assert attempt(site, name="nobody at all").wait_s
    assert not attempt(site, name="another").wait_s, "a wait would tell that the name has no user"
    assert isinstance(attempt(site), Visit)


def test_refusals_are_told_without_what_was_typed(site):
    attempt(site, "wrong" * 4)
    attempt(site, "wrong" * 4, name="my-password-by-mistake")
    assert events(site, "LOGIN") == [
        "LOGIN ok=false user=alice src=192.0.2.7 why=wrong",
        "LOGIN ok=false user=unknown src=192.0.2.7 why=wrong",
    ]
    rows = site.store.env.read(lambda: site.store.env.db("cabinet").items())
    assert not any(b"mistake" in key + data for key, data in rows)


def test_a_network_is_what_failures_are_counted_for():
    assert net_of(parse_addr("192.0.2.7")) == "192.0.2.0/24"
    assert net_of(parse_addr("2001:db8:1:2::3")) == "2001:db8:1::/48"


# The command.


@pytest.fixture
def run(tmp_path):
    (tmp_path / "never-list").write_text("")
    (tmp_path / "sc.toml").write_text(f'[store]\npath = "{tmp_path}"\ncache_bytes = "1MiB"\n')

    def call(*words, stdin=PASSWORD + "\n"):
        return CliRunner().invoke(main.cli, ["-c", str(tmp_path / "sc.toml"), "user", *words], input=stdin)

    return call


def test_users_are_made_shown_changed_and_removed(run):
    assert run("add", "alice", "--role", "owner", "--password-file", "-").exit_code == 0
    assert run("add", "bob", "--password-file", "-").exit_code == 0
    assert run("role", "bob", "editor").exit_code == 0
    made = json.loads(run("totp", "bob", "--json").stdout)[0]
    assert made["secret"] in made["uri"]
    rows = json.loads(run("list", "--json").stdout)
    assert [(row["user"], row["role"], row["code"]) for row in rows] == [
        ("alice", "owner", "no"),
        ("bob", "editor", "yes"),
    ]
    assert PASSWORD not in run("list", "--json").stdout
    assert run("totp", "bob", "--off").exit_code == 0
    assert run("password", "bob", "--password-file", "-", stdin="another good one\n").exit_code == 0
    assert run("unlock", "bob").exit_code == 0
    assert run("remove", "bob").exit_code == 0
    assert [row["user"] for row in json.loads(run("list", "--json").stdout)] == ["alice"]


@pytest.mark.parametrize(
    ("words", "stdin", "says"),
    [
        (("add", "Alice", "--password-file", "-"), PASSWORD, "want 1 to 32"),
        (("add", "bob", "--password-file", "-"), "short\n", "too short"),
        (("add", "bob", "--password-file", "-"), "\udcff" * 20, "UTF-8"),
        (("add", "bob"), "", "no terminal"),
        (("remove", "bob"), "", "no user bob"),
        (("role", "bob", "king"), "", "king"),
        (("unlock", "b\x1b"), "", "no such user"),
    ],
)
def test_mistakes_are_told(run, words, stdin, says):
    result = run(*words, stdin=stdin.encode("utf-8", "surrogateescape"))
    assert result.exit_code != 0
    assert says in str(result.exception) + result.stderr


def test_a_dry_run_changes_nothing(run):
    assert "made" in run("add", "alice", "--role", "owner", "--password-file", "-", "--dry-run").stdout
    assert json.loads(run("list", "--json").stdout) == []
    run("add", "alice", "--role", "owner", "--password-file", "-")
    for words in (("remove", "alice"), ("role", "alice", "viewer"), ("totp", "alice"), ("unlock", "alice")):
        assert run(*words, "--dry-run").exit_code == 0
    assert json.loads(run("list", "--json").stdout)[0]["role"] == "owner"
