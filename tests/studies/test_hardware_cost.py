"""Costs: formulas against brute force over all codes, the front against its definition."""

from itertools import product

import pytest
from halfulp.formats.catalogue import format as any_format
from halfulp.formats.exact import numbers
from halfulp.sim.costs.cost import accumulator_bits
from halfulp.studies import hardware_cost as study


@pytest.mark.parametrize("name", ["e2m1", "e3m2", "int4", "e2m3"])
def test_no_sum_of_extreme_products_overflows_the_accumulator(name):
    values = [value for value in numbers(any_format(name)) if value]
    unit = min(abs(value) for value in values) ** 2
    largest = max(abs(a * b) for a, b in product(values, values)) / unit
    assert all((a * b / unit).denominator == 1 for a, b in product(values, values))
    for terms in (1, 3, study.DEPTH):
        assert terms * largest <= 2 ** (accumulator_bits(name, name, terms) - 1)


@pytest.mark.parametrize(("n", "m"), [(2, 2), (4, 8), (8, 8)])
@pytest.mark.parametrize("terms", [1, 2, 7, 4608])
def test_integer_accumulators_are_the_fewest_bits(n, m, terms):
    bits = study.integer_accumulator(n, m, terms)
    most = terms * 2 ** (n - 1) * 2 ** (m - 1)
    assert most <= 2 ** (bits - 1) - 1
    assert most > 2 ** (bits - 2) - 1


def test_every_format_of_a_width():
    assert study.minifloats(4) == ["e2m1", "e3m0"]
    assert study.every([3]) == ["int3", "e2m0"]
    assert all(any_format(name).bits == bits for bits in study.BITS for name in study.every([bits]))


def test_the_front_is_what_nothing_beats():
    costs = [study.cost(name) for name in study.every([3, 4])]
    front = study.pareto(costs)
    for each in costs:
        beaten = any(o.area <= each.area and o.error <= each.error and o != each for o in costs)
        assert (each in front) is not beaten


def test_a_premium_touches_minifloats_alone():
    costs = [study.cost(name) for name in study.every([4])]
    dearer = study.with_premium(costs, 0.2)
    assert dearer[0] == costs[0]
    assert dearer[1].area == pytest.approx(1.2 * costs[0].area)
    assert dearer[2] == costs[2]


def test_gaussian_weights_cost_what_tables_say():
    """Four evenly spaced bits of a Gaussian: 0.01154 for 16 values (Max 1960); INT4 with its 16 codes comes close."""
    assert study.cost("int4").weights == pytest.approx(0.01154, rel=0.04)


def test_claims_list_the_published_widths():
    published = {claim.id: claim.published for claim in study.CLAIMS}
    assert published["accumulator_e5m2"] == "80"
    assert len({claim.id for claim in study.CLAIMS}) == len(study.CLAIMS)
