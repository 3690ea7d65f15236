"""Logarithms, exponentials, powers and eigenvalues that are the same bits on every processor.

numpy's own differ. `np.log`, `np.exp` and `**` run other code with AVX-512 than without, the C
library's functions run other code with fused multiply-add than without, and LAPACK adds in an
order that depends on the processor. Here everything is made of operations that IEEE 754 rounds in
one way (+, -, *, /, sqrt), each in a numpy call of its own, so that no compiler can fuse two.

Intermediate results are pairs of floats whose sum is the number, to some 75 bits (Dekker 1971).
Rounding them to 53 bits at the end gives the correctly rounded result, unless the true one is
within 2**-20 of a unit in the last place of the midpoint between two floats.
"""

from collections.abc import Iterator
from decimal import Context, Decimal
from functools import cache

import numpy as np
from numpy.typing import ArrayLike

Pair = tuple[np.ndarray, np.ndarray]  # two floats per number: the nearest one, and the remainder

_SPLITTER = 2.0**27 + 1
_DIGITS = Context(prec=60)
_RECIPROCALS = 128  # a logarithm starts from the nearest reciprocal among n / 128
_PARTS = 64  # an exponential starts from the nearest power of 2 ** (1 / 64)
_LOWEST, _HIGHEST = -746.0, 710.0  # beyond these, exponentials are 0 and infinite
_HALVINGS = 60  # of an interval that contains all eigenvalues, to 2 ** -60 of its width
_SMALLEST_PIVOT = 1e-290
_EPSILON = float(np.finfo(np.float64).eps)


def log(x: ArrayLike) -> np.ndarray:
    """Return the natural logarithm of each element.

    Args:
        x: Positive finite numbers, of any shape.

    Returns:
        The correctly rounded logarithms, of the same shape.
    """
    high, low = _log(np.asarray(x, np.float64))
    return high + low


def exp(x: ArrayLike) -> np.ndarray:
    """Return e to the power of each element.

    Args:
        x: Finite numbers, of any shape.

    Returns:
        The correctly rounded exponentials, of the same shape; below 2.2e-308 rounded twice.
    """
    x = np.asarray(x, np.float64)
    return _exp(x, np.zeros_like(x))


def power(x: ArrayLike, exponent: ArrayLike) -> np.ndarray:
    """Return each element to the power of `exponent`.

    Args:
        x: Finite numbers that are not negative, of any shape.
        exponent: A finite number, or one for each of `x`.

    Returns:
        The correctly rounded powers; 0 for the powers of 0.
    """
    x, exponent = np.asarray(x, np.float64), np.asarray(exponent, np.float64)
    high, low = _log(np.where(x > 0, x, 1.0))
    product, rest = _product(high, exponent)
    return np.where(x > 0, _exp(*_quick_sum(product, rest + low * exponent)), 0.0)


def eigenvalues(matrices_IKK: np.ndarray) -> np.ndarray:
    """Return the eigenvalues of symmetric matrices, by bisection of Householder's tridiagonal form.

    The eigenvalues of a matrix do not depend on the other matrices of the call. Those within
    rounding of zero (K units in the last place of the largest) are set to zero, because their
    square roots would be noise of 1e-8.

    Args:
        matrices_IKK: I symmetric matrices with K rows.

    Returns:
        Their eigenvalues (I, K) in ascending order, each within a few units in the last place of
        the largest.
    """
    diagonal_IK, next_IK = _tridiagonal(np.array(matrices_IKK, np.float64))
    radius_IK = np.abs(next_IK)
    radius_IK[:, 1:] += np.abs(next_IK[:, :-1])
    ends_I1 = (diagonal_IK + radius_IK).max(1, keepdims=True)
    starts_I1 = (diagonal_IK - radius_IK).min(1, keepdims=True)
    high_IK, low_IK = (np.broadcast_to(of_I1, diagonal_IK.shape) for of_I1 in (ends_I1, starts_I1))
    rank_K = np.arange(diagonal_IK.shape[1])
    for _ in range(_HALVINGS):
        middle_IK = (low_IK + high_IK) / 2
        is_above_IK = _count_below(middle_IK, diagonal_IK, next_IK * next_IK) > rank_K
        low_IK = np.where(is_above_IK, low_IK, middle_IK)
        high_IK = np.where(is_above_IK, middle_IK, high_IK)
    values_IK = (low_IK + high_IK) / 2
    size_IK = np.abs(values_IK)
    rounding_I1 = len(rank_K) * _EPSILON * size_IK.max(1, keepdims=True)
    return np.where(size_IK <= rounding_I1, 0.0, values_IK)


# ----------------------------------------------------------------------------------- eigenvalues


def _tridiagonal(a_IKK: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return similar tridiagonal matrices: their diagonals and off-diagonals, both (I, K).

    The last element of an off-diagonal is 0.
    """
    k = a_IKK.shape[1]
    next_IK = np.zeros(a_IKK.shape[:2])
    for n in range(k - 2):
        rest_IMM, v_IM = a_IKK[:, n + 1 :, n + 1 :], a_IKK[:, n + 1 :, n].copy()
        length_I = np.sqrt((v_IM * v_IM).sum(1))
        next_IK[:, n] = np.where(v_IM[:, 0] > 0, -length_I, length_I)
        v_IM[:, 0] -= next_IK[:, n]
        square_I1 = (v_IM * v_IM).sum(1, keepdims=True)
        v_IM *= np.sqrt(np.divide(2, square_I1, out=np.zeros_like(square_I1), where=square_I1 > 0))
        w_IM = (rest_IMM * v_IM[:, None]).sum(2)
        w_IM -= v_IM * (v_IM * w_IM).sum(1, keepdims=True) / 2
        rest_IMM -= v_IM[:, :, None] * w_IM[:, None] + w_IM[:, :, None] * v_IM[:, None]
    if k > 1:
        next_IK[:, k - 2] = a_IKK[:, k - 1, k - 2]
    return np.diagonal(a_IKK, axis1=1, axis2=2).copy(), next_IK


def _count_below(x_IK: np.ndarray, diagonal_IK: np.ndarray, squares_IK: np.ndarray) -> np.ndarray:
    """Count the eigenvalues of a tridiagonal matrix below each of K numbers (Sturm sequences)."""
    count_IK, pivot_IK = np.zeros(x_IK.shape, np.int64), np.ones(x_IK.shape)
    for n in range(diagonal_IK.shape[1]):
        quotient = squares_IK[:, n - 1, None] / pivot_IK if n else 0.0
        pivot_IK = diagonal_IK[:, n, None] - x_IK - quotient
        pivot_IK[np.abs(pivot_IK) < _SMALLEST_PIVOT] = -_SMALLEST_PIVOT
        count_IK += pivot_IK < 0
    return count_IK


# ------------------------------------------------------------------- logarithms and exponentials


def _log(x: np.ndarray) -> Pair:
    mantissa, exponent = np.frexp(x)
    is_low = mantissa < np.sqrt(0.5)
    mantissa, exponent = np.where(is_low, 2 * mantissa, mantissa), exponent - is_low
    place = np.rint(_RECIPROCALS / mantissa)
    upper = _upper(mantissa)
    reciprocal = place / _RECIPROCALS
    # This is exact, because |z| < 2 ** -7.4 and both summands are multiples of 2 ** -60.
    z = (upper * reciprocal - 1) + (mantissa - upper) * reciprocal
    logs, first = _log_table()
    ln2_high, ln2_low, rest = _ln2(1)
    total = _sum((exponent * ln2_high, np.zeros_like(x)), _product(exponent * 1.0, ln2_low))
    table = logs[place.astype(np.int64) - first]
    total = _sum(total, (table[..., 0], table[..., 1] + exponent * rest))
    return _sum(total, _log_1_plus(z))


def _log_1_plus(z: np.ndarray) -> Pair:
    """Return log(1 + z) for |z| < 2 ** -7.4.

    The terms z - z ** 2 / 2 + z ** 3 / 3 are computed as pairs, the rest of the series as floats.
    """
    square, square_low = _product(z, z)
    cube, cube_low = _product(square, z)
    third, third_low = _divided_by_3(_quick_sum(cube, cube_low + square_low * z))
    rest = np.zeros_like(z)
    for n in range(13, 3, -1):
        rest = rest * z + (-1.0) ** (n + 1) / n
    total = _sum((z, np.zeros_like(z)), (-square / 2, -square_low / 2))
    return _sum(total, (third, third_low + rest * (square * square)))


def _divided_by_3(number: Pair) -> Pair:
    high = number[0] / 3
    product, rest = _product(high, 3.0)
    return _quick_sum(high, ((number[0] - product) - rest + number[1]) / 3)


def _exp(high: np.ndarray, low: np.ndarray) -> np.ndarray:
    is_beyond = (high < _LOWEST) | (high > _HIGHEST)
    beyond = np.where(high > 0, np.inf, 0.0)
    high, low = np.where(is_beyond, 0.0, high), np.where(is_beyond, 0.0, low)
    first, second, third = _ln2(_PARTS)
    parts = np.rint(high / (first + second))
    removed, removed_low = _product(parts, second)
    remainder, remainder_low = _sum((high - parts * first, low), (-removed, -removed_low))
    r, r_low = _quick_sum(remainder, remainder_low - parts * third)
    square, square_low = _product(r, r)
    rest = np.zeros_like(r)
    for n in range(11, 2, -1):
        rest = (rest + 1) * r / n
    second_order = square_low / 2 + r * r_low + rest * (square / 2)
    without_one = _sum((r, r_low), (square / 2, second_order))
    total, total_low = _sum((np.ones_like(r), np.zeros_like(r)), without_one)
    whole, part = np.divmod(parts.astype(np.int64), _PARTS)
    table = _exp_table()[part]
    product, product_low = _product(table[..., 0], total)
    result = product + (product_low + (table[..., 0] * total_low + table[..., 1] * total))
    return np.where(is_beyond, beyond, np.ldexp(result, whole.astype(np.int32)))


# ----------------------------------------------------------------------------------------- pairs


def _sum(a: Pair, b: Pair) -> Pair:
    high = a[0] + b[0]
    shifted = high - a[0]
    low = (a[0] - (high - shifted)) + (b[0] - shifted)
    return _quick_sum(high, low + (a[1] + b[1]))


def _quick_sum(a: np.ndarray, b: np.ndarray) -> Pair:
    """Return the exact sum of two floats with |a| >= |b|."""
    high = a + b
    return high, b - (high - a)


def _product(a: np.ndarray, b: np.ndarray | float) -> Pair:
    """Return the exact product of two floats."""
    high = a * b
    a_upper, b_upper = _upper(a), _upper(b)
    a_lower, b_lower = a - a_upper, b - b_upper
    mixed = ((a_upper * b_upper - high) + a_upper * b_lower) + a_lower * b_upper
    return high, mixed + a_lower * b_lower


def _upper(x: np.ndarray | float) -> np.ndarray | float:
    """Return the first 26 bits."""
    scaled = _SPLITTER * x
    return scaled - (scaled - x)


# ------------------------------------------------------------------------------------- constants


@cache
def _ln2(parts: int) -> tuple[float, float, float]:
    """Return ln 2 / `parts` as the sum of three floats.

    The first has 32 bits, so that its multiples up to 2 ** 21 are exact.
    """
    whole = _DIGITS.divide(_DIGITS.ln(Decimal(2)), Decimal(parts))
    first = float(np.rint(float(whole) * 2.0**32 * parts) / (2.0**32 * parts))
    rest = _DIGITS.subtract(whole, Decimal(first))
    second = float(rest)
    return first, second, float(_DIGITS.subtract(rest, Decimal(second)))


@cache
def _log_table() -> tuple[np.ndarray, int]:
    """Return -ln(n / 128) as pairs (n, 2), and the first n."""
    first, last = round(_RECIPROCALS / 2**0.5) - 1, round(_RECIPROCALS * 2**0.5) + 1
    quotients = (_DIGITS.divide(Decimal(_RECIPROCALS), Decimal(n)) for n in range(first, last + 1))
    return _pairs(map(_DIGITS.ln, quotients)), first


@cache
def _exp_table() -> np.ndarray:
    """Return 2 ** (n / 64) as pairs (n, 2)."""
    ln2 = _DIGITS.ln(Decimal(2))
    exponents = (_DIGITS.divide(_DIGITS.multiply(ln2, n), _PARTS) for n in range(_PARTS))
    return _pairs(map(_DIGITS.exp, exponents))


def _pairs(numbers: Iterator[Decimal]) -> np.ndarray:
    return np.array([_as_pair(number) for number in numbers])


def _as_pair(number: Decimal) -> tuple[float, float]:
    high = float(number)
    return high, float(_DIGITS.subtract(number, Decimal(high)))
