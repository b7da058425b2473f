"""All settings as frozen structs: one module a part, one Settings over them, and what no single key can say.

A section is a struct and its table of CHECKS (decode.py); a new one is named here in Settings, in CHECKS, and, where
its keys can contradict each other or hold paths, in conflicts and resolved. conf/spamcannibal.toml explains each key.
"""

from collections.abc import Iterator
from pathlib import Path

import msgspec
from msgspec import Struct

from spamcannibal.decode import Checks
from spamcannibal.settings import (
    activity,
    admin,
    api,
    base,
    dnsbl,
    follow,
    gather,
    jobs,
    remote,
    removal,
    robot,
    shadow,
    share,
    tarpit,
    trap,
    web,
)
from spamcannibal.settings.activity import ActivitySettings
from spamcannibal.settings.admin import AdminSettings
from spamcannibal.settings.api import ApiSettings
from spamcannibal.settings.base import GuardSettings, LogSettings, ServicesSettings, StoreSettings
from spamcannibal.settings.dnsbl import DnsblSettings
from spamcannibal.settings.follow import FollowSettings
from spamcannibal.settings.gather import GatherSettings
from spamcannibal.settings.jobs import JobsSettings
from spamcannibal.settings.remote import RemoteSettings
from spamcannibal.settings.removal import RemovalSettings
from spamcannibal.settings.robot import ComplaintSettings, RobotSettings
from spamcannibal.settings.shadow import ShadowSettings
from spamcannibal.settings.share import ShareSettings
from spamcannibal.settings.tarpit import FirewallSettings, TarpitSettings
from spamcannibal.settings.trap import TrapSettings
from spamcannibal.settings.web import WebSettings

# An empty text means "not set" where a default is empty.
CHECKS: Checks = {
    **base.CHECKS,
    **tarpit.CHECKS,
    **dnsbl.CHECKS,
    **gather.CHECKS,
    **follow.CHECKS,
    **remote.CHECKS,
    **jobs.CHECKS,
    **robot.CHECKS,
    **shadow.CHECKS,
    **share.CHECKS,
    **activity.CHECKS,
    **trap.CHECKS,
    **web.CHECKS,
    **removal.CHECKS,
    **admin.CHECKS,
    **api.CHECKS,
}


class Settings(Struct, frozen=True):
    store: StoreSettings = StoreSettings()
    guard: GuardSettings = GuardSettings()
    tarpit: TarpitSettings = TarpitSettings()
    firewall: FirewallSettings = FirewallSettings()
    dnsbl: DnsblSettings = DnsblSettings()
    remote: RemoteSettings = RemoteSettings()
    jobs: JobsSettings = JobsSettings()
    gather: GatherSettings = GatherSettings()
    follow: FollowSettings = FollowSettings()
    robot: RobotSettings = RobotSettings()
    complaint: ComplaintSettings = ComplaintSettings()
    shadow: ShadowSettings = ShadowSettings()
    share: ShareSettings = ShareSettings()
    activity: ActivitySettings = ActivitySettings()
    trap: TrapSettings = TrapSettings()
    web: WebSettings = WebSettings()
    removal: RemovalSettings = RemovalSettings()
    admin: AdminSettings = AdminSettings()
    api: ApiSettings = ApiSettings()
    services: ServicesSettings = ServicesSettings()
    log: LogSettings = LogSettings()


def conflicts(settings: Settings) -> Iterator[tuple[str, str]]:
    """Yield (section.key, the rest of the message) for keys that contradict each other."""
    tarpit, services, zones = settings.tarpit, settings.services, settings.dnsbl.zone
    shortest = len(f"220 {tarpit.greeting_name}\r\n")
    if tarpit.greeting_name and shortest <= tarpit.throttle_window:
        yield "tarpit.throttle_window", f": got {tarpit.throttle_window}, want below the greeting's {shortest} bytes"
    if services.restart_max_s < services.restart_initial_s:
        yield "services.restart_max_s", f": got {services.restart_max_s}, want at least restart_initial_s"
    if len(settings.jobs.country_db) not in (1, 2):
        wanted = "want two, of IPv4 and of IPv6, or one of both"
        yield "jobs.country_db", f": got {len(settings.jobs.country_db)} files, {wanted}"
    known = {*jobs.RULES, *(name.partition(" ")[0].lower() for name in settings.remote.lists)}
    for name in settings.jobs.shadow:
        if name.lower() not in known:
            yield "jobs.shadow", f": got {name}, want {', '.join(jobs.RULES)}, or one of remote.lists"
    names = [zone.name.lower() for zone in zones]
    for i, zone in enumerate(zones):
        if zone.name.lower() in names[:i]:
            yield "dnsbl.zone", f"[{i}].name: the same zone twice, got {zone.name}"
        if zone.expire_s <= zone.refresh_s + zone.retry_s:
            yield "dnsbl.zone", f"[{i}].expire_s: got {zone.expire_s}, want above refresh_s + retry_s (RFC 1912)"
    yield from gather.conflicts(settings.gather)
    yield from share.conflicts(settings.share)
    yield from web.conflicts(settings.web)
    yield from robot.conflicts(settings.robot)
    if settings.robot.neighbours and not settings.jobs.generic_ptr:
        yield "robot.neighbours", ": got true, want jobs.generic_ptr set: it tells which names are generic"


def resolved(settings: Settings, base: Path) -> Settings:
    """Return the settings with absolute paths."""
    replace, dnsbl = msgspec.structs.replace, settings.dnsbl
    keys = tuple(replace(key, secret_file=str(base / key.secret_file)) for key in dnsbl.key)
    store, remote = base / settings.store.path, settings.remote
    state_file = base / remote.state_file if remote.state_file else store / "remote.json"
    return replace(
        settings,
        dnsbl=replace(dnsbl, key=keys),
        remote=replace(remote, lists_dir=str(base / remote.lists_dir), state_file=str(state_file)),
        jobs=jobs.resolved(settings.jobs, base),
        robot=robot.resolved(settings.robot, base),
        follow=follow.resolved(settings.follow, base),
        share=share.resolved(settings.share, base),
        gather=gather.resolved(settings.gather, lambda path: str(base / path)),
        store=replace(settings.store, path=str(store)),
        guard=replace(settings.guard, never_list=str(base / settings.guard.never_list)),
    )
