"""The command line: ``python -m tinygrad_vi trace "log(x1) + x1*x2 - sin(x2)" x1=2 x2=5`` and ``... demo``."""

from __future__ import annotations

import argparse
import io
import math
import os
import re
import sys
import textwrap
import unicodedata
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NoReturn

from tinygrad_vi import __version__
from tinygrad_vi.course.launch import add_course_command
from tinygrad_vi.derivatives import hessian
from tinygrad_vi.expression import FUNCTIONS, ExpressionError, evaluate
from tinygrad_vi.show.tapes.table import Table
from tinygrad_vi.show.tapes.traces import heads
from tinygrad_vi.show.writing.console import printable
from tinygrad_vi.show.writing.formula import Symbol
from tinygrad_vi.show.writing.names import label_symbol
from tinygrad_vi.tape import Tape
from tinygrad_vi.terminal import is_terminal, terminal_width
from tinygrad_vi.value import Value
from tinygrad_vi.words import LANGUAGES, language, said, spoken

GRAPH_FORMATS = (".svg", ".png", ".pdf", ".dot", ".gv")

#: a table and how wide it may be
WRITERS: dict[str, Callable[[Table, int | None], str]] = {
    "text": lambda table, width: table.printed(None, terminal_width() if width is None else width),
    "markdown": lambda table, _: table.to_markdown(),
    "latex": lambda table, width: f"% {table.title}\n{table.to_latex(width=width)}",
}
LANGUAGE = "TINYGRAD_VI_LANGUAGE"  # in the environment


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; 0 when it went well, 2 with a line on the standard error when its input was wrong.

    Without a command it prints the help.
    """
    _choose_encoding()
    options = _parse(sys.argv[1:] if arguments is None else arguments)
    name = f"tinygrad_vi {options.command}" if options.command else "tinygrad_vi"
    try:
        with language(spoken(_language(options))):
            options.run(options)
    except BrokenPipeError:  # `head` or a pager has closed the pipe
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except KeyboardInterrupt:
        print(f"{name}: interrupted", file=sys.stderr)
        return 130
    except (ArithmeticError, ValueError, ImportError, OSError, RuntimeError) as error:
        reason = " ".join(str(error).split()).removesuffix("; inside no_grad() it still has its value")
        print(printable(f"{name}: {reason}", sys.stderr), file=sys.stderr)
        return 2
    return 0


def _choose_encoding() -> None:
    """Files and pipes get UTF-8 everywhere; a terminal what it can show, and who sets PYTHONIOENCODING what it says."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        if is_terminal(sys.stdout) or os.environ.get("PYTHONIOENCODING"):
            sys.stdout.reconfigure(errors="backslashreplace")  # texts come in letters that it has: see `printable`
        else:
            sys.stdout.reconfigure(encoding="utf-8")


def _language(options: argparse.Namespace) -> str | None:
    """The language of the command, else of the environment, else None for the one that is set."""
    given: str | None = getattr(options, "language", None) or os.environ.get(LANGUAGE) or None
    if given is not None and given not in LANGUAGES:
        raise ValueError(f"{LANGUAGE} must be one of {', '.join(LANGUAGES)}, got {given!r}")
    return given


def _parse(given: Sequence[str]) -> argparse.Namespace:
    parser = _parser()
    # options are -h and what begins with --; a blank before "-x**2" tells argparse that it is an expression
    # values after options would be unrecognized: parse_known_args leaves them in `rest`
    options, rest = parser.parse_known_args([re.sub(r"^-(?!-|h$)", " -", a) for a in given])
    if any(a.startswith("-") or options.command != "trace" for a in rest):
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    if rest:
        options.values += rest
    return options


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """Exit with one line on the standard error, as other mistakes do."""
        self.exit(2, f"{self.prog}: {textwrap.shorten(message, 200)} (see --help)\n")


_DEFAULT_LANGUAGE = f"(default: {LANGUAGE} of the environment, else en)"


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="tinygrad-vi" if Path(sys.argv[0]).stem == "tinygrad-vi" else "python -m tinygrad_vi",
        description="Scalar automatic differentiation: see every derivative.",
    )
    parser.add_argument("--version", action="version", version=f"tinygrad_vi {__version__}")
    parser.set_defaults(run=lambda _: parser.print_help())
    commands = parser.add_subparsers(dest="command", metavar="command")

    trace = commands.add_parser(
        "trace",
        help="print the forward and reverse tables of an expression, its gradient, and draw its graph",
        description="Print the forward table with tangents, the reverse table with adjoints, and the gradient.",
        epilog=f"Operations: + - * / ** and {', '.join(sorted(FUNCTIONS))}. Constants: pi, e.",
    )
    trace.add_argument("expression", help='for example "log(x1) + x1*x2 - sin(x2)"')
    trace.add_argument("values", nargs="*", metavar="name=value", help="for example x1=2 x2=5 (or x=pi/2)")
    trace.add_argument("--seed", metavar="NAME", help="the input to take tangents by (default: the first)")
    trace.add_argument("--hessian", action="store_true", help="print all second derivatives too")
    trace.add_argument("--format", choices=WRITERS, default="text", help="how to print tables (default: text)")
    trace.add_argument("--digits", type=_positive, default=4, help="significant digits in the tables (default: 4)")
    trace.add_argument(
        "--graph", type=_path, metavar="FILE", help="draw the graph: .svg, .png, .pdf, or .dot for its source"
    )
    trace.add_argument("--html", type=_path, metavar="FILE", help="write a page to step through the graph in a browser")
    trace.add_argument(
        "--width",
        type=_positive,
        metavar="N",
        help="tables are at most N columns wide, their halves stacked (default: the terminal's; any in a file); "
        "with --format latex, N points: 345 is the line of the class article",
    )
    trace.add_argument("--language", choices=LANGUAGES, help=f"of the tables and the page {_DEFAULT_LANGUAGE}")
    trace.set_defaults(run=run_trace)

    demo = commands.add_parser(
        "demo", help="a neuron and its derivatives, then three networks that learn, with pictures on one page"
    )
    demo.add_argument(
        "--out", type=_path, default=Path("tinygrad_vi_demo"), help="folder to write to (default: %(default)s)"
    )
    demo.add_argument("--seed", type=int, default=1, help="seed of the initial weights (default: %(default)s)")
    demo.add_argument("--quick", action="store_true", help="a fraction of the epochs: does everything run?")
    demo.add_argument("--language", choices=LANGUAGES, help=f"of what it says {_DEFAULT_LANGUAGE}")
    demo.set_defaults(run=run_demo)

    add_course_command(commands)
    return parser


def run_demo(options: argparse.Namespace) -> None:
    """The ``demo`` command."""
    from tinygrad_vi.demo import demo

    demo(options.out, seed=options.seed, quick=options.quick, language=options.language)


def run_trace(options: argparse.Namespace) -> None:
    """The ``trace`` command."""
    if options.graph and options.graph.suffix.lower() not in GRAPH_FORMATS:
        raise ValueError(f"cannot draw {options.graph}: its name must end in {', '.join(GRAPH_FORMATS)}")
    if options.html and options.html.suffix.lower() not in (".html", ".htm"):
        raise ValueError(f"cannot write the page {options.html}: its name must end in .html")
    numbers = _assignments(options.values)
    inputs = {name: Value(x, label=name) for name, x in numbers.items()}
    y = evaluate(options.expression, inputs)
    if options.seed is not None and not inputs:
        raise ValueError(f"cannot take tangents by {options.seed!r}: the expression has no inputs")
    y = y if isinstance(y, Value) else Value(y)
    y.backward()
    tape = Tape(y, inputs=inputs.values())
    y.label = tape.output_name
    seed = None if options.seed is None else {options.seed: 1.0}
    tables = [
        tape.tangent(seed).table(digits=options.digits),
        tape.adjoint().table(digits=options.digits),
        _gradient_table(tape),
    ]
    if options.hessian:
        second = hessian(lambda *xs: evaluate(options.expression, dict(zip(numbers, xs, strict=True))))
        matrix = second(*numbers.values())
        tables.append(_hessian_table(tape, [[matrix]] if len(numbers) == 1 else matrix))
    print(printable("\n\n".join(WRITERS[options.format](table, options.width) for table in tables)))
    if options.graph:
        y.draw(local=True).save(options.graph)
        print(f"\nwrote {options.graph}", file=sys.stderr)
    if options.html:
        y.step_through(inputs=inputs.values(), digits=options.digits, language=options.language).save(options.html)
        print(f"\nwrote {options.html}: open it in a browser", file=sys.stderr)


def _assignments(texts: Sequence[str]) -> dict[str, float]:
    numbers: dict[str, float] = {}
    for text in texts:
        name, equals, value = (part.strip() for part in text.partition("="))
        name = unicodedata.normalize("NFKC", name)  # as Python's parser does with the names of the expression
        if not equals or not name.isidentifier():
            raise ExpressionError(f"expected name=value, such as x1=2, got {text!r}")
        if name in numbers:
            raise ExpressionError(f"{name} is given twice")
        numbers[name] = float(evaluate(value, {}))
        if not math.isfinite(numbers[name]):
            raise ExpressionError(f"{name} must be finite, got {value}")
    return numbers


def _gradient_table(tape: Tape) -> Table:
    y = label_symbol(tape.output.label)
    rows = []
    for v in tape.inputs:
        x = label_symbol(v.label)
        derivative = Symbol(f"d{y.text}/d{x.text}", rf"\frac{{\partial {y.latex}}}{{\partial {x.latex}}}")
        rows.append([derivative, Symbol.of(v.grad, digits=None)])
    title = said("tables")["gradient"].format(y=y.text, value=repr(tape.output.data))
    return Table(title, heads("derivative", "value"), rows)


def _hessian_table(tape: Tape, matrix: Sequence[Sequence[float]]) -> Table:
    names = [label_symbol(v.label) for v in tape.inputs]
    rows = [[name, *[Symbol.of(x, digits=None) for x in row]] for name, row in zip(names, matrix, strict=True)]
    return Table(said("tables")["hessian"], [Symbol(""), *names], rows)


def _path(text: str) -> Path:
    return Path(text.removeprefix(" ") if text.startswith(" -") else text)  # the blank is from `_parse`


def _positive(text: str) -> int:
    digits = int(text)
    if digits < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return digits


if __name__ == "__main__":
    sys.exit(main())
