"""Three ways to a derivative, measured: numerical, symbolic and automatic differentiation.

    numerical_error     the error of differences over the step h: truncation on one side, rounding on the other
    expression_growth   the size of a formula's derivative: written out, with parts shared, and as a record
    derivative_cost     what a whole gradient costs, in evaluations of the function, over the number of its inputs
    three_ways          all of them for one function, in one figure and one table

Each takes a function and its point, and returns a `Report`: a table in a terminal, a figure above the table in a
notebook.  Nothing is left behind on the Values that the function closes over.  Each is a file of its own:

at_a_point  a function and its point, as all of them see it
report      tables and figures that show themselves
numerical, symbolic, automatic, comparison
"""

from tinygrad_vi.show.ways.at_a_point import lecture_function as lecture_function
from tinygrad_vi.show.ways.automatic import derivative_cost as derivative_cost
from tinygrad_vi.show.ways.comparison import three_ways as three_ways
from tinygrad_vi.show.ways.numerical import numerical_error as numerical_error
from tinygrad_vi.show.ways.report import Report as Report
from tinygrad_vi.show.ways.symbolic import expression_growth as expression_growth
