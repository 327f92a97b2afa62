"""Pictures, tables and plots of graphs, networks, tapes and training."""

from importlib import import_module as _import_module
from typing import TYPE_CHECKING as _TYPE_CHECKING

if _TYPE_CHECKING:
    from tinygrad_vi.show.graphs.gates import draw_circuit as draw_circuit
    from tinygrad_vi.show.graphs.gates import draw_gates as draw_gates
    from tinygrad_vi.show.graphs.scalars import draw as draw
    from tinygrad_vi.show.graphs.sweeps import draw_modes as draw_modes
    from tinygrad_vi.show.networks.analogies import neuron_analogy as neuron_analogy
    from tinygrad_vi.show.networks.analogies import templates as templates
    from tinygrad_vi.show.networks.network import draw_network as draw_network
    from tinygrad_vi.show.networks.recurrent import draw_unrolled as draw_unrolled
    from tinygrad_vi.show.networks.vectors import draw_vectors as draw_vectors
    from tinygrad_vi.show.page.stepper import Page as Page
    from tinygrad_vi.show.page.stepper import step_through as step_through
    from tinygrad_vi.show.paper import Drawing as Drawing
    from tinygrad_vi.show.plot import Plot as Plot
    from tinygrad_vi.show.programs.matrices import draw_matrices as draw_matrices
    from tinygrad_vi.show.programs.side_by_side import draw_both as draw_both
    from tinygrad_vi.show.tapes.derivation import Derivation as Derivation
    from tinygrad_vi.show.tapes.derivation import derive as derive
    from tinygrad_vi.show.training.descents import batch_columns as batch_columns
    from tinygrad_vi.show.training.descents import descents as descents
    from tinygrad_vi.show.training.error_surface import error_surface as error_surface
    from tinygrad_vi.show.training.film import Film as Film
    from tinygrad_vi.show.training.gradients import gradient_sizes as gradient_sizes
    from tinygrad_vi.show.training.landscape import ParameterPath as ParameterPath
    from tinygrad_vi.show.training.landscape import loss_landscape as loss_landscape
    from tinygrad_vi.show.training.plots import decision_boundary as decision_boundary
    from tinygrad_vi.show.training.plots import loss_curve as loss_curve
    from tinygrad_vi.show.training.plots import predictions as predictions
    from tinygrad_vi.show.training.quadratic import quadratic as quadratic
    from tinygrad_vi.show.ways import derivative_cost as derivative_cost
    from tinygrad_vi.show.ways import expression_growth as expression_growth
    from tinygrad_vi.show.ways import numerical_error as numerical_error
    from tinygrad_vi.show.ways import three_ways as three_ways

#: module -> the names that it offers; a module is imported when one of its names is first used
_ROOMS = {
    "graphs.gates": ("draw_circuit", "draw_gates"),
    "graphs.scalars": ("draw",),
    "graphs.sweeps": ("draw_modes",),
    "networks.analogies": ("neuron_analogy", "templates"),
    "networks.network": ("draw_network",),
    "networks.recurrent": ("draw_unrolled",),
    "networks.vectors": ("draw_vectors",),
    "page.stepper": ("Page", "step_through"),
    "paper": ("Drawing",),
    "plot": ("Plot",),
    "programs.side_by_side": ("draw_both",),
    "programs.matrices": ("draw_matrices",),
    "tapes.derivation": ("Derivation", "derive"),
    "training.descents": ("batch_columns", "descents"),
    "training.error_surface": ("error_surface",),
    "training.film": ("Film",),
    "training.gradients": ("gradient_sizes",),
    "training.landscape": ("ParameterPath", "loss_landscape"),
    "training.plots": ("decision_boundary", "loss_curve", "predictions"),
    "training.quadratic": ("quadratic",),
    "ways": ("derivative_cost", "expression_growth", "numerical_error", "three_ways"),
}
_LATER = {name: room for room, names in _ROOMS.items() for name in names}


def __getattr__(name: str) -> object:
    if name in ("lecture_picture", "lecture_pictures"):
        raise AttributeError(f"the pictures of the lecture notes belong to the course: tinygrad_vi.course.{name}")
    if name not in _LATER:
        raise AttributeError(f"module 'tinygrad_vi.show' has no attribute {name!r}")
    return getattr(_import_module(f"tinygrad_vi.show.{_LATER[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_LATER})


__all__ = sorted(name for name in __dir__() if not name.startswith("_"))
