#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""What cannot be read inside TLS says why, and what is lost takes nothing else with it."""

import json
import pathlib
import struct
import subprocess
import sys
import tempfile
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "golden"))

import openssl
import rewrap
import test_wrapped
import wrap
from openssl import NO_ENCRYPT_THEN_MAC, TLS_1_2, TLS_1_3

SAMPLE = rewrap.ROOT / "samples" / "multi-conn-unsafe.pcap"
KINDS = {
    "1.3 AES-GCM": dict(version=TLS_1_3, cipher="TLS_AES_128_GCM_SHA256"),
    "1.3 ChaCha20": dict(version=TLS_1_3, cipher="TLS_CHACHA20_POLY1305_SHA256"),
    "1.2 AES-GCM": dict(version=TLS_1_2, cipher="ECDHE-ECDSA-AES128-GCM-SHA256"),
    "1.2 AES-CCM-8": dict(version=TLS_1_2, cipher="ECDHE-ECDSA-AES256-CCM8"),
    "1.2 ChaCha20": dict(version=TLS_1_2, cipher="ECDHE-ECDSA-CHACHA20-POLY1305"),
    "1.2 CBC": dict(version=TLS_1_2, cipher="ECDHE-ECDSA-AES128-SHA256"),
    "1.2 CBC, MAC then encrypt": dict(version=TLS_1_2, cipher="ECDHE-ECDSA-AES128-SHA",
                                      options=NO_ENCRYPT_THEN_MAC),
}


class Case(unittest.TestCase):
    def setUp(self):
        self.directory = tempfile.TemporaryDirectory()
        self.at = pathlib.Path(self.directory.name)
        self.keys = self.at / "keys.log"
        self.capture = self.at / "tls.pcap"

    def tearDown(self):
        self.directory.cleanup()

    def make(self, kind="1.3 AES-GCM", **how):
        context = openssl.Context(**KINDS[kind])
        self.segments, self.of = wrap.wrap(wrap.load(SAMPLE), context, **how)
        self.text = context.keys()
        self.keys.write_text(self.text)
        wrap.save(self.segments, self.capture)
        context.close()

    def audit(self, *options, keys=True, capture=None):
        status, lines, words = test_wrapped.audit(capture or self.capture,
                                                  self.keys if keys else None, *options)
        said = json.dumps(lines) + words
        for line in self.text.splitlines():
            self.assertNotIn(line.split()[2].lower(), said.lower())
        return status, lines, words

    def connections(self, lines):
        return [line for line in lines if line["type"] == "connection"]

    def messages(self, lines):
        """What was told after STARTTLS, without where in its stream."""
        return [(m["frame"], m["connection"], m["name"],
                 json.dumps({k: v for k, v in m["fields"].items() if k != "nbd.data"}, sort_keys=True))
                for m in lines if m["type"] == "message" and "STARTTLS" not in json.dumps(m)]


class Why(Case):
    def unread(self, reason, keys=True):
        status, lines, _ = self.audit(keys=keys)
        self.assertEqual(status, 3)
        self.assertEqual(lines[-1]["verdict"], "unaudited")
        for c in self.connections(lines):
            self.assertTrue(c["tls"])
            self.assertEqual(c.get("tls_unread"), reason)
        self.assertFalse([line for line in lines if line["type"] == "finding"])
        return lines

    def test_no_option(self):
        self.make()
        lines = self.unread(None, keys=False)
        self.assertNotIn("tls_read", self.connections(lines)[0])

    def test_no_key(self):
        self.make()
        randoms = [line.split()[1] for line in self.text.splitlines()]
        self.keys.write_text(self.text.replace(randoms[0], "00" * 32).replace(randoms[-1], "11" * 32))
        lines = self.unread("no-key")
        self.assertEqual({c["tls_client_random"] for c in self.connections(lines)},
                         {randoms[0], randoms[-1]})
        # but for this, what is said without any keys
        _, plain, _ = self.audit(keys=False)
        for one, other in zip(self.connections(plain), self.connections(lines)):
            self.assertEqual(one, {k: v for k, v in other.items() if not k.startswith("tls_")})

    def test_text_names_the_random(self):
        self.make()
        self.keys.write_text("# nothing\n")
        random = self.text.split()[1]
        run = subprocess.run([rewrap.BIN / "nbdaudit", f"--tls-keys={self.keys}", self.capture],
                             stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.assertIn(random, "".join(run.stdout.split()))
        self.assertIn("there are no keys in it", run.stderr)

    def test_wrong_key(self):
        for kind in KINDS:
            with self.subTest(kind):
                self.make(kind)
                self.keys.write_text("".join(
                    line[:-1] + ("0" if line[-1] != "0" else "1") + "\n"
                    for line in self.text.splitlines()))
                self.unread("wrong-key")

    def edit(self, change):
        """The server's hellos, changed; only the first TLS segment of each connection."""
        edited, done = [], set()
        for s in self.segments:
            at = s.payload.find(b"\x16\x03\x03")
            if s.sport == 10809 and at == 0 and s.payload[5] == 2 and s.dport not in done:
                done.add(s.dport)
                s = s.copy(payload=change(s.payload))
            edited.append(s)
        self.assertEqual(len(done), 2)
        wrap.save(edited, self.capture)

    def test_unknown_suite(self):
        self.make("1.2 AES-GCM")
        self.edit(lambda p: p[:44 + p[43]] + b"\xc0\x73" + p[46 + p[43]:])
        self.unread("cipher-not-known")

    def test_unknown_version(self):
        self.make("1.2 AES-GCM")
        self.edit(lambda p: p[:9] + b"\x03\x02" + p[11:])
        self.unread("version-not-known")

    def test_no_handshake(self):
        for kind in ("1.3 AES-GCM", "1.2 AES-GCM"):
            with self.subTest(kind):
                self.make(kind)
                kept = [s for s in self.segments
                        if not (s.payload[:1] == b"\x16" and s.payload[5:6] == b"\x02")]
                self.assertEqual(len(self.segments) - len(kept), 2)
                wrap.save(kept, self.capture)
                self.unread("handshake-not-captured")

    def test_no_beginning(self):
        """What comes after it is not taken for something that is no TLS, with keys or without."""
        for side in ("sport", "dport"):
            with self.subTest(side):
                self.make(most=300)
                kept, gone = [], set()
                for s in self.segments:
                    flow = s.sport + s.dport
                    if s.payload[:1] == b"\x16" and getattr(s, side) == 10809 and flow not in gone:
                        gone.add(flow)
                        continue
                    kept.append(s)
                self.assertEqual(len(gone), 2)
                wrap.save(kept, self.capture)
                self.unread("handshake-not-captured")
                self.unread(None, keys=False)

    def test_no_tls(self):
        self.make()
        wrap.save([s.copy(payload=b"GET / HTTP/1.1\r\n" + s.payload[16:])
                   if s.payload[:1] == b"\x16" else s for s in self.segments], self.capture)
        status, lines, _ = self.audit()
        self.assertEqual({c["tls_unread"] for c in self.connections(lines)}, {"no-tls-record"})

    def test_key_log(self):
        self.make()
        for log, words in ((self.at / "none", "No such file"), (self.at, "Is a directory")):
            run = subprocess.run([rewrap.BIN / "nbdaudit", f"--tls-keys={log}", self.capture],
                                 stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
            self.assertEqual(run.returncode, 2)
            self.assertIn(words, run.stderr)
        # lines that end otherwise, or not at all; others between them, and some that are damaged
        self.keys.write_text("# comment\n\nRSA 00 11\nCLIENT_RANDOM 12\n" + "x" * 5000 + "\n"
                             + self.text.strip().replace("\n", "\r\n"))
        status, lines, _ = self.audit()
        self.assertEqual(status, 1)
        self.assertTrue(all(c["tls_read"] for c in self.connections(lines)))


class Secrets(Case):
    """Keys inside of the capture."""

    def ng(self, text):
        block = rewrap.block("<", 10, struct.pack("<II", 0x544c534b, len(text)) + text.encode())
        path = self.at / "tls.pcapng"
        path.write_bytes(rewrap.pcapng(rewrap.each(self.segments, lambda s: rewrap.ether(
            0x0800, rewrap.ipv4(s))), extra=block))
        return path

    def test_block(self):
        self.make()
        path = self.ng(self.text)
        status, lines, _ = self.audit(keys=False, capture=path)
        self.assertEqual(status, 1)
        self.assertEqual(lines[-1]["findings"]["violation"], 4)
        self.assertTrue(all(c["tls_read"] for c in self.connections(lines)))

    def test_extract(self):
        self.make()
        evidence = self.at / "evidence.pcapng"
        for keys, path in ((False, self.ng(self.text)), (True, self.capture)):
            run = subprocess.run([rewrap.BIN / "nbdaudit", "-q", "--extract=1", "-w", evidence,
                                  *([f"--tls-keys={self.keys}"] if keys else []), path],
                                 stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
            self.assertEqual(run.returncode, 1, run.stderr)
            secret = self.text.split()[2].encode()
            # what was inside of the capture stays there, what was not does not come in
            self.assertEqual(secret in evidence.read_bytes(), not keys)
            status, lines, _ = self.audit(keys=keys, capture=evidence)
            self.assertEqual(status, 1)
            self.assertEqual(lines[-1]["findings"]["violation"], 1)

    def test_anonymize(self):
        self.make()
        run = subprocess.run([rewrap.BIN / "nbdaudit", "-q", "--extract=1", "--anonymize", "-w",
                              self.at / "evidence.pcapng", self.ng(self.text)],
                             stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.assertEqual(run.returncode, 2)
        self.assertIn("inside TLS", run.stderr)


class Lost(Case):
    """Frames are missing, or damaged: what is told is what was said, and little is missing."""

    def check(self, segments):
        wrap.save(segments, self.capture)
        status, lines, _ = self.audit()
        for c in self.connections(lines):
            self.assertTrue(c["tls_read"], c)
            self.assertNotIn("nonsense_frame", c)
        told = self.messages(lines)
        return told

    def test_frame(self):
        for kind in KINDS:
            for most in (None, 300):
                with self.subTest(kind=kind, most=most):
                    self.make(kind, most=most)
                    data = [i for i, s in enumerate(self.segments)
                            if s.payload[:3] == b"\x17\x03\x03" and i > len(self.segments) // 3]
                    gone = data[len(data) // 3]
                    kept = self.segments[:gone] + self.segments[gone + 1:]
                    _, all_lines, _ = self.audit()
                    whole = [(f - (f > gone + 1), c, n, x) for f, c, n, x in self.messages(all_lines)]
                    told = self.check(kept)
                    self.assertFalse(set(told) - set(whole))
                    self.assertLess(len(told), len(whole))
                    # what was lost, its answer, and what the decoder needs to find its feet
                    self.assertLessEqual(len(whole) - len(told), 12)

    def test_damage(self):
        for kind in KINDS:
            with self.subTest(kind):
                self.make(kind)
                _, all_lines, _ = self.audit()
                whole = self.messages(all_lines)
                data = [i for i, s in enumerate(self.segments)
                        if s.payload[:3] == b"\x17\x03\x03" and i > len(self.segments) // 3]
                at = data[len(data) // 3]
                s = self.segments[at]
                for place in (len(s.payload) - 1, 9):
                    broken = bytearray(s.payload)
                    broken[place] ^= 0x20
                    told = self.check(self.segments[:at] + [s.copy(payload=bytes(broken))]
                                      + self.segments[at + 1:])
                    self.assertFalse(set(told) - set(whole))
                    self.assertLessEqual(len(whole) - len(told), 12)

    def test_too_much(self):
        """More is missing than could be found again."""
        self.make()
        data = [i for i, s in enumerate(self.segments) if s.payload[:3] == b"\x17\x03\x03"]
        cut = data[len(data) // 2]
        broken = [s.copy(payload=bytes(b ^ 0x55 for b in s.payload)) if i > cut and s.payload else s
                  for i, s in enumerate(self.segments)]
        wrap.save(broken, self.capture)
        status, lines, _ = self.audit()
        self.assertFalse([f for f in lines if f["type"] == "finding" and f["severity"] == "violation"
                          and max(f["frames"].values()) > cut + 1])
        self.assertTrue(any(c["tls_unread"] for c in self.connections(lines) if not c["tls_read"]))


if __name__ == "__main__":
    if not openssl.libssl():
        print("OpenSSL's library is not here")
        sys.exit(77)
    unittest.main()
