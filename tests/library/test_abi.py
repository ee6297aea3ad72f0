# SPDX-License-Identifier: GPL-2.0-or-later
"""What libnbdscope offers: the headers, the map and the library say the same, and the ABI is
the one that is stored.

	test_abi.py LIBRARY [--update]

libnbdscope.abi is made with abidw and compared with abidiff, where these are installed. An
addition is stored with --update; anything else needs another soname (docs/library.md).
"""

import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import unittest

ROOT = pathlib.Path(os.environ.get("NBDSCOPE_SOURCE_DIR",
                                   pathlib.Path(__file__).resolve().parent.parent.parent))
STORED = pathlib.Path(__file__).resolve().parent / "libnbdscope.abi"
HEADERS = [ROOT / "include" / "nbdscope" / name
           for name in ("audit.h", "common.h", "messages.h", "nbdscope.h")]


def output(*command):
    return subprocess.run(command, check=True, text=True, stdout=subprocess.PIPE).stdout


def declared():
    text = "".join(header.read_text() for header in HEADERS)
    text = re.sub(r"/\*.*?\*/", "", text, flags=re.S)
    return set(re.findall(r"\b(nbdscope_\w+)\s*\(", "".join(
        re.findall(r"NBDSCOPE_API[^;]*;", text))))


def dump(file):
    """The ABI, as far as the headers tell of it."""
    with tempfile.TemporaryDirectory() as work:
        for header in HEADERS:
            shutil.copy(header, work)
        subprocess.run(["abidw", "--headers-dir", work, "--drop-private-types",
                        "--exported-interfaces-only", "--no-corpus-path",
                        "--no-comp-dir-path", "--no-show-locs", "--no-elf-needed",
                        "--type-id-style", "hash", "--out-file", file, LIBRARY], check=True)
    # Where it was built does not matter, nor is it told.
    text = pathlib.Path(file).read_text()
    pathlib.Path(file).write_text(re.sub(r" path='[^']*/(analyzer/[^']*)'", r" path='\1'", text))


class Abi(unittest.TestCase):
    def test_headers_and_map(self):
        """A function is in a header and in the map, or in neither."""
        mapped = re.findall(r"^\t(nbdscope_\w+);$", (
            ROOT / "analyzer" / "library" / "libnbdscope.map").read_text(), re.M)
        self.assertGreater(len(mapped), 50)
        self.assertEqual(sorted(mapped), sorted(declared()))

    def test_exported(self):
        """The library offers these, each with a version, and nothing else."""
        lines = output("nm", "--dynamic", "--defined-only", LIBRARY).splitlines()
        names = {line.split()[-1] for line in lines if " A " not in line}
        for name in names:
            self.assertRegex(name, r"^nbdscope_\w+@@NBDSCOPE_\d+\.\d+$")
        self.assertEqual({name.partition("@")[0] for name in names}, declared())

    def test_soname(self):
        self.assertIn("[libnbdscope.so.0]", output("readelf", "--dynamic", LIBRARY))

    def test_headers_stand_alone(self):
        """Each is C and C++ by itself, without the project's other headers."""
        compilers = [c for c in (("cc", "-std=c99", "-xc"), ("c++", "-std=c++11", "-xc++"))
                     if shutil.which(c[0])]
        self.assertTrue(compilers)
        with tempfile.TemporaryDirectory() as work:
            os.mkdir(work + "/nbdscope")
            for header in HEADERS:
                shutil.copy(header, work + "/nbdscope")
            for header in HEADERS:
                for compiler in compilers:
                    with self.subTest(header=header.name, compiler=compiler[0]):
                        subprocess.run([*compiler, "-Wall", "-Wextra", "-Werror", "-pedantic",
                                        "-fsyntax-only", "-I", work, "-"], check=True, text=True,
                                       input="#include <nbdscope/%s>\n" % header.name)

    @unittest.skipUnless(shutil.which("abidiff"), "no abigail-tools")
    def test_abi(self):
        """Nothing is gone or other than it was; what came is stored."""
        with tempfile.TemporaryDirectory() as work:
            now = work + "/now.abi"
            dump(now)
            run = subprocess.run(["abidiff", STORED, now], text=True, stdout=subprocess.PIPE,
                                 stderr=subprocess.STDOUT)
        self.assertEqual(run.returncode, 0, run.stdout)
        self.assertEqual(re.findall(r"path='/[^']*'", STORED.read_text()), [])


if __name__ == "__main__":
    LIBRARY = sys.argv[1]
    if "--update" in sys.argv:
        dump(STORED)
    else:
        unittest.main(argv=sys.argv[:1], verbosity=2)
