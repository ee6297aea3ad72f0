# SPDX-License-Identifier: GPL-2.0-or-later
"""libnbdscope through its Python binding: it says what nbdaudit says, of files, of packets
and of streams; messages and their fields; a real server behind a relay; errors.

NBDSCOPE_LIBRARY names the library; NBDSCOPE_SANITIZED says that it has sanitizers, so that
Python has to be started anew with theirs.
"""

import errno
import gc
import os
import pathlib
import random
import re
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
import unittest

ROOT = pathlib.Path(os.environ.get("NBDSCOPE_SOURCE_DIR",
                                   pathlib.Path(__file__).resolve().parent.parent.parent))
BIN = pathlib.Path(os.environ.get("NBDSCOPE_BIN", ROOT / "build" / "bin"))
MAKE = ROOT / "samples" / "make"
SAMPLES = sorted((ROOT / "samples").glob("*.pcap*"))
LIAR = ROOT / "samples" / "multi-conn-unsafe.pcap"

if os.environ.get("NBDSCOPE_SANITIZED") and "LD_PRELOAD" not in os.environ:
    runtimes = [subprocess.run(["cc", "-print-file-name=" + name], check=True, text=True,
                               stdout=subprocess.PIPE).stdout.strip()
                for name in ("libasan.so", "libubsan.so")]
    # Python itself frees little at its end.
    os.environ["ASAN_OPTIONS"] = os.environ.get("ASAN_OPTIONS", "") + ":detect_leaks=0"
    os.execve(sys.executable, [sys.executable, *sys.argv],
              dict(os.environ, LD_PRELOAD=" ".join(runtimes)))

sys.path.insert(0, str(ROOT / "bindings" / "python"))
import nbdscope  # noqa: E402
from nbdscope import CLIENT, SERVER  # noqa: E402

FORMS = re.findall(r'^\t\{"(\w+)", NBDS_REPORT_\w+\},$',
                   (ROOT / "analyzer" / "library" / "audit.c").read_text(), re.M)


def clean_environment():
    """That of a program that is not sanitized."""
    return {name: value for name, value in os.environ.items() if name != "LD_PRELOAD"}


def nbdaudit(*arguments):
    return subprocess.run([BIN / "nbdaudit", *arguments], text=True, stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=120,
                          env=clean_environment()).stdout


def packets(path):
    """(time, bytes, length on the wire) of a pcap file of this byte order, and its link type."""
    data = path.read_bytes()
    magic, _, _, _, _, _, linktype = struct.unpack_from("<IHHiIII", data)
    assert magic in (0xa1b2c3d4, 0xa1b23c4d), hex(magic)
    scale = 1000 if magic == 0xa1b2c3d4 else 1
    found, at = [], 24
    while at < len(data):
        seconds, fraction, captured, length = struct.unpack_from("<IIII", data, at)
        found.append((seconds * 10**9 + fraction * scale, data[at + 16:at + 16 + captured], length))
        at += 16 + captured
    return linktype, found


# --- a connection as bytes, by the specification ---

GO_EXPORT = struct.pack(">HQH", 0, 1 << 20, 0x0001 | 0x0004 | 0x0008 | 0x0100)


def handshake():
    """What both sides say until the export is entered: (side, bytes)."""
    option = 0x49484156454f5054
    return [
        (SERVER, b"NBDMAGIC" + struct.pack(">QH", option, 3)),
        (CLIENT, struct.pack(">I", 3)),
        (CLIENT, struct.pack(">QIIIH", option, 7, 6, 0, 0)),
        (SERVER, struct.pack(">QIII", 0x3e889045565a9, 7, 3, len(GO_EXPORT)) + GO_EXPORT),
        (SERVER, struct.pack(">QIII", 0x3e889045565a9, 7, 1, 0)),
    ]


def request(command, cookie, offset=0, data=b"", length=None, flags=0):
    return struct.pack(">IHHQQI", 0x25609513, flags, command, cookie, offset,
                       len(data) if length is None else length) + data


def reply(cookie, data=b"", error=0):
    return struct.pack(">IIQ", 0x67446698, error, cookie) + data


READ, WRITE, DISC, FLUSH = range(4)


class Files(unittest.TestCase):
    def test_reports_are_those_of_nbdaudit(self):
        """Of each sample in JSON, and of one in each form, byte for byte."""
        self.assertGreater(len(SAMPLES), 15)
        self.assertGreaterEqual(len(FORMS), 4)
        for path in SAMPLES:
            with self.subTest(path.name):
                audit = nbdscope.Audit()
                audit.file(path)
                for form in FORMS if path == LIAR else ("json",):
                    self.assertEqual(audit.report(form), nbdaudit("--format", form, path))

    def test_page(self):
        """It has charts of what happened while it was read."""
        for path in SAMPLES[::4] + [LIAR]:
            with self.subTest(path.name):
                audit = nbdscope.Audit(page=True)
                audit.file(path)
                self.assertEqual(audit.report("html"), nbdaudit("--format", "html", path))
                self.assertEqual(audit.report("html"), audit.report("html"))
                self.assertEqual(audit.report(), nbdaudit("--format", "json", path))
        audit = nbdscope.Audit(page=True)
        with self.assertRaises(nbdscope.Error):
            audit.file("/nonexistent")
        self.assertIn("No such file", audit.report("html"))
        nbdscope.Audit(page=True).stream()
        with self.assertRaises(nbdscope.Error):
            nbdscope.Audit().report("html")

    def test_findings(self):
        audit = nbdscope.Audit()
        audit.file(LIAR)
        found = audit.findings()
        self.assertEqual(audit.verdict, "violations")
        self.assertEqual([f.rule for f in found], ["stale-read-after-flush"] * 4)
        first = found[0]
        self.assertEqual((first.ref, first.level, first.level_name, first.at_fault),
                         ("V2", nbdscope.VIOLATION, "violation", "server"))
        self.assertEqual((first.connection, first.export, first.command), (2, b"", "NBD_CMD_READ"))
        self.assertEqual((first.offset, first.length), (0, 1024))
        self.assertEqual(first.frames["read"], 40)
        self.assertEqual(first.frames["flush"], 38)
        self.assertEqual(audit.findings(), found)

    def test_packets(self):
        """Packets one by one say what their file says."""
        linktype, found = packets(LIAR)
        audit, whole = nbdscope.Audit(), nbdscope.Audit()
        for when, data, length in found:
            audit.packet(data, linktype, length, when)
        whole.file(LIAR)
        self.assertEqual(audit.verdict, whole.verdict)
        self.assertEqual(audit.findings(), whole.findings())
        self.assertIn('"frames":%d,' % len(found), audit.report())
        self.assertIn('"format":"packets"', audit.report())


class Streams(unittest.TestCase):
    """Two connections: one writes and flushes, the other reads."""

    def run_history(self, second_read, step=1000000, **options):
        audit = nbdscope.Audit(**options)
        streams = [audit.stream(), audit.stream()]
        numbers = {}
        now = 1700000000 * 10**9

        def tell(which, side, data, name=None):
            nonlocal now
            now += step
            numbers[name] = streams[which].data(side, data, now)

        for which in (0, 1):
            for side, data in handshake():
                tell(which, side, data)
        old, new = b"\0" * 512, b"new!" * 128
        tell(1, CLIENT, request(READ, 1, length=512))
        tell(1, SERVER, reply(1, old))
        tell(0, CLIENT, request(WRITE, 1, 0, new), "write_request")
        tell(0, SERVER, reply(1), "write")
        tell(0, CLIENT, request(FLUSH, 2), "flush_request")
        tell(0, SERVER, reply(2), "flush")
        tell(1, CLIENT, request(READ, 2, length=512), "read_request")
        tell(1, SERVER, reply(2, second_read or new), "read")
        early = audit.findings()
        for which in (0, 1):
            tell(which, CLIENT, request(DISC, 9))
            for side in (CLIENT, SERVER):
                now += step
                streams[which].end(side, now)
            streams[which].close(now)
        audit.finish()
        return audit, numbers, early

    def test_stale_read(self):
        audit, numbers, _ = self.run_history(b"\0" * 512)
        self.assertEqual(audit.verdict, "violations")
        (found,) = [f for f in audit.findings() if f.level == nbdscope.VIOLATION]
        self.assertEqual(found.rule, "stale-read-after-flush")
        for role in ("write_request", "write", "flush_request", "flush", "read_request", "read"):
            self.assertEqual(found.frames[role], numbers[role], role)
        self.assertIn('"format":"streams"', audit.report())
        self.assertIn('"end":"disconnect"', audit.report())

    def test_honest(self):
        audit, _, _ = self.run_history(None)
        self.assertEqual(audit.verdict, "clean", audit.report("text"))
        self.assertEqual(audit.findings(), [])
        self.assertIn('"checked":{"reads":1,"bytes":512}', audit.report())

    def test_foreign_data(self):
        """Data that nobody wrote: a suspect, and with exclusive a violation."""
        for exclusive, level in ((False, "suspect"), (True, "violation")):
            audit, _, _ = self.run_history(b"else" * 128, exclusive=exclusive)
            found = [f for f in audit.findings() if f.rule == "read-unexplained-data"]
            self.assertEqual([f.level_name for f in found], [level])

    def test_time_that_stands_still_proves_nothing(self):
        audit, _, _ = self.run_history(b"\0" * 512, step=0)
        self.assertNotIn(nbdscope.VIOLATION, [f.level for f in audit.findings()])

    def test_certain_at_once(self):
        """What later traffic makes certain is told before the end."""
        audit = nbdscope.Audit()
        stream, now = audit.stream(), 1700000000 * 10**9
        for side, data in handshake() + [(CLIENT, request(WRITE, 1, 0, b"new!" * 128)),
                                         (SERVER, reply(1)), (CLIENT, request(99, 2))]:
            now += 1000000
            stream.data(side, data, now)
        self.assertEqual([f.at_fault for f in audit.findings()][:1], ["client"])

    def test_gap(self):
        """A write that was not seen may be what was read."""
        audit = nbdscope.Audit()
        stream, now = audit.stream(), 1700000000 * 10**9
        hidden = request(WRITE, 2, 0, b"seen" * 128)
        for side, data in handshake() + [
                (CLIENT, request(WRITE, 1, 0, b"new!" * 128)), (SERVER, reply(1)), (CLIENT, None),
                (SERVER, reply(2)), (CLIENT, request(READ, 3, length=512)),
                (SERVER, reply(3, b"seen" * 128))]:
            now += 1000000
            if data is None:
                stream.gap(side, len(hidden), now)
            else:
                stream.data(side, data, now)
        self.assertNotIn(nbdscope.VIOLATION, [f.level for f in audit.findings()])
        self.assertIn('"gaps":1', audit.report())

    def history(self, *talk):
        """The findings of one connection that goes on like this: (side, bytes)."""
        audit, now = nbdscope.Audit(), 1700000000 * 10**9
        stream = audit.stream()
        for side, data in handshake() + list(talk) + [(CLIENT, request(DISC, 99))]:
            now += 1000000
            stream.data(side, data, now)
        stream.end(CLIENT, now)
        stream.end(SERVER, now)
        stream.close(now)
        return [f.rule for f in (audit.finish(), audit.findings())[1]
                if f.level == nbdscope.VIOLATION]

    def test_rules(self):
        """The protocol's rules hold, too."""
        self.assertEqual(self.history(), [])
        self.assertEqual(self.history((CLIENT, request(READ, 1, 1 << 20, length=512)),
                                      (SERVER, reply(1, error=22))), ["request-beyond-export"])
        self.assertEqual(self.history((SERVER, reply(5))), ["reply-to-no-request"])

    def test_answered_before_it_came(self):
        """The reply passes before the payload does: no server can have it."""
        write = request(WRITE, 1, 0, b"new!" * 128)
        self.assertEqual(self.history((CLIENT, write[:100]), (SERVER, reply(1)),
                                      (CLIENT, write[100:])), ["reply-before-payload"])
        self.assertEqual(self.history((CLIENT, write[:100]), (CLIENT, write[100:]),
                                      (SERVER, reply(1))), [])

    def test_addresses(self):
        audit = nbdscope.Audit()
        for client, server in (("192.0.2.7:4000", "192.0.2.1:10809"),
                               ("[2001:db8::7]:4000", "[2001:db8::1]:10809")):
            stream = audit.stream(client, server)
            stream.data(SERVER, handshake()[0][1])
        report = audit.report()
        for address in ("192.0.2.7:4000", "[2001:db8::1]:10809"):
            self.assertIn('"%s"' % address, report)
        for bad in ("192.0.2.1", "192.0.2.1:", "192.0.2.1:0", "192.0.2.1:65536", "[::1:5", "::1:5",
                    "host:5", "[1.2.3.4]:5", "1" * 90 + ":5", "", ":", "]:1", "[:1", "[]:1"):
            with self.subTest(bad), self.assertRaisesRegex(nbdscope.Error,
                                                           os.strerror(errno.EINVAL)):
                nbdscope.Audit().stream(server=bad)


class Messages(unittest.TestCase):
    def conversation(self):
        return handshake() + [
            (CLIENT, request(WRITE, 7, 4096, b"data" * 128, flags=1)), (SERVER, reply(7)),
            (CLIENT, request(READ, 8, 4096, length=512)), (SERVER, reply(8, b"data" * 128)),
            (CLIENT, request(DISC, 9))]

    NAMES = ["NBD_GREETING", "NBD_CLIENT_FLAGS", "NBD_OPT_GO", "NBD_REP_INFO", "NBD_REP_ACK",
             "NBD_CMD_WRITE", "NBD_SIMPLE_REPLY", "NBD_CMD_READ", "NBD_SIMPLE_REPLY",
             "NBD_CMD_DISC"]

    def test_messages(self):
        decoder = nbdscope.Decoder()
        found = [m for side, data in self.conversation() for m in decoder.feed(side, data)]
        self.assertEqual([m.name for m in found], self.NAMES)
        self.assertEqual([m.number for m in found], list(range(1, 11)))
        self.assertTrue(all(m.is_message for m in found))
        fields = {f.name: f for f in found[5].fields}
        self.assertEqual(fields["nbd.from"].number, 4096)
        self.assertEqual(fields["nbd.cmd.flags.fua"].number, 1)
        self.assertEqual(found[5].payload_length, 512)
        self.assertEqual(found[8].answers, "NBD_CMD_READ")
        self.assertTrue(found[8].final)
        self.assertIn("NBD_CMD_WRITE", found[5].summary)
        info = {f.name: f for f in found[3].fields}
        self.assertIn("NBD_FLAG_CAN_MULTI_CONN", info["nbd.export.trans.flags"].text)
        self.assertEqual(info["nbd.export.size"].number, 1 << 20)

    def test_byte_by_byte(self):
        payload = bytearray()
        decoder = nbdscope.Decoder(on_payload=lambda number, at, data: payload.extend(data))
        names = [m.name for side, data in self.conversation()
                 for byte in data for m in decoder.feed(side, bytes([byte]))]
        self.assertEqual(names, self.NAMES)
        self.assertEqual(bytes(payload), b"data" * 256)

    def test_strings_and_nonsense(self):
        decoder = nbdscope.Decoder()
        talk = handshake()
        for side, data in talk[:2]:
            decoder.feed(side, data)
        name = b"disk\xff\0name"
        (go,) = decoder.feed(CLIENT, struct.pack(">QIII", 0x49484156454f5054, 7, len(name) + 6,
                                                 len(name)) + name + b"\0\0")
        self.assertIn(name, [f.bytes for f in go.fields])
        told = decoder.feed(SERVER, b"rubbish and more rubbish, which is no option reply")
        self.assertEqual([m.name for m in told][:1], ["nonsense"])
        self.assertFalse(told[0].is_message)
        told = decoder.gap(CLIENT, 10) + decoder.end(CLIENT)
        self.assertFalse(any(m.is_message for m in told))
        with self.assertRaises(nbdscope.Error):
            decoder.feed(CLIENT, b"x")
        with self.assertRaises(nbdscope.Error):
            decoder.feed(2, b"x")

    def test_middle(self):
        decoder = nbdscope.Decoder(middle=True)
        found = []
        for cookie in range(1, 20):
            found += decoder.feed(CLIENT, request(READ, cookie, cookie * 512, length=512))
            found += decoder.feed(SERVER, reply(cookie, b"\0" * 512))
        self.assertIn("NBD_CMD_READ", [m.name for m in found])


class Relay(unittest.TestCase):
    """A real server behind a relay, real clients before it."""

    def relayed(self, server, script):
        needed = [program for program in ("nbdkit",) if not shutil.which(program)]
        if subprocess.run([sys.executable, "-c", "import nbd"], stderr=subprocess.DEVNULL,
                          env=clean_environment()).returncode:
            needed.append("python3-libnbd")
        if needed:
            (self.fail if os.environ.get("NBDSCOPE_REQUIRE_PEERS") else self.skipTest)(
                "not installed: " + ", ".join(needed))
        work = self.enterContext(tempfile.TemporaryDirectory())
        path = work + "/socket"
        nbdkit = subprocess.Popen(["nbdkit", "-f", "-U", path, *server], env=clean_environment())
        try:
            end = time.monotonic() + 60
            while not os.path.exists(path) and nbdkit.poll() is None and time.monotonic() < end:
                time.sleep(0.02)
            with nbdscope.Relay(path) as relay:
                subprocess.run([sys.executable, MAKE / script, "nbd://%s:%d" % relay.address],
                               check=True, timeout=120, env=clean_environment(),
                               stdout=subprocess.DEVNULL)
        finally:
            nbdkit.terminate()
            nbdkit.wait()
        return relay.audit

    def test_liar(self):
        audit = self.relayed(["--filter=multi-conn", "python", MAKE / "private_cache.py",
                              "multi-conn-mode=unsafe"], "flush_across.py")
        self.assertEqual([f.rule for f in audit.findings() if f.level == nbdscope.VIOLATION],
                         ["stale-read-after-flush"] * 4, audit.report("text"))

    def test_honest(self):
        audit = self.relayed(["memory", "1M"], "flush_across.py")
        self.assertEqual(audit.verdict, "clean", audit.report("text"))

    def test_no_server(self):
        """A client is let go at once; and close() ends while one is connected."""
        with nbdscope.Relay("/nonexistent/socket") as relay:
            with socket.create_connection(relay.address) as client:
                self.assertEqual(client.recv(1), b"")
        listener = socket.create_server(("127.0.0.1", 0))
        relay = nbdscope.Relay(listener.getsockname())
        with socket.create_connection(relay.address) as client:
            server, _ = listener.accept()
            server.sendall(b"NBDMAGIC")
            self.assertEqual(client.recv(8), b"NBDMAGIC")
            relay.close()
            self.assertEqual(client.recv(1), b"")
        server.close()
        listener.close()
        self.assertEqual(relay.audit.verdict, "unaudited")

    def test_finished_too_early(self):
        """Who asks for the verdict while clients are there cuts them off, and hangs nobody."""
        with socket.create_server(("127.0.0.1", 0)) as listener, \
                nbdscope.Relay(listener.getsockname()) as relay, \
                socket.create_connection(relay.address) as client:
            server, _ = listener.accept()
            client.settimeout(60)
            server.sendall(b"NBDMAGIC")
            self.assertEqual(client.recv(8), b"NBDMAGIC")
            self.assertEqual(relay.audit.verdict, "unaudited")
            server.sendall(b"IHAVEOPT")
            self.assertEqual(client.recv(8), b"")
            with socket.create_connection(relay.address) as another:
                another.settimeout(60)
                self.assertEqual(another.recv(8), b"")
            server.close()


def mutated(chance, data):
    data = bytearray(data)
    for _ in range(chance.choice((0, 0, 0, 1, 3))):
        if data:
            data[chance.randrange(len(data))] = chance.randrange(256)
    return bytes(data[:chance.randrange(len(data) + 1)] if chance.random() < 0.05 else data)


def anything(chance):
    """Calls of all kinds, with bytes of all kinds."""
    audit = nbdscope.Audit(memory=chance.choice((1 << 20, 4 << 20, None)),
                           exclusive=chance.random() < 0.5, page=chance.random() < 0.5)
    decoder = nbdscope.Decoder(chance.random() < 0.3, lambda number, at, data: None)
    streams = [audit.stream() for _ in range(chance.randrange(1, 5))]
    now = 10**18
    for _ in range(chance.randrange(60)):
        now += chance.choice((0, 1000, 10**6, -10**9, 10**12))
        if chance.random() < 0.05:
            now = chance.choice((-2**63 + 1, 2**63 - 10**13, 0, 10**18))
        stream, side, what = chance.choice(streams), chance.randrange(2), chance.random()
        talk = []
        if what < 0.3:
            talk = handshake()
        elif what < 0.85 and side == CLIENT:
            talk = [(side, request(chance.randrange(10), chance.randrange(6),
                                   chance.randrange(0, 1 << 20, 512),
                                   b"x" * chance.choice((0, 512, 4096)),
                                   chance.choice((None, 512, 1 << 31)), chance.randrange(16)))]
        elif what < 0.85:
            talk = [(side, reply(chance.randrange(6), b"y" * chance.choice((0, 512, 4096)),
                                 chance.choice((0, 5))))]
        try:
            for side, data in talk:
                stream.data(side, mutated(chance, data), now)
                decoder.feed(side, mutated(chance, data))
            if 0.85 < what < 0.9:
                stream.gap(side, chance.choice((1, 100, 1 << 62)), now)
                decoder.gap(side, chance.choice((1, 1 << 62)))
            elif 0.9 < what < 0.93:
                stream.end(side, now)
                decoder.end(side)
            elif what > 0.97:
                stream.close(now)
        except nbdscope.Error:
            pass
    if chance.random() < 0.8:
        for form in FORMS:
            audit.report(form)


class Errors(unittest.TestCase):
    def number(self, number, call, *arguments):
        with self.assertRaisesRegex(nbdscope.Error, re.escape(os.strerror(number))):
            call(*arguments)

    def test_ways_are_not_mixed(self):
        audit = nbdscope.Audit()
        stream = audit.stream()
        self.number(errno.EBUSY, audit.packet, b"x")
        with self.assertRaises(nbdscope.Error):
            audit.file(LIAR)
        audit.finish()
        self.number(errno.EBUSY, stream.data, CLIENT, b"x")
        self.number(errno.EBUSY, audit.stream)
        self.number(errno.EBUSY, stream.close)
        audit = nbdscope.Audit()
        audit.packet(b"x" * 60)
        self.number(errno.EBUSY, audit.stream)

    def test_arguments(self):
        self.number(errno.EINVAL, lambda: nbdscope.Audit(memory=1))
        self.number(errno.EINVAL, lambda: nbdscope.Audit(ports=(65536,)))
        self.number(errno.ENOSPC, lambda: nbdscope.Audit(ports=range(1, 100)))
        self.number(errno.EINVAL, nbdscope.Audit().report, "nonsense")
        self.number(errno.EINVAL, lambda: nbdscope.Audit().packet(b"xx", length=1))
        stream = nbdscope.Audit()
        stream = stream.stream()
        self.number(errno.EINVAL, stream.data, 7, b"x")
        stream.end(CLIENT)
        self.number(errno.EINVAL, stream.data, CLIENT, b"x")

    def test_nul(self):
        """A NUL does not end a name early."""
        with self.assertRaises(ValueError):
            nbdscope.Audit().file(str(LIAR) + "\0.pcap")
        with self.assertRaises(ValueError):
            nbdscope.Audit().stream("192.0.2.1:5\0:6")
        with self.assertRaises(ValueError):
            nbdscope.Audit().report("json\0html")

    def test_files(self):
        audit = nbdscope.Audit()
        with self.assertRaisesRegex(nbdscope.Error, "No such file"):
            audit.file("/nonexistent.pcap")
        self.assertEqual(audit.verdict, "unaudited")
        with tempfile.NamedTemporaryFile(suffix=".pcap") as cut:
            cut.write(LIAR.read_bytes()[:-10])
            cut.flush()
            audit = nbdscope.Audit()
            with self.assertRaises(nbdscope.Error):
                audit.file(cut.name)
            self.assertIn('"complete":false', audit.report())
            self.assertEqual(audit.verdict, "violations")

    def test_nothing(self):
        audit = nbdscope.Audit()
        self.assertEqual(audit.verdict, "unaudited")
        self.assertIn('"verdict":"unaudited"', audit.report())
        audit = nbdscope.Audit()
        audit.finish()
        self.assertEqual(audit.verdict, "unaudited")

    def test_freed_in_the_middle(self):
        for _ in range(3):
            audit = nbdscope.Audit()
            stream = audit.stream()
            stream.data(SERVER, handshake()[0][1])
            del stream, audit
        gc.collect()

    def test_little_memory(self):
        """Findings beyond the memory are said to be missing, never dropped in silence."""
        audit = nbdscope.Audit(memory=4 << 20)
        for _ in range(3):
            stream = audit.stream()
            for side, data in handshake():
                stream.data(side, data)
            for cookie in range(1000):
                stream.data(CLIENT, request(READ, cookie, 1 << 20, length=512))
                stream.data(SERVER, reply(cookie, error=22))
        with self.assertRaises(nbdscope.Error):
            audit.finish()
        self.assertGreater(len(audit.findings()), 100)
        with self.assertRaises(nbdscope.Error):
            audit.report()

    def test_limits(self):
        """More bytes than can be counted."""
        decoder = nbdscope.Decoder()
        self.number(errno.EINVAL, decoder.gap, SERVER, 1 << 63)
        decoder.gap(SERVER, (1 << 63) - 1)
        self.number(errno.EINVAL, decoder.feed, SERVER, b"x")
        audit = nbdscope.Audit()
        stream = audit.stream()
        stream.gap(CLIENT, (1 << 63) - 1)
        self.number(errno.EINVAL, stream.data, CLIENT, b"x")

    def test_anything(self):
        """Whatever comes, in whatever order: nothing breaks, and reports are made."""
        for seed in range(100):
            anything(random.Random(seed))

    def test_threads(self):
        """Audits have nothing in common."""
        results = []

        def one():
            audit = nbdscope.Audit()
            audit.file(LIAR)
            results.append((audit.verdict, len(audit.findings())))

        threads = [threading.Thread(target=one) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(results, [("violations", 4)] * 4)


if os.environ.get("NBDSCOPE_SANITIZED"):
    class Leaks(unittest.TestCase):
        def test_example(self):
            """A program that frees what it has leaves nothing."""
            library = pathlib.Path(os.environ["NBDSCOPE_LIBRARY"]).parent
            program = self.enterContext(tempfile.TemporaryDirectory()) + "/audit"
            environment = dict(clean_environment(), LD_LIBRARY_PATH=str(library),
                               ASAN_OPTIONS="exitcode=99:detect_leaks=1")
            subprocess.run(["cc", "-fsanitize=address,undefined", "-I", ROOT / "include", "-o", program,
                            ROOT / "examples" / "library" / "audit.c", "-L", library, "-lnbdscope"],
                           check=True, env=environment)
            for path, status in ((LIAR, 1), ("/nonexistent", 2)):
                done = subprocess.run([program, path], env=environment, stdout=subprocess.DEVNULL,
                                      stderr=subprocess.PIPE, text=True)
                self.assertEqual(done.returncode, status, done.stderr)


if __name__ == "__main__":
    unittest.main(verbosity=2)
