# SPDX-License-Identifier: GPL-2.0-or-later
"""nbdscope - libnbdscope for Python: decode NBD, and audit it, in a server's own tests.

Needs the shared library (libnbdscope.so.0) and nothing else.  Names and meanings are those
of <nbdscope/nbdscope.h>; docs/library.md is the manual.

A capture:

    audit = nbdscope.Audit()
    audit.file("nbd.pcap")
    assert audit.verdict == "clean", audit.report("text")

A server under test, with clients that connect to `relay.address` instead of to it:

    with nbdscope.Relay(("127.0.0.1", 10809)) as relay:
        run_clients(relay.address)
    assert not [f for f in relay.audit.findings() if f.level >= nbdscope.VIOLATION]

One connection's messages:

    decoder = nbdscope.Decoder()
    for message in decoder.feed(nbdscope.SERVER, greeting):
        print(message.name, message.fields)
"""

import collections
import ctypes
import ctypes.util
import os
import socket
import threading

CLIENT, SERVER = 0, 1
NOTE, HAZARD, SUSPECT, VIOLATION = range(4)
NOW = -2**63

Field = collections.namedtuple("Field", "name text number bytes")
Message = collections.namedtuple("Message", (
    "is_message number name side summary offset head_length payload_length answers malformed "
    "unsolicited final fields"))
Message.__doc__ = "See <nbdscope/messages.h>; `fields` are Field(name, text, number, bytes)."
Finding = collections.namedtuple("Finding", (
    "rule ref level level_name at_fault message advice connection export command offset length "
    "frames time count"))
Finding.__doc__ = "See <nbdscope/audit.h>; `frames` is {role: frame or number of the call}."


class Error(Exception):
    """A function of the library failed."""


def _load():
    name = os.environ.get("NBDSCOPE_LIBRARY") or "libnbdscope.so.0"
    library = ctypes.CDLL(name, use_errno=True)
    pointer, text = ctypes.c_void_p, ctypes.c_char_p
    u32, u64, i64, number = ctypes.c_uint32, ctypes.c_uint64, ctypes.c_int64, ctypes.c_int
    size, out = ctypes.c_size_t, ctypes.POINTER
    for function, result, *arguments in (
            ("version", text), ("level_name", text, number), ("role_name", text, ctypes.c_uint),
            ("decoder_new", pointer), ("decoder_new_middle", pointer),
            ("decoder_free", None, pointer),
            ("decoder_feed", number, pointer, number, text, size),
            ("decoder_gap", number, pointer, number, u64),
            ("decoder_end", number, pointer, number),
            ("decoder_on_payload", None, pointer, _PAYLOAD, pointer),
            ("decoder_next", pointer, pointer),
            ("message_is_message", number, pointer), ("message_number", u64, pointer),
            ("message_name", text, pointer), ("message_side", number, pointer),
            ("message_summary", text, pointer), ("message_offset", u64, pointer),
            ("message_head_length", u64, pointer), ("message_payload_length", u64, pointer),
            ("message_answers", text, pointer), ("message_is_malformed", number, pointer),
            ("message_is_unsolicited", number, pointer), ("message_is_final", number, pointer),
            ("message_fields", size, pointer), ("message_find", number, pointer, text, size),
            ("message_field_name", text, pointer, size),
            ("message_field_text", text, pointer, size),
            ("message_field_number", u64, pointer, size),
            ("message_field_bytes", pointer, pointer, size, out(size)),
            ("audit_new", pointer), ("audit_free", None, pointer),
            ("audit_set_memory", number, pointer, u64),
            ("audit_set_exclusive", number, pointer, number),
            ("audit_add_port", number, pointer, ctypes.c_uint),
            ("audit_keep_page", number, pointer),
            ("audit_file", number, pointer, text),
            ("audit_packet", number, pointer, number, text, u32, u32, i64),
            ("audit_stream", pointer, pointer, text, text, i64),
            ("stream_data", i64, pointer, number, text, size, i64),
            ("stream_gap", i64, pointer, number, u64, i64),
            ("stream_end", i64, pointer, number, i64), ("stream_close", i64, pointer, i64),
            ("audit_finish", number, pointer), ("audit_next", pointer, pointer),
            ("audit_verdict", text, pointer), ("audit_report", text, pointer, text),
            ("audit_error", text, pointer),
            ("finding_rule", text, pointer), ("finding_ref", text, pointer),
            ("finding_level", number, pointer), ("finding_at_fault", text, pointer),
            ("finding_message", text, pointer), ("finding_advice", text, pointer),
            ("finding_connection", u32, pointer),
            ("finding_export", pointer, pointer, out(size)),
            ("finding_command", text, pointer),
            ("finding_range", number, pointer, out(u64), out(u64)),
            ("finding_frame", u64, pointer, text), ("finding_time", i64, pointer),
            ("finding_count", u64, pointer)):
        entry = getattr(library, "nbdscope_" + function)
        entry.restype, entry.argtypes = result, arguments
    return library


_PAYLOAD = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_uint64, ctypes.c_uint64,
                            ctypes.c_void_p, ctypes.c_size_t)
_lib = _load()


def _fail(what=None):
    number = ctypes.get_errno()
    raise Error(what or os.strerror(number))


def _done(result, what=None):
    if result is None or (isinstance(result, int) and result < 0):
        _fail(what)
    return result


def _text(text):
    """Bytes for the library, whose strings end with a NUL."""
    data = os.fsencode(text)
    if b"\0" in data:
        raise ValueError("embedded null byte")
    return data


def _str(text):
    return None if text is None else text.decode("utf-8", "replace")


def version():
    """The version of the library."""
    return _str(_lib.nbdscope_version())


def _roles():
    roles = []
    while (name := _lib.nbdscope_role_name(len(roles))) is not None:
        roles.append(name)
    return roles


class Decoder:
    """The bytes of one connection in, its messages out."""

    def __init__(self, middle=False, on_payload=None):
        """`on_payload(number of the message, place, bytes)` is given payload as it comes."""
        new = _lib.nbdscope_decoder_new_middle if middle else _lib.nbdscope_decoder_new
        self._decoder = _done(new())
        if on_payload:
            self._payload = _PAYLOAD(lambda _, number, at, data, length: on_payload(
                number, at, ctypes.string_at(data, length)))
            _lib.nbdscope_decoder_on_payload(self._decoder, self._payload, None)

    def __del__(self):
        if getattr(self, "_decoder", None):
            _lib.nbdscope_decoder_free(self._decoder)

    def _fields(self, message):
        fields, length = [], ctypes.c_size_t()
        for i in range(_lib.nbdscope_message_fields(message)):
            data = _lib.nbdscope_message_field_bytes(message, i, ctypes.byref(length))
            fields.append(Field(_str(_lib.nbdscope_message_field_name(message, i)),
                                _str(_lib.nbdscope_message_field_text(message, i)),
                                _lib.nbdscope_message_field_number(message, i),
                                ctypes.string_at(data, length.value) if data else None))
        return fields

    def _messages(self):
        found = []
        while message := _lib.nbdscope_decoder_next(self._decoder):
            found.append(Message(
                bool(_lib.nbdscope_message_is_message(message)),
                _lib.nbdscope_message_number(message),
                _str(_lib.nbdscope_message_name(message)), _lib.nbdscope_message_side(message),
                _str(_lib.nbdscope_message_summary(message)),
                _lib.nbdscope_message_offset(message),
                _lib.nbdscope_message_head_length(message),
                _lib.nbdscope_message_payload_length(message),
                _str(_lib.nbdscope_message_answers(message)),
                bool(_lib.nbdscope_message_is_malformed(message)),
                bool(_lib.nbdscope_message_is_unsolicited(message)),
                bool(_lib.nbdscope_message_is_final(message)), self._fields(message)))
        return found

    def feed(self, side, data):
        """Bytes that `side` sent; the messages that became whole."""
        _done(_lib.nbdscope_decoder_feed(self._decoder, side, bytes(data), len(data)))
        return self._messages()

    def gap(self, side, length):
        """So many bytes of `side` are not known."""
        _done(_lib.nbdscope_decoder_gap(self._decoder, side, length))
        return self._messages()

    def end(self, side):
        """`side` sends nothing more."""
        _done(_lib.nbdscope_decoder_end(self._decoder, side))
        return self._messages()


class Stream:
    """A connection of an audit. Numbers that are returned are those that findings name."""

    def __init__(self, audit, handle):
        self._audit, self._stream = audit, handle

    def _handle(self):
        if not self._stream:
            raise Error("the stream is closed")
        return self._stream

    def data(self, side, data, time=NOW):
        return _done(_lib.nbdscope_stream_data(self._handle(), side, bytes(data), len(data), time))

    def gap(self, side, length, time=NOW):
        return _done(_lib.nbdscope_stream_gap(self._handle(), side, length, time))

    def end(self, side, time=NOW):
        return _done(_lib.nbdscope_stream_end(self._handle(), side, time))

    def close(self, time=NOW):
        handle, self._stream = self._handle(), None
        return _done(_lib.nbdscope_stream_close(handle, time))


class Audit:
    """What nbdaudit would say of a capture, of packets, or of connections."""

    def __init__(self, exclusive=False, memory=None, ports=(), page=False):
        """`page`: report("html") will be asked for."""
        self._audit = _done(_lib.nbdscope_audit_new())
        self._found = []
        _done(_lib.nbdscope_audit_set_exclusive(self._audit, exclusive))
        if memory is not None:
            _done(_lib.nbdscope_audit_set_memory(self._audit, memory))
        if page:
            _done(_lib.nbdscope_audit_keep_page(self._audit))
        for port in ports:
            _done(_lib.nbdscope_audit_add_port(self._audit, port))

    def __del__(self):
        if getattr(self, "_audit", None):
            _lib.nbdscope_audit_free(self._audit)

    def file(self, path):
        """A capture file. Error if it cannot be read to its end; the rest is judged."""
        if _lib.nbdscope_audit_file(self._audit, _text(path)) < 0:
            _fail(_str(_lib.nbdscope_audit_error(self._audit)))

    def packet(self, data, linktype=1, length=None, time=NOW):
        """A packet from its link layer on; `length` if more of it was on the wire."""
        _done(_lib.nbdscope_audit_packet(self._audit, linktype, bytes(data), len(data),
                                         len(data) if length is None else length, time))

    def stream(self, client=None, server=None, time=NOW):
        """A connection that begins, between addresses such as "192.0.2.1:10809"."""
        return Stream(self, _done(_lib.nbdscope_audit_stream(
            self._audit, None if client is None else _text(client),
            None if server is None else _text(server), time)))

    def finish(self):
        _done(_lib.nbdscope_audit_finish(self._audit))

    def findings(self):
        """All findings that are certain; after finish(), or verdict, all."""
        offset, length = ctypes.c_uint64(), ctypes.c_uint64()
        size = ctypes.c_size_t()
        while finding := _lib.nbdscope_audit_next(self._audit):
            name = _lib.nbdscope_finding_export(finding, ctypes.byref(size))
            ranged = _lib.nbdscope_finding_range(finding, ctypes.byref(offset),
                                                 ctypes.byref(length))
            level = _lib.nbdscope_finding_level(finding)
            frames = {_str(role): _lib.nbdscope_finding_frame(finding, role) for role in _roles()}
            self._found.append(Finding(
                _str(_lib.nbdscope_finding_rule(finding)),
                _str(_lib.nbdscope_finding_ref(finding)), level,
                _str(_lib.nbdscope_level_name(level)),
                _str(_lib.nbdscope_finding_at_fault(finding)),
                _str(_lib.nbdscope_finding_message(finding)),
                _str(_lib.nbdscope_finding_advice(finding)),
                _lib.nbdscope_finding_connection(finding),
                ctypes.string_at(name, size.value) if name else None,
                _str(_lib.nbdscope_finding_command(finding)),
                offset.value if ranged else None, length.value if ranged else None,
                {role: frame for role, frame in frames.items() if frame},
                _lib.nbdscope_finding_time(finding), _lib.nbdscope_finding_count(finding)))
        return list(self._found)

    @property
    def verdict(self):
        """Finishes: "clean", "hazards", "suspect", "violations" or "unaudited"."""
        return _str(_done(_lib.nbdscope_audit_verdict(self._audit)))

    def report(self, form="json"):
        """Finishes: the report of nbdaudit in a form of its --format."""
        return _str(_done(_lib.nbdscope_audit_report(self._audit, _text(form))))


class Relay:
    """Stands between clients and the server under test, and audits what passes.

    `server` is a path (a Unix domain socket) or (host, port), and so is `listen`, where
    clients connect to: by default a free port on the loopback address, which `address` tells.
    A connection is cut off once the audit is finished, as nothing more can be told. close(), or the end of a with statement, ends it and finishes its `audit`."""

    def __init__(self, server, listen=None, audit=None):
        self.audit = audit or Audit()
        self._server, self._lock = server, threading.Lock()
        self._threads, self._sockets, self._closing = [], [], False
        family = socket.AF_UNIX if isinstance(listen, str) else socket.AF_INET
        self._listener = socket.socket(family)
        self._listener.bind(listen or ("127.0.0.1", 0))
        self._listener.listen()
        self.address = self._listener.getsockname()
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def _connect(self):
        if isinstance(self._server, str):
            server = socket.socket(socket.AF_UNIX)
            try:
                server.connect(self._server)
            except OSError:
                server.close()
                raise
            return server
        return socket.create_connection(self._server)

    def _accept(self):
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            if self._closing:
                client.close()
                return
            try:
                server = self._connect()
            except OSError:
                client.close()
                continue
            try:
                with self._lock:
                    stream = self.audit.stream()
            except Error:
                client.close()
                server.close()
                continue
            left = [CLIENT, SERVER]
            self._sockets += [client, server]
            for side, source, sink in ((CLIENT, client, server), (SERVER, server, client)):
                thread = threading.Thread(target=self._pass, daemon=True,
                                          args=(stream, left, side, source, sink))
                self._threads.append(thread)
                thread.start()

    def _pass(self, stream, left, side, source, sink):
        try:
            while data := source.recv(1 << 18):
                with self._lock:  # told before it is sent on; see <nbdscope/audit.h>
                    stream.data(side, data)
                sink.sendall(data)
            with self._lock:
                stream.end(side)
            sink.shutdown(socket.SHUT_WR)
        except (OSError, Error):  # cut off: the other direction will notice
            for end in (source, sink):
                try:
                    end.shutdown(socket.SHUT_RDWR)
                except OSError:
                    pass
        with self._lock:
            left.remove(side)
            if not left:
                source.close()
                sink.close()
                try:
                    stream.close()
                except Error:  # the audit is finished, and the stream freed
                    pass

    def close(self):
        if self._closing:
            return
        self._closing = True
        self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._listener.close()
        for end in self._sockets:
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
        for thread in self._threads:
            thread.join()
        self.audit.finish()
