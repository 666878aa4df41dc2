"""Counts of a test, and the names of its protocols."""

from bench import paper, run
from bench.accuracy import PROTOCOLS, Accuracy


def test_shares_are_added():
    shares = [Accuracy(10, 3, 1, 0), Accuracy(6, 3, 1, 2)]
    whole = sum(shares, Accuracy())
    assert whole == Accuracy(16, 6, 2, 2) and (whole.top1_error, whole.top5_error) == (6 / 16, 2 / 16)


def test_of_nothing_there_is_no_error():
    assert (Accuracy(bad=3).top1_error, Accuracy(bad=3).top5_error) == (None, None)


def test_metrics_are_those_of_runs_and_of_the_papers_tables():
    names = [metric for pair in PROTOCOLS.values() for metric in pair]
    assert names[0] == "test_error" and tuple(names[1:]) == run.TESTS
    assert {f.metric for f in paper._figures() if f.data == "imagenet"} == set(names[2:])
