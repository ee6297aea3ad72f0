# SPDX-License-Identifier: GPL-2.0-or-later
"""The source tarball: the same bytes twice, all of the tree, nothing of this machine. The
workflow files: well formed, and their commands are what they should be."""

import hashlib
import os
import re
import shutil
import tarfile
import unittest

import delivered
from delivered import BIN, ROOT

VERSION = re.search(r"^project\(nbdscope VERSION (\S+)", (ROOT / "CMakeLists.txt").read_text(),
                    re.M).group(1)


class Tarball(unittest.TestCase):
    def setUp(self):
        if not shutil.which("git") or delivered.run("git", "-C", ROOT, "rev-parse", "HEAD",
                                                    check=False).returncode:
            self.skipTest("not a checkout of git")
        self.work = delivered.workplace(self)

    def make(self, folder, **environment):
        said = delivered.run(ROOT / "scripts" / "release", "--output=%s" % (self.work / folder),
                             env=dict(os.environ, **environment)).stdout.split()
        file = self.work / folder / said[1]
        self.assertEqual(hashlib.sha256(file.read_bytes()).hexdigest(), said[0])
        return file

    def test_same_bytes(self):
        """Whoever makes it, and when, in whatever language and with whatever umask."""
        one = self.make("one")
        before = os.umask(0o077)
        try:
            two = self.make("two", LC_ALL="C.UTF-8", TZ="Asia/Tokyo", GZIP="", HOME=str(self.work),
                            GIT_CONFIG_COUNT="2", GIT_CONFIG_KEY_0="tar.umask", GIT_CONFIG_VALUE_0="0077",
                            GIT_CONFIG_KEY_1="safe.directory", GIT_CONFIG_VALUE_1="*")
        finally:
            os.umask(before)
        self.assertEqual(one.name, "nbdscope-%s.tar.gz" % VERSION)
        self.assertEqual(one.read_bytes(), two.read_bytes())

        with tarfile.open(one) as tar:
            members = tar.getmembers()
        self.assertEqual({(m.uid, m.gid, m.uname, m.gname) for m in members}, {(0, 0, "", "")})
        self.assertEqual(len({m.mtime for m in members}), 1)
        self.assertEqual({oct(m.mode) for m in members if m.isfile()}, {"0o644", "0o755"})
        listed = delivered.run("git", "-C", ROOT, "ls-tree", "-r", "--name-only", "HEAD").stdout
        self.assertEqual(sorted(m.name.partition("/")[2] for m in members if not m.isdir()),
                         sorted(listed.splitlines()))

    def test_errors(self):
        for arguments in (["--nonsense"], ["no-such-commit"], ["a", "b"]):
            done = delivered.run(ROOT / "scripts" / "release", *arguments, check=False)
            self.assertEqual(done.returncode, 2)

    def test_notes(self):
        """They are a part of the list of changes."""
        notes = delivered.run(ROOT / "scripts" / "release", "--notes").stdout
        self.assertTrue(notes.startswith("## %s" % VERSION))
        self.assertEqual(notes.count("\n## "), 0)


class Versions(unittest.TestCase):
    def test_one_place(self):
        """Programs say the version that stands there."""
        for program in delivered.PROGRAMS:
            self.assertEqual(delivered.run(BIN / program, "--version").stdout,
                             "%s (nbdscope) %s\n" % (program, VERSION))


class Workflows(unittest.TestCase):
    def setUp(self):
        try:
            import yaml
        except ImportError:
            self.skipTest("no yaml for Python")
        self.yaml = yaml

    def steps(self, path):
        text = self.yaml.safe_load((ROOT / path).read_text())
        self.assertTrue(text["name"])
        (job,) = text["jobs"].values()
        return job["steps"]

    def test_own(self):
        said = "\n".join(step.get("run", "") for step in self.steps(".github/workflows/test.yml"))
        for script in re.findall(r"(?:\.ci|scripts)/\w+", said):
            self.assertTrue(os.access(ROOT / script, os.X_OK), script)
        self.assertIn(".ci/run", said)

    def test_example(self):
        """The shell of its steps is shell, and the options are options."""
        said = [step["run"] for step in self.steps("examples/ci/nbd-audit.yml") if "run" in step]
        for text in said:
            delivered.run("sh", "-n", "-c", text)
        known = delivered.options("nbdaudit")
        used = re.findall(r"nbdaudit (.*) nbd\.pcap", "\n".join(said))
        self.assertGreaterEqual(len(used), 3)
        for options in used:
            for name in re.findall(r"--([\w-]+)", options):
                self.assertIn(name, known)

    def test_example_runs(self):
        """Its capture and its audit, as they stand there."""
        delivered.require(self, "tcpdump", "nbdkit", "nbdcopy")
        if os.geteuid() != 0:
            self.skipTest("this user may not capture")
        text = (ROOT / "examples" / "ci" / "nbd-audit.yml").read_text()
        parts = re.findall(r"^ +# -- begin\n(.*?)^ +# -- end$", text, re.M | re.S)
        self.assertEqual(len(parts), 2)
        port = "10877" # not the one that others use
        work = delivered.workplace(self)
        script = "set -e\n" + "\n".join(parts)
        script = script.replace("port 10809", "port " + port).replace("-p 10809", "-p " + port)
        script = script.replace("nbd://127.0.0.1", "nbd://127.0.0.1:" + port)
        done = delivered.run("sh", "-c", script, cwd=work, check=False,
                             env=dict(os.environ, PATH="%s:%s" % (BIN, os.environ["PATH"])))
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        self.assertRegex(done.stdout, r"verdict +(clean|hazards)")
        for name in ("nbd-audit.xml", "nbd-audit.sarif"):
            self.assertGreater((work / name).stat().st_size, 0)


if __name__ == "__main__":
    delivered.main()
