# SPDX-License-Identifier: GPL-2.0-or-later
"""The manual pages: well formed, with the options of --help, and with examples that run."""

import json
import os
import pty
import re
import select
import subprocess
import time
import unittest

import delivered
from delivered import BIN, BUILD, ROOT

PAGES = sorted((ROOT / "docs" / "man").glob("*.[1-8]")) + [BUILD / "man" / "nbdscope-rules.7"]

# Lines of examples that need a network, another machine, or rights.
ELSEWHERE = re.compile(r"^(tcpdump|ssh|nbdcopy) |^nbd\w+ (-i|--listen=\S+) | nbd\.pcap$")


def examples(page):
    """Lines of the displays in EXAMPLES."""
    text = page.read_text().partition("\n.Sh EXAMPLES\n")[2].partition("\n.Sh ")[0]
    for block in re.findall(r"^\.Bd -literal.*?\n(.*?)^\.Ed", text, re.M | re.S):
        yield from block.strip().splitlines()


class Pages(unittest.TestCase):
    def test_all_there(self):
        self.assertEqual([page.name for page in PAGES],
                         ["nbdaudit.1", "nbdscope-consistency.7", "nbdscope-wireshark.7",
                          "nbdtop.1", "nbdscope-rules.7"])

    def test_lint(self):
        """Nothing to complain of but what it cannot know: pages that are not installed."""
        delivered.require(self, "mandoc")
        for page in PAGES:
            said = delivered.run("mandoc", "-T", "lint", "-W", "style", page, check=False).stdout
            said = [line for line in said.splitlines() if "referenced manual not found" not in line
                    and "outdated mandoc.db" not in line]
            with self.subTest(page.name):
                self.assertEqual(said, [])

    def test_groff(self):
        """The other program that shows pages has nothing to say either."""
        delivered.require(self, "man")
        for page in PAGES:
            done = delivered.run("man", "--warnings", "-E", "UTF-8", "-l", "-Tutf8", "-Z", page,
                                 env=dict(os.environ, MANROFFSEQ="", MANWIDTH="80", LC_ALL="C.UTF-8"))
            with self.subTest(page.name):
                self.assertEqual(done.stderr, "")

    def test_options(self):
        """Those of --help, and no others."""
        for program in delivered.PROGRAMS:
            text = (ROOT / "docs" / "man" / (program + ".1")).read_text()
            found = {}
            for item in re.findall(r"^\.It (Fl .*)$", text, re.M):
                name = re.search(r"Fl -([\w-]+)", item).group(1)
                letter = re.match(r"Fl (\w) ", item)
                found[name] = (letter and letter.group(1), " Ns = Ns Ar " in item)
            with self.subTest(program):
                self.assertEqual(found, delivered.options(program))

    def test_options_of_documents(self):
        """docs/PROGRAM.md has them too."""
        for program in delivered.PROGRAMS:
            text = (ROOT / "docs" / (program + ".md")).read_text()
            for name in delivered.options(program):
                with self.subTest(program + " --" + name):
                    self.assertRegex(text, r"`--%s[`=]" % name)

    def test_formats(self):
        text = (ROOT / "docs" / "man" / "nbdaudit.1").read_text()
        item = text.partition("Fl -format Ns")[2].partition("\n.It ")[0]
        self.assertEqual(re.findall(r"^\.Cm (\w+)", item, re.M), delivered.formats())

    def test_rules(self):
        """Each rule has its part, at its level."""
        page = PAGES[-1].read_text()
        listed = [json.loads(line) for line in delivered.run(
            BIN / "nbdaudit", "--list-rules", "--format=json").stdout.splitlines()]
        listed = [rule for rule in listed if rule["type"] == "rule"]
        self.assertEqual(sorted(re.findall(r"^\.Ss ([\w-]+)$", page, re.M)),
                         sorted(rule["rule"] for rule in listed))
        for rule in listed:
            head = "\n.Ss %s\n%s, %s of " % (rule["rule"], rule["ref"], rule["severity"])
            self.assertTrue(head in page, head)

    def test_filters(self):
        """Fields that nbdscope-wireshark(7) names are there."""
        text = (ROOT / "docs" / "man" / "nbdscope-wireshark.7").read_text()
        code = "".join(path.read_text() for path in (
            *(ROOT / "dissector" / "wireshark").glob("*.c"),
            *(ROOT / "dissector" / "decoder").glob("*.c"),
            ROOT / "include" / "nbdscope" / "protocol.h"))
        for field in re.findall(r"^\.It Li (nbd[\w.]+)", text, re.M):
            with self.subTest(field):
                self.assertTrue('"%s"' % field in code or '"%s"' % field.rpartition(".")[2] in code)


class Examples(unittest.TestCase):
    def setUp(self):
        self.work = delivered.workplace(self)
        self.env = dict(os.environ, PATH="%s:%s" % (BIN, os.environ["PATH"]), TERM="xterm",
                        LC_ALL="C.UTF-8")

    def shell(self, line):
        done = delivered.run("sh", "-c", line, cwd=self.work, env=self.env, check=False)
        self.assertIn(done.returncode, (0, 1), line + "\n" + done.stderr)
        self.assertEqual(done.stderr, "")
        written = re.search(r" -o (\S+)", line)
        self.assertTrue(done.stdout or (self.work / written.group(1)).stat().st_size)
        return done.stdout

    def screen(self, line):
        """A program of the screen is shown one, and told to quit once it has drawn."""
        ours, its = pty.openpty()
        program = subprocess.Popen(["sh", "-c", line], cwd=self.work, env=self.env, stdin=its,
                                   stdout=its, stderr=its, start_new_session=True)
        os.close(its)
        drawn, end = b"", time.monotonic() + 60
        while time.monotonic() < end:
            if select.select([ours], [], [], 0.2)[0]:
                try:
                    data = os.read(ours, 65536)
                except OSError:
                    break
                if not data:
                    break
                drawn += data
            if b"Exports" in drawn:
                os.write(ours, b"q")
        self.assertEqual(program.wait(10), 0, drawn)
        os.close(ours)
        self.assertIn(b"Exports", drawn)

    def test_run(self):
        """Each line that this machine can run alone."""
        count = 0
        for page in PAGES:
            for line in examples(page):
                if ELSEWHERE.search(line):
                    continue
                with self.subTest(line):
                    if line.startswith("tshark "):
                        self.tshark(line)
                    elif line.startswith("nbdtop "):
                        self.screen(line)
                    else:
                        self.assertRegex(line, r"^(nbdaudit |nbdkit .* --run 'nbdaudit )")
                        if line.startswith("nbdkit "):
                            delivered.require(self, "nbdkit")
                        self.shell(line)
                    count += 1
        self.assertGreater(count, 12)

    def tshark(self, line):
        delivered.require(self, "tshark")
        if not (BUILD / "plugins" / "nbdscope.so").exists():
            self.skipTest("no plugin is built")
        import shark
        if not hasattr(Examples, "shark"):
            Examples.shark = shark.Shark(BUILD / "plugins" / "nbdscope.so")
        words = [Examples.shark.copy(ROOT / word) if word.startswith("samples/") else word
                 for word in line.split()]
        self.assertTrue(Examples.shark.run(*words).stdout.strip(), line)


if __name__ == "__main__":
    delivered.main()
