"""`config check` looks over keys and certificates of gather, follow and share, and says how to mend them."""

import os
import subprocess
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from click.testing import CliRunner

from spamcannibal.commands import main

GOOD = "the-shared-key-of-mx1\n"
NOBODY = 65534


def certify(path, name):
    """Make a certificate NAME.crt with its key NAME.key, and both in NAME.pem."""
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
         "-subj", f"/CN={name}", "-keyout", path / f"{name}.key", "-out", path / f"{name}.crt"],
        check=True, capture_output=True, timeout=60,
    )  # fmt: skip
    both = (path / f"{name}.key").read_text() + (path / f"{name}.crt").read_text()
    write(path / f"{name}.pem", both)
    (path / f"{name}.key").chmod(0o600)


def write(path, text, mode=0o600):
    path.write_text(text)
    path.chmod(mode)
    return path


@pytest.fixture(scope="module")
def place():
    with TemporaryDirectory(prefix="sc-keys-") as folder:  # pytest's own is closed to other users
        path = Path(folder)
        path.chmod(0o755)
        write(path / "never-list", "@special\n", 0o644)
        for name in ("a", "b"):
            certify(path, name)
        (path / "folder").mkdir()
        write(path / "good", GOOD)
        write(path / "open", GOOD, 0o604)
        write(path / "short", "x\n")
        write(path / "nothing", "nothing\n")
        write(path / "broken.crt", "-----BEGIN CERTIFICATE-----\nnonsense\n-----END CERTIFICATE-----\n")
        write(path / "open.pem", (path / "a.pem").read_text(), 0o644)
        yield path


def check(path, *sections):
    settings = write(path / "sc.toml", '[guard]\nnever_list = "never-list"\n' + "\n".join(sections), 0o644)
    done = CliRunner().invoke(main.cli, ["-c", str(settings), "config", "check"])
    return done.exit_code, done.stderr.replace(f"{path}/", "")


def tls(certificate, key="", clients=""):
    return (
        f'[gather]\ntls_listen = ["127.0.0.1:1"]\ntls_certificate = "{certificate}"\ntls_key = "{key}"\n'
        f'tls_clients = "{clients}"'
    )


def peer(**keys):
    lines = "".join(f'{name} = "{value}"\n' for name, value in keys.items())
    return f'[[share.peer]]\nname = "p"\nserver = "192.0.2.1:10044"\n{lines}'


def reporter(key_file):
    return f'[[gather.reporter]]\nname = "mx1"\nkey_file = "{key_file}"'


def test_good_files_are_ok(place):
    wanted = (tls("a.crt", "a.key", "b.crt"), reporter("good"), '[follow]\nkey_file = "good"')
    assert check(place, *wanted, peer(key_file="good", authority="b.crt", certificate="a.pem")) == (0, "")
    assert check(place, tls("a.pem")) == (0, "")


@pytest.mark.parametrize(
    ("section", "said"),
    [
        (reporter("none"), "gather.reporter (mx1).key_file: none: no such file, want a key; `(umask 027; openssl rand"),
        (reporter("open"), "gather.reporter (mx1).key_file: open: everybody can read or write this key; chmod o= "),
        (reporter("short"), "gather.reporter (mx1).key_file: short: want a key of 16 to 256 characters"),
        (reporter("folder"), "gather.reporter (mx1).key_file: folder: can't read the key: Is a directory"),
        ('[follow]\nkey_file = "none"', "follow.key_file: none: no such file, want a key"),
        (peer(key_file="open"), "share.peer (p).key_file: open: everybody can read"),
        (peer(authority="none"), "share.peer (p).authority: none: no such file, want a certificate"),
        (
            peer(authority="a.crt", certificate="b.crt"),
            "share.peer (p).certificate: b.crt: no key in it, want one as PEM ",
        ),
        (
            peer(authority="a.crt", certificate="b.crt", certificate_key="a.key"),
            "certificate_key: a.key: it does not belo",
        ),
        (tls("none"), "gather.tls_certificate: none: no such file, want a certificate"),
        (tls("a.crt"), "a.crt: no key in it, want one as PEM (gather.tls_key names another file for the key)"),
        (tls("a.crt", "none"), "gather.tls_key: none: no such file, want a key"),
        (tls("a.crt", "b.key"), "gather.tls_key: b.key: it does not belong to the certificate; want the key, without"),
        (tls("a.key", "a.key"), "gather.tls_certificate: a.key: no certificate in it, want one as PEM"),
        (tls("open.pem"), "open.pem: everybody can read or write this key; chmod o= open.pem"),
        (tls("a.pem", clients="nothing"), "gather.tls_clients: nothing: no certificate in it"),
        (tls("a.pem", clients="broken.crt"), "gather.tls_clients: broken.crt: "),
        (
            '[gather]\nuser = "nosuchuser"',
            "gather.user: no such user: 'nosuchuser'; `adduser --system --group nosuchuser`",
        ),
    ],
)
def test_what_is_wrong_is_said_with_the_key_the_file_and_the_cure(place, section, said):
    code, told = check(place, section)
    assert code == 78 and said in told and len(told.splitlines()) == 1


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_what_root_can_read_is_looked_at_as_the_user_that_we_become(place):
    for section in (
        '[gather]\nuser = "nobody"\n' + reporter("good"),
        '[share]\nuser = "nobody"\n' + peer(key_file="good"),
    ):
        code, told = check(place, section)
        assert code == 78 and "good: nobody can't read the key; chgrp nogroup good && chmod 640 good, and " in told
        assert (os.geteuid(), os.getegid()) == (0, 0)
    write(place / "nobodys", GOOD, 0o640)
    os.chown(place / "nobodys", 0, NOBODY)
    assert check(place, '[gather]\nuser = "nobody"\n' + reporter("nobodys")) == (0, "")


def test_every_mistake_is_told_at_once(place):
    code, told = check(place, tls("none"), reporter("none"), peer(key_file="none", authority="none"))
    assert code == 78 and len(told.splitlines()) == 4
