#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""A short run of soak.py: memory is flat while connections and messages come and go by
the thousand, and the screen costs nothing at rest."""

import unittest

import soak
from terminal import BIN


class Soak(unittest.TestCase):
    def test_memory(self):
        program = (BIN / "nbdtop").read_bytes()
        if any(init in program for init in (b"__asan_init", b"__tsan_init")):
            self.skipTest("memory is not the program's own with a sanitizer, nor is time")
        # So many rounds fill what is kept: 2,000 messages, 125 findings, 15 finished
        # connections, and the memory that the engine may use.
        before, after = soak.grow(2500, 5000, ("multi-conn", "multi-conn-unsafe", "errors"))
        self.assertLess(after, soak.allowed(before))

    def test_totals(self):
        """Connections that finished long ago are gone; what they did is in the sums of
        their export, whether there is another one by then or not."""
        screen = soak.pass_by(7, 800, ("simple", "multi-conn"), "1")
        self.assertRegex(screen, r"10 connections \(0 open\) to 1 export")
        self.assertRegex(screen, r'(?m)^"" .* 0/10 ')

    def test_rest(self):
        self.assertLess(soak.rest([soak.sample("fio")], 0.2), 0.03)

    def test_rest_live(self):
        if not soak.may_capture():
            self.skipTest("this user may not capture")
        self.assertLess(soak.rest(soak.IDLE, 0.2, [(120, 40)]), 0.03)


if __name__ == "__main__":
    unittest.main(verbosity=2)
