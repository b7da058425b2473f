/* The extension module spamcannibal._core: nothing but the list of its parts. */
#include "py_core.h"

static int core_exec(PyObject *module)
{
    int (*const parts[])(PyObject *) = {py_table_init, py_tarpit_init,  py_loop_init,     py_shelf_init,
                                        py_dns_init,   py_dnsloop_init, py_dnsguard_init, py_replay_init,
                                        py_burst_init};

    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
        if (parts[i](module) < 0)
            return -1;
    return 0;
}

static PyModuleDef_Slot core_slots[] = {
    {Py_mod_exec, core_exec},
    {0, NULL},
};

static PyModuleDef core_module = {
    PyModuleDef_HEAD_INIT,
    .m_name = "spamcannibal._core",
    .m_doc = "The C core: address table, packet decisions and packet loop, DNS answers and DNS loop.",
    .m_slots = core_slots,
};

PyMODINIT_FUNC PyInit__core(void)
{
    return PyModuleDef_Init(&core_module);
}
