# SPDX-License-Identifier: GPL-2.0-or-later
"""`cmake --install` into any prefix: all is there, below it and nowhere else, so that any
user can do it; and it works from there. Programs are built against the library by
pkg-config, and Python uses it."""

import os
import pathlib
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import unittest

import delivered
from delivered import BUILD, ROOT


def wireshark():
    """The version of the plugin that is built, "4.0"; None: there is none."""
    if not (BUILD / "plugins" / "nbdscope.so").exists():
        return None
    folder = delivered.run("pkg-config", "--variable=plugindir", "wireshark").stdout.strip()
    return os.path.basename(folder)


class Install(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        if not shutil.which("cmake") or not shutil.which("pkg-config"):
            raise unittest.SkipTest("no cmake or pkg-config")
        cls.work = pathlib.Path(tempfile.mkdtemp(prefix="nbdscope-install-"))
        cls.addClassCleanup(shutil.rmtree, cls.work)
        cls.prefix = cls.work / "prefix"
        cls.said = delivered.run("cmake", "--install", BUILD, "--prefix", cls.prefix).stdout
        (config,) = cls.prefix.glob("lib*/**/nbdscope.pc")
        cls.libdir = config.parent.parent

    def environment(self):
        env = dict(os.environ, PATH="%s:%s" % (self.prefix / "bin", os.environ["PATH"]),
                   PKG_CONFIG_PATH=str(self.libdir / "pkgconfig"),
                   LD_LIBRARY_PATH=str(self.libdir))
        env.pop("NBDSCOPE_LIBRARY", None)
        return env

    def test_below_the_prefix(self):
        """A file elsewhere would need rights, and stop the rest half-way."""
        names = re.findall(r"^-- (?:Installing|Up-to-date): (.*)$", self.said, re.M)
        self.assertGreater(len(names), 50)
        for name in names:
            self.assertTrue(name.startswith(str(self.prefix) + "/"), name)

    def test_all_there(self):
        lib = str(self.libdir.relative_to(self.prefix))
        doc = "share/doc/nbdscope/"
        expected = ["bin/nbdaudit", "bin/nbdtop", lib + "/libnbdscope.so",
                    lib + "/libnbdscope.so.0", lib + "/pkgconfig/nbdscope.pc"]
        expected += ["include/nbdscope/%s.h" % name
                     for name in ("audit", "common", "messages", "nbdscope")]
        expected += ["share/nbdscope/prometheus/nbdscope.rules.yml",
                     "share/nbdscope/grafana/nbdscope.json",
                     "lib/systemd/system/nbdaudit@.service"]
        expected += ["share/man/man1/nbdaudit.1", "share/man/man1/nbdtop.1"]
        expected += ["share/man/man7/nbdscope-%s.7" % name
                     for name in ("consistency", "rules", "wireshark")]
        for program in delivered.PROGRAMS:
            expected += ["share/bash-completion/completions/" + program,
                         "share/fish/vendor_completions.d/%s.fish" % program]
            self.assertTrue(list(self.prefix.glob("share/zsh/*/_" + program)))
        expected += [doc + name for name in ("LICENSE", "README.md", "CHANGELOG.md",
                                             "docs/library.md", "docs/report.schema.json",
                                             "samples/multi-conn-unsafe.pcap",
                                             "examples/library/audit.c")]
        if wireshark():
            expected += ["%s/wireshark/plugins/%s/epan/nbdscope.so" % (lib, wireshark()),
                         "%s/wireshark/extcap/nbdrelay" % lib,
                         "share/wireshark/profiles/NBD/colorfilters"]
        for name in expected:
            with self.subTest(name):
                self.assertGreater((self.prefix / name).stat().st_size, 0)
        self.assertTrue(list(self.prefix.glob("lib/python3*/**/nbdscope.py")))
        headers = sorted(path.name for path in self.prefix.glob("include/**/*.h"))
        self.assertEqual(headers, ["audit.h", "common.h", "messages.h", "nbdscope.h"])

    def test_programs(self):
        for program in delivered.PROGRAMS:
            said = delivered.run(self.prefix / "bin" / program, "--version").stdout
            self.assertRegex(said, r"^%s \(nbdscope\) \d+\.\d+\.\d+\n$" % program)
        done = delivered.run("nbdaudit", "--summary",
                             self.prefix / "share/doc/nbdscope/samples/multi-conn-unsafe.pcap",
                             env=self.environment(), check=False)
        self.assertEqual(done.returncode, 1)

    def test_destdir(self):
        """What packages are made of: below DESTDIR, for the prefix that was configured."""
        stage = self.work / "stage"
        said = delivered.run("cmake", "--install", BUILD, "--component", "wireshark",
                             env=dict(os.environ, DESTDIR=str(stage))).stdout
        for name in re.findall(r"^-- Installing: (.*)$", said, re.M):
            self.assertTrue(name.startswith(str(stage) + "/"), name)

    def test_examples(self):
        """They are built as anybody would, and say what is so."""
        delivered.require(self, "make", "cc")
        work = self.work / "examples"
        shutil.copytree(ROOT / "examples" / "library", work)
        env = self.environment()
        delivered.run("make", "-C", work, env=env)
        done = delivered.run(work / "audit", ROOT / "samples" / "multi-conn-unsafe.pcap", env=env,
                             check=False)
        self.assertEqual(done.returncode, 1, done.stderr)
        self.assertEqual(done.stdout.count("violation: stale-read-after-flush: "), 4)
        self.assertIn("  read: frame 40\n", done.stdout)
        self.assertIn("verdict: violations\n", done.stdout)
        done = delivered.run(work / "audit", ROOT / "samples" / "multi-conn.pcap", env=env)
        self.assertIn("verdict: ", done.stdout)
        done = delivered.run(work / "audit", "/nonexistent", env=env, check=False)
        self.assertEqual(done.returncode, 2)
        self.assertIn("No such file", done.stderr)

        def serve(listener):
            connection, _ = listener.accept()
            with connection:
                connection.sendall(b"NBDMAGICIHAVEOPT\0\3")
                connection.recv(1)

        with socket.create_server(("127.0.0.1", 0)) as listener:
            thread = threading.Thread(target=serve, args=(listener,))
            thread.start()
            said = delivered.run(work / "greeting", "127.0.0.1", listener.getsockname()[1],
                                 env=env).stdout
            thread.join()
        self.assertIn("nbd.hnd.flags = NBD_FLAG_FIXED_NEWSTYLE | NBD_FLAG_NO_ZEROES", said)

    def test_pkg_config(self):
        env = self.environment()
        said = delivered.run("pkg-config", "--modversion", "nbdscope", env=env).stdout.strip()
        text = (ROOT / "CMakeLists.txt").read_text()
        self.assertEqual(said, re.search(r"project\(nbdscope VERSION (\S+)", text).group(1))
        said = delivered.run("pkg-config", "--cflags", "--libs", "nbdscope", env=env).stdout.split()
        include, path, library = said
        self.assertTrue(os.path.samefile(include[2:], self.prefix / "include"))
        self.assertTrue(os.path.samefile(path[2:], self.libdir))
        self.assertEqual(library, "-lnbdscope")

    def test_python(self):
        (module,) = self.prefix.glob("lib/python3*/**/nbdscope.py")
        env = dict(self.environment(), PYTHONPATH=str(module.parent))
        said = delivered.run(sys.executable, "-c", "import nbdscope; a = nbdscope.Audit(); "
                             "a.file('%s/samples/multi-conn-unsafe.pcap'); print(a.verdict)" % ROOT,
                             env=env, cwd="/").stdout
        self.assertEqual(said, "violations\n")

    @unittest.skipUnless(os.geteuid() == 0 and shutil.which("setpriv"), "needs root, and setpriv")
    def test_unprivileged(self):
        """nobody installs, although /usr is not theirs."""
        home = self.work / "nobody"
        home.mkdir()
        os.chmod(self.work, 0o755)
        os.chown(home, 65534, 65534)
        script = home / "install.cmake"
        # cmake --install also writes the list of what it did into the build's folder, which
        # is somebody else's here.
        script.write_text('set(CMAKE_INSTALL_PREFIX "%s")\ninclude("%s")\n' % (
            home / "prefix", BUILD / "cmake_install.cmake"))
        probe = subprocess.run(["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups",
                                "test", "-r", str(BUILD / "bin" / "nbdaudit")])
        if probe.returncode:
            self.skipTest("nobody may not read " + str(BUILD))
        done = delivered.run("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "cmake",
                             "-P", script, cwd=home, check=False)
        self.assertIn("install_manifest.txt", done.stderr)
        self.assertEqual(done.stderr.count("CMake Error"), 1, done.stderr)
        self.assertEqual(sorted(p.relative_to(home / "prefix") for p in
                                (home / "prefix").rglob("*")),
                         sorted(p.relative_to(self.prefix) for p in self.prefix.rglob("*")))


if __name__ == "__main__":
    delivered.main()
