"""The original's files: every form of their records, from either byte order, and nothing that must not be listed."""

import struct

import pytest
from berkeleydb import db as bdb
from hypothesis import given
from hypothesis import strategies as st

from spamcannibal.addr import parse_addr
from spamcannibal.errors import StoreError, WireError
from spamcannibal.record import HEARSAY_CODE, PROVEN_CODE, PUBLISHED, Cause
from spamcannibal.store.legacy import OldFiles, import_files, parse_contrib, parse_time
from storekit import check_whole, open_store

NOW = 1_700_000_000.0
NOW_MS = 1_700_000_000_000
CODE, REMOTE = bytes((127, 0, 0, 5)), bytes((127, 0, 0, 9))


def contrib(expiry=1_800_000_000, tail=b"bl.example", code=CODE, text=b"go away"):
    return code + b"\0" + text + b"\0" + REMOTE + b"\0" + struct.pack(">I", expiry) + b"\0" + tail


def write(path, rows, lorder=1234):
    """Make a file as the original did: a B-tree with record numbers."""
    handle = bdb.DB()
    handle.set_flags(bdb.DB_RECNUM)
    handle.set_lorder(lorder)
    handle.open(str(path), dbtype=bdb.DB_BTREE, flags=bdb.DB_CREATE)
    for key, data in rows.items():
        handle.put(parse_addr(key) if isinstance(key, str) else key, data)
    handle.close()


@pytest.fixture
def store(tmp_path):
    opened = open_store(tmp_path / "store")
    yield opened
    check_whole(opened)
    opened.close()


def import_from(store, directory, **options):
    files = OldFiles(directory)
    try:
        return import_files(store, files, "import:old", NOW, **options)
    finally:
        files.close()


@pytest.fixture
def old(tmp_path):
    path = tmp_path / "old"
    path.mkdir()
    tarpit = ["0.0.0.0", "127.0.0.2", "1.1.1.1", "2.2.2.2", "3.3.3.3", "4.4.4.4", "5.5.5.5", "198.51.100.4"]
    write(path / "tarpit", {key: struct.pack("=I", 1_600_000_000) for key in tarpit} | {b"odd": b"1234"})
    write(path / "archive", {"6.6.6.6": struct.pack("=Q", 1_600_000_001), "127.0.0.9": struct.pack("=I", 1)})
    write(path / "evidence", {"1.1.1.1": b"Received: from spam\n\nbuy"})
    write(
        path / "blcontrib",
        {
            "1.1.1.1": contrib(),
            "2.2.2.2": contrib(),
            "3.3.3.3": contrib(expiry=1_500_000_000),
            "4.4.4.4": b"\0\0\0",
        },
    )
    return path


def test_everything_comes_over_but_bookkeeping_damage_and_the_never_listed(store, old):
    done = import_from(store, old)
    assert (done.listed, done.archived) == (4, 1)
    assert {key for key, _ in done.left_out} == {"4.4.4.4", "198.51.100.4", b"odd".hex()}
    proven = store.get_key(parse_addr("1.1.1.1"))
    assert (proven.code, proven.flags, proven.contact_ms) == (PROVEN_CODE, PUBLISHED, 1_600_000_000_000)
    assert store.evidence(parse_addr("1.1.1.1"))[0].body == b"Received: from spam\n\nbuy"
    heard = store.contrib(parse_addr("2.2.2.2"))
    assert (heard.code, heard.causes) == (CODE, (Cause("bl.example", REMOTE, parse_addr("2.2.2.2"), "go away"),))
    assert store.get_key(parse_addr("2.2.2.2")).expiry_ms == 1_800_000_000_000
    assert store.get_key(parse_addr("3.3.3.3")).expiry_ms == NOW_MS + 7 * 86_400_000
    assert store.get_key(parse_addr("5.5.5.5")).flags == 0
    assert store.contact(parse_addr("6.6.6.6")).last_ms == 1_600_000_001_000


def test_importing_again_changes_no_listing(store, old):
    import_from(store, old)
    seq = store.last_seq()
    import_from(store, old)
    assert store.last_seq() == seq


def test_a_dry_run_says_the_same_and_writes_nothing(store, old):
    done = import_from(store, old, dry_run=True)
    assert (done.listed, done.archived, len(done.left_out), store.counts()["tarpit"]) == (4, 1, 3, 0)
    assert store.counts()["archive"] == 0


@pytest.mark.parametrize("lorder, order", [(1234, "<"), (4321, ">")])
@pytest.mark.parametrize("form", ["I", "Q"])
def test_times_of_either_byte_order_and_width_are_read(store, tmp_path, lorder, order, form):
    path = tmp_path / "other"
    path.mkdir()
    write(path / "tarpit", {"1.1.1.1": struct.pack(order + form, 1_600_000_000)}, lorder)
    import_from(store, path)
    assert store.get_key(parse_addr("1.1.1.1")).contact_ms == 1_600_000_000_000


@pytest.mark.parametrize(
    "data, want",
    [
        (contrib(), (CODE, "go away", REMOTE, 1_800_000_000_000, "bl.example")),
        (contrib(tail=b"bl.example\0"), (CODE, "go away", REMOTE, 0, "bl.example")),
        (contrib(tail=b"bl.example\0host"), (CODE, "go away", REMOTE, 0, "bl.example")),
        (contrib(expiry=0), (CODE, "go away", REMOTE, 0, "bl.example")),
        (CODE + b"\0text", (CODE, "text", bytes(4), 0, "")),
        (CODE + b"\0text\0", (CODE, "text", bytes(4), 0, "")),
        (contrib(code=PROVEN_CODE, text=b""), (HEARSAY_CODE, "", REMOTE, 1_800_000_000_000, "bl.example")),
        (contrib(code=bytes((10, 1, 1, 1))), (HEARSAY_CODE, "go away", REMOTE, 1_800_000_000_000, "bl.example")),
        (contrib(text=b"caf\xe9"), (CODE, "caf\\xe9", REMOTE, 1_800_000_000_000, "bl.example")),
    ],
    ids=[
        "plain",
        "empty host",
        "host",
        "no expiry",
        "short",
        "short with zero",
        "proven code",
        "foreign code",
        "latin-1",
    ],
)
def test_every_form_of_a_contrib_record_is_read(data, want):
    old = parse_contrib(data)
    assert (old.code, old.text, old.remote_code, old.expiry_ms, old.zone) == want


@given(st.binary(max_size=60))
def test_junk_is_a_contrib_record_or_a_wire_error(data):
    try:
        old = parse_contrib(data)
    except WireError:
        return
    assert HEARSAY_CODE <= old.code < bytes((128, 0, 0, 0))


@pytest.mark.parametrize("size", [0, 3, 5, 9])
def test_a_time_of_another_width_is_a_wire_error(size):
    with pytest.raises(WireError, match="want 4 or 8"):
        parse_time(bytes(size), False)


def test_a_directory_without_databases_and_a_file_that_is_none_are_told_apart(tmp_path):
    with pytest.raises(StoreError, match="none of the files"):
        OldFiles(tmp_path)
    (tmp_path / "tarpit").write_bytes(b"hello" * 3000)
    with pytest.raises(StoreError, match="not a database"):
        OldFiles(tmp_path)
