"""The files in which each process counts, made safe against a disk that is full.

The Prometheus client maps sparse files into memory. If the disk is full, the kernel ends a process that touches a page
without a block on the disk (SIGBUS), in the middle of whatever it does. Here the blocks are allocated before they are
used. If that fails, the process counts in memory instead: its figures are missing from /metrics, nothing else is.
"""

from __future__ import annotations

import errno
import mmap
import os
from contextlib import suppress
from typing import Any

from prometheus_client import mmap_dict, values

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS})
_FIRST_SIZE = 1 << 16  # bytes; the client's files begin with this size and double


class AllocatedFile(mmap_dict.MmapedDict):
    """The client's file of counters, with each block allocated before it is mapped."""

    def __init__(self, filename: str, read_mode: bool = False) -> None:
        if not read_mode:
            try:
                with open(filename, "a+b") as file:
                    _allocate(file.fileno(), _FIRST_SIZE)
            except OSError as error:
                _remove_if_empty(filename)
                filename = _in_memory(error)
        super().__init__(filename, read_mode)  # type: ignore[no-untyped-call]

    def _init_value(self, key: str) -> None:
        # The client doubles the file when the next entry does not fit: its length, the padded name and two doubles.
        entry = len(key.encode()) + 32
        if self._used + entry > self._capacity:
            try:
                _allocate(self._f.fileno(), self._capacity * 2)
            except OSError as error:
                self._move_to_memory(error)
        super()._init_value(key)  # type: ignore[no-untyped-call]

    def _move_to_memory(self, error: OSError) -> None:
        counted = self._m[:]
        self._f.close()
        self._f: Any = open(_in_memory(error), "a+b")  # noqa: SIM115
        self._f.truncate(self._capacity)
        self._m: Any = mmap.mmap(self._f.fileno(), self._capacity)
        self._m[:] = counted


def use() -> None:
    """Make the Prometheus client count in these files."""
    values.MmapedDict = AllocatedFile  # type: ignore[attr-defined]


def _allocate(descriptor: int, size: int) -> None:
    """Put the first `size` bytes of a file on the disk. Raises OSError. macOS can't: there, files stay sparse."""
    if hasattr(os, "posix_fallocate") and os.fstat(descriptor).st_size < size:
        os.posix_fallocate(descriptor, 0, size)


def _remove_if_empty(filename: str) -> None:
    """Delete a file without content: /metrics can't read it."""
    with suppress(OSError):
        if os.stat(filename).st_size == 0:
            os.unlink(filename)


def _in_memory(error: OSError) -> str:
    """Return the name of a new file in memory, if the error is that the disk is full; otherwise raise the error."""
    if error.errno not in _FULL or not hasattr(os, "memfd_create"):
        raise error
    return f"/proc/self/fd/{os.memfd_create('metrics')}"
