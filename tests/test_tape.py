import pytest

from tinygrad_vi import Tape, Value, log, sin


@pytest.fixture
def tape():
    x1, x2 = Value(2.0, "x1"), Value(5.0, "x2")
    return Tape(log(x1) + x1 * x2 - sin(x2), inputs=[x1, x2])


def cells(table, text="text"):
    return [[getattr(cell, text) for cell in row] for row in table.rows]


def test_inputs_default_to_labelled_leaves_and_constants_get_no_row():
    x = Value(3.0, "x")
    tape = Tape(x * 2.5 + 1)
    assert tape.inputs == [x]
    assert cells(tape.table())[1][:3] == ["v₁", "v₀ * 2.5", "3 * 2.5"]
    a, b = Value(1.0), Value(2.0)
    assert Tape(a * b).inputs == [a, b]
    assert [tape.name(v) for v in (x, *tape.operations, *tape.output.parents)] == ["v₀", "v₁", "v₂", "v₁", "1"]
    assert tape.number(tape.output.parents[1]) is None


def test_an_input_may_be_the_result_of_an_operation():
    x = Value(3.0, "x")
    q = x * x
    tape = Tape(q * 2 + q, inputs=[q])
    assert len(tape) == 3
    assert tape.adjoint()[q] == 3.0


def test_an_input_without_influence_has_the_derivative_zero():
    x, z = Value(3.0, "x"), Value(4.0, "z")
    tape = Tape(x * x, inputs=[x, z])
    assert tape.adjoint()["z"] == 0.0
    assert tape.tangent({z: 1.0})[tape.output] == 0.0
    assert tape.tangent()[tape.output] == 6.0


def test_tapes_of_a_leaf_and_of_a_constant():
    x = Value(3.0, "x")
    assert len(Tape(x)) == 1
    assert Tape(x).adjoint(seed=2.0)[x] == 2.0
    constant = Value(3.0)
    trace = Tape(constant, inputs=[]).tangent()
    assert trace[constant] == 0.0
    assert "3" in str(trace)


def test_the_output_is_named_so_that_no_input_has_its_name():
    x, y = Value(2.0, "x"), Value(3.0, "y")
    assert Tape(x * x).output_name == "y"
    assert Tape(x * y).output_name == "f"
    z = x * y
    z.label = "area"
    assert Tape(z).output_name == "area"


def test_bad_arguments_say_what_was_wrong(tape):
    x = tape.inputs[0]
    with pytest.raises(TypeError, match=r"a tape needs Values, got 3\.0 of type float for the output"):
        Tape(3.0)
    with pytest.raises(TypeError, match=r"type list for the output: take one of them, such as outputs\[0\]$"):
        Tape([tape.output])
    for wrong, said in (("x", r"got 'x' of type str"), ([x], "of type list")):
        with pytest.raises(TypeError, match=rf"{said} for inputs\[1\]$"):
            Tape(tape.output, inputs=[x, wrong])
    with pytest.raises(ValueError, match="given twice"):
        Tape(tape.output, inputs=[x, x])
    with pytest.raises(ValueError, match="'x3' is not an input of this tape; its inputs are x1, x2"):
        tape.tangent({"x3": 1.0})


def test_a_label_that_two_inputs_share_names_neither():
    a, other, b = Value(2.0, "a"), Value(5.0, "a"), Value(7.0, "b")
    tape = Tape(a * other + b)
    twice = r"2 inputs of this tape have the label 'a' \(v₋₂, v₋₁\): give the Value itself"
    for ask in (lambda: tape.tangent({"a": 1.0}), lambda: tape.adjoint()["a"], lambda: tape.input("a")):
        with pytest.raises(ValueError, match=twice):
            ask()
    assert tape.tangent({a: 1.0})[tape.output] == 5.0
    assert tape.tangent({other: 1.0, "b": 10.0})[tape.output] == 12.0
    assert (tape.adjoint()[other], tape.adjoint()["b"]) == (2.0, 1.0)


def test_an_input_has_one_seed(tape):
    x1 = tape.inputs[0]
    with pytest.raises(ValueError, match="the input x1 was given two seeds: by its label and as a Value"):
        tape.tangent({"x1": 1.0, x1: 2.0})


def test_a_table_shows_four_digits():
    x = Value(2.0, "x")
    text = str(Tape(x / 3.0).table())
    assert "0.6667" in text
    assert "0.66667" not in text
    assert str(Tape(x / 3.0)) == text
