/* Fuzz the address table: random updates, lookups, walks and failing allocations against a naive model.
 *
 *   clang-14 -std=c11 -D_GNU_SOURCE -g -O1 -fsanitize=fuzzer,address,undefined -fno-sanitize-recover=all \
 *            -I lib/spamcannibal/core t/fuzz/fuzz_addrtable.c -o fuzz_addrtable && ./fuzz_addrtable -max_len=256
 *
 * The keys come from three regions (IPv4, the upper and the lower half of IPv6) in which 16 bits vary, so that the
 * model is a plain array: region, prefix length of those 16 bits (0 to 16), number. Input: 6 bytes an operation.
 */
#include <stdlib.h>

static unsigned allocs_good, allocs_bad;    /* so many succeed, then so many fail, then all succeed */

static int alloc_fails(void)
{
    if (allocs_good) {
        allocs_good--;
        return 0;
    }
    return allocs_bad ? allocs_bad-- > 0 : 0;
}

static void *fuzz_malloc(size_t n)
{
    return alloc_fails() ? NULL : malloc(n);
}

static void *fuzz_calloc(size_t n, size_t size)
{
    return alloc_fails() ? NULL : calloc(n, size);
}

#define malloc fuzz_malloc
#define calloc fuzz_calloc
#include "addrtable.c"
#include "exthash.c"
#undef malloc
#undef calloc

enum { REGIONS = 3, LENGTHS = 17, NUMBERS = 65536, OP_SIZE = 6 };

static const struct region {
    unsigned addrlen, at, base;     /* at: index of the first varying byte; base: its bit */
} regions[REGIONS] = {{4, 2, 16}, {16, 6, 48}, {16, 14, 112}};

static uint32_t model[REGIONS][LENGTHS][NUMBERS];
static uint8_t seen[REGIONS][LENGTHS][NUMBERS];
static uint64_t model_count;

struct op {
    unsigned kind, region, length, number, count;
};

static void check(bool ok)
{
    if (!ok)
        abort();
}

static void address(unsigned region, unsigned number, uint8_t addr[16])
{
    memset(addr, 0x2a + (int)region, 16);   /* so that no region covers another */
    addr[regions[region].at] = (uint8_t)(number >> 8);
    addr[regions[region].at + 1] = (uint8_t)number;
}

static unsigned masked(unsigned number, unsigned length)
{
    return number >> (16 - length) << (16 - length);
}

static void set(struct addrtable *t, const struct op *op, unsigned number, uint32_t value)
{
    uint32_t *entry = &model[op->region][op->length][masked(number, op->length)];
    const struct region *r = &regions[op->region];
    uint8_t addr[16];

    address(op->region, number, addr);
    if (at_set(t, addr, r->addrlen, r->base + op->length, value) < 0)
        return;
    model_count += !*entry;
    *entry = value;
}

static void del(struct addrtable *t, const struct op *op, unsigned number)
{
    uint32_t *entry = &model[op->region][op->length][masked(number, op->length)];
    const struct region *r = &regions[op->region];
    uint8_t addr[16];

    address(op->region, number, addr);
    check(at_del(t, addr, r->addrlen, r->base + op->length) == (*entry != 0));
    model_count -= *entry != 0;
    *entry = 0;
}

static void look(const struct addrtable *t, const struct op *op, unsigned number)
{
    const struct region *r = &regions[op->region];
    uint32_t want = 0, got;
    unsigned want_plen = 999, got_plen = 999;
    uint8_t addr[16];

    address(op->region, number, addr);
    for (unsigned length = 0; length < LENGTHS; length++)
        if (model[op->region][length][masked(number, length)]) {
            want = model[op->region][length][masked(number, length)];
            want_plen = r->base + length;
        }
    at_prefetch(t, addr, r->addrlen);
    got = at_lookup(t, addr, r->addrlen, &got_plen);
    check(got == want && got_plen == want_plen);
    want = model[op->region][op->length][masked(number, op->length)];
    check(at_get(t, addr, r->addrlen, r->base + op->length) == want);
}

/* Walk everything; between two pages change odd numbers only, so that the others must be seen exactly once. */
static void walk(struct addrtable *t, const struct op *op)
{
    struct at_cursor cursor = {0};
    struct at_entry page[AT_PAGE];
    unsigned number = op->number | 1;
    size_t n;

    memset(seen, 0, sizeof seen);
    while ((n = at_page(t, &cursor, page))) {
        for (size_t i = 0; i < n; i++) {
            unsigned r = page[i].addrlen == 4 ? 0 : page[i].plen <= 64 ? 1 : 2;
            unsigned x = (unsigned)page[i].addr[regions[r].at] << 8 | page[i].addr[regions[r].at + 1];
            unsigned length = page[i].plen - regions[r].base;

            check(length < LENGTHS && model[r][length][x] == page[i].value);
            check(!seen[r][length][x]++ || x % 2);
        }
        for (unsigned i = 0; i < 2 * op->count; i++, number += 2) {
            if (op->kind & 8)
                set(t, &(struct op){.region = op->region, .length = 16}, number & 0xffff, number);
            else
                del(t, &(struct op){.region = op->region, .length = 16}, number & 0xffff);
        }
    }
    for (unsigned i = 0; i < NUMBERS; i += 2)
        check(seen[op->region][16][i] == (model[op->region][16][i] != 0));
}

static void run(struct addrtable *t, const struct op *op)
{
    switch (op->kind % 8) {
    case 0:
        for (unsigned i = 0; i <= op->count * 16; i++)
            set(t, op, (op->number + i) & 0xffff, op->number + i + 1);
        return;
    case 1:     /* odd numbers, for a walk to delete */
        for (unsigned i = 1; i <= op->count * 32; i += 2)
            set(t, &(struct op){.region = op->region, .length = 16}, ((op->number & 0xfffe) + i) & 0xffff, i);
        return;
    case 2:
        for (unsigned i = 0; i <= op->count * 16; i++)
            del(t, op, (op->number + i) & 0xffff);
        return;
    case 3:
        set(t, op, op->number, op->count + 1);
        return;
    case 4:
        del(t, op, op->number);
        return;
    case 5:
        allocs_good = op->count % 16;
        allocs_bad = op->number % 1024;
        return;
    case 6:
        for (unsigned i = 0; i <= op->count; i++)
            look(t, op, (op->number + 257 * i) & 0xffff);
        return;
    case 7:
        walk(t, op);
        return;
    }
}

/* Empty the table by what a walk finds, which must be the whole model, and see that nothing is left. */
static void finish(struct addrtable *t)
{
    uint64_t empty = sizeof *t;

    allocs_good = allocs_bad = 0;
    check(at_count(t) == model_count);
    for (;;) {
        struct at_cursor cursor = {0};
        struct at_entry page[AT_PAGE];
        size_t n = at_page(t, &cursor, page);

        for (size_t i = 0; i < n; i++) {
            unsigned r = page[i].addrlen == 4 ? 0 : page[i].plen <= 64 ? 1 : 2;
            unsigned x = (unsigned)page[i].addr[regions[r].at] << 8 | page[i].addr[regions[r].at + 1];

            del(t, &(struct op){.region = r, .length = page[i].plen - regions[r].base}, x);
        }
        if (!n)
            break;
    }
    check(model_count == 0 && at_count(t) == 0 && at_bytes(t) == empty);
    at_free(t);
}

/* Free the table as it is: the leak checker tells whether that was all. */
static void abandon(struct addrtable *t)
{
    at_free(t);
    memset(model, 0, sizeof model);
    model_count = allocs_good = allocs_bad = 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct addrtable *t = at_new_seeded((const uint64_t[2]){1, 2});

    for (; size >= OP_SIZE; data += OP_SIZE, size -= OP_SIZE)
        run(t, &(struct op){data[0], data[1] % REGIONS, data[2] % LENGTHS, (unsigned)data[3] << 8 | data[4], data[5]});
    if (size)
        abandon(t);
    else
        finish(t);
    return 0;
}

/* What chance finds too seldom: 1,920 odd numbers and a few even ones, then segments joined during a walk. */
int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    static const uint8_t joined[] = {1, 0, 16, 0, 0, 120, 0, 0, 16, 0, 0, 2, 7, 0, 16, 0, 0, 255};

    (void)argc;
    (void)argv;
    return LLVMFuzzerTestOneInput(joined, sizeof joined);
}
