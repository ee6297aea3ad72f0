# SPDX-License-Identifier: GPL-2.0-or-later
"""A capture of NBD in clear as what it would have been inside TLS.

Each segment becomes the records of what it carried, at the same time and with
acknowledgements that mean the same; NBD_OPT_STARTTLS and the handshake of TLS come before.
So what is said of both must be equal, but for the numbers of frames, which are known.
"""

import bisect
import pathlib
import struct
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "golden"))

import openssl
import rewrap

GREETING, FLAGS = 18, 4
STARTTLS = struct.pack(">QII", 0x49484156454F5054, 5, 0)
STARTTLS_ACK = struct.pack(">QIII", 0x3e889045565a9, 5, 1, 0)
SYN, FIN, RST, PSH, ACK = 2, 1, 4, 8, 16


class Refused(Exception):
    """Not a capture that can be wrapped."""


def load(path):
    data = pathlib.Path(path).read_bytes()
    if data[:1] == b"\xa1":
        raise Refused("the other byte order")
    nano = data[:4] in (b"\x4d\x3c\xb2\xa1",)
    at, out = 24, []
    while at < len(data):
        seconds, part, kept, length = struct.unpack_from("<IIII", data, at)
        packet = data[at + 16:at + 16 + kept]
        if packet[12:14] != b"\x08\x00" or packet[23] != 6 or kept < length:
            raise Refused("not all of it is TCP over IPv4, captured whole")
        out.append(rewrap.Segment(seconds * 10**9 + part * (1 if nano else 1000), packet[14:]))
        at += 16 + kept
    return out


class Stream:
    """A direction: where its bytes were, and where they are now."""

    def __init__(self, isn):
        self.isn = isn
        self.old = self.new = 0
        self.places = [(0, 0)]
        self.closed = self.fixed = False

    def advance(self, old, new):
        self.old += old
        self.new += new
        self.places.append((self.old, self.new))

    def ahead(self, ack):
        return 0 < (ack - self.isn - 1 - self.old - self.closed) & 0xffffffff < 1 << 31

    def acked(self, ack):
        """All of what was acknowledged, and no more."""
        old = (ack - self.isn - 1) & 0xffffffff
        if old >= 1 << 31:
            return ack
        place = self.places[bisect.bisect_right(self.places, (old, 1 << 60)) - 1]
        return self.isn + 1 + place[1] + (1 if old > self.old and self.closed else 0)


class Connection:
    def __init__(self, syn, session):
        self.client = syn.source, syn.sport
        self.session = session
        self.streams = [Stream(syn.seq), None]
        self.begun = False

    def end(self, s):
        return 0 if (s.source, s.sport) == self.client else 1


def wrap(segments, context, most=None, resume=False, update=0, goodbye=True, tamper=None):
    """The segments anew, and of each the number of the frame that it was, from 1. `most`:
    so many bytes of a segment. `update`: other keys after so many segments."""
    connections, out, of, sent, acks = {}, [], [], 0, []

    def emit(s, stream, payload, old_len, number, ack, flags=None):
        """In pieces, if it is large."""
        size = most or 65000
        base, at = stream.isn + 1 + stream.new, 0
        pieces = [payload[i:i + size] for i in range(0, len(payload), size)] or [b""]
        for i, piece in enumerate(pieces):
            last = i + 1 == len(pieces)
            kept = s.flags if flags is None else flags
            if callable(ack):
                acks.append((len(out), ack, s.ack))
            out.append(s.copy(seq=base + at, payload=piece, ack=s.ack if callable(ack) else ack,
                              flags=kept if last else kept & ~(FIN | PSH)))
            of.append(number)
            at += len(piece)
        stream.advance(old_len, len(payload))

    for number, s in enumerate(segments, 1):
        key = frozenset(((s.source, s.sport), (s.target, s.dport)))
        if s.flags & SYN and not s.flags & ACK:
            session = openssl.Session(context)
            connections[key] = Connection(s, session)
            out.append(s)
            of.append(number)
            continue
        c = connections.get(key)
        if not c:
            raise Refused("a connection was met in its middle")
        end = c.end(s)
        if s.flags & SYN:
            c.streams[1] = Stream(s.seq)
            out.append(s)
            of.append(number)
            continue
        mine, other = c.streams[end], c.streams[1 - end]
        # what it acknowledges may come later in the capture
        ack = s.ack if not s.flags & ACK else other.acked if other.ahead(s.ack) else other.acked(s.ack)
        if s.payload and s.seq != (mine.isn + 1 + mine.old) & 0xffffffff:
            raise Refused("bytes out of order")
        clear = max(0, (FLAGS if end == 0 else GREETING) - mine.old)
        head, rest = s.payload[:clear], s.payload[clear:]
        if end == 0 and head and not c.begun:
            if len(head) < FLAGS:
                raise Refused("the client's flags come in pieces")
            server = c.streams[1]
            if server.old != GREETING or not server.fixed or not head[3] & 1:
                raise Refused("no fixed newstyle")
            emit(s, mine, head, len(head), number, flags=ACK | PSH, ack=ack)
            emit(s, mine, STARTTLS, 0, number, flags=ACK | PSH, ack=ack)
            back = s.copy(source=s.target, target=s.source, sport=s.dport, dport=s.sport)
            emit(back, server, STARTTLS_ACK, 0, number, flags=ACK | PSH,
                 ack=mine.isn + 1 + mine.new)
            for who, flight in c.session.handshake():
                emit(back if who else s, c.streams[who], flight, 0, number, flags=ACK | PSH,
                     ack=c.streams[1 - who].isn + 1 + c.streams[1 - who].new)
            context.reused += c.session.reused()
            if resume:
                c.session.remember()
            c.begun = True
            if not rest:
                continue
            ack = other.isn + 1 + other.new
        elif head:
            mine.fixed = len(head) == GREETING and head[:8] == b"NBDMAGIC" and head[17] & 1
            emit(s, mine, head, len(head), number, ack=ack)
            if not rest:
                continue
        records = b""
        if rest:
            if not c.begun:
                raise Refused("something else comes before the client's flags")
            sent += 1
            if update and sent % update == 0:
                c.session.update(end)
            records = c.session.send(end, rest)
            if tamper:
                records = tamper(number, records)
        if s.flags & FIN and goodbye and c.begun and not mine.closed:
            records += c.session.goodbye(end)
        emit(s, mine, records, len(rest), number, ack=ack)
        if s.flags & FIN:
            mine.closed = True
    for at, acked, old in acks:
        out[at] = out[at].copy(ack=acked(old))
    return out, of


def save(segments, path):
    pathlib.Path(path).write_bytes(rewrap.pcap(rewrap.each(
        segments, lambda s: rewrap.ether(0x0800, rewrap.ipv4(s)))))
