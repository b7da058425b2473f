/* decode, build and siphash24 for Python: the packet codec as tests, replay and oracles use it. */
#include "py_packet.h"

#include "siphash.h"
#include "tarpit.h"

#include <string.h>

static const char *kind_name(enum pkt_kind kind)
{
    static const char *const names[] = {
        [PKT_TCP] = "TCP", [PKT_OTHER] = "OTHER", [PKT_FRAGMENT] = "FRAGMENT",
        [PKT_TRUNCATED] = "TRUNCATED", [PKT_BAD] = "BAD",
    };

    return names[kind];
}

PyDoc_STRVAR(decode_doc, "decode(packet, verify=False)\n--\n\n"
                         "Give (kind, fields or None) of an IP packet; fields is None if no address could be read.");

static PyObject *decode(PyObject *module, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"packet", "verify", NULL};
    Py_buffer in;
    int verify = 0;
    struct pkt p;

    (void)module;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "y*|p:decode", names, &in, &verify))
        return NULL;
    const char *kind = kind_name(pkt_decode(in.buf, (size_t)in.len, verify, &p));
    const Py_ssize_t addrlen = p.family == 4 ? 4 : 16;

    PyBuffer_Release(&in);
    if (p.family == 0)
        return Py_BuildValue("(sO)", kind, Py_None);
    return Py_BuildValue("(s{sBsy#sy#sBsHsHsIsIsBsHsIsI})", kind, "family", p.family, "src", (const char *)p.src,
                         addrlen, "dst", (const char *)p.dst, addrlen, "proto", p.proto, "sport", p.sport, "dport",
                         p.dport, "seq", p.seq, "ack", p.ack, "flags", p.flags, "window", p.window, "payload_len",
                         p.payload_len, "total_len", p.total_len);
}

PyObject *py_packet_build(const struct reply *r)
{
    PyObject *out = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)pkt_reply_len(r));

    if (out)
        pkt_build(r, (uint8_t *)PyBytes_AS_STRING(out), pkt_reply_len(r));
    return out;
}

PyDoc_STRVAR(build_doc, "build(src, dst, sport, dport, *, seq=0, ack=0, flags=0, window=0, payload=b'')\n--\n\n"
                        "Give a TCP packet of IPv4 (addresses of 4 bytes) or IPv6 (16), with checksums.");

static PyObject *build(PyObject *module, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"src", "dst", "sport", "dport", "seq", "ack", "flags", "window", "payload", NULL};
    const char *src, *dst, *payload = "";
    Py_ssize_t src_len, dst_len, payload_len = 0;
    struct reply r = {0};

    (void)module;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "y#y#HH|$IIBHy#:build", names, &src, &src_len, &dst, &dst_len,
                                     &r.sport, &r.dport, &r.seq, &r.ack, &r.flags, &r.window, &payload, &payload_len))
        return NULL;
    if (src_len != dst_len || (src_len != 4 && src_len != 16))
        return PyErr_Format(PyExc_ValueError, "addresses: got %zd and %zd bytes, want 4 and 4 or 16 and 16", src_len,
                            dst_len);
    if (payload_len > TP_LINE_MAX)
        return PyErr_Format(PyExc_ValueError, "payload: got %zd bytes, want at most %d", payload_len, TP_LINE_MAX);
    r.family = src_len == 4 ? 4 : 6;
    memcpy(r.src, src, (size_t)src_len);
    memcpy(r.dst, dst, (size_t)dst_len);
    r.payload = (const uint8_t *)payload;
    r.payload_len = (uint16_t)payload_len;
    return py_packet_build(&r);
}

PyDoc_STRVAR(siphash24_doc, "siphash24(key, data)\n--\n\nGive the 64-bit SipHash-2-4 of data under a key of 16 bytes.");

static PyObject *py_siphash24(PyObject *module, PyObject *args)
{
    const char *key, *data;
    Py_ssize_t key_len, data_len;

    (void)module;
    if (!PyArg_ParseTuple(args, "y#y#:siphash24", &key, &key_len, &data, &data_len))
        return NULL;
    if (key_len != 16)
        return PyErr_Format(PyExc_ValueError, "key: got %zd bytes, want 16", key_len);
    const uint64_t words[2] = {sip_word((const uint8_t *)key, 8), sip_word((const uint8_t *)key + 8, 8)};
    return PyLong_FromUnsignedLongLong(siphash24(words, (const uint8_t *)data, (size_t)data_len));
}

static PyMethodDef functions[] = {
    {"decode", (PyCFunction)(void (*)(void))decode, METH_VARARGS | METH_KEYWORDS, decode_doc},
    {"build", (PyCFunction)(void (*)(void))build, METH_VARARGS | METH_KEYWORDS, build_doc},
    {"siphash24", py_siphash24, METH_VARARGS, siphash24_doc},
    {NULL, NULL, 0, NULL},
};

int py_packet_init(PyObject *module)
{
    return PyModule_AddFunctions(module, functions);
}
