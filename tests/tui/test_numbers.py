#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""What numbers of nbdtop's lists say when packets were lost."""

import re
import struct
import subprocess
import unittest

from terminal import Terminal, sample


def without_replies(path, first, end):
    """The sample fio, from which every other packet of the server is missing among those
    from `first` to before `end`."""
    data = subprocess.run(["zstd", "-dc", sample("fio")], stdout=subprocess.PIPE,
                          check=True).stdout
    out, at, number = [data[:24]], 24, 0
    while at < len(data):
        length = struct.unpack_from("<I", data, at + 8)[0]
        packet = data[at:at + 16 + length]
        port = struct.unpack_from(">H", packet, 16 + 14 + 20)[0]
        if not (first <= number < end and port == 10809 and number % 2):
            out.append(packet)
        at += 16 + length
        number += 1
    path.write_bytes(b"".join(out))
    return path


class Lost(unittest.TestCase):
    def test_marked_until_settled(self):
        """UNFLUSHED has a mark while a flush, or its reply, may be missing; once a later
        flush was answered it has none."""
        with Terminal([sample("fio")], 120, 20) as t:
            t.wait("316 packets", re.compile(r'(?m)^"" .* 10K '))
            self.assertNotIn("?", t.text())
            late = without_replies(t.work / "late.pcap", 100, 180)
            early = without_replies(t.work / "early.pcap", 60, 80)
            with Terminal([late], 120, 20) as u:
                u.wait("295 packets", re.compile(r'(?m)^"" .* 10K\? '))
                u.keys("2")
                u.wait(re.compile(r"(?m)^   4 .* \? "), re.compile(r"(?m)^   5 .* 7K\? "),
                       re.compile(r"(?m)^   6 .* 3K\b"))
            with Terminal([early], 120, 20) as u:
                u.wait(re.compile(r'(?m)^"" .* 13K '), "311 packets")
                u.keys("2")
                u.wait(re.compile(r"(?m)^   5 .* 7K "))
                self.assertNotIn("?", u.text())


if __name__ == "__main__":
    unittest.main(verbosity=2)
