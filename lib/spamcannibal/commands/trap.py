"""`spamcannibal trap`: an SMTP server for recipients that nobody should write to."""

import click


@click.command()
@click.option("--observe", is_flag=True, help="List nothing: only say what would be listed.")
@click.pass_context
def command(ctx: click.Context, observe: bool) -> None:
    """Take mail for spam traps, list the hosts that bring it, with the message as evidence, and send none on, ever.

    trap.recipients are the addresses and domains that nobody should write to; all others are refused, whoever asks. The
    empty sender is refused, too: bounces and call-outs go to whose address was forged. What was caught is answered by
    550, so that a person who wrote there by mistake hears of it, or by 250 (trap.answer = "accept"), so that spammers
    who drop addresses that bounce keep writing.

    The never-list, the exceptions of mail servers (white, yellow, nobl) and the breaker hold. Outgoing relays of big
    providers hit traps, too: whom you need mail from belongs on the never-list.

    Stops at SIGTERM; SIGHUP reads recipients, text, answer and never-list again. Exit 78 if the settings are wrong, 69
    if it can't listen.

    \b
    Examples:
      spamcannibal trap --observe
      spamcannibal list find --source 'trap:*'
    """
    # Imported here, since --help needs neither database nor SMTP.
    from spamcannibal.commands.trap_serve import serve

    serve(ctx, observe)
