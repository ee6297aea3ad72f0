# SPDX-License-Identifier: GPL-2.0-or-later
"""An audit that stands still, or is slow: the traffic goes on, the view is dropped and counted,
and nothing is proved with what is left of it."""

import os
import subprocess
import threading
import unittest

import relaying
from relaying import digest, wait_until

relaying.require("nbdkit", "nbdcopy")

try:
    import client
except ImportError:
    relaying.require("the nbd module of python3-libnbd")

MIB = 1 << 20


class Behind(relaying.RelayTest):
    def begin(self, *options):
        """The relay, whose audit stands still as nobody reads what it saves; and the end of
        that pipe."""
        os.mkfifo(self.work / "saved")
        pipe = os.open(self.work / "saved", os.O_RDONLY | os.O_NONBLOCK)
        self.addCleanup(lambda: os.close(pipe))
        return self.relay("--write=saved", "--overwrite", *options), pipe

    def drain(self, pipe):
        """From now on it is read, and counted; the count is for who has stopped the relay."""
        kept = []

        def read():
            os.set_blocking(pipe, True)
            with open(self.work / "saved.pcapng", "wb") as file:
                while data := os.read(pipe, MIB):
                    file.write(data)
            kept.append(True)

        reader = threading.Thread(target=read, daemon=True)
        reader.start()
        return reader

    def test_stands_still(self):
        """More than the ring holds passes without the audit; and what it then sees proves
        nothing, though the server lies before its eyes."""
        self.nbdkit("--filter=multi-conn", "python", relaying.MAKE / "private_cache.py",
                    "multi-conn-mode=unsafe", "size=%d" % (64 * MIB))
        relay, pipe = self.begin("--fail-on=never")
        a, b = client.connect(self.uri()), client.connect(self.uri())
        data = os.urandom(4 * MIB)
        for turn in range(32):  # there and back: twice what the ring holds
            a.pwrite(data, (turn % 8) * 4 * MIB)
            self.assertEqual(a.pread(4 * MIB, (turn % 8) * 4 * MIB), data)
        reader = self.drain(pipe)
        # it comes up to date again, says so, and sees lies
        wait_until(lambda: "the audit is behind" in relay.errors.read_text(), "a word")
        missed = 0
        for turn in range(5):
            offset = turn * 65536
            b.pread(1024, offset)
            text = client.pattern("turn %d" % turn, 1024)
            a.pwrite(text, offset)
            a.flush()
            missed += b.pread(1024, offset) != text
        a.shutdown()
        b.shutdown()
        report = relay.stop(status=(0,))
        reader.join(relaying.SECONDS)
        self.assertEqual(missed, 5)
        self.assertGreater(report.capture["dropped"], 500)
        self.assertRegex(report.said, "the audit (is|was) behind: [0-9]+ packets of it are missing; "
                                      "the traffic is not touched by that")
        self.assertEqual(report.found("violation"), [])
        # the saved file says what is missing, too
        saved = self.audit("saved.pcapng", status=(0, 1))
        self.assertEqual(saved.capture["dropped"], report.capture["dropped"])
        self.assertEqual(saved.found("violation"), [])

    def test_copies(self):
        """What arrives is what was sent."""
        self.nbdkit("memory", "96M")
        relay, pipe = self.begin()
        source = self.random_file("source", 96)
        self.run_command("nbdcopy", "--threads=4", "--connections=4", source, self.uri())
        self.run_command("nbdcopy", "--threads=4", "--connections=4", self.uri(), "copy")
        self.assertEqual(digest(self.work / "copy"), digest(source))
        reader = self.drain(pipe)
        report = relay.stop(status=(0, 3))
        reader.join(relaying.SECONDS)
        self.assertGreater(report.capture["dropped"], 0)
        self.assertRegex(report.said, "the audit (is|was) behind")


    def test_no_reader(self):
        """Nobody reads the report any more: the connections go on."""
        self.nbdkit("memory", "1M")
        ours, its = os.pipe()
        process = subprocess.Popen([relaying.BIN / "nbdaudit", "--messages",
                                    "--listen=unix:%s" % (self.work / "relay"),
                                    "--connect=unix:server"], cwd=self.work,
                                   stdin=subprocess.DEVNULL, stdout=its, stderr=subprocess.PIPE)
        self.running.append(process)
        os.close(its)
        wait_until((self.work / "relay").exists, "the relay")
        os.close(ours)
        self.assertIn(b"the report cannot be written any more", process.stderr.readline())
        a = client.connect(self.uri())
        for turn in range(20):
            a.pwrite(bytes(4096), turn * 4096)
            self.assertEqual(a.pread(4096, turn * 4096), bytes(4096))
        a.shutdown()
        process.terminate()
        process.wait(relaying.SECONDS)
        process.stderr.close()
        self.assertEqual(process.returncode, 2)


if __name__ == "__main__":
    unittest.main()
