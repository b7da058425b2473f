"""The subcommands: one module each, which holds a click command or group named `command`.

The help line stands here so that `spamcannibal --help` imports none of them; it shows them in these sections.
"""

SECTIONS = {
    "Services": {
        "up": ("spamcannibal.commands.up", "Run all enabled services in the foreground."),
        "tarpit": ("spamcannibal.commands.tarpit", "Hold listed sources at the packet level."),
        "dnsbl": ("spamcannibal.commands.dnsbl", "Answer DNS queries for what is listed and published."),
        "gather": ("spamcannibal.commands.gather", "Take reports of mail servers, and answer them."),
        "follow": ("spamcannibal.commands.follow", "Report what the logs of mail servers show to the gather listener."),
        "trap": ("spamcannibal.commands.trap", "Take mail for spam traps, and list who brings it."),
        "robot": ("spamcannibal.commands.robot", "Take signed spam reports by mail, and answer them."),
        "share": ("spamcannibal.commands.share", "Tell other sites what was proven here."),
        "web": ("spamcannibal.commands.web", "Serve the web pages: look-ups, removal, activity, administration."),
        "token": ("spamcannibal.commands.token", "Make, show and revoke the tokens of programs that use the API."),
        "user": ("spamcannibal.commands.user", "Make, show, change and remove the users of the administration pages."),
    },
    "Jobs": {
        "blcheck": (
            "spamcannibal.commands.blcheck",
            "Examine the addresses that knocked, and list whom the rules take.",
        ),
        "blpreen": ("spamcannibal.commands.blpreen", "Ask other lists again about what they told us."),
        "cleanup": ("spamcannibal.commands.cleanup", "Clear away what is over."),
    },
    "The list": {
        "list": ("spamcannibal.commands.list_", "Add, import, remove, find or show listings; undo changes."),
        "explain": ("spamcannibal.commands.explain", "Tell everything that is known of an address, and why."),
        "export": (
            "spamcannibal.commands.export",
            "Write the list for rbldnsd, BIND, nft, ipset, Postfix, Exim and others.",
        ),
        "received": (
            "spamcannibal.commands.received",
            "Tell who sent a message, and what of its Received fields is true.",
        ),
        "replay": ("spamcannibal.commands.replay", "Tell what the list would have done to packets, or to mail."),
        "removal": (
            "spamcannibal.commands.removal",
            "Show, approve or refuse requests to be taken off the list.",
        ),
        "report": (
            "spamcannibal.commands.report",
            "Report what happened (daily, weekly), or sources of spam to their abuse contacts.",
        ),
        "remote": ("spamcannibal.commands.remote", "Ask other people's blocklists about addresses, and test them."),
    },
    "This host": {
        "status": ("spamcannibal.commands.status", "Show on one screen how everything fares."),
        "top": ("spamcannibal.commands.top", "Watch live who is held, what comes and goes, what is listed."),
        "stats": ("spamcannibal.commands.stats", "Show how much there is, and which lists hit how often."),
        "doctor": ("spamcannibal.commands.doctor", "Look this host over: each finding with its cure."),
        "firewall": (
            "spamcannibal.commands.firewall",
            "Show, apply or remove the rules that queue packets to the tarpit.",
        ),
        "db": ("spamcannibal.commands.db", "Check, back up, restore, compact, dump, load or import the database."),
        "config": ("spamcannibal.commands.config", "Check or show the settings, or make them of the original's."),
        "completion": ("spamcannibal.commands.completion", "Print what lets a shell complete command lines."),
        "man": ("spamcannibal.commands.man", "Print manual pages."),
    },
}
COMMANDS = {name: found for section in SECTIONS.values() for name, found in section.items()}
