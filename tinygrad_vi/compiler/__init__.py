"""The compiler: a scalar program in, a matrix program out.  Each pass is a file of its own.

trace          run the user's function once on Values and read its record
watched        what the function reads besides its arguments: when it changes, the trace no longer holds
form           the canonical form: leaves, elementwise maps, and one contraction; its words are terms
algebra        arithmetic that becomes nodes of the form, and the rewrites on the way
from_record    the form of what Values recorded
reverse        its derivatives, in the same form, by the rules of the operation table
batch          the batch in a loss that loops over its examples
program        what can be asked: the mean, its gradient, each example, a Jacobian, products with a Hessian
entries        Jacobians and Hessians: their pattern, and how few outputs give their entries
lift           nodes of one shape become one vector instruction
numpy_source   the program as readable NumPy, which numpy_runner runs, made by numpy_layout (where nodes live),
               numpy_sums (which sums are matrix products) and numpy_text (what NumPy calls the operations)
jax_source     the same as a pure function of JAX, jax_text what JAX calls the operations, jax_loops the steps that
               repeat in it; jax_function hands it to the user, jax_runner makes it a back end
exports        programs for other systems: one function in C, StableHLO, ONNX, a function of PyTorch
scalar_runner  a program of single numbers as plain Python, which is faster than NumPy then
known          what the compiler knows of the rows of the table: which are smooth, defined, exact; their instructions
codes          the instructions of the kernel
tables         the program as tables of numbers
elementary     exp, log, sin ... in plain arithmetic, which vector instructions can do
lanes          the inner loops in vector instructions
kernel         the loops that run the tables
native         their arrays, the blocks of the batch, the threads; addresses tell the kernel where they lie
bound, stored  a compiled function with its data; its program in a file
matrices       the entries of Jacobians and Hessians as arrays and as matrices of SciPy
arguments      numbers, dictionaries, dataclasses as arguments: how they become theta and data
compiled       compile() and what it returns: what the user calls
arrangements   which compiled function answers for arguments of another kind
examples       theta, the data and single examples as arrays of numbers
user_function  the function itself, run on one example
traces         which data need a trace, when it no longer holds; traced is one of them, loops the batch in it
answers        how its program is asked
verification   first answers beside those of the function itself
blame          which operation and which example made a result infinite or NaN
recorded       answers that are differentiated through: the function itself gives them
explanation    what became of the function
errors         what is raised, and forks: locks in a process that forks
vmap           a function of one example for all of them
"""

from tinygrad_vi.compiler.compiled import Compiled as Compiled
from tinygrad_vi.compiler.compiled import compile as compile
from tinygrad_vi.compiler.vmap import vmap as vmap

__all__ = [
    "Compiled",
    "compile",
    "vmap",
]


def __dir__() -> list[str]:
    return [*__all__]
