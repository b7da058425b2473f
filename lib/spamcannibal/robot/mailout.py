"""Hand a mail to the mail server: by its sendmail program or over SMTP, with a bounded wait.

Unavailable if it was not taken; the caller keeps it then.
"""

import subprocess
from collections.abc import Sequence
from dataclasses import dataclass

from spamcannibal.addr import format_addr, parse_endpoint
from spamcannibal.errors import Unavailable


@dataclass(frozen=True, slots=True)
class Mailer:
    """`program` is a sendmail(1), used unless `endpoint` (ADDRESS:PORT) names an SMTP server."""

    program: str = "/usr/sbin/sendmail"
    endpoint: str = ""
    wait_s: float = 30.0

    def send(self, sender: str, recipients: Sequence[str], message: bytes) -> None:
        """Send a mail, lines ended by CRLF; an empty sender is that of bounces, which nothing answers."""
        if self.endpoint:
            self._by_smtp(sender, recipients, message)
        else:
            self._by_program(sender, recipients, message)

    def _by_program(self, sender: str, recipients: Sequence[str], message: bytes) -> None:
        argv = [self.program, "-i", "-f", sender or "<>", "--", *recipients]
        text = message.replace(b"\r\n", b"\n")  # a sendmail(1) takes lines as the system has them
        try:
            done = subprocess.run(argv, input=text, capture_output=True, check=False, timeout=self.wait_s)
        except subprocess.TimeoutExpired:
            raise Unavailable(f"robot.sendmail: {self.program}: did not end within {self.wait_s:g} s") from None
        except OSError as error:
            raise Unavailable(f"robot.sendmail: {self.program}: {error.strerror}") from None
        if done.returncode:
            said = done.stderr.decode("utf-8", "replace").strip().splitlines()
            raise Unavailable(f"robot.sendmail: exit code {done.returncode}: {said[-1][:200] if said else 'no reason'}")

    def _by_smtp(self, sender: str, recipients: Sequence[str], message: bytes) -> None:
        # Imported here: it brings TLS along, and who answers one request of a CGI server mostly sends no mail.
        import smtplib

        addr, port = parse_endpoint(self.endpoint)
        try:
            with smtplib.SMTP(format_addr(addr), port, timeout=self.wait_s) as session:
                session.sendmail(sender, recipients, message)
        except (OSError, smtplib.SMTPException) as error:
            raise Unavailable(f"robot.smtp: {self.endpoint}: {error}") from None
