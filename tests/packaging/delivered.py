# SPDX-License-Identifier: GPL-2.0-or-later
"""What the tests beside this file share: where things are, what --help says, and running
commands that documents show."""

import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import unittest

HERE = pathlib.Path(__file__).resolve().parent
ROOT = pathlib.Path(os.environ.get("NBDSCOPE_SOURCE_DIR", HERE.parent.parent))
BUILD = pathlib.Path(os.environ.get("NBDSCOPE_BUILD", ROOT / "build"))
BIN = pathlib.Path(os.environ.get("NBDSCOPE_BIN", BUILD / "bin"))
PROGRAMS = ("nbdaudit", "nbdtop")

sys.path.insert(0, str(ROOT / "tests" / "plugin"))


def run(*command, check=True, **options):
    options.setdefault("stdin", subprocess.DEVNULL)
    done = subprocess.run([str(word) for word in command], text=True, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, timeout=300, **options)
    if check and done.returncode:
        raise AssertionError("%s: %d\n%s%s" % (" ".join(map(str, command)), done.returncode,
                                               done.stdout, done.stderr))
    return done


def require(test, *programs):
    """Skips the test if one is not installed, or fails if all tests are asked for."""
    os.environ["PATH"] += ":/usr/sbin:/sbin"
    missing = [program for program in programs if not shutil.which(program)]
    if missing:
        (test.fail if os.environ.get("NBDSCOPE_REQUIRE_PEERS") else test.skipTest)(
            "not installed: " + ", ".join(missing))


def options(program):
    """What --help lists: {long name: (letter or None, takes an argument)}."""
    found = {}
    for letter, name, argument in re.findall(r"^  (?:-(\w), |    )--([\w-]+)(=?)",
                                             run(BIN / program, "--help").stdout, re.M):
        found[name] = (letter or None, bool(argument))
    assert len(found) > 10
    return found


def formats():
    """What --format takes, as the program says."""
    said = run(BIN / "nbdaudit", "-f", "no-such-form", check=False).stderr
    return re.split(r", | or ", re.search(r"is not a format: (.*)", said).group(1))


def workplace(test):
    """A directory with the samples, as one has it who unpacked nbdscope."""
    work = pathlib.Path(test.enterContext(tempfile.TemporaryDirectory()))
    (work / "samples").symlink_to(ROOT / "samples")
    return work


def main():
    unittest.main(verbosity=2)
