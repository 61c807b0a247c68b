"""The distance of Gaussians against its closed form and against another way to compute it."""

import numpy as np
import pytest

from flam_train.evaluate.perceptual.frechet import frechet_distance


def exact_gaussian(mean: np.ndarray, spread: np.ndarray) -> np.ndarray:
    """Features (2 D, D) with that mean and, unbiased, a diagonal covariance of those standard deviations."""
    steps = np.diag(spread * np.sqrt((2 * len(spread) - 1) / 2))
    return np.concatenate([mean + steps, mean - steps])


@pytest.fixture
def random() -> np.random.Generator:
    return np.random.default_rng(4)


def test_gaussians_with_known_distance(random):
    mean, other_mean = random.normal(size=(2, 7))
    spread, other_spread = random.uniform(0.1, 3, (2, 7))
    expected = np.square(mean - other_mean).sum() + np.square(spread - other_spread).sum()
    some, others = exact_gaussian(mean, spread), exact_gaussian(other_mean, other_spread)
    assert frechet_distance(some, others) == pytest.approx(expected, rel=1e-9)
    turned, _ = np.linalg.qr(random.normal(size=(7, 7)))
    assert frechet_distance(some @ turned, others @ turned) == pytest.approx(expected, rel=1e-9)


def test_one_feature_is_a_plain_gaussian():
    some, others = np.array([[0.0], [2.0]]), np.array([[3.0], [7.0]])  # variances 2 and 8
    assert frechet_distance(some, others) == pytest.approx(4**2 + (8**0.5 - 2**0.5) ** 2)


def test_correlated_features_are_as_far_apart_as_by_a_matrix_root(random):
    linalg = pytest.importorskip("scipy.linalg", reason="SciPy has another root: pip install 'flam-env[eval]'")
    some = random.normal(size=(50, 6)) @ random.normal(size=(6, 6))
    others = random.normal(size=(40, 6)) @ random.normal(size=(6, 6)) + 0.3
    one, other = np.cov(some.T), np.cov(others.T)
    apart = np.square(some.mean(0) - others.mean(0)).sum()
    expected = apart + np.trace(one + other - 2 * linalg.sqrtm(one @ other).real)
    assert frechet_distance(some, others) == pytest.approx(expected, rel=1e-9)
    assert frechet_distance(others, some) == pytest.approx(expected, rel=1e-9)


def test_features_are_at_no_distance_from_themselves_however_few(random):
    for count in (2, 5, 30):
        some = random.normal(size=(count, 9)).astype(np.float32)
        assert 0 <= frechet_distance(some, some) < 1e-6
        assert 0 <= frechet_distance(some, some[::-1]) < 1e-6


def test_a_shift_alone_counts_in_full_however_few(random):
    some = random.normal(size=(4, 30))
    assert frechet_distance(some, some + 2) == pytest.approx(4 * 30, rel=1e-6)


@pytest.mark.parametrize("shapes", [((1, 4), (5, 4)), ((5, 4), (5, 3))])
def test_single_features_and_features_of_other_lengths_are_refused(shapes):
    with pytest.raises(ValueError, match="expected two sets of at least 2 features of one length"):
        frechet_distance(*map(np.ones, shapes))
