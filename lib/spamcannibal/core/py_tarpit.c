/* Trap: settings, decisions, timer and statistics of the tarpit as a Python object.
 *
 * Every method that needs the time takes now_ms, milliseconds of the monotonic clock, and else reads that clock.
 * The trap's lock is held for microseconds and never while Python runs, so the GIL is kept while waiting for it.
 */
#include <string.h>
#include <time.h>

#include "py_packet.h"
#include "py_settings.h"

enum { DUE_MAX = 256, SLOTS_MAX = 1 << 26, SECRET_BYTES = 16 };

struct py_trap {
    PyObject_HEAD
    struct trap *trap;
    struct trap_settings set; /* as last configured; the secret may be newer in the trap (load) */
};

static struct trap *trap_of(PyObject *self)
{
    return ((struct py_trap *)self)->trap;
}

/* ---- arguments ---- */

static int parse_now(PyObject *arg, void *now_ms)
{
    struct timespec ts;

    if (arg != Py_None) {
        *(uint64_t *)now_ms = PyLong_AsUnsignedLongLong(arg);
        return !PyErr_Occurred();
    }
    clock_gettime(CLOCK_MONOTONIC, &ts);
    *(uint64_t *)now_ms = (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
    return 1;
}

/* The only argument of a method, now_ms=None. */
static int parse_now_only(PyObject *args, PyObject *kwargs, uint64_t *now_ms)
{
    static char *names[] = {"now_ms", NULL};

    parse_now(Py_None, now_ms);
    return PyArg_ParseTupleAndKeywords(args, kwargs, "|O&", names, parse_now, now_ms);
}

PyDoc_STRVAR(configure_doc,
             "configure(*, mode=..., greeting_name=..., throttle_window=..., stutter_interval_s=..., "
             "connections=..., bandwidth_limit_bytes=..., other_protocols=..., loopback=..., answer_synack=..., "
             "unacked_limit=...)\n--\n\n"
             "Change settings while loops run; what is not given stays. ValueError: nothing is changed.\n"
             "More connections than slots were made for need a new Trap.");

static PyObject *trap_py_configure(PyObject *self, PyObject *args, PyObject *kwargs)
{
    struct py_trap *trap = (struct py_trap *)self;
    struct trap_settings set = trap->set;
    struct tp_config current;

    if (py_settings_parse(args, kwargs, trap_slots(trap->trap), &set) < 0)
        return NULL;
    trap_config(trap->trap, &current);
    memcpy(set.tp.secret, current.secret, sizeof set.tp.secret);
    trap->set = set;
    trap_configure(trap->trap, &set);
    Py_RETURN_NONE;
}

/* ---- packets ---- */

static PyObject *decision_tuple(const struct decision *d)
{
    static const char *const slots[] = {"", "open", "acked", "free"};
    PyObject *reply = d->has_reply ? py_packet_build(&d->reply) : Py_NewRef(Py_None);

    if (!reply)
        return NULL;
    return Py_BuildValue("(sNsssI)", d->verdict == TP_DROP ? "DROP" : "ACCEPT", reply, tp_event_name(d->event),
                         tp_mode_name(d->mode), slots[d->slot], d->k);
}

PyDoc_STRVAR(decide_doc,
             "decide(packet, value, verify=False)\n--\n\n"
             "Judge a packet whose source has the table value: (verdict, reply or None, event, mode, slot, k).\n"
             "Pure: no slot, no bandwidth, no statistics.");

static PyObject *trap_py_decide(PyObject *self, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"packet", "value", "verify", NULL};
    Py_buffer in;
    unsigned value;
    int verify = 0;
    struct tp_config cfg;
    struct pkt p;
    struct decision d;

    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "y*I|p:decide", names, &in, &value, &verify))
        return NULL;
    trap_config(trap_of(self), &cfg);
    pkt_decode(in.buf, (size_t)in.len, verify, &p);
    PyBuffer_Release(&in);
    tp_decide(&p, value, &cfg, &d);
    return decision_tuple(&d);
}

PyDoc_STRVAR(apply_doc, "apply(packet, value, *, ifindex=0, mac=b'', now_ms=None)\n--\n\n"
                        "Do with a packet what the packet loop does; the result is that of decide.");

static PyObject *trap_py_apply(PyObject *self, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"packet", "value", "ifindex", "mac", "now_ms", NULL};
    struct link_addr link = {0};
    const char *mac = "";
    Py_ssize_t mac_len = 0;
    unsigned value;
    Py_buffer in;
    uint64_t now_ms;
    struct tp_config cfg;
    struct pkt p;
    struct decision d;

    parse_now(Py_None, &now_ms);
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "y*I|$iy#O&:apply", names, &in, &value, &link.ifindex, &mac,
                                     &mac_len, parse_now, &now_ms))
        return NULL;
    trap_config(trap_of(self), &cfg);
    pkt_decode(in.buf, (size_t)in.len, false, &p);
    PyBuffer_Release(&in);
    if (mac_len == sizeof link.mac) {
        link.mac_len = sizeof link.mac;
        memcpy(link.mac, mac, sizeof link.mac);
    }
    tp_decide(&p, value, &cfg, &d);
    if (d.event != TP_NONE)
        trap_apply(trap_of(self), &p, &d, &link, now_ms);
    return decision_tuple(&d);
}

/* ---- timer ---- */

static PyObject *due_tuple(const struct trap_byte *b)
{
    PyObject *packet = py_packet_build(&b->reply);

    if (!packet)
        return NULL;
    return Py_BuildValue("(Niy#)", packet, (int)b->link.ifindex, (const char *)b->link.mac,
                         (Py_ssize_t)b->link.mac_len);
}

PyDoc_STRVAR(due_doc, "due(now_ms=None)\n--\n\n"
                      "Take the bytes of stutter that are due, at most 256: [(packet, ifindex, mac), ...].");

static PyObject *trap_py_due(PyObject *self, PyObject *args, PyObject *kwargs)
{
    struct trap_byte bytes[DUE_MAX];
    struct tp_config cfg;
    uint64_t now_ms;

    if (!parse_now_only(args, kwargs, &now_ms))
        return NULL;
    trap_config(trap_of(self), &cfg);
    const size_t n = trap_due(trap_of(self), &cfg, now_ms, bytes, DUE_MAX);
    PyObject *list = PyList_New((Py_ssize_t)n);

    for (size_t i = 0; list && i < n; i++) {
        PyObject *item = due_tuple(&bytes[i]);

        if (item)
            PyList_SET_ITEM(list, (Py_ssize_t)i, item);
        else
            Py_CLEAR(list);
    }
    return list;
}

PyDoc_STRVAR(next_due_doc, "next_due()\n--\n\nGive the time in now_ms terms when something is due next, or None.");

static PyObject *trap_py_next_due(PyObject *self, PyObject *Py_UNUSED(unused))
{
    const uint64_t due = trap_next_due(trap_of(self));

    if (due == UINT64_MAX)
        Py_RETURN_NONE;
    return PyLong_FromUnsignedLongLong(due);
}

/* ---- restart ---- */

PyDoc_STRVAR(dump_doc, "dump(now_ms=None)\n--\n\n"
                       "Give the held connections and the secret as bytes: keep them private.");

static PyObject *trap_py_dump(PyObject *self, PyObject *args, PyObject *kwargs)
{
    PyObject *out = NULL;
    uint64_t now_ms;
    size_t have = 0, need;

    if (!parse_now_only(args, kwargs, &now_ms))
        return NULL;
    need = trap_dump(trap_of(self), now_ms, NULL, 0);
    while (need > have) { /* loops may arm slots in between: some room to spare, and again if that was not enough */
        have = need + need / 8;
        Py_XSETREF(out, PyBytes_FromStringAndSize(NULL, (Py_ssize_t)have));
        if (!out)
            return NULL;
        need = trap_dump(trap_of(self), now_ms, (uint8_t *)PyBytes_AS_STRING(out), have);
    }
    _PyBytes_Resize(&out, (Py_ssize_t)need);
    return out;
}

PyDoc_STRVAR(load_doc, "load(dump, now_ms=None)\n--\n\n"
                       "Hold what a dump holds, under its secret, instead of what is held now; how many that are.\n"
                       "ValueError if it is no dump of this version: nothing is changed.");

static PyObject *trap_py_load(PyObject *self, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"dump", "now_ms", NULL};
    uint64_t now_ms;
    Py_buffer in;

    parse_now(Py_None, &now_ms);
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "y*|O&:load", names, &in, parse_now, &now_ms))
        return NULL;
    const int64_t loaded = trap_load(trap_of(self), now_ms, in.buf, (size_t)in.len);

    PyBuffer_Release(&in);
    if (loaded < 0) {
        PyErr_SetString(PyExc_ValueError, "not a dump of the trap, or of another version");
        return NULL;
    }
    return PyLong_FromLongLong(loaded);
}

/* ---- statistics ---- */

static PyObject *named_counts(const uint64_t *counts, unsigned first, unsigned end, const char *(*name)(unsigned))
{
    PyObject *out = PyDict_New();

    for (unsigned i = first; out && i < end; i++) {
        PyObject *n = PyLong_FromUnsignedLongLong(counts[i]);

        if (!n || PyDict_SetItemString(out, name(i), n) < 0)
            Py_CLEAR(out);
        Py_XDECREF(n);
    }
    return out;
}

PyDoc_STRVAR(stats_doc, "stats(now_ms=None)\n--\n\nGive all counters since the start (see trap.h), by name.");

static PyObject *trap_py_stats(PyObject *self, PyObject *args, PyObject *kwargs)
{
    uint64_t now_ms;
    struct trap_stats s;

    if (!parse_now_only(args, kwargs, &now_ms))
        return NULL;
    trap_stats(trap_of(self), now_ms, &s);
    PyObject *trapped = named_counts(s.trapped, TP_THROTTLE, TP_STUTTER + 1, tp_mode_name);
    PyObject *events = named_counts(s.events, TP_OBSERVED, TP_EVENTS, tp_event_name);

    if (!trapped || !events) {
        Py_XDECREF(trapped);
        Py_XDECREF(events);
        return NULL;
    }
    return Py_BuildValue("{sKsKsKsKsKsKsKsKsKsKsKsNsN}", "held", s.held, "held_s", s.held_s, "armed", s.armed,
                         "sent_bytes", s.sent_bytes, "acked_bytes", s.acked_bytes, "bytes_in", s.bytes_in, "bytes_out",
                         s.bytes_out, "shed_new", s.shed_new, "shed_held", s.shed_held, "shed_slots", s.shed_slots,
                         "given_up", s.given_up, "trapped", trapped, "events", events);
}

/* ---- the type ---- */

static PyObject *trap_py_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"slots", "secret", NULL};
    Py_ssize_t secret_len;
    const char *secret;
    struct py_trap *self;
    long long slots;

    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "Ly#:Trap", names, &slots, &secret, &secret_len))
        return NULL;
    if (slots < 1 || slots > SLOTS_MAX)
        return PyErr_Format(PyExc_ValueError, "slots: got %lld, want 1 to %d", slots, SLOTS_MAX);
    if (secret_len != SECRET_BYTES)
        return PyErr_Format(PyExc_ValueError, "secret: got %zd bytes, want %d", secret_len, SECRET_BYTES);
    if (!(self = (struct py_trap *)type->tp_alloc(type, 0)))
        return NULL;
    if (!(self->trap = trap_new((uint32_t)slots))) {
        Py_DECREF(self);
        return PyErr_NoMemory();
    }
    py_settings_defaults((uint32_t)slots, (const uint8_t *)secret, &self->set);
    trap_configure(self->trap, &self->set);
    return (PyObject *)self;
}

static void trap_py_dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);

    trap_free(trap_of(self));
    type->tp_free(self);
    Py_DECREF(type);
}

struct trap *py_trap_get(PyObject *object)
{
    if (Py_TYPE(object)->tp_dealloc != trap_py_dealloc) { /* not subclassable, so this names the type */
        PyErr_Format(PyExc_TypeError, "got %s, want Trap", Py_TYPE(object)->tp_name);
        return NULL;
    }
    return trap_of(object);
}

#define WITH_KEYWORDS(function) (PyCFunction)(void (*)(void))(function), METH_VARARGS | METH_KEYWORDS

int py_tarpit_init(PyObject *module)
{
    static PyMethodDef methods[] = {
        {"configure", WITH_KEYWORDS(trap_py_configure), configure_doc},
        {"decide", WITH_KEYWORDS(trap_py_decide), decide_doc},
        {"apply", WITH_KEYWORDS(trap_py_apply), apply_doc},
        {"due", WITH_KEYWORDS(trap_py_due), due_doc},
        {"next_due", trap_py_next_due, METH_NOARGS, next_due_doc},
        {"dump", WITH_KEYWORDS(trap_py_dump), dump_doc},
        {"load", WITH_KEYWORDS(trap_py_load), load_doc},
        {"stats", WITH_KEYWORDS(trap_py_stats), stats_doc},
        {NULL, NULL, 0, NULL},
    };
    PyType_Slot slots[] = {
        {Py_tp_doc, "Trap(slots, secret)\n--\n\n"
                    "The tarpit's settings, held connections and statistics, for several loops at once."},
        {Py_tp_new, trap_py_new},
        {Py_tp_dealloc, trap_py_dealloc},
        {Py_tp_methods, methods},
        {0, NULL},
    };
    PyType_Spec spec = {
        .name = "spamcannibal._core.Trap",
        .basicsize = sizeof(struct py_trap),
        .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE,
        .slots = slots,
    };
    PyObject *type = PyType_FromModuleAndSpec(module, &spec, NULL);
    int failed = type ? PyModule_AddType(module, (PyTypeObject *)type) : -1;

    Py_XDECREF(type);
    return failed < 0 ? -1 : py_packet_init(module);
}
