# SPDX-License-Identifier: GPL-2.0-or-later
"""Inside TLS: with its keys the numbers are those of the same in clear, and nothing is
encrypted; without, or with others, it is said what could not be looked into."""

import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import unittest

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent / "golden"), str(HERE.parent / "tls")]
import openssl  # noqa: E402
import rewrap  # noqa: E402
import wrap  # noqa: E402
from openmetrics import Metrics  # noqa: E402

if not openssl.libssl():
    print("OpenSSL's library is not here")
    sys.exit(77)


class Tls(unittest.TestCase):
    def setUp(self):
        self.work = pathlib.Path(tempfile.mkdtemp(prefix="nbdscope-metrics-tls-"))
        self.addCleanup(shutil.rmtree, self.work)

    def audit(self, capture, *options):
        file = self.work / "a.prom"
        subprocess.run([rewrap.BIN / "nbdaudit", "-q", "--metrics-file=%s" % file, *options, capture],
                       check=False, stdin=subprocess.DEVNULL)
        return Metrics(file.read_text(), plain=True)

    def wrapped(self, sample, version, cipher, **more):
        context = openssl.Context(version=version, cipher=cipher, **more)
        try:
            segments, _ = wrap.wrap(wrap.load(sample), context)
            wrap.save(segments, self.work / "tls.pcap")
            return self.work / "tls.pcap", context.keys()
        finally:
            context.close()

    def test_read_or_not(self):
        sample = rewrap.ROOT / "samples" / "multi-conn-unsafe.pcap"
        plain = self.audit(sample)
        connections = plain.get("nbdscope_connections_total")
        keys = self.work / "keys.log"
        for version, cipher, more in ((openssl.TLS_1_3, "TLS_AES_128_GCM_SHA256", {}),
                                      (openssl.TLS_1_2, "PSK-AES256-GCM-SHA384", {"key": "psk"})):
            with self.subTest(cipher=cipher):
                capture, right = self.wrapped(sample, version, cipher, **more)
                keys.write_text(right)
                read = self.audit(capture, "--tls-keys=%s" % keys)
                for name in ("nbdscope_requests_total", "nbdscope_data_bytes_total"):
                    self.assertEqual(read.by(name, "command"), plain.by(name, "command"))
                self.assertEqual(read.by("nbdscope_findings_total", "level"),
                                 plain.by("nbdscope_findings_total", "level"))
                self.assertEqual(read.get("nbdscope_encrypted_bytes_total"), 0)
                self.assertEqual(read.get("nbdscope_connections_encrypted_total"), 0)
                keys.write_text("# none\n")
                for options in ([], ["--tls-keys=%s" % keys]):
                    sealed = self.audit(capture, *options)
                    self.assertEqual(sealed.by("nbdscope_requests_total", "command"), {})
                    self.assertEqual(sealed.get("nbdscope_connections_encrypted_total"), connections)
                    self.assertGreater(sealed.get("nbdscope_encrypted_bytes_total"),
                                       sum(plain.by("nbdscope_data_bytes_total", "command").values()))


if __name__ == "__main__":
    os.environ.setdefault("LC_ALL", "C.UTF-8")
    unittest.main(verbosity=2)
