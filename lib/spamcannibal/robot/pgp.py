"""OpenPGP by gpg, in a key directory of the robot's own: open or check a message, sign an answer, keep the keys.

What a message is worth is decided in status.py, from gpg's status lines. Here gpg is run: with a bounded wait, bounded
output (what is compressed can be a thousand times longer than it came), without network, key servers or pinentry. A
passphrase goes through a descriptor, never through an argument or a file that gpg reads.

Whatever is wrong with gpg, its agent or the key directory is Unavailable: the mail stays where it is until that is
mended. WireError is for what is wrong with the message.
"""

import os
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import gnupg

from spamcannibal.errors import ConfigError, Unavailable, WireError
from spamcannibal.robot import status
from spamcannibal.robot.status import Signer

KEY_FILE_LIMIT_BYTES = 4 << 20
KEYS_LIMIT = 1000
_OPTIONS = (
    "--no-auto-key-locate", "--no-auto-key-retrieve", "--disable-dirmngr", "--no-auto-check-trustdb",
    "--trust-model", "always", "--weak-digest", "SHA1", "--pinentry-mode", "loopback",
)  # fmt: skip
# RFC 4880 section 9.4 -> RFC 3156 section 5
_MICALGS = {8: "pgp-sha256", 9: "pgp-sha384", 10: "pgp-sha512", 11: "pgp-sha224"}
_KEY_STATES = {"e": "expired", "r": "revoked", "d": "disabled", "i": "invalid"}


@dataclass(frozen=True, slots=True)
class Opened:
    """What a message says, and who signed it: None for one that was encrypted without a signature."""

    content: bytes
    signer: Signer | None


@dataclass(frozen=True, slots=True)
class Key:
    """A key of the directory. `state` is empty for one that can be used."""

    fingerprint: str
    user_ids: tuple[str, ...]
    state: str
    expires_s: int
    is_own: bool


@dataclass(frozen=True, slots=True)
class Ran:
    """What came of one run of gpg: its output, status lines, what it told people, exit code."""

    out: bytes
    lines: list[bytes]
    told: str
    code: int


@dataclass(frozen=True, slots=True)
class Gpg:
    """How gpg is run: the program, our own key (a fingerprint, empty: none), its passphrase, and the bounds."""

    program: str = "gpg"
    key: str = ""
    passphrase: bytes = b""
    wait_s: float = 30.0
    limit_bytes: int = 1 << 20


class Pgp:
    """gpg with one key directory. Threads may share it."""

    def __init__(self, home: str | Path, how: Gpg) -> None:
        """Take an existing key directory; Unavailable or ConfigError if it or gpg can't be used."""
        self._home = Path(home)
        self._how = how
        if not os.access(self._home, os.R_OK | os.W_OK | os.X_OK):
            raise ConfigError(f"{self._home}: no key directory that we may use; `spamcannibal robot key new` makes it")
        rings = [self._home / name for name in ("pubring.kbx", "pubring.gpg")]
        if any(ring.exists() and not os.access(ring, os.R_OK) for ring in rings):
            # Else every signer would be unknown, and every report refused.
            raise ConfigError(f"{self._home}: its keys can't be read; they belong to another user")
        self._environment = {**os.environ, "LC_ALL": "C", "PATH": os.environ.get("PATH", os.defpath)}
        try:
            self._gpg = gnupg.GPG(how.program, str(self._home), options=list(_OPTIONS), env=self._environment)
        except (OSError, ValueError) as error:
            raise Unavailable(f"robot.gpg: {how.program}: {error}; install gnupg") from None

    def open(self, armor: bytes) -> Opened:
        """Decrypt what is encrypted, and check the signature of it or of a signed text; WireError if it is no good."""
        ran = self._run(["--max-output", str(self._how.limit_bytes), "--decrypt"], armor, needs_passphrase=True)
        self._need_status(ran)
        if status.is_locked(ran.lines):
            if not self._how.key:
                raise WireError("OpenPGP: it is encrypted, and the robot has no key (robot.key)")
            # Somebody else's key, damaged data, a wrong passphrase, a dead agent: gpg hardly tells them apart, but
            # with the last two nothing can be signed either, and then it is not the message that is at fault.
            self.sign(b"")
            recipients = " ".join(status.recipients(ran.lines))[:200]
            raise WireError(f"OpenPGP: we can't decrypt it, encrypted to {recipients}")
        if ran.code and "too large" in ran.told:
            raise WireError(f"OpenPGP: what is in it is too long, want at most {self._how.limit_bytes} bytes")
        return Opened(ran.out, status.signer(ran.lines, ran.code))

    def check(self, content: bytes, signature: bytes) -> Signer:
        """Return who signed the content, exactly as it was signed; WireError if nobody did."""
        try:
            with tempfile.NamedTemporaryFile(dir=self._home, prefix="signature-") as file:
                file.write(signature)
                file.flush()
                ran = self._run(["--verify", file.name, "-"], content)
        except OSError as error:
            raise Unavailable(f"{self._home}: {error.strerror}") from None
        self._need_status(ran)
        found = status.signer(ran.lines, ran.code, is_detached=True)
        if found is None:
            raise WireError("OpenPGP: an encrypted message where its signature should be")
        return found

    def sign(self, content: bytes) -> tuple[bytes, str]:
        """Return a detached, armored signature of the content by our own key, and its micalg (RFC 3156)."""
        user = ["--local-user", self._how.key]
        ran = self._run([*user, "--digest-algo", "SHA256", "--armor", "--detach-sign"], content, needs_passphrase=True)
        digest = status.created(ran.lines)
        if ran.code or digest not in _MICALGS:
            raise Unavailable(f"{self._home}: can't sign ({ran.told}); see `spamcannibal robot key list`")
        return ran.out, _MICALGS[digest]

    def all_keys(self) -> list[Key]:
        """Return all keys of the directory."""
        own = {key["fingerprint"] for key in self._gpg.list_keys(secret=True)}
        return [_key(key, own) for key in self._gpg.list_keys()[:KEYS_LIMIT]]

    def import_keys(self, data: bytes) -> list[str]:
        """Take keys in; return their fingerprints, each once. WireError if there are none."""
        result = self._gpg.import_keys(data)
        found = list(dict.fromkeys(each["fingerprint"] for each in result.results if each.get("fingerprint")))
        if not found:
            raise WireError("no OpenPGP key in it, want what `gpg --armor --export FINGERPRINT` writes")
        return found

    def new_key(self, user_id: str) -> str:
        """Make a key pair to sign and decrypt with, and return its fingerprint."""
        self._make(["--quick-gen-key", user_id, "ed25519", "sign", "never"])
        made = [key.fingerprint for key in self.all_keys() if key.is_own and user_id in key.user_ids]
        if not made:
            raise Unavailable(f"{self._home}: gpg made a key and does not show it")
        self._make(["--quick-add-key", made[-1], "cv25519", "encr", "never"])
        return made[-1]

    def remove_key(self, fingerprint: str, is_own: bool) -> None:
        """Remove a key, with its secret part if it is one of our own."""
        self._make(["--yes", "--delete-secret-and-public-key" if is_own else "--delete-key", fingerprint])

    def export(self, fingerprint: str) -> bytes:
        """Return the public part of a key, armored."""
        return self._make(["--armor", "--export", fingerprint])

    def _make(self, arguments: Sequence[str]) -> bytes:
        ran = self._run(arguments, b"", needs_passphrase=True)
        if ran.code:
            raise Unavailable(f"{self._home}: gpg {arguments[0]}: {ran.told}")
        return ran.out

    def _need_status(self, ran: Ran) -> None:
        """Raise if gpg said nothing: WireError if it works otherwise, so that the data must be damaged."""
        if ran.lines:
            return
        if self._run(["--list-keys"], b"").code:
            raise Unavailable(f"{self._home}: gpg does not work: {ran.told}")
        raise WireError(f"OpenPGP: gpg can't read it: {ran.told}")

    def _run(self, arguments: Sequence[str], data: bytes, needs_passphrase: bool = False) -> Ran:
        """Run gpg on some data; Unavailable if it can't be run or takes too long."""
        stdin = self._how.passphrase + b"\n" + data if needs_passphrase else data
        # What gpg tells people goes apart: a user id or file name must never look like a status line.
        told = os.memfd_create("gpg")
        try:
            argv = self._gpg.make_args(["--logger-fd", str(told), *arguments], needs_passphrase)
            done = subprocess.run(
                argv,
                input=stdin,
                capture_output=True,
                check=False,
                timeout=self._how.wait_s,
                env=self._environment,
                pass_fds=(told,),
            )
            lines = [line for line in done.stderr.split(b"\n") if line.startswith(status.PREFIX)]
            return Ran(done.stdout, lines, _last_words(os.pread(told, 1 << 16, 0)), done.returncode)
        except subprocess.TimeoutExpired:
            wait_s = self._how.wait_s
            raise Unavailable(f"gpg {arguments[0]}: no answer within {wait_s:g} s; is its agent stuck?") from None
        except OSError as error:
            raise Unavailable(f"{self._gpg.gpgbinary}: {error.strerror}") from None
        finally:
            os.close(told)


def _last_words(told: bytes) -> str:
    """Return the last thing that gpg told people, in one line."""
    lines = told.decode("utf-8", "replace").strip().splitlines()
    return lines[-1].removeprefix("gpg: ")[:200] if lines else "no reason given"


def _key(key: dict[str, object], own: set[object]) -> Key:
    expires = str(key.get("expires") or "")
    user_ids = key.get("uids")
    return Key(
        str(key["fingerprint"]),
        tuple(map(str, user_ids)) if isinstance(user_ids, list) else (),
        _KEY_STATES.get(str(key.get("trust")), ""),
        int(expires) if expires.isdigit() else 0,
        key["fingerprint"] in own,
    )
