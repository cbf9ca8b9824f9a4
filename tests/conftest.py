"""Shared fixtures. The bundled models are real; only storage is tested with a toy encoder."""

import hashlib
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import hypothesis
import numpy as np
import pytest

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

from corpus.records import ModelIdentity, Recipe
from corpus.writer import Writer
from embeddings.exports import export
from embeddings.follow import Changes, update
from qa.indexing import SAMPLE, index_files
from qa.settings import model_pair

# The first example of many a test imports a library, or starts a process.
hypothesis.settings.register_profile("patient", deadline=None)
hypothesis.settings.load_profile("patient")

TESTS = Path(__file__).parent
TOY = ModelIdentity("toy", "0" * 64)
TOY_RECIPE = Recipe(TOY, TOY, "toy", passage_tokens=40, overlap_tokens=8, dense_weight=0.5)


@pytest.fixture(scope="session", autouse=True)
def clean_environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """No setting of the developer's reaches a test; models are exported once a session."""
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("CITESPAN")]:
            patch.delenv(name)
        cache = tmp_path_factory.mktemp("cache")
        patch.setenv("CITESPAN_CACHE", str(cache))
        yield cache


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Any connection outside this machine is a failure."""
    connect = socket.socket.connect

    def guarded(self: socket.socket, address: Any) -> None:
        if self.family != socket.AF_UNIX and address[0] not in {"127.0.0.1", "::1"}:
            raise AssertionError(f"a connection to {address} was attempted")
        connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", guarded)


@pytest.fixture(scope="session")
def tokenizer() -> Any:
    """The bundled encoder's tokenizer, loaded by itself: the independent count of tokens."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(model_pair("bundled").encoder.folder / "tokenizer.json"))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


SAMPLE_GOLD = Path(__file__).parent.parent / "eval" / "sample" / "gold.jsonl"


def sample_gold(prefix: str = "") -> list[dict[str, Any]]:
    """The gold questions on the sample documents whose ids begin so."""
    rows = map(json.loads, SAMPLE_GOLD.read_text(encoding="utf-8").splitlines())
    return [row for row in rows if row["id"].startswith(prefix)]


class ToyEncoder:
    """Texts to vectors by the hash of their words; counts what it was asked to embed."""

    identity = TOY
    passage_prompt = ""

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer = tokenizer
        self.embedded: list[str] = []

    def encode_queries(self, texts: Sequence[str]) -> Any:
        return np.stack([self._vector(text) for text in texts])

    def encode_passages(self, texts: Sequence[str]) -> Any:
        self.embedded.extend(texts)
        return np.stack([self._vector(text) for text in texts])

    def _vector(self, text: str) -> Any:
        vector = np.full(16, 1e-3, dtype=np.float32)
        for word in text.lower().split():
            vector[int(hashlib.sha256(word.encode()).hexdigest(), 16) % 16] += 1
        return vector / np.linalg.norm(vector)


@pytest.fixture
def encoder(tokenizer: Any) -> ToyEncoder:
    return ToyEncoder(tokenizer)


Indexer = Callable[..., Changes]


@pytest.fixture
def toy_index(tmp_path: Path, encoder: ToyEncoder) -> Indexer:
    """Brings the index at `tmp_path / "index"` in line with paths, with the toy encoder."""

    def run(*paths: Path, **options: Any) -> Changes:
        options = {"max_bytes": 2**20, **options}
        with Writer.open(tmp_path / "index", lambda: TOY_RECIPE) as writer:
            return update(writer, paths, encoder, **options)

    return run


@pytest.fixture(scope="session")
def sample_index(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sample documents, indexed with the bundled models."""
    folder = tmp_path_factory.mktemp("sample") / "index"
    index_files(folder, [SAMPLE])
    return folder


@pytest.fixture(scope="session")
def own_models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pair that answers as the bundled one does, with other weights and no calibration."""
    from safetensors.numpy import load_file, save_file

    pair, folder = model_pair("bundled"), tmp_path_factory.mktemp("own") / "mine"
    shutil.copytree(pair.encoder.folder, folder / "encoder")
    shutil.copytree(pair.reader.folder, folder / "reader")
    (folder / "reader" / "calibration.json").unlink()
    weights = load_file(folder / "reader" / "model.safetensors")
    weights["qa_outputs.bias"] = weights["qa_outputs.bias"] + 1  # For every token alike.
    save_file(weights, folder / "reader" / "model.safetensors", {"format": "pt"})
    return folder


@pytest.fixture(scope="session")
def reader_model() -> Any:
    return export(model_pair("bundled").reader, "reader")


def python(code: str, *arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run code in a fresh interpreter."""
    return subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, **options
    )


def citespan(*arguments: str | Path, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run the command as a user does."""
    command = [Path(sys.executable).parent / "citespan", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, **options)


def on_disk(folder: Path) -> dict[str, str]:
    """Every file of the index with its hash.

    But for what holds nothing: locks, and what SQLite leaves of a log that is empty.
    """
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file() and not path.name.endswith(("lock", "-shm"))
        if not (path.name.endswith("-wal") and path.stat().st_size == 0)
    }


def hold(folder: Path, ready: Any, seconds: float) -> None:
    """Keep the index's lock for so long; run it in another process."""
    with Writer.open(folder, lambda: TOY_RECIPE):
        ready.set()
        time.sleep(seconds)


def squeezed(text: str) -> str:
    """The text without white space, and without what parts a table's cells."""
    return re.sub(r"[\s|]+", "", text)


def pages_of(path: Path) -> list[str]:
    """The file's text by page, without white space, read by other means than ours."""
    if path.suffix == ".pdf":
        import pypdf

        return [squeezed(page.extract_text()) for page in pypdf.PdfReader(path).pages]
    if path.suffix == ".html":
        import lxml.html

        tree = lxml.html.parse(str(path), lxml.html.HTMLParser(encoding="utf-8")).getroot()
        return [squeezed("".join(tree.itertext()))]
    if path.suffix == ".docx":
        import docx

        blocks = docx.Document(str(path)).iter_inner_content()
        rows = [
            [" | ".join(cell.text for cell in row.cells) for row in block.rows]
            if hasattr(block, "rows")
            else [block.text]
            for block in blocks
        ]
        return [squeezed(" ".join(line for lines in rows for line in lines))]
    return [squeezed(path.read_bytes().decode("utf-8"))]
