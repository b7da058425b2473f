/* What py_tarpit.c takes of py_packet.c. */
#ifndef SC_PY_PACKET_H
#define SC_PY_PACKET_H

#include "py_core.h"

#include "packet.h"

int py_packet_init(PyObject *module);

/* The packet of a reply, as bytes; NULL with MemoryError. */
PyObject *py_packet_build(const struct reply *r);

#endif
