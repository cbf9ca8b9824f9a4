"""What a user installs: the wheel alone, in a clean environment outside the checkout.

One question of each type of document is asked of it.
"""

import json
import os
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

CHECKOUT = Path(__file__).parent.parent
QUESTION = "How many defectors went public?"
ISLANDS = (
    "name,population,ferry,mayor\nTarnholm,312,Little Auk,Peder Lund\nOstrey,96,none,Gro Falk\n"
)
MINUTES = """\
{"title": "May", "text": "The harbour board agreed to buy a crane for 340,000 crowns."}
{"title": "June", "text": "The crane was delivered by Hessel & Sons."}
"""
OF_EACH_TYPE = (
    (QUESTION, "defectors-icsr-report.txt", "58"),
    ("What share of Sorvan fever cases did the vaccine prevent?",
     "sorvan-fever-vaccine-trial.md", "71.4 per cent"),
    ("What was the rescue dog called?", "avalanche-valdrenne-ski-tour.html", "Pilou"),
    ("How much must Telvia pay as a fine?",
     "emergency-call-outage-regulator-findings.pdf", "€8.4 million"),
    ("Who chairs the Hestmark Fishermen's Union?",
     "wind-farm-tarrow-bank-fishing-fleet.docx", "Gunhild Roos"),
    ("Who is the mayor of Ostrey?", "islands.csv", "Gro Falk"),
    ("Who delivered the crane?", "minutes.jsonl", "Hessel & Sons"),
)  # fmt: skip


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

        (folder / "islands.csv").write_text(ISLANDS, encoding="utf-8")
        (folder / "minutes.jsonl").write_text(MINUTES, encoding="utf-8")
        tables = ("islands.csv", "minutes.jsonl")
        run(binaries / "citespan", "index", "--sample", *tables, "--index", "all", cwd=folder)
        for question, document, expected in OF_EACH_TYPE:
            command = (binaries / "citespan", "ask", question, "--index", "all", "--json")
            answer = json.loads(run(*command, "--in", document, cwd=folder))["answers"][0]
            citation = answer["citations"][0]
            place = citation["page"] or citation["line"] or citation["start"]
            print(f"{question} -> {answer['text']} ({document}: {place})")
            if answer["text"] != expected or Path(citation["source"]).name != document:
                sys.exit(f"expected {expected} from {document}, got {answer}")
        (folder / "answer.json").write_text(
            run(binaries / "citespan", "ask", QUESTION, "--index", "all", "--json", cwd=folder),
            encoding="utf-8",
        )
        print(run(binaries / "citespan", "verify", "answer.json", cwd=folder))

        measure = ("eval", "--sample", "--limit", "5", "--html", "report.html")
        print(run(binaries / "citespan", *measure, cwd=folder))
        if QUESTION not in (folder / "report.html").read_text(encoding="utf-8"):
            sys.exit("the report lacks its questions")


if __name__ == "__main__":
    main()
