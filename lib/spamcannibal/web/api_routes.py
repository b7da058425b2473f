"""All operations of the API: the one table of which both the application and its description are made."""

from spamcannibal.web import api_info, api_journal, api_listings
from spamcannibal.web import api_views as views
from spamcannibal.web.api_call import Nothing, Route

READ, WRITE, ADMIN = ("read",), ("write",), ("admin",)
_CHANGE = ("changed", "never-listed")

ROUTES = (
    Route(
        "GET", "/lookup/<path:address>", "lookup", "Everything that is known of an address or prefix.",
        api_info.lookup, views.Document, (), views.Asked,
    ),
    Route(
        "GET", "/listings", "findListings", "Listings in order of their keys: all, or those that have what is asked.",
        api_listings.find, views.ListingPage, READ, query=views.Search,
    ),
    Route(
        "GET", "/listings/<path:key>", "showListing", "The listing of exactly this key.",
        api_listings.show, views.ListingView, READ, views.Path, problems=("not-found",),
    ),
    Route(
        "PUT", "/listings/<path:key>", "putListing",
        "List it, or make its listing what the body says; doing so twice does it once. With If-None-Match: * only if "
        "it is not listed, with If-Match only if it is as you saw it.",
        api_listings.put, views.Done, WRITE, views.Path, views.Write, views.NewListing,
        ("never-listed", "changed", "breaker"), creates=True,
    ),
    Route(
        "PATCH", "/listings/<path:key>", "amendListing", "Change what is given of a listing.",
        api_listings.amend, views.Done, WRITE, views.Path, views.Write, views.Amendment, ("not-found", "changed"),
    ),
    Route(
        "DELETE", "/listings/<path:key>", "removeListing", "Take a listing off, with its evidence.",
        api_listings.remove, views.Done, WRITE, views.Path, views.Removal, problems=("not-found", "changed", "breaker"),
    ),
    Route(
        "GET", "/evidence/<path:key>", "showEvidence", "Why it is listed: what was proven here, or what others said.",
        api_listings.evidence, views.Evidence, READ, views.Path, problems=("not-found",),
    ),
    Route(
        "POST", "/evidence/<path:key>", "addEvidence",
        "Add a piece to a listing's evidence; what the newest piece says is not said again.",
        api_listings.add_evidence, views.Done, WRITE, views.Path, views.Write, views.NewEvidence,
        ("not-found", "changed"),
    ),
    Route(
        "GET", "/journal", "readJournal", "Changes of the list in order; with `wait` not before there is one.",
        api_journal.read, api_journal.JournalPage, READ, query=api_journal.After,
    ),
    Route(
        "GET", "/journal/stream", "followJournal",
        "Changes as server-sent events (list, unlist, amend, and reset where the journal lacks some), each with its "
        "number as id: come back with Last-Event-ID. A stream ends after a while, at once if too many are open.",
        api_journal.stream, str, READ, query=api_journal.Since, media="text/event-stream",
    ),
    Route(
        "GET", "/journal/<seq>", "showChange", "One change.",
        api_journal.change, views.ChangeView, READ, api_journal.Number, problems=("not-found",),
    ),
    Route(
        "POST", "/undo", "undo",
        "Take changes back by number: what was listed goes, what went comes back. A key that somebody else changed "
        "since is left, and told.",
        api_journal.undo, api_journal.UndoneAll, ADMIN, Nothing, views.Write, api_journal.Undo, ("not-found",),
    ),
    Route(
        "GET", "/never-list", "readNeverList", "The never-list's rules.",
        api_info.never_list, api_info.NeverPage, READ, query=api_info.Lines,
    ),
    Route(
        "GET", "/never-list/<path:key>", "checkNeverList", "Whether the never-list forbids to list it.",
        api_info.never, api_info.NeverAnswer, READ, views.Path,
    ),
    Route("GET", "/stats", "showStats", "Counts.", api_info.stats, api_info.Stats, READ),
    Route("GET", "/remote", "showRemote", "How remote lists fare.", api_info.remote, api_info.Remote, READ),
    Route("GET", "/status", "showStatus", "How this site stands.", api_info.status, api_info.Status, READ),
    Route(
        "GET", "/problems/<kind>", "explainProblem", "What a kind of problem is: a problem's `type` leads here.",
        api_info.problem, api_info.ProblemView, (), api_info.Kind, problems=("not-found",),
    ),
)  # fmt: skip
