/* Replay: captured packets by the thousand through the tarpit's decisions, as a Python object. */
#include "py_core.h"

#include <string.h>

#include "capture.h"
#include "replay.h"
#include "trap.h"

enum { SOURCES_MAX = 1 << 24, PORTS = 65536 };

struct py_replay {
    PyObject_HEAD
    struct replay *replay;
    PyObject *listings, *shadows; /* keep what the replay borrows */
    bool is_feeding;
};

static struct replay *replay_of(PyObject *self)
{
    return ((struct py_replay *)self)->replay;
}

/* ---- feeding ---- */

/* Fill in where the frames lie; the tuple keeps them. */
static int gather(PyObject *frames, PyObject *times, struct replay_packet *out)
{
    for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(frames); i++) {
        PyObject *frame = PyTuple_GET_ITEM(frames, i);

        if (!PyBytes_Check(frame)) {
            PyErr_Format(PyExc_TypeError, "frame: got %s, want bytes", Py_TYPE(frame)->tp_name);
            return -1;
        }
        out[i].frame = (const uint8_t *)PyBytes_AS_STRING(frame);
        out[i].size = (uint32_t)(PyBytes_GET_SIZE(frame) & UINT32_MAX);
        out[i].time_ms = PyLong_AsUnsignedLongLong(PyTuple_GET_ITEM(times, i));
        if (PyErr_Occurred())
            return -1;
    }
    return 0;
}

static PyObject *feed(struct py_replay *self, unsigned link, PyObject *frames, PyObject *times)
{
    const Py_ssize_t count = PyTuple_GET_SIZE(frames);
    struct replay_packet *packets = PyMem_New(struct replay_packet, count ? count : 1);
    int failed;

    if (!packets)
        return PyErr_NoMemory();
    if (gather(frames, times, packets) < 0) {
        PyMem_Free(packets);
        return NULL;
    }
    self->is_feeding = true;
    Py_BEGIN_ALLOW_THREADS
    failed = replay_feed(self->replay, link, packets, (size_t)count);
    Py_END_ALLOW_THREADS
    self->is_feeding = false;
    PyMem_Free(packets);
    if (failed)
        return PyErr_NoMemory();
    Py_RETURN_NONE;
}

PyDoc_STRVAR(feed_doc, "feed(link, frames, times_ms)\n--\n\n"
                       "Decide frames of a link type, each captured at its time; both are sequences of one length.\n"
                       "ValueError: a link type that is not known. The GIL is released meanwhile.");

static PyObject *replay_py_feed(PyObject *object, PyObject *args)
{
    struct py_replay *self = (struct py_replay *)object;
    PyObject *frames, *times, *result = NULL;
    unsigned link;

    if (!PyArg_ParseTuple(args, "IOO:feed", &link, &frames, &times))
        return NULL;
    if (!capture_is_known(link))
        return PyErr_Format(PyExc_ValueError, "link: got type %u, which is not known", link);
    if (self->is_feeding) {
        PyErr_SetString(PyExc_RuntimeError, "another thread is feeding it");
        return NULL;
    }
    frames = PySequence_Tuple(frames);
    times = frames ? PySequence_Tuple(times) : NULL;
    if (times && PyTuple_GET_SIZE(frames) != PyTuple_GET_SIZE(times))
        PyErr_Format(PyExc_ValueError, "got %zd frames and %zd times", PyTuple_GET_SIZE(frames),
                     PyTuple_GET_SIZE(times));
    else if (times)
        result = feed(self, link, frames, times);
    Py_XDECREF(frames);
    Py_XDECREF(times);
    return result;
}

/* ---- results ---- */

static int put_number(PyObject *dict, const char *name, uint64_t value)
{
    PyObject *number = PyLong_FromUnsignedLongLong(value);
    const int failed = number ? PyDict_SetItemString(dict, name, number) : -1;

    Py_XDECREF(number);
    return failed;
}

PyDoc_STRVAR(counts_doc, "counts()\n--\n\nGive the totals by name (see replay.h).");

static PyObject *replay_py_counts(PyObject *self, PyObject *Py_UNUSED(unused))
{
    uint64_t counts[sizeof(struct replay_counts) / sizeof(uint64_t)];
    PyObject *out = PyDict_New();

    memcpy(counts, replay_counts(replay_of(self)), sizeof counts);
    for (unsigned i = 0; out && replay_count_names[i]; i++)
        if (put_number(out, replay_count_names[i], counts[i]) < 0)
            Py_CLEAR(out);
    return out;
}

PyDoc_STRVAR(events_doc, "events()\n--\n\nGive how often the tarpit's events would have happened, those that did.");

static PyObject *replay_py_events(PyObject *self, PyObject *Py_UNUSED(unused))
{
    const uint64_t *events = replay_events(replay_of(self));
    PyObject *out = PyDict_New();

    for (unsigned i = TP_NONE + 1; out && i < TP_EVENTS; i++)
        if (events[i] && put_number(out, tp_event_name(i), events[i]) < 0)
            Py_CLEAR(out);
    return out;
}

static PyObject *source_tuple(const struct replay_source *s)
{
    static const char *const fates[] = {"passed", "shadowed", "observed", "dropped"};

    return Py_BuildValue("(y#BIssKKKKKKK)", (const char *)s->addr, (Py_ssize_t)s->addrlen, s->plen, s->value,
                         fates[s->fate], tp_mode_name(s->mode), s->packets, s->connections, s->answered, s->bytes_in,
                         s->bytes_out, s->first_ms, s->last_ms);
}

PyDoc_STRVAR(sources_doc, "sources()\n--\n\n"
                          "Give each source that something lists: (addr, prefix length and value of the listing, fate, "
                          "mode,\npackets, connections, answered, bytes_in, bytes_out, first_ms, last_ms).");

static PyObject *replay_py_sources(PyObject *self, PyObject *Py_UNUSED(unused))
{
    uint32_t count;
    const struct replay_source *sources = replay_sources(replay_of(self), &count);
    PyObject *list = PyList_New((Py_ssize_t)count);

    for (uint32_t i = 0; list && i < count; i++) {
        PyObject *item = source_tuple(&sources[i]);

        if (item)
            PyList_SET_ITEM(list, (Py_ssize_t)i, item);
        else
            Py_CLEAR(list);
    }
    return list;
}

PyDoc_STRVAR(timeline_doc, "timeline()\n--\n\n"
                           "Give (start_ms, span_ms, [(passed, shadowed, dropped), ...]), packets by span of time.");

static PyObject *replay_py_timeline(PyObject *self, PyObject *Py_UNUSED(unused))
{
    uint64_t start_ms, span_ms;
    uint32_t count;
    const struct replay_span *spans = replay_spans(replay_of(self), &count, &start_ms, &span_ms);
    PyObject *list = PyList_New((Py_ssize_t)count);

    for (uint32_t i = 0; list && i < count; i++) {
        PyObject *item = Py_BuildValue("(KKK)", spans[i].passed, spans[i].shadowed, spans[i].dropped);

        if (item)
            PyList_SET_ITEM(list, (Py_ssize_t)i, item);
        else
            Py_CLEAR(list);
    }
    return list ? Py_BuildValue("(KKN)", start_ms, span_ms, list) : NULL;
}

/* ---- the type ---- */

static int parse_ports(PyObject *ports, uint8_t bits[PORTS / 8])
{
    PyObject *tuple = PySequence_Tuple(ports);
    int failed = tuple ? 0 : -1;

    for (Py_ssize_t i = 0; !failed && i < PyTuple_GET_SIZE(tuple); i++) {
        const long port = PyLong_AsLong(PyTuple_GET_ITEM(tuple, i));

        if (port >= 0 && port < PORTS) {
            bits[port >> 3] |= (uint8_t)(1 << (port & 7));
            continue;
        }
        if (!PyErr_Occurred())
            PyErr_Format(PyExc_ValueError, "port: got %ld, want 0 to 65535", port);
        failed = -1;
    }
    Py_XDECREF(tuple);
    return failed;
}

static PyObject *replay_py_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"trap", "listings", "shadows", "ports", "sources", NULL};
    PyObject *trap, *listings, *shadows, *ports;
    uint8_t bits[PORTS / 8] = {0};
    unsigned sources = 100000;
    struct trap *held;
    struct replay_settings set = {.ports = bits};
    struct py_replay *self;

    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "OOOO|I:Replay", names, &trap, &listings, &shadows, &ports, &sources))
        return NULL;
    if (sources < 1 || sources > SOURCES_MAX)
        return PyErr_Format(PyExc_ValueError, "sources: got %u, want 1 to %d", sources, SOURCES_MAX);
    held = py_trap_get(trap);
    set.listings = held ? py_table_get(listings) : NULL;
    set.shadows = set.listings ? py_table_get(shadows) : NULL;
    if (!set.shadows || parse_ports(ports, bits) < 0)
        return NULL;
    trap_config(held, &set.config);
    set.sources_max = sources;
    if (!(self = (struct py_replay *)type->tp_alloc(type, 0)))
        return NULL;
    self->listings = Py_NewRef(listings);
    self->shadows = Py_NewRef(shadows);
    if (!(self->replay = replay_new(&set))) {
        Py_DECREF(self);
        return PyErr_NoMemory();
    }
    return (PyObject *)self;
}

static void replay_py_dealloc(PyObject *object)
{
    struct py_replay *self = (struct py_replay *)object;
    PyTypeObject *type = Py_TYPE(object);

    replay_free(self->replay);
    Py_XDECREF(self->listings);
    Py_XDECREF(self->shadows);
    type->tp_free(object);
    Py_DECREF(type);
}

int py_replay_init(PyObject *module)
{
    static PyMethodDef methods[] = {
        {"feed", replay_py_feed, METH_VARARGS, feed_doc},
        {"counts", replay_py_counts, METH_NOARGS, counts_doc},
        {"events", replay_py_events, METH_NOARGS, events_doc},
        {"sources", replay_py_sources, METH_NOARGS, sources_doc},
        {"timeline", replay_py_timeline, METH_NOARGS, timeline_doc},
        {NULL, NULL, 0, NULL},
    };
    PyType_Slot slots[] = {
        {Py_tp_doc, "Replay(trap, listings, shadows, ports, sources=100000)\n--\n\n"
                    "Captured packets, decided by a trap's settings as of now and two address tables, and counted."},
        {Py_tp_new, replay_py_new},
        {Py_tp_dealloc, replay_py_dealloc},
        {Py_tp_methods, methods},
        {0, NULL},
    };
    PyType_Spec spec = {
        .name = "spamcannibal._core.Replay",
        .basicsize = sizeof(struct py_replay),
        .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE,
        .slots = slots,
    };
    PyObject *type = PyType_FromModuleAndSpec(module, &spec, NULL);
    const int failed = type ? PyModule_AddType(module, (PyTypeObject *)type) : -1;

    Py_XDECREF(type);
    return failed;
}
