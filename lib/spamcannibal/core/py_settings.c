/* The settings of a Trap: from Python's keyword arguments, every value checked and named when it is wrong. */
#include "py_settings.h"

#include <stdio.h>
#include <string.h>

#include "siphash.h"

enum { INTERVAL_MAX_S = 86400 };

static const double BANDWIDTH_MAX = (double)((uint64_t)1 << 40);

static int parse_mode(const char *name, uint8_t *mode)
{
    for (uint8_t i = TP_DEFAULT + 1; i < TP_MODES; i++) {
        if (strcmp(name, tp_mode_name(i)) != 0)
            continue;
        *mode = i;
        return 0;
    }
    PyErr_Format(PyExc_ValueError, "mode: got %s, want throttle, persist, stutter, drop or observe", name);
    return -1;
}

/* "220 NAME ESMTP" and "220-NAME ESMTP", of one length as the theory wants. */
static int set_greeting(struct tp_config *tp, const char *name)
{
    const size_t len = strlen(name);

    for (size_t i = 0; i < len; i++) {
        if (name[i] > ' ' && name[i] < 127)
            continue;
        PyErr_SetString(PyExc_ValueError, "greeting_name: want printable ASCII without blanks");
        return -1;
    }
    if (len < 1 || len > 255) {
        PyErr_Format(PyExc_ValueError, "greeting_name: got %zu characters, want 1 to 255", len);
        return -1;
    }
    tp->line_len = (uint16_t)snprintf((char *)tp->greeting, sizeof tp->greeting, "220 %s ESMTP\r\n", name);
    memcpy(tp->line, tp->greeting, tp->line_len);
    tp->line[3] = '-';
    return 0;
}

static int check(const char *name, double got, double low, double high)
{
    char text[128];

    if (got >= low && got <= high)
        return 0;
    snprintf(text, sizeof text, "%s: got %.15g, want %.15g to %.15g", name, got, low, high);
    PyErr_SetString(PyExc_ValueError, text);
    return -1;
}

static int check_settings(uint32_t slots, double connections, double window, double interval_s, double unacked,
                          double bandwidth)
{
    if (check("connections", connections, 1, slots) < 0)
        return -1;
    if (check("throttle_window", window, 1, UINT16_MAX) < 0 || check("unacked_limit", unacked, 1, UINT8_MAX) < 0)
        return -1;
    if (check("stutter_interval_s", interval_s, 0.001, INTERVAL_MAX_S) < 0)
        return -1;
    return check("bandwidth_limit_bytes", bandwidth, 0, BANDWIDTH_MAX);
}

int py_settings_parse(PyObject *args, PyObject *kwargs, uint32_t slots, struct trap_settings *set)
{
    static char *names[] = {"mode", "greeting_name", "throttle_window", "stutter_interval_s", "connections",
                            "bandwidth_limit_bytes", "other_protocols", "loopback", "answer_synack", "unacked_limit",
                            NULL};
    struct tp_config *tp = &set->tp;
    const char *mode = NULL, *greeting_name = NULL;
    long long window = tp->window, connections = set->connections, bandwidth = (long long)set->bandwidth;
    long long unacked = set->unacked_limit;
    double interval_s = set->interval_ms / 1000.0;
    int other = tp->other_protocols, loopback = tp->loopback, synack = tp->answer_synack;

    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "|$ssLdLLpppL:configure", names, &mode, &greeting_name, &window,
                                     &interval_s, &connections, &bandwidth, &other, &loopback, &synack, &unacked))
        return -1;
    if ((mode && parse_mode(mode, &tp->mode) < 0) || (greeting_name && set_greeting(tp, greeting_name) < 0))
        return -1;
    if (check_settings(slots, (double)connections, (double)window, interval_s, (double)unacked, (double)bandwidth) < 0)
        return -1;
    tp->window = (uint16_t)window;
    tp->other_protocols = other;
    tp->loopback = loopback;
    tp->answer_synack = synack;
    set->connections = (uint32_t)connections;
    set->interval_ms = (uint32_t)(interval_s * 1000 + 0.5);
    set->unacked_limit = (uint32_t)unacked;
    set->bandwidth = (uint64_t)bandwidth;
    return 0;
}

void py_settings_defaults(uint32_t slots, const uint8_t secret[16], struct trap_settings *set)
{
    *set = (struct trap_settings){
        .tp = {.mode = TP_STUTTER, .window = 10, .answer_synack = true},
        .connections = slots,
        .interval_ms = 10000,
        .unacked_limit = 6,
    };
    set_greeting(&set->tp, "localhost");
    for (unsigned i = 0; i < 2; i++)
        set->tp.secret[i] = sip_word(secret + 8 * i, 8);
}
