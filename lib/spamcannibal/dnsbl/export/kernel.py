"""The packet filter as a consumer: hand scripts to `nft` and `ipset`, and read back what the kernel holds."""

import subprocess
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import IO, NamedTuple

from spamcannibal.dnsbl.export.delta import Delta, IpsetDelta, NftDelta
from spamcannibal.dnsbl.export.facts import Facts, Item
from spamcannibal.dnsbl.export.sets import ipset_name, read_ipset, read_nft_json
from spamcannibal.errors import Unavailable, Unsupported

LOAD_TIMEOUT_S = 600.0  # a set of some millions takes minutes
ABSENT = ("No such file or directory", "does not exist")
_SHOWN = 300


class Kernel(NamedTuple):
    """How a format gets into the kernel and back."""

    load: tuple[str, ...]
    new_delta: Callable[[], Delta]
    held: Callable[[Facts], Iterator[Item]]


def held_nft(facts: Facts) -> Iterator[Item]:
    """Yield what the table's sets hold; nothing if there is no table."""
    shown = _output(["nft", "-j", "list", "table", "inet", facts.table])
    return read_nft_json(shown) if shown else iter(())


def held_ipset(facts: Facts) -> Iterator[Item]:
    """Yield what both sets hold; nothing of a set that is not there."""
    for family in (4, 6):
        yield from read_ipset(_output(["ipset", "save", ipset_name(facts, family)]).splitlines())


KERNELS = {
    "nft": Kernel(("nft", "-f", "-"), NftDelta, held_nft),
    "ipset": Kernel(("ipset", "restore", "-exist"), IpsetDelta, held_ipset),
}


def feed(argv: Sequence[str], chunks: Iterable[str]) -> int:
    """Run a command with chunks as its input; return their size. Unavailable if it fails, with what it said."""
    size = 0
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as said:
        with _started(argv, said) as process:
            assert process.stdin is not None
            try:
                for chunk in chunks:
                    size += len(chunk)
                    process.stdin.write(chunk)
                process.stdin.close()
            except BrokenPipeError:
                pass  # it ended early, and its exit code says why
            except BaseException:
                process.kill()
                raise
            _finish(process, argv, said)
    return size


def run(argv: Sequence[str]) -> None:
    """Run a command to its end; Unavailable if it fails."""
    feed(argv, ())


def _started(argv: Sequence[str], said: IO[str]) -> subprocess.Popen[str]:
    try:
        return subprocess.Popen(
            argv, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=said, encoding="utf-8", errors="replace"
        )
    except OSError as error:
        raise Unsupported(f"can't run {argv[0]}: {error.strerror}") from None


def _finish(process: subprocess.Popen[str], argv: Sequence[str], said: IO[str]) -> None:
    try:
        code = process.wait(LOAD_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        raise Unavailable(f"{argv[0]}: not done after {LOAD_TIMEOUT_S:g} s") from None
    if code != 0:
        said.seek(0)
        reason = " ".join(said.read(_SHOWN).split())
        raise Unavailable(f"{' '.join(argv)}: exit {code}: {reason or 'no message'}")


def _output(argv: Sequence[str]) -> str:
    """Return what a command prints; "" if it says that the thing does not exist."""
    try:
        done = subprocess.run(
            argv, capture_output=True, encoding="utf-8", errors="replace", timeout=LOAD_TIMEOUT_S, check=False
        )
    except OSError as error:
        raise Unsupported(f"can't run {argv[0]}: {error.strerror}") from None
    except subprocess.TimeoutExpired:
        raise Unavailable(f"{argv[0]}: not done after {LOAD_TIMEOUT_S:g} s") from None
    if done.returncode == 0:
        return done.stdout
    if any(words in done.stderr for words in ABSENT):
        return ""
    raise Unavailable(f"{' '.join(argv)}: exit {done.returncode}: {' '.join(done.stderr[:_SHOWN].split())}")
