"""The mistakes of the lecture notes that can be decided by a number: one case each, computed with the engine."""

from tinygrad_vi.course.cases import activations as activations
from tinygrad_vi.course.cases import graphs as graphs
from tinygrad_vi.course.cases import loss_functions as loss_functions
from tinygrad_vi.course.cases import networks as networks
from tinygrad_vi.course.cases import second_order as second_order
from tinygrad_vi.course.cases import training as training
from tinygrad_vi.course.cases.case import CASES as CASES
