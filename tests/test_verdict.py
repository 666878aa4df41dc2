"""Verdicts against scipy and literal arithmetic, and what must hold of them whatever the values are."""

import dataclasses
import itertools
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats as scipy_stats
from synthetic import a_cell, a_net

from bench import looks, stats
from bench.claim import RELATIONS, Claim, Comparison
from bench.evidence import Evidence
from bench.run import DIVERGED, FAILED
from bench.verdict import CONTRADICTED, SUPPORTED, UNDECIDED, UNTESTABLE, chance, exact_test, judge, more_seeds, rule

PLAIN, A, B = (a_cell(8, shortcut) for shortcut in ("none", "A", "B"))
SELECT = {cell: {"shortcut": (cell.arch.shortcut,)} for cell in (PLAIN, A, B)}
MIRROR = {"above": "below", "below": "above", "not above": "not below", "not below": "not above"}
NORMAL_1 = (12.0, 14.5, 13.1, 12.7, 13.9, 12.2, 14.1, 13.3)
NORMAL_2 = (11.0, 11.9, 12.4, 11.3, 12.0, 11.8, 12.5, 11.1)


def a_claim(relation="above", margin=0.0, left=PLAIN, right=A, **more):
    return Claim("x", SELECT[left], SELECT[right], relation=relation, margin=margin, **more)


def evidence(claim, left, right, planned=3, paired=True):
    taken = tuple((tuple(left[:n]), tuple(right[:n])) for n in looks.taken(planned, len(left)))
    return Evidence(Comparison(claim, PLAIN, A), planned, len(left), taken, paired)


def judged(claims, values, planned=(0, 1, 2)):
    """Verdicts on nets given by their values (fractions) by seed."""
    nets = [a_net(cell, column) for cell, column in values.items()]
    return judge(claims, nets, {cell.net: planned for cell in values})


def of(values):
    return {seed: value / 100 for seed, value in enumerate(values)}


@pytest.mark.parametrize(
    ("relation", "margin", "for_it", "against"),
    [
        ("above", 0.5, [("greater", 0.5)], [("less", 0.5)]),
        ("below", 0.5, [("less", -0.5)], [("greater", -0.5)]),
        ("not above", 0.5, [("less", 0.5)], [("greater", 0.5)]),
        ("not below", 0.5, [("greater", -0.5)], [("less", -0.5)]),
        ("within", 2.5, [("greater", -2.5), ("less", 2.5)], [("less", -2.5), ("greater", 2.5)]),
        ("differs", 0.5, [("less", -0.5), ("greater", 0.5)], [("greater", -0.5), ("less", 0.5)]),
    ],
)
@pytest.mark.parametrize("paired", [True, False])
def test_the_p_value_is_scipys_over_three_looks(relation, margin, for_it, against, paired):
    def at(n, tests, together):
        left, right = NORMAL_1[:n], NORMAL_2[:n]
        found = []
        for alternative, bound in tests:
            moved = [value - bound for value in left]
            test = scipy_stats.ttest_rel if paired else scipy_stats.ttest_ind
            more = {} if paired else {"equal_var": False}
            found.append(test(moved, right, alternative=alternative, **more).pvalue)
        return together(found)

    all_of, any_of = max, lambda found: min(1, len(found) * min(found))
    pro, con = (any_of, all_of) if relation == "differs" else (all_of, any_of)
    favour = min(1, *(2**k * at(n, for_it, pro) for k, n in enumerate((3, 5, 8), start=1)))
    opposed = min(1, *(2**k * at(n, against, con) for k, n in enumerate((3, 5, 8), start=1)))
    (found,) = rule([evidence(a_claim(relation, margin), NORMAL_1, NORMAL_2, paired=paired)])
    assert found.p == pytest.approx(min(favour, opposed), rel=1e-9)
    assert found.in_favour == (favour <= opposed)
    expected = UNDECIDED if found.p > 0.05 else SUPPORTED if favour <= opposed else CONTRADICTED
    assert found.word == expected


def test_the_first_looks_ruling_is_the_usual_intervals():
    """Supported iff the two-sided 95 % interval lies above the margin."""
    differences = [6.0, 7.0, 9.0]
    low = float(scipy_stats.ttest_1samp(differences, 0).confidence_interval(0.95).low)
    for margin, word in ((low + 0.001, UNDECIDED), (low - 0.001, SUPPORTED)):
        assert rule([evidence(a_claim("above", margin), differences, [0.0] * 3)])[0].word == word


def test_a_verdict_tells_what_it_rests_on():
    (found,) = judged([a_claim()], {PLAIN: of(NORMAL_1[:5]), A: of(NORMAL_2[:5])})
    differences = [a - b for a, b in zip(NORMAL_1[:5], NORMAL_2[:5], strict=True)]
    assert found.n == 5 and found.paired and found.effect.mean == pytest.approx(sum(differences) / 5)
    one_sided = 0.05 / 4  # the second look's
    theirs = scipy_stats.ttest_1samp(differences, 0).confidence_interval(1 - 2 * one_sided)
    assert found.interval == pytest.approx((theirs.low, theirs.high))
    assert (found.left.mean, found.right.mean) == pytest.approx((sum(NORMAL_1[:5]) / 5, sum(NORMAL_2[:5]) / 5))
    flips = itertools.product((1, -1), repeat=5)
    at_least = [sum(s * d for s, d in zip(f, differences, strict=True)) >= sum(differences) - 1e-9 for f in flips]
    assert found.exact == sum(at_least) / 32


def test_holm_over_the_claims_of_a_study():
    values = {PLAIN: of(NORMAL_1[:3]), A: of(NORMAL_2[:3]), B: of((11.5, 14.4, 12.5))}
    claims = [a_claim(), a_claim(right=B), a_claim(left=B)]
    alone = [judged([claim], values)[0].p for claim in claims]
    together = [verdict.p for verdict in judged(claims, values)]
    expected = stats.holm(alone)  # every one of them leans towards its claim
    assert together == pytest.approx(expected) and max(together) > max(alone) - 1e-12


def test_what_cannot_be_compared_counts_as_a_claim_and_says_why():
    values = {PLAIN: of(NORMAL_1[:3]), A: of(NORMAL_2[:3])}
    claims = [a_claim(), Claim("y", SELECT[PLAIN], SELECT[B])]
    first, second = judged(claims, values)
    assert second.ruling == UNTESTABLE and second.because == "right selects no cell of the study: shortcut=B"
    assert first.p == pytest.approx(2 * judged(claims[:1], values)[0].p)


def test_missing_seeds_are_untestable():
    (found,) = judged([a_claim()], {PLAIN: {0: 0.5, 1: None, 2: None}, A: of(NORMAL_2[:3])})
    assert (found.ruling, found.because) == (UNTESTABLE, "plain-8: 2 of 3 seeds not run")
    assert (found.effect, found.p, found.interval, found.more, found.n) == (None,) * 5


def test_a_side_with_several_nets_makes_several_verdicts():
    cells = [a_cell(depth, shortcut) for depth in (8, 20) for shortcut in ("none", "A")]
    nets = [a_net(cell, of(NORMAL_1[:3] if cell.arch.shortcut == "none" else NORMAL_2[:3])) for cell in cells]
    found = judge([a_claim()], nets, {cell.net: (0, 1, 2) for cell in cells})
    assert [(v.comparison.left.arch.depth, v.comparison.right.arch.depth) for v in found] == [(8, 8), (20, 20)]


@pytest.mark.parametrize(("n", "word"), [(2, UNDECIDED), (3, UNDECIDED), (5, UNDECIDED), (6, SUPPORTED)])
def test_values_that_do_not_vary_have_no_more_weight_than_the_exact_test_gives_them(n, word):
    (found,) = judged([a_claim()], {PLAIN: of([90.0] * n), A: of([5.0] * n)}, tuple(range(n)))
    assert found.ruling == word and found.p == pytest.approx(min(1, 2 * 2.0**-n))


def test_one_seed_supports_nothing():
    (found,) = judged([a_claim()], {PLAIN: of([90.0]), A: of([5.0])}, (0,))
    assert found.ruling == UNTESTABLE


def test_a_plain_net_that_always_diverges_is_worse_than_one_that_trains():
    residual = of((5.0, 5.5, 4.8))
    (found,) = judged([a_claim()], {PLAIN: dict.fromkeys(range(3), DIVERGED), A: residual})
    assert found.ruling == SUPPORTED and found.effect.mean == pytest.approx(100 - 5.1)
    (found,) = judged([a_claim("below")], {PLAIN: dict.fromkeys(range(3), DIVERGED), A: residual})
    assert found.ruling == CONTRADICTED


@given(
    st.lists(st.integers(20, 95), min_size=3, max_size=8),
    st.lists(st.integers(1, 15), min_size=8, max_size=8),
    st.data(),
)
@settings(max_examples=40)
def test_a_diverged_seed_speaks_for_plain_above_residual(plain, residual, data):
    """The difference grows, the exact test's p never does, and the claim is never contradicted for it."""
    which, n = data.draw(st.integers(0, len(plain) - 1)), len(plain)
    before, after = of(plain), of(plain) | {which: DIVERGED}
    one, other = (judged([a_claim()], {PLAIN: v, A: of(residual[:n])}, tuple(range(n)))[0] for v in (before, after))
    assert other.effect.mean > one.effect.mean
    assert other.exact <= one.exact
    assert other.ruling != CONTRADICTED


def test_a_failed_seed_is_left_out_and_named():
    plain = of(NORMAL_1[:4]) | {1: FAILED}
    (found,) = judged([a_claim()], {PLAIN: plain, A: of(NORMAL_2[:4])}, (0, 1, 2, 3))
    assert found.n == 3 and found.notes == ("plain-8: seed 1 failed, left out",)
    kept = [(NORMAL_1[i], NORMAL_2[i]) for i in (0, 2, 3)]
    assert found.p == pytest.approx(2 * scipy_stats.ttest_rel(*zip(*kept, strict=True), alternative="greater").pvalue)


POINTS = st.floats(0, 100).map(lambda x: round(x, 2))
ENDS = st.one_of(
    POINTS.map(lambda x: x / 100), st.sampled_from([DIVERGED, FAILED, None]), POINTS.map(lambda x: x / 100)
)
SIDES = st.lists(st.tuples(ENDS, ENDS), min_size=2, max_size=8)
RELATED = st.tuples(st.sampled_from(RELATIONS), st.floats(0.1, 20))
VALUES = st.lists(st.tuples(POINTS, POINTS), min_size=2, max_size=8)


def columns(pairs):
    return [list(column) for column in zip(*pairs, strict=True)]


@given(SIDES, RELATED)
def test_swapping_sides_and_mirroring_the_relation_changes_nothing(pairs, related):
    relation, margin = related
    left, right = (dict(enumerate(column)) for column in columns(pairs))
    (one,) = judged([a_claim(relation, margin)], {PLAIN: left, A: right}, (0, 1))
    (other,) = judged([a_claim(MIRROR.get(relation, relation), margin, A, PLAIN)], {PLAIN: left, A: right}, (0, 1))
    assert (one.ruling, one.more, one.n) == (other.ruling, other.more, other.n)
    if one.p is not None:
        assert (one.p, one.effect.mean) == pytest.approx((other.p, -other.effect.mean))
        assert one.exact == other.exact


@given(VALUES, RELATED, st.integers(-50, 50), st.booleans())
def test_adding_a_constant_to_both_sides_changes_nothing(pairs, related, constant, paired):
    left, right = columns(pairs)
    moved = [[value + constant for value in side] for side in (left, right)]
    one, other = (rule([evidence(a_claim(*related), *sides, 2, paired)])[0] for sides in ((left, right), moved))
    assert one.p == pytest.approx(other.p, rel=1e-6, abs=1e-9)


@given(st.lists(st.tuples(VALUES, RELATED), min_size=2, max_size=4), st.randoms())
def test_the_order_of_claims_does_not_matter(studies, random):
    items = [evidence(a_claim(*related), *columns(pairs), 2) for pairs, related in studies]
    order = list(range(len(items)))
    random.shuffle(order)
    rulings = rule(items)
    assert rule([items[i] for i in order]) == [rulings[i] for i in order]


@given(VALUES, RELATED, st.floats(0.1, 20))
def test_a_claim_and_its_opposite_get_opposite_rulings(pairs, related, _margin):
    """So none is ever both supported and contradicted; and at most one of `for` and `against` is small."""
    relation, margin = related
    opposite = {"above": "not above", "not above": "above", "below": "not below", "not below": "below",
                "within": "differs", "differs": "within"}[relation]  # fmt: skip
    sides = columns(pairs)
    one, other = (rule([evidence(a_claim(r, margin), *sides, 2)])[0] for r in (relation, opposite))
    swapped = {SUPPORTED: CONTRADICTED, CONTRADICTED: SUPPORTED, UNDECIDED: UNDECIDED}
    assert one.p == pytest.approx(other.p) and (one.word == swapped[other.word] or one.p == 1.0)


@given(VALUES, RELATED, st.floats(0.1, 20), st.booleans())
def test_rulings_are_monotone_in_the_margin(pairs, related, more, paired):
    """A wider claim is supported wherever a narrower one is."""
    relation, margin = related
    wider = relation in ("not above", "not below", "within")
    narrow, wide = (margin, margin + more) if wider else (margin + more, margin)
    sides = columns(pairs)
    first, second = (rule([evidence(a_claim(relation, m), *sides, 2, paired)])[0].word for m in (narrow, wide))
    assert first != SUPPORTED or second == SUPPORTED
    assert second != CONTRADICTED or first == CONTRADICTED


@given(VALUES, RELATED)
def test_what_a_look_has_decided_stays_decided(pairs, related):
    left, right = columns(pairs)
    words = [rule([evidence(a_claim(*related), left[:n], right[:n], 2)])[0].word for n in range(2, len(left) + 1)]
    decided = [word != UNDECIDED for word in words]
    assert decided == sorted(decided)


def test_the_exact_test_of_independent_groups():
    left, right = NORMAL_1[:4], NORMAL_2[:4]
    found = chance(a_claim("below", 0.0), exact_test(left, right, False), in_favour=True)
    theirs = scipy_stats.permutation_test(
        (left, right), lambda x, y: sum(x) / 4 - sum(y) / 4, alternative="less", vectorized=False
    )
    assert found == pytest.approx(theirs.pvalue)


def first_power(differences, level, planned, seeds, shift):
    """The first look with a power of 80 %, by scipy's noncentral t."""
    deviation = scipy_stats.tstd(differences)
    for look, n in enumerate(looks.schedule(planned), start=1):
        critical = scipy_stats.t.isf(level * 0.5**look, n - 1)
        if n > seeds and scipy_stats.nct.sf(critical, n - 1, shift * math.sqrt(n) / deviation) >= 0.8:
            return n - seeds
    return None


DIFFERENCES = [0.4, 2.6, 0.9]
MEAN = sum(DIFFERENCES) / 3


@pytest.mark.parametrize(
    ("claim", "rivals", "level", "shift"),
    [
        (a_claim(), [], 0.05, MEAN),
        (a_claim("above", 2.5), [], 0.05, 2.5 - MEAN),
        (a_claim("above", confidence=0.9), [], 0.1, MEAN),
        (a_claim(), [UNDECIDED, UNTESTABLE, CONTRADICTED], 0.05 / 4, MEAN),
        (a_claim(), [SUPPORTED], 0.05, MEAN),
        (a_claim("above", 2.5), [SUPPORTED], 0.05 / 2, 2.5 - MEAN),
        (a_claim("differs"), [], 0.05 / 2, MEAN),
        (a_claim("within", 0.5), [], 0.05 / 2, MEAN - 0.5),
    ],
)
def test_how_many_more_seeds(claim, rivals, level, shift):
    item = evidence(claim, DIFFERENCES, [0.0] * 3)
    (own,) = rule([item])
    assert own.word == UNDECIDED
    rulings = [own, *(dataclasses.replace(own, word=word) for word in rivals)]
    assert more_seeds(item, rulings) == first_power(DIFFERENCES, level, 3, 3, shift)


def test_more_seeds_are_counted_from_those_there_are():
    values = of(NORMAL_2)
    plain = {0: 0.13, 1: FAILED, 2: 0.125}
    (found,) = judged([a_claim()], {PLAIN: plain, A: of(NORMAL_2[:3])})
    assert found.n == 2 and found.more + 3 in looks.taken(3, 1000)[1:]
    three = judged([a_claim()], {PLAIN: of((11.5, 14.4, 12.5)), A: of(NORMAL_2[:3])})[0]
    four = judged([a_claim()], {PLAIN: of((11.5, 14.4, 12.5, 13.0)), A: values})[0]
    assert (three.n, four.n) == (3, 3) and four.more == three.more - 1


def test_no_number_of_seeds_decides_what_lies_on_the_margin():
    assert judged([a_claim()], {PLAIN: of((12.0, 13.0, 14.0)), A: of((13.0, 13.0, 13.0))})[0].more is None


def test_a_decided_claim_shows_the_look_that_decided_it():
    left = [3.0, 3.6, 4.2, 40.0, 1.0]  # plain at 3 seeds; with 5 the spread hides it
    (found,) = judged([a_claim()], {PLAIN: of(left), A: of([0.0] * 5)})
    assert found.ruling == SUPPORTED and found.n == 3 and found.later.n == 5
    t = scipy_stats.ttest_1samp(left[:3], 0)
    assert found.p == pytest.approx(t.pvalue)  # 2 looks' share of a one-sided p is the two-sided p
    assert found.interval == pytest.approx(tuple(t.confidence_interval(0.95)))
    assert found.effect.mean == pytest.approx(3.6) and found.later.mean == pytest.approx(10.36)
