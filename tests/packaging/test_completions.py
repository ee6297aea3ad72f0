# SPDX-License-Identifier: GPL-2.0-or-later
"""Completions for bash, zsh and fish: each shell can read them, and offers what --help
lists."""

import re
import unittest

import delivered
from delivered import BIN, ROOT

FOLDER = ROOT / "packaging" / "completions"


def names(program):
    return sorted("--" + name for name in delivered.options(program))


def both(program):
    """Long names, and letters."""
    return sorted(names(program) + ["-" + letter for letter, _ in
                                    delivered.options(program).values() if letter])


class Bash(unittest.TestCase):
    def setUp(self):
        delivered.require(self, "bash")

    def complete(self, program, *words):
        """What is offered for the last of the words."""
        script = 'compopt() { :; }; complete() { :; }; . "$1"; shift; COMP_WORDS=("$@")\n' \
            "COMP_CWORD=$(($# - 1)); _%s; printf '%%s\\n' \"${COMPREPLY[@]}\"" % program
        return delivered.run("bash", "-euc", script, "bash", FOLDER / (program + ".bash"),
                             BIN / program, *words, cwd=ROOT).stdout.split()

    def test_options(self):
        for program in delivered.PROGRAMS:
            with self.subTest(program):
                delivered.run("bash", "-n", FOLDER / (program + ".bash"))
                offered = self.complete(program, "--")
                self.assertEqual(sorted(word.rstrip("=") for word in offered), names(program))
                for word in offered:
                    self.assertEqual(word.endswith("="),
                                     delivered.options(program)[word.strip("-=")][1], word)

    def test_values(self):
        self.assertEqual(self.complete("nbdaudit", "-f", ""), delivered.formats())
        self.assertEqual(self.complete("nbdaudit", "--format", "=", "j"),
                         [name for name in delivered.formats() if name[0] == "j"])
        self.assertEqual(self.complete("nbdaudit", "--fail-on", "="),
                         ["violation", "suspect", "hazard", "note", "never"])
        self.assertEqual(self.complete("nbdaudit", "--explain", "=", "stale-read-after-f"),
                         ["stale-read-after-flush", "stale-read-after-fua"])
        self.assertEqual(self.complete("nbdtop", "--color", "=", "a"), ["auto", "always"])

    def test_captures(self):
        for program in delivered.PROGRAMS:
            self.assertEqual(sorted(self.complete(program, "samples/multi-conn-unsafe")),
                             ["samples/multi-conn-unsafe-fua.pcap", "samples/multi-conn-unsafe.pcap"])
            self.assertEqual(self.complete(program, "samples/REA"), ["samples/README.md"])


class Zsh(unittest.TestCase):
    def setUp(self):
        delivered.require(self, "zsh")

    def test_options(self):
        """What _arguments is given."""
        for program in delivered.PROGRAMS:
            file = FOLDER / (program + ".zsh")
            delivered.run("zsh", "-n", file)
            given = delivered.run("zsh", "-fc", '_arguments() { print -rl -- "$@" }; f() { . $1 }; f $1',
                                  "zsh", file).stdout
            found = re.findall(r"^(?:\([^)]*\)|\*)*(--?[\w-]+)[+=]*\[", given, re.M)
            with self.subTest(program):
                self.assertEqual(sorted(found), both(program))
                self.assertTrue(file.read_text().startswith("#compdef %s\n" % program))

    def test_formats(self):
        self.assertIn(":form:(%s)'" % " ".join(delivered.formats()),
                      (FOLDER / "nbdaudit.zsh").read_text())

    def test_loads(self):
        """compinit finds and takes them."""
        for program in delivered.PROGRAMS:
            work = delivered.workplace(self)
            (work / ("_" + program)).symlink_to(FOLDER / (program + ".zsh"))
            said = delivered.run("zsh", "-fc", "fpath=($1 $fpath); autoload -Uz compinit; "
                                 "compinit -u -D; print $_comps[%s]" % program, "zsh", work).stdout
            self.assertEqual(said.strip(), "_" + program)


class Fish(unittest.TestCase):
    def setUp(self):
        delivered.require(self, "fish")

    def complete(self, program, line):
        work = delivered.workplace(self)
        said = delivered.run("fish", "--no-config", "-c", "cd %s; source %s; complete -C '%s'" % (
            ROOT, FOLDER / (program + ".fish"), line), env={"HOME": str(work), "PATH": "%s:/usr/bin:/bin" % BIN})
        return [row.split("\t")[0] for row in said.stdout.splitlines()]

    def test_options(self):
        for program in delivered.PROGRAMS:
            delivered.run("fish", "--no-execute", FOLDER / (program + ".fish"))
            with self.subTest(program):
                offered = self.complete(program, program + " --")
                self.assertEqual(sorted(word.rstrip("=") for word in offered), names(program))
                text = (FOLDER / (program + ".fish")).read_text()
                letters = re.findall(r"-s (\w) -l ([\w-]+)", text)
                self.assertEqual(sorted(letters), sorted(
                    (letter, name) for name, (letter, _) in delivered.options(program).items()
                    if letter))
                for name, (_, argument) in delivered.options(program).items():
                    self.assertEqual(bool(re.search(r"-l %s -[xr] " % name, text)), argument, name)

    def test_values(self):
        self.assertEqual(sorted(self.complete("nbdaudit", "nbdaudit -f ")),
                         sorted(delivered.formats()))
        self.assertEqual(sorted(self.complete("nbdaudit", "nbdaudit --explain stale-read-after-f")),
                         ["stale-read-after-flush", "stale-read-after-fua"])


if __name__ == "__main__":
    delivered.main()
