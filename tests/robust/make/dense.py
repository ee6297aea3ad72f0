# SPDX-License-Identifier: GPL-2.0-or-later
"""Commands at random, over few sectors and with few values, on several
connections at a time: nearly every write hides behind it a read that would look
stale if the capture had lost that write.

Arguments: URI SEED COMMANDS CONNECTIONS [WORD...], words being
  fua       half of the writes carry FUA
  zero      WRITE_ZEROES too
  trim      TRIM too
  part      also ranges that cover sectors partly
  wide      over 16 blocks of 4 KiB, not in one: no old contents are dropped to
            make room for new ones, so that all stale data is known as such
  sync      one command at a time on all connections together
  reopen    connections end, some without NBD_CMD_DISC, and new ones come
  quiet     no flush at the end
  names     every connection asks for another export
  tls       the second connection is encrypted, with the key in the file psk
Failing commands are no failure.
"""

import random
import sys

import nbd

SECTOR = 512
SECTORS = 8
VALUES = [bytes(SECTOR), b"a" * SECTOR, b"b" * SECTOR]

uri, seed, commands, connections = sys.argv[1], *map(int, sys.argv[2:5])
words = sys.argv[5:]
dice = random.Random(seed)
done = {"answered": 0, "failed": 0}


class Connection:
    made = 0

    def __init__(self):
        self.h = nbd.NBD()
        Connection.made += 1
        if "names" in words:
            self.h.set_export_name("disk%d" % Connection.made)
        if "tls" in words and Connection.made == 2:
            self.h.set_tls(nbd.TLS_REQUIRE)
            self.h.set_tls_username("robust")
            self.h.set_tls_psk_file("psk")
        host, port = uri.split("/")[2].split(":")
        self.h.connect_tcp(host, port)
        self.waiting = []

    def poll(self, timeout):
        """Lets replies in; false once the connection is dead."""
        try:
            self.h.poll(timeout)
        except nbd.Error:
            return False
        for cookie in list(self.waiting):
            try:
                if not self.h.aio_command_completed(cookie):
                    continue
                done["answered"] += 1
            except nbd.Error:
                done["failed"] += 1
            self.waiting.remove(cookie)
        return True

    def drain(self):
        while self.waiting and self.poll(1000):
            pass

    def send(self):
        h = self.h
        first = dice.randrange(2 if "wide" in words else SECTORS)
        count = min(dice.choice([1, 1, 2, 4]), SECTORS - first)
        offset, length = first * SECTOR, count * SECTOR
        if "wide" in words:
            offset += dice.randrange(16) * 4096
        if "part" in words and dice.random() < 0.2:
            offset += 100
            length -= 100
        fua = nbd.CMD_FLAG_FUA if "fua" in words and dice.random() < 0.5 else 0
        what = dice.random()
        if what < 0.35:
            buffer = nbd.Buffer(length)
            cookie = h.aio_pread(buffer, offset)
        elif what < 0.47:
            cookie = h.aio_flush()
        elif what < 0.53 and "zero" in words:
            cookie = h.aio_zero(length, offset, flags=fua)
        elif what < 0.56 and "trim" in words:
            cookie = h.aio_trim(length, offset)
        else:
            data = b"".join(dice.choice(VALUES) for _ in range(count))[:length]
            buffer = nbd.Buffer.from_bytearray(bytearray(data))
            cookie = h.aio_pwrite(buffer, offset, flags=fua)
        self.waiting.append(cookie)


all_of_them = [Connection() for _ in range(connections)]
for _ in range(commands):
    c = dice.choice(all_of_them)
    if "reopen" in words and dice.random() < 0.03:
        if dice.random() < 0.7:
            c.drain()
            c.h.shutdown()
        else:
            c.h = None  # closed as it is, with commands in flight
        all_of_them[all_of_them.index(c)] = Connection()
        continue
    try:
        c.send()
    except nbd.Error:
        done["failed"] += 1
    if "sync" in words:
        c.drain()
    while len(c.waiting) > dice.randrange(4):
        c.poll(1000)
    for other in all_of_them:
        if dice.random() < 0.5:
            other.poll(0)
for c in all_of_them:
    c.drain()
    if "quiet" not in words:
        try:
            c.h.flush()
        except nbd.Error:
            done["failed"] += 1
    c.h.shutdown()
print(done)
