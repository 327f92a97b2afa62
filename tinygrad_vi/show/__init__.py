"""Everything for the eye: computation graphs and networks as pictures, tapes as tables, training as plots."""

from tinygrad_vi.show.derivation import Derivation as Derivation
from tinygrad_vi.show.derivation import derive as derive
from tinygrad_vi.show.graph import Drawing as Drawing
from tinygrad_vi.show.graph import draw as draw
from tinygrad_vi.show.network import draw_network as draw_network
from tinygrad_vi.show.plots import Plot as Plot
from tinygrad_vi.show.plots import decision_boundary as decision_boundary
from tinygrad_vi.show.plots import gradient_sizes as gradient_sizes
from tinygrad_vi.show.plots import loss_curve as loss_curve
from tinygrad_vi.show.plots import predictions as predictions
from tinygrad_vi.show.stepper import Page as Page
from tinygrad_vi.show.stepper import step_through as step_through
