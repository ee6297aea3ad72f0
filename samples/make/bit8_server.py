# SPDX-License-Identifier: GPL-2.0-or-later
"""An NBD server that numbers NBD_FLAG_SEND_CACHE as qemu-nbd 3.0 did: bit 8.

By the protocol that bit is NBD_FLAG_CAN_MULTI_CONN, so clients read a promise that
was never made.  In what else can tell such a server from others it follows qemu 3.0
too: block sizes are sent with the answer to NBD_OPT_GO though nobody asked for
them, and NBD_CMD_CACHE is honoured, up to the maximum block.

    bit8_server.py --port PORT --ready FILE

Serves one disk of memory to any number of connections, and creates FILE when it
listens.
"""

import argparse
import socketserver
import struct
import threading

SIZE = 1024 * 1024
PREFERRED = 4096
MAXIMUM = 32 * 1024 * 1024

NBDMAGIC = 0x4E42444D41474943
IHAVEOPT = 0x49484156454F5054
REPLY_MAGIC = 0x0003E889045565A9
REQUEST_MAGIC = 0x25609513
SIMPLE_REPLY_MAGIC = 0x67446698

FIXED_NEWSTYLE, NO_ZEROES = 1, 2
OPT_EXPORT_NAME, OPT_ABORT, OPT_GO = 1, 2, 7
REP_ACK, REP_INFO, REP_ERR_UNSUP = 1, 3, 0x80000001
INFO_EXPORT, INFO_BLOCK_SIZE = 0, 3
READ, WRITE, DISC, FLUSH, TRIM, CACHE, WRITE_ZEROES = range(7)
EINVAL = 22

# HAS_FLAGS, SEND_FLUSH, SEND_FUA, SEND_TRIM, SEND_WRITE_ZEROES, and SEND_CACHE
# where it does not belong.
FLAGS = 1 << 0 | 1 << 2 | 1 << 3 | 1 << 5 | 1 << 6 | 1 << 8

disk = bytearray(SIZE)
lock = threading.Lock()


class Gone(Exception):
    """The client has closed the connection, or asked for its end."""


class Connection(socketserver.BaseRequestHandler):
    def take(self, count):
        data = bytearray()
        while len(data) < count:
            piece = self.request.recv(count - len(data))
            if not piece:
                raise Gone
            data += piece
        return bytes(data)

    def unpack(self, layout):
        return struct.unpack(layout, self.take(struct.calcsize(layout)))

    def send(self, layout, *values, data=b""):
        self.request.sendall(struct.pack(layout, *values) + data)

    def handle(self):
        try:
            self.handshake()
            while True:
                self.command()
        except (Gone, ConnectionError):
            pass

    def option_reply(self, option, kind, data=b""):
        self.send(">QIII", REPLY_MAGIC, option, kind, len(data), data=data)

    def handshake(self):
        self.send(">QQH", NBDMAGIC, IHAVEOPT, FIXED_NEWSTYLE | NO_ZEROES)
        (client_flags,) = self.unpack(">I")
        while True:
            magic, option, length = self.unpack(">QII")
            if magic != IHAVEOPT or length > 4096:
                raise Gone
            self.take(length)
            if option == OPT_EXPORT_NAME:
                zeroes = 0 if client_flags & NO_ZEROES else 124
                self.send(">QH", SIZE, FLAGS, data=bytes(zeroes))
                return
            if option == OPT_GO:
                self.option_reply(option, REP_INFO,
                                  struct.pack(">HIII", INFO_BLOCK_SIZE, 1, PREFERRED, MAXIMUM))
                self.option_reply(option, REP_INFO, struct.pack(">HQH", INFO_EXPORT, SIZE, FLAGS))
                self.option_reply(option, REP_ACK)
                return
            if option == OPT_ABORT:
                self.option_reply(option, REP_ACK)
                raise Gone
            self.option_reply(option, REP_ERR_UNSUP)

    def command(self):
        magic, _, command, cookie, offset, length = self.unpack(">IHHQQI")
        if magic != REQUEST_MAGIC or command == DISC:
            raise Gone
        if command == WRITE and length > MAXIMUM:
            raise Gone
        data = self.take(length) if command == WRITE else b""
        error, answer = self.execute(command, offset, length, data)
        self.send(">IIQ", SIMPLE_REPLY_MAGIC, error, cookie, data=answer)

    def execute(self, command, offset, length, data):
        end = offset + length
        if command > WRITE_ZEROES or end > SIZE:
            return EINVAL, b""
        if command == CACHE and length > MAXIMUM:
            return EINVAL, b""
        with lock:
            if command == READ:
                return 0, bytes(disk[offset:end])
            if command == WRITE:
                disk[offset:end] = data
            elif command in (TRIM, WRITE_ZEROES):
                disk[offset:end] = bytes(length)
        return 0, b""


class Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True


def main():
    parser = argparse.ArgumentParser(description="NBD server with SEND_CACHE at bit 8")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--ready", required=True)
    arguments = parser.parse_args()
    with Server(("127.0.0.1", arguments.port), Connection) as server:
        open(arguments.ready, "w").close()
        server.serve_forever()


if __name__ == "__main__":
    main()
