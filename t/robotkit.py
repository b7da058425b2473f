"""What the tests of the mail robot share: people with real keys, and the mails that they send.

    with People() as people:
        alice, robot = people.person("alice"), people.person("robot", encrypts=True)
        robot.knows(alice)
        mail = alice.report(spam("203.0.113.9"))

Keys are Ed25519, made without a passphrase in key directories of their own, below a short path: gpg puts a socket
there. Nothing waits for entropy. The agents that gpg starts are ended with the People.
"""

import itertools
import shutil
import subprocess
from pathlib import Path
from tempfile import mkdtemp

PAST = ("--faked-system-time", "20200101T120000!")  # for a person whose key has expired since
OUR_MX = "mx.example.net"
_serial = itertools.count(1)


def spam(source="203.0.113.9", subject="cheap pills", body="buy them at http://pills.example/?id=abc\n", by=OUR_MX):
    """A message as our exchanger recorded it."""
    where = f"IPv6:{source}" if ":" in source else source
    return (
        f"Return-Path: <spammer@bad.example>\n"
        f"Received: from bad.example (bad.example [{where}])\n"
        f"\tby {by} (Postfix) with ESMTP id 4ABC{next(_serial):06d}\n"
        f"\tfor <user@example.net>; Tue, 24 Nov 2026 10:00:00 +0000 (UTC)\n"
        f"From: Pills <pills@bad.example>\nTo: user@example.net\nSubject: {subject}\n"
        f"Message-ID: <{next(_serial)}@bad.example>\nMIME-Version: 1.0\nContent-Type: text/plain\n\n{body}"
    ).encode()


def entity(*messages, text="These came in."):
    """A MIME part that holds a text and messages, lines ended by CRLF: what is signed."""
    parts = [f"Content-Type: text/plain\n\n{text}\n".encode()]
    parts += [b"Content-Type: message/rfc822\nContent-Disposition: attachment\n\n" + each for each in messages]
    mark = b"\n--in\n"
    whole = b'Content-Type: multipart/mixed; boundary="in"\n' + mark + mark.join(parts) + b"\n--in--\n"
    return whole.replace(b"\n", b"\r\n")


def mail(sender, content_type, body, headers=""):
    """A whole mail, lines ended by LF as a mail server pipes it."""
    head = (
        f"Return-Path: <{sender}>\nFrom: {sender}\nTo: robot@mx.example.net\nSubject: spam\n"
        f"Message-ID: <{next(_serial)}.mail@example.org>\n{headers}MIME-Version: 1.0\nContent-Type: {content_type}\n\n"
    )
    return head.encode() + body.replace(b"\r\n", b"\n")


class Person:
    """One key and its directory."""

    def __init__(self, home, name, options=()):
        self.home = home
        self.address = f"{name}@example.org"
        home.mkdir(mode=0o700)
        self._options = options
        self.gpg(*options, "--passphrase", "", "--quick-gen-key", f"{name.title()} <{self.address}>", "ed25519", "sign",
                 "1d" if options else "never")  # fmt: skip
        listed = self.gpg("--with-colons", "--list-keys").decode().splitlines()
        self.fingerprint = next(line.split(":")[9] for line in listed if line.startswith("fpr"))

    def gpg(self, *words, data=b"", check=True):
        argv = ["gpg", "--homedir", str(self.home), "--batch", "--quiet", "--no-tty", "--trust-model", "always", *words]
        done = subprocess.run(argv, input=data, capture_output=True, check=False, timeout=60)
        assert done.returncode == 0 or not check, (argv, done.stderr)
        return done.stdout

    def decrypts(self):
        """Add a key to encrypt to."""
        self.gpg("--passphrase", "", "--quick-add-key", self.fingerprint, "cv25519", "encr", "never")
        return self

    def public(self):
        return self.gpg("--armor", "--export", self.fingerprint)

    def knows(self, *others):
        for other in others:
            self.gpg("--import", data=other.public())
        return self

    def sign(self, content):
        """A detached signature, armored."""
        return self.gpg(*self._options, "--armor", "--detach-sign", data=content)

    def signed(self, content, headers=""):
        """PGP/MIME: the mail that holds this part, signed."""
        kind = 'multipart/signed; micalg=pgp-sha512; protocol="application/pgp-signature"; boundary="out"'
        armor = self.sign(content)
        parts = [b"--out\r\n" + content + b"\r\n", b"--out\nContent-Type: application/pgp-signature\n\n" + armor]
        return mail(self.address, kind, b"".join(parts) + b"\n--out--\n", headers)

    def report(self, *messages, headers=""):
        return self.signed(entity(*messages), headers)

    def clearsigned(self, text, headers=""):
        return mail(self.address, "text/plain", self.gpg(*self._options, "--clearsign", data=text), headers)

    def encrypted(self, content, to, is_signed=True, is_mime=True):
        """PGP/MIME or inline: encrypted to somebody whom this person knows, and signed."""
        how = ["--sign"] if is_signed else []
        armor = self.gpg("--recipient", to.fingerprint, *how, "--armor", "--encrypt", data=content)
        if not is_mime:
            return mail(self.address, "text/plain", armor)
        kind = 'multipart/encrypted; protocol="application/pgp-encrypted"; boundary="out"'
        version = b"--out\nContent-Type: application/pgp-encrypted\n\nVersion: 1\n\n"
        data = b"--out\nContent-Type: application/octet-stream\n\n" + armor + b"\n--out--\n"
        return mail(self.address, kind, version + data)

    def command(self, text, headers=""):
        """A signed mail that holds nothing but a text."""
        part = f"Content-Type: text/plain; charset=utf-8\n\n{text}\n".encode().replace(b"\n", b"\r\n")
        return self.signed(part, headers)

    def revoke(self):
        """Revoke the key, with the certificate that gpg made along with it."""
        certificate = (self.home / "openpgp-revocs.d" / f"{self.fingerprint}.rev").read_text()
        self.gpg("--import", data=certificate.replace("\n:-----BEGIN", "\n-----BEGIN").encode())


class People:
    """Key directories that go, with their agents, when it ends."""

    def __init__(self):
        self.path = Path(mkdtemp(prefix="sc-pgp-"))

    def person(self, name, options=()):
        return Person(self.path / name, name, options)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for home in self.path.iterdir():
            stop_agent(home)
        shutil.rmtree(self.path, ignore_errors=True)


def stop_agent(home):
    """End the agent that gpg started for a key directory."""
    if home.is_dir():
        argv = ["gpgconf", "--homedir", str(home), "--kill", "all"]
        subprocess.run(argv, capture_output=True, check=False, timeout=30)
