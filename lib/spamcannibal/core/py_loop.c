/* The binding of the packet loop: NfqLoop. */
#include "py_core.h"

#include <errno.h>

#include "nfqloop.h"

struct loop_object {
    PyObject_HEAD
    struct nfqloop *loop;
    PyObject *table, *trap; /* keep what the loop borrows */
    bool running, draining;
};

static int loop_init(PyObject *object, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"fd", "queue", "table", "trap", "copy_bytes", "queue_length", "sightings", NULL};
    struct loop_object *self = (struct loop_object *)object;
    unsigned short queue;
    int fd;
    unsigned copy_bytes = 128, queue_length = 8192, sightings = 65536;
    PyObject *table, *trap;

    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "iHOO|III:NfqLoop", names, &fd, &queue, &table, &trap, &copy_bytes,
                                     &queue_length, &sightings))
        return -1;
    if (self->loop) {
        PyErr_SetString(PyExc_RuntimeError, "NfqLoop is made already");
        return -1;
    }
    if (copy_bytes > 65535 || sightings < 1 || sightings > 1u << 24) {
        PyErr_SetString(PyExc_ValueError, "copy_bytes must be at most 65535, sightings 1 to 2**24");
        return -1;
    }
    struct nfqloop_settings settings = {
        .fd = fd,
        .queue = queue,
        .copy_bytes = copy_bytes,
        .queue_length = queue_length,
        .sightings = sightings,
        .table = py_table_get(table),
        .trap = py_trap_get(trap),
    };
    if (!settings.table || !settings.trap)
        return -1;
    self->table = Py_NewRef(table);
    self->trap = Py_NewRef(trap);
    self->loop = nfqloop_open(&settings);
    if (!self->loop) {
        PyErr_SetFromErrno(PyExc_OSError);
        return -1;
    }
    return 0;
}

static void loop_dealloc(PyObject *object)
{
    struct loop_object *self = (struct loop_object *)object;
    PyTypeObject *type = Py_TYPE(object);

    nfqloop_close(self->loop);
    Py_XDECREF(self->table);
    Py_XDECREF(self->trap);
    type->tp_free(object);
    Py_DECREF(type);
}

static struct nfqloop *made(struct loop_object *self)
{
    if (!self->loop)
        PyErr_SetString(PyExc_RuntimeError, "NfqLoop is not made");
    return self->loop;
}

static PyObject *loop_run(PyObject *object, PyObject *Py_UNUSED(unused))
{
    struct loop_object *self = (struct loop_object *)object;
    int error;

    if (!made(self))
        return NULL;
    if (self->running) {
        PyErr_SetString(PyExc_RuntimeError, "NfqLoop runs already");
        return NULL;
    }
    self->running = true;
    Py_BEGIN_ALLOW_THREADS
    error = nfqloop_run(self->loop);
    Py_END_ALLOW_THREADS
    self->running = false;
    if (error) {
        errno = error;
        return PyErr_SetFromErrno(PyExc_OSError);
    }
    Py_RETURN_NONE;
}

static PyObject *loop_stop(PyObject *object, PyObject *Py_UNUSED(unused))
{
    struct loop_object *self = (struct loop_object *)object;

    if (!made(self))
        return NULL;
    nfqloop_stop(self->loop);
    Py_RETURN_NONE;
}

/* Append and drop our reference; item may be NULL with an exception set. */
static int give(PyObject *list, PyObject *item)
{
    int failed = !item || PyList_Append(list, item) < 0;
    Py_XDECREF(item);
    return failed ? -1 : 0;
}

static int drain_sightings(struct nfqloop *loop, PyObject *listed, PyObject *unlisted)
{
    uint64_t base_ms;
    struct sightings *sightings = nfqloop_judge(loop)->sightings;
    uint32_t count = sight_swap(sightings, &base_ms);

    for (uint32_t i = 0; i < count; i++) {
        const struct sighting *s = sight_at(sightings, i);
        PyObject *item = Py_BuildValue("(y#IKK)", (const char *)s->addr, (Py_ssize_t)s->addrlen, (unsigned)s->count,
                                       (unsigned long long)(base_ms + s->first_ms),
                                       (unsigned long long)(base_ms + s->last_ms));
        if (give(s->listed ? listed : unlisted, item) < 0)
            return -1;
    }
    return 0;
}

static int drain_events(struct nfqloop *loop, PyObject *events)
{
    struct judge_event e;

    while (judge_event(nfqloop_judge(loop), &e)) {
        Py_ssize_t len = e.family == 4 ? 4 : 16;
        PyObject *item = Py_BuildValue("(Kssy#Hy#H)", (unsigned long long)e.time_ms, tp_event_name(e.event),
                                       tp_mode_name(e.mode), (const char *)e.src, len, e.sport, (const char *)e.dst, len,
                                       e.dport);
        if (give(events, item) < 0)
            return -1;
    }
    return 0;
}

static PyObject *loop_drain(PyObject *object, PyObject *Py_UNUSED(unused))
{
    struct loop_object *self = (struct loop_object *)object;
    PyObject *drained = NULL;

    if (!made(self))
        return NULL;
    if (self->draining) {
        PyErr_SetString(PyExc_RuntimeError, "NfqLoop is being drained by another thread");
        return NULL;
    }
    self->draining = true;
    PyObject *listed = PyList_New(0), *unlisted = PyList_New(0), *events = PyList_New(0);
    if (listed && unlisted && events && drain_sightings(self->loop, listed, unlisted) == 0 &&
        drain_events(self->loop, events) == 0)
        drained = PyTuple_Pack(3, listed, unlisted, events);
    self->draining = false;
    Py_XDECREF(listed);
    Py_XDECREF(unlisted);
    Py_XDECREF(events);
    return drained;
}

static PyObject *loop_counters(PyObject *object, PyObject *Py_UNUSED(unused))
{
    struct loop_object *self = (struct loop_object *)object;
    struct judge_counts counts;
    const uint64_t *number = (const uint64_t *)&counts;

    if (!made(self))
        return NULL;
    nfqloop_counts(self->loop, &counts);
    PyObject *dict = PyDict_New();
    for (size_t i = 0; dict && judge_count_names[i]; i++) {
        PyObject *value = PyLong_FromUnsignedLongLong(number[i]);
        if (!value || PyDict_SetItemString(dict, judge_count_names[i], value) < 0)
            Py_CLEAR(dict);
        Py_XDECREF(value);
    }
    return dict;
}

static PyMethodDef loop_methods[] = {
    {"run", loop_run, METH_NOARGS, "Serve the queue without the GIL until stop(); OSError when the queue is lost."},
    {"stop", loop_stop, METH_NOARGS, "Make run() return, from any thread, before or during it."},
    {"drain", loop_drain, METH_NOARGS,
     "Take what was noted since the last drain: (listed, unlisted, events).\n\n"
     "A sighting is (addr, count, first_ms, last_ms), an event (time_ms, name, mode, src, sport, dst, dport)."},
    {"counters", loop_counters, METH_NOARGS, "All counters since the start, by name."},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot loop_slots[] = {
    {Py_tp_doc, "NfqLoop(fd, queue, table, trap, copy_bytes=128, queue_length=8192, sightings=65536)\n--\n\n"
                "The packet loop of one kernel queue that the netlink socket fd is bound to; fd stays the caller's."},
    {Py_tp_new, PyType_GenericNew},
    {Py_tp_init, loop_init},
    {Py_tp_dealloc, loop_dealloc},
    {Py_tp_methods, loop_methods},
    {0, NULL},
};

static PyType_Spec loop_spec = {
    .name = "spamcannibal._core.NfqLoop",
    .basicsize = sizeof(struct loop_object),
    .flags = Py_TPFLAGS_DEFAULT,
    .slots = loop_slots,
};

int py_loop_init(PyObject *module)
{
    PyObject *type = PyType_FromSpec(&loop_spec);
    int failed = !type || PyModule_AddType(module, (PyTypeObject *)type) < 0;

    Py_XDECREF(type);
    return failed ? -1 : 0;
}
