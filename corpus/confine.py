"""What a process may do that reads strangers' files, whatever a file makes it do.

So much memory and processor time, no file, no core dump, and on Linux no
network. The network is barred by a filter of system calls (seccomp), which
needs no rights, cannot be taken off again, and holds for every program that the
process may start.
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

_CALLS = {
    "x86_64": (0xC000003E, {"socket": 41, "io_uring_setup": 425}),
    "aarch64": (0xC00000B7, {"socket": 198, "io_uring_setup": 425}),
}
"""The kernel's number of each machine, and there of the calls that sockets come from."""
_OTHER_NUMBERING = 0x40000000
"""From here on x86_64 numbers its calls once more."""
_LOAD, _IF_EQUAL, _IF_AT_LEAST, _RETURN = 0x20, 0x15, 0x35, 0x06
_AT_CALL, _AT_MACHINE = 0, 4
"""Where the filter finds what it decides by."""
_ALLOW, _REFUSE = 0x7FFF0000, 0x00050000 | errno.EACCES
_PR_SET_SECCOMP, _PR_SET_NO_NEW_PRIVS, _SECCOMP_MODE_FILTER = 22, 38, 2


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_void_p))


def confine(*, memory_bytes: int) -> None:
    """From now on this process takes no more address space, writes no file, reaches no network.

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
    _bar_network()


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


def _bar_network() -> bool:
    """From now on this process and its children get no socket; False where that cannot be had."""
    if not sys.platform.startswith("linux") or platform.machine() not in _CALLS:
        return False
    machine, calls = _CALLS[platform.machine()]
    refused = [(_IF_EQUAL, number) for number in calls.values()]
    tests = [(_IF_AT_LEAST, _OTHER_NUMBERING), *refused]
    # Each: code, how many steps to skip if so, how many if not, operand.
    steps = [(_LOAD, 0, 0, _AT_MACHINE), (_IF_EQUAL, 0, len(tests) + 2, machine)]
    steps.append((_LOAD, 0, 0, _AT_CALL))
    steps += [(code, len(tests) - at, 0, value) for at, (code, value) in enumerate(tests)]
    steps += [(_RETURN, 0, 0, _ALLOW), (_RETURN, 0, 0, _REFUSE)]
    code = b"".join(struct.pack("=HBBI", *step) for step in steps)
    buffer = ctypes.create_string_buffer(code, len(code))
    program = _Program(len(steps), ctypes.cast(buffer, ctypes.c_void_p))
    prctl = ctypes.CDLL(None).prctl
    if prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0:
        return False
    return bool(prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, ctypes.byref(program)) == 0)
