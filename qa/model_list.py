"""The models that can be asked for: which of them are here, and whether they are the right ones."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

from corpus.errors import ModelError
from embeddings.exports import ModelSource, Role, identify, is_exported
from qa.settings import PRESETS, model_pair

__all__ = ["ListedModel", "describe"]


State: TypeAlias = Literal["exported", "here", "absent", "altered"]


@dataclass(frozen=True, slots=True)
class ListedModel:
    """One model of a pair."""

    preset: str
    """What `--models` calls the pair."""
    role: Role
    name: str
    state: State
    """`exported` when it can be used at once, `here` when it is exported at the first use."""
    sha256: str | None = None
    """Of the weights, read whole."""
    expected_sha256: str | None = None
    """What it must be; None where any will do."""
    folder: str | None = None


def describe(models: str | None = None) -> list[ListedModel]:
    """The pair that `--models` names, or all presets; nothing is fetched for a list of all."""
    presets = [models] if models else PRESETS
    return [model for preset in presets for model in _pair(preset, fetch=models is not None)]


def _pair(preset: str, *, fetch: bool) -> Iterator[ListedModel]:
    try:
        pair = model_pair(preset, fetch=fetch)
    except ModelError as error:
        for role in ("encoder", "reader"):
            yield ListedModel(preset, role, str(error), "absent")
        return
    yield _described(preset, "encoder", pair.encoder)
    yield _described(preset, "reader", pair.reader)


def _described(preset: str, role: Role, source: ModelSource) -> ListedModel:
    folder = str(source.folder)
    try:
        found = identify(replace(source, sha256=None)).sha256
    except ModelError as error:
        return ListedModel(preset, role, str(error), "absent", None, source.sha256, folder)
    altered = source.sha256 is not None and found != source.sha256
    state: State = "altered" if altered else "exported" if is_exported(source, role) else "here"
    return ListedModel(preset, role, source.name, state, found, source.sha256, folder)
