# SPDX-License-Identifier: GPL-2.0-or-later
"""A small NBD server that can be made wrong in one way, for tests of --probe.

	wrong_server.py SOCKET MODE [SIZE]

It listens on a Unix socket, prints "ready", advertises CAN_MULTI_CONN (but in the modes
that end in "-single") and answers with simple replies.  MODES says what each does wrong.
"""

import os
import select
import socket
import struct
import sys
import threading
import time

MODES = {
    "honest": "nothing",
    "honest-single": "nothing; without CAN_MULTI_CONN",
    "read-cache": "a connection keeps what it has read, whatever others write and flush",
    "ignore-fua": "writes stay with their connection until it flushes; FUA is ignored",
    "flush-own": "writes stay with their connection; a flush stores those of its own only",
    "flush-own-single": "the same, without CAN_MULTI_CONN, as it should be",
    "flush-late": "a flush is answered, and what it covers can be read elsewhere later",
    "flush-nothing": "writes stay with their connection for ever; a flush does nothing",
    "zeroes-half": "WRITE_ZEROES zeroes the first half",
    "zeroes-own": "WRITE_ZEROES stays with its connection, whatever is flushed",
    "zeroes-nothing": "WRITE_ZEROES does nothing",
    "trim-late": "a trim is carried out 10 ms after its answer",
    "trim-wide": "a trim takes the 512 bytes before it, too",
    "swap-replies": "of two reads in flight each is answered with the other's data",
    "early-reply": "a write is answered when its head has come",
    "lost-at-disconnect": "a flush stores what all connections wrote; who leaves takes it along",
    "page-cache": "a connection writes back whole pages, as it has them",
    "write-back-again": "a connection writes back at each flush all that it ever wrote",
    "two-replicas": "overlapping writes in flight end differently on each of two copies",
    "lost-update": "small writes in flight in one page undo each other",
    "short-disk": "the last 512 bytes cannot be written, and that is not said",
    "hang-on-flush": "a flush is never answered",
    "hang-on-greeting": "nothing is ever said",
    "end-on-write": "the connection ends at the tenth write",
    "error-on-flush": "a flush fails",
    "forget-all": "when the last connection ends, all contents are gone",
    "nonsense": "the tenth answer is not NBD",
}

PAGE = 4096
FUA = 1
HAS_FLAGS, FLUSH, SEND_FUA, TRIM, ZEROES, MULTI_CONN = 1, 4, 8, 32, 64, 256


class Disk:
    def __init__(self, size):
        self.data = bytearray(size)
        self.copy = bytearray(size)  # two-replicas
        self.lock = threading.RLock()
        self.connections = set()
        self.writes = 0
        self.turn = 0


class Connection:
    def __init__(self, sock, disk, mode):
        self.sock, self.disk, self.mode = sock, disk, mode
        self.dirty = []  # (offset, bytes), oldest first
        self.ever = []
        self.pages = {}  # what was read, or is kept
        self.zeroed = []
        self.answers = 0

    # --- the wire ---

    def get(self, n):
        data = b""
        while len(data) < n:
            part = self.sock.recv(n - len(data))
            if not part:
                raise EOFError
            data += part
        return data

    def negotiate(self):
        if self.mode == "hang-on-greeting":
            time.sleep(3600)
        self.sock.sendall(b"NBDMAGICIHAVEOPT" + struct.pack(">H", 3))
        self.get(4)
        flags = HAS_FLAGS | FLUSH | SEND_FUA | TRIM | ZEROES
        if not self.mode.endswith("-single"):
            flags |= MULTI_CONN
        while True:
            magic, option, length = struct.unpack(">QII", self.get(16))
            data = self.get(length)
            if option == 7:  # GO
                info = struct.pack(">HQH", 0, len(self.disk.data), flags)
                self.option_reply(option, 3, info)
                self.option_reply(option, 1, b"")
                return
            if option == 2:  # ABORT
                self.option_reply(option, 1, b"")
                raise EOFError
            self.option_reply(option, 0x80000001, b"")

    def option_reply(self, option, kind, data):
        self.sock.sendall(struct.pack(">QIII", 0x3E889045565A9, option, kind, len(data)) + data)

    def answer(self, cookie, error=0, data=b""):
        self.answers += 1
        magic = 0x67446698
        if self.mode == "nonsense" and self.answers == 10:
            magic = 0x12345678
        self.sock.sendall(struct.pack(">IIQ", magic, error, cookie) + data)

    def request(self):
        head = self.get(28)
        magic, flags, kind, cookie, offset, length = struct.unpack(">IHHQQI", head)
        assert magic == 0x25609513
        if kind == 1 and self.mode == "early-reply":
            self.answer(cookie)
        payload = self.get(length) if kind == 1 else b""
        return flags, kind, cookie, offset, length, payload

    def more(self, seconds):
        return bool(select.select([self.sock], [], [], seconds)[0])

    def serve(self):
        try:
            self.negotiate()
            with self.disk.lock:
                self.disk.connections.add(self)
            while self.step():
                pass
        except (EOFError, OSError):
            pass
        finally:
            self.leave()
            self.sock.close()

    def leave(self):
        with self.disk.lock:
            self.disk.connections.discard(self)
            # Who has written, and leaves, stores it, as a flush may come that covers it.
            if self.mode not in ("lost-at-disconnect", "flush-nothing"):
                self.store()
            if self.mode == "forget-all" and not self.disk.connections:
                self.disk.data[:] = bytes(len(self.disk.data))

    # --- commands ---

    BATCHED = ("swap-replies", "two-replicas", "lost-update")

    def step(self):
        batch = [self.request()]
        while self.mode in self.BATCHED and self.more(0.002) and len(batch) < 16:
            batch.append(self.request())
        if self.mode == "swap-replies":
            batch = self.swapped(batch)
        if self.mode == "two-replicas":
            with self.disk.lock:
                for _, kind, _, offset, _, payload in reversed(batch):
                    if kind == 1:
                        self.disk.copy[offset:offset + len(payload)] = payload
        if self.mode == "lost-update":
            self.lose(batch)
        for flags, kind, cookie, offset, length, payload in batch:
            if kind == 2:
                return False
            if not self.carry_out(flags, kind, cookie, offset, length, payload):
                return False
        return True

    def swapped(self, batch):
        reads = [i for i, r in enumerate(batch) if r[1] == 0]
        for a, b in zip(reads[::2], reads[1::2]):
            if batch[a][4] == batch[b][4]:  # of one length
                one, two = list(batch[a]), list(batch[b])
                one[3], two[3] = two[3], one[3]
                batch[a], batch[b] = tuple(one), tuple(two)
        return batch

    def lose(self, batch):
        """Each write of a part of a page puts the whole page back as it was before."""
        with self.disk.lock:
            small = [i for i, r in enumerate(batch) if r[1] == 1 and r[4] < PAGE]
            before = bytes(self.disk.data) if len(small) > 1 else b""
            for i in small[1:]:
                start = batch[i][3] // PAGE * PAGE
                page = bytearray(before[start:start + PAGE])
                at = batch[i][3] - start
                page[at:at + batch[i][4]] = batch[i][5]
                one = list(batch[i])
                one[3], one[4], one[5] = start, len(page), bytes(page)
                batch[i] = tuple(one)

    def carry_out(self, flags, kind, cookie, offset, length, payload):
        with self.disk.lock:
            data = b""
            if kind == 0:
                data = self.read(offset, length)
            elif kind == 1:
                self.disk.writes += 1
                if self.mode == "end-on-write" and self.disk.writes % 10 == 0:
                    return False
                self.write(offset, payload, flags & FUA)
                if self.mode == "early-reply":
                    return True
            elif kind == 3:
                if self.mode == "hang-on-flush":
                    return True
                if self.mode == "error-on-flush":
                    self.answer(cookie, 5)
                    return True
                self.flush()
            elif kind == 4:
                self.trim(offset, length)
            elif kind == 6:
                self.zero(offset, length, flags & FUA)
        self.answer(cookie, 0, data)
        return True

    def read(self, offset, length):
        disk = self.disk
        source = disk.data
        if self.mode == "two-replicas":
            disk.turn += 1
            source = disk.copy if disk.turn % 2 else disk.data
        data = bytearray(source[offset:offset + length])
        if self.mode in ("read-cache", "page-cache"):
            for number in range(offset // PAGE, (offset + length - 1) // PAGE + 1):
                start = number * PAGE
                page = self.pages.setdefault(number, bytearray(disk.data[start:start + PAGE]))
                low, high = max(start, offset), min(start + PAGE, offset + length)
                data[low - offset:high - offset] = page[low - start:high - start]
        for start, payload in self.dirty + self.zeroed:
            low, high = max(start, offset), min(start + len(payload), offset + length)
            if low < high:
                data[low - offset:high - offset] = payload[low - start:high - start]
        return bytes(data)

    KEEPING = ("ignore-fua", "flush-own", "flush-own-single", "flush-late", "flush-nothing",
               "lost-at-disconnect", "write-back-again")

    def write(self, offset, payload, fua):
        disk = self.disk
        if self.mode == "short-disk":
            payload = payload[:max(0, len(disk.data) - 512 - offset)]
        self.zeroed = [(start, data) for start, data in self.zeroed
                       if start >= offset + len(payload) or start + len(data) <= offset]
        if self.mode in ("read-cache", "page-cache"):
            self.keep(offset, payload)
            if self.mode == "page-cache":
                if fua:
                    self.store()
                return
        if self.mode in self.KEEPING:
            self.dirty.append((offset, payload))
            self.ever.append((offset, payload))
            if fua and self.mode not in ("ignore-fua", "flush-nothing"):
                self.store()
            return
        disk.data[offset:offset + len(payload)] = payload
        if self.mode != "two-replicas":
            disk.copy[offset:offset + len(payload)] = payload

    def keep(self, offset, payload):
        for number in range(offset // PAGE, (offset + len(payload) - 1) // PAGE + 1):
            start = number * PAGE
            page = self.pages.setdefault(number, bytearray(self.disk.data[start:start + PAGE]))
            low, high = max(start, offset), min(start + PAGE, offset + len(payload))
            page[low - start:high - start] = payload[low - offset:high - offset]
            if self.mode == "page-cache":
                self.dirty_pages().add(number)

    def dirty_pages(self):
        if not hasattr(self, "numbers"):
            self.numbers = set()
        return self.numbers

    def store(self):
        for offset, payload in self.ever if self.mode == "write-back-again" else self.dirty:
            self.disk.data[offset:offset + len(payload)] = payload
        self.dirty = []
        for number in sorted(self.dirty_pages()):
            page = self.pages[number]
            self.disk.data[number * PAGE:number * PAGE + len(page)] = page
        self.dirty_pages().clear()

    def flush(self):
        disk = self.disk
        if self.mode in ("flush-own", "flush-own-single", "ignore-fua"):
            self.store()
        elif self.mode == "flush-late":
            threading.Timer(0.02, self.store_all).start()
        elif self.mode in ("lost-at-disconnect", "write-back-again", "page-cache"):
            self.store_all()
        if self.mode == "page-cache":
            for connection in disk.connections:
                connection.pages.clear()

    def store_all(self):
        with self.disk.lock:
            for connection in list(self.disk.connections):
                connection.store()

    def zero(self, offset, length, fua):
        if self.mode == "zeroes-nothing":
            return
        if self.mode == "zeroes-own":
            self.zeroed.append((offset, bytes(length)))
            return
        if self.mode == "zeroes-half":
            length //= 2
        self.write(offset, bytes(length), fua)

    def trim(self, offset, length):
        if self.mode == "trim-wide":
            start = max(0, offset - 512)
            self.write(start, bytes(offset + length - start), False)
        elif self.mode == "trim-late":
            threading.Timer(0.01, self.late, (offset, length)).start()
        # Else nothing: it is a hint.

    def late(self, offset, length):
        with self.disk.lock:
            self.disk.data[offset:offset + length] = bytes(length)


def main():
    path, mode = sys.argv[1:3]
    size = int(sys.argv[3]) if len(sys.argv) > 3 else 4 << 20
    assert mode in MODES, mode
    disk = Disk(size)
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    listener.listen(16)
    print("ready", flush=True)
    while True:
        sock, _ = listener.accept()
        threading.Thread(target=Connection(sock, disk, mode).serve, daemon=True).start()


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        os._exit(0)
