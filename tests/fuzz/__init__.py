"""A judge for programs: random scalar code through every path of the library, and what is right by mpmath.

    python -m tests.fuzz --programs 10000 --seed 0      from the root of the repository; --help lists the options
    python -m pytest tests/fuzz                         a few hundred programs, and the judge itself

A program (`programs`) is data, made from a number (`generate`): any operations of the table in any order, shared nodes,
loops in time, layers, look-ups, masks with ties, products of constants, cancelling sums, what people write by hand; half
of them with hostile numbers.  Every program is run (`paths`)

- eagerly at each example: backward, grad (inside no_grad too), jvp, Tape, create_graph, hvp, hessian, without recording,
  from a pickle and a deep copy, in another thread and another task while this one records nothing;
- compiled, on both back ends: value, each, value_and_grad, jacobian, jvp, hvp, hessian, one step of `fit`; with the
  parameters closed over or as the first argument, traced where it is asked or elsewhere, and as a loop over its examples.

The judge (`truth`) computes value, gradient and curvature at 60 digits by rules of its own, and with them a bound for
what rounding and underflow may do to floats, so that no digits are asked for that the program itself does not have.  An
error is an outcome too: what eager code refuses every path must refuse, and nothing else (`judge`).  PyTorch judges the
judge on ordinary programs.  A failing program is made small (`shrink`) and printed as Python; failures are counted by
symptom and by the operations of the smallest program (`command`).

Functions that do more than arithmetic, and threads that switch modes, are judged in `habits`: there the right number is
what the function gives when it is simply run on each row, and an error is as good.

What is not judged, and counted as such: numbers whose bound is wider than a thousandth of themselves; intermediate
results beyond 1e305; a choice that only rounding decides, where a program may be added up in another order (an exact tie
is judged, by the agreed corner); points where floats may have left a domain by rounding; the second derivative at a kink.
"""
