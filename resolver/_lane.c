/* The fast lane: receive a batch of datagrams, look their questions up, patch, send, count. Nothing is decided here.
 *
 * Python makes every reply (wire/ready.py) and puts it into a Table as a template: what stands between the question and
 * the OPT. A question is found by its folded name and its type, so that letter case, the RD, AD and CD bits, the
 * client's UDP size and whatever options it sends (a random cookie) are all one entry; they are patched into the reply.
 * What the lane is not sure of - another opcode, class or section, a malformed record, a reply that is larger than the
 * client takes, an entry whose time is over - goes to Python as it came. docs/adr/0020 has the reasons.
 *
 * Only the stable ABI of CPython 3.11 is used. All calls hold the GIL, so buffers are shared and there are no locks.
 */

#define _GNU_SOURCE
#define Py_LIMITED_API 0x030b0000
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <arpa/inet.h>
#include <errno.h>
#include <net/if.h>
#include <netinet/in.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <time.h>

enum {
    HEADER = 12,
    MAX_NAME = 255,
    MAX_LABEL = 63,
    BATCH = 64,       /* datagrams for each system call */
    ROUNDS = 16,      /* batches before the event loop has its turn: some milliseconds */
    RECEIVE = 4096,   /* octets of a query; a longer one is cut, and Python says FORMERR */
    CONTROL = 64,
    TYPE_OPT = 41,
    OPT_SIZE = 11,
    CLIENT_SUBNET = 8, /* is not sent on; where it is, the responder keeps no passing replies */
    COOKIE = 10,       /* and keep-alive */
    PADDING = 12,
    OWN_UDP_SIZE = 1232,
    MIN_UDP_SIZE = 512,
    ADDRESS = 16,
    MAX_CLIENTS = 1 << 16,
    MAX_BOUNDS = 32,   /* of a histogram */
    LINE = 64,         /* octets of a cache line */
    EVENTS = 64,       /* for each call of epoll_wait */
};

/* Flag bits of the header: octets 2 and 3. */
enum { RD = 0x01, AD = 0x20, CD = 0x10, ONLY_2 = RD, ONLY_3 = AD | CD };

/* What a reply of somebody else's depends on beside its question; 0 is a reply of our own, good for every query. */
enum { EXACT = 0x01, WITH_RD = 0x02, WITH_CD = 0x04, WITH_AD = 0x08, WITH_EDNS = 0x10, WITH_DO = 0x20 };

static uint64_t seed; /* so that nobody can make names that fall together */

/* ---- questions ---- */

typedef struct {
    uint8_t name[MAX_NAME]; /* folded */
    uint16_t name_size;
    uint16_t type;
    uint16_t end; /* of the question, in the message */
    uint16_t limit;
    uint8_t asks;  /* EXACT and what goes with it */
    uint8_t is_odd; /* has options that an upstream may have a say in */
    uint64_t hash; /* of the name */
} Question;

static uint16_t get16(const uint8_t *at) { return (uint16_t)(at[0] << 8 | at[1]); }

static void put16(uint8_t *at, unsigned value) {
    at[0] = (uint8_t)(value >> 8);
    at[1] = (uint8_t)value;
}

static uint64_t hash_of(const uint8_t *name, size_t size) {
    uint64_t hash = seed ^ size;
    while (size) {
        uint64_t word = 0;
        size_t taken = size < 8 ? size : 8;
        memcpy(&word, name, taken);
        hash = (hash ^ word) * 0x9E3779B97F4A7C15u;
        hash ^= hash >> 29;
        name += taken;
        size -= taken;
    }
    return hash * 0xBF58476D1CE4E5B9u >> 7;
}

/* Fold a name while its labels are checked; its size with the root, or 0 when it is none or does not end in time. */
static unsigned fold_name(const uint8_t *from, size_t room, uint8_t *to) {
    size_t at = 0;
    for (;;) {
        if (at >= room || at >= MAX_NAME) return 0;
        unsigned size = from[at];
        to[at++] = (uint8_t)size;
        if (!size) return (unsigned)at;
        if (size > MAX_LABEL || size >= room - at || at + size >= MAX_NAME) return 0;
        for (unsigned n = 0; n < size; n++, at++) {
            uint8_t octet = from[at];
            to[at] = (uint8_t)((unsigned)octet - 'A' < 26u ? octet | 0x20 : octet);
        }
    }
}

/* Read a query that is nothing out of the ordinary: one question of class IN, and an OPT or nothing behind it. */
static int read_query(const uint8_t *message, size_t size, Question *found) {
    if (size < HEADER + 5 || (message[2] & ~ONLY_2) || (message[3] & ~ONLY_3)) return 0;
    if (get16(message + 4) != 1 || get16(message + 6) || get16(message + 8)) return 0;
    unsigned extra = get16(message + 10);
    if (extra > 1) return 0;
    unsigned name_size = fold_name(message + HEADER, size - HEADER, found->name);
    size_t at = HEADER + name_size + 4;
    if (!name_size || at > size || get16(message + at - 2) != 1) return 0;
    found->name_size = (uint16_t)name_size;
    found->type = get16(message + at - 4);
    found->end = (uint16_t)at;
    found->limit = MIN_UDP_SIZE;
    found->is_odd = 0;
    found->asks = (uint8_t)(EXACT | (message[2] & RD ? WITH_RD : 0) | (message[3] & CD ? WITH_CD : 0) |
                            (message[3] & AD ? WITH_AD : 0));
    if (extra) {
        const uint8_t *opt = message + at;
        if (size - at < OPT_SIZE || opt[0] || get16(opt + 1) != TYPE_OPT) return 0;
        if (opt[5] || opt[6]) return 0; /* extended rcode, version */
        size_t options = get16(opt + 9), position = 0;
        if (at + OPT_SIZE + options != size) return 0;
        while (position < options) {
            if (options - position < 4) return 0;
            unsigned option = get16(opt + OPT_SIZE + position);
            found->is_odd |= option != CLIENT_SUBNET && (option < COOKIE || option > PADDING);
            position += 4u + get16(opt + OPT_SIZE + position + 2);
        }
        if (position != options) return 0;
        unsigned payload = get16(opt + 3);
        if (payload > MIN_UDP_SIZE) found->limit = (uint16_t)(payload < OWN_UDP_SIZE ? payload : OWN_UDP_SIZE);
        found->asks |= (uint8_t)(WITH_EDNS | (opt[7] & 0x80 ? WITH_DO : 0));
    } else if (at != size) {
        return 0;
    }
    found->hash = hash_of(found->name, name_size);
    return 1;
}

/* ---- tables ---- */

typedef struct Entry {
    struct Entry *next; /* of the same bucket */
    uint64_t hash;
    uint64_t hits;
    int64_t stored_ns, expires_ns; /* of the monotonic clock; expires_ns 0: good for ever */
    PyObject *label;
    uint32_t size;  /* octets that it takes */
    uint32_t index; /* in the ring */
    uint16_t type, name_size, ttls, variants, turn;
    uint8_t asks, is_used;
    uint8_t flags[2];
    uint8_t counts[6];
    /* then: variants + 1 offsets into the bodies (uint32), ttls offsets (uint16), the name, the bodies */
    uint32_t data[];
} Entry;

/* That nothing exists below a suffix but the names in these dictionaries. */
typedef struct {
    Entry *entry; /* its name is the suffix; the reply is NXDOMAIN */
    PyObject *whole, *below; /* names as they are; names without the suffix */
} Denial;

/* Where names are, in the order in which they are looked for. */
typedef struct {
    const uint8_t *suffix; /* only names below it are, without it; NULL: names as they stand */
    PyObject *names;       /* a dictionary; NULL: Python has to decide about everything at or below the suffix */
    uint32_t ttl;          /* of what says nothing else */
    uint16_t suffix_size;
    uint8_t kind;
} Step;

/* Kinds of steps: Python has to decide about these names, or what their values are. */
enum { ASIDE = 0, ENDPOINT = 1, HOSTS = 2, KINDS = 3, OF_SUFFIX = 4 /* the SOA is the suffix's, not the name's */ };

/* What is said of one type. */
typedef struct {
    Entry *entry;      /* filled in anew for each name */
    PyObject *class;   /* of the addresses that are its records; NULL: there are none, whoever is asked for */
    unsigned octets;   /* of such an address */
} Said;

enum { MAX_SAID = 4, MAX_TAIL = 64, MAX_BODY = 12 + MAX_NAME + MAX_TAIL, FIXED = 12, FEW = 8 };


/* Names whose replies are made here, out of what Python has about each. */
typedef struct {
    Said said[MAX_SAID];
    size_t types, many;
    PyObject *steps, *answers; /* what all of it is borrowed from */
    int joins;                 /* steps of the same suffix all have a say */
    uint8_t negative[8];       /* type, class and TTL of the SOA */
    uint8_t tail[MAX_TAIL];    /* what stands in it behind the first name */
    size_t tail_size;
    Step step[];
} Known;

typedef struct {
    PyObject_HEAD
    Known *known;
    Denial *denials;
    size_t denied;
    Entry **buckets, **ring;
    size_t mask, count, room; /* of buckets; entries; places in the ring */
    size_t hand;
    size_t octets;
    PyObject *retired; /* hits by label of entries that are gone */
} Table;

static size_t all_octets, all_most = (size_t)64 << 20; /* of every table together */
enum { FLOOR = 1 << 16 };                              /* octets that each may have although the others have all */

static uint16_t *ttls_of(Entry *entry) { return (uint16_t *)(entry->data + entry->variants + 1); }
static uint8_t *name_of(Entry *entry) { return (uint8_t *)(ttls_of(entry) + entry->ttls); }
static uint8_t *bodies_of(Entry *entry) { return name_of(entry) + entry->name_size; }

static int64_t now_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

static Entry *find(Table *table, const Question *asked, int64_t now) {
    if (!table->count) return NULL;
    for (Entry *entry = table->buckets[asked->hash & table->mask]; entry; entry = entry->next) {
        if (entry->hash == asked->hash && entry->type == asked->type && entry->name_size == asked->name_size &&
            (!entry->asks || (entry->asks == asked->asks && !asked->is_odd)) && !memcmp(name_of(entry), asked->name, asked->name_size))
            return entry->expires_ns && entry->expires_ns <= now ? NULL : entry;
    }
    return NULL;
}

static int is_in(PyObject *names, const uint8_t *name, size_t size) {
    PyObject *key = PyBytes_FromStringAndSize((const char *)name, (Py_ssize_t)size);
    int found = key ? PyDict_Contains(names, key) : -1;
    Py_XDECREF(key);
    if (found < 0) PyErr_Clear(); /* out of memory: Python will meet it, too */
    return found != 0;
}

/* The reply that there is no such name, if that is known here. */
static Entry *deny(Table *table, const Question *asked) {
    if (!table->denied) return NULL;
    unsigned label = 0;
    while (asked->name[label] && asked->name[label + 1] != '_') {
        label += 1u + asked->name[label];
        for (size_t n = 0; n < table->denied; n++) {
            const Denial *denial = &table->denials[n];
            if (denial->entry->type != asked->type || denial->entry->name_size != asked->name_size - label ||
                memcmp(name_of(denial->entry), asked->name + label, asked->name_size - label))
                continue;
            uint8_t head[MAX_NAME + 1];
            memcpy(head, asked->name, label);
            head[label] = 0;
            if (is_in(denial->below, head, label + 1)) return NULL;
            for (Py_ssize_t k = PyTuple_Size(denial->whole); k-- > 0;)
                if (is_in(PyTuple_GetItem(denial->whole, k), asked->name, asked->name_size)) return NULL;
            return denial->entry;
        }
    }
    return NULL;
}

static int retire(Table *table, PyObject *label, uint64_t hits) {
    if (!hits) return 0;
    PyObject *known = PyDict_GetItemWithError(table->retired, label);
    if (!known && PyErr_Occurred()) return -1;
    unsigned long long sum = known ? PyLong_AsUnsignedLongLong(known) : 0;
    PyObject *total = PyLong_FromUnsignedLongLong(sum + hits);
    int failed = !total || PyDict_SetItem(table->retired, label, total);
    Py_XDECREF(total);
    return failed ? -1 : 0;
}

static void free_entry(Entry *entry) {
    Py_DECREF(entry->label);
    PyMem_Free(entry);
}

static int drop(Table *table, Entry *entry) {
    Entry **link = &table->buckets[entry->hash & table->mask];
    while (*link != entry) link = &(*link)->next;
    *link = entry->next;
    Entry *last = table->ring[--table->count];
    table->ring[last->index = entry->index] = last;
    table->octets -= entry->size;
    all_octets -= entry->size;
    int failed = retire(table, entry->label, entry->hits);
    free_entry(entry);
    return failed;
}

/* Make room by the clock algorithm: what was asked for since the hand came by last is passed over once. */
static int shrink(Table *table, size_t wanted) {
    while (all_octets + wanted > all_most && table->octets + wanted > FLOOR && table->count) {
        if (table->hand >= table->count) table->hand = 0;
        Entry *entry = table->ring[table->hand];
        if (entry->is_used) {
            entry->is_used = 0;
            table->hand++;
        } else if (drop(table, entry)) {
            return -1;
        }
    }
    return 0;
}

static int grow(Table *table) {
    if (table->count < table->room) return 0;
    size_t room = table->room ? 2 * table->room : 16;
    Entry **ring = PyMem_Realloc(table->ring, room * sizeof *ring);
    if (ring) table->ring = ring;
    Entry **buckets = ring ? PyMem_Calloc(room, sizeof *buckets) : NULL;
    if (!buckets) {
        PyErr_NoMemory();
        return -1;
    }
    PyMem_Free(table->buckets);
    table->buckets = buckets;
    table->room = room;
    table->mask = room - 1;
    for (size_t n = 0; n < table->count; n++) {
        Entry *entry = ring[n];
        entry->next = buckets[entry->hash & table->mask];
        buckets[entry->hash & table->mask] = entry;
    }
    return 0;
}

/* Take an entry in, for which there is room. */
static void enter(Table *table, Entry *entry) {
    table->octets += entry->size;
    all_octets += entry->size;
    entry->index = (uint32_t)table->count;
    table->ring[table->count++] = entry;
    entry->next = table->buckets[entry->hash & table->mask];
    table->buckets[entry->hash & table->mask] = entry;
}

static PyObject *word_addresses, *word_address, *word_ttl, *word_number;

static int is_label(const uint8_t *name, size_t at) {
    size_t begin = 0;
    while (begin < at) begin += 1u + name[begin];
    return begin == at;
}

/* The octets of an address, which has its number in an attribute. */
static int octets_of(PyObject *address, unsigned octets, uint8_t *to) {
    PyObject *number = PyObject_GetAttr(address, word_number), *shift = NULL, *upper = NULL;
    if (number && octets == 4) {
        unsigned long value = PyLong_AsUnsignedLong(number);
        put16(to, (unsigned)(value >> 16) & 0xFFFF);
        put16(to + 2, (unsigned)value & 0xFFFF);
    } else if (number && (shift = PyLong_FromLong(64)) && (upper = PyNumber_Rshift(number, shift))) {
        unsigned long long parts[2] = {PyLong_AsUnsignedLongLong(upper), PyLong_AsUnsignedLongLongMask(number)};
        for (unsigned n = 0; n < 16; n++) to[n] = (uint8_t)(parts[n / 8] >> (56 - 8 * (n % 8)));
    }
    Py_XDECREF(upper);
    Py_XDECREF(shift);
    Py_XDECREF(number);
    return !PyErr_Occurred();
}

/* Whether an address is for Python to judge; counts it, and has its octets, when it is of the wanted class. */
static int take_address(const Known *known, const Said *said, PyObject *address, unsigned *found, uint8_t *to) {
    for (size_t n = 0; n < known->types; n++) {
        if (!known->said[n].class || (PyObject *)Py_TYPE(address) != known->said[n].class) continue;
        if (&known->said[n] != said) return 1;
        return !(*found)++ && octets_of(address, said->octets, to);
    }
    return 0;
}

/* What one endpoint, or a few lines of a hosts file, say: how many addresses, 0 or 1, or -1 for Python to judge. */
static int take_value(const Known *known, const Said *said, const Step *step, PyObject *value, uint32_t *ttl,
                      uint8_t *to) {
    unsigned found = 0;
    Py_ssize_t many = PyTuple_Check(value) ? PyTuple_Size(value) : 0;
    int is_host = step->kind % OF_SUFFIX == HOSTS, is_good = many > 0 && many <= (is_host ? FEW : 1);
    *ttl = step->ttl;
    for (Py_ssize_t n = 0; is_good && n < many; n++) {
        PyObject *one = PyTuple_GetItem(value, n);
        PyObject *has = PyObject_GetAttr(one, is_host ? word_address : word_addresses);
        if (is_host) {
            is_good = has && take_address(known, said, has, &found, to);
        } else {
            PyObject *own = has && PyTuple_Check(has) ? PyObject_GetAttr(one, word_ttl) : NULL;
            is_good = own && PyTuple_Size(has) <= FEW;
            for (Py_ssize_t k = is_good ? PyTuple_Size(has) : 0; is_good && k-- > 0;)
                is_good = take_address(known, said, PyTuple_GetItem(has, k), &found, to);
            if (is_good && own != Py_None) {
                unsigned long seconds = PyLong_AsUnsignedLong(own);
                is_good = !PyErr_Occurred() && seconds <= 0x7FFFFFFF;
                *ttl = (uint32_t)seconds;
            }
            Py_XDECREF(own);
        }
        Py_XDECREF(has);
    }
    if (PyErr_Occurred()) {
        PyErr_Clear(); /* Python meets it, too */
        return -1;
    }
    return is_good ? (int)found : -1;
}

/* Make the body: the one record, or that there is none of this type. 0: Python has to do so. */
static int fill(const Known *known, const Said *said, const Step *step, PyObject *value, const Question *asked,
                const uint8_t *query) {
    uint8_t octets[16], *to;
    uint32_t ttl;
    int found = take_value(known, said, step, value, &ttl, octets);
    if (found < 0) return 0;
    Entry *entry = said->entry;
    size_t owner = 0, size = asked->name_size;
    entry->hash = asked->hash;
    entry->name_size = asked->name_size;
    memcpy(name_of(entry), asked->name, asked->name_size);
    to = bodies_of(entry);
    entry->counts[1] = (uint8_t)found;
    entry->counts[3] = (uint8_t)!found;
    if (found) {
        put16(to + 2, asked->type);
        put16(to + 4, 1);
        put16(to + 6, ttl >> 16);
        put16(to + 8, ttl & 0xFFFF);
        memcpy(to + FIXED, octets, said->octets);
        size = said->octets;
    } else {
        if (step->kind & OF_SUFFIX) {
            owner = (size_t)(asked->name_size - step->suffix_size);
            size = step->suffix_size;
            if (memcmp(query + HEADER + owner, step->suffix, size)) return 0; /* it is not as it is written there */
        }
        memcpy(to + 2, known->negative, sizeof known->negative);
        memcpy(to + FIXED, query + HEADER + owner, size);
        memcpy(to + FIXED + size, known->tail, known->tail_size);
        size += known->tail_size;
    }
    put16(to, 0xC000u | (unsigned)(HEADER + owner));
    put16(to + 10, (unsigned)size);
    entry->data[1] = (uint32_t)(FIXED + size);
    return 1;
}

/* Keep a reply that was filled in: it is found sooner than what is spread over the registry's many objects. */
static void keep(Table *table, const Entry *filled) {
    size_t size = sizeof(Entry) + 2 * sizeof(uint32_t) + filled->name_size + filled->data[1];
    Entry *entry = shrink(table, size) || grow(table) ? NULL : PyMem_Malloc(size);
    if (!entry) {
        PyErr_Clear();
        return;
    }
    memcpy(entry, filled, size);
    Py_INCREF(entry->label);
    entry->size = (uint32_t)size;
    entry->hits = entry->is_used = 0;
    enter(table, entry);
}

/* The reply about a name that Python has something simple about. */
static Entry *know(Table *table, const Question *asked, const uint8_t *query) {
    const Known *known = table->known;
    if (!known || !asked->name[0] || asked->name[1] == '_') return NULL;
    const Said *said = known->said;
    while (said < known->said + known->types && said->entry->type != asked->type) said++;
    if (said == known->said + known->types) return NULL;
    PyObject *key = NULL, *value = NULL;
    size_t key_cut = 0;
    const Step *step = known->step, *found = NULL;
    for (; step < known->step + known->many; step++) {
        size_t cut = asked->name_size;
        if (step->suffix) {
            if (step->suffix_size > cut) continue;
            cut -= step->suffix_size;
            if (memcmp(asked->name + cut, step->suffix, step->suffix_size) || !is_label(asked->name, cut)) continue;
            if (!cut && step->names) continue;
        }
        if (!step->names || (found && step->kind % OF_SUFFIX == HOSTS)) break;
        if (!key || key_cut != cut) {
            uint8_t head[MAX_NAME + 1];
            memcpy(head, asked->name, cut);
            head[cut] = 0; /* the name as it stands ends so already */
            Py_XDECREF(key);
            key = PyBytes_FromStringAndSize((char *)head, (Py_ssize_t)(step->suffix ? cut + 1 : cut));
            key_cut = cut;
        }
        PyObject *has = key ? PyDict_GetItemWithError(step->names, key) : NULL;
        if (!has && key && !PyErr_Occurred()) continue;
        int is_clear = has && step->kind != ASIDE && !found;
        found = is_clear ? step : NULL;
        value = has;
        if (!is_clear || !known->joins) break;
    }
    Entry *entry = found && fill(known, said, found, value, asked, query) ? said->entry : NULL;
    Py_XDECREF(key);
    if (PyErr_Occurred()) PyErr_Clear(); /* out of memory: Python meets it, too */
    if (entry) keep(table, entry);
    return entry;
}

/* Write the reply to a query; its size, or 0 when the client does not take so much. `to` has `room` octets. */
static size_t reply_to(Entry *entry, const uint8_t *query, const Question *asked, int64_t now, uint8_t *to,
                       size_t room) {
    unsigned variant = entry->turn;
    size_t begin = entry->data[variant], body = entry->data[variant + 1] - begin;
    int with_opt = !entry->asks && (asked->asks & WITH_EDNS);
    size_t size = asked->end + body + (with_opt ? OPT_SIZE : 0);
    if (size > room) return 0;
    memcpy(to, query, asked->end);
    to[2] = (uint8_t)(entry->flags[0] | (query[2] & RD));
    to[3] = (uint8_t)(entry->flags[1] | (query[3] & CD));
    memcpy(to + 6, entry->counts, 6);
    uint8_t *at = to + asked->end;
    memcpy(at, bodies_of(entry) + begin, body);
    if (entry->ttls) {
        uint32_t age = (uint32_t)((now - entry->stored_ns) / 1000000000);
        const uint16_t *offsets = ttls_of(entry);
        for (unsigned n = 0; n < entry->ttls; n++) {
            uint8_t *where = at + offsets[n];
            uint32_t ttl = (uint32_t)get16(where) << 16 | get16(where + 2);
            ttl = ttl > age ? ttl - age : 0;
            put16(where, ttl >> 16);
            put16(where + 2, ttl & 0xFFFF);
        }
    }
    if (with_opt) {
        put16(to + 10, get16(to + 10) + 1u);
        at += body;
        memset(at, 0, OPT_SIZE);
        at[2] = TYPE_OPT;
        put16(at + 3, OWN_UDP_SIZE);
        at[7] = asked->asks & WITH_DO ? 0x80 : 0;
    }
    if (++entry->turn >= entry->variants) entry->turn = 0;
    entry->is_used = 1;
    entry->hits++;
    return size;
}

static PyObject *table_new(PyTypeObject *type, PyObject *Py_UNUSED(args), PyObject *Py_UNUSED(kwargs)) {
    Table *table = (Table *)PyType_GenericAlloc(type, 0);
    if (!table) return NULL;
    table->retired = PyDict_New();
    if (!table->retired) Py_CLEAR(table);
    return (PyObject *)table;
}

static void free_known(Known *known) {
    if (!known) return;
    for (size_t n = 0; n < known->types; n++) free_entry(known->said[n].entry);
    Py_DECREF(known->steps);
    Py_DECREF(known->answers);
    PyMem_Free(known);
}

static void table_dealloc(PyObject *self) {
    Table *table = (Table *)self;
    PyTypeObject *type = Py_TYPE(self);
    free_known(table->known);
    for (size_t n = 0; n < table->count; n++) free_entry(table->ring[n]);
    for (size_t n = 0; n < table->denied; n++) {
        free_entry(table->denials[n].entry);
        Py_DECREF(table->denials[n].whole);
        Py_DECREF(table->denials[n].below);
    }
    PyMem_Free(table->denials);
    all_octets -= table->octets;
    PyMem_Free(table->ring);
    PyMem_Free(table->buckets);
    Py_XDECREF(table->retired);
    ((freefunc)PyType_GetSlot(type, Py_tp_free))(self);
    Py_DECREF(type);
}

static void drop_same(Table *table, const uint8_t *name, size_t size, uint64_t hash, int type, int asks, int *failed) {
    if (!table->count) return;
    Entry *next;
    for (Entry *entry = table->buckets[hash & table->mask]; entry; entry = next) {
        next = entry->next;
        if (entry->hash == hash && entry->name_size == size && (type < 0 || entry->type == type) &&
            (asks < 0 || entry->asks == asks) && !memcmp(name_of(entry), name, size))
            *failed |= drop(table, entry);
    }
}

/* The octets of an entry; 0 for what is none, perhaps with an exception. */
static size_t size_of(const char *name, Py_ssize_t name_size, PyObject *bodies, PyObject *ttls) {
    Py_ssize_t variants = PyTuple_Size(bodies), many = PyTuple_Size(ttls);
    uint8_t folded[MAX_NAME];
    if (!name_size || fold_name((const uint8_t *)name, (size_t)name_size, folded) != (unsigned)name_size ||
        memcmp(name, folded, (size_t)name_size) || variants < 1 || variants > 0xFFFF || many > 0xFFFF)
        return 0;
    size_t octets = 0;
    for (Py_ssize_t n = 0; n < variants; n++) {
        char *body;
        Py_ssize_t size;
        if (PyBytes_AsStringAndSize(PyTuple_GetItem(bodies, n), &body, &size)) return 0;
        for (Py_ssize_t k = 0; k < many; k++) {
            long offset = PyLong_AsLong(PyTuple_GetItem(ttls, k));
            if (offset < 0 || offset + 4 > size || offset > 0xFFFF) return 0;
        }
        octets += (size_t)size;
    }
    return sizeof(Entry) + 4u * (size_t)(variants + 1) + 2u * (size_t)many + (size_t)name_size + octets;
}

/* What `size_of` has looked at, copied. */
static Entry *new_entry(size_t size, const char *name, Py_ssize_t name_size, PyObject *bodies, PyObject *ttls,
                        PyObject *label) {
    Py_ssize_t variants = PyTuple_Size(bodies), many = PyTuple_Size(ttls);
    Entry *entry = PyMem_Calloc(1, size);
    if (!entry) {
        PyErr_NoMemory();
        return NULL;
    }
    entry->hash = hash_of((const uint8_t *)name, (size_t)name_size);
    entry->label = Py_NewRef(label);
    entry->size = (uint32_t)size;
    entry->name_size = (uint16_t)name_size;
    entry->ttls = (uint16_t)many;
    entry->variants = (uint16_t)variants;
    for (Py_ssize_t k = 0; k < many; k++)
        ttls_of(entry)[k] = (uint16_t)PyLong_AsLong(PyTuple_GetItem(ttls, k));
    memcpy(name_of(entry), name, (size_t)name_size);
    uint32_t at = 0;
    for (Py_ssize_t n = 0; n < variants; n++) {
        char *body;
        Py_ssize_t body_size;
        if (PyBytes_AsStringAndSize(PyTuple_GetItem(bodies, n), &body, &body_size)) body_size = 0;
        memcpy(bodies_of(entry) + at, body, (size_t)body_size);
        at += (uint32_t)body_size;
        entry->data[n + 1] = at;
    }
    return entry;
}

PyDoc_STRVAR(put_doc, "put(name, type, asks, flags, counts, bodies, label, ttls, stored_ns, expires_ns)\n\n"
                      "Keep a reply: the folded name, what it depends on, its flag and count octets, its bodies in turn.");

static PyObject *table_put(PyObject *self, PyObject *args) {
    Table *table = (Table *)self;
    const char *name, *flags, *counts;
    Py_ssize_t name_size, flags_size, counts_size;
    int type, asks;
    PyObject *bodies, *label, *ttls;
    long long stored_ns, expires_ns;
    if (!PyArg_ParseTuple(args, "y#iiy#y#O!OO!LL", &name, &name_size, &type, &asks, &flags, &flags_size, &counts,
                          &counts_size, &PyTuple_Type, &bodies, &label, &PyTuple_Type, &ttls, &stored_ns, &expires_ns))
        return NULL;
    size_t size = size_of(name, name_size, bodies, ttls);
    if (!size || flags_size != 2 || counts_size != 6) {
        if (!PyErr_Occurred()) PyErr_Format(PyExc_ValueError, "not a reply that the lane can give");
        return NULL;
    }
    int failed = 0;
    drop_same(table, (const uint8_t *)name, (size_t)name_size, hash_of((const uint8_t *)name, (size_t)name_size), type,
              asks, &failed);
    if (failed) return NULL;
    if (size > FLOOR) Py_RETURN_FALSE;
    if (shrink(table, size) || grow(table)) return NULL;
    Entry *entry = new_entry(size, name, name_size, bodies, ttls, label);
    if (!entry) return NULL;
    entry->stored_ns = stored_ns;
    entry->expires_ns = expires_ns;
    entry->type = (uint16_t)type;
    entry->asks = (uint8_t)asks;
    memcpy(entry->flags, flags, 2);
    memcpy(entry->counts, counts, 6);
    enter(table, entry);
    Py_RETURN_TRUE;
}

PyDoc_STRVAR(deny_doc, "put_denial(suffix, type, flags, counts, bodies, label, whole, below)\n\n"
                       "Nothing exists below a folded suffix but names in the dictionaries of the tuple `whole`, and those\n"
                       "of `below` with the suffix behind them: the reply about any other one. A name with a label that begins\n"
                       "with an underscore is not judged.");

static PyObject *table_deny(PyObject *self, PyObject *args) {
    Table *table = (Table *)self;
    const char *name, *flags, *counts;
    Py_ssize_t name_size, flags_size, counts_size;
    int type;
    PyObject *bodies, *label, *whole, *below;
    if (!PyArg_ParseTuple(args, "y#iy#y#O!OO!O!", &name, &name_size, &type, &flags, &flags_size, &counts, &counts_size,
                          &PyTuple_Type, &bodies, &label, &PyTuple_Type, &whole, &PyDict_Type, &below))
        return NULL;
    PyObject *none = PyTuple_New(0);
    size_t size = none ? size_of(name, name_size, bodies, none) : 0;
    Entry *entry = NULL;
    if (size && flags_size == 2 && counts_size == 6) entry = new_entry(size, name, name_size, bodies, none, label);
    Py_XDECREF(none);
    Denial *denials = entry ? PyMem_Realloc(table->denials, (table->denied + 1) * sizeof *denials) : NULL;
    if (!denials) {
        if (entry) free_entry(entry);
        if (!PyErr_Occurred()) PyErr_Format(PyExc_ValueError, "not a reply that the lane can give");
        return NULL;
    }
    entry->type = (uint16_t)type;
    memcpy(entry->flags, flags, 2);
    memcpy(entry->counts, counts, 6);
    table->denials = denials;
    denials[table->denied++] = (Denial){entry, Py_NewRef(whole), Py_NewRef(below)};
    Py_RETURN_NONE;
}

/* Take over what is said of each type; the entries have room for any name. */
static int take_answers(Known *known, const char *flags) {
    for (Py_ssize_t n = 0; n < PyTuple_Size(known->answers); n++) {
        Said *said = &known->said[n];
        PyObject *class, *label;
        int type;
        unsigned octets;
        if (!PyArg_ParseTuple(PyTuple_GetItem(known->answers, n), "iOIO", &type, &class, &octets, &label)) return 0;
        if (class != Py_None && octets != 4 && octets != 16) return 0;
        said->class = class == Py_None ? NULL : class;
        said->octets = octets;
        said->entry = PyMem_Calloc(1, sizeof(Entry) + 2 * sizeof(uint32_t) + MAX_NAME + MAX_BODY);
        if (!said->entry) return PyErr_NoMemory() != NULL;
        known->types++;
        said->entry->label = Py_NewRef(label);
        said->entry->variants = 1;
        said->entry->type = (uint16_t)type;
        memcpy(said->entry->flags, flags, 2);
    }
    return 1;
}

static int take_steps(Known *known) {
    for (Py_ssize_t n = 0; n < PyTuple_Size(known->steps); n++) {
        Step *step = &known->step[n];
        const char *suffix;
        Py_ssize_t size;
        PyObject *names;
        unsigned long ttl;
        int kind;
        uint8_t folded[MAX_NAME];
        if (!PyArg_ParseTuple(PyTuple_GetItem(known->steps, n), "z#Oik", &suffix, &size, &names, &kind, &ttl)) return 0;
        if (suffix && (size <= 0 || fold_name((const uint8_t *)suffix, (size_t)size, folded) != (unsigned)size ||
                       memcmp(suffix, folded, (size_t)size)))
            return 0;
        if (kind < 0 || kind % OF_SUFFIX >= KINDS || kind > OF_SUFFIX + HOSTS || ((kind & OF_SUFFIX) && !suffix)) return 0;
        if (names == Py_None ? kind != ASIDE || !suffix : !PyDict_Check(names)) return 0;
        *step = (Step){(const uint8_t *)suffix, names == Py_None ? NULL : names, (uint32_t)ttl, (uint16_t)size, (uint8_t)kind};
    }
    return 1;
}

PyDoc_STRVAR(know_doc, "put_known(answers, flags, negative, tail, joins, steps)\n\n"
                       "Have replies made out of the dictionaries of the steps, in whose order names are looked for. Each is a\n"
                       "tuple: the suffix behind the names that are there, or None; the dictionary, or None for what Python\n"
                       "has to decide; the kind; the TTL. Answers: type, class of the addresses or None, their octets, label.");

static PyObject *table_know(PyObject *self, PyObject *args) {
    Table *table = (Table *)self;
    const char *flags, *negative, *tail;
    Py_ssize_t flags_size, negative_size, tail_size;
    int joins;
    PyObject *answers, *steps;
    if (!PyArg_ParseTuple(args, "O!y#y#y#pO!", &PyTuple_Type, &answers, &flags, &flags_size, &negative, &negative_size,
                          &tail, &tail_size, &joins, &PyTuple_Type, &steps))
        return NULL;
    size_t many = (size_t)PyTuple_Size(steps);
    Known *known = PyMem_Calloc(1, sizeof *known + many * sizeof(Step));
    if (!known) return PyErr_NoMemory();
    known->steps = Py_NewRef(steps);
    known->answers = Py_NewRef(answers);
    known->many = many;
    known->joins = joins;
    int is_good = flags_size == 2 && negative_size == (Py_ssize_t)sizeof known->negative && tail_size <= MAX_TAIL &&
                  PyTuple_Size(answers) <= MAX_SAID && take_answers(known, flags) && take_steps(known);
    if (!is_good) {
        free_known(known);
        if (!PyErr_Occurred()) PyErr_Format(PyExc_ValueError, "not what the lane can know");
        return NULL;
    }
    memcpy(known->negative, negative, sizeof known->negative);
    memcpy(known->tail, tail, (size_t)tail_size);
    known->tail_size = (size_t)tail_size;
    Known *former = table->known;
    table->known = known;
    if (former) { /* its hits */
        for (size_t n = 0; n < former->types; n++)
            if (retire(table, former->said[n].entry->label, former->said[n].entry->hits)) PyErr_Clear();
        free_known(former);
    }
    Py_RETURN_NONE;
}

PyDoc_STRVAR(drop_doc, "drop(name): forget every reply about a folded name.");

static PyObject *table_drop(PyObject *self, PyObject *name) {
    char *octets;
    Py_ssize_t size;
    if (PyBytes_AsStringAndSize(name, &octets, &size)) return NULL;
    int failed = 0;
    drop_same((Table *)self, (uint8_t *)octets, (size_t)size, hash_of((uint8_t *)octets, (size_t)size), -1, -1, &failed);
    if (failed) return NULL;
    Py_RETURN_NONE;
}

PyDoc_STRVAR(forget_doc, "drop_expiring(): forget every reply that has a time.");

static PyObject *table_drop_expiring(PyObject *self, PyObject *Py_UNUSED(none)) {
    Table *table = (Table *)self;
    for (size_t n = table->count; n-- > 0;)
        if (table->ring[n]->expires_ns && drop(table, table->ring[n])) return NULL;
    Py_RETURN_NONE;
}

PyDoc_STRVAR(find_doc, "find(query, room): the reply to a query in at most `room` octets, or None. Counts a hit.");

static PyObject *table_find(PyObject *self, PyObject *args) {
    static uint8_t reply[1 << 16];
    const char *query;
    Py_ssize_t size;
    int room;
    if (!PyArg_ParseTuple(args, "y#i", &query, &size, &room)) return NULL;
    Question asked;
    if (size > 0xFFFF || !read_query((const uint8_t *)query, (size_t)size, &asked)) Py_RETURN_NONE;
    size_t limit = room > 0 ? (size_t)room : asked.limit;
    int64_t now = now_ns();
    Entry *entry = find((Table *)self, &asked, now);
    if (!entry) entry = know((Table *)self, &asked, (const uint8_t *)query);
    if (!entry) entry = deny((Table *)self, &asked);
    size_t made =
        entry ? reply_to(entry, (const uint8_t *)query, &asked, now, reply, limit < sizeof reply ? limit : sizeof reply)
              : 0;
    if (!made) Py_RETURN_NONE;
    return PyBytes_FromStringAndSize((char *)reply, (Py_ssize_t)made);
}

PyDoc_STRVAR(take_doc, "take_hits(): [(label, hits), ...] since the last call; counting begins anew.");

static PyObject *table_take_hits(PyObject *self, PyObject *Py_UNUSED(none)) {
    Table *table = (Table *)self;
    for (size_t n = 0; n < table->count; n++) {
        uint64_t hits = table->ring[n]->hits;
        table->ring[n]->hits = 0;
        if (retire(table, table->ring[n]->label, hits)) return NULL;
    }
    for (size_t n = 0; n < table->denied; n++) {
        Entry *entry = table->denials[n].entry;
        uint64_t hits = entry->hits;
        entry->hits = 0;
        if (retire(table, entry->label, hits)) return NULL;
    }
    for (size_t n = 0; table->known && n < table->known->types; n++) {
        Entry *entry = table->known->said[n].entry;
        uint64_t hits = entry->hits;
        entry->hits = 0;
        if (retire(table, entry->label, hits)) return NULL;
    }
    PyObject *items = PyDict_Items(table->retired);
    if (items) PyDict_Clear(table->retired);
    return items;
}

static Py_ssize_t table_length(PyObject *self) { return (Py_ssize_t)((Table *)self)->count; }

static PyObject *table_octets(PyObject *self, void *Py_UNUSED(closure)) {
    return PyLong_FromSize_t(((Table *)self)->octets);
}

static PyMethodDef table_methods[] = {
    {"put", table_put, METH_VARARGS, put_doc},
    {"put_denial", table_deny, METH_VARARGS, deny_doc},
    {"put_known", table_know, METH_VARARGS, know_doc},
    {"drop", table_drop, METH_O, drop_doc},
    {"drop_expiring", table_drop_expiring, METH_NOARGS, forget_doc},
    {"find", table_find, METH_VARARGS, find_doc},
    {"take_hits", table_take_hits, METH_NOARGS, take_doc},
    {NULL, NULL, 0, NULL},
};
static PyGetSetDef table_attributes[] = {
    {"octets", table_octets, NULL, "Octets that the entries take.", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};
static PyType_Slot table_slots[] = {
    {Py_tp_doc, "Table(): ready replies; all tables together are held within `limit`."},
    {Py_tp_new, table_new},
    {Py_tp_dealloc, table_dealloc},
    {Py_tp_methods, table_methods},
    {Py_tp_getset, table_attributes},
    {Py_sq_length, table_length},
    {0, NULL},
};
static PyType_Spec table_spec = {"resolver._lane.Table", sizeof(Table), 0,
                                 Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE, table_slots};

/* ---- the loop ---- */

typedef struct {
    uint8_t address[ADDRESS]; /* IPv4 in its mapped form */
    Table *table;             /* of our own replies */
    Table *passing;           /* of upstreams' replies, or NULL */
} Client;

typedef struct {
    PyObject_HEAD
    int fd;
    Client *clients; /* open addressing; places are a power of two */
    size_t places, known;
    Client everybody; /* every client's tables, where there is one view */
    PyObject *misses; /* a list of what Python has to answer, or NULL */
    unsigned long long hits, unsent;
    unsigned bounds; /* of the histogram of durations */
    int64_t bounds_ns[MAX_BOUNDS], sum_ns;
    uint64_t durations[MAX_BOUNDS + 1];
} Loop;

static PyTypeObject *table_type, *loop_type;

/* A line more than a page: at the same place of a page each they would push one another out of the first cache. */
static uint8_t received[BATCH][RECEIVE + LINE] __attribute__((aligned(LINE)));
static uint8_t sent[BATCH * OWN_UDP_SIZE]; /* one reply behind the other; no client is given more */
static uint8_t controls[BATCH][CONTROL] __attribute__((aligned(8)));
static struct sockaddr_storage peers[BATCH];
static struct iovec in_parts[BATCH], out_parts[BATCH];
static struct mmsghdr in[BATCH], out[BATCH];

static void address_of(const struct sockaddr_storage *peer, uint8_t *address) {
    if (peer->ss_family == AF_INET6) {
        memcpy(address, &((const struct sockaddr_in6 *)peer)->sin6_addr, ADDRESS);
    } else {
        memset(address, 0, 10);
        memset(address + 10, 0xFF, 2);
        memcpy(address + 12, &((const struct sockaddr_in *)peer)->sin_addr, 4);
    }
}

static Client *place_of(Loop *loop, const uint8_t *address) {
    size_t at = (size_t)hash_of(address, ADDRESS) & (loop->places - 1);
    while (loop->clients[at].table && memcmp(loop->clients[at].address, address, ADDRESS))
        at = (at + 1) & (loop->places - 1);
    return &loop->clients[at];
}

static const Client *client_of(Loop *loop, const struct sockaddr_storage *peer) {
    if (loop->everybody.table) return &loop->everybody;
    if (!loop->known) return NULL;
    uint8_t address[ADDRESS];
    address_of(peer, address);
    const Client *client = place_of(loop, address);
    return client->table ? client : NULL;
}

static void set_tables(Client *client, PyObject *table, PyObject *passing) {
    Table *former = client->table, *former_passing = client->passing;
    client->table = (Table *)Py_XNewRef(table);
    client->passing = (Table *)Py_XNewRef(passing);
    Py_XDECREF((PyObject *)former);
    Py_XDECREF((PyObject *)former_passing);
}

static void forget(Loop *loop) {
    for (size_t n = 0; n < loop->places; n++) set_tables(&loop->clients[n], NULL, NULL);
    PyMem_Free(loop->clients);
    loop->clients = NULL;
    loop->places = loop->known = 0;
    set_tables(&loop->everybody, NULL, NULL);
}

/* The client as the socket module has it: (host, port) or (host, port, flow, scope). */
static PyObject *as_client(const struct sockaddr_storage *peer) {
    char host[INET6_ADDRSTRLEN + 1 + IF_NAMESIZE];
    if (peer->ss_family == AF_INET) {
        const struct sockaddr_in *four = (const struct sockaddr_in *)peer;
        inet_ntop(AF_INET, &four->sin_addr, host, sizeof host);
        return Py_BuildValue("(si)", host, ntohs(four->sin_port));
    }
    const struct sockaddr_in6 *six = (const struct sockaddr_in6 *)peer;
    inet_ntop(AF_INET6, &six->sin6_addr, host, INET6_ADDRSTRLEN);
    if (six->sin6_scope_id) {
        size_t size = strlen(host);
        char interface[IF_NAMESIZE];
        if (if_indextoname(six->sin6_scope_id, interface))
            snprintf(host + size, sizeof host - size, "%%%s", interface);
        else
            snprintf(host + size, sizeof host - size, "%%%u", six->sin6_scope_id);
    }
    return Py_BuildValue("(siII)", host, ntohs(six->sin6_port), ntohl(six->sin6_flowinfo), six->sin6_scope_id);
}

/* What the kernel tells of the address that was asked, made into what it takes as the source of the reply: the
 * interface is left to routing, but for a link-local address, which means nothing without one (RFC 4007 6). */
static PyObject *take_source(struct msghdr *header, int wanted) {
    PyObject *source = NULL;
    struct cmsghdr *control = CMSG_FIRSTHDR(header);
    if (control && control->cmsg_level == IPPROTO_IP && control->cmsg_type == IP_PKTINFO) {
        struct in_pktinfo *info = (struct in_pktinfo *)CMSG_DATA(control);
        info->ipi_ifindex = 0;
        info->ipi_addr.s_addr = 0;
        header->msg_controllen = CMSG_SPACE(sizeof *info);
    } else if (control && control->cmsg_level == IPPROTO_IPV6 && control->cmsg_type == IPV6_PKTINFO) {
        struct in6_pktinfo *info = (struct in6_pktinfo *)CMSG_DATA(control);
        if (!IN6_IS_ADDR_LINKLOCAL(&info->ipi6_addr)) info->ipi6_ifindex = 0;
        header->msg_controllen = CMSG_SPACE(sizeof *info);
    } else {
        header->msg_controllen = 0;
        control = NULL;
    }
    if (!wanted) return NULL;
    if (!control) return PyList_New(0);
    Py_ssize_t size = (Py_ssize_t)(control->cmsg_len - CMSG_LEN(0));
    source = Py_BuildValue("[(iiy#)]", control->cmsg_level, control->cmsg_type, CMSG_DATA(control), size);
    return source;
}

static void send_all(Loop *loop, unsigned many) {
    unsigned done = 0;
    while (done < many) {
        int count = sendmmsg(loop->fd, out + done, many - done, MSG_DONTWAIT);
        if (count > 0) {
            done += (unsigned)count;
        } else if (errno != EINTR) { /* the client's matter: its route is gone, or our buffer is full */
            loop->unsent++;
            done++;
        }
    }
}

/* Make places ready for the kernel again: the first time all of them, then those that were used. */
static void make_ready(int used) {
    if (!in[0].msg_hdr.msg_iov) {
        used = BATCH;
        for (unsigned n = 0; n < BATCH; n++) {
            in_parts[n] = (struct iovec){received[n], RECEIVE};
            in[n].msg_hdr = (struct msghdr){
                .msg_name = &peers[n], .msg_iov = &in_parts[n], .msg_iovlen = 1, .msg_control = controls[n]};
        }
    }
    for (int n = 0; n < used; n++) {
        in[n].msg_hdr.msg_namelen = sizeof peers[n];
        in[n].msg_hdr.msg_controllen = CONTROL;
    }
}

/* Keep a query for Python: (message, client, source). */
static int miss(Loop *loop, int n, PyObject *source) {
    PyObject *whom = source ? as_client(&peers[n]) : NULL;
    PyObject *kept = whom ? Py_BuildValue("(y#OO)", received[n], (Py_ssize_t)in[n].msg_len, whom, source) : NULL;
    if (kept && !loop->misses) loop->misses = PyList_New(0);
    int failed = !kept || !loop->misses || PyList_Append(loop->misses, kept);
    Py_XDECREF(kept);
    Py_XDECREF(whom);
    Py_XDECREF(source);
    return failed ? -1 : 0;
}

static Question asked_now[BATCH];
static const Client *askers[BATCH]; /* NULL where Python is to look */

/* Read what has been received, and have fetched what the answers stand in: of many names few are in a cache. */
static void look_ahead(Loop *loop, int count) {
    for (int n = 0; n < count; n++) {
        const Client *client = client_of(loop, &peers[n]);
        askers[n] = client && read_query(received[n], in[n].msg_len, &asked_now[n]) ? client : NULL;
        if (askers[n] && client->table->count)
            __builtin_prefetch(&client->table->buckets[asked_now[n].hash & client->table->mask]);
    }
    for (int n = 0; n < count; n++) {
        if (!askers[n] || !askers[n]->table->count) continue;
        const char *entry = (const char *)askers[n]->table->buckets[asked_now[n].hash & askers[n]->table->mask];
        __builtin_prefetch(entry);
        __builtin_prefetch(entry + LINE);
    }
}

/* Answer what has been received; how many replies stand ready to be sent, or -1. */
static int answer(Loop *loop, int count, int64_t now) {
    unsigned many = 0;
    int missed[BATCH], misses = 0;
    uint8_t *to = sent;
    look_ahead(loop, count);
    for (int n = 0; n < count; n++) {
        const Client *client = askers[n];
        const Question *asked = &asked_now[n];
        size_t size = 0;
        if (client) {
            Entry *entry = find(client->table, asked, now);
            if (!entry && client->passing) entry = find(client->passing, asked, now);
            if (!entry) entry = know(client->table, asked, received[n]);
            if (!entry) entry = deny(client->table, asked);
            if (entry) size = reply_to(entry, received[n], asked, now, to, asked->limit);
        }
        if (!size) {
            missed[misses++] = n;
            continue;
        }
        take_source(&in[n].msg_hdr, 0);
        out_parts[many] = (struct iovec){to, size};
        out[many].msg_hdr = in[n].msg_hdr;
        out[many].msg_hdr.msg_iov = &out_parts[many];
        out[many].msg_hdr.msg_flags = 0;
        many++;
        to += size;
    }
    for (int n = 0; n < misses; n++) { /* last: with new objects Python's collector may run, and change the clients */
        if (!miss(loop, missed[n], take_source(&in[missed[n]].msg_hdr, 1))) continue;
        send_all(loop, many);
        return -1;
    }
    return (int)many;
}

/* Each hit of a batch took its share of the time. */
static void observe(Loop *loop, unsigned hits, int64_t duration_ns) {
    unsigned n = 0;
    while (n < loop->bounds && duration_ns / hits > loop->bounds_ns[n]) n++;
    loop->durations[n] += hits;
    loop->sum_ns += duration_ns;
}

/* Answer what waits in the socket, some batches of it at most; -1 with an exception. Misses are kept, and a batch of
 * them is enough: each costs Python ten times as much as a hit costs here, and others wait for their turn.
 *
 * `is_sure` says that somebody comes back as long as there is more: then a batch that was not full was the last. */
static int serve(Loop *loop, int is_sure) {
    static int used = BATCH;
    for (int round = 0; round < ROUNDS; round++) {
        if (loop->misses && PyList_Size(loop->misses) >= BATCH) break;
        make_ready(used);
        int count = recvmmsg(loop->fd, in, BATCH, MSG_DONTWAIT, NULL);
        used = count > 0 ? count : 0;
        if (count <= 0) break;
        int64_t began = now_ns();
        int many = answer(loop, count, began);
        if (many < 0) return -1;
        loop->hits += (unsigned)many;
        send_all(loop, (unsigned)many);
        if (many) observe(loop, (unsigned)many, now_ns() - began);
        if (is_sure && count < BATCH) break;
    }
    return 0;
}

static PyObject *take_misses(Loop *loop) {
    PyObject *misses = loop->misses;
    loop->misses = NULL;
    if (misses) return misses;
    Py_RETURN_NONE;
}

PyDoc_STRVAR(drain_doc, "drain(): answer what waits in the socket and is known; a list of (message, client, source) of\n"
                        "the rest, or None. `hits` and `unsent` of the loop grow.");

static PyObject *loop_drain(PyObject *self, PyObject *Py_UNUSED(none)) {
    return serve((Loop *)self, 0) ? NULL : take_misses((Loop *)self);
}

PyDoc_STRVAR(durations_doc, "take_durations(): (hits by bound and above, their sum in seconds) since the last call.");

static PyObject *loop_take_durations(PyObject *self, PyObject *Py_UNUSED(none)) {
    Loop *loop = (Loop *)self;
    PyObject *counts = PyList_New(0);
    for (unsigned n = 0; counts && n <= loop->bounds; n++) {
        PyObject *hits = PyLong_FromUnsignedLongLong(loop->durations[n]);
        if (!hits || PyList_Append(counts, hits)) Py_CLEAR(counts);
        Py_XDECREF(hits);
    }
    PyObject *taken = counts ? Py_BuildValue("(Nd)", counts, (double)loop->sum_ns / 1e9) : NULL;
    if (taken) {
        memset(loop->durations, 0, sizeof loop->durations);
        loop->sum_ns = 0;
    }
    return taken;
}

static PyObject *loop_new(PyTypeObject *type, PyObject *args, PyObject *Py_UNUSED(kwargs)) {
    int fd;
    PyObject *bounds;
    if (!PyArg_ParseTuple(args, "iO!", &fd, &PyTuple_Type, &bounds)) return NULL;
    Py_ssize_t many = PyTuple_Size(bounds);
    if (many > MAX_BOUNDS) return PyErr_Format(PyExc_ValueError, "at most %d bounds, not %zd", MAX_BOUNDS, many);
    Loop *loop = (Loop *)PyType_GenericAlloc(type, 0);
    if (!loop) return NULL;
    loop->fd = fd;
    loop->bounds = (unsigned)many;
    for (Py_ssize_t n = 0; n < many; n++) loop->bounds_ns[n] = (int64_t)(PyFloat_AsDouble(PyTuple_GetItem(bounds, n)) * 1e9);
    if (PyErr_Occurred()) Py_CLEAR(loop);
    return (PyObject *)loop;
}

static void loop_dealloc(PyObject *self) {
    PyTypeObject *type = Py_TYPE(self);
    forget((Loop *)self);
    Py_XDECREF(((Loop *)self)->misses);
    ((freefunc)PyType_GetSlot(type, Py_tp_free))(self);
    Py_DECREF(type);
}

PyDoc_STRVAR(assign_doc, "assign(address, table, passing): the tables of a client by the octets of its address; None for\n"
                        "all. `passing` has the replies of upstreams, or is None.");

static PyObject *loop_assign(PyObject *self, PyObject *args) {
    Loop *loop = (Loop *)self;
    PyObject *packed, *table, *passing;
    if (!PyArg_ParseTuple(args, "OO!O", &packed, table_type, &table, &passing)) return NULL;
    if (passing == Py_None)
        passing = NULL;
    else if (!PyObject_TypeCheck(passing, table_type))
        return PyErr_Format(PyExc_TypeError, "the third is a Table or None");
    if (packed == Py_None) {
        set_tables(&loop->everybody, table, passing);
        Py_RETURN_NONE;
    }
    struct sockaddr_storage peer = {0};
    char *octets;
    Py_ssize_t size;
    if (PyBytes_AsStringAndSize(packed, &octets, &size)) return NULL;
    if (size == 4) {
        peer.ss_family = AF_INET;
        memcpy(&((struct sockaddr_in *)&peer)->sin_addr, octets, 4);
    } else if (size == ADDRESS) {
        peer.ss_family = AF_INET6;
        memcpy(&((struct sockaddr_in6 *)&peer)->sin6_addr, octets, ADDRESS);
    } else {
        return PyErr_Format(PyExc_ValueError, "an address has 4 or 16 octets, not %zd", size);
    }
    if (loop->known >= MAX_CLIENTS) forget(loop);
    if (2 * loop->known >= loop->places) {
        Client *former = loop->clients;
        size_t places = loop->places;
        Client *clients = PyMem_Calloc(places ? 2 * places : 16, sizeof *clients);
        if (!clients) return PyErr_NoMemory();
        loop->clients = clients;
        loop->places = places ? 2 * places : 16;
        for (size_t n = 0; n < places; n++)
            if (former[n].table) *place_of(loop, former[n].address) = former[n];
        PyMem_Free(former);
    }
    uint8_t address[ADDRESS];
    address_of(&peer, address);
    Client *client = place_of(loop, address);
    if (!client->table) loop->known++;
    memcpy(client->address, address, ADDRESS);
    set_tables(client, table, passing);
    Py_RETURN_NONE;
}

PyDoc_STRVAR(forget_clients_doc, "forget(): no client has a table any more.");

static PyObject *loop_forget(PyObject *self, PyObject *Py_UNUSED(none)) {
    forget((Loop *)self);
    Py_RETURN_NONE;
}

static PyObject *loop_hits(PyObject *self, void *Py_UNUSED(closure)) {
    return PyLong_FromUnsignedLongLong(((Loop *)self)->hits);
}

static PyObject *loop_unsent(PyObject *self, void *Py_UNUSED(closure)) {
    return PyLong_FromUnsignedLongLong(((Loop *)self)->unsent);
}

static PyMethodDef loop_methods[] = {
    {"drain", loop_drain, METH_NOARGS, drain_doc},
    {"take_durations", loop_take_durations, METH_NOARGS, durations_doc},
    {"assign", loop_assign, METH_VARARGS, assign_doc},
    {"forget", loop_forget, METH_NOARGS, forget_clients_doc},
    {NULL, NULL, 0, NULL},
};
static PyGetSetDef loop_attributes[] = {
    {"hits", loop_hits, NULL, "Replies that were sent, since the start.", NULL},
    {"unsent", loop_unsent, NULL, "Replies that the kernel would not send.", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};
static PyType_Slot loop_slots[] = {
    {Py_tp_doc, "Loop(fd, bounds): answers from tables what comes in on a bound UDP socket. `bounds` are those of the\n"
                "histogram of how long a reply takes, in seconds."},
    {Py_tp_new, loop_new},
    {Py_tp_dealloc, loop_dealloc},
    {Py_tp_methods, loop_methods},
    {Py_tp_getset, loop_attributes},
    {0, NULL},
};
static PyType_Spec loop_spec = {"resolver._lane.Loop", sizeof(Loop), 0, Py_TPFLAGS_DEFAULT, loop_slots};

/* ---- waiting for events ---- */

typedef struct {
    Loop *loop;
    PyObject *refresh; /* is called before the first answers of a turn */
    uint64_t turn;
} Seat;

typedef struct {
    PyObject_HEAD
    int fd; /* of the epoll set */
    Seat *seats; /* by descriptor */
    size_t places;
    uint64_t turn;
} Waiter;

static Seat *seat_of(Waiter *waiter, int fd) {
    if (fd < 0 || (size_t)fd >= waiter->places || !waiter->seats[fd].loop) return NULL;
    return &waiter->seats[fd];
}

static void leave(Seat *seat) {
    Loop *loop = seat->loop;
    PyObject *refresh = seat->refresh;
    *seat = (Seat){0};
    Py_XDECREF((PyObject *)loop);
    Py_XDECREF(refresh);
}

static PyObject *waiter_new(PyTypeObject *type, PyObject *args, PyObject *Py_UNUSED(kwargs)) {
    int fd;
    if (!PyArg_ParseTuple(args, "i", &fd)) return NULL;
    Waiter *waiter = (Waiter *)PyType_GenericAlloc(type, 0);
    if (waiter) waiter->fd = fd;
    return (PyObject *)waiter;
}

static void waiter_dealloc(PyObject *self) {
    Waiter *waiter = (Waiter *)self;
    PyTypeObject *type = Py_TYPE(self);
    for (size_t n = 0; n < waiter->places; n++) leave(&waiter->seats[n]);
    PyMem_Free(waiter->seats);
    ((freefunc)PyType_GetSlot(type, Py_tp_free))(self);
    Py_DECREF(type);
}

PyDoc_STRVAR(seat_doc, "seat(loop, refresh): let the loop answer while `wait` waits. `refresh()` is called before the first\n"
                       "time in each call of `wait`. The loop's descriptor is to be in the epoll set.");

static PyObject *waiter_seat(PyObject *self, PyObject *args) {
    Waiter *waiter = (Waiter *)self;
    PyObject *loop, *refresh;
    if (!PyArg_ParseTuple(args, "O!O", loop_type, &loop, &refresh)) return NULL;
    int fd = ((Loop *)loop)->fd;
    if (fd < 0 || fd > 1 << 24) return PyErr_Format(PyExc_ValueError, "%d is no descriptor", fd);
    if ((size_t)fd >= waiter->places) {
        size_t places = 2 * (size_t)fd + 16;
        Seat *seats = PyMem_Realloc(waiter->seats, places * sizeof *seats);
        if (!seats) return PyErr_NoMemory();
        memset(seats + waiter->places, 0, (places - waiter->places) * sizeof *seats);
        waiter->seats = seats;
        waiter->places = places;
    }
    leave(&waiter->seats[fd]);
    waiter->seats[fd] = (Seat){(Loop *)Py_NewRef(loop), Py_NewRef(refresh), 0};
    Py_RETURN_NONE;
}

PyDoc_STRVAR(unseat_doc, "unseat(fd): the loop of this descriptor answers by itself no more; nothing happens when there is none.");

static PyObject *waiter_unseat(PyObject *self, PyObject *number) {
    long fd = PyLong_AsLong(number);
    if (fd == -1 && PyErr_Occurred()) return NULL;
    Seat *seat = fd < 1 << 24 ? seat_of((Waiter *)self, (int)fd) : NULL;
    if (seat) leave(seat);
    Py_RETURN_NONE;
}

/* Let a loop answer; 1 when it has something for Python, -1 with an exception. */
static int visit(Waiter *waiter, Seat *seat) {
    Loop *loop = (Loop *)Py_NewRef((PyObject *)seat->loop);
    int outcome = 0;
    if (seat->turn != waiter->turn) {
        seat->turn = waiter->turn;
        PyObject *done = PyObject_CallNoArgs(seat->refresh);
        outcome = done ? 0 : -1;
        Py_XDECREF(done);
    }
    if (!outcome) outcome = serve(loop, 1);
    if (!outcome && loop->misses) outcome = 1;
    Py_DECREF((PyObject *)loop);
    return outcome;
}

PyDoc_STRVAR(wait_doc, "wait(timeout)\n\n"
                       "Wait for events, at most so many seconds (None: for ever); [(descriptor, events), ...]. What can be\n"
                       "answered meanwhile is answered; of a seated loop an event tells that `drain` has something.");

static PyObject *waiter_wait(PyObject *self, PyObject *timeout) {
    Waiter *waiter = (Waiter *)self;
    int64_t deadline = -1;
    int wait_ms = -1;
    if (timeout != Py_None) {
        double seconds = PyFloat_AsDouble(timeout);
        if (seconds == -1.0 && PyErr_Occurred()) return NULL;
        seconds = seconds < 0 ? 0 : seconds > 86400 ? 86400 : seconds;
        deadline = now_ns() + (int64_t)(seconds * 1e9);
        wait_ms = (int)(seconds * 1e3) + (seconds * 1e3 > (double)(int)(seconds * 1e3));
    }
    PyObject *found = PyList_New(0);
    if (!found) return NULL;
    waiter->turn++;
    for (;;) {
        struct epoll_event events[EVENTS];
        int count;
        Py_BEGIN_ALLOW_THREADS
        count = epoll_wait(waiter->fd, events, EVENTS, wait_ms);
        Py_END_ALLOW_THREADS
        if (count < 0 && errno != EINTR) {
            PyErr_SetFromErrno(PyExc_OSError);
            goto failed;
        }
        if (count < 0) {
            if (PyErr_CheckSignals()) goto failed;
            return found;
        }
        for (int n = 0; n < count; n++) {
            Seat *seat = seat_of(waiter, events[n].data.fd);
            int is_for_python = seat ? visit(waiter, seat) : 1;
            if (is_for_python < 0) PyErr_WriteUnraisable((PyObject *)waiter); /* nobody would serve on */
            if (!is_for_python) continue;
            PyObject *event = Py_BuildValue("(iI)", events[n].data.fd, events[n].events);
            int failed = !event || PyList_Append(found, event);
            Py_XDECREF(event);
            if (failed) goto failed;
        }
        if (!count || PyList_Size(found)) return found;
        if (deadline >= 0) {
            int64_t left = deadline - now_ns();
            if (left <= 0) return found;
            wait_ms = (int)((left + 999999) / 1000000);
        }
    }
failed:
    Py_DECREF(found);
    return NULL;
}

static PyMethodDef waiter_methods[] = {
    {"seat", waiter_seat, METH_VARARGS, seat_doc},
    {"unseat", waiter_unseat, METH_O, unseat_doc},
    {"wait", waiter_wait, METH_O, wait_doc},
    {NULL, NULL, 0, NULL},
};
static PyType_Slot waiter_slots[] = {
    {Py_tp_doc, "Waiter(fd): waits for the events of an epoll set, and lets loops answer meanwhile."},
    {Py_tp_new, waiter_new},
    {Py_tp_dealloc, waiter_dealloc},
    {Py_tp_methods, waiter_methods},
    {0, NULL},
};
static PyType_Spec waiter_spec = {"resolver._lane.Waiter", sizeof(Waiter), 0, Py_TPFLAGS_DEFAULT, waiter_slots};

PyDoc_STRVAR(limit_doc, "limit(octets): what all tables together may take.");

static PyObject *limit(PyObject *Py_UNUSED(module), PyObject *octets) {
    size_t most = PyLong_AsSize_t(octets);
    if (PyErr_Occurred()) return NULL;
    all_most = most;
    Py_RETURN_NONE;
}

static PyMethodDef lane_functions[] = {{"limit", limit, METH_O, limit_doc}, {NULL, NULL, 0, NULL}};
static struct PyModuleDef lane = {PyModuleDef_HEAD_INIT, "resolver._lane", "The compiled fast lane.", -1,
                                  lane_functions, NULL, NULL, NULL, NULL};

PyMODINIT_FUNC PyInit__lane(void) {
    if (getrandom(&seed, sizeof seed, GRND_NONBLOCK) != sizeof seed) seed = (uint64_t)now_ns();
    PyObject *module = PyModule_Create(&lane);
    PyObject *tables = module ? PyType_FromSpec(&table_spec) : NULL;
    PyObject *loops = tables ? PyType_FromSpec(&loop_spec) : NULL;
    PyObject *waiters = loops ? PyType_FromSpec(&waiter_spec) : NULL;
    table_type = (PyTypeObject *)tables;
    loop_type = (PyTypeObject *)loops;
    word_addresses = PyUnicode_InternFromString("addresses");
    word_address = PyUnicode_InternFromString("address");
    word_ttl = PyUnicode_InternFromString("ttl");
    word_number = PyUnicode_InternFromString("_ip"); /* int() of an address would run Python's own code, and other threads */
    if (!word_addresses || !word_address || !word_ttl || !word_number) Py_CLEAR(waiters);
    if (!waiters || PyModule_AddObjectRef(module, "Table", tables) || PyModule_AddObjectRef(module, "Loop", loops) ||
        PyModule_AddObjectRef(module, "Waiter", waiters)) {
        Py_XDECREF(module);
        module = NULL;
    }
    Py_XDECREF(waiters);
    return module;
}
