/* What py_tarpit.c takes of py_settings.c. */
#ifndef SC_PY_SETTINGS_H
#define SC_PY_SETTINGS_H

#include "py_core.h"

#include "trap.h"

/* The settings a Trap is born with: those of the configuration's defaults, greeting as "localhost". */
void py_settings_defaults(uint32_t slots, const uint8_t secret[16], struct trap_settings *set);

/* Change *set by the keyword arguments of Trap.configure: 0, or -1 with an exception and *set of no use. */
int py_settings_parse(PyObject *args, PyObject *kwargs, uint32_t slots, struct trap_settings *set);

#endif
