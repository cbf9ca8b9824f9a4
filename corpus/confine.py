"""A process that can reach no network, whatever a file makes it do: the kernel refuses, on Linux.

A filter of system calls (seccomp) needs no rights, cannot be taken off again,
and holds for every program that the process may start.
"""

import ctypes
import errno
import platform
import struct
import sys

__all__ = ["bar_network"]

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


def bar_network() -> bool:
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
