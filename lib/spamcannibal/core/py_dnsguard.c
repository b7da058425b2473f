/* RateLimit, Talkers and cookies as Python objects: for answers by Python, and to be handed to the C loop. */
#include <time.h>

#include "dnscookie.h"
#include "py_core.h"
#include "rrl.h"
#include "talkers.h"

enum { BUCKETS_MAX = 1 << 24, SLOTS_MAX = 1 << 16 };

struct py_rrl {
    PyObject_HEAD
    struct rrl *rrl;
};

struct py_talkers {
    PyObject_HEAD
    struct talkers *talkers;
    size_t slots;
};

static bool is_addr(Py_ssize_t size)
{
    if (size == 4 || size == 16)
        return true;
    PyErr_SetString(PyExc_ValueError, "an address has 4 or 16 bytes");
    return false;
}

/* ---- RateLimit ---- */

/* Keys as in addr.py: an address, or one and its prefix length. */
static int exempt_all(struct rrl *r, PyObject *keys)
{
    for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(keys); i++) {
        char *key;
        Py_ssize_t size;

        if (PyBytes_AsStringAndSize(PyTuple_GET_ITEM(keys, i), &key, &size) < 0)
            return -1;
        unsigned addrlen = (unsigned)size & ~1u, plen = size & 1 ? (uint8_t)key[size - 1] : 8 * addrlen;
        if (!is_addr(addrlen))
            return -1;
        if (rrl_exempt(r, (const uint8_t *)key, addrlen, plen) < 0) {
            PyErr_Format(PyExc_ValueError, "want at most %d exempt networks", RRL_EXEMPT_MAX);
            return -1;
        }
    }
    return 0;
}

static PyObject *rrl_py_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"per_s", "all_per_s", "slip", "buckets", "exempt", NULL};
    struct rrl_settings s = {0};
    PyObject *exempt;

    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "IIIIO!", names, &s.per_s, &s.all_per_s, &s.slip, &s.buckets,
                                     &PyTuple_Type, &exempt))
        return NULL;
    if (s.buckets > BUCKETS_MAX)
        return PyErr_Format(PyExc_ValueError, "want at most %d buckets", BUCKETS_MAX);
    struct py_rrl *self = (struct py_rrl *)type->tp_alloc(type, 0);
    if (!self)
        return NULL;
    self->rrl = rrl_new(&s);
    if (!self->rrl)
        PyErr_SetFromErrno(PyExc_OSError);
    if (!self->rrl || exempt_all(self->rrl, exempt) < 0) {
        Py_DECREF(self);
        return NULL;
    }
    return (PyObject *)self;
}

static void rrl_py_dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);

    rrl_free(((struct py_rrl *)self)->rrl);
    type->tp_free(self);
    Py_DECREF(type);
}

static uint64_t monotonic_ns(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

PyDoc_STRVAR(check_doc, "check(addr, rcode, qtype, name, now_ns=None)\n--\n\n"
                        "Say what to do with a reply: 0 send, 1 send it cut short, 2 drop.");

static PyObject *rrl_py_check(PyObject *self, PyObject *args)
{
    struct rrl *r = ((struct py_rrl *)self)->rrl;
    const char *addr, *name;
    Py_ssize_t addrlen, name_size;
    unsigned rcode, qtype;
    PyObject *now = Py_None;

    if (!PyArg_ParseTuple(args, "y#IIy#|O", &addr, &addrlen, &rcode, &qtype, &name, &name_size, &now) ||
        !is_addr(addrlen))
        return NULL;
    uint64_t now_ns = now == Py_None ? monotonic_ns() : PyLong_AsUnsignedLongLong(now);
    if (PyErr_Occurred())
        return NULL;
    struct rrl_reply reply = {
        .addr = (const uint8_t *)addr,
        .addrlen = (uint8_t)addrlen,
        .name = (const uint8_t *)name,
        .name_size = (uint8_t)(name_size < UINT8_MAX ? name_size : UINT8_MAX),
        .rcode = (uint8_t)rcode,
        .qtype = (uint16_t)qtype,
    };
    rrl_judge(r, &reply, 1, now_ns);
    return PyLong_FromLong(reply.verdict);
}

static PyMethodDef rrl_methods[] = {
    {"check", rrl_py_check, METH_VARARGS, check_doc},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot rrl_slots[] = {
    {Py_tp_doc, "RateLimit(per_s, all_per_s, slip, buckets, exempt)\n--\n\nThe response rate limit."},
    {Py_tp_new, rrl_py_new},
    {Py_tp_dealloc, rrl_py_dealloc},
    {Py_tp_methods, rrl_methods},
    {0, NULL},
};

static PyType_Spec rrl_spec = {
    .name = "spamcannibal._core.RateLimit",
    .basicsize = sizeof(struct py_rrl),
    .flags = Py_TPFLAGS_DEFAULT,
    .slots = rrl_slots,
};

/* ---- Talkers ---- */

static PyObject *talkers_py_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"slots", NULL};
    unsigned slots;

    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "I", names, &slots))
        return NULL;
    if (slots > SLOTS_MAX)
        return PyErr_Format(PyExc_ValueError, "want at most %d slots", SLOTS_MAX);
    struct py_talkers *self = (struct py_talkers *)type->tp_alloc(type, 0);
    if (!self)
        return NULL;
    self->slots = slots;
    self->talkers = talkers_new(slots);
    if (!self->talkers) {
        Py_DECREF(self);
        return PyErr_SetFromErrno(PyExc_OSError);
    }
    return (PyObject *)self;
}

static void talkers_py_dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);

    talkers_free(((struct py_talkers *)self)->talkers);
    type->tp_free(self);
    Py_DECREF(type);
}

static PyObject *talkers_py_note(PyObject *self, PyObject *args)
{
    const char *addr;
    Py_ssize_t size;
    int limited = 0;

    if (!PyArg_ParseTuple(args, "y#|p", &addr, &size, &limited) || !is_addr(size))
        return NULL;
    talkers_note(((struct py_talkers *)self)->talkers, (const uint8_t *)addr, (unsigned)size, 1,
                 (uint32_t)limited);
    Py_RETURN_NONE;
}

static PyObject *talkers_py_top(PyObject *self, PyObject *args)
{
    struct py_talkers *t = (struct py_talkers *)self;
    unsigned n;

    if (!PyArg_ParseTuple(args, "I", &n))
        return NULL;
    n = n < t->slots + 8 ? n : (unsigned)t->slots + 8;
    struct talker *found = PyMem_Calloc(n ? n : 1, sizeof *found);
    if (!found)
        return PyErr_NoMemory();
    size_t count = talkers_top(t->talkers, found, n);
    PyObject *list = PyList_New((Py_ssize_t)count);
    for (size_t i = 0; list && i < count; i++) {
        PyObject *row = Py_BuildValue("(y#III)", found[i].addr, (Py_ssize_t)found[i].addrlen, found[i].count,
                                      found[i].error, found[i].limited);
        if (!row)
            Py_CLEAR(list);
        else
            PyList_SET_ITEM(list, (Py_ssize_t)i, row);
    }
    PyMem_Free(found);
    return list;
}

static PyMethodDef talkers_methods[] = {
    {"note", talkers_py_note, METH_VARARGS, "note(addr, limited=False)\n--\n\nCount a query."},
    {"top", talkers_py_top, METH_VARARGS,
     "top(n)\n--\n\nReturn the n that asked most: (addr, count, error, limited), the count at most error too high."},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot talkers_slots[] = {
    {Py_tp_doc, "Talkers(slots)\n--\n\nWho asks most, in a table of fixed size."},
    {Py_tp_new, talkers_py_new},
    {Py_tp_dealloc, talkers_py_dealloc},
    {Py_tp_methods, talkers_methods},
    {0, NULL},
};

static PyType_Spec talkers_spec = {
    .name = "spamcannibal._core.Talkers",
    .basicsize = sizeof(struct py_talkers),
    .flags = Py_TPFLAGS_DEFAULT,
    .slots = talkers_slots,
};

/* ---- Cookies ---- */

static bool is_sized(Py_ssize_t got, Py_ssize_t want, const char *what)
{
    if (got == want)
        return true;
    PyErr_Format(PyExc_ValueError, "a %s has %zd bytes", what, want);
    return false;
}

static PyObject *cookie_make(PyObject *module, PyObject *args)
{
    const char *secret, *client, *addr;
    Py_ssize_t secret_size, client_size, size;
    unsigned now;
    uint8_t out[DNSCOOKIE_SERVER_BYTES];

    (void)module;
    if (!PyArg_ParseTuple(args, "y#y#y#I", &secret, &secret_size, &client, &client_size, &addr, &size, &now) ||
        !is_sized(secret_size, DNSCOOKIE_SECRET_BYTES, "secret") ||
        !is_sized(client_size, DNSCOOKIE_CLIENT_BYTES, "client cookie") || !is_addr(size))
        return NULL;
    dnscookie_make((const uint8_t *)secret, (const uint8_t *)client, (const uint8_t *)addr, (unsigned)size, now, out);
    return PyBytes_FromStringAndSize((const char *)out, sizeof out);
}

static PyObject *cookie_check(PyObject *module, PyObject *args)
{
    const char *secrets, *client, *server, *addr;
    Py_ssize_t secrets_size, client_size, server_size, size;
    unsigned now;

    (void)module;
    if (!PyArg_ParseTuple(args, "y#y#y#y#I", &secrets, &secrets_size, &client, &client_size, &server, &server_size,
                          &addr, &size, &now) ||
        !is_sized(secrets_size % DNSCOOKIE_SECRET_BYTES, 0, "secret") ||
        !is_sized(client_size, DNSCOOKIE_CLIENT_BYTES, "client cookie") || !is_addr(size))
        return NULL;
    return PyLong_FromLong(dnscookie_check((const uint8_t *)secrets, (size_t)secrets_size / DNSCOOKIE_SECRET_BYTES,
                                           (const uint8_t *)client, (const uint8_t *)server, (size_t)server_size,
                                           (const uint8_t *)addr, (unsigned)size, now));
}

static PyMethodDef functions[] = {
    {"cookie_make", cookie_make, METH_VARARGS,
     "cookie_make(secret, client, addr, now, /)\n--\n\nReturn the server cookie for a client cookie (RFC 9018)."},
    {"cookie_check", cookie_check, METH_VARARGS,
     "cookie_check(secrets, client, server, addr, now, /)\n--\n\nSay whether a server cookie is ours: 0 no, 1 yes, "
     "2 yes but due for renewal."},
    {NULL, NULL, 0, NULL},
};

/* ---- The module's part ---- */

static PyTypeObject *rrl_type, *talkers_type;

static void *checked(PyObject *object, PyTypeObject *type)
{
    if (PyObject_TypeCheck(object, type))
        return object;
    PyErr_Format(PyExc_TypeError, "want %s, got %s", type->tp_name, Py_TYPE(object)->tp_name);
    return NULL;
}

struct rrl *py_rrl_get(PyObject *object)
{
    struct py_rrl *self = checked(object, rrl_type);
    return self ? self->rrl : NULL;
}

struct talkers *py_talkers_get(PyObject *object)
{
    struct py_talkers *self = checked(object, talkers_type);
    return self ? self->talkers : NULL;
}

int py_dnsguard_init(PyObject *module)
{
    rrl_type = (PyTypeObject *)PyType_FromSpec(&rrl_spec);
    talkers_type = (PyTypeObject *)PyType_FromSpec(&talkers_spec);
    if (!rrl_type || !talkers_type || PyModule_AddType(module, rrl_type) < 0 ||
        PyModule_AddType(module, talkers_type) < 0)
        return -1;
    return PyModule_AddFunctions(module, functions);
}
