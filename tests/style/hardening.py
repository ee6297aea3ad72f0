# SPDX-License-Identifier: GPL-2.0-or-later
"""What the built programs and the plugin say of how hard they are to bend.

	hardening.py BINARY...

Read with readelf, of each: position independent, relocations read-only and all
done before main(), no stack or segment that is both written and executed, a guard
on the stack, and library calls that check the size of what they fill.
"""

import re
import subprocess
import sys
import unittest


def readelf(path, *options):
    return subprocess.run(["readelf", "--wide", *options, path], check=True, text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE).stdout


class Hardening(unittest.TestCase):
    def test_independent_of_position(self):
        for path in BINARIES:
            with self.subTest(path):
                self.assertRegex(readelf(path, "--file-header"), r"Type:\s+DYN")
                if not path.endswith(".so"):
                    self.assertRegex(readelf(path, "--dynamic"), r"FLAGS_1.*\bPIE\b")

    def test_relocations(self):
        for path in BINARIES:
            with self.subTest(path):
                self.assertRegex(readelf(path, "--program-headers"), r"(?m)^\s+GNU_RELRO\b")
                dynamic = readelf(path, "--dynamic")
                self.assertRegex(dynamic, r"\(FLAGS\).*\bBIND_NOW\b|\(BIND_NOW\)")
                self.assertRegex(dynamic, r"FLAGS_1.*\bNOW\b")
                self.assertNotIn("TEXTREL", dynamic)

    def test_segments(self):
        for path in BINARIES:
            with self.subTest(path):
                rows = re.findall(r"(?m)^\s+(LOAD|GNU_STACK)\s+(?:0x[0-9a-f]+\s+){5}([RWE ]{3})",
                                  readelf(path, "--program-headers"))
                self.assertIn("GNU_STACK", [kind for kind, _ in rows])
                self.assertGreaterEqual([kind for kind, _ in rows].count("LOAD"), 3)
                for kind, flags in rows:
                    self.assertFalse("W" in flags and "E" in flags, (kind, flags))

    def test_symbols(self):
        for path in BINARIES:
            with self.subTest(path):
                symbols = readelf(path, "--dyn-syms")
                self.assertIn(" __stack_chk_fail@", symbols)
                self.assertRegex(symbols, r" __(mem|str|v?s?n?f?printf)\w*_chk@")


if __name__ == "__main__":
    BINARIES = sys.argv[1:]
    if not BINARIES:
        sys.exit("usage: hardening.py BINARY...")
    unittest.main(argv=sys.argv[:1], verbosity=2)
