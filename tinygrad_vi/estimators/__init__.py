"""Estimators of scikit-learn: models and losses in scalar code, for its pipelines, searches and scores.

`ScalarClassifier` and `ScalarRegressor` are `nn`, `losses`, `compile` and `fit` behind scikit-learn's methods.  They
need the package scikit-learn, 1.6 or later, which is imported when one of them is asked for.
"""

from typing import TYPE_CHECKING as _TYPE_CHECKING

from tinygrad_vi.checks import package as _package

if _TYPE_CHECKING:
    from tinygrad_vi.estimators.scikit import ScalarClassifier as ScalarClassifier
    from tinygrad_vi.estimators.scikit import ScalarRegressor as ScalarRegressor

__all__ = [
    "ScalarClassifier",
    "ScalarRegressor",
]


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    if not hasattr(_package("sklearn.utils.validation", name), "validate_data"):
        raise ImportError(f"{name} needs scikit-learn 1.6 or later: pip install scikit-learn, with --upgrade")
    from tinygrad_vi.estimators import scikit

    return getattr(scikit, name)


def __dir__() -> list[str]:
    return [*__all__]
