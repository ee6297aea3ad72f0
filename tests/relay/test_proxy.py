# SPDX-License-Identifier: GPL-2.0-or-later
"""The relay as a proxy: every byte, in order, with back pressure and ends as they come,
whatever the audit does."""

import contextlib
import hashlib
import os
import random
import resource
import signal
import socket
import struct
import subprocess
import threading
import time
import unittest

import relaying
from relaying import receive_all, sending, wait_until

MIB = 1 << 20
ANY = (0, 1, 3)  # port 10809 makes it NBD, which it is not


def reset(sock):
    """Breaks a connection of TCP off."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


class Bytes(relaying.Plain):
    def both_ways(self, kind):
        """Random pieces in both directions at once, on several connections."""
        relay, connection = self.pair(kind)
        faults = []

        def talk(seed):
            chance = random.Random(seed)
            client, server = connection_of[seed]
            data = [chance.randbytes(8 * MIB), chance.randbytes(8 * MIB)]

            def send(sock, what, pieces):
                at = 0
                while at < len(what):
                    size = pieces.choice((1, 17, 4096, 70000, 1 << 19))
                    sock.sendall(what[at:at + size])
                    at += size
                sock.shutdown(socket.SHUT_WR)

            senders = [threading.Thread(target=send, args=(sock, what, random.Random(seed + n)))
                       for n, (sock, what) in enumerate(((client, data[0]), (server, data[1])))]
            for sender in senders:
                sender.start()
            heard = {}
            readers = [threading.Thread(target=lambda s=sock, n=n: heard.update({n: receive_all(s)}))
                       for n, sock in ((0, server), (1, client))]
            for thread in readers:
                thread.start()
            for thread in senders + readers:
                thread.join(relaying.SECONDS)
            for n in (0, 1):
                if heard.get(n) != data[n]:
                    faults.append((seed, n))

        connection_of = [connection() for _ in range(4)]
        talkers = [threading.Thread(target=talk, args=(seed,)) for seed in range(4)]
        for thread in talkers:
            thread.start()
        for thread in talkers:
            thread.join(2 * relaying.SECONDS)
        self.assertEqual(faults, [])
        relay.stop(status=ANY)  # it was no NBD

    def test_unix(self):
        self.both_ways("unix")

    def test_tcp(self):
        self.both_ways("tcp")

    def test_many(self):
        """More connections than fit into a queue, one after the other and at a time."""
        relay, connection = self.pair("unix")
        for _ in range(3):
            ends = [connection() for _ in range(60)]
            for number, (client, server) in enumerate(ends):
                client.sendall(b"%d" % number)
                self.assertEqual(server.recv(100), b"%d" % number)
            for client, server in ends:
                client.close()
                self.assertEqual(receive_all(server), b"")
                server.close()
        relay.stop(status=ANY)


class Ends(relaying.Plain):
    def half_close(self, kind):
        relay, connection = self.pair(kind)
        client, server = connection()
        client.sendall(b"question")
        client.shutdown(socket.SHUT_WR)
        self.assertEqual(receive_all(server), b"question")
        # the other direction goes on, for as long as it likes
        answer = random.Random(1).randbytes(3 * MIB)
        with sending(server, answer):
            got = b""
            while len(got) < len(answer):
                got += client.recv(1 << 20)
        self.assertEqual(got, answer)
        server.close()
        self.assertEqual(client.recv(1), b"")
        relay.stop(status=ANY)

    def test_half_close_unix(self):
        self.half_close("unix")

    def test_half_close_tcp(self):
        self.half_close("tcp")

    def test_reset_by_server(self):
        """What it had sent arrives, and then the reset."""
        relay, connection = self.pair("tcp")
        client, server = connection()
        client.sendall(b"x")
        self.assertEqual(server.recv(1), b"x")
        server.sendall(b"last words")
        self.assertEqual(client.recv(100), b"last words")
        reset(server)
        with self.assertRaises(ConnectionResetError):
            client.recv(1)
        relay.stop(status=ANY)

    def test_reset_by_client(self):
        relay, connection = self.pair("tcp")
        client, server = connection()
        client.sendall(b"last words")
        self.assertEqual(server.recv(100), b"last words")
        reset(client)
        with self.assertRaises(ConnectionResetError):
            server.recv(1)
        relay.stop(status=ANY)

    def test_deaf_server(self):
        """A server that closes while the client writes: the client is told, when it writes on,
        as without a relay."""
        relay, connection = self.pair("unix")
        client, server = connection()
        client.sendall(b"x")
        server.recv(1)
        server.close()
        self.assertEqual(receive_all(client), b"")
        with self.assertRaises((BrokenPipeError, ConnectionResetError)):
            for _ in range(1000):
                client.sendall(bytes(1 << 16))
        relay.stop(status=ANY)

    def test_signal(self):
        """All connections are closed, and what was sent before has arrived."""
        for number in (signal.SIGINT, signal.SIGTERM):
            self.doCleanups()
            self.setUp()
            relay, connection = self.pair("unix")
            client, server = connection()
            client.sendall(b"before")
            self.assertEqual(server.recv(100), b"before")
            relay.stop(number, status=ANY)
            self.assertEqual(receive_all(client), b"")
            self.assertEqual(receive_all(server), b"")
            self.assertFalse(os.path.exists(self.work / "relay"))


class Pressure(relaying.Plain):
    def test_slow_reader(self):
        """Who does not read keeps the other side waiting, and nobody else."""
        relay, connection = self.pair("unix", "--memory=16M")
        client, server = connection()
        data = random.Random(7).randbytes(48 * MIB)
        sent = 0
        server.setblocking(False)
        end = time.monotonic() + 1
        while time.monotonic() < end:
            try:
                sent += server.send(data[sent:sent + MIB])
            except BlockingIOError:
                time.sleep(0.01)
        self.assertLess(sent, 4 * MIB)
        # others go on meanwhile
        other, its = connection()
        with sending(its, data):
            self.assertEqual(hashlib.sha256(self.take(other, len(data))).digest(),
                             hashlib.sha256(data).digest())
        before = relay.memory()
        server.setblocking(True)
        with sending(server, data[sent:]):
            self.assertEqual(self.take(client, len(data)), data)
        # the ring, of 128 MiB, is what grows while it is first used; ThreadSanitizer
        # has several bytes for each of them
        if b"__tsan_init" not in (relaying.BIN / "nbdaudit").read_bytes():
            self.assertLess(relay.memory(), before + 160 * MIB)
        relay.stop(status=ANY)

    @staticmethod
    def take(sock, size):
        got = bytearray()
        while len(got) < size:
            got += sock.recv(1 << 20)
            time.sleep(0.0005)
        return bytes(got)


class Crowded(relaying.Plain):
    def test_crowded(self):
        """More clients than there may be descriptors for: they wait, and have their turn."""
        before = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (80, 80))
        try:
            relay, connection = self.pair("unix")
        finally:
            with contextlib.suppress(ValueError, PermissionError):
                resource.setrlimit(resource.RLIMIT_NOFILE, before)
        ends = [connection() for _ in range(8)]  # (80 - 64) / 2
        waiting = []
        for _ in range(4):
            client = socket.socket(socket.AF_UNIX)
            client.settimeout(relaying.SECONDS)
            client.connect(str(self.work / "relay"))
            client.sendall(b"late")
            waiting.append(client)
        wait_until(lambda: "clients wait" in relay.errors.read_text(), "a word")
        for client, server in ends:
            client.sendall(b"x")
            self.assertEqual(server.recv(1), b"x")
            client.close()
            server.close()
        for client in waiting:
            ours, _ = self.server.accept()
            self.assertEqual(ours.recv(4), b"late")
            ours.close()
            self.assertEqual(client.recv(1), b"")
            client.close()
        relay.stop(status=ANY)


class Refused(relaying.RelayTest):
    def test_refused(self):
        """The client gets a close, the user a line; and later clients what they want."""
        relay = self.relay("--severity=violation")
        for _ in range(3):
            with socket.socket(socket.AF_UNIX) as client:
                client.settimeout(relaying.SECONDS)
                client.connect(str(self.work / "relay"))
                self.assertEqual(client.recv(1), b"")
        wait_until(lambda: "the server is not reached" in relay.errors.read_text(), "a word")
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(str(self.work / "server"))
            server.listen()
            with socket.socket(socket.AF_UNIX) as client:
                client.settimeout(relaying.SECONDS)
                client.connect(str(self.work / "relay"))
                ours, _ = server.accept()
                ours.sendall(b"hello")
                self.assertEqual(client.recv(5), b"hello")
                ours.close()
        report = relay.stop(status=ANY)
        self.assertRegex(report.said, "the server is not reached, [123] clients? w(as|ere) closed: "
                                      "unix:server: No such file or directory")
        self.assertEqual(len(report.connections), 1)  # those that were refused are none

    def test_usage(self):
        for options, said in (
                (["--listen=unix:a"], "needs both"),
                (["--connect=unix:a"], "needs both"),
                (["--listen=unix:", "--connect=unix:b"], "has a path"),
                (["--listen=unix:" + "x" * 108, "--connect=unix:b"], "at most 107 bytes"),
                (["--listen=unix:a", "--connect=nowhere"], "is not unix:PATH"),
                (["--listen=unix:a", "--connect=:10809"], "has no host"),
                (["--listen=unix:a", "--connect=::1:10809"], "in brackets"),
                (["--listen=unix:a", "--connect=127.0.0.1:0"], "is not unix:PATH"),
                (["--listen=unix:a", "--connect=127.0.0.1:65536"], "is not unix:PATH"),
                (["--listen=unix:a", "--connect=vsock:1"], "vsock:CID:PORT"),
                (["--listen=unix:a", "--connect=vsock:*:1"], "vsock:CID:PORT"),
                (["--listen=unix:a", "--connect=unix:b", "file"], "no file and no filter"),
                (["--listen=unix:a", "--connect=unix:b", "-i", "lo"], "exclude each other"),
                (["--listen=unix:no/such/a", "--connect=unix:b"], "cannot listen on unix:no/such")):
            with self.subTest(options):
                run = subprocess.run([relaying.BIN / "nbdaudit", *options], cwd=self.work, text=True,
                                     stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                     stderr=subprocess.PIPE, timeout=relaying.SECONDS)
                self.assertEqual(run.returncode, 2)
                self.assertIn(said, run.stderr)


if __name__ == "__main__":
    unittest.main()
