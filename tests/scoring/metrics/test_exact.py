import hashlib
import os
import shutil
import subprocess
import sys
from decimal import Context, Decimal
from pathlib import Path

import numpy as np
import pytest

from dsacap.scoring.metrics import exact

ROOT = Path(__file__).resolve().parents[3]
SCRIPT = Path(__file__).with_name("fixed_scores.py")
# SHA-256 of what fixed_scores.py prints, on every processor. A change of a score's definition
# changes it.
SCORES = "62306288a7c64f43a47181806e2fcaf7601be6046661f0bc444966f9cdae68b5"
DIGITS = Context(prec=50)
RNG = np.random.default_rng(0)


def logarithm(x: float) -> float:
    return float(DIGITS.ln(Decimal(x)))


def exponential(x: float) -> float:
    return float(DIGITS.exp(Decimal(x)))


def power(x: float, exponent: float) -> float:
    return float(DIGITS.power(Decimal(x), Decimal(exponent)))


@pytest.mark.parametrize(
    ("value", "golden"),
    [
        (lambda: exact.log(3), "0x1.193ea7aad030bp+0"),
        (lambda: exact.log(5000), "0x1.108cd8bc5b177p+3"),
        (lambda: exact.log(0.1), "-0x1.26bb1bbb55515p+1"),
        (lambda: exact.log(1 - 2**-53), "-0x1.0000000000000p-53"),
        (lambda: exact.log(5e-324), "-0x1.74385446d71c3p+9"),
        (lambda: exact.exp(-1 / 3), "0x1.6edd3122f2ea5p-1"),
        (lambda: exact.exp(0.7), "0x1.01c2a61268987p+1"),
        (lambda: exact.exp(-700), "0x1.14f2b0fb9307fp-1010"),
        (lambda: exact.power(0.3, 0.2), "0x1.926eff16629a5p-1"),
        (lambda: exact.power(0.7, 1 / 3), "0x1.c69b5a72f1a99p-1"),
        (lambda: exact.power(1e-45, 0.25), "0x1.8bb66845074c7p-38"),
        (lambda: exact.power(np.e, -25 / 72), "0x1.69cdcd9658e3cp-1"),
    ],
)
def test_golden_values(value, golden):
    assert float(value()).hex() == golden


def test_golden_eigenvalues():
    upper = np.array([[1, 0.5, 0.25, 0.125], [0, 1, 0.75, 0.3], [0, 0, 1, 0.6], [0, 0, 0, 1]])
    kernel = upper + upper.T - np.eye(4)
    golden = ["0x1.258abafc5238ap-3", "0x1.1c7dc143acbbep-1", "0x1.f4ead9d3080ecp-1"]
    golden.append("0x1.294d2d8a8da9cp+1")
    assert [value.hex() for value in exact.eigenvalues(np.array([kernel]))[0].tolist()] == golden


def test_logarithms_are_rounded_correctly():
    near_one, nearest_one = 1 + (RNG.random(300) - 0.5) / 64, 1 + np.arange(-50, 50) * 2.0**-52
    all_sizes = 10 ** RNG.uniform(-300, 300, 300)
    for numbers in (np.arange(1.0, 400), RNG.random(300), near_one, nearest_one, all_sizes):
        assert exact.log(numbers).tolist() == [logarithm(x) for x in numbers.tolist()]


def test_exponentials_are_rounded_correctly():
    for numbers in (-30 * RNG.random(300), RNG.normal(0, 1e-3, 300), RNG.uniform(-700, 700, 300)):
        assert exact.exp(numbers).tolist() == [exponential(x) for x in numbers.tolist()]


@pytest.mark.parametrize("exponent", [0.2, 0.25, 1 / 3, 0.5, -1.5])
def test_powers_are_rounded_correctly(exponent):
    for numbers in (RNG.random(200), 10 ** RNG.uniform(-60, 0, 200)):
        expected = [power(x, exponent) for x in numbers.tolist()]
        assert exact.power(numbers, exponent).tolist() == expected


def test_ends_of_the_range():
    assert exact.exp([0, -745, -746.5, -1e16, 711]).tolist() == [1, 5e-324, 0, 0, np.inf]
    assert exact.power([0, 1, 0.25, 8], 0.5).tolist() == [0, 1, 0.5, 8**0.5]
    assert exact.power(2.0, [1, 2, -1, 0]).tolist() == [2, 4, 0.5, 1]
    assert exact.log([1.0]).tolist() == [0]
    assert exact.log(np.ones((2, 3))).shape == (2, 3) and exact.log([]).tolist() == []


@pytest.mark.parametrize(("images", "k"), [(40, 5), (10, 2), (10, 3), (5, 30), (4, 1)])
def test_eigenvalues_are_those_of_lapack(images, k):
    vectors = RNG.random((images, k, 12)) ** 3
    vectors /= np.linalg.norm(vectors, axis=2, keepdims=True)
    kernels = vectors @ vectors.transpose(0, 2, 1)
    values = exact.eigenvalues(kernels)
    assert values == pytest.approx(np.linalg.eigvalsh(kernels), abs=4e-15 * k)
    assert (np.diff(values, axis=1) >= 0).all()
    alone = np.concatenate([exact.eigenvalues(kernel[None]) for kernel in kernels])
    assert alone.tolist() == values.tolist()  # the other matrices do not matter


def test_eigenvalues_within_rounding_of_zero_are_zero():
    matrices = np.array([np.ones((5, 5)), np.eye(5), np.zeros((5, 5))])
    ones, identity, zeros = exact.eigenvalues(matrices).tolist()
    assert ones == [0, 0, 0, 0, pytest.approx(5, rel=1e-15)]
    assert identity == [1] * 5 and zeros == [0] * 5
    vectors = np.repeat(RNG.random((30, 3, 8)), [2, 1, 3], axis=1)
    assert ((exact.eigenvalues(vectors @ vectors.transpose(0, 2, 1)) == 0).sum(1) == 3).all()
    negative = np.array([[[0.0, 2.0], [2.0, 0.0]]])
    assert exact.eigenvalues(negative) == pytest.approx(np.array([[-2.0, 2.0]]))


# ------------------------------------------------------------------------------ other processors


def dispatched() -> list[str]:
    """Return the instruction sets that this numpy has code for, oldest first."""
    from numpy._core import _multiarray_umath

    return list(_multiarray_umath.__cpu_dispatch__)


SETTINGS: dict[str, dict[str, str]] = {"as it is": {}}
for at, name in enumerate(dispatched()):
    disabled = " ".join(dispatched()[at:])
    SETTINGS[f"numpy without {name} and newer"] = {"NPY_DISABLE_CPU_FEATURES": disabled}
for core in ("Prescott", "Nehalem", "Haswell", "Zen", "SkylakeX"):
    SETTINGS[f"OpenBLAS of {core}"] = {"OPENBLAS_CORETYPE": core}


def printed(command: list[str], settings: dict[str, str], may_fail: bool) -> str:
    """Return what fixed_scores.py prints.

    If it may fail, because the machine or numpy may reject the settings, the test is then skipped.
    """
    given = os.environ.items()
    inherited = {name: value for name, value in given if not name.startswith(("NPY_", "OPENBLAS_"))}
    path = os.pathsep.join([str(ROOT), *filter(None, sys.path)])
    environment = {**inherited, **settings, "PYTHONPATH": path}
    done = subprocess.run([*command, str(SCRIPT)], env=environment, capture_output=True, text=True)
    assert may_fail or not done.returncode, done.stderr
    if done.returncode:
        pytest.skip(f"exit status {done.returncode} here: {done.stderr.strip()[-300:]}")
    return done.stdout


@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS.keys())
def test_scores_are_the_same_bytes_with_other_instructions(settings):
    text = printed([sys.executable], settings, may_fail=bool(settings))
    assert hashlib.sha256(text.encode()).hexdigest() == SCORES


@pytest.mark.slow
@pytest.mark.parametrize("processor", ["Nehalem", "Haswell", "EPYC"])
def test_scores_are_the_same_bytes_on_an_emulated_processor(processor):
    """The C library uses other code there too: with AVX2, or without fused multiply-add."""
    if not shutil.which("qemu-x86_64"):
        pytest.skip("no qemu-x86_64 (Debian: apt-get install qemu-user)")
    python = str(Path(sys.executable).resolve())
    text = printed(["qemu-x86_64", "-cpu", processor, python], {}, may_fail=True)
    assert hashlib.sha256(text.encode()).hexdigest() == SCORES
