# SPDX-License-Identifier: GPL-2.0-or-later
"""The tutorial shows what happens: its commands are run, and what they say is compared.

	test_tutorial.py [--update]

In a block of code a line that begins with "$ " is a command, and what follows its output, in
which "..." stands for any lines. "# " is somebody else's machine, and not run. --update
writes the outputs that have no "..." anew.
"""

import os
import re
import shutil
import sys
import tempfile
import unittest

import delivered
from delivered import BIN, ROOT

DOCUMENT = ROOT / "docs" / "tutorial.md"


def said(command, work):
    done = delivered.run("sh", "-c", command, cwd=work, check=False,
                         env=dict(os.environ, PATH="%s:%s" % (BIN, os.environ["PATH"]),
                                  LC_ALL="C.UTF-8"))
    return done.stdout + done.stderr


def blocks(text):
    """(block, [(command, output)]) of each that shows commands."""
    for block in re.findall(r"^```\n(.*?)^```$", text, re.M | re.S):
        if block.startswith("$ "):
            parts = re.split(r"^\$ (.*(?:\\\n.*)*)\n", block, flags=re.M)
            yield block, list(zip(parts[1::2], parts[2::2]))


def alike(expected, output):
    """Line by line, "..." being any number of them."""
    pattern = "".join(r"(?:.*\n)*?" if line == "...\n" else re.escape(line)
                      for line in expected.splitlines(True))
    return re.fullmatch(pattern, output) is not None


class Tutorial(unittest.TestCase):
    def test_outputs(self):
        work, count = delivered.workplace(self), 0
        for _, commands in blocks(DOCUMENT.read_text()):
            for command, expected in commands:
                with self.subTest(command):
                    output = said(command, work)
                    if not alike(expected, output):
                        self.assertEqual(expected, output)
                    count += 1
        self.assertGreater(count, 8)

    def test_compares(self):
        self.assertTrue(alike("a\n...\nc\n", "a\nb\nb\nc\n"))
        self.assertTrue(alike("a\n...\n", "a\n"))
        self.assertFalse(alike("a\n...\nc\n", "a\nb\n"))
        self.assertFalse(alike("a\n", "a\nb\n"))

    def test_links(self):
        """Documents and samples that it names are there."""
        text = DOCUMENT.read_text()
        for name in re.findall(r"\]\(([\w./-]+)\)", text):
            self.assertTrue((ROOT / "docs" / name).exists(), name)
        for name in re.findall(r"samples/[\w.-]+\w", text):
            self.assertTrue((ROOT / name).exists(), name)


def update():
    text, work = DOCUMENT.read_text(), tempfile.mkdtemp(prefix="nbdscope-tutorial-")
    os.symlink(ROOT / "samples", work + "/samples")
    for block, commands in blocks(text):
        anew = "".join("$ %s\n%s" % (command, output if "...\n" in output else said(command, work))
                       for command, output in commands)
        text = text.replace(block, anew)
    DOCUMENT.write_text(text)
    shutil.rmtree(work)


if __name__ == "__main__":
    if sys.argv[1:] == ["--update"]:
        update()
    else:
        delivered.main()
