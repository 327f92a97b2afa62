"""Everything for the eye: computation graphs and networks as pictures, tapes as tables, training as plots."""

from tinygrad_vi.show.analogies import neuron_analogy as neuron_analogy
from tinygrad_vi.show.analogies import templates as templates
from tinygrad_vi.show.both import draw_both as draw_both
from tinygrad_vi.show.derivation import Derivation as Derivation
from tinygrad_vi.show.derivation import derive as derive
from tinygrad_vi.show.gates import draw_circuit as draw_circuit
from tinygrad_vi.show.gates import draw_gates as draw_gates
from tinygrad_vi.show.graph import Drawing as Drawing
from tinygrad_vi.show.graph import draw as draw
from tinygrad_vi.show.matrices import draw_matrices as draw_matrices
from tinygrad_vi.show.modes import draw_modes as draw_modes
from tinygrad_vi.show.network import draw_network as draw_network
from tinygrad_vi.show.plots import Plot as Plot
from tinygrad_vi.show.plots import decision_boundary as decision_boundary
from tinygrad_vi.show.plots import gradient_sizes as gradient_sizes
from tinygrad_vi.show.plots import loss_curve as loss_curve
from tinygrad_vi.show.plots import predictions as predictions
from tinygrad_vi.show.recurrent import draw_unrolled as draw_unrolled
from tinygrad_vi.show.stepper import Page as Page
from tinygrad_vi.show.stepper import step_through as step_through
from tinygrad_vi.show.vectors import draw_vectors as draw_vectors
from tinygrad_vi.show.ways import derivative_cost as derivative_cost
from tinygrad_vi.show.ways import expression_growth as expression_growth
from tinygrad_vi.show.ways import numerical_error as numerical_error
from tinygrad_vi.show.ways import three_ways as three_ways
