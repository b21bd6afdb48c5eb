"""The two fits of the house: list-wise, which orders, and logistic, which makes probabilities.

Both standardise by themselves, weigh as they are told, and give weights in the features' own units.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from rankgate.errors import InputError

FloatArray = npt.NDArray[np.float64]


def corpus_shares(corpora: Sequence[str]) -> FloatArray:
    """(n,) weights with which corpora count the same, whatever they hold; their sum is 1."""
    counts = {c: corpora.count(c) for c in dict.fromkeys(corpora)}
    return np.array([1.0 / (counts[c] * len(counts)) for c in corpora])


def fit_listwise(
    lists: Sequence[FloatArray],
    relevant: Sequence[npt.NDArray[np.bool_]],
    shares: FloatArray,
    *,
    ridge: float,
) -> FloatArray:
    """Softmax over each list's candidates, ListNet's top-one loss.

    Cao et al., ICML 2007, doi:10.1145/1273496.1273513. Newton's method on a strictly convex loss:
    the result depends on no start and no step size.

    Args:
        lists: (candidates, features) of each query.
        relevant: (candidates,) of each, at least one true.
        shares: (n,) weights of the queries' losses, their sum 1.
        ridge: times the squared weights of the standardised features, above 0.

    Returns:
        (features,) weights.

    Raises:
        InputError: `ridge` is not above 0.
    """
    if not ridge > 0.0:
        raise InputError(f"ridge must be above 0, got {ridge}")
    size = lists[0].shape[1]
    if not size:
        return np.empty(0)
    scale = np.concatenate(lists).std(0) + 1e-9
    deepest = max(m.shape[0] for m in lists)
    x = np.zeros((len(lists), deepest, size))
    target = np.zeros((len(lists), deepest))
    padding = np.full((len(lists), deepest), -np.inf)
    for i, (matrix, hits) in enumerate(zip(lists, relevant, strict=True)):
        n = matrix.shape[0]
        x[i, :n] = matrix / scale
        target[i, :n] = hits / hits.sum()
        padding[i, :n] = 0.0

    def at(w: FloatArray) -> tuple[float, Callable[[], tuple[FloatArray, FloatArray]]]:
        s = x @ w + padding
        top = s.max(axis=1, keepdims=True)
        e = np.exp(s - top)
        total = e.sum(axis=1, keepdims=True)
        logp = np.maximum(s - top - np.log(total), -700.0)
        p = e / total

        def slopes() -> tuple[FloatArray, FloatArray]:
            weighed = p * shares[:, None]
            gradient = np.einsum("nk,nkf->f", weighed - target * shares[:, None], x)
            mean = np.einsum("nk,nkf->nf", p, x)
            hessian = np.einsum("nk,nkf,nkg->fg", weighed, x, x, optimize=True)
            hessian += 2.0 * ridge * np.eye(size) - np.einsum("n,nf,ng->fg", shares, mean, mean)
            return gradient + 2.0 * ridge * w, hessian

        return ridge * float(w @ w) - float(shares @ (target * logp).sum(axis=1)), slopes

    found: FloatArray = _newton(at, np.zeros(size)) / scale
    return found


def fit_logistic(
    x: FloatArray, y: npt.ArrayLike, shares: FloatArray, *, ridge: float
) -> tuple[float, FloatArray]:
    """Logistic regression, the intercept free.

    Args:
        x: (n, features).
        y: (n,) what happened, 0 or 1.
        shares: (n,) weights of the cases' losses.
        ridge: times the squared weights of the standardised features.

    Returns:
        Intercept, and (features,) weights.
    """
    happened = np.asarray(y, dtype=np.float64)
    mean, spread = x.mean(0), x.std(0) + 1e-9
    z = np.hstack([np.ones((happened.size, 1)), (x - mean) / spread])
    bound = 2.0 * ridge * np.diag([0.0, *np.ones(x.shape[1])])

    def at(b: FloatArray) -> tuple[float, Callable[[], tuple[FloatArray, FloatArray]]]:
        logit = z @ b
        p = 1.0 / (1.0 + np.exp(-np.clip(logit, -700.0, 700.0)))

        def slopes() -> tuple[FloatArray, FloatArray]:
            hessian = (z * (shares * p * (1.0 - p))[:, None]).T @ z + bound
            return z.T @ (shares * (p - happened)) + bound @ b, hessian

        return float(
            shares @ (np.logaddexp(0.0, logit) - happened * logit) + b @ bound @ b / 2.0
        ), slopes

    start = np.zeros(z.shape[1])
    one = float(shares.mean())
    start[0] = np.log((shares @ happened + one / 2.0) / (shares @ (1.0 - happened) + one / 2.0))
    # Of what always happens, or never, nothing but half a case more is known.
    b = start if happened.min() == happened.max() else _newton(at, start)
    weights: FloatArray = b[1:] / spread
    return float(b[0] - weights @ mean), weights


def _newton(
    at: Callable[[FloatArray], tuple[float, Callable[[], tuple[FloatArray, FloatArray]]]],
    w: FloatArray,
) -> FloatArray:
    """Where a convex loss is smallest; `at` gives it, and what gives gradient and Hessian."""
    loss, slopes = at(w)
    for _ in range(100):
        gradient, hessian = slopes()
        step, length = np.linalg.solve(hessian, gradient), 1.0
        tried, further = at(w - step)
        while tried > loss and length > 1e-6:
            length /= 2.0
            tried, further = at(w - length * step)
        if not loss - tried > 1e-12:
            break
        w, loss, slopes = w - length * step, tried, further
    return w
