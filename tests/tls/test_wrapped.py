#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""What is inside TLS is audited exactly as if it had been in clear.

    test_wrapped.py [--share=I/N] [CAPTURE...]

Each sample (or CAPTURE) is put inside TLS (wrap.py) with each suite of TLS 1.2 and 1.3 and
in several manners, and what nbdaudit says of both is held against each other: every message,
finding and count, and the numbers of frames.
"""

import argparse
import itertools
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "golden"))

import openssl
import rewrap
import wrap
from openssl import NO_ENCRYPT_THEN_MAC, NO_EXTENDED_MASTER_SECRET, TLS_1_2, TLS_1_3

# name, version, cipher by OpenSSL's name, key, other arguments of the context, of wrap()
SUITES_1_3 = ["TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256",
              "TLS_AES_128_CCM_SHA256", "TLS_AES_128_CCM_8_SHA256"]
SUITES_1_2 = [("ECDHE-ECDSA-AES128-GCM-SHA256", "ec"), ("ECDHE-RSA-AES256-GCM-SHA384", "rsa"),
              ("AES128-GCM-SHA256", "rsa"), ("PSK-AES256-GCM-SHA384", "psk"),
              ("ECDHE-ECDSA-AES128-CCM", "ec"), ("ECDHE-ECDSA-AES256-CCM8", "ec"),
              ("PSK-AES128-CCM8", "psk"), ("PSK-AES256-CCM", "psk"),
              ("ECDHE-ECDSA-CHACHA20-POLY1305", "ec"), ("PSK-CHACHA20-POLY1305", "psk")]
SUITES_CBC = [("ECDHE-ECDSA-AES128-SHA", "ec"), ("AES256-SHA", "rsa"), ("PSK-AES128-CBC-SHA", "psk"),
              ("ECDHE-ECDSA-AES128-SHA256", "ec"), ("AES256-SHA256", "rsa"),
              ("ECDHE-ECDSA-AES256-SHA384", "ec"), ("PSK-AES256-CBC-SHA384", "psk")]


def manners():
    gcm, old = "TLS_AES_128_GCM_SHA256", "ECDHE-ECDSA-AES128-GCM-SHA256"
    for suite in SUITES_1_3:
        yield suite, dict(version=TLS_1_3, cipher=suite), {}
    for suite, key in SUITES_1_2:
        yield suite, dict(version=TLS_1_2, cipher=suite, key=key), {}
    for suite, key in SUITES_CBC:
        yield suite, dict(version=TLS_1_2, cipher=suite, key=key), {}
        yield suite + " without encrypt-then-mac", dict(
            version=TLS_1_2, cipher=suite, key=key, options=NO_ENCRYPT_THEN_MAC), {}
    yield "without extended master secret", dict(
        version=TLS_1_2, cipher=old, options=NO_EXTENDED_MASTER_SECRET), {}
    for version, suite in ((TLS_1_3, gcm), (TLS_1_2, old)):
        name = "1.3, " if version == TLS_1_3 else "1.2, "
        yield name + "resumed", dict(version=version, cipher=suite), dict(resume=True)
        yield name + "small records", dict(version=version, cipher=suite, fragment=512), {}
        yield name + "small segments", dict(version=version, cipher=suite), dict(most=700)
        yield name + "tiny segments", dict(version=version, cipher=suite), dict(most=61)
        yield name + "no goodbye", dict(version=version, cipher=suite), dict(goodbye=False)
    yield "1.3, pre-shared key", dict(version=TLS_1_3, cipher=gcm, key="psk"), {}
    yield "1.3, other hello asked for", dict(version=TLS_1_3, cipher=gcm, retry=True), {}
    yield "1.3, padded", dict(version=TLS_1_3, cipher=gcm, padding=512), {}
    yield "1.3, key updates", dict(version=TLS_1_3, cipher=gcm), dict(update=3)
    yield "1.3, key updates, SHA-384", dict(version=TLS_1_3, cipher=SUITES_1_3[1]), dict(update=2)


# Of the report: what depends on how many frames and bytes there are.
CAPTURE = {"bytes", "frames"}
ALWAYS = {"file", "format", "ip", "tcp", "memory", "options", "tls", "tls_read",
          "tls_version", "tls_cipher_suite", "tls_client_random"}
FRAMES = {"frame", "flush_request", "flush"}


def audit(path, keys=None, *options):
    run = subprocess.run([rewrap.BIN / "nbdaudit", "--format=json", "--messages",
                          *([f"--tls-keys={keys}"] if keys else []), *options, path],
                         stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                         timeout=300, env=dict(os.environ, LC_ALL="C.UTF-8"))
    lines = [json.loads(line) for line in run.stdout.decode(errors="surrogateescape").splitlines()]
    return run.returncode, lines, run.stderr.decode(errors="replace")


def renumber(value, of, key=""):
    """The numbers of frames as they were in clear."""
    if isinstance(value, dict):
        return {k: renumber(v, of, "frame" if key == "frames" else k) for k, v in value.items()}
    if isinstance(value, list):
        return [renumber(v, of, key) for v in value]
    if key == "message" and isinstance(value, str):
        return re.sub(r"(frames? (?:\d+ to )?)(\d+)", lambda m: m[1] + str(of[int(m[2]) - 1]),
                      re.sub(r"(frames )(\d+)( to )", lambda m: m[1] + str(of[int(m[2]) - 1]) + m[3],
                             value))
    if (key in FRAMES or key.endswith("_frame")) and isinstance(value, int) and value:
        return of[value - 1]
    return value


def agreed(line):
    """Without what NBD_OPT_STARTTLS and its answer add."""
    more = {"client": len(wrap.STARTTLS), "server": len(wrap.STARTTLS_ACK)}
    if line["type"] == "message" and line["stream_offset"] > wrap.GREETING:
        line["stream_offset"] -= more[line["from"]]
    elif line["type"] == "message" and line["from"] == "client" and line["stream_offset"] > wrap.FLAGS:
        line["stream_offset"] -= more["client"]
    elif line["type"] == "connection":
        for side, count in more.items():
            for key in ("fed", "decoded"):
                line["bytes"][side][key] -= count
    return line


def comparable(lines, of=None):
    out = []
    for line in lines:
        kind = line["type"]
        if of:
            line = agreed(renumber(line, of))
        if kind == "message" and "STARTTLS" in json.dumps(line):
            continue
        if kind != "finding":
            line = {k: v for k, v in line.items()
                    if k not in ALWAYS and not (kind == "capture" and k in CAPTURE)}
        out.append(json.dumps(line, sort_keys=True))
    return out


def differences(a, b):
    out = []
    for one, other in itertools.zip_longest(a, b):
        if one == other:
            continue
        one, other = json.loads(one or "{}"), json.loads(other or "{}")
        keys = [k for k in one.keys() | other.keys() if one.get(k) != other.get(k)]
        out += [f"{one.get('type')} {k}: {one.get(k)}\n  inside TLS: {other.get(k)}" for k in keys]
    return "\n".join(out[:20])


def check(path, name, context_arguments, wrap_arguments, plain, directory):
    context = openssl.Context(**context_arguments)
    try:
        segments, of = wrap.wrap(wrap.load(path), context, **wrap_arguments)
        capture, keys = directory / "tls.pcap", directory / "keys.log"
        wrap.save(segments, capture)
        keys.write_text(context.keys())
        status, lines, words = audit(capture, keys)
    finally:
        context.close()
    if wrap_arguments.get("resume") and path.name == "multi-conn.pcap" and not context.reused:
        return "no session was resumed"
    for line in lines:
        if line["type"] == "connection" and not line.get("tls_read"):
            return f"connection {line['id']} is not read: {line}"
    if (status, words) != (plain[0], plain[2]):
        return f"exit status {status}, not {plain[0]}: {words}"
    return differences(comparable(plain[1]), comparable(lines, of))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--share", default="1/1")
    parser.add_argument("captures", nargs="*", type=pathlib.Path)
    arguments = parser.parse_args()
    if not openssl.libssl():
        print("OpenSSL's library is not here")
        return 77
    share, shares = map(int, arguments.share.split("/"))
    failed = runs = 0
    captures = arguments.captures or [
        path for where in ("samples", "tests/reports", "tests/verdicts")
        for path in sorted((rewrap.ROOT / where).rglob("*.pcap"))]
    wrapped = set()
    with tempfile.TemporaryDirectory() as directory:
        for at, path in enumerate(captures):
            plain = audit(path)
            if any(line.get("tls") is True for line in plain[1]):
                continue  # it is inside TLS already
            try:
                wrap.wrap(wrap.load(path), openssl.Context(TLS_1_3, SUITES_1_3[0]))
            except wrap.Refused as reason:
                if arguments.captures:
                    print(f"{path.name}: left out: {reason}")
                continue
            wrapped.add(path.name)
            for number, (name, context, how) in enumerate(manners()):
                # all manners of one capture, and of each capture some
                if not arguments.captures and (number + at) % 12 and path.name != "multi-conn.pcap":
                    continue
                runs += 1
                if runs % shares != share % shares:
                    continue
                trouble = check(path, name, context, how, plain, pathlib.Path(directory))
                if trouble:
                    failed += 1
                    print(f"FAIL {path.name}, {name}:\n{trouble}")
    print(f"{runs} audits of {len(wrapped)} captures, {failed} differ")
    return 1 if failed or not wrapped else 0


if __name__ == "__main__":
    sys.exit(main())
