"""Look for bytes that a reader of files cannot bear: `make fuzz`.

    python tests/fuzz.py --seconds 600           every target, for so long in all
    python tests/fuzz.py --seconds 60 pdf html   these alone
    python tests/fuzz.py --one pdf FOLDER ...    one, by libFuzzer, in this process

What was tried is kept under `.fuzz/`, so that the next run goes on from there.
Bytes that were found are kept there too; those worth keeping belong into
`tests/findings/`, as TARGET-what-it-was, where the suite tries them for ever.
"""

import argparse
import hashlib
import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

WORK = Path(".fuzz")
LONGEST_INPUT = 4096
HANG_SECONDS = 30
MEMORY_MB = 3072
INSTRUMENTED = {
    "corpus", "qa", "eval", "fuzz_targets", "trafilatura", "htmldate", "justext", "courlan",
    "charset_normalizer", "zipfile", "csv", "json", "pypdfium2",
}  # fmt: skip
"""What coverage is looked at in; PDFium, libxml2 and tokenizers are native and give none."""


def one(target: str, options: list[str]) -> None:
    """Fuzz one target in this process; libFuzzer ends it."""
    import atheris

    with atheris.instrument_imports(include=sorted(INSTRUMENTED)):
        import charset_normalizer  # noqa: F401 - imported late by our own modules
        import fuzz_targets
        import trafilatura  # noqa: F401
    run = fuzz_targets.TARGETS[target]
    atheris.Setup([sys.argv[0], *options], lambda data: run(bytes(data)))
    atheris.Fuzz()


def prepared(target: str) -> tuple[Path, Path]:
    """The target's folder of inputs, with its seeds, and its list of words."""
    import fuzz_targets

    inputs = WORK / "inputs" / target
    inputs.mkdir(parents=True, exist_ok=True)
    for seed in fuzz_targets.SEEDS[target]():
        (inputs / hashlib.sha1(seed).hexdigest()).write_bytes(seed)
    words = WORK / f"{target}.words"
    words.write_text(
        "".join(
            '"' + "".join(f"\\x{byte:02x}" for byte in word) + '"\n'
            for word in fuzz_targets.WORDS[target]
        ),
        encoding="ascii",
    )
    return inputs, words


def fuzz(target: str, seconds: int) -> dict[str, object]:
    """What came of fuzzing the target in a process of its own for so long."""
    inputs, words = prepared(target)
    findings = WORK / "findings"
    findings.mkdir(exist_ok=True)
    before = set(findings.iterdir())
    log = WORK / f"{target}.log"
    started = time.monotonic()
    with log.open("wb") as stream:
        done = subprocess.run(
            [
                sys.executable, __file__, "--one", target, str(inputs), f"-dict={words}",
                f"-max_total_time={seconds}", f"-max_len={LONGEST_INPUT}",
                f"-timeout={HANG_SECONDS}", f"-rss_limit_mb={MEMORY_MB}",
                f"-artifact_prefix={findings}/{target}-", "-print_final_stats=1",
            ],
            stdout=stream, stderr=subprocess.STDOUT, check=False,
            env={**os.environ, "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"},
        )  # fmt: skip
    told = log.read_text(encoding="utf-8", errors="replace")
    stats = {name: int(n) for name, n in re.findall(r"stat::(\w+):\s+(\d+)", told)}
    edges = re.findall(r"cov: (\d+)", told)
    return {
        "target": target,
        "seconds": round(time.monotonic() - started),
        "executions": stats.get("number_of_executed_units", 0),
        "edges": int(edges[-1]) if edges else 0,
        "peak_mb": stats.get("peak_rss_mb", 0),
        "findings": sorted(str(path) for path in set(findings.iterdir()) - before),
        "exit": done.returncode,
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("targets", nargs="*", help="all by default")
    parser.add_argument("--seconds", type=int, default=600, help="for all targets together")
    arguments = parser.parse_args()
    from fuzz_targets import TARGETS

    chosen = arguments.targets or list(TARGETS)
    found = False
    WORK.mkdir(exist_ok=True)
    for target in chosen:
        report = fuzz(target, max(1, arguments.seconds // len(chosen)))
        found = found or report["exit"] != 0
        line = json.dumps(report)
        print(line, flush=True)
        with (WORK / "runs.jsonl").open("a", encoding="utf-8") as runs:
            runs.write(line + "\n")
    return 1 if found else 0


if __name__ == "__main__":
    if sys.argv[1:2] == ["--one"]:
        one(sys.argv[2], sys.argv[3:])
    sys.exit(main())
