/* See py_entry.h. */
#include "py_entry.h"

enum { LOAD_CHUNK = 256 };  /* entries a write lock: well under a millisecond */

/* ---- locks and the GIL ---- */

PyThreadState *py_lock_read(struct addrtable *t)
{
    PyThreadState *released = NULL;

    if (!at_tryrdlock(t)) {
        released = PyEval_SaveThread();
        at_rdlock(t);
    }
    return released;
}

PyThreadState *py_lock_write(struct addrtable *t)
{
    PyThreadState *released = NULL;

    if (!at_trywrlock(t)) {
        released = PyEval_SaveThread();
        at_wrlock(t);
    }
    return released;
}

void py_unlock_read(struct addrtable *t, PyThreadState *released)
{
    at_rdunlock(t);
    if (released)
        PyEval_RestoreThread(released);
}

void py_unlock_write(struct addrtable *t, PyThreadState *released)
{
    at_wrunlock(t);
    if (released)
        PyEval_RestoreThread(released);
}

/* ---- arguments ---- */

unsigned py_parse_addr(PyObject *arg, const uint8_t **addr)
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

int py_parse_key(PyObject *arg, struct at_entry *e)
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

int py_parse_entry(PyObject *const *args, Py_ssize_t n_args, struct at_entry *e)
{
    if (n_args != 2) {
        PyErr_Format(PyExc_TypeError, "set: got %zd arguments, want 2", n_args);
        return -1;
    }
    return py_parse_key(args[0], e) < 0 ? -1 : parse_value(args[1], &e->value);
}

/* ---- methods ---- */

PyObject *py_entry_get(struct addrtable *t, PyObject *key)
{
    struct at_entry e;

    if (py_parse_key(key, &e) < 0)
        return NULL;
    PyThreadState *released = py_lock_read(t);
    uint32_t value = at_get(t, e.addr, e.addrlen, e.plen);
    py_unlock_read(t, released);
    return PyLong_FromUnsignedLong(value);
}

PyObject *py_entry_match(struct addrtable *t, PyObject *arg)
{
    unsigned plen;
    const uint8_t *addr;
    unsigned addrlen = py_parse_addr(arg, &addr);

    if (!addrlen)
        return NULL;
    PyThreadState *released = py_lock_read(t);
    uint32_t value = at_lookup(t, addr, addrlen, &plen);
    py_unlock_read(t, released);
    if (value)
        return Py_BuildValue("(Ik)", plen, (unsigned long)value);
    Py_RETURN_NONE;
}

Py_ssize_t py_entry_count(struct addrtable *t)
{
    PyThreadState *released = py_lock_read(t);
    uint64_t count = at_count(t);

    py_unlock_read(t, released);
    return (Py_ssize_t)count;
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

PyObject *py_entry_items(struct addrtable *t)
{
    struct at_cursor cursor = {0};
    struct at_entry page[AT_PAGE];
    PyObject *list = PyList_New(0);
    size_t n;

    if (!list)
        return NULL;
    do {
        PyThreadState *released = py_lock_read(t);
        n = at_page(t, &cursor, page);
        py_unlock_read(t, released);
        if (append_items(list, page, n) < 0) {
            Py_DECREF(list);
            return NULL;
        }
    } while (n);
    return list;
}

/* Enter a chunk with the GIL released; how many went in. */
static size_t load_chunk(struct addrtable *t, const struct at_entry *chunk, size_t n,
                         int (*put)(void *, const struct at_entry *), void *into)
{
    size_t done = 0;

    Py_BEGIN_ALLOW_THREADS
    at_wrlock(t);
    while (done < n && put(into, &chunk[done]) == 0)
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
        ok = ok && py_parse_key(PyTuple_GET_ITEM(pair, 0), &chunk[n]) == 0 &&
             parse_value(PyTuple_GET_ITEM(pair, 1), &chunk[n].value) == 0;
        Py_DECREF(pair);
        if (!ok)
            return -1;
        n++;
    }
    return n;
}

PyObject *py_entry_load(struct addrtable *t, PyObject *pairs, int (*put)(void *, const struct at_entry *), void *into)
{
    struct at_entry chunk[LOAD_CHUNK];
    PyObject *iter = PyObject_GetIter(pairs);
    unsigned long long total = 0;
    Py_ssize_t n;

    if (!iter)
        return NULL;
    do {
        n = read_chunk(iter, chunk);
        if (n > 0 && load_chunk(t, chunk, (size_t)n, put, into) < (size_t)n) {
            PyErr_NoMemory();
            n = -1;
        }
        total += n > 0 ? (unsigned long long)n : 0;
    } while (n == LOAD_CHUNK);
    Py_DECREF(iter);
    return n < 0 ? NULL : PyLong_FromUnsignedLongLong(total);
}
