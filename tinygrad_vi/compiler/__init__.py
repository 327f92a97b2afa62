"""The compiler: a scalar program in, a matrix program out.  Each pass is a file of its own.

trace          run the user's function once on Values and read its record
form           the record in canonical form: leaves, elementwise maps, and one contraction
reverse        its derivatives, in the same form, by the rules of the operation table
batch          the batch in a loss that loops over its examples
program        what can be asked: the mean, its gradient, each example, a Jacobian, products with a Hessian
lift           nodes of one shape become one vector instruction
numpy_source   the program as readable NumPy, run by numpy_runner
tables         the program as tables of numbers, run by the kernel of native
compiled       compile() and what it returns
"""

from tinygrad_vi.compiler.compiled import Compiled as Compiled
from tinygrad_vi.compiler.compiled import compile as compile
