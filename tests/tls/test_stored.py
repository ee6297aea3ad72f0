#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Real servers and clients inside TLS say the same as in clear: tests/tls/captures.

Times differ, and in which packets things were; commands are one after the other, so that all
else is the same.
"""

import json
import pathlib
import sys
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "golden"))

import test_wrapped

CAPTURES = pathlib.Path(__file__).resolve().parent / "captures"
# of each, what was agreed on
SUITES = {
    "nbdkit-libnbd-psk-1.2": ("1.2", "TLS_ECDHE_PSK_WITH_CHACHA20_POLY1305"),
    "qemu-qemu-aes-128-gcm-1.3": ("1.3", "TLS_AES_128_GCM_SHA256"),
    "qemu-qemu-aes-128-ccm-1.3": ("1.3", "TLS_AES_128_CCM_SHA256"),
    "qemu-qemu-aes-128-ccm-8-1.3": ("1.3", "TLS_AES_128_CCM_8_SHA256"),
    "qemu-qemu-chacha20-1.3": ("1.3", "TLS_CHACHA20_POLY1305_SHA256"),
    "qemu-libnbd-x509-1.3": ("1.3", "TLS_AES_256_GCM_SHA384"),
    "qemu-qemu-aes-256-gcm-1.2": ("1.2", "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384"),
    "qemu-qemu-aes-256-ccm-8-1.2": ("1.2", "TLS_ECDHE_ECDSA_WITH_AES_256_CCM_8"),
    "qemu-qemu-chacha20-1.2": ("1.2", "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305"),
    "qemu-qemu-cbc-sha1-1.2": ("1.2", "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA"),
    "qemu-qemu-cbc-sha256-1.2": ("1.2", "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA256"),
    "qemu-qemu-cbc-sha384-no-etm-1.2": ("1.2", "TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA384"),
}


def summary(path):
    """Status, connection, messages, findings: without times and places."""
    status, lines, words = test_wrapped.audit(path)
    cookies, messages = {}, []
    for m in lines:
        if m["type"] != "message" or "STARTTLS" in json.dumps(m):
            continue
        # qemu's are addresses
        if "nbd.handle" in m["fields"]:
            m["fields"]["nbd.handle"] = cookies.setdefault(m["fields"]["nbd.handle"], len(cookies))
        messages.append((m["from"], m["name"], json.dumps(m["fields"], sort_keys=True)))
    findings = [(f["rule"], f["severity"], f.get("command"), f.get("offset"), f.get("length"))
                for f in lines if f["type"] == "finding"]
    last = {k: lines[-1][k] for k in ("verdict", "findings", "rules", "judged", "checked", "unchecked")}
    connections = [c for c in lines if c["type"] == "connection"]
    return status, messages, findings, last, words, connections


class Stored(unittest.TestCase):
    maxDiff = 2000

    def test_same_as_in_clear(self):
        clear, seen = {}, set()
        for path in sorted(CAPTURES.glob("*.pcapng")):
            with self.subTest(path.name):
                pair = "-".join(path.name.split("-")[:2])
                if pair not in clear:
                    clear[pair] = summary(CAPTURES / f"{pair}.clear.pcap")
                inside = summary(path)
                self.assertEqual(inside[:5], clear[pair][:5])
                self.assertEqual(len(inside[5]), 1)
                c = inside[5][0]
                self.assertTrue(c["tls"] and c["tls_read"])
                agreed = c["tls_version"], c["tls_cipher_suite"]
                self.assertEqual(SUITES.get(path.stem, agreed), agreed)
                self.assertGreater(c["requests"], 6)
                seen.add(path.stem)
        self.assertLessEqual(set(SUITES), seen)


if __name__ == "__main__":
    unittest.main()
