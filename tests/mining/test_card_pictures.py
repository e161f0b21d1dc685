"""The bars of the data card's histograms."""

import numpy as np

from mining.card_pictures import BARS, bars


def test_outliers_do_not_squeeze_the_picture() -> None:
    values = np.concatenate([np.random.default_rng(0).normal(size=10_000), [-1e4]]).astype(np.float32)
    edges = bars(values)
    assert -4 < edges[0] < -2.5 and 2.5 < edges[-1] < 4 and len(edges) == BARS + 1


def test_equal_values_and_none_have_bars() -> None:
    for values in (np.full(5, 2.5, dtype=np.float32), np.zeros(0, dtype=np.float32)):
        edges = bars(values)
        assert np.all(np.diff(edges) > 0) and np.histogram(values, edges)[0].sum() == len(values)
