"""The house stands: modules import their own floor and those below, earlier rooms first."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
ROOMS = {
    "corpus": [
        "errors", "log", "records", "cores", "confine", "durable", "extract", "blocks", "text",
        "html", "pdfium", "pdf", "word", "tables", "load", "pdf_places", "page_view", "worker",
        "sandbox", "scan", "split", "generations", "database", "migrations", "checkup", "store",
        "writer",
    ],
    "embeddings": [
        "onnx_export", "runtime", "exports", "encoder", "vectors", "lexical", "search", "mining",
        "build", "progress", "follow", "precision", "train",
    ],
    "qa": [
        "answers", "gold", "saved", "corrections", "settings", "spans", "reader", "calibration",
        "english", "values", "pooling", "results", "trimming", "ranking", "indexing", "model_list",
        "doctor", "pipeline", "render", "verify", "altered", "lessons", "train", "pairs",
        "examples", "followup", "conversation", "feedback", "uploads", "library", "access",
        "reference", "markup",
    ],
    "eval": [
        "metrics", "statistics", "gold", "beir", "causes", "run", "summary", "compare", "table",
        "charts", "report", "evaluate", "why", "calibrate", "bench.timing", "bench.made",
        "bench.large", "bench.child", "bench.peers", "bench.workshop", "bench.measures",
        "bench.run", "bench.table", "bench.check",
    ],
}  # fmt: skip
FLOORS = list(ROOMS)
FACES = {"qa.cli", "qa.server", "qa.rest", "qa.tools", "qa.ui"}
"""They may import anything, also each other; nothing else imports them. `qa.cli` is a package."""
ORDER = [f"{floor}.{room}" for floor in FLOORS for room in ROOMS[floor]]
ONLY = {
    "faiss": "embeddings/vectors.py",
    "tantivy": "embeddings/lexical.py",
    "pypdfium2": "corpus/pdfium.py",
    "trafilatura": "corpus/html.py",
    "gradio": "qa/ui.py",
    "mcp": "qa/tools.py",
    "uvicorn": "qa/server.py",
}
MODULES = sorted(
    path
    for floor in FLOORS
    for path in (ROOT / floor).rglob("*.py")
    if path.parent.name != "peer_scripts"
)


def imports(path: Path) -> Iterator[str]:
    """Every module that the file imports, inside functions too."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative imports hide the floor"
            yield str(node.module)
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def name_of(path: Path) -> str:
    """As it is imported: `qa.cli.options`; a package is called after its folder."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def is_face(name: str) -> bool:
    return any(name == face or name.startswith(f"{face}.") for face in FACES)


def test_every_room_is_on_the_plan() -> None:
    rooms = {name_of(path) for path in MODULES if path.stem != "__init__"}
    assert {room for room in rooms if not is_face(room)} == set(ORDER)
    assert {name_of(path) for path in MODULES} >= FACES


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_imports_go_down(path: Path) -> None:
    name = name_of(path)
    for imported in imports(path):
        assert is_face(name) or not is_face(imported), f"{name} imports the face {imported}"
        if imported in ORDER and name in ORDER:
            assert ORDER.index(imported) < ORDER.index(name), f"{name} imports {imported}"


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_some_libraries_have_one_door_each(path: Path) -> None:
    for imported in imports(path):
        top = imported.split(".")[0]
        if top in ONLY:
            assert path == ROOT / ONLY[top], f"{name_of(path)} imports {top}"


def test_the_rule_can_fail(tmp_path: Path) -> None:
    bad = tmp_path / "bad.py"
    bad.write_text("def f():\n    from qa.pipeline import Pipeline\n")
    assert "qa.pipeline" in list(imports(bad))
