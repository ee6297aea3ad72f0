# SPDX-License-Identifier: GPL-2.0-or-later
"""Honest servers under several connections, driven by everybody's clients: what was
done is counted as the clients count it, and no violation is seen."""

import json
import random

import nbd

import client
import peers

SIZE = 4 << 20


class Honest(peers.LiveTest):
    def servers(self):
        """Starts each server that keeps its multi-conn promise, one after another."""

        def nbdkit(*arguments):
            server = self.nbdkit(*arguments)
            return self.uri + "/", server.terminate

        def qemu(*arguments):
            server = self.qemu_nbd("-e", "8", "--discard=unmap", "-x", "disk", *arguments)
            return self.uri + "/disk", server.terminate

        def nbd_server(*lines):
            self.nbd_server(self.image(SIZE), *lines)
            return self.uri + "/disk", lambda: None

        self.run_command("qemu-img", "create", "-f", "qcow2", "disk.qcow2", str(SIZE))
        for name, start in (
                ("nbdkit memory", lambda: nbdkit("memory", str(SIZE))),
                ("nbdkit file", lambda: nbdkit("file", self.image(SIZE))),
                ("nbdkit cow", lambda: nbdkit("--filter=cow", "memory", str(SIZE))),
                ("nbdkit emulate", lambda: nbdkit(
                    "--filter=multi-conn", "python", peers.MAKE / "private_cache.py",
                    "multi-conn-mode=emulate")),
                ("qemu-nbd raw", lambda: qemu("-f", "raw", self.image(SIZE))),
                ("qemu-nbd qcow2", lambda: qemu("-f", "qcow2", "disk.qcow2")),
                ("nbd-server", lambda: nbd_server("flush = true", "fua = true", "trim = true"))):
            with self.subTest(name):
                self.port = self.free_port()
                self.uri = "nbd://127.0.0.1:%d" % self.port
                (self.work / "ready").unlink(missing_ok=True)
                uri, stop = start()
                yield name, uri
                stop()

    def test_libnbd_in_flight(self):
        """Commands in flight on four connections at once, on ranges that overlap."""
        for seed, (name, uri) in enumerate(self.servers()):
            chance = random.Random(seed)
            sent = {"NBD_CMD_READ": 0, "NBD_CMD_WRITE": 0, "NBD_CMD_FLUSH": 0,
                    "NBD_CMD_WRITE_ZEROES": 0, "NBD_CMD_DISC": 4}
            with self.captured(name + ".pcap") as path:
                connections = [client.connect(uri) for _ in range(4)]
                buffers = []
                for turn in range(400):
                    h = chance.choice(connections)
                    # One region for all: eight blocks.
                    offset, length = chance.randrange(16) * 2048, chance.choice([512, 2048, 8192])
                    kind = chance.choices(list(sent)[:4], [8, 6, 3, 1])[0]
                    fua = nbd.CMD_FLAG_FUA if chance.random() < 0.1 else 0
                    sent[kind] += 1
                    if kind == "NBD_CMD_READ":
                        buffers.append(nbd.Buffer(length))
                        h.aio_pread(buffers[-1], offset)
                    elif kind == "NBD_CMD_WRITE":
                        data = client.pattern("turn %d" % turn, length)
                        buffers.append(nbd.Buffer.from_bytearray(data))
                        h.aio_pwrite(buffers[-1], offset, flags=fua)
                    elif kind == "NBD_CMD_WRITE_ZEROES":
                        h.aio_zero(length, offset, flags=fua)
                    else:
                        h.aio_flush()
                    while h.aio_in_flight() > 8:
                        h.poll(-1)
                    if chance.random() < 0.02:
                        self.settle(connections)
                self.settle(connections)
                for h in connections:
                    h.shutdown()
            report = self.audit(path)
            self.assert_honest(report)
            self.assertEqual(dict(report.counts()), sent)
            self.assertEqual(sum(c.get("unanswered", 0) for c in report.connections), 0)

    @staticmethod
    def settle(connections):
        for h in connections:
            while h.aio_in_flight():
                h.poll(-1)

    def test_libnbd_across(self):
        """Written and flushed on one connection, read on another: it must be there, and
        the auditor must have looked."""
        for seed, (name, uri) in enumerate(self.servers()):
            chance = random.Random(100 + seed)
            with self.captured(name + ".pcap") as path:
                connections = [client.connect(uri) for _ in range(3)]
                read = 0
                for turn in range(40):
                    writer, reader = chance.sample(connections, 2)
                    offset = chance.randrange(32) * 4096
                    data = client.pattern("turn %d" % turn, 4096)
                    reader.pread(4096, offset)
                    if chance.random() < 0.5:
                        writer.pwrite(data, offset)
                        writer.flush()
                    else:
                        writer.pwrite(data, offset, nbd.CMD_FLAG_FUA)
                    self.assertEqual(reader.pread(4096, offset), data)
                    read += 2
                for h in connections:
                    h.shutdown()
            report = self.audit(path)
            self.assert_honest(report)
            self.assertEqual(report.counts()["NBD_CMD_READ"], read)
            # Those after a flush are judged at least.
            self.assertGreaterEqual(report.summary["checked"]["reads"], 40)
            self.assertGreaterEqual(report.summary["checked"]["bytes"], 40 * 4096)

    def test_fio(self):
        for name, uri in self.servers():
            with self.captured(name + ".pcap") as path:
                # Each job has a part of the disk of its own, since it verifies it.
                self.run_command(
                    "fio", "--name=live", "--ioengine=nbd", "--uri=" + uri, "--rw=randrw",
                    "--bssplit=1k/50:4k/40:64k/10", "--iodepth=8", "--numjobs=3", "--size=512k",
                    "--offset_increment=1m", "--fsync=16", "--verify=crc32c", "--verify_fatal=1",
                    "--io_size=1m", "--randseed=7", "--output-format=json", "--output=fio.json")
            # With verify on, reads made to verify are counted apart from others by
            # some versions; writes and syncs are plain.
            jobs = json.loads((self.work / "fio.json").read_text())["jobs"]
            report = self.audit(path)
            self.assert_honest(report)
            self.assertEqual(report.counts()["NBD_CMD_WRITE"],
                             sum(job["write"]["total_ios"] for job in jobs))
            self.assertEqual(report.bytes("NBD_CMD_WRITE"),
                             sum(job["write"]["io_bytes"] for job in jobs))
            self.assertEqual(report.counts()["NBD_CMD_FLUSH"],
                             sum(job["sync"]["total_ios"] for job in jobs))

    def test_nbdcopy(self):
        source = self.work / "source.img"
        source.write_bytes(random.Random(1).randbytes(1 << 20))
        for name, uri in self.servers():
            with self.captured(name + ".pcap") as path:
                self.run_command("nbdcopy", "--connections=4", "--request-size=32768",
                                 "--flush", source, uri)
                self.run_command("nbdcopy", "--connections=4", "--request-size=32768",
                                 "--allocated", uri, "copy.img")
            copied = (self.work / "copy.img").read_bytes()
            self.assertEqual(copied[:1 << 20], source.read_bytes())
            report = self.audit(path)
            self.assert_honest(report)
            self.assertEqual(report.bytes("NBD_CMD_WRITE"), 1 << 20)
            self.assertGreaterEqual(report.bytes("NBD_CMD_READ"), 1 << 20)
            self.assertGreaterEqual(report.counts()["NBD_CMD_FLUSH"], 1)

    def test_qemu_io(self):
        for name, uri in self.servers():
            with self.captured(name + ".pcap") as path:
                said = self.run_command(
                    "qemu-io", "-f", "raw", "-c", "aio_write -P 1 0 64k",
                    "-c", "aio_write -P 2 64k 64k", "-c", "aio_read 256k 32k", "-c", "aio_flush",
                    "-c", "write -f -P 3 128k 4k", "-c", "read -P 1 0 64k", "-c", "read -P 3 128k 4k",
                    "-c", "write -z 64k 64k", "-c", "read -P 0 64k 64k", uri)
            self.assertNotIn("Pattern verification failed", said)
            report = self.audit(path)
            self.assert_honest(report)
            self.assertEqual(report.bytes("NBD_CMD_WRITE"), 132 << 10)
            self.assertEqual(report.counts()["NBD_CMD_WRITE_ZEROES"], 1)
            # qemu reads to probe too, so at least its commands' bytes.
            self.assertGreaterEqual(report.bytes("NBD_CMD_READ"), (32 + 64 + 4 + 64) << 10)


if __name__ == "__main__":
    peers.main()
