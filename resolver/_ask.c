/* Datagrams to upstreams: a socket with a port of its own for each query, and one look at what comes back.
 *
 * Nothing is decided here. Python says who is asked what, and for how long; of a reply that is nothing out of the
 * ordinary it is told what stands where (`Facts` in forward/facts.py), of any other one only the octets.
 *
 * A port is taken when a query leaves and let go of when its reply has come, but the socket need not end with it: a
 * connection that is dissolved (connect(2), AF_UNSPEC) leaves a socket without a port, which nobody can send to, and the
 * next connection has the kernel pick another port at random (RFC 5452 9.2). docs/adr/0024 has what that saves.
 *
 * Only the stable ABI of CPython 3.11 is used. All calls hold the GIL.
 */

#define _GNU_SOURCE
#define Py_LIMITED_API 0x030b0000
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <errno.h>
#include <netinet/in.h>
#include <stdint.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#ifndef IPV6_RECVERR
#define IPV6_RECVERR 25
#endif

enum {
    HEADER = 12,
    MAX_NAME = 255,
    MAX_LABEL = 63,
    POINTER = 0xC0,
    RECORD = 10,    /* octets between a record's name and its data */
    BATCH = 64,     /* replies before the listeners have their turn */
    MESSAGE = 1 << 16,
    MAX_MESSAGE = 65535,
    CHAIN = 16,     /* CNAME records that are followed */
    POINTERS = 127, /* of one name; it has no more labels, and each record may lead through all pointers of a message */
    TYPE_CNAME = 5,
    TYPE_SOA = 6,
    SOA_NUMBERS = 22, /* two names of at least one octet, and five numbers */
    TYPE_OPT = 41,
    TYPE_ANY = 255,
    IPV4_PLACE = 6, /* octets of an address and its port */
    IPV6_PLACE = 18,
    OWN_UDP_SIZE = 1232,
};

enum { QR = 0x80, OPCODE = 0x78, TC = 0x02, RD = 0x01 };      /* octet 2 of the header */
enum { RA = 0x80, AD = 0x20, CD = 0x10, RCODE = 0x0F, NOERROR = 0, NXDOMAIN = 3 }; /* octet 3 */

static unsigned get16(const uint8_t *at) { return (unsigned)at[0] << 8 | at[1]; }
static uint32_t get32(const uint8_t *at) { return (uint32_t)get16(at) << 16 | get16(at + 2); }
static unsigned fold(unsigned octet) { return octet - 'A' < 26u ? octet | 0x20 : octet; }

/* ---- queries ---- */

PyDoc_STRVAR(scan_doc, "scan(type, message): the query in a message that is one question and nothing else, as the `Query` of\n"
                       "wire/query.py, which is the type; None for any other message.");

static PyObject *scan_query(PyObject *Py_UNUSED(module), PyObject *args) {
    PyTypeObject *type;
    PyObject *message;
    if (!PyArg_ParseTuple(args, "O!S", &PyType_Type, &type, &message)) return NULL;
    if (!PyType_IsSubtype(type, &PyTuple_Type)) return PyErr_Format(PyExc_TypeError, "a query is a tuple");
    char *octets;
    Py_ssize_t length;
    if (PyBytes_AsStringAndSize(message, &octets, &length)) return NULL;
    const uint8_t *wire = (const uint8_t *)octets;
    static const uint8_t only_a_question[8] = {0, 1};
    if (length < HEADER + 5 || length > MAX_MESSAGE || wire[2] & (QR | OPCODE) || memcmp(wire + 4, only_a_question, 8))
        Py_RETURN_NONE;
    uint8_t folded[MAX_NAME];
    size_t size = (size_t)length, at = HEADER, made = 0;
    for (;;) {
        unsigned label = wire[at];
        if (label > MAX_LABEL || at + 1 + label + 4 > size || made + 1 + label > MAX_NAME) Py_RETURN_NONE;
        folded[made++] = (uint8_t)label;
        at++;
        if (!label) break;
        for (unsigned n = 0; n < label; n++) folded[made++] = (uint8_t)fold(wire[at++]);
    }
    PyObject *query = PyType_GenericAlloc(type, 7);
    if (!query) return NULL;
    PyObject *parts[7] = {
        Py_NewRef(message),
        PyBytes_FromStringAndSize(octets + HEADER, (Py_ssize_t)made),
        PyBytes_FromStringAndSize((char *)folded, (Py_ssize_t)made),
        PyLong_FromLong((long)get16(wire + at)),
        PyLong_FromLong((long)get16(wire + at + 2)),
        PyLong_FromSize_t(at + 4),
        Py_NewRef(Py_None),
    };
    int failed = 0;
    for (Py_ssize_t n = 0; n < 7; n++) failed |= !parts[n] || PyTuple_SetItem(query, n, parts[n]);
    if (failed) Py_CLEAR(query);
    return query;
}

/* ---- replies ---- */

/* Where a name ends, as wire/records.py has it: a pointer points backwards; 0 for what is no name. */
static size_t skip_name(const uint8_t *message, size_t size, size_t at) {
    size_t start = at;
    for (;;) {
        if (at >= size) return 0;
        unsigned label = message[at];
        if (!label) return at + 1;
        if (label >= POINTER) {
            if (at + 1 >= size || ((label & 0x3Fu) << 8 | message[at + 1]) >= start) return 0;
            return at + 2;
        }
        if (label > MAX_LABEL) return 0;
        at += 1 + label;
        if (at - start >= MAX_NAME) return 0;
    }
}

/* A name without compression, folded; its size, or 0. Pointers point backwards, each before the last. */
static size_t name_at(const uint8_t *message, size_t size, size_t at, uint8_t *to) {
    size_t made = 0, limit = at + 1;
    unsigned pointers = 0;
    for (;;) {
        if (at >= size) return 0;
        unsigned label = message[at];
        if (!label) {
            to[made] = 0;
            return made + 1;
        }
        if (label >= POINTER) {
            if (at + 1 >= size || ++pointers > POINTERS) return 0;
            size_t target = (label & 0x3Fu) << 8 | message[at + 1];
            if (target >= limit) return 0;
            at = limit = target;
            continue;
        }
        if (label > MAX_LABEL || at + 1 + label >= size || made + 1 + label >= MAX_NAME) return 0;
        to[made] = (uint8_t)label;
        for (unsigned n = 1; n <= label; n++) to[made + n] = (uint8_t)fold(message[at + n]);
        made += 1 + label;
        at += 1 + label;
    }
}

typedef struct {
    uint8_t octets[MAX_NAME];
    size_t size;
} Name;

static int is_known(const Name *names, unsigned known, const uint8_t *name, size_t size) {
    for (unsigned n = known; n-- > 0;)
        if (names[n].size == size && !memcmp(names[n].octets, name, size)) return 1;
    return 0;
}

/* Whether the owner of a record is one of the names, or above one of them: another zone's SOA says nothing of these. */
static int is_above(const uint8_t *message, size_t size, size_t at, const Name *names, unsigned known) {
    uint8_t owner[MAX_NAME];
    size_t length = name_at(message, size, at, owner);
    for (unsigned n = 0; length && n < known; n++)
        for (size_t label = 0; names[n].size - label >= length; label += 1u + names[n].octets[label]) {
            if (names[n].size - label == length && !memcmp(names[n].octets + label, owner, length)) return 1;
            if (!names[n].octets[label]) break;
        }
    return 0;
}

PyDoc_STRVAR(read_doc,
             "read(query, reply): what stands where in a plain reply to the query as it was sent, as (rcode, offset of\n"
             "the question's end, of that of the records without OPT, the least TTL of an answer that has what was asked\n"
             "for, or for how long a SOA denies that there is any, or -1, ((offset, TTL), ...), None or the offsets of\n"
             "those that are of SOA records); None for any other message.");

static PyObject *read_reply(const uint8_t *query, size_t asked, const uint8_t *reply, size_t size) {
    if (asked < HEADER + 5 || size < HEADER || memcmp(query, reply, 2)) Py_RETURN_NONE;
    if ((reply[2] & (QR | OPCODE | TC)) != QR || get16(reply + 4) != 1) Py_RETURN_NONE;
    unsigned rcode = reply[3] & RCODE;
    if (rcode != NOERROR && rcode != NXDOMAIN) Py_RETURN_NONE;
    size_t at = HEADER;
    while (at < asked && query[at] && query[at] <= MAX_LABEL) at += 1u + query[at];
    size_t begin = at + 5;
    if (at >= asked || query[at] || at + 1 - HEADER > MAX_NAME || begin > asked || begin > size) Py_RETURN_NONE;
    for (size_t n = HEADER; n <= at; n++)
        if (fold(query[n]) != fold(reply[n])) Py_RETURN_NONE;
    if (memcmp(query + at + 1, reply + at + 1, 4)) Py_RETURN_NONE;
    unsigned type = get16(query + at + 1), answers = get16(reply + 6);
    unsigned before = answers + get16(reply + 8), count = before + get16(reply + 10);
    if (!answers && before && (query[2] & RD) && !(reply[3] & RA)) Py_RETURN_NONE; /* perhaps a referral */
    if (count > (size - begin) / (1 + RECORD)) Py_RETURN_NONE;
    static Name names[CHAIN]; /* the name asked, and where its CNAME records lead */
    unsigned known = 1;
    names[0].size = at + 1 - HEADER;
    for (size_t n = HEADER; n <= at; n++) names[0].octets[n - HEADER] = (uint8_t)fold(query[n]);
    int is_readable = 1, has_opt = 0, has_soa = 0;
    long long least = -1;
    int found = 0;
    long long denied_for = -1;
    PyObject *soas = NULL;
    size_t position = begin, body = 0;
    PyObject *ttls = PyTuple_New((Py_ssize_t)count);
    if (!ttls) return NULL;
    for (unsigned n = 0; n < count; n++) {
        size_t owner = position, data = skip_name(reply, size, position);
        if (!data || data + RECORD > size) goto odd;
        unsigned kind = get16(reply + data), length = get16(reply + data + 8);
        uint32_t ttl = get32(reply + data + 4);
        position = data + RECORD + length;
        if (position > size) goto odd;
        if (kind == TYPE_OPT) { /* plain where it is the last one and says nothing but DO */
            if (n < before || n + 1 < count || reply[owner] || length || (ttl & ~0x8000u)) goto odd;
            has_opt = 1;
            body = owner;
            break;
        }
        ttl &= 0x7FFFFFFF; /* RFC 2181 8 */
        PyObject *where = Py_BuildValue("(nk)", (Py_ssize_t)data + 4, (unsigned long)ttl);
        if (!where || PyTuple_SetItem(ttls, (Py_ssize_t)n, where)) goto error;
        if (kind == TYPE_SOA) {
            PyObject *place = PyLong_FromSize_t(data + 4);
            if (!soas) soas = PyList_New(0);
            int is_kept = place && soas && !PyList_Append(soas, place);
            Py_XDECREF(place);
            if (!is_kept) goto error;
            if (n >= answers && n < before && is_readable && !has_soa && is_above(reply, size, owner, names, known)) {
                has_soa = 1;
                if (length >= SOA_NUMBERS) {
                    uint32_t minimum = get32(reply + position - 4) & 0x7FFFFFFF;
                    denied_for = ttl < minimum ? ttl : minimum;
                    if (least >= 0 && least < denied_for) denied_for = least;
                }
            }
        }
        if (n >= answers || !is_readable) continue;
        if (least < 0 || ttl < least) least = ttl;
        int is_asked_for = reply[owner] == POINTER && reply[owner + 1] == HEADER;
        if (!is_asked_for) {
            static uint8_t name[MAX_NAME];
            size_t named = name_at(reply, size, owner, name);
            is_readable = named != 0;
            is_asked_for = named && is_known(names, known, name, named);
        }
        if (!is_asked_for) continue;
        if (kind == type || type == TYPE_ANY) {
            found = 1;
        } else if (kind == TYPE_CNAME) {
            is_readable = known < CHAIN;
            if (is_readable) {
                names[known].size = name_at(reply, size, data + RECORD, names[known].octets);
                is_readable = names[known++].size != 0;
            }
        }
    }
    if (position != size) goto odd;
    if (!has_opt) {
        body = position;
    } else {
        PyObject *others = PyTuple_GetSlice(ttls, 0, (Py_ssize_t)count - 1);
        Py_DECREF(ttls);
        ttls = others;
        if (!others) goto error;
    }
    int is_positive = found && rcode == NOERROR;
    PyObject *of_soas = is_positive || !soas ? Py_NewRef(Py_None) : PyList_AsTuple(soas);
    Py_CLEAR(soas);
    if (!of_soas) goto error;
    if (!is_positive) least = denied_for;
    return Py_BuildValue("(InnLNN)", rcode, (Py_ssize_t)begin, (Py_ssize_t)body, is_readable ? least : -1LL, ttls,
                         of_soas);
odd:
    Py_DECREF(ttls);
    Py_XDECREF(soas);
    Py_RETURN_NONE;
error:
    Py_XDECREF(ttls);
    Py_XDECREF(soas);
    return NULL;
}

static PyObject *read_them(PyObject *Py_UNUSED(module), PyObject *args) {
    const char *query, *reply;
    Py_ssize_t asked, size;
    if (!PyArg_ParseTuple(args, "y#y#", &query, &asked, &reply, &size)) return NULL;
    return read_reply((const uint8_t *)query, (size_t)asked, (const uint8_t *)reply, (size_t)size);
}

PyDoc_STRVAR(fit_doc, "fit(query, begin, edns, reply, body): a plain reply, whose facts have these offsets, as ours to the query, as\n"
                      "forward/replies.py has it; `edns` is 0 for a query without, 1 for one with it, 2 for one with DO.");

static PyObject *fit_reply(PyObject *Py_UNUSED(module), PyObject *args) {
    static const uint8_t opt[11] = {0, 0, TYPE_OPT, OWN_UDP_SIZE >> 8, OWN_UDP_SIZE & 0xFF};
    const char *wire, *answer;
    Py_ssize_t asked, size, begin, body;
    int edns;
    if (!PyArg_ParseTuple(args, "y#niy#n", &wire, &asked, &begin, &edns, &answer, &size, &body)) return NULL;
    if (begin < HEADER || begin > asked || begin > body || body > size)
        return PyErr_Format(PyExc_ValueError, "these are not the offsets of that reply");
    const uint8_t *query = (const uint8_t *)wire, *reply = (const uint8_t *)answer;
    PyObject *made = PyBytes_FromStringAndSize(NULL, body + (edns ? (Py_ssize_t)sizeof opt : 0));
    if (!made) return NULL;
    uint8_t *to = (uint8_t *)PyBytes_AsString(made);
    memcpy(to, query, (size_t)begin);
    to[2] = (uint8_t)((reply[2] & ~RD) | (query[2] & RD));
    to[3] = (uint8_t)(((reply[3] | RA) & ~CD) | (query[3] & CD));
    if (!(query[3] & AD) && edns < 2) to[3] &= (uint8_t)~AD;
    memcpy(to + 4, reply + 4, 6);
    unsigned additionals = get16(reply + 10) - (body < size) + (edns != 0);
    to[10] = (uint8_t)(additionals >> 8);
    to[11] = (uint8_t)additionals;
    memcpy(to + begin, reply + begin, (size_t)(body - begin));
    if (edns) {
        memcpy(to + body, opt, sizeof opt);
        if (edns > 1) to[body + 7] = 0x80;
    }
    return made;
}

/* ---- sockets ---- */

typedef struct {
    PyObject *owner; /* NULL: nobody waits here */
    PyObject *query; /* as it was sent */
    int fd;          /* -1: none */
    uint8_t is_ipv6, is_broken;
    int next; /* of those that are free, or of those that are kept without a port; -1 behind the last */
} Place;

typedef struct {
    PyObject_HEAD
    int epoll;
    int most, kept; /* sockets that are kept without a port */
    int taken;
    Place *places;
    int room, free, idle[2];
} Sockets;

static uint8_t buffer[MESSAGE];

static PyObject *failed(void) { return PyErr_SetFromErrno(PyExc_OSError); }

static PyObject *sockets_new(PyTypeObject *type, PyObject *args, PyObject *Py_UNUSED(kwargs)) {
    int most;
    if (!PyArg_ParseTuple(args, "i", &most)) return NULL;
    Sockets *sockets = (Sockets *)PyType_GenericAlloc(type, 0);
    if (!sockets) return NULL;
    sockets->most = most;
    sockets->free = sockets->idle[0] = sockets->idle[1] = -1;
    sockets->epoll = epoll_create1(EPOLL_CLOEXEC);
    if (sockets->epoll < 0) {
        Py_DECREF(sockets);
        return failed();
    }
    return (PyObject *)sockets;
}

static void shut(Place *place) {
    if (place->fd >= 0) close(place->fd);
    place->fd = -1;
    PyObject *owner = place->owner, *query = place->query;
    place->owner = place->query = NULL;
    Py_XDECREF(owner);
    Py_XDECREF(query);
}

static void close_all(Sockets *sockets) {
    int room = sockets->room;
    Place *places = sockets->places;
    sockets->places = NULL;
    sockets->room = sockets->kept = sockets->taken = 0;
    sockets->free = sockets->idle[0] = sockets->idle[1] = -1;
    if (sockets->epoll >= 0) close(sockets->epoll);
    sockets->epoll = -1;
    for (int n = 0; n < room; n++) shut(&places[n]);
    PyMem_Free(places);
}

static void sockets_dealloc(PyObject *self) {
    PyTypeObject *type = Py_TYPE(self);
    close_all((Sockets *)self);
    ((freefunc)PyType_GetSlot(type, Py_tp_free))(self);
    Py_DECREF(type);
}

static int grow(Sockets *sockets) {
    int room = sockets->room ? 2 * sockets->room : 16;
    Place *places = PyMem_Realloc(sockets->places, (size_t)room * sizeof *places);
    if (!places) {
        PyErr_NoMemory();
        return -1;
    }
    sockets->places = places;
    for (int n = room; n-- > sockets->room;) {
        places[n] = (Place){.fd = -1, .next = sockets->free};
        sockets->free = n;
    }
    sockets->room = room;
    return 0;
}

/* A place with a socket that has no port. */
static int open_place(Sockets *sockets, int is_ipv6) {
    int place = sockets->idle[is_ipv6];
    if (place >= 0) {
        sockets->idle[is_ipv6] = sockets->places[place].next;
        sockets->kept--;
        return place;
    }
    if (sockets->free < 0 && grow(sockets)) return -1;
    place = sockets->free;
    int one = 1;
    int fd = socket(is_ipv6 ? AF_INET6 : AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    struct epoll_event event = {.events = EPOLLIN, .data = {.u32 = (uint32_t)place}};
    /* Without these, a router's "host unreachable" is kept from a connected socket (ip(7)). */
    if (fd < 0 || setsockopt(fd, is_ipv6 ? IPPROTO_IPV6 : IPPROTO_IP, is_ipv6 ? IPV6_RECVERR : IP_RECVERR, &one, sizeof one) ||
        epoll_ctl(sockets->epoll, EPOLL_CTL_ADD, fd, &event)) {
        failed();
        if (fd >= 0) close(fd);
        return -1;
    }
    sockets->free = sockets->places[place].next;
    sockets->places[place].fd = fd;
    sockets->places[place].is_ipv6 = (uint8_t)is_ipv6;
    sockets->places[place].is_broken = 0;
    return place;
}

static void free_place(Sockets *sockets, int place) {
    shut(&sockets->places[place]);
    sockets->places[place].next = sockets->free;
    sockets->free = place;
}

PyDoc_STRVAR(ask_doc, "ask(place, query, owner): send a query to an address and port in network order, from a port of its\n"
                      "own; the number by which it is ended. Raises OSError.");

static PyObject *sockets_ask(PyObject *self, PyObject *args) {
    Sockets *sockets = (Sockets *)self;
    const char *where;
    Py_ssize_t size;
    PyObject *query, *owner;
    if (!PyArg_ParseTuple(args, "y#SO", &where, &size, &query, &owner)) return NULL;
    if (sockets->epoll < 0) return PyErr_Format(PyExc_ValueError, "the sockets have been closed");
    struct sockaddr_in four = {.sin_family = AF_INET};
    struct sockaddr_in6 six = {.sin6_family = AF_INET6};
    int is_ipv6 = size == IPV6_PLACE;
    if (is_ipv6) {
        memcpy(&six.sin6_addr, where, 16);
        memcpy(&six.sin6_port, where + 16, 2);
    } else if (size == IPV4_PLACE) {
        memcpy(&four.sin_addr, where, 4);
        memcpy(&four.sin_port, where + 4, 2);
    } else {
        return PyErr_Format(PyExc_ValueError, "an address and its port have 6 or 18 octets, not %zd", size);
    }
    char *octets;
    Py_ssize_t length;
    if (PyBytes_AsStringAndSize(query, &octets, &length)) return NULL;
    int number = open_place(sockets, is_ipv6);
    if (number < 0) return NULL;
    Place *place = &sockets->places[number];
    if (connect(place->fd, is_ipv6 ? (struct sockaddr *)&six : (struct sockaddr *)&four, is_ipv6 ? sizeof six : sizeof four) ||
        send(place->fd, octets, (size_t)length, 0) < 0) {
        failed();
        free_place(sockets, number);
        return NULL;
    }
    place->owner = Py_NewRef(owner);
    place->query = Py_NewRef(query);
    sockets->taken++;
    return PyLong_FromLong(number);
}

static Place *taken_place(Sockets *sockets, long number) {
    if (PyErr_Occurred()) return NULL;
    if (number < 0 || number >= sockets->room || !sockets->places[number].owner) {
        PyErr_Format(PyExc_ValueError, "nobody waits at %ld", number);
        return NULL;
    }
    return &sockets->places[number];
}

PyDoc_STRVAR(end_doc, "end(number): nobody waits for this query any more; its port is let go of.");

static PyObject *sockets_end(PyObject *self, PyObject *number) {
    Sockets *sockets = (Sockets *)self;
    Place *place = taken_place(sockets, PyLong_AsLong(number));
    if (!place) return NULL;
    int at = (int)(place - sockets->places);
    sockets->taken--;
    const struct sockaddr nowhere = {.sa_family = AF_UNSPEC};
    /* Where no other query is under way there is no load, and no descriptor to be kept for the next one.
     * Once more is read when nothing can come any more: what waits there, an ICMP error too, was not for the next query. */
    if (sockets->taken && sockets->kept < sockets->most && !place->is_broken && !connect(place->fd, &nowhere, sizeof nowhere) &&
        recv(place->fd, buffer, 1, MSG_DONTWAIT) < 0 && errno == EAGAIN) {
        PyObject *owner = place->owner, *query = place->query;
        place->owner = place->query = NULL;
        place->next = sockets->idle[place->is_ipv6];
        sockets->idle[place->is_ipv6] = at;
        sockets->kept++;
        Py_DECREF(owner);
        Py_DECREF(query);
    } else {
        free_place(sockets, at);
    }
    Py_RETURN_NONE;
}

PyDoc_STRVAR(give_doc, "hand_over(number): the descriptor, which is watched no longer and is the caller's to close.");

static PyObject *sockets_hand_over(PyObject *self, PyObject *number) {
    Sockets *sockets = (Sockets *)self;
    Place *place = taken_place(sockets, PyLong_AsLong(number));
    if (!place) return NULL;
    if (epoll_ctl(sockets->epoll, EPOLL_CTL_DEL, place->fd, NULL)) return failed();
    int fd = place->fd;
    place->fd = -1;
    sockets->taken--;
    free_place(sockets, (int)(place - sockets->places));
    return PyLong_FromLong(fd);
}

/* Something has come to a socket that is kept, and makes the epoll set readable until it is gone: a packet for its
 * former port that another processor was at just when that port was let go of. */
static void drop_idle(Sockets *sockets, int number) {
    for (int *link = &sockets->idle[sockets->places[number].is_ipv6]; *link >= 0; link = &sockets->places[*link].next)
        if (*link == number) {
            *link = sockets->places[number].next;
            sockets->kept--;
            free_place(sockets, number);
            return;
        }
}

PyDoc_STRVAR(take_doc, "take(): [(owner, message or errno, facts or None), ...] of what has come, some at a time; `read` has\n"
                       "the facts.");

static PyObject *sockets_take(PyObject *self, PyObject *Py_UNUSED(none)) {
    Sockets *sockets = (Sockets *)self;
    struct epoll_event events[BATCH];
    PyObject *found = PyList_New(0);
    if (!found) return NULL;
    int count = epoll_wait(sockets->epoll, events, BATCH, 0);
    for (int n = 0; n < count; n++) {
        Place *place = &sockets->places[events[n].data.u32];
        if (!place->owner) {
            drop_idle(sockets, (int)events[n].data.u32);
            continue;
        }
        ssize_t size = recv(place->fd, buffer, sizeof buffer, MSG_DONTWAIT);
        if (size < 0 && (errno == EAGAIN || errno == EINTR)) continue; /* its checksum was wrong */
        PyObject *item;
        if (size < 0) { /* the kernel's report stays with the socket */
            place->is_broken = 1;
            item = Py_BuildValue("(OiO)", place->owner, errno, Py_None);
        } else {
            char *query = PyBytes_AsString(place->query);
            PyObject *facts = query ? read_reply((const uint8_t *)query, (size_t)PyBytes_Size(place->query), buffer,
                                                 (size_t)size)
                                    : NULL;
            item = facts ? Py_BuildValue("(Oy#N)", place->owner, buffer, (Py_ssize_t)size, facts) : NULL;
        }
        int is_kept = item && !PyList_Append(found, item);
        Py_XDECREF(item);
        if (!is_kept) {
            Py_DECREF(found);
            return NULL;
        }
    }
    return found;
}

PyDoc_STRVAR(close_doc, "close(): end everything. May be called twice.");

static PyObject *sockets_close(PyObject *self, PyObject *Py_UNUSED(none)) {
    close_all((Sockets *)self);
    Py_RETURN_NONE;
}

PyDoc_STRVAR(fileno_doc, "fileno(): readable when something has come.");

static PyObject *sockets_fileno(PyObject *self, PyObject *Py_UNUSED(none)) {
    return PyLong_FromLong(((Sockets *)self)->epoll);
}

static Py_ssize_t sockets_length(PyObject *self) { return ((Sockets *)self)->taken; }

static PyMethodDef sockets_methods[] = {
    {"ask", sockets_ask, METH_VARARGS, ask_doc},
    {"end", sockets_end, METH_O, end_doc},
    {"hand_over", sockets_hand_over, METH_O, give_doc},
    {"take", sockets_take, METH_NOARGS, take_doc},
    {"close", sockets_close, METH_NOARGS, close_doc},
    {"fileno", sockets_fileno, METH_NOARGS, fileno_doc},
    {NULL, NULL, 0, NULL},
};
static PyType_Slot sockets_slots[] = {
    {Py_tp_doc, "Sockets(most): queries on their way, each from a port of its own; `most` sockets are kept without one."},
    {Py_tp_new, sockets_new},
    {Py_tp_dealloc, sockets_dealloc},
    {Py_tp_methods, sockets_methods},
    {Py_sq_length, sockets_length},
    {0, NULL},
};
static PyType_Spec sockets_spec = {"resolver._ask.Sockets", sizeof(Sockets), 0, Py_TPFLAGS_DEFAULT, sockets_slots};

static PyMethodDef ask_functions[] = {{"scan", scan_query, METH_VARARGS, scan_doc}, {"read", read_them, METH_VARARGS, read_doc}, {"fit", fit_reply, METH_VARARGS, fit_doc}, {NULL, NULL, 0, NULL}};
static struct PyModuleDef ask = {PyModuleDef_HEAD_INIT, "resolver._ask", "Datagrams to upstreams.", -1, ask_functions,
                                 NULL, NULL, NULL, NULL};

PyMODINIT_FUNC PyInit__ask(void) {
    PyObject *module = PyModule_Create(&ask);
    PyObject *sockets = module ? PyType_FromSpec(&sockets_spec) : NULL;
    if (!sockets || PyModule_AddObjectRef(module, "Sockets", sockets)) Py_CLEAR(module);
    Py_XDECREF(sockets);
    return module;
}
