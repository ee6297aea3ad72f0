# SPDX-License-Identifier: GPL-2.0-or-later
"""The same over a network that delays, loses, doubles and reorders: two hosts, made of
network namespaces, and a cable between them that this test is. Packets are those of a
real network card, 1500 bytes; both ends capture. An honest server must look honest from
either end, and a liar be convicted."""

import contextlib
import ctypes
import fcntl
import heapq
import os
import random
import select
import socket
import struct
import subprocess
import threading
import time
import unittest

import peers  # first: it ends the program where live tests cannot be run
import nbd
import client

SIZE = 4 << 20
CLONE_NEWNET = 0x40000000
SIOCETHTOOL = 0x8946
# ethtool's commands that switch something: checksums and segmentation by the card.
OFF = {"rx checksum": 0x15, "tx checksum": 0x17, "tso": 0x1f, "gso": 0x24, "gro": 0x2c}


def ip(*arguments):
    run = subprocess.run(["ip", *map(str, arguments)], stdin=subprocess.DEVNULL,
                         stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    if run.returncode:
        raise unittest.SkipTest("no network namespaces here: " + run.stderr.strip())


@contextlib.contextmanager
def inside(namespace):
    """This thread is in the network namespace meanwhile."""
    libc = ctypes.CDLL(None, use_errno=True)
    with open("/proc/thread-self/ns/net") as old, open("/run/netns/" + namespace) as new:
        if libc.setns(new.fileno(), CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), "setns")
        try:
            yield
        finally:
            libc.setns(old.fileno(), CLONE_NEWNET)


def card_does_nothing(interface):
    """Packets leave as they are on the wire: no offloading."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        for what in OFF.values():
            value = ctypes.create_string_buffer(struct.pack("II", what, 0))
            request = struct.pack("16sP", interface.encode(), ctypes.addressof(value))
            with contextlib.suppress(OSError):  # it never did
                fcntl.ioctl(any_socket, SIOCETHTOOL, request)


class Cable(threading.Thread):
    """Carries frames between two interfaces, as badly as it is told."""

    def __init__(self, ends, seed, delay, jitter, loss, doubling):
        super().__init__(daemon=True)
        self.chance = random.Random(seed)
        self.delay, self.jitter, self.loss, self.doubling = delay, jitter, loss, doubling
        self.sockets = []
        for end in ends:
            s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
            s.bind((end, 0))
            s.setblocking(False)
            self.sockets.append(s)
        self.way = []  # (when it arrives, number, where, frame)
        self.number = self.lost = self.overtaken = 0
        self.cut = threading.Event()

    def run(self):
        newest = [0.0, 0.0]
        while not self.cut.is_set():
            wait = max(0, self.way[0][0] - time.monotonic()) if self.way else 0.1
            readable, _, _ = select.select(self.sockets, [], [], wait)
            for s in readable:
                end = self.sockets.index(s)
                with contextlib.suppress(BlockingIOError):
                    while True:
                        frame, address = s.recvfrom(65536)
                        if address[2] == socket.PACKET_OUTGOING:
                            continue
                        if self.chance.random() < self.loss:
                            self.lost += 1
                            continue
                        for _ in range(2 if self.chance.random() < self.doubling else 1):
                            at = time.monotonic() + self.delay + self.jitter * self.chance.random()
                            self.overtaken += at < newest[end]
                            newest[end] = max(newest[end], at)
                            heapq.heappush(self.way, (at, self.number, 1 - end, frame))
                            self.number += 1
            while self.way and self.way[0][0] <= time.monotonic():
                _, _, end, frame = heapq.heappop(self.way)
                with contextlib.suppress(OSError):
                    self.sockets[end].send(frame)

    def stop(self):
        self.cut.set()
        self.join()
        for s in self.sockets:
            s.close()


class Network(peers.LiveTest):
    address = "192.0.2.2"

    def setUp(self):
        super().setUp()
        if os.geteuid():
            self.skipTest("only root makes network namespaces")
        # The client's host, the server's, and where the cable's ends are.
        *self.names, self.between = ["nbdscope-%d-%s" % (os.getpid(), name) for name in "csw"]
        self.ends = ["cable0", "cable1"]
        for name in (self.between, *self.names):
            ip("netns", "add", name)
            self.addCleanup(ip, "netns", "del", name)
        for name, end, address in zip(self.names, self.ends, ("192.0.2.1", self.address)):
            ip("-n", name, "link", "add", "eth0", "type", "veth", "peer", "name", end, "netns",
               self.between)
            ip("-n", name, "addr", "add", address + "/24", "dev", "eth0")
            for namespace, interface in ((name, "eth0"), (self.between, end)):
                with inside(namespace):
                    card_does_nothing(interface)
                ip("-n", namespace, "link", "set", interface, "up")

    def plug(self, seed, **quality):
        with inside(self.between):
            cable = Cable(self.ends, seed, **quality)
        cable.start()
        self.addCleanup(cable.stop)
        return cable

    def nbdkit(self, *arguments):
        self.spawn(["ip", "netns", "exec", self.names[1], "nbdkit", "-f", "-p", self.port,
                    "-P", self.work / "ready", *arguments], stderr=self.work / "nbdkit.log")
        self.ready()
        return "nbd://%s:%d/" % (self.address, self.port)

    @contextlib.contextmanager
    def captured(self):
        """Captures at both ends; gives the files' paths."""
        paths, running = [self.work / "client.pcap", self.work / "server.pcap"], []
        for name, path in zip(self.names, paths):
            log = path.with_suffix(".log")
            running.append((log, self.spawn(
                ["ip", "netns", "exec", name, "tcpdump", "-i", "eth0", "-s0", "-U", "-B", "65536",
                 "-w", path, "tcp"], stderr=log)))
            peers.wait_until(lambda: "listening on" in log.read_text(), "tcpdump")
        yield paths
        time.sleep(2)  # last packets on the cable, and in tcpdump
        for log, process in running:
            process.terminate()
            process.wait(peers.SECONDS)
            assert "\n0 packets dropped by kernel" in log.read_text(), log.read_text()

    def work_on(self, uri, turns, seed):
        """Commands in flight on four connections, on ranges that overlap; and from time to
        time data that has to be there on another connection."""
        chance = random.Random(seed)
        reads = 0
        with inside(self.names[0]):
            connections = [client.connect(uri) for _ in range(4)]
        buffers = []
        for turn in range(turns):
            h = chance.choice(connections)
            offset, length = chance.randrange(16) * 2048, chance.choice([512, 4096, 16384])
            fua = nbd.CMD_FLAG_FUA if chance.random() < 0.1 else 0
            kind = chance.choices(["read", "write", "zero", "flush", "across"], [8, 6, 2, 2, 1])[0]
            if kind == "read":
                buffers.append(nbd.Buffer(length))
                h.aio_pread(buffers[-1], offset)
            elif kind == "write":
                data = client.pattern("turn %d" % turn, length)
                buffers.append(nbd.Buffer.from_bytearray(data))
                h.aio_pwrite(buffers[-1], offset, flags=fua)
            elif kind == "zero":
                h.aio_zero(length, offset, flags=fua)
            elif kind == "flush":
                h.aio_flush()
            else:
                self.settle(connections)
                data = client.pattern("turn %d" % turn, length)
                writer, reader = chance.sample(connections, 2)
                writer.pwrite(data, offset)
                chance.choice(connections).flush()
                self.assertEqual(reader.pread(length, offset), data)
                reads += 1
            while h.aio_in_flight() > 8:
                h.poll(-1)
        self.settle(connections)
        for h in connections:
            h.shutdown()
        return reads

    @staticmethod
    def settle(connections):
        for h in connections:
            while h.aio_in_flight():
                h.poll(-1)

    def honest(self, seed, turns=250, **quality):
        cable = self.plug(seed, **quality)
        uri = self.nbdkit("memory", str(SIZE))
        with self.captured() as paths:
            reads = self.work_on(uri, turns, seed)
        for path in paths:
            report = self.audit(path)
            self.assert_honest(report)
            for connection in report.connections:
                self.assertEqual(connection["gaps"], 0)
                self.assertEqual(connection["unanswered"], 0)
            self.assertGreaterEqual(report.summary["checked"]["reads"], reads // 2)
        counts = [self.audit(path).counts() for path in paths]
        self.assertEqual(counts[0], counts[1])
        return cable

    def test_honest_far(self):
        self.honest(1, delay=0.002, jitter=0, loss=0, doubling=0)

    def test_honest_bad(self):
        cable = self.honest(2, delay=0.0005, jitter=0.0015, loss=0.01, doubling=0.02)
        self.assertGreater(cable.lost, 0)
        self.assertGreater(cable.overtaken, 0)

    def lie(self, turns=10, busy=False, **quality):
        """With `busy` the reader has other requests in flight, before and behind."""
        self.plug(3, **quality)
        uri = self.nbdkit("--filter=multi-conn", "python", peers.MAKE / "private_cache.py",
                          "multi-conn-mode=unsafe")
        lies = 0
        with self.captured() as paths:
            with inside(self.names[0]):
                a, b = client.connect(uri), client.connect(uri)
            for turn in range(turns):
                offset = turn * 32768
                before = b.pread(4096, offset)
                # Within 50 us the order of two connections is not trusted.
                time.sleep(0.0005)
                a.pwrite(client.pattern("turn %d" % turn, 4096), offset)
                a.flush()
                time.sleep(0.0005)
                others = [nbd.Buffer(512) for _ in range(10 if busy else 0)]
                for other in others[:6]:
                    b.aio_pread(other, turns * 32768)
                found = nbd.Buffer(4096)
                b.aio_pread(found, offset)
                for other in others[6:]:
                    b.aio_pread(other, turns * 32768)
                self.settle([b])
                lies += found.to_bytearray() == before
            a.shutdown()
            b.shutdown()
        self.assertEqual(lies, turns)
        return [self.audit(path, status=(0, 1)).found("stale-read-after-flush") for path in paths]

    def test_liar_far(self):
        for found in self.lie(delay=0.002, jitter=0, loss=0, doubling=0):
            self.assertEqual([finding["severity"] for finding in found], ["violation"] * 10)

    def test_liar_bad(self):
        """Where bytes came late it is less certain when they left; but most is proved."""
        for found in self.lie(delay=0.001, jitter=0, loss=0.02, doubling=0.02):
            proved = [finding for finding in found if finding["severity"] == "violation"]
            self.assertGreaterEqual(len(proved), 5)

    def test_liar_overtaken(self):
        """Requests that overtake each other cost little of that."""
        for found in self.lie(turns=20, busy=True, delay=0.0005, jitter=0.001, loss=0, doubling=0):
            proved = [finding for finding in found if finding["severity"] == "violation"]
            self.assertGreaterEqual(len(proved), 15)


if __name__ == "__main__":
    unittest.main(verbosity=2)
