# SPDX-License-Identifier: GPL-2.0-or-later
"""Captures of conversations that are written down here, byte by byte.

A Capture collects frames; a Conn is one TCP connection in it, with right sequence
and acknowledgement numbers and checksums: c() sends from the client, s() from the
server, each returning the number of its frame. What a side sends acknowledges all
that the other had sent, unless `unheard` says how many bytes of it are still on
their way. The functions below build the protocol's messages; open() makes a
connection with an ordinary handshake.

    cap = Capture()
    x = open(cap, flags=HAS | FLUSH)
    x.c(req(READ, 0, 4096, cookie=1))
    x.s(simple(1, data=bytes(4096)))
    x.bye()
    cap.write(path)
"""

import struct

NBDMAGIC = b"NBDMAGIC"
IHAVEOPT = b"IHAVEOPT"
CLISERV = struct.pack(">Q", 0x420281861253)
REP = struct.pack(">Q", 0x3E889045565A9)

# Options, replies, information, commands and flags by the protocol's numbers.
EXPORT_NAME, ABORT, LIST, PEEK, STARTTLS, INFO, GO, STRUCTURED, LISTCTX, SETCTX, EXTENDED = \
    range(1, 12)
ACK, SERVER, REP_INFO, CONTEXT = 1, 2, 3, 4
E_UNSUP, E_POLICY, E_INVALID, E_PLATFORM, E_TLS, E_UNKNOWN, E_SHUTDOWN, E_BLOCKS, E_BIG, E_EXT = \
    range(0x80000001, 0x8000000B)
I_EXPORT, I_NAME, I_DESCRIPTION, I_BLOCKS = range(4)
READ, WRITE, DISC, FLUSH_, TRIM_, CACHE_, ZEROES_, STATUS, RESIZE_ = range(9)
FUA, NO_HOLE, DF, REQ_ONE, FAST, PAYLOAD = 1, 2, 4, 8, 16, 32
HAS, RO, FLUSH, SFUA, ROT, TRIM, ZEROES, SDF, MULTI, RESIZE, CACHE, SFAST, SPAYLOAD = \
    [1 << bit for bit in range(13)]
USUAL = HAS | FLUSH | SFUA | TRIM | ZEROES | CACHE
NONE, DATA, HOLE, BSTATUS, BSTATUS_EXT, ERR, ERR_OFF = 0, 1, 2, 5, 6, 0x8001, 0x8002
DONE = 1
MIB = 1 << 20


def checksum(data):
    if len(data) % 2:
        data += b"\0"
    total = sum(struct.unpack(">%dH" % (len(data) // 2), data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


class Capture:
    """Frames of raw IPv4, written as a pcap file."""

    def __init__(self, start=1700000000.0):
        self.frames = []
        self.now = start
        self.ports = 40000

    def wait(self, seconds):
        self.now += seconds

    def add(self, source, target, sport, dport, seq, ack, flags, data=b""):
        tcp = struct.pack(">HHIIBBHHH", sport, dport, seq & 0xFFFFFFFF, ack & 0xFFFFFFFF, 5 << 4,
                          flags, 65535, 0, 0) + data
        pseudo = source + target + struct.pack(">BBH", 0, 6, len(tcp))
        tcp = tcp[:16] + struct.pack(">H", checksum(pseudo + tcp)) + tcp[18:]
        head = struct.pack(">BBHHHBBH", 0x45, 0, 20 + len(tcp), len(self.frames) & 0xFFFF, 0, 64,
                           6, 0) + source + target
        head = head[:10] + struct.pack(">H", checksum(head)) + head[12:]
        self.frames.append((self.now, head + tcp))
        self.now += 0.0001
        return len(self.frames)

    def write(self, path):
        with open_(path, "wb") as out:
            out.write(struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 262144, 101))
            for when, frame in self.frames:
                out.write(struct.pack("<IIII", int(when), int(when % 1 * 1e6), len(frame),
                                      len(frame)))
                out.write(frame)


open_ = open


class Conn:
    """One TCP connection, from its SYN on."""

    SYN, FIN, RST, PUSH, ACK = 2, 1, 4, 8, 16
    MOST = 60000  # bytes of payload in a frame

    def __init__(self, cap, port=10809):
        self.cap = cap
        cap.ports += 1
        self.port = (cap.ports, port)
        self.addr = (bytes([10, 0, 0, 2]), bytes([10, 0, 0, 1]))
        self.sent = [1000, 5000]  # the next sequence number of each side
        self.add(0, self.SYN, ack=0)
        self.sent[0] += 1
        self.add(1, self.SYN | self.ACK)
        self.sent[1] += 1
        self.add(0, self.ACK)

    def add(self, side, flags, data=b"", ack=None):
        other = 1 - side
        ack = self.sent[other] if ack is None else ack
        return self.cap.add(self.addr[side], self.addr[other], self.port[side], self.port[other],
                            self.sent[side], ack, flags, data)

    def send(self, side, data, unheard=0):
        frame = 0
        for at in range(0, len(data), self.MOST):
            part = data[at:at + self.MOST]
            n = self.add(side, self.PUSH | self.ACK, part, self.sent[1 - side] - unheard)
            frame = frame or n
            self.sent[side] += len(part)
        return frame

    def c(self, *parts, unheard=0):
        return self.send(0, b"".join(parts), unheard)

    def s(self, *parts, unheard=0):
        return self.send(1, b"".join(parts), unheard)

    def fin(self, side):
        frame = self.add(side, self.FIN | self.ACK)
        self.sent[side] += 1
        return frame

    def rst(self, side):
        return self.add(side, self.RST | self.ACK)

    def close(self, side=0):
        """`side` closes first, the other follows."""
        frame = self.fin(side)
        self.fin(1 - side)
        self.add(side, self.ACK)
        return frame

    def bye(self):
        self.c(req(DISC, cookie=0x626965))
        self.close(0)

    def abort(self):
        self.c(opt(ABORT))
        self.s(rep(ABORT, ACK))
        self.close(0)

    def hello(self, flags=3, client=3):
        self.s(greeting(flags))
        return self.c(cflags(client))


# --- messages ---------------------------------------------------------------

def greeting(flags=3):
    return NBDMAGIC + IHAVEOPT + struct.pack(">H", flags)


def oldstyle(size=MIB, flags=HAS | FLUSH, upper=0, zeroes=bytes(124)):
    return NBDMAGIC + CLISERV + struct.pack(">QHH", size, upper, flags) + zeroes


def cflags(flags=3):
    return struct.pack(">I", flags)


def opt(number, data=b"", length=None):
    return IHAVEOPT + struct.pack(">II", number, len(data) if length is None else length) + data


def rep(number, kind, data=b"", length=None):
    return REP + struct.pack(">III", number, kind, len(data) if length is None else length) + data


def go_data(name=b"x", infos=()):
    return struct.pack(">I", len(name)) + name + struct.pack(">H", len(infos)) + \
        b"".join(struct.pack(">H", info) for info in infos)


def info_export(number=GO, size=MIB, flags=USUAL):
    return rep(number, REP_INFO, struct.pack(">HQH", I_EXPORT, size, flags))


def info_blocks(number=GO, least=1, preferred=4096, most=0xFFFFFFFF):
    return rep(number, REP_INFO, struct.pack(">HIII", I_BLOCKS, least, preferred, most))


def ctx_data(*queries, name=b"x", count=None):
    return struct.pack(">I", len(name)) + name + \
        struct.pack(">I", len(queries) if count is None else count) + \
        b"".join(struct.pack(">I", len(query)) + query for query in queries)


def ctx(number, ident, name=b"base:allocation"):
    return rep(number, CONTEXT, struct.pack(">I", ident) + name)


def req(kind, offset=0, length=0, flags=0, cookie=1, data=b""):
    return struct.pack(">IHHQQI", 0x25609513, flags, kind, cookie, offset, length) + data


def xreq(kind, offset=0, length=0, flags=0, cookie=1, data=b""):
    return struct.pack(">IHHQQQ", 0x21E41C71, flags, kind, cookie, offset, length) + data


def simple(cookie=1, error=0, data=b""):
    return struct.pack(">IIQ", 0x67446698, error, cookie) + data


def chunk(kind, cookie=1, data=b"", flags=DONE, length=None):
    return struct.pack(">IHHQI", 0x668E33EF, flags, kind, cookie,
                       len(data) if length is None else length) + data


def xchunk(kind, cookie=1, data=b"", flags=DONE, offset=0, length=None):
    return struct.pack(">IHHQQQ", 0x6E8A278C, flags, kind, cookie, offset,
                       len(data) if length is None else length) + data


def content(offset, data):
    return struct.pack(">Q", offset) + data


def hole(offset, size):
    return struct.pack(">QI", offset, size)


def error(code, text=b"", offset=None, said=None):
    return struct.pack(">IH", code, len(text) if said is None else said) + text + \
        (b"" if offset is None else struct.pack(">Q", offset))


def extents(ident, *list_):
    return struct.pack(">I", ident) + b"".join(struct.pack(">II", *extent) for extent in list_)


def xextents(ident, *list_, count=None):
    return struct.pack(">II", ident, len(list_) if count is None else count) + \
        b"".join(struct.pack(">QQ", *extent) for extent in list_)


# --- beginnings -------------------------------------------------------------

def haggle(cap, structured=False, extended=False, server=3, client=3, port=10809):
    """Up to the options."""
    x = Conn(cap, port)
    x.hello(server, client)
    if extended:
        x.c(opt(EXTENDED))
        x.s(rep(EXTENDED, ACK))
    elif structured:
        x.c(opt(STRUCTURED))
        x.s(rep(STRUCTURED, ACK))
    return x


def open(cap, flags=USUAL, size=MIB, structured=False, extended=False, blocks=None, asked=True,
         contexts=(), name=b"x", port=10809):
    """A connection in the transmission phase. blocks: (minimum, preferred, maximum);
    contexts: names, whose ids are 1, 2, ..."""
    x = haggle(cap, structured or bool(contexts) and not extended, extended, port=port)
    if contexts:
        x.c(opt(SETCTX, ctx_data(*contexts, name=name)))
        x.s(*(ctx(SETCTX, i + 1, query) for i, query in enumerate(contexts)), rep(SETCTX, ACK))
    if (structured or contexts) and not extended and flags == USUAL:
        flags |= SDF
    x.c(opt(GO, go_data(name, (I_BLOCKS,) if blocks and asked else ())))
    x.s(info_export(GO, size, flags), info_blocks(GO, *blocks) if blocks else b"", rep(GO, ACK))
    return x
