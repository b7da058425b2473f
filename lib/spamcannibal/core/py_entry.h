/* What AddrTable and Shelf share: entries of an address table as Python values, and its lock.
 *
 * Addresses are packed bytes (4 or 16), keys are the store's: an address, or the address and one byte of prefix
 * length. The table lock is taken with the GIL released, unless it is free at once, and given back before the
 * GIL is waited for: a loop thread never waits for Python.
 */
#ifndef SC_PY_ENTRY_H
#define SC_PY_ENTRY_H

#include "py_core.h"

#include "addrtable.h"

PyThreadState *py_lock_read(struct addrtable *t);
PyThreadState *py_lock_write(struct addrtable *t);
void py_unlock_read(struct addrtable *t, PyThreadState *released);
void py_unlock_write(struct addrtable *t, PyThreadState *released);

/* Borrow an address; its length, or 0 with an exception. */
unsigned py_parse_addr(PyObject *arg, const uint8_t **addr);
/* Copy a key into an entry; -1 with an exception if it is none. */
int py_parse_key(PyObject *arg, struct at_entry *e);
/* Copy a key and a value from two arguments of a method; -1 with an exception. */
int py_parse_entry(PyObject *const *args, Py_ssize_t n_args, struct at_entry *e);

/* Methods of both types. */
PyObject *py_entry_get(struct addrtable *t, PyObject *key);
PyObject *py_entry_match(struct addrtable *t, PyObject *addr);
PyObject *py_entry_items(struct addrtable *t);
Py_ssize_t py_entry_count(struct addrtable *t);

/* Enter (key, value) tuples from an iterable by put(into, entry), which returns 0, or -1 without memory; their number.
 * The table is locked for a few hundred entries at a time. After an error the entries before the faulty chunk stay. */
PyObject *py_entry_load(struct addrtable *t, PyObject *pairs, int (*put)(void *, const struct at_entry *), void *into);

#endif
