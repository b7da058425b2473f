/* AddrTable: the address table as a Python object.
 *
 * Addresses are packed bytes (4 or 16), keys are the store's: an address, or the address and one byte of prefix
 * length. The table lock is taken with the GIL released, unless it is free at once, and given back before the
 * GIL is waited for: a loop thread never waits for Python.
 */
#include "py_core.h"

#include "addrtable.h"

enum { LOAD_CHUNK = 256 };  /* entries a write lock: well under a millisecond */

struct py_table {
    PyObject_HEAD
    struct addrtable *table;
};

static struct addrtable *table_of(PyObject *self)
{
    return ((struct py_table *)self)->table;
}

/* ---- locks and the GIL ---- */

static PyThreadState *lock_read(struct addrtable *t)
{
    PyThreadState *released = NULL;

    if (!at_tryrdlock(t)) {
        released = PyEval_SaveThread();
        at_rdlock(t);
    }
    return released;
}

static PyThreadState *lock_write(struct addrtable *t)
{
    PyThreadState *released = NULL;

    if (!at_trywrlock(t)) {
        released = PyEval_SaveThread();
        at_wrlock(t);
    }
    return released;
}

static void unlock_read(struct addrtable *t, PyThreadState *released)
{
    at_rdunlock(t);
    if (released)
        PyEval_RestoreThread(released);
}

static void unlock_write(struct addrtable *t, PyThreadState *released)
{
    at_wrunlock(t);
    if (released)
        PyEval_RestoreThread(released);
}

/* ---- arguments ---- */

/* Borrow an address; its length, or 0 with an exception. */
static unsigned parse_addr(PyObject *arg, const uint8_t **addr)
{
    if (!PyBytes_Check(arg)) {
        PyErr_Format(PyExc_TypeError, "address: got %s, want bytes", Py_TYPE(arg)->tp_name);
        return 0;
    }
    if (PyBytes_GET_SIZE(arg) != 4 && PyBytes_GET_SIZE(arg) != 16) {
        PyErr_Format(PyExc_ValueError, "address: got %zd bytes, want 4 or 16", PyBytes_GET_SIZE(arg));
        return 0;
    }
    *addr = (const uint8_t *)PyBytes_AS_STRING(arg);
    return (unsigned)PyBytes_GET_SIZE(arg);
}

static bool has_host_bits(const uint8_t *addr, unsigned addrlen, unsigned plen)
{
    for (unsigned i = plen / 8; i < addrlen; i++)
        if (addr[i] & (i == plen / 8 ? 0xff >> plen % 8 : 0xff))
            return true;
    return false;
}

/* Copy a key into an entry; -1 with an exception if it is none. */
static int parse_key(PyObject *arg, struct at_entry *e)
{
    Py_ssize_t len = PyBytes_Check(arg) ? PyBytes_GET_SIZE(arg) : -1;
    unsigned addrlen = len == 4 || len == 5 ? 4 : 16, plen = 8 * addrlen;

    if (len < 0) {
        PyErr_Format(PyExc_TypeError, "key: got %s, want bytes", Py_TYPE(arg)->tp_name);
        return -1;
    }
    if (len != addrlen && len != addrlen + 1) {
        PyErr_Format(PyExc_ValueError, "key: got %zd bytes, want 4, 5, 16 or 17", len);
        return -1;
    }
    const uint8_t *bytes = (const uint8_t *)PyBytes_AS_STRING(arg);
    if (len > addrlen)
        plen = bytes[addrlen];
    if (plen > 8 * addrlen || has_host_bits(bytes, addrlen, plen)) {
        PyErr_Format(PyExc_ValueError, "key: %R is no prefix: its length is past %u or bits are set beyond it", arg,
                     8 * addrlen);
        return -1;
    }
    *e = (struct at_entry){.addrlen = (uint8_t)addrlen, .plen = (uint8_t)plen};
    memcpy(e->addr, bytes, addrlen);
    return 0;
}

/* 0 is not a value; -1 with an exception. */
static int parse_value(PyObject *arg, uint32_t *value)
{
    unsigned long long v = PyLong_AsUnsignedLongLong(arg);

    if (PyErr_Occurred())
        return -1;
    if (!v || v > UINT32_MAX) {
        PyErr_Format(PyExc_ValueError, "value: got %llu, want 1 to 4294967295", v);
        return -1;
    }
    *value = (uint32_t)v;
    return 0;
}

static PyObject *key_new(const struct at_entry *e)
{
    char key[17];

    memcpy(key, e->addr, e->addrlen);
    key[e->addrlen] = (char)e->plen;
    return PyBytes_FromStringAndSize(key, e->addrlen + (e->plen < 8 * e->addrlen));
}

/* ---- methods ---- */

PyDoc_STRVAR(set_doc, "set($self, key, value, /)\n--\n\nEnter a prefix, or give it another value (1 to 2**32 - 1).");

static PyObject *table_set(PyObject *self, PyObject *const *args, Py_ssize_t n_args)
{
    struct addrtable *t = table_of(self);
    struct at_entry e;

    if (n_args != 2) {
        PyErr_Format(PyExc_TypeError, "set: got %zd arguments, want 2", n_args);
        return NULL;
    }
    if (parse_key(args[0], &e) < 0 || parse_value(args[1], &e.value) < 0)
        return NULL;
    PyThreadState *released = lock_write(t);
    int failed = at_set(t, e.addr, e.addrlen, e.plen, e.value);
    unlock_write(t, released);
    if (failed)
        return PyErr_NoMemory();
    Py_RETURN_NONE;
}

PyDoc_STRVAR(discard_doc, "discard($self, key, /)\n--\n\nRemove a prefix; tell whether it was there.");

static PyObject *table_discard(PyObject *self, PyObject *arg)
{
    struct addrtable *t = table_of(self);
    struct at_entry e;

    if (parse_key(arg, &e) < 0)
        return NULL;
    PyThreadState *released = lock_write(t);
    int removed = at_del(t, e.addr, e.addrlen, e.plen);
    unlock_write(t, released);
    return PyBool_FromLong(removed);
}

PyDoc_STRVAR(get_doc, "get($self, key, /)\n--\n\nReturn the value of exactly this prefix, or 0.");

static PyObject *table_get(PyObject *self, PyObject *arg)
{
    struct addrtable *t = table_of(self);
    struct at_entry e;

    if (parse_key(arg, &e) < 0)
        return NULL;
    PyThreadState *released = lock_read(t);
    uint32_t value = at_get(t, e.addr, e.addrlen, e.plen);
    unlock_read(t, released);
    return PyLong_FromUnsignedLong(value);
}

/* Value of the longest match; 0 for none or, if PyErr_Occurred, for an error. */
static uint32_t lookup(PyObject *self, PyObject *arg, unsigned *plen)
{
    struct addrtable *t = table_of(self);
    const uint8_t *addr;
    unsigned addrlen = parse_addr(arg, &addr);

    if (!addrlen)
        return 0;
    PyThreadState *released = lock_read(t);
    uint32_t value = at_lookup(t, addr, addrlen, plen);
    unlock_read(t, released);
    return value;
}

PyDoc_STRVAR(lookup_doc, "lookup($self, addr, /)\n--\n\nReturn the value of the longest prefix that covers addr, or 0.");

static PyObject *table_lookup(PyObject *self, PyObject *arg)
{
    uint32_t value = lookup(self, arg, NULL);

    return !value && PyErr_Occurred() ? NULL : PyLong_FromUnsignedLong(value);
}

PyDoc_STRVAR(match_doc, "match($self, addr, /)\n--\n\n"
    "Return (prefix length, value) of the longest prefix that covers addr, or None.");

static PyObject *table_match(PyObject *self, PyObject *arg)
{
    unsigned plen;
    uint32_t value = lookup(self, arg, &plen);

    if (value)
        return Py_BuildValue("(Ik)", plen, (unsigned long)value);
    if (PyErr_Occurred())
        return NULL;
    Py_RETURN_NONE;
}

/* Enter a chunk with the GIL released; how many went in. */
static size_t load_chunk(struct addrtable *t, const struct at_entry *chunk, size_t n)
{
    size_t done = 0;

    Py_BEGIN_ALLOW_THREADS
    at_wrlock(t);
    while (done < n && at_set(t, chunk[done].addr, chunk[done].addrlen, chunk[done].plen, chunk[done].value) == 0)
        done++;
    at_wrunlock(t);
    Py_END_ALLOW_THREADS
    return done;
}

/* Take up to LOAD_CHUNK pairs from an iterator; -1 with an exception. */
static Py_ssize_t read_chunk(PyObject *iter, struct at_entry *chunk)
{
    Py_ssize_t n = 0;

    while (n < LOAD_CHUNK) {
        PyObject *pair = PyIter_Next(iter);
        if (!pair)
            return PyErr_Occurred() ? -1 : n;
        bool ok = PyTuple_Check(pair) && PyTuple_GET_SIZE(pair) == 2;
        if (!ok)
            PyErr_Format(PyExc_TypeError, "load: got %s, want tuples of key and value", Py_TYPE(pair)->tp_name);
        ok = ok && parse_key(PyTuple_GET_ITEM(pair, 0), &chunk[n]) == 0 &&
             parse_value(PyTuple_GET_ITEM(pair, 1), &chunk[n].value) == 0;
        Py_DECREF(pair);
        if (!ok)
            return -1;
        n++;
    }
    return n;
}

PyDoc_STRVAR(load_doc, "load($self, pairs, /)\n--\n\n"
    "Enter (key, value) tuples from an iterable and return their number.\n\n"
    "Readers go on meanwhile: the table is locked for a few hundred entries at a time. After an error the\n"
    "entries before the faulty chunk stay.");

static PyObject *table_load(PyObject *self, PyObject *pairs)
{
    struct at_entry chunk[LOAD_CHUNK];
    PyObject *iter = PyObject_GetIter(pairs);
    unsigned long long total = 0;
    Py_ssize_t n;

    if (!iter)
        return NULL;
    do {
        n = read_chunk(iter, chunk);
        if (n > 0 && load_chunk(table_of(self), chunk, (size_t)n) < (size_t)n) {
            PyErr_NoMemory();
            n = -1;
        }
        total += n > 0 ? (unsigned long long)n : 0;
    } while (n == LOAD_CHUNK);
    Py_DECREF(iter);
    return n < 0 ? NULL : PyLong_FromUnsignedLongLong(total);
}

static int append_items(PyObject *list, const struct at_entry *page, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        PyObject *item = Py_BuildValue("(Nk)", key_new(&page[i]), (unsigned long)page[i].value);
        int failed = item ? PyList_Append(list, item) : -1;

        Py_XDECREF(item);
        if (failed)
            return -1;
    }
    return 0;
}

PyDoc_STRVAR(items_doc, "items($self, /)\n--\n\n"
    "Return all (key, value) pairs in no useful order; what is there during the whole call is there once.");

static PyObject *table_items(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    struct addrtable *t = table_of(self);
    struct at_cursor cursor = {0};
    struct at_entry page[AT_PAGE];
    PyObject *list = PyList_New(0);
    size_t n;

    if (!list)
        return NULL;
    do {
        PyThreadState *released = lock_read(t);
        n = at_page(t, &cursor, page);
        unlock_read(t, released);
        if (append_items(list, page, n) < 0) {
            Py_DECREF(list);
            return NULL;
        }
    } while (n);
    return list;
}

static Py_ssize_t table_len(PyObject *self)
{
    struct addrtable *t = table_of(self);
    PyThreadState *released = lock_read(t);
    uint64_t count = at_count(t);

    unlock_read(t, released);
    return (Py_ssize_t)count;
}

static PyObject *table_memory_bytes(PyObject *self, void *Py_UNUSED(closure))
{
    struct addrtable *t = table_of(self);
    PyThreadState *released = lock_read(t);
    uint64_t bytes = at_bytes(t);

    unlock_read(t, released);
    return PyLong_FromUnsignedLongLong(bytes);
}

/* ---- the type ---- */

static PyObject *table_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {NULL};
    struct py_table *self;

    if (!PyArg_ParseTupleAndKeywords(args, kwargs, ":AddrTable", names))
        return NULL;
    if (!(self = (struct py_table *)type->tp_alloc(type, 0)))
        return NULL;
    if (!(self->table = at_new())) {
        Py_DECREF(self);
        return PyErr_SetFromErrno(PyExc_OSError);
    }
    return (PyObject *)self;
}

static void table_dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);

    at_free(table_of(self));
    type->tp_free(self);
    Py_DECREF(type);
}

struct addrtable *py_table_get(PyObject *object)
{
    if (Py_TYPE(object)->tp_dealloc != table_dealloc) {  /* not subclassable, so this names the type */
        PyErr_Format(PyExc_TypeError, "got %s, want AddrTable", Py_TYPE(object)->tp_name);
        return NULL;
    }
    return table_of(object);
}

int py_table_init(PyObject *module)
{
    static PyMethodDef methods[] = {
        {"set", (PyCFunction)(void (*)(void))table_set, METH_FASTCALL, set_doc},
        {"discard", table_discard, METH_O, discard_doc},
        {"get", table_get, METH_O, get_doc},
        {"lookup", table_lookup, METH_O, lookup_doc},
        {"match", table_match, METH_O, match_doc},
        {"load", table_load, METH_O, load_doc},
        {"items", table_items, METH_NOARGS, items_doc},
        {NULL, NULL, 0, NULL},
    };
    static PyGetSetDef getset[] = {
        {"memory_bytes", table_memory_bytes, NULL, "bytes allocated", NULL},
        {NULL, NULL, NULL, NULL, NULL},
    };
    PyType_Slot slots[] = {
        {Py_tp_doc, "AddrTable()\n--\n\n"
                    "Prefixes (IPv4 and IPv6) to numbers, longest match first; safe from several threads."},
        {Py_tp_new, table_new},
        {Py_tp_dealloc, table_dealloc},
        {Py_tp_methods, methods},
        {Py_tp_getset, getset},
        {Py_mp_length, table_len},
        {0, NULL},
    };
    PyType_Spec spec = {
        .name = "spamcannibal._core.AddrTable",
        .basicsize = sizeof(struct py_table),
        .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE,
        .slots = slots,
    };
    PyObject *type = PyType_FromModuleAndSpec(module, &spec, NULL);
    int failed = type ? PyModule_AddType(module, (PyTypeObject *)type) : -1;

    Py_XDECREF(type);
    return failed;
}
