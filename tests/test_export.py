"""Models of other architectures export, are cached, and are read from any folder."""

import errno
import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from corpus.errors import InputError, ModelError
from embeddings import exports, onnx_export
from embeddings.encoder import OnnxEncoder, TorchEncoder, open_encoder
from embeddings.exports import ModelSource, export
from embeddings.runtime import TokenSequence
from qa.reader import Reader
from qa.settings import model_pair

SMALL: dict[str, Any] = {
    "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64,
    "vocab_size": 30522, "max_position_embeddings": 128,
}  # fmt: skip
ARCHITECTURES = [
    "bert", "roberta", "electra", "distilbert", "deberta-v2", "mpnet", "xlm-roberta", "modernbert",
]  # fmt: skip


def save_tokenizer(folder: Path) -> None:
    from transformers import AutoTokenizer

    AutoTokenizer.from_pretrained(model_pair("bundled").encoder.folder).save_pretrained(folder)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A function that gives a folder with a random reader of an architecture."""
    import torch
    from transformers import AutoConfig, AutoModelForQuestionAnswering

    def make(architecture: str) -> Path:
        folder = tmp_path_factory.mktemp(architecture)
        torch.manual_seed(0)
        options = SMALL
        if architecture == "distilbert":
            options = {
                "dim": 32,
                "n_layers": 2,
                "n_heads": 2,
                "hidden_dim": 64,
                "vocab_size": 30522,
            }
        if architecture == "modernbert":
            options = {**SMALL, "pad_token_id": 0, "cls_token_id": 101, "sep_token_id": 102}
        config = AutoConfig.for_model(architecture, **options)
        AutoModelForQuestionAnswering.from_config(config).save_pretrained(folder)
        save_tokenizer(folder)
        return folder

    return make


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_readers_equal_torch_at_any_length(tiny: Any, architecture: str) -> None:
    import torch
    from transformers import AutoModelForQuestionAnswering

    folder = tiny(architecture)
    exported = export(ModelSource(architecture, folder), "reader", precision="float32")
    model = AutoModelForQuestionAnswering.from_pretrained(folder)
    types_used = getattr(model.config, "type_vocab_size", 0) > 1
    for length in (9, 50, 100):
        ids = np.random.default_rng(length).integers(1000, 2000, length)
        types = (np.arange(length) > 4).astype(np.int64)
        starts, ends = exported.run(TokenSequence(ids, types))
        inputs = {"input_ids": torch.from_numpy(ids)[None]}
        if types_used:
            inputs["token_type_ids"] = torch.from_numpy(types)[None]
        with torch.no_grad():
            output = model(**inputs)
        np.testing.assert_allclose(starts, output.start_logits.numpy(), atol=1e-3)
        np.testing.assert_allclose(ends, output.end_logits.numpy(), atol=1e-3)
    (spans,) = Reader(exported).read("Who came?", ["Ida Lund came on Monday."], n=3)
    assert len(spans) == 3


@pytest.fixture(scope="module")
def mine(tiny: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with encoder/ and reader/, as `--models DIR` wants it."""
    folder = tmp_path_factory.mktemp("mine")
    shutil.copytree(model_pair("bundled").encoder.folder, folder / "encoder")
    prompts = {"prompts": {"query": "query: ", "passage": "passage: "}}
    (folder / "encoder" / "config_sentence_transformers.json").write_text(json.dumps(prompts))
    shutil.copytree(tiny("bert"), folder / "reader")
    return folder


def test_nothing_is_masked_where_nothing_is_padded(reader_model: Any) -> None:
    """What cost a quarter of the time: masks, guards of their rows, and a slow fused operator."""
    operators = {node.op_type for node in onnx.load(reader_model.graph).graph.node}
    assert "LayerNormalization" in operators
    assert operators.isdisjoint({"IsNaN", "Where", "SkipLayerNormalization"})


def test_the_models_own_prompts_are_used(mine: Path) -> None:
    ours = OnnxEncoder(export(model_pair(str(mine)).encoder, "encoder", precision="float32"))
    plain = OnnxEncoder(export(model_pair("bundled").encoder, "encoder", precision="float32"))
    np.testing.assert_allclose(
        ours.encode_queries(["Who?"]), plain.encode_queries(["query: Who?"]), atol=1e-6
    )
    np.testing.assert_allclose(
        ours.encode_passages(["He."]), plain.encode_queries(["passage: He."]), atol=1e-6
    )
    torch_encoder = TorchEncoder(model_pair(str(mine)).encoder, "cpu")
    assert torch_encoder.identity == ours.identity
    assert torch_encoder.encode_passages([]).shape == ours.encode_passages([]).shape == (0, 0)
    np.testing.assert_allclose(
        torch_encoder.encode_passages(["He.", "word " * 600]),
        ours.encode_passages(["He.", "word " * 600]),
        atol=1e-3,
    )


def test_a_model_that_does_not_export_runs_on_torch(
    mine: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CITESPAN_CACHE", str(tmp_path / "cache"))

    def fail(*_: Any) -> Any:
        raise RuntimeError("operator not supported")

    monkeypatch.setattr(onnx_export, "export", fail)
    encoder = open_encoder(model_pair(str(mine)).encoder)
    assert isinstance(encoder, TorchEncoder)
    assert encoder.encode_queries(["Who?"]).shape == (1, 384)
    with pytest.raises(ModelError, match="operator not supported"):
        export(model_pair(str(mine)).reader, "reader")
    assert not list((tmp_path / "cache" / "models").glob("*/export.json"))


def test_a_full_disk_is_no_reason_to_run_on_torch(
    mine: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CITESPAN_CACHE", str(tmp_path / "cache"))

    def fail(*_: Any) -> Any:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(onnx_export, "export", fail)
    with pytest.raises(ModelError, match="full disk; make room"):
        open_encoder(model_pair(str(mine)).encoder)


def test_an_export_is_made_once(tiny: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    source = ModelSource("tiny", tiny("bert"))
    first = export(source, "reader")
    monkeypatch.setattr(onnx_export, "export", None)
    assert export(source, "reader").identity == first.identity
    os.utime(source.folder / "model.safetensors", (1, 1))
    with pytest.raises(ModelError):
        export(source, "reader")


def test_a_broken_export_says_what_to_delete(tiny: Any, clean_environment: Path) -> None:
    source = ModelSource("tiny", tiny("bert"))
    export(source, "reader")
    newest = max((clean_environment / "models").glob("reader-*/"), key=lambda p: p.stat().st_mtime)
    (newest / "model.onnx").write_bytes(b"cut short")
    with pytest.raises(ModelError, match=rf"delete {newest}, and it is made again"):
        export(source, "reader").warm()
    (newest / "export.json").write_text("{")
    export(source, "reader").warm()


def test_an_unwritable_cache_falls_back_to_the_index(
    tiny: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("CITESPAN_CACHE", str(tmp_path / "file"))
    source = ModelSource("tiny", tiny("bert"))
    export(source, "reader", fallback=tmp_path / "index")
    assert list((tmp_path / "index" / "models").glob("reader-*/model.onnx"))
    with pytest.raises(ModelError, match="set CITESPAN_CACHE"):
        export(source, "reader")


def test_altered_weights_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bundled = model_pair("bundled").encoder
    shutil.copytree(bundled.folder, tmp_path / "encoder")
    with (tmp_path / "encoder" / "model.safetensors").open("r+b") as file:
        file.seek(-1, os.SEEK_END)
        file.write(b"\x01")
    source = ModelSource("altered", tmp_path / "encoder", bundled.sha256)
    with pytest.raises(ModelError, match=rf"has sha256 .*, expected {bundled.sha256}"):
        export(source, "encoder")


def test_model_folders_are_checked(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="expected bundled, balanced, best, multilingual"):
        model_pair(str(tmp_path))
    (tmp_path / "encoder").mkdir()
    (tmp_path / "reader").mkdir()
    with pytest.raises(ModelError, match=r"has no model.safetensors"):
        export(model_pair(str(tmp_path)).reader, "reader")


def test_hub_models_not_at_hand_say_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(ModelError, match=r"bge-small.* could not be fetched"):
        model_pair("balanced")


def test_positions_of_roberta_start_after_its_padding(tiny: Any) -> None:
    exported = export(ModelSource("r", tiny("roberta")), "reader")
    assert exported.max_tokens == 126
    ids = np.full(126, 1000)
    assert exported.run(TokenSequence(ids, ids * 0))[0].shape == (1, 126)


def test_two_processes_export_once(tiny: Any, clean_environment: Path) -> None:
    from concurrent.futures import ThreadPoolExecutor

    source = ModelSource("tiny", tiny("bert"))
    calls = []
    original = exports._export
    try:
        exports._export = lambda *a: (calls.append(a), original(*a))[1]  # type: ignore[func-returns-value]
        with ThreadPoolExecutor(3) as pool:
            list(pool.map(lambda _: export(source, "reader").max_tokens, range(3)))
    finally:
        exports._export = original
    assert len(calls) == 1
