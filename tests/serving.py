"""A server as a user starts it, for tests to speak to."""

import json
import os
import re
import shutil
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

_START_SECONDS = 120


@dataclass(frozen=True)
class Server:
    """A running `citespan chat`."""

    url: str
    folder: Path
    """Its index."""

    def request(
        self,
        path: str,
        *,
        method: str = "GET",
        headers: dict[str, str] | None = None,
        body: Any = None,
    ) -> tuple[int, Any, Any]:
        """Status, headers and body, read as JSON where it is."""
        headers = dict(headers or {})
        data = body
        if body is not None and not isinstance(body, bytes):
            data = json.dumps(body).encode()
            headers.setdefault("content-type", "application/json")
        request = urllib.request.Request(self.url + path, data=data, headers=headers, method=method)
        try:
            with urllib.request.urlopen(request, timeout=120) as reply:
                status, got, content = reply.status, reply.headers, reply.read()
        except urllib.error.HTTPError as error:
            status, got, content = error.code, error.headers, error.read()
        if got.get("content-type", "").startswith("application/json"):
            return status, got, json.loads(content)
        return status, got, content

    def ask(self, question: str, **options: Any) -> Any:
        return self.request("/api/ask", method="POST", body={"question": question, **options})[2]

    def upload(self, *files: tuple[str, bytes], headers: dict[str, str] | None = None) -> Any:
        boundary = "-boundary-of-the-test-"
        parts = b"".join(
            f'--{boundary}\r\nContent-Disposition: form-data; name="files";'
            f' filename="{name}"\r\n\r\n'.encode()
            + data
            + b"\r\n"
            for name, data in files
        )
        kind = {"content-type": f"multipart/form-data; boundary={boundary}", **(headers or {})}
        body = parts + f"--{boundary}--\r\n".encode()
        return self.request("/api/documents", method="POST", headers=kind, body=body)


@contextmanager
def serving(folder: Path, *arguments: str, **environment: str) -> Iterator[Server]:
    """A server over the index in the folder, on a free port."""
    command = [str(Path(sys.executable).parent / "citespan"), "chat", "--port", "0"]
    log = folder.parent / f"{folder.name}-server.log"
    with log.open("w") as stream:
        process = subprocess.Popen(
            [*command, "--index", str(folder), *arguments],
            stderr=stream, stdout=stream, env={**os.environ, **environment},
        )  # fmt: skip
        try:
            deadline = time.monotonic() + _START_SECONDS
            while not (said := re.search(r"http://\S+", log.read_text())):
                assert process.poll() is None, log.read_text()
                assert time.monotonic() < deadline, "the server did not start in time"
                time.sleep(0.1)
            server = Server(said[0].rstrip("/"), folder)
            while True:
                try:
                    server.request("/api/health")
                    break
                except OSError:
                    assert time.monotonic() < deadline, log.read_text()
                    time.sleep(0.1)
            yield server
        finally:
            process.terminate()
            process.wait(30)
            process.kill()
    assert "Traceback" not in log.read_text(), log.read_text()


def copied(index: Path, to: Path) -> Path:
    """A copy of the index, to be changed."""
    shutil.copytree(index, to)
    return to


def chromium() -> str:
    """Where the browser is. Its absence fails a run in CI, and skips elsewhere."""
    found = shutil.which("chromium") or shutil.which("chromium-browser")
    if found is None and os.environ.get("CI") == "true":
        pytest.fail("no chromium; .ci/run installs it: apt-get install chromium")
    if found is None:
        pytest.skip("no chromium; apt-get install chromium")
    return found
