/* DnsLoop: the UDP loop of the DNS server as a Python object. */
#include "py_core.h"

#include <errno.h>

#include "dnscookie.h"
#include "dnsloop.h"

struct py_dnsloop {
    PyObject_HEAD
    struct dnsloop *loop;
    PyObject *view, *rrl, *talkers; /* keep what the loop borrows */
    bool running;
};

static struct dnsloop *loop_of(PyObject *self) { return ((struct py_dnsloop *)self)->loop; }

PyDoc_STRVAR(run_doc, "run($self, /)\n--\n\nAnswer without the GIL until stop(); OSError when a socket is lost.");

static PyObject *py_dnsloop_run(PyObject *self, PyObject *Py_UNUSED(unused))
{
    struct py_dnsloop *l = (struct py_dnsloop *)self;
    int error;

    if (l->running) {
        PyErr_SetString(PyExc_RuntimeError, "DnsLoop runs already");
        return NULL;
    }
    l->running = true;
    Py_BEGIN_ALLOW_THREADS
    error = dnsloop_run(l->loop);
    Py_END_ALLOW_THREADS
    l->running = false;
    if (error) {
        errno = error;
        return PyErr_SetFromErrno(PyExc_OSError);
    }
    Py_RETURN_NONE;
}

PyDoc_STRVAR(stop_doc, "stop($self, /)\n--\n\nMake run() return, from any thread, before or during it.");

static PyObject *py_dnsloop_stop(PyObject *self, PyObject *Py_UNUSED(unused))
{
    dnsloop_stop(loop_of(self));
    Py_RETURN_NONE;
}

/* Counts of n zones as a list of numbers, ten a zone. */
static PyObject *zone_list(const struct dnsserve_zone_counts *counts, size_t n)
{
    enum { PER_ZONE = DNSSERVE_TYPES * DNSSERVE_RCODES };
    const uint64_t *number = (const uint64_t *)counts;
    PyObject *list = PyList_New((Py_ssize_t)(n * PER_ZONE));

    for (size_t i = 0; list && i < n * PER_ZONE; i++) {
        PyObject *value = PyLong_FromUnsignedLongLong(number[i]);
        if (!value)
            Py_CLEAR(list);
        else
            PyList_SET_ITEM(list, (Py_ssize_t)i, value);
    }
    return list;
}

static size_t zones_of(PyObject *view)
{
    return view && view != Py_None ? py_dnsview_of(view)->zones.n : 0;
}

PyDoc_STRVAR(publish_doc, "publish($self, view, /)\n--\n\n"
    "Answer from a DnsView from the next batch on; None (as at first) asks Python everything.\n"
    "Return what zone_counts() was at the end of the view before.");

static PyObject *py_dnsloop_publish(PyObject *self, PyObject *view)
{
    struct py_dnsloop *l = (struct py_dnsloop *)self;
    const struct dnsview *compiled = view == Py_None ? NULL : py_dnsview_of(view);
    struct dnsserve_zone_counts *before = NULL;
    int failed;

    if (!compiled && view != Py_None)
        return NULL;
    Py_BEGIN_ALLOW_THREADS
    failed = dnsloop_publish(l->loop, compiled, &before);
    Py_END_ALLOW_THREADS
    if (failed)
        return PyErr_NoMemory();
    PyObject *counts = zone_list(before, before ? zones_of(l->view) : 0);
    free(before);
    Py_XSETREF(l->view, Py_NewRef(view));
    return counts;
}

PyDoc_STRVAR(set_secrets_doc, "set_secrets($self, secrets, /)\n--\n\n"
    "Give cookies by secrets that follow each other, the first making them; none with none, as at first.");

static PyObject *py_dnsloop_set_secrets(PyObject *self, PyObject *secrets)
{
    char *data;
    Py_ssize_t size;

    if (PyBytes_AsStringAndSize(secrets, &data, &size) < 0)
        return NULL;
    if (size % DNSCOOKIE_SECRET_BYTES || size > DNSSERVE_SECRETS * DNSCOOKIE_SECRET_BYTES)
        return PyErr_Format(PyExc_ValueError, "want at most %d secrets of %d bytes", DNSSERVE_SECRETS,
                            DNSCOOKIE_SECRET_BYTES);
    Py_BEGIN_ALLOW_THREADS
    dnsloop_set_secrets(loop_of(self), (const uint8_t *)data, (size_t)size / DNSCOOKIE_SECRET_BYTES);
    Py_END_ALLOW_THREADS
    Py_RETURN_NONE;
}

PyDoc_STRVAR(zone_counts_doc, "zone_counts($self, /)\n--\n\n"
    "Return the replies in the view's zones, in the order of its names: for each, by type (A, AAAA, TXT, ANY, others),\n"
    "the number with NOERROR and with NXDOMAIN.");

static PyObject *py_dnsloop_zone_counts(PyObject *self, PyObject *Py_UNUSED(unused))
{
    struct py_dnsloop *l = (struct py_dnsloop *)self;
    size_t n = zones_of(l->view);
    struct dnsserve_zone_counts *counts = PyMem_Calloc(n + 1, sizeof *counts);

    if (!counts)
        return PyErr_NoMemory();
    Py_BEGIN_ALLOW_THREADS
    dnsloop_zone_counts(l->loop, counts, n);
    Py_END_ALLOW_THREADS
    PyObject *list = zone_list(counts, n);
    PyMem_Free(counts);
    return list;
}

PyDoc_STRVAR(fileno_doc, "fileno($self, /)\n--\n\nReturn the descriptor that is readable while there are asks.");

static PyObject *py_dnsloop_fileno(PyObject *self, PyObject *Py_UNUSED(unused))
{
    return PyLong_FromLong(dnsloop_ask_fd(loop_of(self)));
}

PyDoc_STRVAR(take_doc, "take($self, limit, /)\n--\n\n"
    "Take up to limit queries that Python must answer, the oldest first: a list of (query, address, peer for send()).");

static PyObject *py_dnsloop_take(PyObject *self, PyObject *arg)
{
    struct dnsloop *l = loop_of(self);
    long limit = PyLong_AsLong(arg);
    const struct dnsloop_ask *ask;

    if (limit == -1 && PyErr_Occurred())
        return NULL;
    PyObject *list = PyList_New(0);
    while (list && PyList_GET_SIZE(list) < limit && (ask = dnsloop_ask(l))) {
        uint8_t addr[16];
        Py_ssize_t addrlen = (Py_ssize_t)dnspeer_addr(&ask->peer, addr);
        PyObject *item = Py_BuildValue("(y#y#y#)", (const char *)ask->query, (Py_ssize_t)ask->size, addr, addrlen,
                                       (const char *)&ask->peer, (Py_ssize_t)sizeof ask->peer);
        dnsloop_ask_drop(l);
        if (!item || PyList_Append(list, item) < 0)
            Py_CLEAR(list);
        Py_XDECREF(item);
    }
    return list;
}

PyDoc_STRVAR(send_doc, "send($self, reply, peer, /)\n--\n\nSend a reply to a peer from take(); OSError if that fails.");

static PyObject *py_dnsloop_send(PyObject *self, PyObject *const *args, Py_ssize_t n_args)
{
    struct dnspeer peer;

    if (n_args != 2 || !PyBytes_Check(args[0]) || !PyBytes_Check(args[1]) ||
        PyBytes_GET_SIZE(args[1]) != (Py_ssize_t)sizeof peer) {
        PyErr_SetString(PyExc_TypeError, "send: want the bytes of a reply and a peer from take()");
        return NULL;
    }
    memcpy(&peer, PyBytes_AS_STRING(args[1]), sizeof peer);
    if (dnsloop_send(loop_of(self), &peer, (const uint8_t *)PyBytes_AS_STRING(args[0]),
                     (size_t)PyBytes_GET_SIZE(args[0])) < 0)
        return PyErr_SetFromErrno(PyExc_OSError);
    Py_RETURN_NONE;
}

PyDoc_STRVAR(counters_doc, "counters($self, /)\n--\n\nReturn all counters since the start, by name.");

static PyObject *py_dnsloop_counters(PyObject *self, PyObject *Py_UNUSED(unused))
{
    struct dnsserve_counts counts;
    const uint64_t *number = (const uint64_t *)&counts;
    PyObject *dict = PyDict_New();

    dnsloop_counts(loop_of(self), &counts);
    for (size_t i = 0; dict && dnsserve_count_names[i]; i++) {
        PyObject *value = PyLong_FromUnsignedLongLong(number[i]);
        if (!value || PyDict_SetItemString(dict, dnsserve_count_names[i], value) < 0)
            Py_CLEAR(dict);
        Py_XDECREF(value);
    }
    return dict;
}

/* ---- the type ---- */

/* Read descriptors from a sequence; their number, or -1 with an exception. */
static Py_ssize_t read_fds(PyObject *sequence, int fds[DNSLOOP_SOCKETS])
{
    PyObject *fast = PySequence_Fast(sequence, "DnsLoop: want a sequence of descriptors");
    Py_ssize_t n = fast ? PySequence_Fast_GET_SIZE(fast) : -1;

    if (fast && (n < 1 || n > DNSLOOP_SOCKETS)) {
        PyErr_Format(PyExc_ValueError, "DnsLoop: got %zd sockets, want 1 to %d", n, DNSLOOP_SOCKETS);
        n = -1;
    }
    for (Py_ssize_t i = 0; i < n; i++) {
        fds[i] = (int)PyLong_AsLong(PySequence_Fast_GET_ITEM(fast, i));
        if (PyErr_Occurred())
            n = -1;
    }
    Py_XDECREF(fast);
    return n;
}

static PyObject *py_dnsloop_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"fds", "limit_bytes", "asks", "rate_limit", "talkers", NULL};
    int fds[DNSLOOP_SOCKETS];
    unsigned short limit_bytes = 1232;
    unsigned asks = 1024;
    struct py_dnsloop *self;
    PyObject *sequence, *rrl = Py_None, *talkers = Py_None;

    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O|HIOO:DnsLoop", names, &sequence, &limit_bytes, &asks, &rrl,
                                     &talkers))
        return NULL;
    Py_ssize_t n_fds = read_fds(sequence, fds);
    if (n_fds < 0)
        return NULL;
    if (limit_bytes < DNS_CLASSIC_BYTES || limit_bytes > DNS_REPLY_BYTES || asks < 1 || asks > 1u << 16)
        return PyErr_Format(PyExc_ValueError, "DnsLoop: want limit_bytes from %d to %d and asks from 1 to 65536",
                            DNS_CLASSIC_BYTES, DNS_REPLY_BYTES);
    struct dnsloop_settings settings = {
        .fds = fds, .n_fds = (unsigned)n_fds, .limit_bytes = limit_bytes, .asks = asks};
    if ((rrl != Py_None && !(settings.rrl = py_rrl_get(rrl))) ||
        (talkers != Py_None && !(settings.talkers = py_talkers_get(talkers))))
        return NULL;
    if (!(self = (struct py_dnsloop *)type->tp_alloc(type, 0)))
        return NULL;
    self->rrl = Py_NewRef(rrl);
    self->talkers = Py_NewRef(talkers);
    if (!(self->loop = dnsloop_open(&settings))) {
        PyErr_SetFromErrno(PyExc_OSError);
        Py_CLEAR(self);
    }
    return (PyObject *)self;
}

static void py_dnsloop_dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);

    dnsloop_close(loop_of(self));
    Py_XDECREF(((struct py_dnsloop *)self)->view);
    Py_XDECREF(((struct py_dnsloop *)self)->rrl);
    Py_XDECREF(((struct py_dnsloop *)self)->talkers);
    type->tp_free(self);
    Py_DECREF(type);
}

int py_dnsloop_init(PyObject *module)
{
    static PyMethodDef methods[] = {
        {"run", py_dnsloop_run, METH_NOARGS, run_doc},
        {"stop", py_dnsloop_stop, METH_NOARGS, stop_doc},
        {"publish", py_dnsloop_publish, METH_O, publish_doc},
        {"fileno", py_dnsloop_fileno, METH_NOARGS, fileno_doc},
        {"take", py_dnsloop_take, METH_O, take_doc},
        {"send", (PyCFunction)(void (*)(void))py_dnsloop_send, METH_FASTCALL, send_doc},
        {"set_secrets", py_dnsloop_set_secrets, METH_O, set_secrets_doc},
        {"zone_counts", py_dnsloop_zone_counts, METH_NOARGS, zone_counts_doc},
        {"counters", py_dnsloop_counters, METH_NOARGS, counters_doc},
        {NULL, NULL, 0, NULL},
    };
    PyType_Slot slots[] = {
        {Py_tp_doc, "DnsLoop(fds, limit_bytes=1232, asks=1024, rate_limit=None, talkers=None)\n--\n\n"
                    "The UDP loop of the DNS server on bound sockets, which stay the caller's."},
        {Py_tp_new, py_dnsloop_new},
        {Py_tp_dealloc, py_dnsloop_dealloc},
        {Py_tp_methods, methods},
        {0, NULL},
    };
    PyType_Spec spec = {
        .name = "spamcannibal._core.DnsLoop",
        .basicsize = sizeof(struct py_dnsloop),
        .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE,
        .slots = slots,
    };
    PyObject *type = PyType_FromModuleAndSpec(module, &spec, NULL);
    int failed = type ? PyModule_AddType(module, (PyTypeObject *)type) : -1;

    Py_XDECREF(type);
    return failed;
}
