"""Feed bytes to everything that reads mail: no exception but WireError, and nothing forged becomes a source.

Run by t/test_fuzz_mail.py with libFuzzer's options, or by hand: python t/fuzz/fuzz_mail.py -max_total_time=3600 SEEDS
"""

import contextlib
import sys

import atheris

with atheris.instrument_imports(include=["spamcannibal.robot"]):
    from spamcannibal.robot.arf import parse as parse_arf
    from spamcannibal.robot.automatic import is_automatic
    from spamcannibal.robot.embedded import embedded
    from spamcannibal.robot.message import read_entity
    from spamcannibal.robot.pgpparts import Clearsigned, find_pgp
    from spamcannibal.robot.received import Ours, trace
    from spamcannibal.robot.redact import redact
    from spamcannibal.robot.xarf import parse as parse_xarf

from spamcannibal.errors import WireError

OURS = Ours(frozenset({"mx.example.net"}))
DATE = "Tue, 24 Nov 2026 14:01:35 +0000"
GENUINE = f"Received: from x (unknown [192.0.2.7]) by mx.example.net (Postfix) with ESMTP id 1; {DATE}"
SOURCE = bytes((192, 0, 2, 7))


def read_all(raw: bytes) -> None:
    """Read a message in every way that the robot does; WireError is an answer."""
    entity = read_entity(raw)
    for part in (entity, *entity.leaves()):
        assert isinstance(part.text(), str)
        assert all(isinstance(part.header(name), str) for name, _ in part.headers)
    is_automatic(entity)
    # What the sending host wrote stands below what our own host wrote on top of it.
    found = trace((GENUINE, *entity.header_lines()), OURS)
    assert found.source == SOURCE, found
    trace(entity.header_lines(), OURS)
    protected = find_pgp(entity)
    if isinstance(protected, Clearsigned):
        protected.cleartext()
    for message in embedded(entity):
        trace(message.header_lines, OURS)
        if message.arf:
            parse_arf(message.arf)


def test_one_input(data: bytes) -> None:
    for read in (read_all, parse_xarf):
        with contextlib.suppress(WireError):
            read(data)
    once = redact(data)
    assert redact(once) == once


if __name__ == "__main__":
    atheris.Setup(sys.argv, test_one_input)
    atheris.Fuzz()
