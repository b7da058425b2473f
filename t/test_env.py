"""The environment: transactions, one gate for all, healing after deaths inside, and errors that say what to do."""

import os
import signal
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import pytest

from spamcannibal.errors import ConfigError, Replaced, StoreError, Unavailable
from spamcannibal.store.env import Env
from spamcannibal.store.gate import FILE_NAME, Gate


@pytest.fixture
def env(tmp_path):
    with Env(tmp_path / "store", cache_bytes=1 << 20) as opened:
        yield opened


@pytest.fixture
def shared_path():
    """A new directory that other users reach, which tmp_path is not."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o711)
        yield Path(name) / "store"


def put(env, key, value=b"v", durable=True):
    env.run(lambda txn: env.db("archive").put(key, value, txn), durable)


def get(env, key):
    return env.read(lambda: env.db("archive").get(key))


@pytest.fixture
def group_path(shared_path):
    """The directory of a store that a group may read."""
    shared_path.mkdir()
    os.chown(shared_path, 0, 4242)
    shared_path.chmod(0o2770)
    return shared_path


def become_one_of_the_group():
    os.setgroups([])
    os.setgid(4242)
    os.setuid(4243)


def in_child(act):
    """Run act in a forked child; give how it ended (0, or minus the signal)."""
    pid = os.fork()
    if pid == 0:
        try:
            act()
            os._exit(0)
        finally:
            os._exit(1)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def die_inside(env, key):
    def act(txn):
        env.db("archive").put(key, b"half done", txn)
        os.kill(os.getpid(), signal.SIGKILL)

    return in_child(lambda: env.run(act))


def test_what_is_committed_is_read_again_after_reopening(tmp_path):
    for durable in (True, False):
        with Env(tmp_path / "store") as env:
            put(env, b"k%d" % durable, durable=durable)
    with Env(tmp_path / "store") as env:
        assert (get(env, b"k0"), get(env, b"k1")) == (b"v", b"v")


def test_an_exception_inside_run_undoes_everything(env):
    def fail(txn):
        env.db("archive").put(b"k", b"v", txn)
        env.db("tarpit").put(b"k", b"v", txn)
        raise ValueError("no")

    with pytest.raises(ValueError):
        env.run(fail)
    assert get(env, b"k") is None
    put(env, b"after")
    assert get(env, b"after") == b"v"


def test_a_process_killed_inside_hangs_nobody_and_leaves_nothing_half_done(env):
    put(env, b"before")
    assert die_inside(env, b"dead") == -signal.SIGKILL
    assert (get(env, b"before"), get(env, b"dead")) == (b"v", None)
    put(env, b"after")
    assert get(env, b"after") == b"v"


def test_a_process_killed_while_reading_is_healed_too(env):
    put(env, b"before")
    assert in_child(lambda: env.read(lambda: os.kill(os.getpid(), signal.SIGKILL))) == -signal.SIGKILL
    assert get(env, b"before") == b"v"


def test_the_survivors_of_a_recovery_by_another_process_open_again_by_themselves(env):
    put(env, b"before")
    generation = env.read(lambda: None) or env._current_shared().gate.generation
    die_inside(env, b"dead")
    assert in_child(lambda: put(env, b"by the recoverer")) == 0
    assert get(env, b"by the recoverer") == b"v"
    assert env._current_shared().generation == generation + 1


def test_a_process_killed_outside_causes_no_recovery(env):
    put(env, b"before")
    generation = env._current_shared().generation

    def act():
        put(env, b"child")
        os.kill(os.getpid(), signal.SIGKILL)

    assert in_child(act) == -signal.SIGKILL
    assert get(env, b"child") == b"v"
    assert env._current_shared().generation == generation


def test_death_during_recovery_itself_is_recovered_from(env, monkeypatch):
    from spamcannibal.store import handles

    put(env, b"before")
    die_inside(env, b"dead")

    def act():
        monkeypatch.setattr(handles.Handles, "_settle_regions", lambda self: os.kill(os.getpid(), signal.SIGKILL))
        get(env, b"before")

    assert in_child(act) == -signal.SIGKILL
    assert get(env, b"before") == b"v"


def test_a_recovery_that_fails_is_still_due(env, monkeypatch):
    from spamcannibal.store import handles

    put(env, b"before")
    die_inside(env, b"dead")
    with monkeypatch.context() as patch:
        patch.setattr(handles, "_need_space", lambda *_: (_ for _ in ()).throw(StoreError("full")))
        for _ in range(2):
            with pytest.raises(StoreError, match="full"):
                get(env, b"before")
    generation = env._current_shared().generation
    assert get(env, b"before") == b"v"
    assert env._current_shared().generation > generation


def test_who_cannot_open_does_not_disturb_those_who_could(env, monkeypatch):
    from spamcannibal.store import handles

    put(env, b"before")
    generation = env._current_shared().generation

    def newcomer():
        monkeypatch.setattr(handles, "FORMAT", b"9")
        with pytest.raises(ConfigError, match="want 9"):
            get(env, b"before")

    assert in_child(newcomer) == 0
    assert get(env, b"before") == b"v"
    assert env._current_shared().generation == generation


def test_threads_that_open_at_once_share_one_gate(tmp_path):
    opened = []
    threads = [threading.Thread(target=lambda: opened.append(Env(tmp_path / "store"))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({id(env._shared) for env in opened}) == 1
    for env in opened:
        env.close()


def test_a_forked_child_opens_for_itself_and_harms_not_the_parent(env):
    put(env, b"parent")
    assert in_child(lambda: put(env, b"child", get(env, b"parent"))) == 0
    assert get(env, b"child") == b"v"


def test_those_who_close_leave_no_opening_behind(env):
    put(env, b"k")

    def come_and_go():
        put(env, b"k2")
        env.close()

    for _ in range(5):
        assert in_child(come_and_go) == 0
    assert env._current_shared().gate.openings == 1


def test_threads_share_one_env(env):
    def work(number):
        for i in range(50):
            put(env, b"%d-%d" % (number, i), durable=False)
            assert get(env, b"%d-%d" % (number, i)) == b"v"

    threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(get(env, b"%d-%d" % (n, i)) == b"v" for n in range(4) for i in range(50))


def test_two_env_of_one_path_share_handles_and_the_last_one_closes(tmp_path, env):
    other = Env(tmp_path / "store")
    put(env, b"k")
    assert get(other, b"k") == b"v"
    other.close()
    other.close()
    assert get(env, b"k") == b"v"
    with pytest.raises(StoreError, match="closed"):
        get(other, b"k")


def test_a_call_within_a_call_is_refused_rather_than_waiting_for_itself(env):
    for fn in (lambda: env.run(lambda txn: None), lambda: put(env, b"k")):
        with pytest.raises(StoreError, match="within a call"):
            env.read(fn)
    with pytest.raises(StoreError, match="within a call"):
        env.run(lambda txn: env.read(lambda: None))
    put(env, b"k")


def test_looks_within_a_look_are_of_one_moment_and_nobody_else_gets_in(tmp_path, env):
    put(env, b"k", b"1")
    other, results = Env(tmp_path / "store"), []
    writer = threading.Thread(target=lambda: put(other, b"k", b"2"))

    def look():
        results.append(get(env, b"k"))
        if len(results) == 1:
            writer.start()
            writer.join(0.05)
        results.append(get(env, b"k"))

    env.read(look)
    writer.join()
    assert results == [b"1", b"1"]
    assert get(env, b"k") == b"2"
    other.close()


def test_a_handle_asked_for_outside_is_refused(env):
    with pytest.raises(StoreError, match="outside"):
        env.db("archive")


def test_who_waits_too_long_is_told_who_is_inside(tmp_path, env):
    inside, release = os.pipe(), os.pipe()
    pid = os.fork()
    if pid == 0:
        env.read(lambda: (os.write(inside[1], b"x"), os.read(release[0], 1)))
        os._exit(0)
    os.read(inside[0], 1)
    impatient = Gate(tmp_path / "store", wait_s=0.0)
    try:
        with pytest.raises(Unavailable, match=f"process {pid} is using it"):
            impatient.enter()
    finally:
        os.write(release[1], b"x")
        os.waitpid(pid, 0)


@pytest.mark.parametrize("readonly", [False, True], ids=["writer", "reader"])
def test_who_has_a_store_open_notices_that_it_is_gone_or_another_one(tmp_path, readonly):
    path, away = tmp_path / "store", tmp_path / "away"
    with Env(path) as writer:
        put(writer, b"k", b"old")
        with Env(path, readonly=readonly) as env:
            path.rename(away)
            with pytest.raises(Unavailable, match="is gone") as caught:
                get(env, b"k")
            assert not isinstance(caught.value, Replaced)
            away.rename(path)
            assert get(env, b"k") == b"old"
            path.rename(away)
            with Env(path) as other:
                put(other, b"k", b"new")
                with pytest.raises(Replaced, match="start anew"):
                    get(env, b"k")
                assert get(other, b"k") == b"new"


def test_read_only_reads_but_neither_writes_nor_recovers(tmp_path, env):
    put(env, b"k")

    def reader():
        env.close()
        with Env(tmp_path / "store", readonly=True) as other:
            assert get(other, b"k") == b"v"
            with pytest.raises(StoreError, match="read-only"):
                put(other, b"k2")

    assert in_child(reader) == 0
    die_inside(env, b"dead")

    def after_death():
        env.close()
        with pytest.raises(Unavailable, match="start a writer"):
            Env(tmp_path / "store", readonly=True)

    assert in_child(after_death) == 0
    generation = env._current_shared().generation
    assert get(env, b"k") == b"v"
    assert env._current_shared().generation == generation + 1


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become another user")
def test_a_user_of_the_group_reads_with_data_files_it_may_not_write(group_path):
    path = group_path
    with Env(path) as env:
        put(env, b"k")

        def reader():
            env.close()
            become_one_of_the_group()
            with pytest.raises(PermissionError):
                (path / "tarpit").open("r+b")
            with Env(path, readonly=True) as other:
                assert get(other, b"k") == b"v"

        assert in_child(reader) == 0
        put(env, b"k2")


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become another user")
def test_a_user_who_may_not_write_does_not_try_to_recover(group_path):
    path = group_path
    with Env(path) as env:
        put(env, b"k")
        die_inside(env, b"dead")
        generation = env._current_shared().gate.generation

        def other():
            env.close()
            become_one_of_the_group()
            with pytest.raises(StoreError, match="only its owner may write"):
                Env(path)
            with pytest.raises(Unavailable, match="start a writer"):
                Env(path, readonly=True)

        assert in_child(other) == 0
        assert env._current_shared().gate.generation == generation
        assert get(env, b"k") == b"v"


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to act as another user")
def test_root_leaves_no_file_that_the_owner_cannot_use(shared_path):
    path = shared_path
    path.mkdir(mode=0o750)
    os.chown(path, 4243, 4242)
    with Env(path) as env:
        for i in range(20):
            put(env, b"big%d" % i, os.urandom(1 << 20), durable=False)
        env.checkpoint()
        assert {(file.stat().st_uid, file.stat().st_gid) for file in path.iterdir()} == {(4243, 4242)}
        assert (path / FILE_NAME).stat().st_mode & 0o777 == 0o660
        (path.parent / "roots").touch()
        assert (path.parent / "roots").stat().st_uid == 0


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to be one that may less")
def test_root_of_a_unit_that_may_not_look_into_all_directories_still_acts_as_the_owner(shared_path):
    shared_path.mkdir(mode=0o750)
    os.chown(shared_path, 4243, 4242)
    program = "import sys; from spamcannibal.store.env import Env; Env(sys.argv[1]).close()"
    lesser = ("setpriv", "--bounding-set=-dac_override,-dac_read_search", sys.executable, "-c", program)
    subprocess.run([*lesser, shared_path], check=True)
    assert (shared_path / "tarpit").stat().st_uid == 4243


def test_a_missing_parent_a_file_and_a_foreign_database_are_told_apart(tmp_path):
    with pytest.raises(ConfigError, match="no such directory"):
        Env(tmp_path / "a" / "b")
    (tmp_path / "file").write_text("x")
    with pytest.raises(ConfigError, match="not a directory"):
        Env(tmp_path / "file")
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    (foreign / "tarpit").write_bytes(b"hello" * 2000)
    with pytest.raises(StoreError, match="tarpit"):
        Env(foreign)


def test_a_store_of_another_format_is_refused_by_name(tmp_path):
    with Env(tmp_path / "store") as env:
        env.run(lambda txn: env.db("meta").put(b"format", b"9", txn))
    with pytest.raises(ConfigError, match="got 9, want 2"):
        Env(tmp_path / "store")


def test_the_gate_file_is_writable_for_the_group(tmp_path, env):
    assert (tmp_path / "store" / FILE_NAME).stat().st_mode & 0o777 == 0o660
    assert (tmp_path / "store" / "tarpit").stat().st_mode & 0o777 == 0o640


def test_a_checkpoint_removes_logs_unless_they_are_held(tmp_path, env):
    def logs():
        return len(list((tmp_path / "store").glob("log.*")))

    def fill():
        for i in range(40):
            put(env, b"big%d" % i, os.urandom(1 << 20), durable=False)

    with env.logs_held():
        fill()
        env.checkpoint()
        assert logs() > 2
        assert in_child(env.checkpoint) == 0
        assert logs() > 2
    env.checkpoint()
    assert logs() == 1
