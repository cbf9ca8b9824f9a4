"""Which models there are, and whether they are the right ones."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import citespan
from typer.testing import CliRunner

from embeddings.exports import ModelSource
from qa import settings
from qa.cli import app
from qa.model_list import ListedModel, describe
from qa.settings import PRESETS, model_pair

KEYS = ["preset", "role", "name", "state", "sha256", "expected_sha256", "folder"]


def sha256(folder: Path) -> str:
    return hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()


def test_the_bundled_pair_is_here_with_the_hashes_it_must_have() -> None:
    pair = model_pair("bundled")
    for model, source in zip(describe("bundled"), (pair.encoder, pair.reader), strict=True):
        weights = (source.folder / "model.safetensors").read_bytes()
        assert model.sha256 == hashlib.sha256(weights).hexdigest() == source.sha256
        assert model.state in {"here", "exported"}


def test_presets_of_the_hub_are_absent_offline_and_nothing_is_fetched() -> None:
    listed = describe()
    assert {model.preset for model in listed} == {"bundled", "balanced", "best", "multilingual"}
    assert {model.state for model in listed if model.preset != "bundled"} == {"absent"}


def test_an_altered_model_is_said(tmp_path: Path) -> None:
    from dataclasses import replace

    from qa.model_list import _described

    source = model_pair("bundled").reader
    shutil.copytree(source.folder, tmp_path / "reader")
    weights = tmp_path / "reader" / "model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    listed = _described("bundled", "reader", replace(source, folder=tmp_path / "reader"))
    assert listed.state == "altered"
    assert listed.sha256 != listed.expected_sha256 == source.sha256


def test_models_on_the_command_line(tmp_path: Path) -> None:
    pair = model_pair("bundled")
    for role, source in (("encoder", pair.encoder), ("reader", pair.reader)):
        shutil.copytree(source.folder, tmp_path / "mine" / role)
    done = citespan("models", "--models", tmp_path / "mine", "--json")
    assert done.returncode == 0
    listed = json.loads(done.stdout)
    assert [(model["role"], model["expected_sha256"]) for model in listed] == [
        ("encoder", None), ("reader", None),
    ]  # fmt: skip
    assert listed[1]["sha256"] == pair.reader.sha256
    text = citespan("models").stdout
    assert pair.reader.sha256 is not None
    assert pair.reader.sha256 in text
    assert "absent" in text


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    """A pair of a user's own; small, since nothing here runs it."""
    for role in ("encoder", "reader"):
        folder = tmp_path / "mine" / role
        folder.mkdir(parents=True)
        (folder / "model.safetensors").write_bytes(f"weights of the {role}".encode())
    return tmp_path / "mine"


@pytest.fixture
def models() -> Callable[..., Any]:
    return lambda *arguments: CliRunner().invoke(app, ["models", *map(str, arguments)])


def test_a_model_is_here_until_it_is_exported(
    reader_model: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Both can be used, one of them at once; `reader_model` is the reader, exported."""
    assert describe("bundled")[1].state == "exported"
    monkeypatch.setenv("CITESPAN_CACHE", str(tmp_path))
    assert describe("bundled")[1].state == "here"
    assert list(tmp_path.iterdir()) == [], "to look is not to export"


def test_a_list_of_all_names_every_preset() -> None:
    described = describe()
    assert [(model.preset, model.role) for model in described] == [
        (preset, role) for preset in PRESETS for role in ("encoder", "reader")
    ]
    for model in described:
        assert (model.sha256 is None) == (model.state == "absent")


WATCHED = """
import os, socket, sys
def refuse(*arguments, **_):
    print("CONNECTION", arguments, file=sys.stderr, flush=True)
    raise OSError("no network in this test")
socket.socket.connect = socket.getaddrinfo = socket.create_connection = refuse
sys.argv = ["citespan", "models", "--json"]
from qa.cli import main
main()
"""


@pytest.mark.parametrize("offline", [None, "0"])
def test_a_list_of_all_fetches_nothing(tmp_path: Path, offline: str | None) -> None:
    """Whatever the environment says: to look what is here is not to ask for gigabytes."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
    env["HF_HOME"] = str(tmp_path)
    if offline is not None:
        env["HF_HUB_OFFLINE"] = offline
    done = subprocess.run(
        [sys.executable, "-c", WATCHED], env=env, capture_output=True, text=True, timeout=120
    )
    assert "CONNECTION" not in done.stderr
    assert done.returncode == 0, done.stderr
    listed = json.loads(done.stdout)
    assert [model["state"] == "absent" for model in listed] == [
        model["preset"] != "bundled" for model in listed
    ]
    absent = next(model for model in listed if model["state"] == "absent")
    assert "\n" not in absent["name"]
    assert list(tmp_path.rglob("*.safetensors")) == []


def test_a_folder_pair_is_listed(mine: Path, models: Callable[..., Any]) -> None:
    for model in describe(str(mine)):
        assert model == ListedModel(
            preset=str(mine),
            role=model.role,
            name=str(mine / model.role),
            state="here",
            sha256=sha256(mine / model.role),
            expected_sha256=None,
            folder=str(mine / model.role),
        )
    done = models("--models", mine)
    assert done.exit_code == 0
    assert [line.split()[1:3] for line in done.stdout.splitlines()] == [
        ["encoder", "here"], ["reader", "here"],
    ]  # fmt: skip
    assert sha256(mine / "reader") in done.stdout


def test_a_folder_without_weights_is_absent(mine: Path) -> None:
    (mine / "reader" / "model.safetensors").unlink()
    encoder, reader = describe(str(mine))
    assert (encoder.state, reader.state, reader.sha256) == ("here", "absent", None)
    assert "has no model.safetensors" in reader.name


@pytest.fixture
def altered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModelSource:
    """The bundled encoder, one bit of whose weights has flipped."""
    source = model_pair("bundled").encoder
    folder = tmp_path / "model"
    shutil.copytree(source.folder, folder)
    data = bytearray((folder / "model.safetensors").read_bytes())
    data[len(data) // 2] ^= 1
    (folder / "model.safetensors").write_bytes(data)
    changed = ModelSource(source.name, folder, source.sha256)
    monkeypatch.setattr(settings, "_BUNDLED_ENCODER", folder)
    return changed


def test_altered_weights_are_said(altered: ModelSource, models: Callable[..., Any]) -> None:
    (encoder, reader) = describe("bundled")
    assert (encoder.state, reader.state != "altered") == ("altered", True)
    assert encoder.sha256 == sha256(altered.folder) != encoder.expected_sha256 == altered.sha256
    done = models("--models", "bundled")
    assert done.exit_code == 1
    first, second, *_ = done.stdout.splitlines()
    assert first.split()[:3] == ["bundled", "encoder", "altered"]
    assert first.endswith(f"sha256 {encoder.sha256}")
    assert second.strip() == f"expected sha256 {altered.sha256}"


def test_altered_weights_are_said_in_json_too(
    altered: ModelSource, models: Callable[..., Any]
) -> None:
    done = models("--models", "bundled", "--json")
    (encoder, _) = json.loads(done.stdout)
    assert (encoder["state"], encoder["expected_sha256"]) == ("altered", altered.sha256)
    assert done.exit_code == 1, "as without --json"


def test_the_shape_of_json(mine: Path, models: Callable[..., Any]) -> None:
    listed = json.loads(models("--models", mine, "--json").stdout)
    assert [list(model) for model in listed] == [KEYS, KEYS]
    assert all(model["expected_sha256"] is None for model in listed)


def test_what_is_no_pair_is_an_error(tmp_path: Path, models: Callable[..., Any]) -> None:
    for name in ("tiny", tmp_path / "nowhere", tmp_path):
        done = models("--models", name)
        assert done.exit_code == 1
        assert "expected bundled, balanced, best, multilingual, or a folder" in str(done.exception)
