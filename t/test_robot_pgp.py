"""OpenPGP: what counts as signed, with real keys of every state; and gpg's status lines as such, whatever they hold."""

import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import robotkit
from spamcannibal.errors import ConfigError, SpamCannibalError, Unavailable, WireError
from spamcannibal.robot import status
from spamcannibal.robot.pgp import Gpg, Pgp

TEXT = b"Content-Type: text/plain\r\n\r\nan example\r\n"


@pytest.fixture(scope="module")
def people():
    with robotkit.People() as made:
        yield made


@pytest.fixture(scope="module")
def alice(people):
    return people.person("alice")


@pytest.fixture(scope="module")
def robot(people, alice):
    made = people.person("robot").decrypts().knows(alice)
    alice.knows(made)
    return made


@pytest.fixture
def pgp(robot):
    return Pgp(robot.home, Gpg(key=robot.fingerprint))


def armor_of(mail):
    start, end = mail.index(b"-----BEGIN"), mail.rindex(b"-----END")
    return mail[start : mail.index(b"\n", end) + 1]


def refused(pgp, *words):
    with pytest.raises(WireError) as caught:
        pgp.check(*words) if len(words) == 2 else pgp.open(*words)
    return str(caught.value)


def test_a_detached_signature_names_primary_key_time_and_user(pgp, alice):
    signer = pgp.check(TEXT, alice.sign(TEXT))
    assert (signer.fingerprint, signer.user_id) == (alice.fingerprint, "Alice <alice@example.org>")
    assert signer.time_s > 1_700_000_000


def test_a_subkey_signs_for_its_primary_key(people, pgp, robot):
    carol = people.person("carol")
    carol.gpg("--passphrase", "", "--quick-add-key", carol.fingerprint, "ed25519", "sign", "never")
    robot.knows(carol)
    armor = carol.sign(TEXT)
    by_subkey = robot.gpg("--status-fd", "1", "--verify", "-", str(written(carol, TEXT)), data=armor)
    assert b"VALIDSIG " + carol.fingerprint.encode() not in by_subkey
    assert pgp.check(TEXT, armor).fingerprint == carol.fingerprint


def written(person, data):
    path = person.home / "data"
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("is_signed", [True, False], ids=["signed", "unsigned"])
def test_what_is_encrypted_to_us_opens_and_tells_who_signed_inside(pgp, alice, robot, is_signed):
    opened = pgp.open(armor_of(alice.encrypted(TEXT, robot, is_signed)))
    assert opened.content == TEXT
    assert (opened.signer and opened.signer.fingerprint) == (alice.fingerprint if is_signed else None)


def test_a_clearsigned_text_is_what_was_signed_and_nothing_around_it(pgp, alice):
    mail = b"before\n" + armor_of(alice.clearsigned(b"- dash\nFrom here\n")) + b"after\n"
    opened = pgp.open(armor_of(mail))
    assert opened.content == b"- dash\nFrom here\n"
    assert opened.signer.fingerprint == alice.fingerprint


def test_a_changed_text_does_not_count(pgp, alice):
    assert "does not fit" in refused(pgp, TEXT.replace(b"an", b"no"), alice.sign(TEXT))
    assert "does not fit" in refused(pgp, armor_of(alice.clearsigned(b"one\n")).replace(b"one", b"two"))


def test_an_unknown_key_does_not_count(people, pgp):
    stranger = people.person("stranger")
    assert "unknown here" in refused(pgp, TEXT, stranger.sign(TEXT))
    assert "unknown here" in refused(pgp, armor_of(stranger.clearsigned(TEXT)))


def test_an_expired_key_does_not_count(people, pgp, robot):
    old = people.person("old", robotkit.PAST)
    robot.gpg("--import", data=old.public())
    assert "key that signed has expired" in refused(pgp, TEXT, old.sign(TEXT))


def test_an_expired_signature_does_not_count(pgp, alice):
    words = ("--ignore-time-conflict", "--default-sig-expire", "1d", "--armor", "--detach-sign")
    armor = alice.gpg(*robotkit.PAST, *words, data=TEXT)
    assert "OpenPGP" in refused(pgp, TEXT, armor)


def test_a_revoked_key_does_not_count(people, pgp, robot):
    revoked = people.person("revoked")
    armor = revoked.sign(TEXT)
    robot.knows(revoked)
    assert pgp.check(TEXT, armor).fingerprint == revoked.fingerprint
    revoked.revoke()
    robot.knows(revoked)
    assert "was revoked" in refused(pgp, TEXT, armor)


def test_two_signatures_are_one_too_many_though_both_are_good(people, pgp, alice, robot):
    dave = people.person("dave")
    robot.knows(dave)
    both = [person.gpg("--detach-sign", data=TEXT) for person in (alice, dave)]
    assert "several signatures" in refused(pgp, TEXT, b"".join(both))


def test_a_sha1_signature_does_not_count(pgp, alice):
    armor = alice.gpg("--digest-algo", "SHA1", "--allow-weak-digest-algos", "--armor", "--detach-sign", data=TEXT)
    refused(pgp, TEXT, armor)


def test_data_that_is_cut_short_or_none_does_not_count(pgp, alice, robot):
    armor = alice.sign(TEXT)
    for cut in (b"", b"hello\n", armor[: len(armor) // 2], armor.replace(b"\n", b"", 4), b"\0" * 100):
        refused(pgp, TEXT, cut)
    whole = armor_of(alice.encrypted(TEXT, robot))
    for cut in (b"", b"hello\n", whole[: len(whole) // 2], whole[:40] + whole[60:], b"\xff" * 100):
        refused(pgp, cut)


def test_a_whole_signed_message_is_no_detached_signature(pgp, alice):
    refused(pgp, TEXT, alice.gpg("--armor", "--sign", data=TEXT))


def test_a_second_text_in_one_message_is_refused(pgp, alice):
    first, second = (alice.gpg("--sign", "--compress-algo", "none", data=text) for text in (b"one\n", b"two\n"))
    refused(pgp, first + second)


def test_encrypted_to_somebody_else_is_the_message_s_fault(people, pgp, alice):
    other = people.person("other").decrypts()
    alice.knows(other)
    assert "can't decrypt" in refused(pgp, armor_of(alice.encrypted(TEXT, other)))


def test_without_a_key_of_our_own_encrypted_mail_is_refused(robot, alice):
    assert "has no key" in refused(Pgp(alice.home, Gpg()), armor_of(alice.encrypted(TEXT, robot)))


def test_what_unpacks_to_more_than_the_limit_is_refused(robot, alice):
    bomb = armor_of(alice.encrypted(bytes(5_000_000), robot))
    assert len(bomb) < 20_000
    assert "too long" in refused(Pgp(robot.home, Gpg(key=robot.fingerprint, limit_bytes=100_000)), bomb)


def test_what_we_sign_others_can_check(pgp, alice, robot):
    armor, micalg = pgp.sign(TEXT)
    assert micalg == "pgp-sha256"
    told = alice.gpg("--status-fd", "1", "--verify", "-", str(written(alice, TEXT)), data=armor)
    assert b"VALIDSIG " + robot.fingerprint.encode() in told


def test_a_passphrase_opens_the_key_and_a_wrong_one_is_no_fault_of_the_message(people, alice):
    home = people.path / "locked"
    home.mkdir(mode=0o700)
    (home / "gpg-agent.conf").write_text("s2k-count 65536\n")  # as quick to try as it is weak
    own = Pgp(home, Gpg(passphrase=b"open sesame"))
    fingerprint = own.new_key("Locked <locked@example.org>")
    own.import_keys(alice.public())
    alice.gpg("--import", data=own.export(fingerprint))
    made = alice.gpg("--recipient", fingerprint, "--sign", "--armor", "--encrypt", data=TEXT)
    robotkit.stop_agent(home)  # it remembers the passphrase
    for passphrase in (b"", b"wrong"):
        closed = Pgp(home, Gpg(key=fingerprint, passphrase=passphrase))
        for act in (lambda closed=closed: closed.open(made), lambda closed=closed: closed.sign(TEXT)):
            with pytest.raises(Unavailable):
                act()
    again = Pgp(home, Gpg(key=fingerprint, passphrase=b"open sesame"))
    assert again.open(made).content == TEXT
    assert again.sign(TEXT)[0].startswith(b"-----BEGIN PGP SIGNATURE")


def test_an_agent_that_does_not_start_is_no_fault_of_the_message(people, alice):
    home = people.path / "agentless"
    home.mkdir(mode=0o700)
    fingerprint = Pgp(home, Gpg()).new_key("Agentless <agentless@example.org>")
    own = Pgp(home, Gpg(key=fingerprint))
    own.import_keys(alice.public())
    alice.gpg("--import", data=own.export(fingerprint))
    made = alice.gpg("--recipient", fingerprint, "--sign", "--armor", "--encrypt", data=TEXT)
    assert own.open(made).content == TEXT
    robotkit.stop_agent(home)
    (home / "gpg.conf").write_text("agent-program /nonexistent\n")
    for act in (lambda: own.open(made), lambda: own.sign(TEXT)):
        with pytest.raises(Unavailable):
            act()
    assert own.check(TEXT, alice.sign(TEXT)).fingerprint == alice.fingerprint


def test_gpg_missing_or_stuck_is_unavailable(robot, people):
    with pytest.raises(Unavailable, match=r"robot\.gpg"):
        Pgp(robot.home, Gpg(program="/nonexistent/gpg"))
    stuck = people.path / "stuck"
    stuck.write_text('#!/bin/sh\ncase "$*" in *--list-config*) exec gpg "$@";; esac\nexec sleep 1000\n')
    stuck.chmod(0o700)
    with pytest.raises(Unavailable, match=r"no answer within 0.2 s"):
        Pgp(robot.home, Gpg(program=str(stuck), wait_s=0.2)).check(TEXT, b"x")


def test_a_key_directory_that_is_not_there_is_a_matter_of_settings(tmp_path):
    with pytest.raises(ConfigError, match="robot key new"):
        Pgp(tmp_path / "none", Gpg())


def test_keys_come_and_go(people, alice):
    home = people.path / "keys"
    home.mkdir(mode=0o700)
    own = Pgp(home, Gpg())
    assert own.all_keys() == []
    fingerprint = own.new_key("Own <own@example.org>")
    assert own.import_keys(alice.public()) == [alice.fingerprint]
    assert {key.fingerprint: (key.is_own, key.state, key.user_ids) for key in own.all_keys()} == {
        fingerprint: (True, "", ("Own <own@example.org>",)),
        alice.fingerprint: (False, "", ("Alice <alice@example.org>",)),
    }
    with pytest.raises(WireError, match="no OpenPGP key"):
        own.import_keys(b"nothing")
    own.remove_key(alice.fingerprint, is_own=False)
    own.remove_key(fingerprint, is_own=True)
    assert own.all_keys() == []


def test_threads_share_one_gpg(pgp, alice):
    armor, found = alice.sign(TEXT), []
    threads = [threading.Thread(target=lambda: found.append(pgp.check(TEXT, armor).fingerprint)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [alice.fingerprint] * 4


def test_no_run_leaves_a_descriptor_or_a_file_behind(pgp, alice, robot):
    armor = alice.sign(TEXT)
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(3):
        pgp.check(TEXT, armor)
    assert len(list(Path("/proc/self/fd").iterdir())) == before
    assert not list(robot.home.glob("signature-*"))


GOOD = [
    b"[GNUPG:] NEWSIG",
    b"[GNUPG:] GOODSIG 386ECFD96415EFAA Alice <alice@example.org>",
    b"[GNUPG:] VALIDSIG " + b"A" * 40 + b" 2026-11-24 1795527949 0 4 0 22 8 00 " + b"B" * 40,
]


def test_the_primary_key_is_the_last_field_of_validsig():
    assert status.signer(GOOD, 0) == status.Signer("B" * 40, 1_795_527_949, "Alice <alice@example.org>")


@pytest.mark.parametrize(
    "lines",
    [
        GOOD[:2],
        GOOD[1:],
        [GOOD[0], GOOD[2]],
        [*GOOD, GOOD[0]],
        [*GOOD, *GOOD],
        [*GOOD, GOOD[2]],
        [*GOOD, b"[GNUPG:] ERROR proc_pkt.plaintext 89_BAD_DATA"],
        [*GOOD, b"[GNUPG:] UNEXPECTED 0"],
        [*GOOD, b"[GNUPG:] DECRYPTION_FAILED"],
        [*GOOD, b"[GNUPG:] PLAINTEXT 62 0 ", b"[GNUPG:] PLAINTEXT 62 0 "],
        [b"[GNUPG:] NEWSIG", b"[GNUPG:] EXPKEYSIG 386ECFD96415EFAA Alice", GOOD[2]],
        [b"[GNUPG:] NEWSIG", b"[GNUPG:] REVKEYSIG 386ECFD96415EFAA Alice", GOOD[2]],
        [b"[GNUPG:] NEWSIG", b"[GNUPG:] EXPSIG 386ECFD96415EFAA Alice", GOOD[2]],
        [GOOD[0], GOOD[1], b"[GNUPG:] VALIDSIG " + b"A" * 40 + b" 2026-11-24 1795527949"],
        [GOOD[0], GOOD[1], b"[GNUPG:] VALIDSIG " + b"A" * 40 + b" x x 0 4 0 22 8 00 " + b"B" * 40],
        [line.replace(b"[GNUPG:] ", b"gpg: ") for line in GOOD],
    ],
)
def test_anything_but_one_good_signature_is_refused(lines):
    with pytest.raises(WireError):
        status.signer(lines, 0)


def test_an_exit_code_or_a_text_beside_a_detached_signature_is_refused():
    with pytest.raises(WireError):
        status.signer(GOOD, 2)
    with pytest.raises(WireError):
        status.signer([*GOOD, b"[GNUPG:] PLAINTEXT 62 0 "], 0, is_detached=True)


WORDS = st.sampled_from([line.removeprefix(status.PREFIX) for line in GOOD])


LINES = st.sampled_from(GOOD) | st.builds(lambda word: status.PREFIX + word, st.binary() | WORDS)


@given(st.lists(LINES), st.integers(0, 2))
def test_any_status_lines_give_a_signer_or_a_refusal(lines, code):
    try:
        found = status.signer(lines, code)
    except WireError:
        return
    except SpamCannibalError as error:
        raise AssertionError from error
    assert found is None or (code == 0 and GOOD[1] in lines and GOOD[2] in lines)
