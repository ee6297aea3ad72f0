# SPDX-License-Identifier: GPL-2.0-or-later
"""An nbdkit plugin whose connections each have a private cache.

A read keeps the blocks that it fetched, a write stays in the cache until a flush
or FUA writes it to the common disk.  Flush also drops what was kept.  So a flush
on one connection does nothing for what another has kept: the plugin must not be
offered with NBD_FLAG_CAN_MULTI_CONN, and with nbdkit's multi-conn filter in its
unsafe mode it is.  In its emulate mode the filter flushes every connection, which
makes the promise good.
"""

import nbdkit

API_VERSION = 2
BLOCK = 4096

disk = bytearray(1024 * 1024)


def config(key, value):
    """size=BYTES, 1 MiB if not given."""
    if key != "size":
        raise RuntimeError("unknown parameter: " + key)
    disk[:] = bytes(nbdkit.parse_size(value))


class Connection:
    def __init__(self):
        self.blocks = {}  # block number to contents
        self.dirty = {}  # block number to what was written of it: (from, to) in order

    def block(self, number):
        if number not in self.blocks:
            start = number * BLOCK
            self.blocks[number] = bytearray(disk[start : start + BLOCK])
        return self.blocks[number]

    def write_back(self, numbers):
        # Only what was written: the rest may be older than what is on the disk.
        for number in numbers:
            for start, stop in self.dirty.pop(number, ()):
                base = number * BLOCK
                disk[base + start : base + stop] = self.blocks[number][start:stop]


def pieces(offset, count):
    """The blocks of a range, as (block number, from, to) within each."""
    end = offset + count
    while offset < end:
        start = offset % BLOCK
        stop = min(BLOCK, start + end - offset)
        yield offset // BLOCK, start, stop
        offset += stop - start


def open(readonly):
    return Connection()


def get_size(connection):
    return len(disk)


def can_write(connection):
    return True


def can_flush(connection):
    return True


def can_fua(connection):
    return nbdkit.FUA_NATIVE


def can_zero(connection):
    return True


def pread(connection, buf, offset, flags):
    done = 0
    for number, start, stop in pieces(offset, len(buf)):
        buf[done : done + stop - start] = connection.block(number)[start:stop]
        done += stop - start


def pwrite(connection, buf, offset, flags):
    done = 0
    for number, start, stop in pieces(offset, len(buf)):
        connection.block(number)[start:stop] = buf[done : done + stop - start]
        connection.dirty.setdefault(number, []).append((start, stop))
        done += stop - start
        if flags & nbdkit.FLAG_FUA:
            connection.write_back([number])


def zero(connection, count, offset, flags):
    pwrite(connection, bytes(count), offset, flags)


def flush(connection, flags):
    connection.write_back(sorted(connection.dirty))
    connection.blocks.clear()
