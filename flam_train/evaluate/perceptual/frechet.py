"""The Fréchet distance of two sets of features, each taken for a Gaussian.

FVD is that of features of videos (Unterthiner et al. 2018, arxiv.org/abs/1812.01717).
"""

import numpy as np


def frechet_distance(some: np.ndarray, others: np.ndarray) -> float:
    """How far apart the Gaussians are that fit two sets of features: (N, D) and (M, D) -> at least 0.

    |m1 - m2|^2 + tr(S1 + S2 - 2 (S1^.5 S2 S1^.5)^.5) in float64, with unbiased covariances (N - 1). Of few features it
    is too large, by about 1 / N: compare numbers of equal N only.

    Raises:
        ValueError: fewer than two rows, or rows of other lengths.
    """
    if min(len(some), len(others)) < 2 or some.shape[1:] != others.shape[1:]:
        raise ValueError(f"expected two sets of at least 2 features of one length, got {some.shape} and {others.shape}")
    some, others = some.astype(np.float64), others.astype(np.float64)
    one, other = (np.atleast_2d(np.cov(features, rowvar=False)) for features in (some, others))
    root = _square_root(one)
    shared = np.sqrt(np.linalg.eigvalsh(root @ other @ root).clip(min=0)).sum()
    apart = np.square(some.mean(0) - others.mean(0)).sum()
    return max(float(apart + one.trace() + other.trace() - 2 * shared), 0.0)


def _square_root(matrix: np.ndarray) -> np.ndarray:
    """Of a symmetric matrix without negative eigenvalues, but for rounding."""
    values, vectors = np.linalg.eigh(matrix)
    return (vectors * np.sqrt(values.clip(min=0))) @ vectors.T
