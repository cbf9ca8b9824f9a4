"""What a user installs: the wheel alone, in a clean environment outside the checkout."""

import json
import os
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

CHECKOUT = Path(__file__).parent.parent
QUESTION = "How many defectors went public?"


def run(*command: str | Path, cwd: Path) -> str:
    print("$", *command, flush=True)
    # A user has nothing of ours in the environment, and the checkout is not on the path.
    env = {k: v for k, v in os.environ.items() if not k.startswith(("CITESPAN", "PYTHON"))}
    env["CITESPAN_CACHE"] = str(cwd / "cache")
    return subprocess.run(
        command, cwd=cwd, env=env, check=True, stdout=subprocess.PIPE, text=True
    ).stdout


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        pip = [sys.executable, "-m", "pip"]
        run(*pip, "wheel", "--quiet", "--no-deps", "-w", folder, CHECKOUT, cwd=folder)
        (wheel,) = folder.glob("citespan-*.whl")
        venv.create(folder / "venv", with_pip=True)
        binaries = folder / "venv" / "bin"
        constraints = CHECKOUT / "constraints.txt"
        run(binaries / "pip", "install", "--quiet", "-c", constraints, wheel, cwd=folder)

        answer = json.loads(
            run(binaries / "citespan", "ask", QUESTION, "--sample", "--json", cwd=folder)
        )
        first = answer["answers"][0]
        citation = first["citations"][0]
        print(f"{QUESTION} -> {first['text']} ({citation['source']}:{citation['line']})")
        if not answer["answered"] or first["text"] != "58":
            sys.exit(f"expected 58, got {first}")
        if Path(citation["source"]).is_relative_to(CHECKOUT):
            sys.exit(f"the checkout answered, not the wheel: {citation['source']}")
        text = run(binaries / "citespan", "ask", QUESTION, "--sample", cwd=folder)
        print(text)


if __name__ == "__main__":
    main()
