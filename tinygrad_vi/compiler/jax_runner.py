"""Running a program on JAX: a back end like the others, in double precision, on JAX's own devices."""

from __future__ import annotations

import math
import zlib
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tinygrad_vi.checks import package
from tinygrad_vi.compiler.jax_function import program_of
from tinygrad_vi.compiler.numpy_layout import Names
from tinygrad_vi.compiler.program import Question

#: a batch of a size that was asked for fewer times than this is filled up to one that is compiled already
OFTEN = 5


class JaxRunner:
    """A question, ready to be asked: ``runner(theta, arrays)``.

    XLA compiles a program for each size of a batch, which takes seconds.  So the share of each example in the mean is
    an argument: a size that comes seldom (the last part of an epoch, a single example to compare with) is filled up to
    a larger one by copies of its first example, whose share is 0.
    """

    def __init__(self, question: Question, names: Names, what: str, devices: int | None) -> None:
        self.jax = package("jax", 'backend="jax"')
        self.question, self.flagged, self.checks = question, question.flagged, question.checks
        name = what if what == "value_and_gradient" else "results"
        self.devices = devices if devices and question.inputs else 1
        # a loop would add up over the devices at each of its steps
        run = program_of(question, names, name, weighted=True, loops=self.devices == 1)
        function = _as_one_array(run, question, name)
        self.run = self._on_devices(function, len(names.arguments)) if self.devices > 1 else self.jax.jit(function)
        #: how many processes share the devices, each of which asks the same
        self.processes = self.jax.process_count() if self.devices > 1 else 1
        self.alike: set[int] = set()
        self.asked: Counter[int] = Counter()
        self.compiled: set[int] = set()

    def __call__(self, theta: Any, arrays: Sequence[Any]) -> tuple[Any, float]:
        """The outputs, an array (outputs,), or (outputs, N) when they are mapped; and their sum, finite as they are."""
        N = len(arrays[0]) if arrays else 1
        size = self._size(N)
        return self._ask(theta, N, _shares(N, size), [_filled(array, size) for array in arrays])

    def bind(self, arrays: Sequence[Any]) -> Callable[[Any], tuple[Any, float]]:
        """The same for these data, which are laid out once, on the device: a function of theta."""
        N = len(arrays[0]) if arrays else 1
        size = self._size(N)
        with self.jax.enable_x64(True):
            share, *columns = map(self._spread_out, (_shares(N, size), *[_filled(array, size) for array in arrays]))
        return lambda theta: self._ask(theta, N, share, columns)

    def _ask(self, theta: Any, N: int, share: Any, columns: Sequence[Any]) -> tuple[Any, float]:
        with self.jax.enable_x64(True):
            if self.processes > 1:
                self._check_all_alike(theta, share, columns)
                theta = self._placed(theta, self.everywhere)
                share, *columns = map(self._spread_out, (share, *columns))
            found = np.array(self.run(theta, share, *columns))  # a copy, which may be written to
        found = found[:, :N] if self.question.mapped else found
        return found, float(np.add.reduce(found, axis=None))

    def _size(self, N: int) -> int:
        """The size that a batch is run in, of which each device has the same part."""
        self.asked[N] += 1
        size = math.ceil(N / self.devices) * self.devices
        larger = [other for other in self.compiled if other >= N]
        if size not in self.compiled and larger and self.asked[N] < OFTEN:
            return min(larger)
        self.compiled.add(size)
        return size

    def _on_devices(self, function: Callable[..., Any], arguments: int) -> Callable[..., Any]:
        """The function, jitted so that the examples are spread over the devices; JAX adds up what they give."""
        sharding: Any = package("jax.sharding", 'backend="jax"')
        there = self.jax.devices()
        if len(there) < self.devices:
            raise ValueError(
                f"devices={self.devices}, but JAX sees {len(there)}; on a CPU it sees more when "
                f"XLA_FLAGS=--xla_force_host_platform_device_count={self.devices} is set before JAX is imported"
            )
        there = there[: self.devices]
        if len({device.process_index for device in there}) < self.jax.process_count():
            raise ValueError(
                f"devices={self.devices} leaves out some of the {self.jax.process_count()} processes, which share "
                "their work: give devices=jax.device_count()"
            )
        mesh = sharding.Mesh(np.array(there), ("examples",))
        self.everywhere = sharding.NamedSharding(mesh, sharding.PartitionSpec())
        self.spread = sharding.NamedSharding(mesh, sharding.PartitionSpec("examples"))
        shardings = self.everywhere, *[self.spread] * (1 + arguments)
        found: Callable[..., Any] = self.jax.jit(function, in_shardings=shardings, out_shardings=self.everywhere)
        return found

    def _spread_out(self, array: Any) -> Any:
        """An array of examples where the program wants it."""
        return self._placed(array, self.spread) if self.devices > 1 else self.jax.numpy.asarray(array)

    def _placed(self, array: Any, sharding: Any) -> Any:
        """An array that every process has, on the devices: each process fills its own."""
        if isinstance(array, self.jax.Array):
            return array
        return self.jax.make_array_from_callback(array.shape, sharding, lambda part: array[part])

    def _check_all_alike(self, theta: Any, share: Any, columns: Sequence[Any]) -> None:
        """ValueError unless all processes ask the same: sums over different models would be wrong, without a word.

        It is asked once for each size of a batch.
        """
        if len(share) in self.alike:
            return
        self.alike.add(len(share))
        utils: Any = package("jax.experimental.multihost_utils", 'backend="jax"')
        ours = [array for array in (theta, share, *columns) if not isinstance(array, self.jax.Array)]
        marks = np.array([zlib.crc32(np.ascontiguousarray(array).tobytes()) for array in ours], dtype=float)
        try:
            utils.assert_equal(marks)
        except AssertionError:
            raise ValueError(
                "the processes do not ask the same: parameters or data differ. Each runs the same script: the same "
                "seeds, the same examples in the same order, the same checkpoint"
            ) from None


def _as_one_array(run: Callable[..., Any], question: Question, name: str) -> Callable[..., Any]:
    """A program's function with all outputs in one array, as the other back ends have them."""

    def outputs(theta: Any, share: Any, *columns: Any) -> Any:
        import jax.numpy as jnp

        found = run(theta, *columns, share)
        if name == "value_and_gradient":
            value, gradient = found
            return jnp.concatenate([value[None], gradient])
        return jnp.broadcast_to(found, (len(found), len(share))) if question.mapped else found[:, 0]

    return outputs


def _shares(N: int, size: int) -> Any:
    shares = np.zeros(size)
    shares[:N] = 1.0 / N
    return shares


def _filled(array: Any, size: int) -> Any:
    """The array with copies of its first entry behind it."""
    more = size - len(array)
    return np.concatenate([array, np.repeat(array[:1], more, axis=0)]) if more else array
