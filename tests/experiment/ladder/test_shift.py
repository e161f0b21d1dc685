"""How far documents lie from where query weights come from: by hand, and by what a divergence has to be."""

import numpy as np
import pytest

from experiment.ladder.shift import shift


def idf(df: np.ndarray, n: int) -> np.ndarray:
    """As sparse_model.corpus_idf has it."""
    return np.log(1 + (n - df + 0.5) / (df + 0.5))


SOURCE = idf(1e6 / np.arange(1, 2001), 2_000_000)


@pytest.mark.parametrize(("n", "nearly"), [(200, 0.02), (1000, 0.005), (20_000, 0.005)])
def test_a_sample_of_the_source_is_at_home_however_small(n: int, nearly: float) -> None:
    df = np.random.default_rng(n).poisson(n * 0.5 / np.arange(1, 2001))
    assert shift(SOURCE, idf(df, n), n) == pytest.approx(0, abs=nearly)


@pytest.mark.parametrize("n", [200, 1000, 20_000])
def test_half_of_other_words(n: int) -> None:
    """Half of the pairs are of tokens that the source hardly has: Σ of -p log(p/m)/2 over both halves, 0.311."""
    df = np.full(2000, 0.0)
    df[:2] = n / 2
    source = idf(np.array([2e6, 0.01, *np.zeros(1998)]), 4_000_000)
    by_hand = (np.log2(1 / 0.75) + 0.5 * np.log2(0.5 / 0.75) + 0.5 * np.log2(0.5 / 0.25)) / 2
    assert by_hand == pytest.approx(0.3113, abs=1e-4)
    assert shift(source, idf(df, n), n) == pytest.approx(by_hand, abs=0.01)


def test_what_a_table_does_not_know_is_left_out() -> None:
    """Tokens of weight 1, which tables give to what was never seen, and special tokens, which have 0."""
    n, source = 1000, SOURCE.copy()
    df = np.random.default_rng(0).poisson(n * 0.5 / np.arange(1, 2001))
    source[[5, 7]], documents = (1.0, 0.0), idf(df, n)
    documents[7] = 0
    before = shift(source, documents, n)
    documents[5] = idf(np.array([900.0]), n)[0]
    assert shift(source, documents, n) == before


def test_nothing_in_common() -> None:
    assert shift(np.ones(4), idf(np.array([3.0, 2.0, 1.0, 0.0]), 5), 5) == 1


@pytest.mark.parametrize("n", [1, 10])
def test_documents_that_share_a_token_or_two(n: int) -> None:
    """So few pairs that a sample may have none at all: a figure all the same, and that of no home."""
    df = np.zeros(2000)
    df[150:152] = 1
    assert shift(SOURCE, idf(df, n), n) > 0.03
