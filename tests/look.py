"""Pictures of the page in every state, to be looked at: python tests/look.py FOLDER [STATE...]."""

import os
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from states import SCHEMES, SIZES, STATES, lit, servers, shown
from visiting import browsing

from qa.indexing import SAMPLE, index_files


def main() -> None:
    os.environ.pop("CITESPAN_TOKEN", None)
    target, wanted = Path(sys.argv[1]), sys.argv[2:]
    target.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory() as temporary:
        folder = Path(temporary)
        index_files(folder / "sample", [SAMPLE])
        with servers(folder / "sample", folder) as running, browsing() as browser:
            for state in STATES:
                if wanted and state.name not in wanted:
                    continue
                for width in SIZES:
                    with shown(browser, state, running, width) as visitor:
                        for scheme in SCHEMES:
                            lit(visitor, scheme)
                            visitor.page.screenshot(
                                path=target / f"{state.name}-{width}-{scheme}.png"
                            )
                print(state.name)


if __name__ == "__main__":
    main()
