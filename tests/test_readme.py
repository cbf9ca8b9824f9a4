"""What the README says is so: its commands run, its output is real, its file tree is complete."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import SAMPLE_GOLD, citespan

from qa.indexing import SAMPLE

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```(\w*)\n(.*?)```", README, re.DOTALL)
COMMANDS = [
    line.removeprefix("$ ")
    for kind, block in BLOCKS
    if kind == "console"
    for line in block.splitlines()
    if line.startswith("$ citespan")
]


@pytest.fixture
def workplace(tmp_path: Path) -> Path:
    """A folder such as a reader of the README might have."""
    (tmp_path / "reports").mkdir()
    for name in ("defectors-icsr-report.txt", "averill-bridge-audit.md"):
        shutil.copy(SAMPLE / name, tmp_path / "reports")
    # The first questions show that the commands run.
    rows = SAMPLE_GOLD.read_text(encoding="utf-8").splitlines(keepends=True)[:10]
    (tmp_path / "eval" / "sample").mkdir(parents=True)
    (tmp_path / "eval" / "sample" / "gold.jsonl").write_text("".join(rows), encoding="utf-8")
    (tmp_path / "notes.md").write_text("# Notes\n\nThe report was written by Ada Moreau.\n")
    return tmp_path


def test_the_commands_run(workplace: Path) -> None:
    assert len(COMMANDS) >= 4
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    for command in COMMANDS:
        done = subprocess.run(
            ["bash", "-c", command], cwd=workplace, env={**os.environ, "PATH": path},
            capture_output=True, text=True,
        )  # fmt: skip
        assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"


def test_the_python_example_runs(workplace: Path) -> None:
    citespan("index", "reports", cwd=workplace)
    (code,) = (block for kind, block in BLOCKS if kind == "python")
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=workplace, capture_output=True, text=True
    )
    assert done.stdout.startswith("58 "), done.stderr


def test_the_demo_prints_what_the_readme_shows() -> None:
    done = citespan("ask", "How many defectors went public?", "--sample", cwd=ROOT)
    (shown,) = (block for kind, block in BLOCKS if kind == "text")
    # The second decimal of a probability may differ between processors.
    confidence = re.compile(r"confidence \d\.\d\d")
    assert confidence.sub("", done.stdout) == confidence.sub("", shown)


def test_the_file_tree_is_complete() -> None:
    listed = re.findall(r"^ {6,8}(\w+\.py) ", README, re.MULTILINE)
    rooms = [
        path.name
        for floor in ("corpus", "embeddings", "qa", "eval")
        for path in (ROOT / floor).rglob("*.py")
        if path.stem != "__init__" and path.parent.name != "peer_scripts"
    ]
    assert sorted(listed) == sorted(rooms)


def test_every_command_has_help_and_stands_in_the_readme() -> None:
    listed = citespan("--help").stdout.split("Commands:")[1]
    for name in re.findall(r"^  (\w+) ", listed, re.MULTILINE):
        assert f"citespan {name}" in README
        help_text = citespan(name, "--help").stdout
        assert name in {"train", "gold"} or "Example: citespan" in help_text
