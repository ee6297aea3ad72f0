#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""The same traffic in another wrapping is the same traffic.

    rewrap.py [--keep=DIRECTORY] [--share=I/N] [CAPTURE...]

Writes every sample (or CAPTURE: pcap, Ethernet with IPv4) anew in many ways, and
holds what nbdaudit says of each against what it says of the capture itself. Frames are
one to one in most of them (other link types, VLAN tags, IPv6 with extension headers,
other file formats, compression, sequence numbers that wrap, snapped trailers, times in
other units), so that all must be equal, down to the frames of a finding. Where packets
are cut smaller, put together, fragmented, doubled or swapped, the frames and times
are left out of the comparison.
"""

import argparse
import gzip
import ipaddress
import json
import os
import pathlib
import random
import shutil
import struct
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
ROOT = pathlib.Path(os.environ.get("NBDSCOPE_SOURCE_DIR", HERE.parent.parent))
BIN = pathlib.Path(os.environ.get("NBDSCOPE_BIN", ROOT / "build" / "bin"))

ETHERNET, NULL, LOOP, RAW, SLL, SLL2, IPV4, IPV6 = 1, 0, 108, 101, 113, 276, 228, 229


class Segment:
    """A TCP segment and when it was seen."""

    __slots__ = ("time", "source", "target", "sport", "dport", "seq", "ack", "flags", "window",
                 "options", "payload")

    def __init__(self, time, ip):
        self.time = time
        header = (ip[0] & 15) * 4
        total = struct.unpack_from(">H", ip, 2)[0] or len(ip)
        tcp = ip[header:total]
        self.source, self.target = ip[12:16], ip[16:20]
        self.sport, self.dport, self.seq, self.ack = struct.unpack_from(">HHII", tcp)
        offset = (tcp[12] >> 4) * 4
        self.flags = tcp[13]
        self.window = tcp[14:16]
        self.options = tcp[20:offset]
        self.payload = tcp[offset:]

    def copy(self, **changes):
        other = Segment.__new__(Segment)
        for name in Segment.__slots__:
            setattr(other, name, changes.get(name, getattr(self, name)))
        return other

    def tcp(self):
        return struct.pack(">HHIIBB", self.sport, self.dport, self.seq & 0xffffffff,
                           self.ack & 0xffffffff, (20 + len(self.options)) // 4 << 4,
                           self.flags) + self.window + bytes(4) + self.options + self.payload

    def direction(self):
        return self.source, self.target, self.sport, self.dport


def ipv4(s, payload=None, identification=0, offset=0, more=False, options=b""):
    payload = s.tcp() if payload is None else payload
    total = 20 + len(options) + len(payload)
    return struct.pack(">BBHHHBBH", 0x45 + len(options) // 4, 0, total if total < 65536 else 0,
                       identification, offset // 8 | (0x2000 if more else 0), 64, 6,
                       0) + s.source + s.target + options + payload


def six(address):
    """Loopback stays loopback: where one clock sees both ends, more can be proved."""
    if address[0] == 127:
        return ipaddress.ip_address("::1").packed
    return ipaddress.ip_address("fd00::").packed[:12] + address


def ipv6(s, extensions=b"", first=6, payload=None):
    payload = extensions + (s.tcp() if payload is None else payload)
    length = len(payload) if len(payload) < 65536 else 0
    return struct.pack(">IHBB", 6 << 28, length, first, 64) + six(s.source) + six(s.target) + payload


# Hop-by-hop and destination options, of padding only, before TCP.
EXTENSIONS = bytes((60, 0, 1, 4, 0, 0, 0, 0)) + bytes((6, 1, 1, 12)) + bytes(12)

MAC = bytes(12)


def pcap(packets, linktype=ETHERNET, endian="<", nano=True, fcs=0):
    unit = 1 if nano else 1000
    out = [struct.pack(endian + "IHHiIII", 0xa1b23c4d if nano else 0xa1b2c3d4, 2, 4, 0, 0, 262144,
                       linktype)]
    for time, packet in packets:
        packet += bytes(fcs)
        out.append(struct.pack(endian + "IIII", time // 10**9, time % 10**9 // unit, len(packet),
                               len(packet)))
        out.append(packet)
    return b"".join(out)


def block(endian, kind, body):
    body += bytes(-len(body) % 4)
    length = len(body) + 12
    return struct.pack(endian + "II", kind, length) + body + struct.pack(endian + "I", length)


def section(endian):
    return block(endian, 0x0a0d0d0a, struct.pack(endian + "IHHq", 0x1a2b3c4d, 1, 0, -1))


def interface(endian, linktype, resolution):
    """Options: if_tsresol, end."""
    return block(endian, 1, struct.pack(endian + "HHIHHBxxxHH", linktype, 0, 262144, 9, 1, resolution,
                                        0, 0))


def pcapng(packets, linktypes=(ETHERNET,), endian="<", resolution=9, extra=b"", of=(0,)):
    """The packets, on the interfaces numbered `of` in turn."""
    out = [section(endian)]
    for linktype in linktypes:
        out.append(interface(endian, linktype, resolution))
    out.append(extra)
    scale = (1 << (resolution & 127)) if resolution & 128 else 10**resolution
    for number, (time, packet) in enumerate(packets):
        which = of[number % len(of)]
        # Rounded up: what a power of two cannot say exactly, it says a little late.
        stamp = -(-time * scale // 10**9)
        out.append(block(endian, 6, struct.pack(endian + "IIIII", which, stamp >> 32,
                                                stamp & 0xffffffff, len(packet), len(packet)) + packet))
    return b"".join(out)


def ether(kind, payload):
    return MAC + struct.pack(">H", kind) + payload


def each(segments, wrap):
    return [(s.time, wrap(s)) for s in segments]


def cut(segments, most):
    """As a network card cuts them."""
    for s in segments:
        if len(s.payload) <= most:
            yield s
            continue
        for at in range(0, len(s.payload), most):
            last = at + most >= len(s.payload)
            yield s.copy(seq=s.seq + at, payload=s.payload[at:at + most],
                         flags=s.flags if last else s.flags & ~0x09)


def joined(segments, most=200000):
    """Neighbours of one direction put together, as offloading does, also to more than an
    IP header can say."""
    held = None
    for s in segments:
        if (held and held.payload and s.payload and held.direction() == s.direction()
                and held.ack == s.ack and held.seq + len(held.payload) == s.seq
                and not held.flags & 7 and not s.flags & 6
                and len(held.payload) + len(s.payload) <= most):
            held = held.copy(payload=held.payload + s.payload, flags=held.flags | s.flags)
            continue
        if held:
            yield held
        held = s
    if held:
        yield held


def doubled(segments, chance):
    """Some data is sent again at once."""
    for s in segments:
        yield s
        if s.payload and chance.random() < 0.3:
            yield s.copy(time=s.time + 100)


def swapped(segments, chance):
    """Data segments of one direction that follow each other change places."""
    segments = list(segments)
    at = 0
    while at + 1 < len(segments):
        a, b = segments[at:at + 2]
        if (a.payload and b.payload and a.direction() == b.direction() and not b.flags & 7
                and chance.random() < 0.5):
            segments[at], segments[at + 1] = b.copy(time=a.time), a.copy(time=b.time)
            at += 1
        at += 1
    return segments


def wrapping(segments):
    """The sequence numbers of all directions pass zero within the first bytes."""
    base, out = {}, []
    for s in segments:
        base.setdefault(s.direction(), s.seq)
        if s.flags & 16:
            base.setdefault((s.target, s.source, s.dport, s.sport), s.ack)
    for s in segments:
        back = base.get((s.target, s.source, s.dport, s.sport), 0)
        out.append(s.copy(seq=s.seq - base[s.direction()] - 40,
                          ack=s.ack - back - 40 if s.flags & 16 else 0))
    return out


def fragments(s, number, size, backwards):
    tcp = s.tcp()
    parts = [(at, tcp[at:at + size]) for at in range(0, len(tcp), size)]
    made = [ipv4(s, part, number & 0xffff, at, at + len(part) < len(tcp)) for at, part in parts]
    return list(reversed(made)) if backwards else made


def fragments6(s, number, size):
    tcp = s.tcp()
    for at in range(0, len(tcp), size):
        part = tcp[at:at + size]
        head = struct.pack(">BBHI", 6, 0, at | (at + len(part) < len(tcp)), number)
        yield ipv6(s, head, 44, part)


def pppoe(payload, protocol):
    return ether(0x8864, struct.pack(">BBHHH", 0x11, 0, 1, len(payload) + 2, protocol) + payload)


def wrappings(segments, seed):
    """(name, kind, file). Kinds: the "same", but for the addresses if "six"; the times
    may be "close" only; frames may have "moved"; it may prove less ("weaker")."""
    chance = random.Random(seed)
    plain = each(segments, lambda s: ether(0x0800, ipv4(s)))
    file = pcap(plain)
    yield "pcap", "same", file
    yield "big-endian", "same", pcap(plain, endian=">")
    yield "vlan", "same", pcap(each(segments, lambda s: ether(0x8100, struct.pack(">HH", 5, 0x800)
                                                             + ipv4(s))))
    yield "q-in-q", "same", pcap(each(segments, lambda s: ether(
        0x88a8, struct.pack(">HHHH", 5, 0x8100, 6, 0x800) + ipv4(s))))
    yield "ip options", "same", pcap(each(segments, lambda s: ether(
        0x800, ipv4(s, options=b"\x01\x01\x01\x00"))))
    # A padded frame, and a checksum of the frame behind it.
    yield "trailer", "same", pcap([(t, p + bytes(8)) for t, p in plain], fcs=4)
    yield "raw", "same", pcap(each(segments, ipv4), RAW)
    yield "ipv4", "same", pcap(each(segments, ipv4), IPV4)
    yield "null", "same", pcap(each(segments, lambda s: struct.pack("<I", 2) + ipv4(s)), NULL)
    yield "null of the other order", "same", pcap(
        each(segments, lambda s: struct.pack(">I", 2) + ipv4(s)), NULL)
    yield "loop", "same", pcap(each(segments, lambda s: struct.pack(">I", 2) + ipv4(s)), LOOP)
    yield "sll", "same", pcap(each(segments, lambda s: struct.pack(">HHH8sH", 0, 772, 6, b"", 0x800)
                                   + ipv4(s)), SLL)
    yield "sll2", "same", pcap(each(segments, lambda s: struct.pack(">HHIHBB8s", 0x800, 0, 1, 772, 0,
                                                                   6, b"") + ipv4(s)), SLL2)
    yield "ipv6", "six", pcap(each(segments, lambda s: ether(0x86dd, ipv6(s))))
    yield "ipv6 raw", "six", pcap(each(segments, ipv6), IPV6)
    yield "ipv6 extensions", "six", pcap(each(segments, lambda s: ether(
        0x86dd, ipv6(s, EXTENSIONS, 0))))
    yield "ipv6 null", "six", pcap(each(segments, lambda s: struct.pack("<I", 30) + ipv6(s)), NULL)
    yield "wrap", "same", pcap(each(wrapping(segments), lambda s: ether(0x800, ipv4(s))))
    yield "pcapng", "same", pcapng(plain)
    yield "pcapng big-endian", "same", pcapng(plain, endian=">")
    yield "pcapng 2^-31", "close", pcapng(plain, resolution=0x80 | 31)
    yield "pcapng of blocks unknown", "same", pcapng(plain, extra=block(
        "<", 0x0bae, b"some bytes") + block("<", 4, bytes(4)))
    # Violations would be less than proved if commands came over several interfaces.
    yield "pcapng of an idle interface", "same", pcapng(plain, (ETHERNET, SLL), of=(0,))
    yield "pcapng of another link type", "same", pcapng(
        each(segments, lambda s: struct.pack(">HHH8sH", 0, 772, 6, b"", 0x800) + ipv4(s)),
        (ETHERNET, SLL), of=(1,))
    half = len(plain) // 2
    # Whose clocks may differ: less can be proved.
    yield "pcapng of two sections", "weaker", pcapng(plain[:half]) + pcapng(plain[half:], endian=">")
    yield "gzip", "same", gzip.compress(file, 1)
    for program in ("zstd", "lz4", "xz", "bzip2"):
        if shutil.which(program):
            yield program, "same", subprocess.run([program, "-1", "-c"], input=file,
                                                  stdout=subprocess.PIPE, check=True).stdout
    for most in (1448, 536, 7):
        if most == 7 and sum(len(s.payload) for s in segments) > 50000:
            continue
        yield "cut to %d" % most, "moved", pcap(each(cut(segments, most), lambda s: ether(
            0x800, ipv4(s))))
    yield "joined", "moved", pcap(each(joined(segments), lambda s: ether(0x800, ipv4(s))))
    small = list(cut(segments, 1448))
    yield "doubled", "moved", pcap(each(doubled(small, chance), lambda s: ether(0x800, ipv4(s))))
    # When bytes were sent is less certain: less can be proved.
    yield "swapped", "weaker moved", pcap(each(swapped(small, chance), lambda s: ether(0x800, ipv4(s))))
    whole = list(cut(segments, 32000))
    for name, backwards in (("fragments", False), ("fragments backwards", True)):
        yield name, "moved", pcap([
            (s.time, ether(0x800, fragment)) for number, s in enumerate(whole)
            for fragment in fragments(s, number, 1400, backwards)])
    yield "ipv6 fragments", "moved six", pcap([
        (s.time, ether(0x86dd, fragment)) for number, s in enumerate(whole)
        for fragment in fragments6(s, number, 1400)])


# What depends on the wrapping alone, always.
ALWAYS = {"file", "format", "compression", "bytes", "interfaces", "ip", "memory"}
# What depends on which packet it was in, and so on when.
MOVED = {"first_frame", "last_frame", "frames", "last", "latency_us", "flush_order", "message",
         "witnesses", "tcp", "flush_request", "flush", "time", "end", "request_frame", "reply_frame",
         "truncated_frames", "max_in_flight", "start", "unflushed_oldest", "wireshark",
         "unflushed_since", "nonsense_frame", "closed", "heard", "left_open"}


def reduce(value, without, six_to_four):
    if isinstance(value, dict):
        return {key: reduce(inner, without, six_to_four) for key, inner in value.items()
                if key not in without}
    if isinstance(value, list):
        return [reduce(inner, without, six_to_four) for inner in value]
    if isinstance(value, str) and six_to_four:
        for address, old in six_to_four:
            value = value.replace(address, old)
    return value


def audit(path):
    run = subprocess.run([BIN / "nbdaudit", "--format=json", path], stdin=subprocess.DEVNULL,
                         stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=300,
                         env=dict(os.environ, LC_ALL="C.UTF-8"))
    lines = [json.loads(line) for line in run.stdout.decode(errors="surrogateescape").splitlines()]
    return run.returncode, lines, run.stderr.decode(errors="replace")


def compare(kind, wanted, said, addresses):
    without = set(ALWAYS)
    if "weaker" in kind:
        wanted, said = ([line for line in lines if line["type"] in ("connection", "export")]
                        for lines in (wanted, said))
        without |= {"flush_order", "unflushed_writes", "unflushed_bytes", "unflushed_since"}
    if "moved" in kind or kind == "close":
        without |= MOVED
    six_to_four = addresses if "six" in kind else None
    a = [reduce(line, without, None) for line in wanted]
    b = [reduce(line, without, six_to_four) for line in said]
    if without & MOVED:
        # In the order of their end, which may be another now.
        a.sort(key=lambda line: json.dumps(line, sort_keys=True))
        b.sort(key=lambda line: json.dumps(line, sort_keys=True))
    if a == b:
        return None
    for left, right in zip(a, b):
        if left != right:
            keys = [key for key in {**left, **right} if left.get(key) != right.get(key)]
            return "\n".join("    %s: %s\n      now: %s" % (
                key, json.dumps(left.get(key))[:300], json.dumps(right.get(key))[:300])
                for key in keys[:4]) + "\n    in %s" % json.dumps(left)[:200]
    return "    %d lines, now %d: %s" % (len(a), len(b), [line["type"] for line in b])


def read(path):
    """The segments of a pcap file of Ethernet, IPv4 and TCP; None if it is something else."""
    data = path.read_bytes()
    if path.suffix == ".zst":
        data = subprocess.run(["zstd", "-dc", path], stdout=subprocess.PIPE, check=True).stdout
    elif path.suffix == ".gz":
        data = gzip.decompress(data)
    if len(data) < 24:
        return None
    magic, linktype = struct.unpack_from("<I", data)[0], struct.unpack_from("<I", data, 20)[0]
    if magic not in (0xa1b2c3d4, 0xa1b23c4d) or linktype not in (ETHERNET, SLL, SLL2):
        return None
    unit = 1 if magic == 0xa1b23c4d else 1000
    head, kind = {ETHERNET: (14, 12), SLL: (16, 14), SLL2: (20, 0)}[linktype]
    at, segments = 24, []
    while at < len(data):
        if at + 16 > len(data):
            return None
        seconds, fraction, length, original = struct.unpack_from("<IIII", data, at)
        packet = data[at + 16:at + 16 + length]
        at += 16 + length
        if len(packet) != original:
            return None
        ip = packet[head:]
        if packet[kind:kind + 2] != b"\x08\x00" or ip[9] != 6 or ip[6] & 0x3f or ip[7]:
            return None
        segments.append(Segment(seconds * 10**9 + fraction * unit, ip))
    return segments


def main():
    parser = argparse.ArgumentParser(description="the same traffic in other wrappings")
    parser.add_argument("--keep", type=pathlib.Path, help="where captures that differ are kept")
    parser.add_argument("--share", default="1/1", metavar="I/N", help="one in N wrappings")
    parser.add_argument("capture", nargs="*", type=pathlib.Path)
    arguments = parser.parse_args()
    captures = arguments.capture or sorted((ROOT / "samples").glob("*.pcap*"))
    part, parts = map(int, arguments.share.split("/"))
    compared = differing = used = made = 0
    with tempfile.TemporaryDirectory(prefix="nbdscope-rewrap-") as work:
        for capture in captures:
            segments = read(capture)
            if not segments:
                print("%s: not plain Ethernet and IPv4, left out" % capture.name)
                continue
            used += 1
            status, wanted, _ = audit(capture)
            addresses = [("[%s]" % ipaddress.ip_address(six(address)),
                          str(ipaddress.ip_address(address)))
                         for s in segments for address in (s.source, s.target)]
            addresses = list(dict.fromkeys(addresses))
            for name, kind, data in wrappings(segments, capture.name):
                made += 1
                if made % parts != part - 1:
                    continue
                path = pathlib.Path(work) / "capture"
                path.write_bytes(data)
                now, said, errors = audit(path)
                compared += 1
                difference = compare(kind, wanted, said, addresses)
                if now != status and "weaker" not in kind:
                    difference = "    exit status %d, now %d %s\n%s" % (status, now, errors,
                                                                       difference or "")
                if difference:
                    differing += 1
                    print("%s, %s:\n%s" % (capture.name, name, difference))
                    if arguments.keep:
                        arguments.keep.mkdir(exist_ok=True)
                        shutil.copy(path, arguments.keep / ("%s.%s" % (
                            capture.name.split(".pcap")[0], name.replace(" ", "-"))))
    print("%d captures, %d wrappings compared, %d differ" % (used, compared, differing))
    return 1 if differing or not compared else 0


if __name__ == "__main__":
    sys.exit(main())
