# SPDX-License-Identifier: GPL-2.0-or-later
"""Both ends of a TLS session in memory, by OpenSSL: bytes in, records out.

Python's own ssl has no key updates, padding or pre-shared keys; OpenSSL's library has.
"""

import ctypes
import ctypes.util
import pathlib
import subprocess
import tempfile

NO_ENCRYPT_THEN_MAC = 1 << 19
NO_EXTENDED_MASTER_SECRET = 1
TLS_1_2, TLS_1_3 = 0x0303, 0x0304

CTRL_MAX_FRAGMENT, CTRL_GROUPS, CTRL_MIN, CTRL_MAX = 52, 92, 123, 124

_ssl = _crypto = None


def libssl():
    """False: it is not here."""
    global _ssl, _crypto
    if _ssl:
        return True
    try:
        _ssl = ctypes.CDLL(ctypes.util.find_library("ssl") or "libssl.so.3")
        _crypto = ctypes.CDLL(ctypes.util.find_library("crypto") or "libcrypto.so.3")
        _ssl.SSL_CTX_set_keylog_callback
    except (OSError, AttributeError):
        return False
    p, i, l, u = ctypes.c_void_p, ctypes.c_int, ctypes.c_long, ctypes.c_uint64
    for name, result, *arguments in (
            ("TLS_method", p), ("SSL_CTX_new", p, p), ("SSL_CTX_free", None, p),
            ("SSL_CTX_ctrl", l, p, i, l, p), ("SSL_CTX_set_options", u, p, u),
            ("SSL_CTX_set_cipher_list", i, p, ctypes.c_char_p),
            ("SSL_CTX_set_ciphersuites", i, p, ctypes.c_char_p),
            ("SSL_CTX_use_certificate_file", i, p, ctypes.c_char_p, i),
            ("SSL_CTX_use_PrivateKey_file", i, p, ctypes.c_char_p, i),
            ("SSL_CTX_set_block_padding", i, p, ctypes.c_size_t),
            ("SSL_CTX_set_session_id_context", i, p, ctypes.c_char_p, ctypes.c_uint),
            ("SSL_new", p, p), ("SSL_free", None, p), ("SSL_set_bio", None, p, p, p),
            ("SSL_set_connect_state", None, p), ("SSL_set_accept_state", None, p),
            ("SSL_do_handshake", i, p), ("SSL_get_error", i, p, i),
            ("SSL_write", i, p, ctypes.c_char_p, i), ("SSL_read", i, p, ctypes.c_char_p, i),
            ("SSL_shutdown", i, p), ("SSL_key_update", i, p, i), ("SSL_session_reused", i, p),
            ("SSL_get1_session", p, p), ("SSL_set_session", i, p, p),
            ("SSL_SESSION_free", None, p), ("SSL_get_current_cipher", p, p),
            ("SSL_CIPHER_get_name", ctypes.c_char_p, p)):
        function = getattr(_ssl, name)
        function.restype, function.argtypes = result, arguments
    for name, result, *arguments in (
            ("BIO_s_mem", p), ("BIO_new", p, p), ("BIO_read", i, p, ctypes.c_char_p, i),
            ("BIO_write", i, p, ctypes.c_char_p, i)):
        function = getattr(_crypto, name)
        function.restype, function.argtypes = result, arguments
    return True


KEYLOG = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_char_p)
PSK_CLIENT = ctypes.CFUNCTYPE(ctypes.c_uint, ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p,
                              ctypes.c_uint, ctypes.c_void_p, ctypes.c_uint)
PSK_SERVER = ctypes.CFUNCTYPE(ctypes.c_uint, ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p,
                              ctypes.c_uint)
PSK = bytes(range(32))

_certificates = {}


def certificate(kind):
    """A certificate and its key, made once: files that live as long as the program."""
    if kind not in _certificates:
        where = tempfile.TemporaryDirectory()
        key = pathlib.Path(where.name) / "key.pem"
        cert = pathlib.Path(where.name) / "cert.pem"
        new = ["ec", "-pkeyopt", "ec_paramgen_curve:P-256"] if kind == "ec" else ["rsa:2048"]
        subprocess.run(["openssl", "req", "-x509", "-newkey", *new, "-nodes", "-keyout", key,
                        "-out", cert, "-subj", "/CN=localhost", "-days", "1"],
                       check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        _certificates[kind] = where, cert, key
    return _certificates[kind][1:]


class Context:
    """What sessions of one kind have in common. `key`: "ec", "rsa" or "psk"."""

    def __init__(self, version, cipher, key="ec", options=0, padding=0, fragment=0, retry=False):
        assert libssl()
        self.log, self.session, self._ends = [], None, []
        self.reused = 0
        self._keylog = KEYLOG(lambda ssl, line: self.log.append(line.decode()))
        self._psk_client = PSK_CLIENT(self._client_key)
        self._psk_server = PSK_SERVER(self._server_key)
        for server in (False, True):
            c = _ssl.SSL_CTX_new(_ssl.TLS_method())
            _ssl.SSL_CTX_ctrl(c, CTRL_MIN, version, None)
            _ssl.SSL_CTX_ctrl(c, CTRL_MAX, version, None)
            _ssl.SSL_CTX_set_options(c, options)
            if version == TLS_1_3:
                done = _ssl.SSL_CTX_set_ciphersuites(c, cipher.encode())
            else:
                done = _ssl.SSL_CTX_set_cipher_list(c, cipher.encode() + b":@SECLEVEL=0")
            assert done == 1, cipher
            if padding:
                _ssl.SSL_CTX_set_block_padding(c, padding)
            if fragment:
                _ssl.SSL_CTX_ctrl(c, CTRL_MAX_FRAGMENT, fragment, None)
            if retry:
                groups = b"P-256" if server else b"X25519:P-256"
                _ssl.SSL_CTX_ctrl(c, CTRL_GROUPS, 0, groups)
            if key == "psk":
                if server:
                    _ssl.SSL_CTX_set_psk_server_callback(ctypes.c_void_p(c), self._psk_server)
                else:
                    _ssl.SSL_CTX_set_psk_client_callback(ctypes.c_void_p(c), self._psk_client)
            elif server:
                cert, secret = certificate(key)
                assert _ssl.SSL_CTX_use_certificate_file(c, bytes(cert), 1) == 1
                assert _ssl.SSL_CTX_use_PrivateKey_file(c, bytes(secret), 1) == 1
            if server:
                _ssl.SSL_CTX_set_session_id_context(c, b"nbd", 3)
                _ssl.SSL_CTX_set_keylog_callback(ctypes.c_void_p(c), self._keylog)
            self._ends.append(c)

    def _client_key(self, ssl, hint, identity, identity_len, key, key_len):
        ctypes.memmove(identity, b"alice\0", 6)
        ctypes.memmove(key, PSK, len(PSK))
        return len(PSK)

    def _server_key(self, ssl, identity, key, key_len):
        ctypes.memmove(key, PSK, len(PSK))
        return len(PSK)

    def keys(self):
        return "".join(line + "\n" for line in self.log)

    def close(self):
        if self.session:
            _ssl.SSL_SESSION_free(self.session)
        for c in self._ends:
            _ssl.SSL_CTX_free(c)


class Session:
    """A client (0) and a server (1)."""

    def __init__(self, context):
        self.context = context
        self.ssl, self.into, self.out = [], [], []
        for end in (0, 1):
            ssl = _ssl.SSL_new(context._ends[end])
            into, out = (_crypto.BIO_new(_crypto.BIO_s_mem()) for _ in (0, 1))
            _ssl.SSL_set_bio(ssl, into, out)
            (_ssl.SSL_set_accept_state if end else _ssl.SSL_set_connect_state)(ssl)
            self.ssl.append(ssl)
            self.into.append(into)
            self.out.append(out)
        if context.session:
            _ssl.SSL_set_session(self.ssl[0], context.session)

    def _drain(self, end):
        """What an end has to send, handed to the other one."""
        room, sent = ctypes.create_string_buffer(1 << 16), b""
        while True:
            n = _crypto.BIO_read(self.out[end], room, len(room))
            if n <= 0:
                break
            sent += room.raw[:n]
        if sent:
            assert _crypto.BIO_write(self.into[1 - end], sent, len(sent)) == len(sent)
        return sent

    def _take(self, end):
        room, got = ctypes.create_string_buffer(1 << 16), b""
        while True:
            n = _ssl.SSL_read(self.ssl[end], room, len(room))
            if n <= 0:
                return got
            got += room.raw[:n]

    def handshake(self):
        """Flights: (end, bytes), in order."""
        flights, done = [], [False, False]
        for turn in range(12):
            end = turn & 1
            if not done[end]:
                done[end] = _ssl.SSL_do_handshake(self.ssl[end]) == 1
            sent = self._drain(end)
            if sent:
                flights.append((end, sent))
            if all(done) and not sent:
                break
        assert all(done), "the handshake does not end"
        self._take(0)  # tickets
        return flights

    def send(self, end, data):
        """The records of it."""
        if data:
            assert _ssl.SSL_write(self.ssl[end], data, len(data)) == len(data)
        sent = self._drain(end)
        assert self._take(1 - end) == data
        return sent

    def update(self, end):
        assert _ssl.SSL_key_update(self.ssl[end], 0) == 1

    def goodbye(self, end):
        _ssl.SSL_shutdown(self.ssl[end])
        return self._drain(end)

    def remember(self):
        """The next session is resumed from this one."""
        if self.context.session:
            _ssl.SSL_SESSION_free(self.context.session)
        self.context.session = _ssl.SSL_get1_session(self.ssl[0])

    def reused(self):
        return _ssl.SSL_session_reused(self.ssl[0]) == 1

    def suite(self):
        return _ssl.SSL_CIPHER_get_name(_ssl.SSL_get_current_cipher(self.ssl[0])).decode()

    def close(self):
        for ssl in self.ssl:
            _ssl.SSL_free(ssl)
