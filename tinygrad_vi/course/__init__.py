"""The course: exercises that are checked with a diagnosis, and the referee of the lecture notes.

    from tinygrad_vi.course import check, hint, statement, referee, errata_table, progress

    statement("B12")            what an exercise asks
    check("B12.deb", 2)         is it right, and if not, which slip does it look like?
    hint("B12")                 one hint after the other, never the answer
    referee("E03")              the printed formula against automatic and numerical differentiation
    errata_table()              all mistakes found in the lecture notes
    progress()                  what is solved
    lecture_pictures()          the pictures of the lecture notes; lecture_picture("S3-3.15") draws one

Names are English; all that a student reads is Vietnamese.
"""

from tinygrad_vi.course.checking import Verdict as Verdict
from tinygrad_vi.course.checking import check as check
from tinygrad_vi.course.hints import hint as hint
from tinygrad_vi.course.hints import statement as statement
from tinygrad_vi.course.launch import course as course
from tinygrad_vi.course.pictures import lecture_picture as lecture_picture
from tinygrad_vi.course.pictures import lecture_pictures as lecture_pictures
from tinygrad_vi.course.rulings import Ruling as Ruling
from tinygrad_vi.course.rulings import errata_table as errata_table
from tinygrad_vi.course.rulings import referee as referee
from tinygrad_vi.course.solved import progress as progress
from tinygrad_vi.course.texts import UnknownName as UnknownName

__all__ = [
    "Ruling",
    "UnknownName",
    "Verdict",
    "check",
    "course",
    "errata_table",
    "hint",
    "lecture_picture",
    "lecture_pictures",
    "progress",
    "referee",
    "statement",
]


def __dir__() -> list[str]:
    return [*__all__]
