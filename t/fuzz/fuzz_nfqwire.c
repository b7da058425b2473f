/* Fuzz target: netlink messages as the kernel's queue sends them, parsed to the end of the buffer.
 *
 * Build: clang-14 -g -O1 -std=c11 -fsanitize=fuzzer,address,undefined -I lib/spamcannibal/core \
 *          t/fuzz/fuzz_nfqwire.c lib/spamcannibal/core/nfqwire.c
 * Beyond what the sanitizers see it asserts that what is handed out lies inside the input, and that parsing goes on.
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "nfqwire.h"

static void parse_all(const uint8_t *data, size_t size)
{
    struct nfq_packet p;
    size_t at = 0, used;

    for (;;) {
        enum nfq_kind kind = nfqwire_parse(data + at, size - at, &p, &used);
        if (kind == NFQ_MALFORMED) {
            assert(used == 0);
            return;
        }
        assert(used >= 16 && used <= size - at);
        assert(p.hwlen <= sizeof p.hwaddr);
        assert(p.data ? p.data >= data + at && p.data + p.caplen <= data + at + used : p.caplen == 0);
        at += used;
    }
}

/* What we write must be read back by ourselves as a message of just that length, and not as a packet. */
static void write_one(const uint8_t *data, size_t size)
{
    uint8_t verdict[NFQWIRE_VERDICT_BYTES], flags[NFQWIRE_FLAGS_BYTES];
    uint32_t words[3] = {0};
    struct nfq_packet p;
    size_t used;

    memcpy(words, data, size < sizeof words ? size : sizeof words);
    nfqwire_verdict_upto(verdict, (uint16_t)words[0], words[1], words[2]);
    assert(nfqwire_parse(verdict, sizeof verdict, &p, &used) == NFQ_OTHER && used == sizeof verdict);
    nfqwire_set_flags(flags, (uint16_t)words[0], words[1]);
    assert(nfqwire_parse(flags, sizeof flags, &p, &used) == NFQ_OTHER && used == sizeof flags);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    parse_all(data, size);
    write_one(data, size);
    return 0;
}
