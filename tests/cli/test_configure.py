# SPDX-License-Identifier: GPL-2.0-or-later
"""What cmake says where libraries are missing: the packages that hold them.

Exit status 77 (skipped) where cmake is not to be found.
"""

import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import unittest

ROOT = pathlib.Path(os.environ["NBDSCOPE_SOURCE_DIR"])


def libraries():
    """What scripts/lib knows to install: pkg-config's names with Debian's."""
    text = (ROOT / "scripts" / "lib").read_text()
    needs = re.search(r"^build_needs=\(\n(.*?)^\)", text, re.S | re.M).group(1)
    return dict(re.findall(r"^\s*(\S+)\.pc=(\S+)$", needs, re.M))


class Configure(unittest.TestCase):
    def configure(self, hidden):
        """cmake's status and words where pkg-config does not find `hidden`."""
        work = pathlib.Path(self.enterContext(tempfile.TemporaryDirectory()))
        folders = subprocess.run(["pkg-config", "--variable=pc_path", "pkg-config"], text=True,
                                 check=True, stdout=subprocess.PIPE).stdout.strip()
        seen = work / "pkgconfig"
        seen.mkdir()
        for folder in folders.split(":"):
            for file in pathlib.Path(folder).glob("*.pc"):
                link = seen / file.name
                if file.stem not in hidden and not link.exists():
                    link.symlink_to(file)
        environment = dict(os.environ, PKG_CONFIG_LIBDIR=str(seen))
        run = subprocess.run(["cmake", "-S", ROOT, "-B", work / "build", "-DBUILD_TESTING=OFF"],
                             env=environment, text=True, stdin=subprocess.DEVNULL,
                             stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=120)
        return run.returncode, run.stdout

    def test_nothing_missing(self):
        status, output = self.configure(())
        self.assertEqual(status, 0, output)

    def test_all_missing(self):
        needed = libraries()
        self.assertGreaterEqual(len(needed), 6)
        status, output = self.configure(needed)
        self.assertEqual(status, 1, output)
        words = output.partition("On Debian: apt install")[2].split()
        for package in needed.values():
            self.assertIn(package, words)

    def test_one_missing(self):
        for library, package in libraries().items():
            with self.subTest(library):
                status, output = self.configure((library,))
                self.assertEqual(status, 1, output)
                self.assertIn("Libraries are missing: %s\n" % library, output)
                self.assertIn("apt install %s\n" % package, output)


if __name__ == "__main__":
    if not shutil.which("cmake") or not shutil.which("pkg-config"):
        print("skipped: no cmake or pkg-config")
        sys.exit(77)
    unittest.main(verbosity=2)
