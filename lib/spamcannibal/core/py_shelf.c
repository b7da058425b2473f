/* Shelf: what one kind of DNS zone shows, as a Python object. Keys, values and locks: py_entry.h. */
#include "py_entry.h"

#include "shelf.h"

struct py_shelf {
    PyObject_HEAD
    struct shelf *shelf;
};

static struct shelf *shelf_of(PyObject *self) { return ((struct py_shelf *)self)->shelf; }

static struct addrtable *table_of(PyObject *self) { return shelf_table(shelf_of(self)); }

PyDoc_STRVAR(set_doc, "set($self, key, value, /)\n--\n\nTake an entry of the store in, or out if it is not shown.");

static PyObject *py_shelf_set(PyObject *self, PyObject *const *args, Py_ssize_t n_args)
{
    struct at_entry e;

    if (py_parse_entry(args, n_args, &e) < 0)
        return NULL;
    PyThreadState *released = py_lock_write(table_of(self));
    int failed = shelf_set(shelf_of(self), e.addr, e.addrlen, e.plen, e.value);
    py_unlock_write(table_of(self), released);
    if (failed)
        return PyErr_NoMemory();
    Py_RETURN_NONE;
}

PyDoc_STRVAR(discard_doc, "discard($self, key, /)\n--\n\nTake an entry out; tell whether it was there.");

static PyObject *py_shelf_discard(PyObject *self, PyObject *key)
{
    struct at_entry e;

    if (py_parse_key(key, &e) < 0)
        return NULL;
    PyThreadState *released = py_lock_write(table_of(self));
    int removed = shelf_del(shelf_of(self), e.addr, e.addrlen, e.plen);
    py_unlock_write(table_of(self), released);
    return PyBool_FromLong(removed);
}

PyDoc_STRVAR(load_doc, "load($self, pairs, /)\n--\n\n"
    "Do what set does for (key, value) tuples from an iterable and return their number.\n\n"
    "Readers go on meanwhile: the shelf is locked for a few hundred entries at a time.");

static int put_entry(void *shelf, const struct at_entry *e)
{
    return shelf_set(shelf, e->addr, e->addrlen, e->plen, e->value);
}

static PyObject *py_shelf_load(PyObject *self, PyObject *pairs)
{
    return py_entry_load(table_of(self), pairs, put_entry, shelf_of(self));
}

PyDoc_STRVAR(get_doc, "get($self, key, /)\n--\n\nReturn the value of exactly this prefix, 0 if it is not shown.");

static PyObject *py_shelf_get(PyObject *self, PyObject *key) { return py_entry_get(table_of(self), key); }

PyDoc_STRVAR(match_doc, "match($self, addr, /)\n--\n\n"
    "Return (prefix length, value) of the longest prefix that covers addr, or None.");

static PyObject *py_shelf_match(PyObject *self, PyObject *addr) { return py_entry_match(table_of(self), addr); }

PyDoc_STRVAR(items_doc, "items($self, /)\n--\n\nReturn all (key, value) pairs that are shown, in no useful order.");

static PyObject *py_shelf_items(PyObject *self, PyObject *Py_UNUSED(unused)) { return py_entry_items(table_of(self)); }

static Py_ssize_t py_shelf_len(PyObject *self) { return py_entry_count(table_of(self)); }

PyDoc_STRVAR(has_below_doc, "has_below($self, addr, plen, /)\n--\n\n"
    "Tell whether any address under a prefix is listed; may say yes where exclusions leave none.\n\n"
    "Bits of addr past the prefix are 0.");

static PyObject *py_shelf_has_below(PyObject *self, PyObject *const *args, Py_ssize_t n_args)
{
    const uint8_t *addr;
    unsigned addrlen = n_args == 2 ? py_parse_addr(args[0], &addr) : 0;

    if (n_args != 2)
        return PyErr_Format(PyExc_TypeError, "has_below: got %zd arguments, want 2", n_args);
    long plen = addrlen ? PyLong_AsLong(args[1]) : -1;
    if (PyErr_Occurred())
        return NULL;
    if (plen < 0 || plen > 8 * (long)addrlen)
        return PyErr_Format(PyExc_ValueError, "has_below: got a prefix of %ld bits, want 0 to %u", plen, 8 * addrlen);
    PyThreadState *released = py_lock_read(table_of(self));
    bool found = shelf_has_below(shelf_of(self), addr, addrlen, (unsigned)plen);
    py_unlock_read(table_of(self), released);
    return PyBool_FromLong(found);
}

static PyObject *bytes_of(PyObject *self, uint64_t (*count)(const struct shelf *))
{
    PyThreadState *released = py_lock_read(table_of(self));
    uint64_t bytes = count(shelf_of(self));

    py_unlock_read(table_of(self), released);
    return PyLong_FromUnsignedLongLong(bytes);
}

static PyObject *py_shelf_memory_bytes(PyObject *self, void *Py_UNUSED(closure)) { return bytes_of(self, shelf_bytes); }

static PyObject *py_shelf_index_bytes(PyObject *self, void *Py_UNUSED(closure))
{
    return bytes_of(self, shelf_index_bytes);
}

/* ---- the type ---- */

static PyObject *py_shelf_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"promiscuous", "only", NULL};
    struct py_shelf *self;
    int promiscuous = 0;
    unsigned long long only = 0;

    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "|pK:Shelf", names, &promiscuous, &only))
        return NULL;
    if (only > UINT32_MAX)
        return PyErr_Format(PyExc_ValueError, "only: got %llu, want a table value", only);
    if (!(self = (struct py_shelf *)type->tp_alloc(type, 0)))
        return NULL;
    if (!(self->shelf = shelf_new(promiscuous, (uint32_t)only))) {
        Py_DECREF(self);
        return PyErr_SetFromErrno(PyExc_OSError);
    }
    return (PyObject *)self;
}

static void py_shelf_dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);

    shelf_free(shelf_of(self));
    type->tp_free(self);
    Py_DECREF(type);
}

struct shelf *py_shelf_of(PyObject *object)
{
    if (Py_TYPE(object)->tp_dealloc != py_shelf_dealloc) { /* not subclassable, so this names the type */
        PyErr_Format(PyExc_TypeError, "got %s, want Shelf", Py_TYPE(object)->tp_name);
        return NULL;
    }
    return shelf_of(object);
}

#define FAST(function) (PyCFunction)(void (*)(void))(function), METH_FASTCALL

int py_shelf_init(PyObject *module)
{
    static PyMethodDef methods[] = {
        {"set", FAST(py_shelf_set), set_doc},
        {"discard", py_shelf_discard, METH_O, discard_doc},
        {"get", py_shelf_get, METH_O, get_doc},
        {"match", py_shelf_match, METH_O, match_doc},
        {"load", py_shelf_load, METH_O, load_doc},
        {"items", py_shelf_items, METH_NOARGS, items_doc},
        {"has_below", FAST(py_shelf_has_below), has_below_doc},
        {NULL, NULL, 0, NULL},
    };
    static PyGetSetDef getset[] = {
        {"memory_bytes", py_shelf_memory_bytes, NULL, "bytes allocated", NULL},
        {"index_bytes", py_shelf_index_bytes, NULL, "bytes of them for the index", NULL},
        {NULL, NULL, NULL, NULL, NULL},
    };
    PyType_Slot slots[] = {
        {Py_tp_doc, "Shelf(promiscuous=False, only=0)\n--\n\n"
                    "What one kind of DNS zone shows of the store's entries, or only what has the code and flags of a\n"
                    "table value; safe from several threads."},
        {Py_tp_new, py_shelf_new},
        {Py_tp_dealloc, py_shelf_dealloc},
        {Py_tp_methods, methods},
        {Py_tp_getset, getset},
        {Py_mp_length, py_shelf_len},
        {0, NULL},
    };
    PyType_Spec spec = {
        .name = "spamcannibal._core.Shelf",
        .basicsize = sizeof(struct py_shelf),
        .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE,
        .slots = slots,
    };
    PyObject *type = PyType_FromModuleAndSpec(module, &spec, NULL);
    int failed = type ? PyModule_AddType(module, (PyTypeObject *)type) : -1;

    Py_XDECREF(type);
    return failed;
}
