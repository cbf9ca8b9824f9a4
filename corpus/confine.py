"""What a process may do that reads strangers' files, whatever a file makes it do.

So much memory and processor time, no core dump, not a byte into a file, and on
Linux (x86-64, ARM64) no network and no change to any file: none is opened for
writing, made, removed, renamed or cut. That is barred by a filter of system
calls (seccomp), which needs no rights, cannot be taken off again, and holds for
every program that the process may start. What it may read, it can still read.
"""

import ctypes
import errno
import math
import os
import platform
import resource
import struct
import sys
from typing import BinaryIO

__all__ = ["confine", "limit_processor_seconds", "private_stdout"]

_MACHINES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
"""The kernel's number of each machine."""
_REFUSED = {
    "x86_64": {
        "socket": 41, "io_uring_setup": 425,
        "creat": 85, "truncate": 76, "ftruncate": 77, "fallocate": 285, "rename": 82,
        "renameat": 264, "renameat2": 316, "link": 86, "linkat": 265, "symlink": 88,
        "symlinkat": 266, "unlink": 87, "unlinkat": 263, "mkdir": 83, "mkdirat": 258, "rmdir": 84,
        "mknod": 133, "mknodat": 259, "chmod": 90, "fchmod": 91, "fchmodat": 268, "fchmodat2": 452,
        "chown": 92, "fchown": 93, "lchown": 94, "fchownat": 260, "utime": 132, "utimes": 235,
        "futimesat": 261, "utimensat": 280, "setxattr": 188, "lsetxattr": 189, "fsetxattr": 190,
        "removexattr": 197, "lremovexattr": 198, "fremovexattr": 199, "setxattrat": 463,
        "removexattrat": 466,
    },
    "aarch64": {
        "socket": 198, "io_uring_setup": 425,
        "truncate": 45, "ftruncate": 46, "fallocate": 47, "renameat": 38, "renameat2": 276,
        "linkat": 37, "symlinkat": 36, "unlinkat": 35, "mkdirat": 34, "mknodat": 33, "fchmod": 52,
        "fchmodat": 53, "fchmodat2": 452, "fchown": 55, "fchownat": 54, "utimensat": 88,
        "setxattr": 5, "lsetxattr": 6, "fsetxattr": 7, "removexattr": 14, "lremovexattr": 15,
        "fremovexattr": 16, "setxattrat": 463, "removexattrat": 466,
    },
}  # fmt: skip
"""Its numbers of the calls that sockets come from, and of those that change files."""
_OPENING = {"x86_64": {2: 1, 257: 2}, "aarch64": {56: 2}}
"""Of open and openat, and which of their arguments says what for."""
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC
_OPENAT2 = 437
"""Its argument is out of a filter's sight. Where it is not known, programs take openat."""
_OTHER_NUMBERING = 0x40000000
"""From here on x86_64 numbers its calls once more."""
_LOAD, _IF_EQUAL, _IF_AT_LEAST, _IF_ANY, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_AT_CALL, _AT_MACHINE, _AT_ARGUMENTS = 0, 4, 16
"""Where the filter finds what it decides by; an argument has eight bytes, the lower ones first."""
_ENDS = {
    "allow": 0x7FFF0000,
    "refuse": 0x00050000 | errno.EACCES,
    "unknown": 0x00050000 | errno.ENOSYS,
}
_STEP = struct.Struct("=HBBI")
_PR_SET_SECCOMP, _PR_SET_NO_NEW_PRIVS, _SECCOMP_MODE_FILTER = 22, 38, 2


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_void_p))


def confine(*, memory_bytes: int) -> None:
    """From now on this process takes no more address space, changes no file, reaches no network.

    Where there is no filter, it can still remove files and make empty ones.
    A limit that it was started with and that is lower stays.
    """
    for limited, most in (
        (resource.RLIMIT_AS, memory_bytes),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_CORE, 0),
    ):
        _, given = resource.getrlimit(limited)
        most = most if given == resource.RLIM_INFINITY else min(most, given)
        try:
            resource.setrlimit(limited, (most, most))
        except ValueError:
            # macOS takes no limit on address space, and Python says so by this.
            if sys.platform != "darwin":
                raise
    _bar_calls()


def limit_processor_seconds(seconds: float) -> None:
    """Have the system end this process if it is busy for so much longer than it was until now.

    For where no parent is left to end it. May be called again, for more.
    """
    used = resource.getrusage(resource.RUSAGE_SELF)
    until = math.ceil(used.ru_utime + used.ru_stime + seconds) + 1
    _, given = resource.getrlimit(resource.RLIMIT_CPU)
    soft = until if given == resource.RLIM_INFINITY else min(until, given)
    resource.setrlimit(resource.RLIMIT_CPU, (soft, given))


def private_stdout() -> BinaryIO:
    """Standard output for the caller alone; what others print goes to stderr from now on."""
    stream = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    return stream


def _bar_calls() -> bool:
    """Have the kernel refuse calls to this process and its children; False where it cannot be."""
    machine = platform.machine()
    if not sys.platform.startswith("linux") or machine not in _MACHINES:
        return False
    code = _filter(machine)
    buffer = ctypes.create_string_buffer(code, len(code))
    program = _Program(len(code) // _STEP.size, ctypes.cast(buffer, ctypes.c_void_p))
    prctl = ctypes.CDLL(None).prctl
    if prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0:
        return False
    return bool(prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, ctypes.byref(program)) == 0)


def _filter(machine: str) -> bytes:
    """What the kernel runs at each call, and which ends by saying what becomes of it."""
    # Each: code, operand, and where to go if so and if not, to an end or over so many steps.
    steps: list[tuple[int, int, str | int, str | int]] = [
        (_LOAD, _AT_MACHINE, 0, 0),
        (_IF_EQUAL, _MACHINES[machine], 0, "refuse"),
        (_LOAD, _AT_CALL, 0, 0),
        (_IF_AT_LEAST, _OTHER_NUMBERING, "refuse", 0),
        (_IF_EQUAL, _OPENAT2, "unknown", 0),
    ]
    steps += [(_IF_EQUAL, call, "refuse", 0) for call in _REFUSED[machine].values()]
    for call, argument in _OPENING[machine].items():
        steps += [
            (_IF_EQUAL, call, 0, 2),
            (_LOAD, _AT_ARGUMENTS + 8 * argument, 0, 0),
            (_IF_ANY, _WRITING, "refuse", "allow"),
        ]
    ends = {end: len(steps) + at for at, end in enumerate(_ENDS)}

    def over(at: int, to: str | int) -> int:
        return ends[to] - at - 1 if isinstance(to, str) else to

    return b"".join(
        [_STEP.pack(code, over(at, so), over(at, not_so), operand)
         for at, (code, operand, so, not_so) in enumerate(steps)]
        + [_STEP.pack(_RETURN, 0, 0, answer) for answer in _ENDS.values()]
    )  # fmt: skip
