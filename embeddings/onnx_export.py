"""PyTorch models to ONNX graphs. The only place on the asking path that imports torch, once."""

import json
import logging
import warnings
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeAlias

__all__ = ["Exported", "Precision", "Role", "export"]

Role: TypeAlias = Literal["encoder", "reader"]
Precision: TypeAlias = Literal["int8", "float32"]

_OPSET = 17
_MOST_TOKENS = 512
"""What models without a limit are held to, and those with a higher one: the time that attention
takes grows with the square."""
_PLAIN_ATTENTION = "citespan_plain"
_EVERYWHERE = {"bert", "distilbert", "electra", "roberta", "xlm-roberta"}
"""Models in which every token attends to every other, and whose attention can be chosen."""


class Exported(NamedTuple):
    """What the graph does not say about the model."""

    max_tokens: int
    """The longest sequence it reads, special tokens included."""
    token_types: bool
    """Whether it tells segments apart, and so takes `token_type_ids`."""
    prompts: dict[str, str]
    """What it wants in front of a text, by the kind of text."""


def export(folder: Path, role: Role, out: Path, precision: Precision) -> Exported:
    """Write the model in `folder` as `out/model.onnx`, its tokenizer as `out/tokenizer.json`.

    The graph takes `input_ids`, and `token_type_ids` where the model has
    segments, int64 of shape (batch, length); no attention mask, since sequences
    are not padded. An encoder gives `embedding`, shape (batch, dim), pooled and
    normalised as its sentence-transformers modules say; a reader gives `start`
    and `end`, shape (batch, length).
    """
    import torch
    from transformers import AutoTokenizer
    from transformers.utils import logging as transformers_logging

    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()

    module, described = (_encoder if role == "encoder" else _reader)(folder)
    names = ["input_ids", *(["token_type_ids"] if described.token_types else [])]
    outputs = ["embedding"] if role == "encoder" else ["start", "end"]
    axes = {0: "batch", 1: "length"}
    # Eleven tokens: an odd number that no dimension of a model equals, so that none is mistaken.
    example = tuple(torch.ones((1, 11), dtype=torch.int64) for _ in names)
    graph = out / "model.onnx"
    full = graph if precision == "float32" else out / "float32.onnx"
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            module.eval(),
            example,
            str(full),
            dynamo=False,
            opset_version=_OPSET,
            input_names=names,
            output_names=outputs,
            dynamic_axes={
                **dict.fromkeys(names, axes),
                **dict.fromkeys(outputs, {0: "batch"} if role == "encoder" else axes),
            },
        )
    if precision == "int8":
        _quantise(full, graph, keep=_contractions(full) if role == "reader" else [])
        full.unlink()
    _optimise(graph)
    # Loaded and saved rather than copied: some models come with a SentencePiece file alone.
    AutoTokenizer.from_pretrained(folder, local_files_only=True).backend_tokenizer.save(
        str(out / "tokenizer.json")
    )
    return described


def _quantise(full: Path, graph: Path, keep: list[str]) -> None:
    """Write the graph with weights of eight bits, but for the operators that are kept."""
    from onnxruntime.quantization import QuantType, quantize_dynamic

    # Seven-bit weights: without VNNI, eight-bit products saturate int16 (ONNX Runtime's
    # own advice), and with it they cost nothing measurable.
    disabled = logging.root.manager.disable
    logging.disable(logging.WARNING)  # It advises a step that these graphs do not need.
    try:
        quantize_dynamic(
            full,
            graph,
            per_channel=True,
            reduce_range=True,
            weight_type=QuantType.QInt8,
            nodes_to_exclude=keep,
        )
    finally:
        logging.disable(disabled)


def _contractions(graph: Path) -> list[str]:
    """The matrices that end the feed-forward blocks of the first two thirds of the layers.

    What they multiply has a few values far larger than the others, which one scale for
    all of them serves badly. Kept in float32 they take a sixth more time, and give a reader back
    what int8 costs it (66.5 / 78.2 in float32, 65.9 / 77.8 with all in int8, 66.6 / 78.3 so; in
    the last layers they make no difference).
    """
    import onnx

    model = onnx.load(graph)
    shapes = {weight.name: tuple(weight.dims) for weight in model.graph.initializer}
    found = [
        node.name
        for node in model.graph.node
        if node.op_type == "MatMul"
        and len(shape := shapes.get(node.input[1], ())) == 2
        and shape[0] > shape[1]
    ]
    return found[: 2 * len(found) // 3]


def _optimise(graph: Path) -> None:
    """Fuse the graph's operators now, which halves the time to load it later.

    The runtime loads it as it is. "Extended" fusions hold for any processor. The fused
    addition and normalisation is left out: it takes three times as long as both apart.
    """
    import onnxruntime

    optimised = graph.with_name("optimised.onnx")
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    options.optimized_model_filepath = str(optimised)
    onnxruntime.InferenceSession(
        graph,
        options,
        providers=["CPUExecutionProvider"],
        disabled_optimizers=["SkipLayerNormFusion"],
    )
    optimised.replace(graph)


def _encoder(folder: Path) -> tuple[Any, Exported]:
    import torch
    from sentence_transformers import SentenceTransformer

    # float32 throughout: shipped weights are float16, which the CPU would add up coarsely.
    model = SentenceTransformer(
        str(folder),
        device="cpu",
        local_files_only=True,
        model_kwargs={"dtype": torch.float32, **_attention(folder)},
    )

    class Embed(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, input_ids: Any, token_type_ids: Any = None) -> Any:
            return self.model(_inputs(input_ids, token_type_ids))["sentence_embedding"]

    config = model[0].auto_model.config
    limit = min(model.max_seq_length or _positions(config), _positions(config))
    prompts = {kind: prompt for kind, prompt in model.prompts.items() if prompt}
    return Embed(), Exported(limit, _has_token_types(config), prompts)


def _reader(folder: Path) -> tuple[Any, Exported]:
    import torch
    from transformers import AutoModelForQuestionAnswering

    # Likewise.
    model = AutoModelForQuestionAnswering.from_pretrained(
        folder, local_files_only=True, dtype=torch.float32, **_attention(folder)
    )

    class Read(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, input_ids: Any, token_type_ids: Any = None) -> Any:
            output = self.model(**_inputs(input_ids, token_type_ids))
            return output.start_logits, output.end_logits

    return Read(), Exported(_positions(model.config), _has_token_types(model.config), {})


def _inputs(input_ids: Any, token_type_ids: Any) -> dict[str, Any]:
    """What a model is called with; every token counts."""
    import torch

    inputs = {"input_ids": input_ids, "attention_mask": torch.ones_like(input_ids)}
    return inputs if token_type_ids is None else {**inputs, "token_type_ids": token_type_ids}


def _attention(folder: Path) -> dict[str, str]:
    """What makes a model attend without a mask, where that is all that its mask would do.

    Sequences are not padded, so that nothing has to be masked. The usual attention
    masks all the same, and looks for rows in which everything was masked: an eighth of the time.
    """
    from transformers import AttentionInterface

    config = folder / "config.json"
    known = config.is_file() and json.loads(config.read_text(encoding="utf-8"))
    if not known or known.get("model_type") not in _EVERYWHERE:
        return {}
    # No mask function is registered with it, so that transformers makes no mask.
    AttentionInterface.register(_PLAIN_ATTENTION, _plain_attention)
    return {"attn_implementation": _PLAIN_ATTENTION}


def _plain_attention(
    module: Any, query: Any, key: Any, value: Any, attention_mask: Any, *, scaling: float, **_: Any
) -> tuple[Any, None]:
    """Attention of all to all; shapes (batch, heads, length, size of a head)."""
    if attention_mask is not None:
        raise ValueError("a mask was made where none was expected")
    weights = ((query * scaling) @ key.transpose(2, 3)).softmax(-1)
    return (weights @ value).transpose(1, 2).contiguous(), None


def _has_token_types(config: Any) -> bool:
    return int(getattr(config, "type_vocab_size", 0) or 0) > 1


def _positions(config: Any) -> int:
    """How many tokens the model has positions for; RoBERTa's table starts after its padding."""
    positions = int(getattr(config, "max_position_embeddings", 0) or _MOST_TOKENS)
    offset = config.model_type in {"roberta", "xlm-roberta", "camembert", "mpnet"}
    return min(positions - (config.pad_token_id + 1 if offset else 0), _MOST_TOKENS)
