"""Every error a user can meet.

    CitespanError
    ├── InputError        what was asked for does not exist or cannot be used
    │   ├── GoldError     a gold question is malformed
    │   └── UnknownDocumentError  no document of the index has this id
    ├── LoadError         one document cannot be read; the others go on
    ├── StoppedError      the user stopped a run; what was done is kept
    ├── RootError         a root is missing, unreadable or suddenly empty; nothing was deleted
    ├── ModelError        a model folder is incomplete or altered
    │   └── ExportError   a model's architecture does not export to ONNX
    └── IndexStateError   something is wrong with the index itself
        ├── NoIndexError      there is none here yet
        ├── DamagedIndexError a part is missing or fails its checksum
        ├── LockedIndexError  another process is writing
        └── RecipeError       the index was made with other models or by another version

A message says what was seen, what was expected, and what to type next. The
library raises; only the faces print. Anything else that escapes is a bug and
keeps its traceback.
"""


class CitespanError(Exception):
    """Base of every error that is not a bug; `str(error)` is one sentence for the user."""


class InputError(CitespanError):
    """A path, option or question given by the user cannot be used."""


class GoldError(InputError):
    """A gold question does not say what it must; the message names the file and the question."""


class UnknownDocumentError(InputError):
    """No document of the index has the id that was asked for."""


class LoadError(CitespanError):
    """A document cannot be turned into text; the message is the reason alone, without the path."""


class RootError(CitespanError):
    """A root is missing, unreadable or suddenly empty, so that its documents were kept."""


class StoppedError(CitespanError):
    """A run was stopped by the user; what it had done is kept."""


class ModelError(CitespanError):
    """A model folder lacks a file or differs from its published hash."""


class ExportError(ModelError):
    """A model cannot be exported to ONNX; it may still run on torch."""


class IndexStateError(CitespanError):
    """The index cannot be used as it is."""


class NoIndexError(IndexStateError):
    """No index lies at the given folder."""


class DamagedIndexError(IndexStateError):
    """A derived part of the index is missing or does not match its checksum."""


class LockedIndexError(IndexStateError):
    """Another process is writing to the index."""


class RecipeError(IndexStateError):
    """The index was made with other models, or by a version with another schema."""
