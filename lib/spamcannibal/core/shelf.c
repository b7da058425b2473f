/* See shelf.h. */
#include "shelf.h"

#include <stdlib.h>
#include <string.h>

#include "addrtable.h"
#include "dnswire.h"
#include "ordered.h"

enum { V4 = 4, V6 = 16, HALF = 8, HALF_BITS = 64 };

static const uint32_t FLAGS = DNS_PUBLISHED | DNS_EXCLUDED | DNS_SHADOW, CODE = 0xffffff00;

struct shelf {
    struct addrtable *table;
    struct ordered v4, v6, v6_long;
    bool promiscuous;
    uint32_t only;
};

struct shelf *shelf_new(bool promiscuous, uint32_t only)
{
    struct shelf *s = calloc(1, sizeof *s);

    if (!s)
        return NULL;
    ord_open(&s->v4, V4);
    ord_open(&s->v6, HALF);
    ord_open(&s->v6_long, V6);
    s->promiscuous = promiscuous;
    s->only = only;
    s->table = at_new();
    if (!s->table) {
        free(s);
        return NULL;
    }
    return s;
}

void shelf_free(struct shelf *s)
{
    if (!s)
        return;
    at_free(s->table);
    ord_close(&s->v4);
    ord_close(&s->v6);
    ord_close(&s->v6_long);
    free(s);
}

struct addrtable *shelf_table(const struct shelf *s) { return s->table; }

/* The value as this shelf holds it, 0 if it does not show it. Shadow entries are on trial: only their colour's own
 * shelf shows them. */
static uint32_t shown(const struct shelf *s, uint32_t value)
{
    if (s->only)
        return (value ^ s->only) & (CODE | FLAGS) ? 0 : (value & ~FLAGS) | DNS_PUBLISHED;
    return !(value & DNS_SHADOW) && (s->promiscuous || value & (DNS_PUBLISHED | DNS_EXCLUDED)) ? value : 0;
}

static bool is_indexed(uint32_t value)
{
    return value && !(value & DNS_EXCLUDED);
}

static struct ordered *index_of(struct shelf *s, unsigned addrlen, unsigned plen)
{
    return addrlen == V4 ? &s->v4 : plen <= HALF_BITS ? &s->v6 : &s->v6_long;
}

int shelf_set(struct shelf *s, const uint8_t *addr, unsigned addrlen, unsigned plen, uint32_t value)
{
    value = shown(s, value);
    if (!value) {
        shelf_del(s, addr, addrlen, plen);
        return 0;
    }
    struct ordered *index = index_of(s, addrlen, plen);
    bool was_indexed = is_indexed(at_get(s->table, addr, addrlen, plen));
    if (is_indexed(value) && !was_indexed && ord_add(index, addr) < 0)
        return -1;
    if (at_set(s->table, addr, addrlen, plen, value) < 0) {
        if (is_indexed(value) && !was_indexed)
            ord_remove(index, addr);
        return -1;
    }
    if (was_indexed && !is_indexed(value))
        ord_remove(index, addr);
    return 0;
}

int shelf_del(struct shelf *s, const uint8_t *addr, unsigned addrlen, unsigned plen)
{
    if (is_indexed(at_get(s->table, addr, addrlen, plen)))
        ord_remove(index_of(s, addrlen, plen), addr);
    return at_del(s->table, addr, addrlen, plen);
}

/* The last address of a prefix whose other bits are 0. */
static void last_address(uint8_t *last, const uint8_t *addr, unsigned addrlen, unsigned plen)
{
    memcpy(last, addr, addrlen);
    for (unsigned i = plen / 8; i < addrlen; i++)
        last[i] |= i == plen / 8 ? 0xff >> plen % 8 : 0xff;
}

static bool any_below(const struct shelf *s, const uint8_t *addr, unsigned addrlen, unsigned plen)
{
    uint8_t last[ORD_WIDTH];

    last_address(last, addr, addrlen, plen);
    if (addrlen == V4)
        return ord_any(&s->v4, addr, last);
    return (plen <= HALF_BITS && ord_any(&s->v6, addr, last)) || ord_any(&s->v6_long, addr, last);
}

bool shelf_has_below(const struct shelf *s, const uint8_t *addr, unsigned addrlen, unsigned plen)
{
    if (any_below(s, addr, addrlen, plen))
        return true;
    /* What covers the whole prefix: the nearest decides. */
    for (unsigned n = plen + 1; n-- > 0;) {
        uint32_t value = at_get(s->table, addr, addrlen, n);
        if (value)
            return !(value & DNS_EXCLUDED);
    }
    return false;
}

uint64_t shelf_index_bytes(const struct shelf *s)
{
    return ord_bytes(&s->v4) + ord_bytes(&s->v6) + ord_bytes(&s->v6_long);
}

uint64_t shelf_bytes(const struct shelf *s)
{
    return sizeof *s + at_bytes(s->table) + shelf_index_bytes(s);
}
