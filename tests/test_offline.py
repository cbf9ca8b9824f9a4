"""Offline and private: every command works where nothing can be reached, and reaches for nothing.

Each command runs in a network of its own, with nothing in it, where the system
lets us make one; and in any case under a guard in every Python process that
hears of connections, look-ups of names, and of anything that is unpickled.
"""

import json
import os
import pickle
import re
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from conftest import SAMPLE_GOLD, python
from serving import copied, serving
from test_train import base, squad  # noqa: F401 - a fixture

from qa.settings import model_pair

QUESTION = "How many defectors went public?"
GUARD = """
import os, sys

LOCAL = {"127.0.0.1", "::1", "localhost", "", None, b"localhost"}
HUB = {"huggingface_hub", "transformers", "sentence_transformers", "tokenizers", "gradio"}

def told(what):
    with open(os.environ["GUARD_LOG"], "a") as log:
        log.write(f"{what} in {sys.argv}\\n")

def watch(event, arguments):
    if event in ("socket.connect", "socket.sendto", "socket.sendmsg"):
        socket, address = arguments
        host = address[0] if isinstance(address, tuple) else None
        if host not in LOCAL:
            told(f"{event} {address}")
            raise OSError("the guard lets nothing out")
    elif event.startswith("socket.get") and event.endswith(("addrinfo", "byname", "byaddr")):
        if arguments[0] not in LOCAL:
            told(f"{event} {arguments}")
            raise OSError("the guard lets nothing out")
    elif event == "pickle.find_class":
        told(f"{event} {arguments}")
    elif event == "import" and arguments[0] in HUB:
        with open(os.environ["GUARD_LOG"] + ".hub", "a") as log:
            log.write(f"{arguments[0]} {os.environ.get('HF_HUB_OFFLINE')}\\n")

sys.addaudithook(watch)
"""


@cache
def alone() -> tuple[str, ...]:
    """What runs a command in a network with nothing in it; nothing where that is not allowed."""
    command = ("unshare", "--user", "--map-root-user", "--net")
    found = shutil.which("unshare")
    if found and subprocess.run([*command, "true"], capture_output=True).returncode == 0:
        return command
    return ()


class Guarded:
    """Runs commands under the guard, and knows what it heard."""

    def __init__(self, folder: Path) -> None:
        self.log = folder / "guard.log"
        (folder / "site").mkdir()
        (folder / "site" / "sitecustomize.py").write_text(GUARD, encoding="utf-8")
        path = os.pathsep.join([str(folder / "site"), os.environ.get("PYTHONPATH", "")])
        self.environment = {"PYTHONPATH": path, "GUARD_LOG": str(self.log)}

    def __call__(self, *arguments: str | Path, code: int = 0, **options: Any) -> str:
        done = subprocess.run(
            [*alone(), str(Path(sys.executable).parent / "citespan"), *map(str, arguments)],
            capture_output=True, text=True, check=False,
            env={**self.clean(), **self.environment}, **options,
        )  # fmt: skip
        assert done.returncode == code, f"{arguments}: {done.stdout}{done.stderr}"
        assert self.heard() == "", arguments
        return done.stdout

    @staticmethod
    def clean() -> dict[str, str]:
        return {name: value for name, value in os.environ.items() if not name.startswith("HF_")}

    def heard(self) -> str:
        return self.log.read_text(encoding="utf-8") if self.log.exists() else ""

    def offline_at_import(self) -> set[str]:
        """With which setting the hub's libraries were imported."""
        log = Path(f"{self.log}.hub")
        return {line.split()[1] for line in log.read_text().splitlines()} if log.exists() else set()


@pytest.fixture
def guarded(tmp_path: Path) -> Guarded:
    return Guarded(tmp_path)


@pytest.mark.parametrize(
    "reach",
    [
        "import urllib.request; urllib.request.urlopen('http://example.org')",
        "import socket; socket.create_connection(('192.0.2.1', 80))",
        "import socket; socket.gethostbyname('example.org')",
        "import socket; socket.socket(type=socket.SOCK_DGRAM).sendto(b'x', ('192.0.2.1', 53))",
        "import pickle, collections; pickle.loads(pickle.dumps(collections.OrderedDict()))",
    ],
)
def test_the_guard_hears(guarded: Guarded, reach: str) -> None:
    python(reach, env={**os.environ, **guarded.environment})
    assert guarded.heard()


def test_every_command_works_offline_and_reaches_for_nothing(
    guarded: Guarded, tmp_path: Path, clean_environment: Path
) -> None:
    here: dict[str, Any] = {"cwd": tmp_path}
    (tmp_path / "docs").mkdir()
    text = "The keeper of the old harbour was Ada Moreau.\n\nShe kept it from 1911 on.\n"
    (tmp_path / "docs" / "harbour.txt").write_text(text, encoding="utf-8")
    (tmp_path / "docs" / "page.html").write_text(
        '<!doctype html><html><head><link rel="stylesheet" href="http://example.org/a.css">'
        '<base href="http://example.org/"></head><body><img src="http://example.org/a.png">'
        "<p>The bridge was closed in May.</p></body></html>",
        encoding="utf-8",
    )
    rows = SAMPLE_GOLD.read_text(encoding="utf-8").splitlines(keepends=True)
    (tmp_path / "gold.jsonl").write_text("".join(rows[:6]), encoding="utf-8")

    guarded("index", "docs", **here)
    answer = guarded("ask", "Who was the keeper of the harbour?", "--json", **here)
    assert json.loads(answer)["answers"][0]["text"] == "Ada Moreau"
    (tmp_path / "answer.json").write_text(answer, encoding="utf-8")
    assert guarded("ask", "-", input="Who kept it?\n", **here)
    assert guarded("ask", QUESTION, "--sample", **here).startswith("58")
    assert "harbour" in guarded("list", **here)
    assert guarded("show", "harbour.txt", **here) == text
    assert "whole" in guarded("doctor", **here)
    assert "bundled" in guarded("models", **here)
    assert "unchanged" in guarded("verify", "answer.json", **here)
    assert "Ada" in guarded("gold", "add", "answer.json", "--to", "mine.jsonl", **here)
    assert guarded("why", "Who kept it?", "--gold", "Ada Moreau", **here)
    assert guarded("eval", "gold.jsonl", "--sample", "--html", "report.html", **here)
    links = re.findall(r"https?://[\w.]+", (tmp_path / "report.html").read_text(encoding="utf-8"))
    assert set(links) <= {"http://www.w3.org"}  # The name of SVG, which nobody fetches.
    (tmp_path / "more.jsonl").write_text("".join(rows[:42]), encoding="utf-8")
    assert guarded("calibrate", "more.jsonl", "--sample", "--out", "fitted.json", **here)
    assert "removed" in guarded("rm", "harbour.txt", **here)
    with serving(tmp_path / ".citespan", **guarded.environment) as server:
        assert server.ask("When was the bridge closed?")["answered"]
        assert server.request("/", headers={"accept": "text/html"})[0] == 200
        assert server.upload(("b.txt", b"The dam was built in 1954."))[0] == 201
        assert server.request("/docs")[0] == server.request("/page.css")[0] == 200
    assert guarded.heard() == ""
    assert guarded.offline_at_import() == {"1"}


@pytest.mark.long
def test_models_are_exported_and_trained_offline(
    guarded: Guarded,
    tmp_path: Path,
    base: Path,  # noqa: F811
) -> None:
    from sentence_transformers import SentenceTransformer

    train, dev = squad(tmp_path / "train.json", seed=1), squad(tmp_path / "dev.json", seed=2)
    guarded.environment["CITESPAN_CACHE"] = str(tmp_path / "cache")
    assert guarded("ask", QUESTION, "--sample").startswith("58")
    pooled = tmp_path / "pooled"
    SentenceTransformer(str(base)).save(str(pooled))
    sets = ("--train", train, "--validation", dev, "--json")
    for role, start in (("reader", base), ("encoder", pooled)):
        guarded("train", role, *sets, "--base", start, "--out", tmp_path / "pair" / role)
    (tmp_path / "a.txt").write_text("The door was red. The boat was green.", encoding="utf-8")
    guarded("index", "a.txt", "--models", "pair", cwd=tmp_path)
    asked = ("ask", "What colour was the boat?", "--min-confidence", "0", "--json")
    answer = json.loads(guarded(*asked, cwd=tmp_path))["answers"][0]
    assert answer["text"] in "The door was red. The boat was green."
    assert guarded.offline_at_import() == {"1"}


def test_the_hub_is_asked_only_when_its_models_are(guarded: Guarded, tmp_path: Path) -> None:
    """The guard keeps it from going through, and it says so in one line."""
    (tmp_path / "a.txt").write_text("Words.")
    empty = {**guarded.clean(), **guarded.environment, "HF_HOME": str(tmp_path / "hf")}
    command = [str(Path(sys.executable).parent / "citespan"), "index", "a.txt"]

    def run(*models: str, **more: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [*command, *models], capture_output=True, text=True, cwd=tmp_path, env={**empty, **more}
        )

    done = run("--models", "balanced", HF_HUB_OFFLINE="1")
    assert done.returncode == 1
    assert "could not be fetched" in done.stderr
    assert guarded.heard() == ""
    done = run("--models", "balanced")
    assert done.returncode == 1
    assert done.stderr.startswith("Error: ")
    assert "huggingface.co" in guarded.heard()


class Planted:
    """What runs when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return os.mkdir, (str(self.mark),)


def test_the_plant_works(tmp_path: Path) -> None:
    pickle.loads(pickle.dumps(Planted(tmp_path / "mark")))
    assert (tmp_path / "mark").exists()


def files_of(index: Path) -> list[str]:
    names = (path.relative_to(index) for path in sorted(index.rglob("*")) if path.is_file())
    return [str(name) for name in names if "lock" not in name.name]


def test_a_foreign_index_runs_nothing(guarded: Guarded, sample_index: Path, tmp_path: Path) -> None:
    """Every file of it in turn is a pickle that tells when it is opened as one."""
    mark = tmp_path / "mark"
    names = files_of(sample_index)
    assert {Path(name).suffix for name in names} >= {".sqlite", ".json", ".faiss", ".store"}
    code = textwrap.dedent("""
        import shutil, sys
        from pathlib import Path
        from corpus.errors import CitespanError
        from corpus.store import Snapshot
        from embeddings.encoder import open_encoder
        from embeddings.search import Search
        from qa.doctor import examine
        from qa.settings import model_pair

        def search(work):
            with Snapshot.open(work) as snapshot:
                snapshot.calibration, snapshot.roots(), snapshot.files(), snapshot.columns
                snapshot.document(snapshot.summaries()[0].id)
                Search.open(snapshot, encoder).search("How many defectors?", 5)

        def told(use, work):
            try:
                use(work)
            except CitespanError as error:
                print(name, error)

        encoder = open_encoder(model_pair("bundled").encoder)
        whole, work, poison = Path(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]).read_bytes()
        for name in sys.argv[4:]:
            shutil.copytree(whole, work)
            original = (work / name).read_bytes()
            # Of the same size too, so that it is not refused for that alone.
            for content in (poison, poison + original[len(poison):]):
                (work / name).write_bytes(content)
                told(search, work)
            told(examine, work)  # At last, since it mends what it can.
            shutil.rmtree(work)
    """)
    poison = tmp_path / "poison"
    poison.write_bytes(pickle.dumps(Planted(mark)))
    done = python(
        code, str(sample_index), str(tmp_path / "work"), str(poison), *names,
        env={**os.environ, **guarded.environment},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "index.sqlite" in done.stdout
    assert not mark.exists()
    assert guarded.heard() == ""


@pytest.mark.long
def test_speed_is_measured_offline(guarded: Guarded, tmp_path: Path) -> None:
    guarded.environment["CITESPAN_CACHE"] = str(tmp_path / "cache")
    # Reading is left out: it takes two minutes, and opens nothing that asking does not.
    only = ("--only", "cold", "--only", "indexing")
    told = json.loads(guarded("bench", "--quick", *only, "--json", cwd=tmp_path))
    assert len(told["measures"]) == 2


@pytest.mark.long
def test_a_foreign_pair_of_models_runs_nothing(guarded: Guarded, tmp_path: Path) -> None:
    """Weights as a pickle beside the true ones, and code that a config asks to be run."""
    mark = tmp_path / "mark"
    pair = model_pair("bundled")
    for role, source in (("encoder", pair.encoder.folder), ("reader", pair.reader.folder)):
        folder = copied(source, tmp_path / "pair" / role)
        (folder / "pytorch_model.bin").write_bytes(pickle.dumps(Planted(mark)))
        (folder / "evil.py").write_text(f"import os\nos.mkdir({str(mark)!r})\n")
        config = json.loads((folder / "config.json").read_text())
        config["auto_map"] = dict.fromkeys(
            ("AutoConfig", "AutoModel", "AutoModelForQuestionAnswering"), "evil.Model"
        )
        (folder / "config.json").write_text(json.dumps(config))
    (tmp_path / "a.txt").write_text("The keeper of the harbour was Ada Moreau.")
    guarded.environment["CITESPAN_CACHE"] = str(tmp_path / "cache")
    guarded("index", "a.txt", "--models", "pair", cwd=tmp_path)
    assert guarded("ask", "Who kept the harbour?", "--min-confidence", "0", cwd=tmp_path)
    assert not mark.exists()
