"""Everything for the eye: computation graphs as pictures, tapes as tables."""

from tinygrad_vi.show.graph import Drawing as Drawing
from tinygrad_vi.show.graph import draw as draw
