# SPDX-License-Identifier: GPL-2.0-or-later
"""nbdtop between client and server."""

import os
import sys
import unittest

import relaying
from relaying import wait_until

relaying.require("nbdkit", "tmux")

try:
    import client
except ImportError:
    relaying.require("the nbd module of python3-libnbd")

sys.path.insert(0, str(relaying.HERE.parent / "tui"))
from terminal import Terminal  # noqa: E402


class Top(relaying.RelayTest):
    def nbdtop(self, *options, columns=100):
        os.chdir(self.work)
        self.addCleanup(os.chdir, relaying.HERE)
        t = Terminal(["--listen=unix:%s" % (self.work / "relay"),
                      "--connect=unix:%s" % (self.work / "server"), *options], columns, 30)
        self.addCleanup(t.close)
        t.wait("LIVE")
        return t

    def test_violation(self):
        """A lie over Unix sockets is on the screen, and the title says where it looks."""
        self.nbdkit("--filter=multi-conn", "python", relaying.MAKE / "private_cache.py",
                    "multi-conn-mode=unsafe")
        t = self.nbdtop()
        t.wait("relay relay → server", "dropped from view: 0")
        a, b = client.connect(self.uri()), client.connect(self.uri())
        b.pread(1024, 0)
        a.pwrite(client.pattern("x", 1024), 0)
        a.flush()
        b.pread(1024, 0)
        t.wait("1 violation", "stale-read-after-flush")
        t.keys("q")
        wait_until(lambda: not (self.work / "relay").exists(), "nbdtop to end")
        # as a proxy that ends closes its connections
        with self.assertRaises(Exception):
            b.pread(1024, 0)

    def test_refused(self):
        t = self.nbdtop(columns=160)
        with self.assertRaises(Exception):
            client.connect(self.uri())
        t.wait("as the server is not reached", "No such file or directory")
        t.keys("q")


if __name__ == "__main__":
    unittest.main()
