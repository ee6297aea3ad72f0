# SPDX-License-Identifier: GPL-2.0-or-later
"""What the Python clients of the samples and of the live tests share: libnbd,
and contents that tell which write they came from."""

import nbd

SECTOR = 512


def pattern(tag, length):
    """Contents of one write: each sector holds the tag and its number, so no two
    sectors of the tests' writes are alike."""
    sectors = []
    for number in range((length + SECTOR - 1) // SECTOR):
        text = ("%s sector %d " % (tag, number)).encode()
        sectors.append((text * (SECTOR // len(text) + 1))[:SECTOR])
    return bytearray(b"".join(sectors)[:length])


def handle(strict=True):
    """A libnbd handle; not strict: it sends what it is told to, allowed or not."""
    connection = nbd.NBD()
    if not strict:
        connection.set_strict_mode(0)
    return connection


def connect(uri, strict=True, contexts=()):
    """A connected libnbd handle."""
    connection = handle(strict)
    for context in contexts:
        connection.add_meta_context(context)
    connection.connect_uri(uri)
    return connection


def failing(call, *arguments):
    """Makes a call that must fail, and returns the error's number."""
    try:
        call(*arguments)
    except nbd.Error as error:
        return error.errnum
    raise AssertionError("%s%r should have failed" % (call.__name__, arguments))
