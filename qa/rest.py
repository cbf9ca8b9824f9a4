"""The REST interface: what the library can do, as JSON over HTTP, with an OpenAPI that is true."""

from importlib.metadata import version
from typing import Annotated, Any, Literal

import anyio.to_thread
from fastapi import APIRouter, FastAPI, File, Path, Request, Response, UploadFile
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, Strict
from starlette.exceptions import HTTPException
from starlette.routing import compile_path
from starlette.types import Scope

from corpus.errors import (
    CitespanError,
    IndexStateError,
    InputError,
    LoadError,
    LockedIndexError,
    NoIndexError,
    UnknownDocumentError,
)
from corpus.page_view import image_of
from qa import render
from qa.access import bug, problem
from qa.library import Library, Upload
from qa.reference import reference_page

__all__ = ["MOST_ANSWERS", "MOST_CHARS", "Result", "Summary", "rest"]

MOST_ANSWERS = 100
MOST_CHARS = 10_000
"""Of a question."""
NOT_BLANK = r"[^\s\x1c-\x1f\x85\ufeff]"


def _whole(value: Any) -> Any:
    """JSON knows one kind of number: 5.0 is whole too."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


_Whole = Annotated[int, Strict(), BeforeValidator(_whole)]
_Share = Annotated[float, Strict(), Field(ge=0, le=1)]


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Problem(_Model):
    """An error."""

    code: str = Field(description="for programs", examples=["no_such_document"])
    error: str = Field(description="what was seen, what was expected, what to do next")
    request_id: str = Field(description="also in the header X-Request-ID")


class Question(_Model):
    """What to ask."""

    question: str = Field(
        min_length=1,
        max_length=MOST_CHARS,
        pattern=NOT_BLANK,
        examples=["Who wrote the report?"],
    )
    answers: _Whole = Field(5, ge=1, le=MOST_ANSWERS, description="how many, at most")
    min_confidence: _Share | None = Field(
        None, description="answer from this confidence on, instead of the fitted one"
    )


class Citation(_Model):
    """Where an answer stands; offsets are half-open and count code points of the text."""

    document: str
    title: str
    source: str
    sha256: str
    start: int
    end: int
    page: int | None
    line: int | None
    quote: str
    sentence: str
    sentence_start: int
    passage: int


class Answer(_Model):
    """An answer with every place that gives it."""

    text: str
    confidence: float = Field(ge=0, le=1)
    disagrees_with: list[int]
    citations: list[Citation]


class Passage(_Model):
    """A passage that was read."""

    id: int
    document: str
    start: int
    end: int
    text: str
    score: float
    rank: int


class Seconds(_Model):
    """How long it took."""

    search: float
    read: float
    total: float


class IndexState(_Model):
    """What answered."""

    generation: int
    encoder: str
    reader: str


class Result(_Model):
    """What the documents say; the same object as `citespan ask --json` prints."""

    question: str
    answered: bool
    threshold: float
    disagreement: bool
    answers: list[Answer]
    passages: list[Passage]
    seconds: Seconds
    index: IndexState


class Summary(_Model):
    """A document without its text, as in `citespan list --json`."""

    id: str
    title: str
    source: str
    row: int | None
    type: str
    date: str | None
    pages: int | None
    passages: int
    indexed_at: float = Field(description="seconds since 1970")


class Document(_Model):
    """A document with its text, as in `citespan show --json`."""

    id: str
    title: str
    source: str
    row: int | None
    sha256: str
    loader: str
    encoding: str | None
    date: str | None
    page_starts: list[int]
    text: str


class Failure(_Model):
    """A file that is not in the index."""

    name: str
    reason: str


class Added(_Model):
    """What came of an upload."""

    documents: list[Summary]
    failed: list[Failure]
    generation: int


class Removed(_Model):
    """What was taken out."""

    source: str
    generation: int


class Health(_Model):
    """How the server is."""

    status: Literal["ok", "damaged"]
    version: str
    generation: int = Field(description="0 where nothing has been indexed yet")
    documents: int
    damage: list[str] = Field(description="what is wrong with the index; empty when it is whole")


DocumentId = Annotated[str, Path(pattern="^[0-9a-f]{16}$", examples=["0f1e2d3c4b5a6978"])]
_STATUS: dict[type[CitespanError], tuple[int, str]] = {
    UnknownDocumentError: (404, "no_such_document"),
    NoIndexError: (409, "no_documents"),
    LockedIndexError: (503, "index_locked"),
    IndexStateError: (500, "index_unusable"),
    LoadError: (409, "unreadable"),
    InputError: (400, "bad_request"),
    CitespanError: (500, "error"),
}


def _answers_with(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The errors that an operation may answer with, besides those that all have."""
    sentences = {
        400: "The request makes no sense.",
        401: "The token is missing or wrong.",
        403: "The request comes from another site.",
        404: "There is no such document.",
        405: "The path has no such method.",
        409: "There are no documents yet, or no file could be read.",
        413: "The request is too large.",
        421: "The Host header is no name of this server.",
        422: "The request is not what the schema says.",
        500: "Something is wrong with the index.",
        503: "Another process is writing to the index.",
    }
    every = {401, 403, 405, 421, 500}
    return {
        status: {"model": Problem, "description": sentences[status]}
        for status in sorted(every | set(statuses))
    }


def rest(library: Library) -> FastAPI:
    """The REST interface over the library."""
    app = FastAPI(
        title="Citespan",
        version=version("citespan"),
        description="Ask documents; every answer is a quote you can check.",
        docs_url=None,
        redoc_url=None,
    )
    app.include_router(_asking(library))
    app.include_router(_documents(library))

    @app.get("/docs", include_in_schema=False)
    async def reference() -> HTMLResponse:
        return HTMLResponse(reference_page(app.openapi()))

    _answer_errors(app)
    return app


def _asking(library: Library) -> APIRouter:
    router = APIRouter()

    @router.post("/api/ask", response_model=Result, responses=_answers_with(400, 409, 413, 422))
    async def ask(question: Question) -> Any:
        """Answer one question with quotes from the documents."""
        result = await library.ask(
            question.question,
            answers=question.answers,
            min_confidence=question.min_confidence,
        )
        return render.as_json(result)

    @router.get("/api/health", response_model=Health, responses=_answers_with())
    async def health() -> Any:
        """Whether the server is well, and what it answers from."""
        generation = await anyio.to_thread.run_sync(lambda: library.generation)
        documents = await anyio.to_thread.run_sync(library.documents)
        damage = await anyio.to_thread.run_sync(library.damage)
        return {
            "status": "damaged" if damage else "ok",
            "version": version("citespan"),
            "generation": generation,
            "documents": len(documents),
            "damage": damage,
        }

    return router


def _documents(library: Library) -> APIRouter:
    router = APIRouter()

    @router.get("/api/documents", response_model=list[Summary], responses=_answers_with())
    async def list_documents() -> Any:
        """List the documents."""
        found = await anyio.to_thread.run_sync(library.documents)
        return [render.summary_json(summary) for summary in found]

    @router.post(
        "/api/documents",
        response_model=Added,
        status_code=201,
        responses=_answers_with(400, 409, 413, 422, 503),
    )
    async def add_documents(files: Annotated[list[UploadFile], File(min_length=1)]) -> Any:
        """Add files; what cannot be read is listed in `failed`, and is an error if nothing can."""
        if len(files) > library.limits.files:
            raise InputError(
                f"{len(files)} files at once are too many; at most {library.limits.files}"
            )
        uploads = [Upload(file.filename or "document", file.file) for file in files]
        brought = await library.add(uploads)
        if not brought.documents:
            reasons = "; ".join(f"{name} {reason}" for name, reason in brought.failed)
            raise LoadError(f"nothing was added: {reasons}")
        return {
            "documents": [render.summary_json(summary) for summary in brought.documents],
            "failed": [{"name": name, "reason": reason} for name, reason in brought.failed],
            "generation": library.generation,
        }

    @router.get(
        "/api/documents/{document_id}",
        response_model=Document,
        responses=_answers_with(404, 422),
    )
    async def get_document(document_id: DocumentId) -> Any:
        """A document's text as indexed: what offsets count in."""
        found = await anyio.to_thread.run_sync(library.document, document_id)
        return render.document_json(found)

    @router.delete(
        "/api/documents/{document_id}",
        response_model=Removed,
        responses=_answers_with(400, 404, 422, 503),
    )
    async def remove_document(document_id: DocumentId) -> Any:
        """Take a document out of the index; it stays out until it is added again."""
        source = await library.remove(document_id)
        return {"source": str(source), "generation": library.generation}

    @router.get(
        "/api/documents/{document_id}/pages/{page}",
        response_class=Response,
        responses={
            200: {"description": "A PNG image.", "content": {"image/png": {}}},
            **_answers_with(404, 409, 422),
        },
    )
    async def get_page(
        document_id: DocumentId, page: Annotated[int, Path(ge=1, le=1_000_000)]
    ) -> Response:
        """A page of a PDF file as an image."""
        document = await anyio.to_thread.run_sync(library.document, document_id)
        if document.kind != "pdf" or page > len(document.page_starts):
            raise UnknownDocumentError(f"document {document_id!r} has no page {page} to show")
        image = await anyio.to_thread.run_sync(image_of, document, page)
        headers = {"cache-control": "private, max-age=600"}
        return Response(image, media_type="image/png", headers=headers)

    return router


def _answer_errors(app: FastAPI) -> None:
    """Errors as JSON with a code and a sentence; only a bug is reported as one."""

    @app.exception_handler(CitespanError)
    async def ours(request: Request, error: Exception) -> Response:
        status, code = next(answer for kind, answer in _STATUS.items() if isinstance(error, kind))
        return problem(status, code, str(error), request.scope)

    @app.exception_handler(Exception)
    async def unforeseen(request: Request, error: Exception) -> Response:
        return bug(error, request.scope)  # Logged before it is answered.

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        told = "; ".join(
            f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in error.errors()
        )
        return problem(
            422, "invalid", f"the request is not what is expected: {told}", request.scope
        )

    @app.exception_handler(HTTPException)
    async def other(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        code = {404: "not_found", 405: "method_not_allowed"}.get(error.status_code, "bad_request")
        headers = dict(error.headers or {})
        if error.status_code == 405:
            # Starlette names the methods of one route only, where several share the path.
            headers["allow"] = ", ".join(_methods(app, request.scope))
        return problem(error.status_code, code, str(error.detail), request.scope, headers)


def _methods(app: FastAPI, scope: Scope) -> list[str]:
    """The methods that the path of the request has."""
    return sorted(
        method.upper()
        for path, operations in app.openapi()["paths"].items()
        if compile_path(path)[0].match(scope["path"])
        for method in operations
    )
