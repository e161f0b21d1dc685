"""Pareto fronts and the area between curves, by hand."""

import numpy as np
import pytest

from experiment.report.area import area_between, front, quality_at, resampled_means


def array(*values: float) -> np.ndarray:
    return np.array(values)


def test_the_front_drops_what_costs_more_and_is_no_better():
    costs, quality = front(array(4, 1, 2, 3, 1), array(0.6, 0.4, 0.5, 0.5, 0.3))
    assert (list(costs), list(quality)) == ([1, 2, 4], [0.4, 0.5, 0.6])


def test_two_points_are_a_line_over_log_cost():
    """Half way from 1 to 100 is 10; beyond 100 the quality stays."""
    found = quality_at(array(1, 100), array(0.4, 0.6), array(1, 10, 100, 1000))
    assert found == pytest.approx([0.4, 0.5, 0.6, 0.6])


def test_the_curve_never_falls():
    found = quality_at(array(1, 2, 3, 50), array(0.1, 0.5, 0.51, 0.52), np.geomspace(1, 50, 300))
    assert (np.diff(found) >= 0).all()


def test_area_by_hand():
    """From 1 to 100: 0.4 to 0.6 against 0.3 to 0.4: the difference rises in a line from 0.1 to 0.2, on average 0.15."""
    found = area_between(array(1, 100), array(0.4, 0.6), array(1, 100), array(0.3, 0.4))
    assert found is not None and found.mean == pytest.approx(0.15)


def test_only_the_common_range_counts():
    """Against 0.5 everywhere from 10 to 1000: the line is at 0.5 at 10 and 0.6 at 100, on average 0.55."""
    found = area_between(array(1, 100), array(0.4, 0.6), array(10, 1000), array(0.5, 0.5))
    assert found is not None and (found.low, found.high) == (10, 100)
    assert found.mean == pytest.approx(0.05)
    assert area_between(array(1, 2), array(0.4, 0.6), array(3, 4), array(0.3, 0.4)) is None


def test_a_collapsed_run_has_no_place_on_a_logarithmic_scale():
    """The two runs beside it give the area; with none beside it there is no curve."""
    found = area_between(array(0, 1, 100), array(0, 0.4, 0.6), array(1, 100), array(0.3, 0.4))
    assert found is not None and (found.low, found.mean) == (1, pytest.approx(0.15))
    assert area_between(array(0, 0), array(0, 0), array(1, 100), array(0.3, 0.4)) is None


def test_an_area_against_itself_and_turned_round():
    random = np.random.default_rng(0)
    one, two = (random.random(5) + 0.1, random.random(5)), (random.random(5) + 0.1, random.random(5))
    there, back = area_between(*one, *two), area_between(*two, *one)
    assert there is not None and back is not None and there.mean == pytest.approx(-back.mean)
    itself = area_between(*one, *one)
    assert itself is not None and itself.mean == 0


def test_resampling_keeps_pairs_and_weighs_data_sets_the_same():
    """A system that is 0.1 better on every query is so in every resample; the first data set's mean is 0.5 ± …"""
    random = np.random.default_rng(0)
    base = random.random(200)
    means = resampled_means([np.stack([base, base + 0.1]), np.ones((2, 3))], rounds=400)
    assert means[:, 1] - means[:, 0] == pytest.approx(0.05)
    assert means[:, 0].mean() == pytest.approx((base.mean() + 1) / 2, abs=0.005)
    # the standard error of a mean of 200, halved by the second data set, which does not vary
    assert means[:, 0].std() == pytest.approx(base.std() / np.sqrt(200) / 2, rel=0.15)
