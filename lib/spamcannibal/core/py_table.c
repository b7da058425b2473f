/* AddrTable: the address table as a Python object. */
#include "py_core.h"

#include "addrtable.h"
#include "py_entry.h"

struct py_table {
    PyObject_HEAD
    struct addrtable *table;
};

static struct addrtable *table_of(PyObject *self)
{
    return ((struct py_table *)self)->table;
}

/* ---- methods ---- */

PyDoc_STRVAR(set_doc, "set($self, key, value, /)\n--\n\nEnter a prefix, or give it another value (1 to 2**32 - 1).");

static PyObject *table_set(PyObject *self, PyObject *const *args, Py_ssize_t n_args)
{
    struct addrtable *t = table_of(self);
    struct at_entry e;

    if (py_parse_entry(args, n_args, &e) < 0)
        return NULL;
    PyThreadState *released = py_lock_write(t);
    int failed = at_set(t, e.addr, e.addrlen, e.plen, e.value);
    py_unlock_write(t, released);
    if (failed)
        return PyErr_NoMemory();
    Py_RETURN_NONE;
}

PyDoc_STRVAR(discard_doc, "discard($self, key, /)\n--\n\nRemove a prefix; tell whether it was there.");

static PyObject *table_discard(PyObject *self, PyObject *arg)
{
    struct addrtable *t = table_of(self);
    struct at_entry e;

    if (py_parse_key(arg, &e) < 0)
        return NULL;
    PyThreadState *released = py_lock_write(t);
    int removed = at_del(t, e.addr, e.addrlen, e.plen);
    py_unlock_write(t, released);
    return PyBool_FromLong(removed);
}

PyDoc_STRVAR(get_doc, "get($self, key, /)\n--\n\nReturn the value of exactly this prefix, or 0.");

static PyObject *table_get(PyObject *self, PyObject *key) { return py_entry_get(table_of(self), key); }

PyDoc_STRVAR(lookup_doc, "lookup($self, addr, /)\n--\n\nReturn the value of the longest prefix that covers addr, or 0.");

static PyObject *table_lookup(PyObject *self, PyObject *arg)
{
    struct addrtable *t = table_of(self);
    const uint8_t *addr;
    unsigned addrlen = py_parse_addr(arg, &addr);

    if (!addrlen)
        return NULL;
    PyThreadState *released = py_lock_read(t);
    uint32_t value = at_lookup(t, addr, addrlen, NULL);
    py_unlock_read(t, released);
    return PyLong_FromUnsignedLong(value);
}

PyDoc_STRVAR(match_doc, "match($self, addr, /)\n--\n\n"
    "Return (prefix length, value) of the longest prefix that covers addr, or None.");

static PyObject *table_match(PyObject *self, PyObject *addr) { return py_entry_match(table_of(self), addr); }

PyDoc_STRVAR(load_doc, "load($self, pairs, /)\n--\n\n"
    "Enter (key, value) tuples from an iterable and return their number.\n\n"
    "Readers go on meanwhile: the table is locked for a few hundred entries at a time. After an error the\n"
    "entries before the faulty chunk stay.");

static int put_entry(void *table, const struct at_entry *e)
{
    return at_set(table, e->addr, e->addrlen, e->plen, e->value);
}

static PyObject *table_load(PyObject *self, PyObject *pairs)
{
    return py_entry_load(table_of(self), pairs, put_entry, table_of(self));
}

PyDoc_STRVAR(items_doc, "items($self, /)\n--\n\n"
    "Return all (key, value) pairs in no useful order; what is there during the whole call is there once.");

static PyObject *table_items(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    return py_entry_items(table_of(self));
}

static Py_ssize_t table_len(PyObject *self) { return py_entry_count(table_of(self)); }

static PyObject *table_memory_bytes(PyObject *self, void *Py_UNUSED(closure))
{
    struct addrtable *t = table_of(self);
    PyThreadState *released = py_lock_read(t);
    uint64_t bytes = at_bytes(t);

    py_unlock_read(t, released);
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
