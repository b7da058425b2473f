/* Bursts of connections for Python: see burst.h. */
#include "py_core.h"

#include <errno.h>
#include <unistd.h>

#include "burst.h"

PyDoc_STRVAR(take_doc, "take_burst(listener, room, each, /)\n--\n\n"
    "Accept what waits and read once from each, at most `each` bytes into its part of `room`.\n\n"
    "Return (descriptor, addr, data) tuples; addr is empty for a Unix socket's peer, data None if it said nothing yet\n"
    "and empty if it has ended. OSError if the system lacks something and nobody was accepted.");

static PyObject *arrival_tuple(const struct arrival *a, const uint8_t *room)
{
    const char *addr = (const char *)a->addr, *data = (const char *)room;

    if (a->size == ARRIVAL_SILENT)
        return Py_BuildValue("iy#O", a->fd, addr, (Py_ssize_t)a->addrlen, Py_None);
    return Py_BuildValue("iy#y#", a->fd, addr, (Py_ssize_t)a->addrlen, data, (Py_ssize_t)a->size);
}

/* The list of arrivals; without memory for it all are closed, since nobody would ever do that. */
static PyObject *arrival_list(const struct arrival *arrivals, size_t count, const uint8_t *room, size_t each)
{
    PyObject *list = PyList_New((Py_ssize_t)count);

    for (size_t i = 0; list && i < count; i++) {
        PyObject *item = arrival_tuple(&arrivals[i], room + i * each);

        if (item)
            PyList_SET_ITEM(list, (Py_ssize_t)i, item);
        else
            Py_CLEAR(list);
    }
    for (size_t i = 0; !list && i < count; i++)
        close(arrivals[i].fd);
    return list;
}

static PyObject *py_burst_take(PyObject *Py_UNUSED(module), PyObject *args)
{
    struct arrival arrivals[BURST_LIMIT];
    PyObject *list = NULL;
    Py_buffer room;
    Py_ssize_t each;
    int listener;

    if (!PyArg_ParseTuple(args, "iw*n:take_burst", &listener, &room, &each))
        return NULL;
    if (each < 1 || each > room.len) {
        PyErr_Format(PyExc_ValueError, "each: got %zd, want 1 to the room's %zd", each, room.len);
    } else {
        size_t most = (size_t)(room.len / each), count;
        int why;

        Py_BEGIN_ALLOW_THREADS
        count = burst_take(listener, arrivals, most < BURST_LIMIT ? most : BURST_LIMIT, room.buf, (size_t)each);
        why = errno;
        Py_END_ALLOW_THREADS
        errno = why;
        if (count == 0 && why != EAGAIN)
            PyErr_SetFromErrno(PyExc_OSError);
        else
            list = arrival_list(arrivals, count, room.buf, (size_t)each);
    }
    PyBuffer_Release(&room);
    return list;
}

PyDoc_STRVAR(answer_doc, "answer_burst(replies, /)\n--\n\n"
    "Send each (descriptor, data) its data and close it, at most 256 of them.\n\n"
    "Return (descriptor, bytes sent) of those that do not take all of it now and are still open.");

static int departure_of(PyObject *item, struct departure *d)
{
    Py_ssize_t size;
    const char *text;

    if (!PyTuple_Check(item)) {
        PyErr_SetString(PyExc_TypeError, "want (descriptor, data) tuples");
        return -1;
    }
    if (!PyArg_ParseTuple(item, "iy#:answer_burst", &d->fd, &text, &size))
        return -1;
    d->text = text;
    d->size = (size_t)size;
    return 0;
}

/* What some did not take. */
static PyObject *rest_list(const struct departure *departures, size_t count)
{
    PyObject *list = PyList_New(0);

    for (size_t i = 0; list && i < count; i++) {
        const struct departure *d = &departures[i];

        if (d->sent == d->size)
            continue;
        PyObject *item = Py_BuildValue("in", d->fd, (Py_ssize_t)d->sent);

        if (!item || PyList_Append(list, item) < 0)
            Py_CLEAR(list);
        Py_XDECREF(item);
    }
    return list;
}

static PyObject *py_burst_answer(PyObject *Py_UNUSED(module), PyObject *replies)
{
    struct departure departures[BURST_LIMIT];
    PyObject *held = PySequence_Tuple(replies); /* nobody takes a text away while it is sent */
    Py_ssize_t count = held ? PyTuple_GET_SIZE(held) : 0;
    PyObject *rest = NULL;
    Py_ssize_t i;

    if (!held)
        return NULL;
    if (count > BURST_LIMIT)
        PyErr_Format(PyExc_ValueError, "got %zd replies, want at most %d", count, BURST_LIMIT);
    for (i = 0; i < count && !PyErr_Occurred(); i++)
        departure_of(PyTuple_GET_ITEM(held, i), &departures[i]);
    if (!PyErr_Occurred()) {
        Py_BEGIN_ALLOW_THREADS
        burst_answer(departures, (size_t)count);
        Py_END_ALLOW_THREADS
        rest = rest_list(departures, (size_t)count);
    }
    Py_DECREF(held);
    return rest;
}

int py_burst_init(PyObject *module)
{
    static PyMethodDef functions[] = {
        {"take_burst", py_burst_take, METH_VARARGS, take_doc},
        {"answer_burst", py_burst_answer, METH_O, answer_doc},
        {NULL, NULL, 0, NULL},
    };

    return PyModule_AddFunctions(module, functions);
}
