# SPDX-License-Identifier: GPL-2.0-or-later
"""Real servers and clients over Unix sockets with the relay between them: what arrives is
what was sent, what is audited is all of it, and who lies is found."""

import os
import random
import socket
import stat
import subprocess
import threading
import time
import unittest
import unittest.mock

import relaying
from relaying import digest, wait_until

relaying.require("nbdkit", "qemu-nbd", "qemu-img", "nbdcopy", "capinfos")

try:
    import client
    import nbd
except ImportError:
    relaying.require("the nbd module of python3-libnbd")

MIB = 1 << 20


class Copies(relaying.RelayTest):
    def check(self, report, written, read):
        """All that the clients did was seen, and nothing is wrong with it."""
        self.assertEqual(report.said, "")
        self.assertEqual(report.capture["dropped"], 0)
        counts = report.counts()
        self.assertEqual(counts["NBD_CMD_WRITE", "bytes"], written)
        self.assertEqual(counts["NBD_CMD_READ", "bytes"], read)
        self.assertEqual(report.found("violation") + report.found("suspect"), [])

    def test_nbdkit_nbdcopy(self):
        """Eight connections at a time, there and back; and what was saved says the same."""
        self.nbdkit("memory", "64M")
        relay = self.relay("--write=saved.pcapng")
        source = self.random_file("source", 64)
        self.run_command("nbdcopy", "--threads=8", "--connections=8", "--flush", source, self.uri())
        self.run_command("nbdcopy", "--threads=8", "--connections=8", self.uri(), "copy")
        report = relay.stop()
        self.assertEqual(digest(self.work / "copy"), digest(source))
        self.assertGreaterEqual(len(report.connections), 16)
        self.check(report, 64 * MIB, 64 * MIB)
        self.assertEqual(report.summary["judged"]["bytes"], 64 * MIB)
        self.assertEqual(report.capture["file"], "relay unix:%s → unix:server" % (self.work / "relay"))
        self.assertFalse(os.path.exists(self.work / "relay"))
        saved = self.audit("saved.pcapng")
        self.assertEqual(saved.counts(), report.counts())
        self.assertEqual(len(saved.connections), len(report.connections))
        self.assertEqual(saved.found("hazard"), report.found("hazard"))
        said = self.run_command("capinfos", "saved.pcapng")
        self.assertIn("Comment = Synthetic TCP: no such packets were sent.", said)
        self.assertIn("Strict time order:   True", said)

    def test_qemu(self):
        """qemu-nbd and qemu-img convert with eight coroutines, and what it wrote read by others."""
        source = self.random_file("source", 48)
        (self.work / "disk").write_bytes(bytes(48 * MIB))
        self.spawn("qemu-nbd", "-t", "-f", "raw", "-k", self.work / "server", "-e", "16",
                   "disk")
        wait_until((self.work / "server").exists, "qemu-nbd")
        relay = self.relay()
        self.run_command("qemu-img", "convert", "-n", "-m", "8", "-W", "-f", "raw", "-O", "raw",
                         source, self.uri())
        self.run_command("nbdcopy", self.uri(), "copy")
        self.run_command("qemu-img", "compare", "-f", "raw", "-F", "raw", source, self.uri())
        report = relay.stop()
        self.assertEqual(digest(self.work / "copy"), digest(source))
        self.assertEqual(digest(self.work / "disk"), digest(source))
        self.check(report, 48 * MIB, 2 * 48 * MIB)
        self.assertGreaterEqual(len(report.connections), 3)

    def test_over_tcp(self):
        """A Unix socket before a server of TCP."""
        port = relaying.free_port()
        self.spawn("nbdkit", "-f", "-i", "127.0.0.1", "-p", port, "-P", "ready", "memory", "16M")
        wait_until((self.work / "ready").exists, "nbdkit")
        relay = self.relay(connect="localhost:%d" % port)
        source = self.random_file("source", 16)
        self.run_command("nbdcopy", source, self.uri())
        self.run_command("nbdcopy", self.uri(), "copy")
        report = relay.stop()
        self.assertEqual(digest(self.work / "copy"), digest(source))
        self.check(report, 16 * MIB, 16 * MIB)
        for connection in report.connections:
            self.assertEqual(connection["server"], "127.0.0.1:%d" % port)
            self.assertTrue(connection["client"].startswith("127.0.0.1:"))


    def test_families(self):
        """A server has one address, however its clients come: else it would be taken for
        two, of which one may show what the other one never wrote."""
        self.nbdkit("memory", "1M")
        port = relaying.free_port()
        relay = self.relay(listen=":%d" % port)
        hosts = ["127.0.0.1", "[::1]"]
        with socket.socket(socket.AF_INET6) as probe:
            try:
                probe.bind(("::1", 0))
            except OSError:
                self.skipTest("this machine has no IPv6")
        for host in hosts:
            h = client.connect("nbd://%s:%d" % (host, port))
            h.pwrite(bytes(4096), 0)
            h.pread(4096, 0)
            h.shutdown()
        report = relay.stop()
        self.assertEqual(len(report.connections), len(hosts))
        self.assertEqual(len({item["server"] for item in report.connections}), 1)

    def test_tls(self):
        """TLS over a Unix socket, with the key log that the client writes meanwhile."""
        (self.work / "keys.psk").write_text("alice:%s\n" % os.urandom(16).hex())
        log = self.work / "keys.log"
        log.touch()
        self.nbdkit("--tls=require", "--tls-psk=keys.psk", "memory", "4M")
        relay = self.relay("--tls-keys=keys.log")
        source = self.random_file("source", 4)
        uri = "nbds+unix://alice@/?socket=%s&tls-psk-file=%s" % (
            self.work / "relay", self.work / "keys.psk")
        with unittest.mock.patch.dict(os.environ, SSLKEYLOGFILE=str(log)):
            self.run_command("nbdcopy", "--flush", source, uri)
            self.run_command("nbdcopy", uri, "copy")
        report = relay.stop()
        self.assertEqual(digest(self.work / "copy"), digest(source))
        self.check(report, 4 * MIB, 4 * MIB)


class Liar(relaying.RelayTest):
    """private_cache.py has a cache for each connection, whatever it promises."""

    def lie(self, mode, *options, status=(0,), between=lambda: None):
        self.nbdkit("--filter=multi-conn", "python", relaying.MAKE / "private_cache.py",
                    "multi-conn-mode=" + mode)
        relay = self.relay("--write=saved.pcapng", *options)
        a, b = client.connect(self.uri()), client.connect(self.uri())
        missed = 0
        for turn in range(5):
            between()
            offset = turn * 65536
            b.pread(1024, offset)
            data = client.pattern("turn %d" % turn, 1024)
            a.pwrite(data, offset)
            a.flush()
            missed += b.pread(1024, offset) != data
        a.shutdown()
        b.shutdown()
        report = relay.stop(status=status)
        return report, self.audit("saved.pcapng", status=status), missed

    def test_unsafe(self):
        for report in self.lie("unsafe", status=(1,)):
            if isinstance(report, int):
                self.assertEqual(report, 5)
                continue
            self.assertEqual(report.found("violation"), ["stale-read-after-flush"] * 5)

    def test_emulate(self):
        report, saved, missed = self.lie("emulate")
        self.assertEqual(missed, 0)
        self.assertEqual(report.found("violation") + report.found("suspect"), [])
        self.assertEqual(saved.found("violation") + saved.found("suspect"), [])

    def test_disable(self):
        """Without the promise it is the client's own fault."""
        report, saved, missed = self.lie("disable")
        self.assertEqual(missed, 5)
        self.assertEqual(report.found("violation") + report.found("suspect"), [])
        self.assertEqual(saved.found("violation") + saved.found("suspect"), [])


class Honest(relaying.RelayTest):
    """Servers that keep what they promise, under clients that do all at once."""

    def drive(self, seconds):
        faults = []

        def work(number):
            chance = random.Random(number)
            try:
                h = client.connect(self.uri())
                end = time.monotonic() + seconds
                while time.monotonic() < end:
                    # several in flight, over few blocks that all connections share
                    buffers, cookies = [], []
                    for _ in range(chance.randrange(1, 12)):
                        offset = chance.randrange(16) * 4096
                        what = chance.randrange(8)
                        if what < 3:
                            data = nbd.Buffer.from_bytearray(
                                bytearray(chance.randbytes(4096)))
                            buffers.append(data)
                            cookies.append(h.aio_pwrite(
                                data, offset, flags=nbd.CMD_FLAG_FUA if what == 0 else 0))
                        elif what < 7:
                            data = nbd.Buffer(4096)
                            buffers.append(data)
                            cookies.append(h.aio_pread(data, offset))
                        else:
                            cookies.append(h.aio_flush())
                    for cookie in cookies:
                        while not h.aio_command_completed(cookie):
                            h.poll(-1)
                h.shutdown()
            except Exception as error:  # for the thread that waits
                faults.append(error)

        threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(relaying.SECONDS)
        self.assertEqual(faults, [])

    def check(self, report):
        self.assertEqual(report.found("violation") + report.found("suspect"), [])
        self.assertGreater(report.summary["judged"]["reads"], 100)

    def test_nbdkit(self):
        self.nbdkit("memory", "1M")
        relay = self.relay("--write=saved.pcapng")
        self.drive(1)
        self.check(relay.stop())
        self.check(self.audit("saved.pcapng"))


class Files(relaying.RelayTest):
    def test_mode(self):
        """Whom the server lets in the relay lets in."""
        self.nbdkit("memory", "1M")
        for mode in (0o700, 0o775):
            os.chmod(self.work / "server", mode)
            relay = self.relay()
            self.assertEqual(stat.S_IMODE(os.stat(self.work / "relay").st_mode), mode)
            relay.stop(status=(3,))

    def test_owner_alone(self):
        relay = self.relay(connect="127.0.0.1:%d" % relaying.free_port())
        self.assertEqual(stat.S_IMODE(os.stat(self.work / "relay").st_mode), 0o600)
        relay.stop(status=(3,))

    def test_stale(self):
        """What a program left that is gone is replaced, what one listens on is not, nor is
        what is no socket."""
        with socket.socket(socket.AF_UNIX) as gone:
            gone.bind(str(self.work / "relay"))
        relay = self.relay()
        inode = os.stat(self.work / "relay").st_ino
        self.refuses("a program listens there")
        self.assertEqual(os.stat(self.work / "relay").st_ino, inode)
        relay.stop(status=(3,))
        (self.work / "relay").write_text("precious")
        self.refuses("it is no socket")
        self.assertEqual((self.work / "relay").read_text(), "precious")

    def refuses(self, said):
        run = subprocess.run([relaying.BIN / "nbdaudit", "--listen=unix:%s" % (self.work / "relay"),
                              "--connect=unix:server"], cwd=self.work, text=True,
                             stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                             stderr=subprocess.PIPE, timeout=relaying.SECONDS)
        self.assertEqual(run.returncode, 2)
        self.assertIn(said, run.stderr)

    def test_killed(self):
        """Nothing is left even of who is killed; and what another one has put there stays."""
        relay = self.relay()
        with socket.socket(socket.AF_UNIX) as client:  # it has begun once this is answered
            client.connect(str(self.work / "relay"))
            self.assertEqual(client.recv(1), b"")
        relay.process.kill()
        relay.process.wait()
        wait_until(lambda: not os.path.exists(self.work / "relay"), "the file to go")
        relay = self.relay()
        os.unlink(self.work / "relay")
        (self.work / "relay").write_text("another's")
        relay.stop(status=(3,))
        self.assertEqual((self.work / "relay").read_text(), "another's")


if __name__ == "__main__":
    unittest.main()
