/* What the binding files (module.c and py_*.c, the only ones that include Python.h) know of each other.
 *
 * Each adds its own types and functions to the module and hands its C object to the others. A pointer that is
 * handed out is borrowed: whoever keeps it keeps a reference to the Python object beside it. The C objects'
 * own locks are never held while the GIL is waited for.
 */
#ifndef SC_PY_CORE_H
#define SC_PY_CORE_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

struct addrtable;
struct dnsview;
struct rrl;
struct shelf;
struct talkers;
struct trap;

/* Fill the module: 0, or -1 with an exception. */
int py_table_init(PyObject *module);
int py_tarpit_init(PyObject *module);
int py_loop_init(PyObject *module);
int py_shelf_init(PyObject *module);
int py_dns_init(PyObject *module);
int py_dnsloop_init(PyObject *module);
int py_dnsguard_init(PyObject *module);
int py_burst_init(PyObject *module);
int py_replay_init(PyObject *module);

/* The C object inside, or NULL with a TypeError if it is of another type. */
struct addrtable *py_table_get(PyObject *object);
struct trap *py_trap_get(PyObject *object);
struct shelf *py_shelf_of(PyObject *object);
const struct dnsview *py_dnsview_of(PyObject *object);
struct rrl *py_rrl_get(PyObject *object);
struct talkers *py_talkers_get(PyObject *object);

#endif
