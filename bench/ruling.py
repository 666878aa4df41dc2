"""The words for what is found of a benchmark's speed."""

REGRESSION = "regression"
IMPROVEMENT = "improvement"
STEADY = "no regression"
INCONCLUSIVE = "inconclusive"
FAILED = "failed"  # now, where it gave a time before
NOT_MEASURED = "not measured"
MARKS = {REGRESSION: "✘", FAILED: "✘", IMPROVEMENT: "▲", STEADY: "✔", INCONCLUSIVE: "?", NOT_MEASURED: "–"}
UNSURE = (INCONCLUSIVE, NOT_MEASURED)


def marked(word: str) -> str:
    """The word with its mark, as tables show it."""
    return f"{MARKS[word]} {word}"
