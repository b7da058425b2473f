"""The subcommands: one module each, which holds a click command or group named `command`.

The help line stands here so that `spamcannibal --help` imports none of them.
"""

COMMANDS = {
    "up": ("spamcannibal.commands.up", "Run all enabled services in the foreground."),
    "tarpit": ("spamcannibal.commands.tarpit", "Hold listed sources at the packet level."),
    "firewall": ("spamcannibal.commands.firewall", "Show, apply or remove the rules that queue packets to the tarpit."),
    "dnsbl": ("spamcannibal.commands.dnsbl", "Answer DNS queries for what is listed and published."),
    "gather": ("spamcannibal.commands.gather", "Take reports of mail servers, and answer them."),
    "export": (
        "spamcannibal.commands.export",
        "Write the list for rbldnsd, BIND, nft, ipset, Postfix, Exim and others.",
    ),
    "list": ("spamcannibal.commands.list_", "Add, remove or show listings."),
    "db": ("spamcannibal.commands.db", "Check, back up, dump, load or import the database."),
    "config": ("spamcannibal.commands.config", "Check or show the settings."),
}
