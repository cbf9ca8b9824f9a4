"""Ask an index a question; every answer is a quote that can be checked.

>>> from qa import Pipeline  # doctest: +SKIP
>>> with Pipeline.open(".citespan") as pipeline:  # doctest: +SKIP
...     result = pipeline.ask("How many defectors went public?")
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from qa.pipeline import Pipeline
    from qa.results import Answer, Citation, Result

__all__ = ["Answer", "Citation", "Pipeline", "Result"]


def __getattr__(name: str) -> Any:
    # Imported when asked for: numpy and the rest are no business of `import qa`.
    if name in __all__:
        from qa import pipeline, results

        return getattr(pipeline if name == "Pipeline" else results, name)
    raise AttributeError(f"module 'qa' has no attribute {name!r}")
