"""Full-batch methods: SciPy's minimisers, Levenberg and Marquardt."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from tinygrad_vi.checks import DomainError, ShapeError, at_least, package, whole_number
from tinygrad_vi.differentiated import check_alone, differentiable, training
from tinygrad_vi.graph import not_finite, topological_order
from tinygrad_vi.optim.rules import _name_in, parameters_of
from tinygrad_vi.sweep import adjoints
from tinygrad_vi.value import Value, dot, recording

if TYPE_CHECKING:
    from scipy.optimize import OptimizeResult

At = Callable[[Any], tuple[Any, Any]]  # the residuals and their Jacobian at some parameters

# --- Full-batch methods -----------------------------------------------------------------------------------------------


def minimize(
    loss: Callable[[], Value], params: Iterable[Value], *, method: str = "BFGS", **options: Any
) -> OptimizeResult:
    """Move the parameters to a minimum of ``loss()`` by a method of `scipy.optimize.minimize`.

    SciPy is given our gradient and, for methods that use them, our Hessian-vector product ("Newton-CG", "trust-krylov")
    or our Hessian ("trust-exact").  options: whatever SciPy's function takes (``tol``, ``bounds``, ``callback``,
    ``options={"maxiter": 50}``).  Returns SciPy's result; the parameters have the values ``result.x``.  A point that
    the line search tries and where the loss cannot be computed counts as infinitely bad.  Warns of parameters that the
    loss does not depend on: they stay where they are.

    Raises DomainError when the loss cannot be computed at the start, and whatever the loss or SciPy raises; the
    parameters are then as before.

    >>> w = Value(3.0)
    >>> result = minimize(lambda: (w - 2.0) ** 2, [w])
    >>> round(w.data, 6), result.success
    (2.0, True)
    """
    np, scipy_optimize = package("numpy", "minimize"), package("scipy.optimize", "minimize")
    params = _leaves(params)
    start = [p.data for p in params]

    def evaluated(theta: Any) -> tuple[float, Any]:
        _set_numbers(params, theta)
        y, gradient = _evaluate(loss, params)
        return y, np.array(gradient)

    value_and_gradient = steep_where_undefined(evaluated)
    value_and_gradient(np.array(start))  # an error at the start is raised to the caller
    _warn_of_others(loss, params)

    def hessian_product(theta: Any, direction: Any) -> Any:
        _set_numbers(params, theta)
        return np.array(_hessian_product(_called(loss, params), params, direction.tolist()))

    def hessian(theta: Any) -> Any:
        return np.array([hessian_product(theta, row) for row in np.eye(len(params))])

    known = method.lower() if isinstance(method, str) else ""
    if known in ("dogleg", "trust-exact"):
        options.setdefault("hess", hessian)
    elif known in ("newton-cg", "trust-ncg", "trust-krylov", "trust-constr"):
        options.setdefault("hessp", hessian_product)
    if known in ("nelder-mead", "powell", "cobyla", "cobyqa"):  # they use no gradient
        options |= {"fun": lambda theta: value_and_gradient(theta)[0]}
    else:
        options |= {"fun": value_and_gradient, "jac": True}
    try:
        result = scipy_optimize.minimize(x0=start, method=method, **options)
        _set_numbers(params, result.x)
        _evaluate(loss, params)
    except BaseException:
        _set_numbers(params, start)
        raise
    return result


def steep_where_undefined(evaluated: Callable[[Any], tuple[float, Any]]) -> Callable[[Any], tuple[float, Any]]:
    """A function theta -> (value, gradient) for SciPy's minimisers, which cannot use an infinity.

    Where it raises DomainError it is a steep slope back to the last good point; at the first point it is raised.
    """
    import numpy as np

    good: dict[str, Any] = {}

    def value_and_gradient(theta: Any) -> tuple[float, Any]:
        try:
            y, gradient = evaluated(theta)
        except DomainError:
            if not good:
                raise
            away = theta - good["at"]
            distance = np.linalg.norm(away)
            slope = 1e3 * (good["slope"] + abs(good["value"]))
            return good["value"] + slope * (1.0 + distance), slope * away / (distance or 1.0)
        good.update(at=np.array(theta), value=y, slope=1.0 + np.linalg.norm(gradient))
        return y, gradient

    return value_and_gradient


def levenberg_marquardt(
    residuals: Callable[[], Sequence[Value]],
    params: Iterable[Value],
    *,
    damping: float | None = None,
    steps: int = 1,
    **options: Any,
) -> OptimizeResult:
    """Least squares: move the parameters to make 1/2 sum r**2 small, r being the list ``residuals()``.

    With a ``damping``, this many ``steps`` of the rule

        w <- w - (J^T J + damping I)^-1 J^T r,    J = dr/dw

    The sign does not depend on whether r is prediction minus target or the other way round, as long as J is the
    Jacobian of that r.  Damping 0 is the Gauss-Newton method, a large one gradient descent with the rate 1/damping.
    (K. Levenberg, 1944; D. Marquardt, 1963.)

    Without a damping `scipy.optimize.least_squares` chooses it and goes on until it has converged; it is given our
    Jacobian, and ``options`` (``method="lm"`` by default where there are enough residuals; ``loss``, ``bounds``, ...).
    A step to a point where the residuals cannot be computed, as they overflow or leave a domain, is a bad step: SciPy
    takes it back and tries a shorter one.

    Returns SciPy's result or one like it: ``x``, ``cost`` (1/2 sum r**2), ``fun`` (r), ``jac`` (J), ``nfev``.

    Raises ValueError when J^T J + damping I is singular or the residuals do not depend on one of the parameters,
    DomainError when something is infinite or NaN; the parameters are then as before.

    >>> w = Value(0.5)
    >>> r = lambda: [y - (w * x).exp() for x, y in ((0.0, 1.0), (1.0, 2.0), (2.0, 4.2))]
    >>> result = levenberg_marquardt(r, [w], damping=0.1)
    >>> round(w.data, 9), round(result.cost, 6)
    (0.76671035, 0.105833)
    """
    np = package("numpy", "levenberg_marquardt")
    scipy_optimize = package("scipy.optimize", "levenberg_marquardt")
    params = _leaves(params)
    start = [p.data for p in params]

    def at(theta: Any) -> tuple[Any, Any]:
        _set_numbers(params, theta)
        return tuple(map(np.array, _residuals_and_jacobian(residuals, params)))

    try:
        if damping is None:
            result = _undamped(scipy_optimize, at, start, options)
        elif options:
            raise TypeError(f"with a damping there are no other options, got {', '.join(options)}")
        else:
            damping, steps = at_least(damping, 0.0, "damping"), whole_number(steps, "steps")
            result = scipy_optimize.OptimizeResult(_damped(at, np.array(start), damping, steps))
    except BaseException:
        _set_numbers(params, start)
        raise
    _set_numbers(params, result.x)
    return result


def _damped(at: At, theta: Any, damping: float, steps: int) -> dict[str, Any]:
    """So many steps of the rule, with one damping."""
    for _ in range(steps):
        r, J = at(theta)
        theta = theta - _damped_step(r, J, damping)
    r, J = at(theta)
    return {"x": theta, "cost": 0.5 * float(r @ r), "fun": r, "jac": J, "nfev": steps + 1, "success": True}


def _undamped(scipy_optimize: Any, at: At, start: Sequence[float], options: dict[str, Any]) -> OptimizeResult:
    """SciPy's own choice of the damping, until it has converged."""
    import numpy as np

    known: dict[bytes, tuple[Any, Any]] = {}  # SciPy asks for r and for J one after the other

    def once(theta: Any) -> tuple[Any, Any]:
        key = theta.tobytes()
        if key not in known:
            known.clear()
            known[key] = at(theta)
        return known[key]

    r, _ = once(np.array(start))
    worst = math.hypot(*r.tolist())  # the largest length of residuals so far

    def tried(theta: Any) -> Any:
        """The residuals.  If they cannot be computed, or their squares overflow: numbers so large that SciPy takes the
        step back."""
        nonlocal worst
        with suppress(DomainError, OverflowError):
            found = once(theta)[0]
            size = math.hypot(*found.tolist())
            if math.isfinite(size * size):
                worst = max(worst, size)
                return found
        # MINPACK cannot compute with infinities
        return np.full(len(r), 1e3 * (1.0 + worst) if options["method"] == "lm" else math.inf)

    bounded = "bounds" in options or options.get("loss", "linear") != "linear"
    options.setdefault("method", "lm" if len(r) >= len(start) and not bounded else "trf")
    return scipy_optimize.least_squares(tried, start, jac=lambda theta: once(theta)[1], **options)


def _damped_step(r: Any, J: Any, damping: float) -> Any:
    """(J^T J + damping I)^-1 J^T r, by least squares of J stacked on sqrt(damping) I: J^T J would square the condition.

    Columns are scaled to length 1 first, so that the size of a parameter does not decide whether J is singular.
    """
    import numpy as np

    stacked = np.vstack([J, math.sqrt(damping) * np.eye(J.shape[1])])
    size = np.linalg.norm(stacked, axis=0)
    scaled = stacked / np.where(size, size, 1.0)
    if np.linalg.matrix_rank(scaled) < J.shape[1]:
        raise ValueError(
            f"J^T J + damping I is singular with damping = {damping}: the residuals do not determine all parameters; "
            "give a damping above 0"
        )
    return np.linalg.lstsq(scaled, np.concatenate([r, np.zeros(J.shape[1])]), rcond=None)[0] / size


def _leaves(params: Iterable[Value]) -> list[Value]:
    return parameters_of(params, "an optimiser")


def _set_numbers(params: Sequence[Value], theta: Iterable[float]) -> None:
    for p, x in zip(params, theta, strict=True):
        p.data = float(x)


def _called(f: Callable[[], Any], params: Iterable[Value]) -> Any:
    with differentiable(), training(params), recording(True):
        return f()


def _evaluate(loss: Callable[[], Value], params: Sequence[Value]) -> tuple[float, list[float]]:
    """The loss and its gradient; grads are left as they were."""
    y = recorded_output(_called(loss, params))
    check_alone("the loss", [y], params)
    if not math.isfinite(y.data):
        raise not_finite(y, f"the loss is {y.data}")
    adjoint = adjoints(topological_order([y]), {y: 1.0})
    if adjoint.keys().isdisjoint(params):
        raise ValueError("the loss depends on none of the parameters: is it computed from these very Values?")
    gradient = [adjoint.get(p, 0.0) for p in params]
    if not all(map(math.isfinite, gradient)):
        raise not_finite(y, "the gradient of the loss is not finite")
    return y.data, gradient


def _warn_of_others(loss: Callable[[], Value], params: Sequence[Value]) -> None:
    y = _called(loss, params)
    on_record = {v for node in topological_order([y]) for v in node.parents} | {y}
    absent = [i for i, p in enumerate(params) if p not in on_record]
    if absent:
        shown = [_name_in(params, i) for i in absent[:3]]
        names = ", ".join([*shown, "..."] if len(absent) > 3 else shown)
        warnings.warn(f"the loss does not depend on {names}, which stays where it is", stacklevel=3)


def _hessian_product(y: Value, params: Sequence[Value], direction: Sequence[float]) -> list[float]:
    """H v, as the gradient of gradient . v (B. Pearlmutter, 1994)."""
    adjoint = adjoints(topological_order([y]), {y: 1.0}, create_graph=True)
    slope = dot([adjoint.get(p, 0.0) for p in params], direction)
    if not isinstance(slope, Value):  # the gradient is constant
        return [0.0] * len(params)
    second = adjoints(topological_order([slope]), {slope: 1.0})
    return [second.get(p, 0.0) for p in params]


def _residuals_and_jacobian(
    residuals: Callable[[], Sequence[Value]], params: Sequence[Value]
) -> tuple[list[float], list[list[float]]]:
    outputs = [recorded_output(r) for r in _called(residuals, params)]
    if not outputs:
        raise ShapeError("there are no residuals")
    check_alone("the function of the residuals", outputs, params)
    rows, on_record = [], set[Value]()
    for r in outputs:
        if not math.isfinite(r.data):
            raise not_finite(r, f"a residual is {r.data}")
        adjoint = adjoints(topological_order([r]), {r: 1.0})
        rows.append([adjoint.get(p, 0.0) for p in params])
        on_record |= adjoint.keys()
    absent = [i for i, p in enumerate(params) if p not in on_record]
    if len(absent) == len(params):
        raise ValueError("the residuals depend on none of the parameters: are they computed from these very Values?")
    if absent:
        raise ValueError(
            f"the residuals do not depend on {_name_in(params, absent[0])}, so nothing tells what it should be: "
            "leave it out, or compute the residuals from this very Value"
        )
    return [r.data for r in outputs], rows


def recorded_output(y: Any) -> Value:
    """The result of a user's function, which should be a Value; else a TypeError that says what to do."""
    if isinstance(y, Value):
        return y
    raise TypeError(
        f"there is no graph to differentiate: got {y!r:.60} of type {type(y).__name__} and no Value. Compute it from "
        "Values by operations: model(x) and not model.predict(x), tinygrad_vi.exp and not math.exp, w and not w.data"
    )
