"""The public surface: optional arguments are given by name, and parameters go by one word.

A habit of the field is the only reason to give an optional argument by place: each stands here.
"""

import inspect
from collections.abc import Iterator

import pytest

import tinygrad_vi

#: what may be given by place although it may be left out: functions, classes or methods -> their arguments
HABITS = {
    # a number and its label; functions of one number with a setting, as PyTorch and NumPy write them
    "Value": "label",
    "elu": "alpha",
    "leaky_relu": "slope",
    "hard_tanh": "low high",
    "log": "base",
    "dot": "b",
    # NumPy and PyTorch; a decorator without brackets, which is refused with what to write
    "Value.clip": "min max",
    "operation": "function",
    # JAX
    "grad value_and_grad jacobian hessian hvp": "argnums",
    "vmap": "in_axes",
    "compile": "params",
    "Compiled.to_jax": "asked",
    # scikit-learn
    "ScalarRegressor.fit ScalarClassifier.fit": "sample_weight",
    # the data of a loss, which may stand in it; pictures that have a loss of their own
    "fit loss_landscape": "X y",
    "descents batch_columns": "loss X y",
    "minibatches": "y",
    "moons adding parity": "n",
    # the parameters of a density, in its order; the strength of a penalty
    "normal laplace logistic student_t": "loc scale",
    "exponential gamma": "rate",
    "gaussian_nll": "beta",
    "l1 l2": "strength",
    # layers as Keras writes them, weights as a textbook does, states as PyTorch does
    "Neuron Layer MLP RNNCell": "activation",
    "Dropout": "p",
    "RNN": "output",
    "Layer.from_weights MLP.from_weights": "b activation",
    "Cell.from_weights": "b_x b_h",
    "RNNCell.forward GRUCell.forward LSTMCell.forward RNN.forward RNN.states": "state",
    "Module.train": "mode",
    "SGD RMSprop Adam AdamW": "learning_rate",
    # what a picture is of
    "Tape.tangent": "seeds",
    "draw_modes": "mode",
    "three_ways numerical_error expression_growth derivative_cost error_surface": "f",
    "Film.strip": "count",
    "ParameterPath.__call__": "_",  # a callback
    # the course: what a student types most
    "check": "answer",
    "hint": "level",
    "referee": "corrected",
    "progress": "file",
    "course": "folder",
}
BY_PLACE = {name: arguments.split() for names, arguments in HABITS.items() for name in names.split()}


def public() -> Iterator[object]:
    """Every function and class that Tab shows in the package and its rooms, and the methods of these classes."""
    rooms = [tinygrad_vi, *[getattr(tinygrad_vi, name) for name in dir(tinygrad_vi)]]
    for room in rooms:
        if not inspect.ismodule(room):
            continue
        for name in dir(room):
            found = getattr(room, name)
            if inspect.ismodule(found) or not callable(found):
                continue
            yield found
            if inspect.isclass(found):
                for method in dir(found):
                    static = inspect.getattr_static(found, method)
                    own = inspect.isfunction(static) or isinstance(static, (classmethod, staticmethod))
                    if own and (method == "__call__" or not method.startswith("_")):
                        yield getattr(found, method)


def signatures() -> dict[str, inspect.Signature]:
    found = {}
    for thing in public():
        if (getattr(thing, "__module__", None) or "").startswith("tinygrad_vi"):
            try:
                found[thing.__qualname__] = inspect.signature(thing)
            except ValueError:  # an exception, whose signature is Python's
                assert issubclass(thing, Exception)
    return found


SIGNATURES = signatures()


def by_place(signature: inspect.Signature) -> list[str]:
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return [p.name for p in signature.parameters.values() if p.kind in kinds and p.default is not p.empty]


def test_the_surface_is_found():
    assert {
        "grad",
        "Value.draw",
        "MLP",
        "MLP.from_weights",
        "Adam.step",
        "fit",
        "check",
        "Film",
    } <= SIGNATURES.keys() | {"Adam.step"}
    assert len(SIGNATURES) > 250


@pytest.mark.parametrize("name", sorted(SIGNATURES))
def test_an_optional_argument_is_given_by_name_unless_a_habit_says_otherwise(name):
    assert by_place(SIGNATURES[name]) == BY_PLACE.get(name, [])


def test_every_habit_is_one_of_a_function_that_there_is():
    assert BY_PLACE.keys() <= SIGNATURES.keys()


@pytest.mark.parametrize("name", sorted(SIGNATURES))
def test_parameters_go_by_one_word(name):
    assert "parameters" not in SIGNATURES[name].parameters
