"""Names that scripts written for micrograd or PyTorch use: some are read here, the others say what to write instead."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NoReturn

OWN_OPERATIONS = (
    "How a Value was made is recorded by operators and functions, and cannot be said by hand: its gradient would be 0. "
    "For an operation of your own write @operation(partials=lambda out, x: ...) above a function of numbers, for a "
    "whole function @custom_derivative(...); both are in tinygrad_vi"
)


def micrograds(read: Callable[[Any], Any], name: str, doc: str) -> property:
    """One of the names by which scripts written for micrograd read the record; assigning it is an error."""

    def refuse(_: Any, __: Any) -> NoReturn:
        raise AttributeError(f"{name} is not assigned. {OWN_OPERATIONS}")

    return property(read, refuse, doc=doc)


#: what NumPy, SciPy and Python say where a Value meets what takes numbers alone, and what to write instead
RAW = {
    "no supported conversion for types": ("a sparse matrix of SciPy takes numbers alone; write S.toarray() @ v"),
    "arrays used as indices must be": (
        "which entries a mask takes depends on the numbers, and a traced function has one record for all examples; "
        "keep all of them, np.where(mask, v, 0.0).sum()"
    ),
}
for _sign in ("not supported for the input types", "object has no attribute 'dtype'", "to use a where mask one has"):
    RAW[_sign] = (
        "NumPy does not know this of a plain array of objects; write tinygrad_vi.arrays.array(xs) in place of xs or "
        "np.array(xs)"
    )
for _sign in ("'Value' object is not subscriptable", "'Traced' object is not subscriptable"):
    RAW[_sign] = "a Value is one number and has no entries; a function of several numbers gets a list, f([x, y])"
for _sign in ("indices must be integers", "as an integer", "int() argument", "only integer scalar arrays"):
    RAW[_sign] = "a traced Value cannot be an int; take(table, index) looks up entries"


def explained(error: Exception) -> Exception:
    """The error with what to write instead, where it is one of `RAW`; else as it is."""
    said = str(error)
    advice = next((written for sign, written in RAW.items() if sign in said), None)
    kind = next((kind for kind in (TypeError, IndexError, AttributeError, ValueError) if isinstance(error, kind)), None)
    return error if advice is None or kind is None else kind(f"{said}: {advice}")


class Elsewhere:
    """An attribute that scripts written for PyTorch ask for and that does not exist here: the error says what to write.

    ``hasattr`` says False, and users may set an attribute of this name.
    """

    def __init__(self, advice: str) -> None:
        self.advice = advice

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    def __get__(self, thing: Any, owner: type) -> NoReturn:
        raise AttributeError(f"{owner.__name__!r} object has no attribute {self.name!r}: {self.advice}")


#: names that scripts for NumPy, PyTorch or micrograd look for in the package, and what to write
NAMES = {
    "array": "tinygrad_vi.arrays.array([v, w]) for an array of Values; numbers need none, grad(f)(np.array(xs)) works",
    "tensor": "Value(x) for one number, a list of Values for several, tinygrad_vi.arrays.array([v, w]) for an array",
    "clip": "v.clip(low, high), or minimum(maximum(v, low), high); np.clip on arrays of Values",
    "backward": "y.backward(), a method of the result",
    "sum": "total(xs), or Python's own sum(xs)",
    "mean": "total(xs) / len(xs)",
    "max": "Python's own max(v, w), or maximum(v, w), which a compiled function takes too",
    "min": "Python's own min(v, w), or minimum(v, w), which a compiled function takes too",
    "abs": "Python's own abs(v)",
    "pow": "v ** n",
    "matmul": "np.array(rows) @ x, or dot(w, x) for each row",
    "Parameter": "Value(0.0), an attribute of an nn.Module",
    "Module": "nn.Module",
}
for _other, _known in {
    "Tensor": "tensor", "Variable": "tensor", "asarray": "array", "clamp": "clip", "amax": "max", "amin": "min",
}.items():  # fmt: skip
    NAMES[_other] = NAMES[_known]


def missing(name: str) -> AttributeError:
    """The error for a name that `tinygrad_vi` has not."""
    written = f": write {NAMES[name]}" if name in NAMES else ""
    return AttributeError(f"module 'tinygrad_vi' has no attribute {name!r}{written}")


#: packages whose arrays keep a record of their own, which ours cannot enter
OTHER_RECORDS = ("torch", "jax", "jaxlib", "tensorflow")


def refuse_a_tensor(x: Any, sign: str) -> None:
    """Raise the error for an array of another package as the other operand of an operator."""
    package = type(x).__module__.partition(".")[0]
    if package in OTHER_RECORDS and hasattr(x, "shape"):
        constant = "t.item()" if tuple(x.shape) == () else "np.asarray(t)"
        raise TypeError(
            f"{sign} of a Value and a {type(x).__name__} of {package}: each keeps a record that the other cannot "
            f"enter. Write {constant} for a tensor t that is a constant here, t.detach() first if it requires grad"
        )


def no_such_argument(name: str) -> TypeError:
    """The error for an argument by which Value cannot be called."""
    advice = {
        "requires_grad": "every Value can be differentiated by, so leave it out; stop_gradient(v) is a constant",
        "dtype": "it is a float always, so leave dtype out",
        "name": "its name is label=",
        "_children": OWN_OPERATIONS,
        "_op": OWN_OPERATIONS,
    }
    written = advice.get(name, 'write Value(3.0, label="x")')
    return TypeError(f"Value takes a number and a label, got {name}=: {written}")
