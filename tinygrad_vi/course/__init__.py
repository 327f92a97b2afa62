"""The course: checked exercises with diagnosis and hints, and the referee of the lecture notes."""

from tinygrad_vi.course.checking import Verdict as Verdict
from tinygrad_vi.course.checking import check as check
from tinygrad_vi.course.progress import progress as progress
