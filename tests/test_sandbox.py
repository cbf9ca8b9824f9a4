"""A file that hangs, dies or swells costs itself alone, and leaves nothing behind."""

import errno
import json
import os
import platform
import random
import re
import resource
import select
import signal
import socket
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from conftest import python
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from corpus import confine
from corpus.errors import LoadError
from corpus.extract import Columns
from corpus.load import load
from corpus.sandbox import Fingerprint, Limits, ReadFile, Sandbox

MB = 2**20


def children() -> dict[int, str]:
    """This process's children with their states; Z is a zombie."""
    listed = subprocess.run(["ps", "-A", "-o", "pid=,ppid=,stat="], capture_output=True, text=True)
    rows = [line.split() for line in listed.stdout.splitlines()]
    return {int(pid): state for pid, parent, state in rows if int(parent) == os.getpid()}


@pytest.fixture
def leftovers() -> Callable[[], dict[int, str]]:
    """Children that were not there when the test began, apart from `ps`."""
    before = children()

    def new() -> dict[int, str]:
        return {pid: state for pid, state in children().items() if pid not in before and alive(pid)}

    return new


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def eventually(holds: Callable[[], Any], seconds: float = 10.0) -> bool:
    deadline = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


@pytest.fixture
def good(tmp_path: Path) -> Path:
    path = tmp_path / "good.txt"
    path.write_text("A good file.")
    return path


def said(file: ReadFile) -> str:
    assert (file.outcome, len(file.documents)) == ("failed", 0)
    assert file.reason is not None
    return file.reason


def text_of(file: ReadFile) -> str:
    assert file.outcome == "read", file.reason
    (document,) = file.documents
    return document.text


PLANTED = """
import ctypes, os, signal, struct, sys, time
from corpus import worker

really, HEADER = worker.load, struct.Struct(">Q")

def frame(payload):
    os.write(replies, HEADER.pack(len(payload)) + payload)

def planted(path, data, columns, **known):
    global replies
    # The pipe to the parent, wherever the worker keeps it.
    replies = next(fd for fd in range(3, 64) if is_reply_pipe(fd))
    exec(data.decode().partition("!")[2] or "pass")
    return really(path, data, columns, **known)

def is_reply_pipe(fd):
    try:
        return os.readlink(f"/proc/self/fd/{fd}") == OUT
    except OSError:
        return False

OUT = os.readlink("/proc/self/fd/1")
worker.load = planted
sys.argv = ["worker", sys.argv[-1]]
worker._main()
"""


@pytest.fixture
def planted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Path]:
    """Makes workers run what follows the first `!` of a file before they load it.

    A real worker process in all but its loader, which stands for a library that goes wrong.
    """
    code, command = tmp_path / "planted.py", tmp_path / "python"
    code.write_text(PLANTED)
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -P "{code}" "$@"\n')
    command.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(command))
    numbers = iter(range(1000))

    def plant(what: str) -> Path:
        path = tmp_path / f"planted{next(numbers)}.txt"
        path.write_text(f"A planted file!{what}")
        return path

    return plant


# One file's cost.


def test_a_worker_that_hangs_is_given_up(
    good: Path, leftovers: Callable[[], dict[int, str]]
) -> None:
    with Sandbox(workers=1, limits=Limits(seconds=4)) as sandbox:
        assert text_of(sandbox.read(good)) == "A good file."
        (worker,) = leftovers()
        os.kill(worker, signal.SIGSTOP)
        started = time.monotonic()
        assert said(sandbox.read(good)) == "took more than 4 s to read, and was given up"
        assert time.monotonic() - started > 3.9
        assert text_of(sandbox.read(good)) == "A good file."
        assert worker not in leftovers()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV, signal.SIGABRT])
def test_a_worker_that_dies_costs_its_file_alone(
    good: Path, planted: Callable[[str], Path], number: int
) -> None:
    deadly = planted(f"os.kill(os.getpid(), {int(number)})")
    with Sandbox(workers=1) as sandbox:
        results = list(sandbox.read_all([(good, None), (deadly, None), (good, None)]))
    assert [file.outcome for file in results] == ["read", "failed", "read"]
    assert f"ended the process that read it (signal {int(number)})" in said(results[1])
    assert results[1].path == deadly


def test_a_worker_that_leaves_in_the_middle_of_a_reply_costs_its_file_alone(
    good: Path, planted: Callable[[str], Path]
) -> None:
    leaving = planted('os.write(replies, HEADER.pack(500) + b"half"); os._exit(3)')
    with Sandbox(workers=1) as sandbox:
        assert "exit code 3" in said(sandbox.read(leaving))
        assert text_of(sandbox.read(good)) == "A good file."


def test_a_worker_that_died_between_files_costs_none(
    good: Path, leftovers: Callable[[], dict[int, str]]
) -> None:
    with Sandbox(workers=1) as sandbox:
        sandbox.read(good)
        (worker,) = leftovers()
        os.kill(worker, signal.SIGKILL)
        assert eventually(lambda: leftovers().get(worker, "Z").startswith("Z"))
        assert text_of(sandbox.read(good)) == "A good file."


READ = """{"outcome": "read", "reason": null, "note": null, "documents": 1, "retires": false}"""
TEXT = """[null, "t", 5, null, null, [], []]"""
"""A document's row, title, text, encoding, date, page starts and line anchors."""

LIE = TEXT.replace("5", '"A lie."')


@pytest.mark.parametrize(
    "replies",
    [
        ["nope"],
        ["[]"],
        ["{}"],
        ["[" * 50_000],
        ["\xff"],
        [READ.replace("1", "-1")],
        [READ.replace("1", '"many"')],
        [READ.replace("1", "1e9")],
        [READ.replace("null", '"n", "path": "/elsewhere"')],
        [READ.replace("read", "odd").replace("1", "0")],
        [READ.replace("1", "0")],
        [READ, "{}"],
        [READ, TEXT],
        [READ, TEXT.replace("5", "[]")],
        [READ.replace("read", "failed").replace("1", "0")],
        [READ, LIE.replace('"t"', r'"\ud800"')],
        [READ, LIE.replace("null", str(2**63), 1)],
        [READ, LIE.replace("null", "true", 1)],
        [READ, LIE.replace('"t", ', "")],
        [READ, LIE.replace('"t", ', '"t", "t", ')],
        [READ, LIE.replace("[], []]", "[0, 7], []]")],
        [READ, LIE.replace("[], []]", "[4, 2], []]")],
        [READ, LIE.replace("[], []]", '["0"], []]')],
        [READ, LIE.replace("[], []]", "[], [[0, 1], [-1, 1]]]")],
        [READ, LIE.replace("[], []]", "[], [[0, 1.5]]]")],
        [READ, LIE.replace("[], []]", "[], [0]]")],
        [READ.replace("1", "2"), LIE, LIE],
        [READ.replace("1", "2"), LIE.replace("null", "2", 1), LIE.replace("null", "2", 1)],
    ],
)
def test_a_worker_that_replies_nonsense_costs_its_file_alone(
    good: Path, planted: Callable[[str], Path], replies: Sequence[str]
) -> None:
    """As one might that a hostile file has taken over."""
    with Sandbox(workers=1, limits=Limits(seconds=5)) as sandbox:
        nonsense = planted("; ".join(f"frame({reply.encode('latin-1')!r})" for reply in replies))
        file = sandbox.read(nonsense)
        assert file.path == nonsense
        said(file)
        assert text_of(sandbox.read(good)) == "A good file."


def test_a_reply_that_nobody_asked_for_ends_no_run(
    good: Path, planted: Callable[[str], Path]
) -> None:
    """It stands in the pipe when the next file is read; that one may fail, once."""
    frames = (READ, LIE)
    lying = planted("; ".join(f"frame({frame.encode()!r})" for frame in frames))
    with Sandbox(workers=1, limits=Limits(seconds=5)) as sandbox:
        assert text_of(sandbox.read(lying)) == "A lie."
        file = sandbox.read(good)
        assert file.path == good
        assert file.outcome == "failed" or text_of(file) == "A good file."
        assert text_of(sandbox.read(good)) == "A good file."


def test_what_libraries_print_is_no_reply(planted: Callable[[str], Path]) -> None:
    loud = planted(
        'print("x" * 9999, flush=True); os.write(1, b"y" * 9999); os.write(2, b"z" * 9999);'
        ' os.system("echo loud; echo louder >&2"); ctypes.CDLL(None).puts(b"from C");'
        " ctypes.CDLL(None).fflush(None)"
    )
    with Sandbox(workers=1, limits=Limits(seconds=20)) as sandbox:
        for _ in range(2):
            assert text_of(sandbox.read(loud)).startswith("A planted file!")


def test_a_worker_may_write_no_file(planted: Callable[[str], Path], tmp_path: Path) -> None:
    out = tmp_path / "out"
    writing = planted(f'f = open({str(out)!r}, "wb", 0); f.write(b"written")')
    with Sandbox(workers=1) as sandbox:
        assert re.search("File too large|Permission denied", said(sandbox.read(writing)))
    assert not out.exists() or out.read_bytes() == b""


filtered = pytest.mark.skipif(
    platform.system() != "Linux" or platform.machine() not in ("x86_64", "aarch64"),
    reason="there is no such filter here",
)


@filtered
def test_a_worker_changes_no_file(
    good: Path, planted: Callable[[str], Path], tmp_path: Path
) -> None:
    """Not even this user's own, whatever a file makes it do, and whatever it starts."""
    folder = tmp_path / "folder"
    (folder / "sub").mkdir(parents=True)
    file, new = folder / "file", folder / "new"
    file.write_text("Somebody's.")
    before = file.stat()
    attempts = [
        *(f"open({{file}}, '{mode}')" for mode in ("r+b", "wb", "ab", "r+")),
        "open({new}, 'xb')", "os.open({file}, os.O_RDONLY | os.O_TRUNC)",
        "os.open({folder}, os.O_TMPFILE | os.O_RDWR)", "os.open({new}, os.O_CREAT)",
        "os.remove({file})", "os.rename({file}, {new})", "os.truncate({file}, 0)",
        "os.ftruncate(os.open({file}, os.O_RDONLY), 0)", "os.link({file}, {new})",
        "os.symlink({file}, {new})", "os.mkdir({new})", "os.rmdir({sub})", "os.mkfifo({new})",
        "os.chmod({file}, 0)", "os.fchmod(os.open({file}, os.O_RDONLY), 0)",
        "os.chown({file}, 1, 1)", "os.utime({file}, (1, 1))",
        "os.setxattr({file}, 'user.a', b'b')",
    ]  # fmt: skip
    paths = {"file": file, "new": new, "folder": folder, "sub": folder / "sub"}
    names = {name: repr(str(path)) for name, path in paths.items()}
    with Sandbox(workers=1) as sandbox:
        for attempt in attempts:
            assert "PermissionError" in said(sandbox.read(planted(attempt.format(**names)))), (
                attempt
            )
        sandbox.read(planted(f"os.system('rm -rf {folder}; echo > {new}; mv {file} {new}')"))
        # The call that opens by a structure is as if there were none.
        unknown = planted(
            f"call, how = ctypes.CDLL(None, use_errno=True).syscall, struct.pack('QQQ', 2, 0, 0)\n"
            f"assert call(437, -100, {str(file).encode()!r}, how, 24) == -1\n"
            f"assert ctypes.get_errno() == {errno.ENOSYS}"
        )
        assert text_of(sandbox.read(unknown)).startswith("A planted file!")
        assert text_of(sandbox.read(good)) == "A good file."
    assert sorted(path.name for path in folder.iterdir()) == ["file", "sub"]
    after = file.stat()
    assert (after.st_mtime_ns, after.st_mode, after.st_nlink) == (
        before.st_mtime_ns, before.st_mode, before.st_nlink,
    )  # fmt: skip
    assert file.read_text() == "Somebody's."


@pytest.mark.parametrize(
    ("machine", "header"), [("x86_64", "*/asm/unistd_64.h"), ("aarch64", "asm-generic/unistd.h")]
)
def test_calls_have_the_numbers_that_the_kernel_says(machine: str, header: str) -> None:
    headers = [*Path("/usr/include").glob(header)]
    if not headers or (machine == "x86_64" and platform.machine() != machine):
        pytest.skip("the kernel's headers are not here")
    lines = headers[0].read_text()
    numbers = dict(re.findall(r"#define __NR(?:3264)?_(\w+)\s+(\d+)", lines))
    refused = confine._REFUSED[machine]
    # Headers may be older than a call.
    known = {name: int(numbers[name]) for name in refused if name in numbers}
    assert known.items() <= refused.items()
    assert len(known) > len(refused) - 4
    opening = [("open", 1), ("openat", 2)]
    assert confine._OPENING[machine] == {
        int(numbers[name]): argument for name, argument in opening if name in numbers
    }


@filtered
def test_a_worker_reaches_no_network(good: Path, planted: Callable[[str], Path]) -> None:
    """Not even this machine, whatever a file makes it do, and whatever it starts."""
    with socket.socket() as listener, Sandbox(workers=1) as sandbox:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        listener.setblocking(False)
        port = listener.getsockname()[1]
        reaching = f"import socket; socket.create_connection(('127.0.0.1', {port}))"
        starting = f"import subprocess; subprocess.run([sys.executable, '-c', {reaching!r}])"
        assert "PermissionError" in said(sandbox.read(planted(reaching)))
        assert "A planted file" in text_of(sandbox.read(planted(starting)))
        with pytest.raises(BlockingIOError):
            listener.accept()
        for family in ("AF_UNIX", "AF_INET6", "AF_NETLINK"):
            reason = said(sandbox.read(planted(f"import socket; socket.socket(socket.{family})")))
            assert "PermissionError" in reason
        assert text_of(sandbox.read(good)) == "A good file."


# Limits.


def test_rows_that_fill_the_memory_cost_their_file_alone(tmp_path: Path, good: Path) -> None:
    rows = tmp_path / "rows.csv"
    rows.write_text("a\n" + "1\n" * 200_000)
    with Sandbox(workers=1, limits=Limits(memory_bytes=100 * MB)) as sandbox:
        assert said(sandbox.read(rows)) == "needs more memory to read than it is given"
        assert text_of(sandbox.read(good)) == "A good file."


def swollen_docx(path: Path, paragraphs: int) -> None:
    """A DOCX file of a few dozen kilobytes that unpacks to 33 bytes a paragraph."""
    import docx

    document = docx.Document()
    document.add_paragraph("The end.")
    document.save(str(path))
    with zipfile.ZipFile(path) as container:
        parts = {entry: container.read(entry) for entry in container.namelist()}
    body = b"<w:p><w:r><w:t>ab</w:t></w:r></w:p>" * paragraphs
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as container:
        for entry, data in parts.items():
            container.writestr(entry, data.replace(b"<w:body>", b"<w:body>" + body))


@pytest.mark.parametrize("megabytes", [80, 160])
def test_a_docx_that_swells_is_not_called_damaged(
    tmp_path: Path, good: Path, megabytes: int
) -> None:
    """Within Python, and within lxml, whose own error for this is an XML error."""
    path = tmp_path / "swollen.docx"
    swollen_docx(path, 600_000)
    assert path.stat().st_size < MB
    with Sandbox(workers=1, limits=Limits(memory_bytes=megabytes * MB)) as sandbox:
        assert said(sandbox.read(path)) == "needs more memory to read than it is given"
        assert text_of(sandbox.read(good)) == "A good file."


def test_what_was_read_before_decides_nothing(tmp_path: Path) -> None:
    """The memory that a large file leaves a worker with must not be missed by the next."""
    rows, words = tmp_path / "rows.csv", tmp_path / "words.txt"
    rows.write_text("a\n" + "1\n" * 60_000)
    words.write_text("word " * 2_000_000)
    limits = Limits(memory_bytes=90 * MB)
    with Sandbox(workers=1, limits=limits) as sandbox:
        alone = sandbox.read(words).outcome
    with Sandbox(workers=1, limits=limits) as sandbox:
        assert sandbox.read(rows).outcome == "read"
        assert (alone, sandbox.read(words).outcome) == ("read", "read")


def test_a_file_may_not_turn_into_too_much(tmp_path: Path, good: Path) -> None:
    long, rows = tmp_path / "long.txt", tmp_path / "rows.csv"
    long.write_text("x" * MB)
    rows.write_text("a\n" + "1\n" * 40_000)
    with Sandbox(workers=1, limits=Limits(reply_bytes=MB)) as sandbox:
        for path in (long, rows):
            assert said(sandbox.read(path)).startswith("turns into more than 1 MB of text, titles")
            assert text_of(sandbox.read(good)) == "A good file."
    with Sandbox(workers=1, limits=Limits(reply_bytes=MB + 9999)) as sandbox:
        assert len(text_of(sandbox.read(long))) == MB


def test_rows_weigh_little_more_than_what_they_say(tmp_path: Path) -> None:
    """A table of 34 MB, with short rows, was said to be more than 256 MB of text."""
    rows = tmp_path / "rows.csv"
    row = "some words,and others\n"
    rows.write_text("a,b\n" + row * 10_000)
    with Sandbox(workers=1, limits=Limits(reply_bytes=5 * 10_000 * len(row))) as sandbox:
        assert len(sandbox.read(rows).documents) == 10_000


def test_a_file_may_not_be_too_large(good: Path) -> None:
    size = good.stat().st_size
    with Sandbox(workers=1, limits=Limits(file_bytes=size - 1)) as sandbox:
        assert said(sandbox.read(good)).startswith("has more than ")
    with Sandbox(workers=1, limits=Limits(file_bytes=size)) as sandbox:
        assert text_of(sandbox.read(good)) == "A good file."


def test_limits_that_were_there_before_stay_and_stop_nothing(
    good: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As batch systems set them, lower than ours: nobody may raise those."""
    command = tmp_path / "python"
    command.write_text(
        f'#!/bin/sh\nulimit -v 1500000; ulimit -t 60\nexec "{sys.executable}" "$@"\n'
    )
    command.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(command))
    with Sandbox(workers=1, limits=Limits(seconds=100, memory_bytes=2000 * MB)) as sandbox:
        assert text_of(sandbox.read(good)) == "A good file."


def test_a_system_without_a_limit_on_memory_reads_all_the_same() -> None:
    """macOS refuses it, and Python says ValueError."""
    code = """
import resource, sys
from corpus import confine
true, sys.platform = resource.setrlimit, sys.argv[1]
def refuse(limited, limits):
    if limited == resource.RLIMIT_AS:
        raise ValueError("current limit exceeds maximum limit")
    true(limited, limits)
resource.setrlimit = refuse
confine.confine(memory_bytes=2**30)
print(resource.getrlimit(resource.RLIMIT_FSIZE))
"""
    assert python(code, "darwin").stdout == "(0, 0)\n"
    assert "ValueError" in python(code, "linux").stderr


def test_a_thousand_open_files_do_not_matter(good: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < 2000:
        pytest.skip("so many files cannot be opened here")
    with ExitStack() as stack:
        stack.callback(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 2000), hard))
        for _ in range(1100):
            stack.enter_context(good.open())
        with Sandbox(workers=1, limits=Limits(seconds=20)) as sandbox:
            assert text_of(sandbox.read(good)) == "A good file."


# Files that are not what they were.


def test_what_takes_a_file_s_place_is_not_waited_for(tmp_path: Path, good: Path) -> None:
    pipe, folder, gone = tmp_path / "pipe", tmp_path / "folder", tmp_path / "gone"
    device, loop = tmp_path / "device", tmp_path / "loop"
    os.mkfifo(pipe)
    folder.mkdir()
    device.symlink_to("/dev/zero")
    loop.symlink_to(loop)
    with Sandbox(workers=1, limits=Limits(seconds=10)) as sandbox:
        for path in (pipe, device):
            assert said(sandbox.read(path)) == "cannot be read: it is no longer a regular file"
        for _ in range(1100):  # More than may be open at once.
            assert "Is a directory" in (reason := said(sandbox.read(folder))) or "regular" in reason
        assert said(sandbox.read(gone)) == "cannot be read: No such file or directory"
        assert "symbolic links" in said(sandbox.read(loop))
        assert text_of(sandbox.read(good)) == "A good file."


def test_a_file_that_keeps_changing_is_not_half_read(tmp_path: Path, good: Path) -> None:
    log = tmp_path / "log.txt"
    log.write_text("x" * 2**24)
    stop = threading.Event()

    def grow() -> None:
        with log.open("ab", buffering=0) as stream:
            while not stop.wait(0.0005):
                stream.write(b"More. ")

    thread = threading.Thread(target=grow)
    thread.start()
    try:
        with Sandbox(workers=1) as sandbox:
            assert "keeps changing while it is read" in said(sandbox.read(log))
            assert text_of(sandbox.read(good)) == "A good file."
            stop.set()
            thread.join()
            assert len(text_of(sandbox.read(log))) == log.stat().st_size
    finally:
        stop.set()
        thread.join()


def test_what_is_known_is_not_parsed_again(good: Path, tmp_path: Path) -> None:
    table = tmp_path / "table.csv"
    table.write_text("a,b\n1,2\n")
    with Sandbox(workers=1, columns=Columns(("b",))) as sandbox:
        for path in (good, table):
            first = sandbox.read(path)
            known = Fingerprint(first.sha256, first.loader)
            again = sandbox.read(path, known)
            assert (again.outcome, len(again.documents), again.reason) == ("same", 0, None)
            assert (again.sha256, again.loader) == (first.sha256, first.loader)
            assert (again.size, again.mtime_ns) == (first.size, first.mtime_ns)
            for other in (
                Fingerprint(first.sha256, "text/0"),
                Fingerprint("0" * 64, first.loader),
            ):
                assert sandbox.read(path, other).documents == first.documents
    with Sandbox(workers=1) as sandbox:
        assert sandbox.read(table, known).outcome == "read", "its columns are others now"


def test_read_at_is_before_the_file_is_opened(good: Path) -> None:
    before = time.time()
    with Sandbox(workers=1) as sandbox:
        file = sandbox.read(good)
    assert before <= file.read_at <= time.time()
    status = good.stat()
    assert (file.size, file.mtime_ns) == (status.st_size, status.st_mtime_ns)


# Many files.


def test_results_come_in_the_order_of_the_files(tmp_path: Path) -> None:
    paths = []
    for n in range(40):
        paths.append(tmp_path / f"{n}.txt")
        if n % 7:
            paths[-1].write_text(f"File {n}. " * (40_000 if n % 5 == 0 else 1))
    random.Random(0).shuffle(paths)
    with Sandbox(workers=3) as sandbox:
        results = list(sandbox.read_all((path, None) for path in paths))
    assert [file.path for file in results] == paths
    for file in results:
        if file.outcome == "read":
            assert text_of(file).startswith(f"File {file.path.stem}. ")
        else:
            assert int(file.path.stem) % 7 == 0


def test_failing_files_leave_nothing_in_the_parent(
    tmp_path: Path, planted: Callable[[str], Path], leftovers: Callable[[], dict[int, str]]
) -> None:
    def held() -> tuple[int, int]:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        return len([*Path("/proc/self/fd").iterdir()]), pages * resource.getpagesize()

    deadly = planted("os.write(replies, HEADER.pack(2**23) + bytes(2**22)); os._exit(1)")
    files = [deadly, *(tmp_path / f"gone{n}" for n in range(60))] * 8
    with Sandbox(workers=2) as sandbox:
        for _ in sandbox.read_all((path, None) for path in files[:122]):
            pass
        open_files, memory = held()
        for file in sandbox.read_all((path, None) for path in files):
            said(file)
        assert len(leftovers()) <= 2
        assert held()[0] <= open_files + 2
        assert held()[1] < memory + 20 * MB
    assert leftovers() == {}


# The end.


@pytest.fixture
def quiet_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a reader raises whose sandbox is closed meanwhile is nobody's business."""
    monkeypatch.setattr(threading, "excepthook", lambda _: None)


def test_closing_in_the_middle_ends_the_processes(
    planted: Callable[[str], Path],
    leftovers: Callable[[], dict[int, str]],
    good: Path,
    quiet_threads: None,
) -> None:
    hanging = [planted("time.sleep(600)") for _ in range(4)]
    sandbox = Sandbox(workers=2)
    results: list[ReadFile] = []
    files = [(path, None) for path in [good, *hanging]]
    thread = threading.Thread(target=lambda: results.extend(sandbox.read_all(files)))
    thread.start()
    assert eventually(lambda: len(leftovers()) == 2)
    time.sleep(0.3)
    started = time.monotonic()
    sandbox.close()
    assert time.monotonic() - started < 2
    assert leftovers() == {}
    thread.join(5)
    assert not thread.is_alive()


def test_closing_takes_no_pipe_from_under_a_reader(
    planted: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its number is given to the next file that is opened, which a late reader would read from."""
    hanging = planted("time.sleep(600)")
    polled = threading.Event()

    class Late:
        """Reports that there is something to read some time after there is."""

        def __init__(self) -> None:
            self._poll = poll()

        def register(self, *arguments: int) -> None:
            self._poll.register(*arguments)

        def poll(self, milliseconds: float) -> Any:
            polled.set()
            found = self._poll.poll(milliseconds)
            time.sleep(0.5)
            return found

    poll = select.poll
    sandbox = Sandbox(workers=1)
    with monkeypatch.context() as patch:
        patch.setattr(select, "poll", Late)
        results: list[ReadFile] = []
        thread = threading.Thread(target=lambda: results.append(sandbox.read(hanging)))
        thread.start()
        assert polled.wait(10)
        time.sleep(0.7)
        sandbox.close()
        pipes = [os.pipe() for _ in range(8)]
        for _, writing in pipes:
            os.write(writing, b"mine")
        thread.join(20)
    kept = []
    for reading, writing in pipes:
        os.close(writing)
        kept.append(os.read(reading, 9))
        os.close(reading)
    assert kept == [b"mine"] * 8
    assert [file.outcome for file in results] == ["failed"]


def test_closing_at_any_moment_ends_the_processes(
    planted: Callable[[str], Path], leftovers: Callable[[], dict[int, str]], quiet_threads: None
) -> None:
    """Also those that are just being started."""
    hanging = planted("time.sleep(600)")
    readers = []
    for round_ in range(10):
        with Sandbox(workers=4, limits=Limits(seconds=20)) as sandbox:
            for _ in range(4):
                readers.append(threading.Thread(target=sandbox.read, args=[hanging]))
                readers[-1].start()
            time.sleep(round_ / 1000)
    try:
        assert eventually(lambda: leftovers() == {}, 5), "a process was left behind"
    finally:
        for pid in leftovers():
            os.kill(pid, signal.SIGKILL)
        for thread in readers:
            thread.join(25)


PARENT = """
import sys
from pathlib import Path
from corpus.sandbox import Limits, Sandbox
sys.executable = sys.argv[2]
print("reading", flush=True)
Sandbox(workers=1, limits=Limits(seconds=3)).read(Path(sys.argv[1]))
"""


def test_a_killed_parent_leaves_no_worker_at_work(planted: Callable[[str], Path]) -> None:
    """Nobody is left to stop a worker that never ends; it must stop by itself."""
    spinning = planted("os.write(replies, b'go')\nwhile True: pass")
    parent = subprocess.Popen(
        [str(Path(sys.prefix) / "bin" / "python"), "-c", PARENT, spinning, sys.executable],
        stdout=subprocess.PIPE,
    )
    assert parent.stdout is not None
    parent.stdout.readline()
    code = str(spinning.with_name("planted.py"))

    def workers() -> list[int]:
        command = ["ps", "-A", "-ww", "-o", "pid=,command="]
        listed = subprocess.run(command, capture_output=True, text=True).stdout
        return [int(line.split()[0]) for line in listed.splitlines() if code in line]

    assert eventually(workers)
    time.sleep(0.5)
    parent.kill()
    parent.communicate()
    try:
        # Five seconds of processor time, which may take a busy machine a minute.
        assert eventually(lambda: not workers(), 60)
    finally:
        for pid in workers():
            os.kill(pid, signal.SIGKILL)


# What the worker is made of, and what it says.


def test_the_working_directory_is_no_source_of_code(
    tmp_path: Path, good: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hostile = tmp_path / "hostile"
    (hostile / "corpus").mkdir(parents=True)
    for name in (
        "corpus/__init__.py", "corpus/worker.py", "json.py", "resource.py", "lxml.py",
        "trafilatura.py", "docx.py", "pypdfium2.py", "sitecustomize.py", "usercustomize.py",
    ):  # fmt: skip
        (hostile / name).write_text("import os\nos.kill(os.getpid(), 9)\n")
    page = tmp_path / "page.html"
    page.write_text("<html><body><p>A good page, with a sentence in it.</p></body></html>")
    monkeypatch.chdir(hostile)
    with Sandbox(workers=1) as sandbox:
        assert text_of(sandbox.read(good)) == "A good file."
        assert "A good page" in text_of(sandbox.read(page))


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str, bytes], Any]]:
    """Reads bytes as a file of a name, in the sandbox and beside it."""
    folder = tmp_path_factory.mktemp("read")

    def here(path: Path) -> Any:
        try:
            return load(path, path.read_bytes()).documents
        except LoadError as error:
            return str(error)

    with Sandbox(workers=1) as sandbox:

        def read(name: str, data: bytes) -> Any:
            path = folder / name
            path.write_bytes(data)
            file = sandbox.read(path)
            return file.reason or file.documents, here(path)

        yield read


odd = st.sampled_from("\ud800a\0\udfffb \n\x85\u2028\ufeff\x1b😀\u202e\uffff")
anything = st.text(odd, max_size=4) | st.text(st.characters(exclude_categories=[]), max_size=9)
"""Lone surrogates, NUL, and what is no character at all."""


@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(st.dictionaries(anything, st.one_of(anything, st.lists(anything)), min_size=1, max_size=3))
def test_all_that_json_can_say_survives_the_pipe(
    reader: Callable[[str, bytes], Any], row: dict[str, Any]
) -> None:
    through, here = reader("rows.jsonl", json.dumps(row).encode())
    assert through == here
    for document in () if isinstance(here, str) else here:
        (document.text + document.title).encode("utf-8")


@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(st.text(max_size=40).map(str.encode) | st.binary(max_size=40))
def test_all_that_a_text_file_can_say_survives_the_pipe(
    reader: Callable[[str, bytes], Any], data: bytes
) -> None:
    through, here = reader("note.txt", data)
    assert through == here


def test_lone_surrogates_are_replaced_and_nul_is_kept(reader: Callable[[str, bytes], Any]) -> None:
    row = b'{"text": "Zero\\u0000byte \\ud800 \\ud83d\\ude00 end"}'
    for name, data in (
        ("odd.jsonl", row),
        ("odd.txt", "Zero\0byte \ufffd 😀 end".encode()),
    ):
        through, _ = reader(name, data)
        assert [document.text for document in through] == ["Zero\0byte \ufffd 😀 end"]


def test_a_name_that_is_a_lone_surrogate_is_no_crash(reader: Callable[[str, bytes], Any]) -> None:
    through, _ = reader("names.jsonl", b'{"\\ud800": "A value.", "\\ud800b": "Another."}')
    assert [document.text for document in through] == ["\ufffd: A value.\n\ufffdb: Another."]


def test_comments_at_the_start_of_a_file_take_no_time(
    reader: Callable[[str, bytes], Any],
) -> None:
    """Each one more doubled the time: forty of them would outlast the universe."""
    note = b"<!-- a comment -->\n" * 14 + b"# A note\n\nText."
    started = time.perf_counter()
    load(Path("/note.md"), note)
    seconds = time.perf_counter() - started
    note = b"<!-- a comment -->\n" * 18 + b"# A note\n\nText."
    started = time.perf_counter()
    load(Path("/note.md"), note)
    assert time.perf_counter() - started < 4 * seconds + 0.02
