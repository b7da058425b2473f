/* DnsView: what the DNS server publishes, as the C loop takes it: zones, shelves, serial.
 *
 * Zones come as nested tuples, so that nothing can change under the loop; their bytes are used in place:
 *
 *   zone    (name, shelf, promiscuous, is guarded, code, ttl_s, text, negative SOA, nodes, glue)
 *   name    bytes as on the wire, lower case
 *   nodes   ((labels before the zone's as on the wire, without a root, ((type, (record, ...)), ...)), ...)
 *   record  (bytes, (places of pointers to the zone's name, ...), has a serial)  Template of zone.py
 */
#include "py_core.h"

#include "addrtable.h"
#include "dnsserve.h"
#include "shelf.h"

enum { ZONE_FIELDS = 10, PIECES_MAX = UINT16_MAX };

struct piece {
    struct piece *next;
    _Alignas(16) char bytes[];
};

struct py_dnsview {
    PyObject_HEAD
    struct dnsview view;
    struct piece *pieces;  /* all structs of the zones */
    PyObject *zones;       /* what they point into */
};

static struct py_dnsview *dnsview_of(PyObject *self) { return (struct py_dnsview *)self; }

/* ---- tuples into structs; all return false with an exception ---- */

static void *take(struct py_dnsview *v, size_t n, size_t size)
{
    struct piece *p = PyMem_Calloc(1, sizeof *p + n * size);

    if (!p)
        return PyErr_NoMemory();
    p->next = v->pieces;
    v->pieces = p;
    return p->bytes;
}

/* The length of a tuple, or -1. */
static Py_ssize_t length(PyObject *tuple, const char *what, Py_ssize_t least, Py_ssize_t most)
{
    if (!PyTuple_Check(tuple)) {
        PyErr_Format(PyExc_TypeError, "%s: got %s, want a tuple", what, Py_TYPE(tuple)->tp_name);
        return -1;
    }
    Py_ssize_t n = PyTuple_GET_SIZE(tuple);
    if (n < least || n > most) {
        PyErr_Format(PyExc_ValueError, "%s: got %zd items, want %zd to %zd", what, n, least, most);
        return -1;
    }
    return n;
}

static bool take_bytes(PyObject *bytes, const char *what, const uint8_t **data, Py_ssize_t *size, Py_ssize_t most)
{
    if (!PyBytes_Check(bytes)) {
        PyErr_Format(PyExc_TypeError, "%s: got %s, want bytes", what, Py_TYPE(bytes)->tp_name);
        return false;
    }
    *data = (const uint8_t *)PyBytes_AS_STRING(bytes);
    *size = PyBytes_GET_SIZE(bytes);
    if (*size > most)
        PyErr_Format(PyExc_ValueError, "%s: got %zd bytes, want at most %zd", what, *size, most);
    return *size <= most;
}

static bool take_number(PyObject *object, const char *what, unsigned long most, unsigned long *number)
{
    *number = PyLong_AsUnsignedLong(object);
    if (PyErr_Occurred())
        return false;
    if (*number > most)
        PyErr_Format(PyExc_ValueError, "%s: got %lu, want at most %lu", what, *number, most);
    return *number <= most;
}

static bool read_record(PyObject *tuple, struct dns_record *record)
{
    Py_ssize_t size;
    unsigned long place;

    if (length(tuple, "record", 3, 3) < 0 ||
        !take_bytes(PyTuple_GET_ITEM(tuple, 0), "record", &record->data, &size, UINT16_MAX))
        return false;
    PyObject *places = PyTuple_GET_ITEM(tuple, 1);
    Py_ssize_t n = length(places, "record's pointers", 0, DNS_POINTERS);
    int has_serial = PyObject_IsTrue(PyTuple_GET_ITEM(tuple, 2));
    if (n < 0 || has_serial < 0)
        return false;
    if (size < (has_serial ? 31 : 11)) { /* owner, head, and the numbers of an SOA */
        PyErr_Format(PyExc_ValueError, "record: got %zd bytes, which is none", size);
        return false;
    }
    for (Py_ssize_t i = 0; i < n; i++) {
        if (!take_number(PyTuple_GET_ITEM(places, i), "record's pointer", (unsigned long)size - 2, &place))
            return false;
        record->pointers[i] = (uint16_t)place;
    }
    record->size = (uint16_t)size;
    record->n_pointers = (uint8_t)n;
    record->has_serial = has_serial;
    return true;
}

static struct dns_record *read_records(struct py_dnsview *v, PyObject *tuple, uint16_t *n_records)
{
    Py_ssize_t n = length(tuple, "records", 0, PIECES_MAX);
    struct dns_record *records = n < 0 ? NULL : take(v, (size_t)n, sizeof *records);

    for (Py_ssize_t i = 0; records && i < n; i++)
        if (!read_record(PyTuple_GET_ITEM(tuple, i), &records[i]))
            return NULL;
    *n_records = (uint16_t)(n < 0 ? 0 : n);
    return records;
}

static bool read_rrset(struct py_dnsview *v, PyObject *tuple, struct dns_rrset *set)
{
    unsigned long type;

    if (length(tuple, "set", 2, 2) < 0 || !take_number(PyTuple_GET_ITEM(tuple, 0), "type", UINT16_MAX, &type))
        return false;
    set->type = (uint16_t)type;
    set->records = read_records(v, PyTuple_GET_ITEM(tuple, 1), &set->n_records);
    return set->records != NULL;
}

static bool read_node(struct py_dnsview *v, PyObject *tuple, struct dns_node *node)
{
    Py_ssize_t size;

    if (length(tuple, "node", 2, 2) < 0 ||
        !take_bytes(PyTuple_GET_ITEM(tuple, 0), "node", &node->name, &size, DNS_NAME_BYTES))
        return false;
    PyObject *sets = PyTuple_GET_ITEM(tuple, 1);
    Py_ssize_t n = length(sets, "node", 0, PIECES_MAX);
    struct dns_rrset *room = n < 0 ? NULL : take(v, (size_t)n, sizeof *room);
    for (Py_ssize_t i = 0; room && i < n; i++)
        if (!read_rrset(v, PyTuple_GET_ITEM(sets, i), &room[i]))
            return false;
    node->size = (uint8_t)size;
    node->n_sets = (uint16_t)(n < 0 ? 0 : n);
    node->sets = room;
    return room != NULL;
}

static bool read_nodes(struct py_dnsview *v, PyObject *tuple, struct dns_zone *zone)
{
    Py_ssize_t n = length(tuple, "nodes", 0, PIECES_MAX);
    struct dns_node *nodes = n < 0 ? NULL : take(v, (size_t)n, sizeof *nodes);

    for (Py_ssize_t i = 0; nodes && i < n; i++)
        if (!read_node(v, PyTuple_GET_ITEM(tuple, i), &nodes[i]))
            return false;
    zone->nodes = nodes;
    zone->n_nodes = (uint16_t)(n < 0 ? 0 : n);
    return nodes != NULL;
}

static bool read_name(PyObject *bytes, struct dns_zone *zone)
{
    Py_ssize_t size, at = 0;

    if (!take_bytes(bytes, "zone", &zone->name, &size, DNS_NAME_BYTES))
        return false;
    while (at < size && zone->name[at] != 0) {
        at += 1 + zone->name[at];
        zone->n_labels++;
    }
    zone->size = (uint8_t)size;
    if (at + 1 != size || zone->n_labels == 0)
        PyErr_Format(PyExc_ValueError, "zone: not a name: %R", bytes);
    return at + 1 == size && zone->n_labels > 0;
}

static uint32_t match(const void *shelf, const uint8_t *addr, unsigned addrlen)
{
    return at_lookup(shelf_table(shelf), addr, addrlen, NULL);
}

static bool has_below(const void *shelf, const uint8_t *addr, unsigned addrlen, unsigned plen)
{
    return shelf_has_below(shelf, addr, addrlen, plen);
}

static bool add_shelf(struct dnsview *view, struct shelf *shelf)
{
    if (!shelf)
        return false;
    for (unsigned i = 0; i < view->n_shelves; i++)
        if (view->shelves[i] == shelf)
            return true;
    if (view->n_shelves == DNSSERVE_SHELVES) {
        PyErr_Format(PyExc_ValueError, "zones: more than %d shelves", DNSSERVE_SHELVES);
        return false;
    }
    view->shelves[view->n_shelves++] = shelf;
    return true;
}

static bool read_zone(struct py_dnsview *v, PyObject *tuple, struct dns_zone *zone)
{
    Py_ssize_t text_size;
    unsigned long code, ttl_s;

    if (length(tuple, "zone", ZONE_FIELDS, ZONE_FIELDS) < 0 || !read_name(PyTuple_GET_ITEM(tuple, 0), zone))
        return false;
    struct shelf *shelf = py_shelf_of(PyTuple_GET_ITEM(tuple, 1));
    int promiscuous = PyObject_IsTrue(PyTuple_GET_ITEM(tuple, 2));
    int is_guarded = PyObject_IsTrue(PyTuple_GET_ITEM(tuple, 3));
    if (promiscuous < 0 || is_guarded < 0 || !add_shelf(&v->view, shelf) ||
        !take_number(PyTuple_GET_ITEM(tuple, 4), "code", UINT32_MAX, &code) ||
        !take_number(PyTuple_GET_ITEM(tuple, 5), "ttl_s", INT32_MAX, &ttl_s) ||
        !take_bytes(PyTuple_GET_ITEM(tuple, 6), "text", &zone->text, &text_size, PY_SSIZE_T_MAX) ||
        !read_record(PyTuple_GET_ITEM(tuple, 7), &zone->negative) || !read_nodes(v, PyTuple_GET_ITEM(tuple, 8), zone))
        return false;
    zone->glue = read_records(v, PyTuple_GET_ITEM(tuple, 9), &zone->n_glue);
    zone->promiscuous = promiscuous;
    zone->is_guarded = is_guarded;
    zone->code = (uint32_t)code;
    zone->ttl_s = (uint32_t)ttl_s;
    zone->text_size = (size_t)text_size;
    zone->listings = (struct dns_listings){.shelf = shelf, .match = match, .has_below = has_below};
    return zone->glue != NULL;
}

/* Insertion sort: zones are few, and the most specific is asked first. */
static void sort_zones(struct dns_zone *zones, size_t n)
{
    for (size_t i = 1; i < n; i++)
        for (size_t j = i; j > 0 && zones[j - 1].n_labels < zones[j].n_labels; j--) {
            struct dns_zone swapped = zones[j];
            zones[j] = zones[j - 1];
            zones[j - 1] = swapped;
        }
}

static bool read_zones(struct py_dnsview *v)
{
    Py_ssize_t n = length(v->zones, "zones", 0, PIECES_MAX);
    struct dns_zone *zones = n < 0 ? NULL : take(v, (size_t)n, sizeof *zones);

    for (Py_ssize_t i = 0; zones && i < n; i++)
        if (!read_zone(v, PyTuple_GET_ITEM(v->zones, i), &zones[i]))
            return false;
    if (!zones)
        return false;
    sort_zones(zones, (size_t)n);
    v->view.zones = (struct dns_zones){.zones = zones, .n = (size_t)n};
    return true;
}

/* ---- methods ---- */

PyDoc_STRVAR(answer_doc, "answer($self, query, limit=1232)\n--\n\n"
    "Return (True, the reply to a query), (True, None) for silence, (False, None) if Python must be asked.");

static PyObject *answer_locked(const struct dnsview *v, const Py_buffer *query, size_t limit)
{
    struct dns_query q;
    struct dns_told told;
    uint8_t reply[DNS_REPLY_BYTES];
    enum dns_kind kind = dns_read(query->buf, (size_t)query->len, &v->zones, &q);
    size_t size = 0;

    if (kind == DNS_SILENCE)
        return Py_BuildValue("(OO)", Py_True, Py_None);
    if (kind == DNS_QUERY)
        size = dns_reply(&q, atomic_load(&v->serial), limit, reply, &told);
    else if (kind == DNS_BROKEN)
        size = dns_bare(query->buf, DNS_FORMERR, reply);
    if (!size)
        return Py_BuildValue("(OO)", Py_False, Py_None);
    return Py_BuildValue("(Oy#)", Py_True, (const char *)reply, (Py_ssize_t)size);
}

static PyObject *py_dnsview_answer(PyObject *self, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"query", "limit", NULL};
    struct dnsview *v = &dnsview_of(self)->view;
    unsigned short limit = 1232;
    Py_buffer query;

    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "y*|H:answer", names, &query, &limit))
        return NULL;
    for (unsigned i = 0; i < v->n_shelves; i++) {
        Py_BEGIN_ALLOW_THREADS
        at_rdlock(shelf_table(v->shelves[i]));
        Py_END_ALLOW_THREADS
    }
    PyObject *answer = answer_locked(v, &query, limit);
    for (unsigned i = 0; i < v->n_shelves; i++)
        at_rdunlock(shelf_table(v->shelves[i]));
    PyBuffer_Release(&query);
    return answer;
}

static PyObject *get_names(PyObject *self, void *Py_UNUSED(closure))
{
    const struct dns_zones *zones = &dnsview_of(self)->view.zones;
    PyObject *names = PyTuple_New((Py_ssize_t)zones->n);

    for (size_t i = 0; names && i < zones->n; i++) {
        PyObject *name = PyBytes_FromStringAndSize((const char *)zones->zones[i].name, zones->zones[i].size);
        if (!name)
            Py_CLEAR(names);
        else
            PyTuple_SET_ITEM(names, (Py_ssize_t)i, name);
    }
    return names;
}

static PyObject *get_serial(PyObject *self, void *Py_UNUSED(closure))
{
    return PyLong_FromUnsignedLong(atomic_load(&dnsview_of(self)->view.serial));
}

static int set_serial(PyObject *self, PyObject *number, void *Py_UNUSED(closure))
{
    unsigned long serial = number ? PyLong_AsUnsignedLongMask(number) : 0;

    if (!number)
        PyErr_SetString(PyExc_AttributeError, "serial: can't be deleted");
    if (PyErr_Occurred())
        return -1;
    atomic_store(&dnsview_of(self)->view.serial, (uint32_t)serial);
    return 0;
}

/* ---- the type ---- */

static PyObject *py_dnsview_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"zones", NULL};
    struct py_dnsview *self;
    PyObject *zones;

    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O:DnsView", names, &zones))
        return NULL;
    if (!(self = (struct py_dnsview *)type->tp_alloc(type, 0)))
        return NULL;
    self->zones = Py_NewRef(zones);
    if (!read_zones(self))
        Py_CLEAR(self);
    return (PyObject *)self;
}

static void py_dnsview_dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    struct py_dnsview *v = dnsview_of(self);

    while (v->pieces) {
        struct piece *next = v->pieces->next;
        PyMem_Free(v->pieces);
        v->pieces = next;
    }
    Py_XDECREF(v->zones);
    type->tp_free(self);
    Py_DECREF(type);
}

const struct dnsview *py_dnsview_of(PyObject *object)
{
    if (Py_TYPE(object)->tp_dealloc != py_dnsview_dealloc) { /* not subclassable, so this names the type */
        PyErr_Format(PyExc_TypeError, "got %s, want DnsView", Py_TYPE(object)->tp_name);
        return NULL;
    }
    return &dnsview_of(object)->view;
}

int py_dns_init(PyObject *module)
{
    static PyMethodDef methods[] = {
        {"answer", (PyCFunction)(void (*)(void))py_dnsview_answer, METH_VARARGS | METH_KEYWORDS, answer_doc},
        {NULL, NULL, 0, NULL},
    };
    static PyGetSetDef getset[] = {
        {"names", get_names, NULL, "the zones' names as on the wire, in lower case", NULL},
        {"serial", get_serial, set_serial, "the zones' serial number, modulo 2**32", NULL},
        {NULL, NULL, NULL, NULL, NULL},
    };
    PyType_Slot slots[] = {
        {Py_tp_doc, "DnsView(zones)\n--\n\nWhat the DNS server publishes, compiled; dnsbl/compiled.py makes the tuples."},
        {Py_tp_new, py_dnsview_new},
        {Py_tp_dealloc, py_dnsview_dealloc},
        {Py_tp_methods, methods},
        {Py_tp_getset, getset},
        {0, NULL},
    };
    PyType_Spec spec = {
        .name = "spamcannibal._core.DnsView",
        .basicsize = sizeof(struct py_dnsview),
        .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE,
        .slots = slots,
    };
    PyObject *type = PyType_FromModuleAndSpec(module, &spec, NULL);
    int failed = type ? PyModule_AddType(module, (PyTypeObject *)type) : -1;

    Py_XDECREF(type);
    return failed;
}
