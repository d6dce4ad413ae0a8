"""The laws: closed forms against searches that know only the law."""

import numpy as np
import pytest
from halfulp.studies import fp_scaling_law, precision_law, qat_law
from halfulp.studies.running import run_study


def test_every_split_of_bits_is_tried():
    law = fp_scaling_law.LAW
    assert law.best_layout(1) == (0, 0)
    assert law.best_layout(8) == (4, 3)
    for bits in range(1, 17):
        assert sum(law.best_layout(bits)) == bits - 1


def test_the_best_resolution_bounds_every_layout():
    law = fp_scaling_law.LAW
    for bits in range(1, 17):
        assert law.resolution(*law.best_layout(bits)) <= law.best_resolution(bits) * (1 + 1e-12)


def test_the_best_split_uses_all_bits():
    law = fp_scaling_law.LAW
    for bits in range(4, 17):
        exponent, mantissa = law.best_split(bits)
        assert exponent + mantissa == pytest.approx(bits - 1)
        assert law.resolution(exponent, mantissa) == pytest.approx(law.best_resolution(bits))


@pytest.mark.parametrize("layout", [(2, 1), (4, 3), (8, 7)])
def test_loss_rises_on_both_sides_of_the_critical_data(layout):
    law = fp_scaling_law.LAW
    tokens = law.critical_tokens(1e9, *layout)
    around = law.loss(1e9, tokens * np.array([0.9, 1.0, 1.1]), law.resolution(*layout))
    assert around[1] < min(around[0], around[2])


def test_effective_shares_lie_between_none_and_all():
    bits = np.linspace(5, 64, 100)
    for share in (precision_law.separate, precision_law.averaged):
        assert ((share(bits, True) > 0) & (share(bits, True) <= 1)).all()
        assert share(64, True) == pytest.approx(1, abs=1e-9)


def test_weights_overtake_activations():
    assert qat_law.ratio(100) > 1 > qat_law.ratio(10_000)


@pytest.mark.parametrize("name", ["fp_scaling_law", "precision_law", "qat_law"])
def test_pictures_are_drawn(name):
    found = run_study(name, out=None)
    for picture in found.pictures.values():
        assert picture.caption.endswith(".")
        assert picture.figure.axes[0].get_xlabel()
