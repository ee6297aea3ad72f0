# SPDX-License-Identifier: GPL-2.0-or-later
"""samples/make/private_cache.py, an nbdkit plugin whose connections each have a private
cache; here what a connection wrote is stored when it ends."""

import importlib.util
import pathlib

_path = pathlib.Path(__file__).resolve().parents[2] / "samples" / "make" / "private_cache.py"
_spec = importlib.util.spec_from_file_location("private_cache", _path)
_cache = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(_cache)

API_VERSION = 2
config, open, get_size = _cache.config, _cache.open, _cache.get_size
can_write, can_flush, can_fua, can_zero = (_cache.can_write, _cache.can_flush, _cache.can_fua,
                                           _cache.can_zero)
pread, pwrite, zero, flush = _cache.pread, _cache.pwrite, _cache.zero, _cache.flush


def close(connection):
    connection.write_back(sorted(connection.dirty))
