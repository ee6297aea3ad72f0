# SPDX-License-Identifier: GPL-2.0-or-later
"""A server that promises CAN_MULTI_CONN over private caches: each read that missed
flushed data is found, with the frames of the write, the flush and the read."""

import socket
import struct
import unittest

import peers  # first: it ends the program where live tests cannot be run
import nbd
import client

LENGTH = 1024
REQUEST, SIMPLE_REPLY, CHUNK = 0x25609513, 0x67446698, 0x668E33EF
WRITE, FLUSH = 1, 3


class Connection:
    """A libnbd connection that knows its port and its last cookie: libnbd counts them
    from 1."""

    def __init__(self, uri):
        self.nbd = client.connect(uri)
        with socket.socket(fileno=self.nbd.aio_get_fd()) as shared:
            self.port = shared.getsockname()[1]
            shared.detach()
        self.cookie = 0

    def do(self, call, *arguments):
        result = call(*arguments)
        self.cookie += 1
        return result


class Liar(peers.LiveTest):
    def packets(self, path):
        """(frame, source port, destination port, payload) of each packet, as tshark reads
        the capture."""
        said = self.run_command("tshark", "-r", path, "-Y", "tcp.len > 0", "-T", "fields",
                                "-e", "frame.number", "-e", "tcp.srcport", "-e", "tcp.dstport",
                                "-e", "tcp.payload")
        for line in said.splitlines():
            frame, source, destination, payload = line.split("\t")
            yield int(frame), int(source), int(destination), bytes.fromhex(payload)

    def frame(self, packets, header, source=None, destination=None):
        """The one frame from or to this port with these bytes in it."""
        (frame,) = [packet[0] for packet in packets
                    if (packet[1] == source or packet[2] == destination) and header in packet[3]]
        return frame

    def request_frame(self, packets, connection, cookie, command, flags=0):
        return self.frame(packets, struct.pack(">IHHQ", REQUEST, flags, command, cookie),
                          source=connection.port)

    def simple_reply_frame(self, packets, connection, cookie):
        return self.frame(packets, struct.pack(">IIQ", SIMPLE_REPLY, 0, cookie),
                          destination=connection.port)

    def read_reply_frame(self, packets, connection, cookie):
        # One chunk of data, which is the last (flag DONE, type OFFSET_DATA); small
        # enough for one segment on loopback.
        return self.frame(packets, struct.pack(">IHHQ", CHUNK, 1, 1, cookie),
                          destination=connection.port)

    def lie(self, mode, fua):
        self.nbdkit("--filter=multi-conn", "python", peers.MAKE / "private_cache.py",
                    "multi-conn-mode=" + mode)
        expected = []
        with self.captured() as path:
            a, b = Connection(self.uri), Connection(self.uri)
            for turn in range(5):
                offset = turn * 65536
                before = b.do(b.nbd.pread, LENGTH, offset)
                data = client.pattern("turn %d" % turn, LENGTH)
                a.do(a.nbd.pwrite, data, offset, nbd.CMD_FLAG_FUA if fua else 0)
                write = a.cookie
                if not fua:
                    a.do(a.nbd.flush)
                after = b.do(b.nbd.pread, LENGTH, offset)
                if after == before:
                    expected.append((offset, write, a.cookie, b.cookie))
                else:
                    self.assertEqual(after, data)
            a.nbd.flush()
            a.nbd.shutdown()
            b.nbd.shutdown()
        return path, a, b, expected

    def check_lies(self, rule, path, a, b, expected):
        self.assertEqual(len(expected), 5)
        report = self.audit(path, status=(1,))
        found = report.found(rule)
        self.assertEqual(
            [finding for finding in report.findings if finding["severity"] == "violation"], found)
        self.assertEqual(len(found), len(expected))
        self.assertEqual(report.summary["verdict"], "violations")
        self.assertEqual(report.summary["findings"]["violation"], len(expected))
        packets = list(self.packets(path))
        fua = rule == "stale-read-after-fua"
        for finding, (offset, write, flush, read) in zip(found, expected):
            self.assertEqual(finding["side"], "server")
            self.assertEqual(finding["command"], "NBD_CMD_READ")
            self.assertEqual(finding["connection"], report.connection(b.port)["id"])
            # The bytes that are stale: in the range read, at least a sector.
            self.assertGreaterEqual(finding["offset"], offset)
            self.assertLessEqual(finding["offset"] + finding["length"], offset + LENGTH)
            wanted = {
                "write_request": self.request_frame(packets, a, write, WRITE, 1 if fua else 0),
                "write": self.simple_reply_frame(packets, a, write),
                "read_request": self.request_frame(packets, b, read, 0),
                "read": self.read_reply_frame(packets, b, read),
            }
            if not fua:
                wanted["flush_request"] = self.request_frame(packets, a, flush, FLUSH)
                wanted["flush"] = self.simple_reply_frame(packets, a, flush)
            said = {role: finding["frames"].get(role) for role in wanted}
            self.assertEqual(said, wanted)

    def test_unsafe_flush(self):
        self.check_lies("stale-read-after-flush", *self.lie("unsafe", False))

    def test_unsafe_fua(self):
        self.check_lies("stale-read-after-fua", *self.lie("unsafe", True))

    def test_emulated(self):
        path, _, _, expected = self.lie("emulate", False)
        self.assertEqual(expected, [])
        self.assert_honest(self.audit(path))

    def test_emulated_fua(self):
        path, _, _, expected = self.lie("emulate", True)
        self.assertEqual(expected, [])
        self.assert_honest(self.audit(path))

    def test_no_promise(self):
        """The same without CAN_MULTI_CONN is the client's own fault."""
        path, _, _, expected = self.lie("disable", False)
        self.assertEqual(len(expected), 5)
        report = self.audit(path)
        self.assert_honest(report)
        (finding,) = report.found("multiplex-without-multi-conn")
        self.assertEqual(finding["severity"], "hazard")
        (export,) = report.exports
        self.assertIs(export["multi_conn"], False)

    def test_fail_on(self):
        """The exit status follows --fail-on, and --severity leaves findings out."""
        path, _, _, _ = self.lie("unsafe", False)
        self.audit(path, "--fail-on=never", status=(0,))
        self.audit(path, "--fail-on=hazard", status=(1,))
        report = self.audit(path, "--severity=violation", status=(1,))
        self.assertEqual({finding["severity"] for finding in report.findings}, {"violation"})


class FlagAtBit8(peers.LiveTest):
    """A server that numbers SEND_CACHE as qemu 3.0 did."""

    def drive(self, cache):
        self.python_server(peers.MAKE / "bit8_server.py")
        with self.captured() as path:
            connections = []
            for _ in range(2):
                h = client.handle(strict=False)
                h.set_request_block_size(False)
                h.connect_uri(self.uri + "/disk")
                self.assertTrue(h.can_multi_conn())
                connections.append(h)
            a, b = connections
            a.pwrite(client.pattern("first", 4096), 0)
            a.flush()
            if cache:
                b.cache(65536, 0)
            self.assertEqual(b.pread(4096, 0), client.pattern("first", 4096))
            a.shutdown()
            b.shutdown()
        report = self.audit(path)
        found = report.found("cache-flag-at-bit-8")
        self.assertGreaterEqual(len(found), 1)
        for finding in found:
            self.assertEqual(finding["severity"], "hazard")
            self.assertEqual(finding["side"], "server")
        for connection in report.connections:
            # The bit is shown as what the protocol says it is.
            self.assertIn("NBD_FLAG_CAN_MULTI_CONN", connection["transmission_flags"])
            self.assertNotIn("NBD_FLAG_SEND_CACHE", connection["transmission_flags"])
        self.assertEqual(report.summary["findings"]["violation"], 0)

    def test_by_command(self):
        self.drive(True)

    def test_by_block_sizes(self):
        self.drive(False)


class Zeroes(peers.LiveTest):
    def test_nbd_server_beyond_64_mib(self):
        """nbd-server 3.24 zeroes the first 64 MiB of a longer WRITE_ZEROES, and says
        that all is done."""
        mib = 1 << 20
        self.nbd_server(self.image(96 * mib), "flush = true", "fua = true")
        with self.captured() as path:
            h = client.connect(self.uri + "/disk")
            h.pwrite(client.pattern("far", 4096), 72 * mib)
            h.zero(80 * mib, 0)
            wrong = h.pread(4096, 72 * mib) != bytes(4096)
            h.shutdown()
        if not wrong:
            self.skipTest("this nbd-server has no such fault")
        report = self.audit(path, status=(1,))
        (finding,) = report.found("zeroes-not-read-back")
        self.assertEqual(finding["severity"], "violation")
        self.assertEqual(finding["side"], "server")
        self.assertGreaterEqual(finding["offset"], 72 * mib)
        self.assertLessEqual(finding["offset"] + finding["length"], 72 * mib + 4096)


if __name__ == "__main__":
    unittest.main(verbosity=2)
