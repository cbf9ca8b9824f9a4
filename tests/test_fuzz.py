"""What fuzzing found does not come back, and its seeds lead where they should.

The search itself is `make fuzz`; it needs hours, and these need none of it.
"""

from pathlib import Path

import pytest
from fuzz_targets import SEEDS, TARGETS, WORDS

FINDINGS = sorted((Path(__file__).parent / "findings").iterdir())


def target_of(finding: Path) -> str:
    return max((name for name in TARGETS if finding.name.startswith(f"{name}-")), key=len)


@pytest.mark.parametrize("finding", FINDINGS, ids=lambda path: path.name)
def test_what_was_found_is_mended(finding: Path) -> None:
    TARGETS[target_of(finding)](finding.read_bytes())


@pytest.mark.parametrize("target", TARGETS)
def test_seeds_and_what_is_left_of_them_are_read_or_refused(target: str) -> None:
    for seed in SEEDS[target]():
        for kept in (1.0, 0.9, 0.5, 0.1):
            TARGETS[target](seed[: int(kept * len(seed))])


def test_every_target_has_seeds_and_words() -> None:
    assert TARGETS.keys() == SEEDS.keys() == WORDS.keys()
