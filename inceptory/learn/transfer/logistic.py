"""Logistic regression by scipy's L-BFGS. No torch.

It has the optimum of scikit-learn's, which the tests compare it with; but to import that takes a second, which is
longer than a fit (LOG.md).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

ITERATIONS = 1000
SEARCHES = 50
"""Points along a direction, as many as scikit-learn allows."""
SMALLEST = 64 * float(np.finfo(np.float64).eps)
"""Share of the loss by which an iteration must lower it, as in scikit-learn: less is rounding."""


class Logistic:
    """One problem, of several classes or of one against another; each fit starts from the one before."""

    def __init__(
        self, vectors: NDArray[np.floating[Any]], labels: NDArray[np.int64], weights: NDArray[np.float64]
    ) -> None:
        """`vectors` (n, length), in whose precision the sums are; `labels` (n,) from 0 on, each of which occurs;
        `weights` (n,) are the rows' shares of the loss.
        """
        self._vectors, self._labels, self._weights = vectors, labels, weights
        classes = int(labels.max()) + 1
        self.logits = 1 if classes == 2 else classes
        """For two classes there is one logit: the second's, where the first's is 0."""
        self._found = np.zeros((self.logits, vectors.shape[1] + 1))

    def fit(self, strength: float, tolerance: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """(coefficients (logits, length), intercepts (logits,)) where loss + strength / 2 * |coefficients|^2 is least.

        `tolerance` is the largest part of the gradient with which it has arrived. Iterations end after ITERATIONS,
        where one is as near as makes no difference.
        """
        from scipy.optimize import minimize

        options = {"maxiter": ITERATIONS, "maxls": SEARCHES, "gtol": tolerance, "ftol": SMALLEST}
        arguments: dict[str, Any] = {"args": (strength,), "jac": True, "method": "L-BFGS-B", "options": options}
        self._found = minimize(self._objective, self._found.ravel(), **arguments).x.reshape(self._found.shape)
        return self._found[:, :-1], self._found[:, -1]

    def _objective(self, flat: NDArray[np.float64], strength: float) -> tuple[float, NDArray[np.float64]]:
        """The objective and its gradient."""
        weight = flat.reshape(self.logits, -1)
        coefficients = weight[:, :-1]
        logits = self._vectors @ coefficients.T.astype(self._vectors.dtype) + weight[:, -1]  # (n, logits)
        rows = np.arange(len(logits))
        if self.logits == 1:
            logits = np.concatenate([np.zeros_like(logits), logits], axis=1)
        logits -= logits.max(1, keepdims=True)
        powers = np.exp(logits)
        sums = powers.sum(1, keepdims=True)
        loss = float(self._weights @ (np.log(sums[:, 0]) - logits[rows, self._labels]))
        errors = powers / sums
        errors[rows, self._labels] -= 1
        errors = (errors * self._weights[:, None])[:, -self.logits :].astype(self._vectors.dtype)
        gradient = np.empty_like(weight)
        gradient[:, :-1] = errors.T @ self._vectors + strength * coefficients
        gradient[:, -1] = errors.sum(0)
        return loss + strength / 2 * float((coefficients**2).sum()), gradient.ravel()
