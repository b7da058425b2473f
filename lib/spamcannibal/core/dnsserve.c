/* See dnsserve.h. */
#include "dnsserve.h"

#include <string.h>

#include "addrtable.h"
#include "shelf.h"

const char *const dnsserve_count_names[] = {
    "turns", "batches", "queries", "type_a", "type_aaaa", "type_txt", "type_any", "type_other", "answered", "nodata",
    "nxdomain", "refused", "formerr", "cut", "silent", "asked", "asks_shed", "oversized", "unsent",
    "limited", "slipped", "joined", NULL,
};
_Static_assert(sizeof dnsserve_count_names / sizeof(char *) == sizeof(struct dnsserve_counts) / sizeof(uint64_t) + 1,
               "a name for every counter");

/* ---- counting ---- */

static unsigned type_at(uint16_t qtype)
{
    return qtype == DNS_A ? 0 : qtype == DNS_AAAA ? 1 : qtype == DNS_TXT ? 2 : qtype == DNS_ANY ? 3 : 4;
}

static void count(struct dnsserve *s, const struct dns_query *q, const struct dns_told *told)
{
    struct dnsserve_counts *n = &s->counts;
    uint64_t *const types[DNSSERVE_TYPES] = {&n->type_a, &n->type_aaaa, &n->type_txt, &n->type_any, &n->type_other};
    unsigned type = type_at(q->qtype);

    ++*types[type];
    n->answered += told->has_answer;
    n->nodata += !told->has_answer && !told->is_cut && told->rcode == DNS_NOERROR;
    n->nxdomain += told->rcode == DNS_NXDOMAIN;
    n->refused += told->rcode == DNS_REFUSED;
    n->cut += told->is_cut;
    if (q->zone)
        s->zone_counts[q->zone - s->view->zones.zones].replies[type][told->rcode == DNS_NXDOMAIN]++;
}

/* ---- reading ---- */

static void prefetch(const struct dns_query *q)
{
    for (unsigned n = 0; n < q->n_readings; n++) {
        const struct dns_prefix *p = &q->readings[n];
        if (p->plen == 8 * p->addrlen)
            at_prefetch(shelf_table(q->zone->listings.shelf), p->addr, p->addrlen);
    }
}

void dnsserve_read(struct dnsserve *s, struct dnsitem *i, bool is_cut)
{
    static const struct dns_zones none;

    i->addrlen = (uint8_t)dnspeer_addr(&i->peer, i->addr);
    i->kind = dns_read(i->data, i->size, s->view ? &s->view->zones : &none, &i->query);
    if (i->kind == DNS_QUERY && !s->view)
        i->kind = DNS_ASK;
    if (is_cut && i->kind != DNS_SILENCE) {
        i->kind = DNS_BROKEN;
        s->counts.oversized++;
    }
    if (i->kind == DNS_QUERY)
        prefetch(&i->query);
}

/* ---- answering ---- */

/* Judge the cookie that came and make the one that goes: Cookies of cookies.py. */
static void judge_cookie(const struct dnsserve *s, struct dnsitem *i)
{
    struct dns_query *q = &i->query;
    const uint8_t *server = q->cookie + DNSCOOKIE_CLIENT_BYTES;
    size_t size = q->cookie_size - DNSCOOKIE_CLIENT_BYTES;
    enum dnscookie_state state = DNSCOOKIE_BAD;

    if (!i->addrlen || !s->n_secrets)
        return;
    if (size)
        state = dnscookie_check(s->secrets[0], s->n_secrets, q->cookie, server, size, i->addr, i->addrlen, s->now_s);
    i->is_trusted = state != DNSCOOKIE_BAD;
    q->cookies_size = DNSCOOKIE_CLIENT_BYTES + DNSCOOKIE_SERVER_BYTES;
    memcpy(q->cookies, q->cookie, DNSCOOKIE_CLIENT_BYTES);
    if (state == DNSCOOKIE_GOOD)
        memcpy(q->cookies + DNSCOOKIE_CLIENT_BYTES, server, DNSCOOKIE_SERVER_BYTES);
    else
        dnscookie_make(s->secrets[0], q->cookie, i->addr, i->addrlen, s->now_s, q->cookies + DNSCOOKIE_CLIENT_BYTES);
}

static bool reply(struct dnsserve *s, struct dnsitem *i)
{
    uint32_t serial = atomic_load_explicit(&s->view->serial, memory_order_relaxed);
    struct dns_told told;

    if (i->query.cookie_size)
        judge_cookie(s, i);
    i->reply_size = dns_reply(&i->query, serial, s->limit_bytes, i->reply, &told);
    if (!i->reply_size) {
        i->kind = DNS_ASK;
        return false;
    }
    i->rcode = told.rcode;
    count(s, &i->query, &told);
    return true;
}

bool dnsserve_answer(struct dnsserve *s, struct dnsitem *i)
{
    i->is_trusted = false;
    i->reply_size = 0;
    if (i->kind == DNS_QUERY)
        return reply(s, i);
    if (i->kind == DNS_BROKEN) {
        s->counts.formerr++;
        i->rcode = DNS_FORMERR;
        i->reply_size = dns_bare(i->data, DNS_FORMERR, i->reply);
    }
    s->counts.silent += i->kind == DNS_SILENCE;
    return i->kind != DNS_ASK;
}
