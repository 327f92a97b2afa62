"""tinygrad_vi: write scalar code, see every derivative."""

from importlib import import_module as _import_module
from typing import TYPE_CHECKING as _TYPE_CHECKING

__version__ = "0.1.0"

from tinygrad_vi.checks import DomainError as DomainError
from tinygrad_vi.checks import ShapeError as ShapeError
from tinygrad_vi.elsewhere import missing as _missing
from tinygrad_vi.functions import digamma as digamma
from tinygrad_vi.functions import elu as elu
from tinygrad_vi.functions import exprel as exprel
from tinygrad_vi.functions import hard_tanh as hard_tanh
from tinygrad_vi.functions import leaky_relu as leaky_relu
from tinygrad_vi.functions import lgamma as lgamma
from tinygrad_vi.functions import log_ndtr as log_ndtr
from tinygrad_vi.functions import log_sigmoid as log_sigmoid
from tinygrad_vi.functions import log_softmax as log_softmax
from tinygrad_vi.functions import logaddexp as logaddexp
from tinygrad_vi.functions import logsumexp as logsumexp
from tinygrad_vi.functions import mish as mish
from tinygrad_vi.functions import ndtr as ndtr
from tinygrad_vi.functions import norm as norm
from tinygrad_vi.functions import prod as prod
from tinygrad_vi.functions import selu as selu
from tinygrad_vi.functions import softmax as softmax
from tinygrad_vi.functions import take as take
from tinygrad_vi.functions import total as total
from tinygrad_vi.functions import xlogy as xlogy
from tinygrad_vi.graph import first_not_finite as first_not_finite
from tinygrad_vi.ops import acos as acos
from tinygrad_vi.ops import acosh as acosh
from tinygrad_vi.ops import asin as asin
from tinygrad_vi.ops import asinh as asinh
from tinygrad_vi.ops import atan as atan
from tinygrad_vi.ops import atan2 as atan2
from tinygrad_vi.ops import atanh as atanh
from tinygrad_vi.ops import bell as bell
from tinygrad_vi.ops import cbrt as cbrt
from tinygrad_vi.ops import ceil as ceil
from tinygrad_vi.ops import cos as cos
from tinygrad_vi.ops import cosh as cosh
from tinygrad_vi.ops import erf as erf
from tinygrad_vi.ops import erfc as erfc
from tinygrad_vi.ops import erfinv as erfinv
from tinygrad_vi.ops import exp as exp
from tinygrad_vi.ops import expm1 as expm1
from tinygrad_vi.ops import floor as floor
from tinygrad_vi.ops import gelu as gelu
from tinygrad_vi.ops import hypot as hypot
from tinygrad_vi.ops import log as log
from tinygrad_vi.ops import log1p as log1p
from tinygrad_vi.ops import log2 as log2
from tinygrad_vi.ops import log10 as log10
from tinygrad_vi.ops import maximum as maximum
from tinygrad_vi.ops import minimum as minimum
from tinygrad_vi.ops import ndtri as ndtri
from tinygrad_vi.ops import relu as relu
from tinygrad_vi.ops import sech as sech
from tinygrad_vi.ops import semicircle as semicircle
from tinygrad_vi.ops import sigmoid as sigmoid
from tinygrad_vi.ops import sign as sign
from tinygrad_vi.ops import silu as silu
from tinygrad_vi.ops import sin as sin
from tinygrad_vi.ops import sinh as sinh
from tinygrad_vi.ops import softplus as softplus
from tinygrad_vi.ops import softsign as softsign
from tinygrad_vi.ops import sqrt as sqrt
from tinygrad_vi.ops import step as step
from tinygrad_vi.ops import stop_gradient as stop_gradient
from tinygrad_vi.ops import tan as tan
from tinygrad_vi.ops import tanh as tanh
from tinygrad_vi.ops import where as where
from tinygrad_vi.value import Value as Value
from tinygrad_vi.value import dot as dot
from tinygrad_vi.value import no_grad as no_grad

if _TYPE_CHECKING:
    from tinygrad_vi import course as course
    from tinygrad_vi import data as data
    from tinygrad_vi import distributions as distributions
    from tinygrad_vi import estimators as estimators
    from tinygrad_vi import losses as losses
    from tinygrad_vi.compiler.compiled import Compiled as Compiled
    from tinygrad_vi.compiler.compiled import compile as compile
    from tinygrad_vi.compiler.vmap import vmap as vmap
    from tinygrad_vi.derivatives import grad as grad
    from tinygrad_vi.derivatives import hessian as hessian
    from tinygrad_vi.derivatives import hvp as hvp
    from tinygrad_vi.derivatives import jacobian as jacobian
    from tinygrad_vi.derivatives import jvp as jvp
    from tinygrad_vi.derivatives import value_and_grad as value_and_grad
    from tinygrad_vi.derivatives import vjp as vjp
    from tinygrad_vi.numerical import GradientError as GradientError
    from tinygrad_vi.numerical import gradcheck as gradcheck
    from tinygrad_vi.numerical import numerical_gradient as numerical_gradient
    from tinygrad_vi.own import custom_derivative as custom_derivative
    from tinygrad_vi.own import operation as operation
    from tinygrad_vi.tape import Tape as Tape
    from tinygrad_vi.training.answers import accuracy as accuracy
    from tinygrad_vi.training.history import History as History
    from tinygrad_vi.training.history import TrainingError as TrainingError
    from tinygrad_vi.training.loop import fit as fit
    from tinygrad_vi.words import language as language
    from tinygrad_vi.words import set_language as set_language

_ROOMS = ("compiler", "course", "data", "distributions", "estimators", "losses", "nn", "optim", "show", "training")

#: the rooms that are opened when they are first asked for: where each name lives
_LATER = {
    **dict.fromkeys(("derivatives", "differences", "own", "tape", "trees"), ""),
    **dict.fromkeys(("grad", "hessian", "hvp", "jacobian", "jvp", "value_and_grad", "vjp"), "derivatives"),
    **dict.fromkeys(("GradientError", "gradcheck", "numerical_gradient"), "numerical"),
    **dict.fromkeys(("custom_derivative", "operation"), "own"),
    "Tape": "tape",
    **dict.fromkeys(_ROOMS, ""),
    **dict.fromkeys(("fit", "accuracy", "History", "TrainingError"), "training"),
    **dict.fromkeys(("compile", "Compiled"), "compiler.compiled"),
    "vmap": "compiler.vmap",
    **dict.fromkeys(("language", "set_language"), "words"),
}


def __getattr__(name: str) -> object:
    if name not in _LATER:
        raise _missing(name)
    room = _import_module(f"tinygrad_vi.{_LATER[name] or name}")
    found = globals()[name] = getattr(room, name) if _LATER[name] else room
    return found


def __dir__() -> list[str]:
    return sorted([*__all__, *_ROOMS, "compile", "__version__"])


#: what ``from tinygrad_vi import *`` brings: no module, and not `compile`, which would hide Python's own
__all__ = [
    "Compiled",
    "DomainError",
    "GradientError",
    "History",
    "ShapeError",
    "Tape",
    "TrainingError",
    "Value",
    "accuracy",
    "acos",
    "acosh",
    "asin",
    "asinh",
    "atan",
    "atan2",
    "atanh",
    "bell",
    "cbrt",
    "ceil",
    "cos",
    "cosh",
    "custom_derivative",
    "digamma",
    "dot",
    "elu",
    "erf",
    "erfc",
    "erfinv",
    "exp",
    "expm1",
    "exprel",
    "first_not_finite",
    "fit",
    "floor",
    "gelu",
    "grad",
    "gradcheck",
    "hard_tanh",
    "hessian",
    "hvp",
    "hypot",
    "jacobian",
    "jvp",
    "language",
    "leaky_relu",
    "lgamma",
    "log",
    "log1p",
    "log2",
    "log10",
    "log_ndtr",
    "log_sigmoid",
    "log_softmax",
    "logaddexp",
    "logsumexp",
    "maximum",
    "minimum",
    "mish",
    "ndtr",
    "ndtri",
    "no_grad",
    "norm",
    "numerical_gradient",
    "operation",
    "prod",
    "relu",
    "sech",
    "selu",
    "semicircle",
    "set_language",
    "sigmoid",
    "sign",
    "silu",
    "sin",
    "sinh",
    "softmax",
    "softplus",
    "softsign",
    "sqrt",
    "step",
    "stop_gradient",
    "take",
    "tan",
    "tanh",
    "total",
    "value_and_grad",
    "vjp",
    "vmap",
    "where",
    "xlogy",
]
