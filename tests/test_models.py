"""Which models there are, and whether they are the right ones."""

import hashlib
import json
import shutil
from pathlib import Path

from conftest import citespan

from qa.model_list import describe
from qa.settings import model_pair


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
