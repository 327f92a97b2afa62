"""Parameters that no sweep reaches stay where they are, as PyTorch's with the gradient None; a silent unit does not."""

import pytest

from tinygrad_vi import Value, compile, fit, optim, relu, total

torch = pytest.importorskip("torch", reason="PyTorch is the judge")

RULES = {
    "SGD with decay": (lambda p: optim.SGD(p, 0.1, momentum=0.9, weight_decay=0.1),
                       lambda p: torch.optim.SGD(p, 0.1, momentum=0.9, weight_decay=0.1)),
    "RMSprop with decay": (lambda p: optim.RMSprop(p, 0.1, momentum=0.5, weight_decay=0.1),
                           lambda p: torch.optim.RMSprop(p, 0.1, momentum=0.5, weight_decay=0.1)),
    "Adam with decay": (lambda p: optim.Adam(p, 0.1, weight_decay=0.1),
                        lambda p: torch.optim.Adam(p, 0.1, weight_decay=0.1)),
    "AdamW": (lambda p: optim.AdamW(p, 0.1), lambda p: torch.optim.AdamW(p, 0.1)),
}  # fmt: skip

START = [2.0, 3.0, -1.0]


def scalars():
    ours = [Value(x, name) for x, name in zip(START, ("used", "silent", "absent"), strict=True)]
    theirs = [torch.tensor(x, dtype=torch.float64, requires_grad=True) for x in START]
    return ours, theirs


@pytest.mark.parametrize("rule", RULES)
def test_steps_agree_with_pytorchs_where_a_parameter_is_absent_or_silent(rule):
    ours, theirs = scalars()
    mine, judge = (make(p) for make, p in zip(RULES[rule], (ours, theirs), strict=True))
    for k in range(
        2 if "Adam" in rule else 4
    ):  # PyTorch's Adam counts the steps of each parameter apart, ours does not
        w, silent, absent = ours
        late = absent * 1.0 if k == 2 else 0.0  # the third step reaches it, and from then on it has a gradient
        mine.zero_grad()
        ((w - 1.0) ** 2 + relu(silent * w - 100.0) + late).backward()
        mine.step()
        w, silent, absent = theirs
        judge.zero_grad(set_to_none=False)
        late = absent * 1.0 if k == 2 else 0.0
        ((w - 1.0) ** 2 + torch.relu(silent * w - 100.0) + late).backward()
        judge.step()
        assert [v.data for v in ours] == pytest.approx([t.item() for t in theirs], rel=1e-12)
        if k < 2:
            assert ours[2].data == START[2]
            assert ours[1].data != START[1]  # it has a gradient, and that is 0


@pytest.mark.parametrize("rule", RULES)
def test_fit_leaves_them_too_eager_and_compiled(rule):
    found = {}
    for kind in ("eager", "compiled"):
        ours, _ = scalars()
        w, silent, absent = ours
        optimizer = RULES[rule][0](ours)

        def loss(x, t, w=w, silent=silent):
            return (w * x - t) ** 2 + relu(silent * x - 100.0)

        given = loss if kind == "eager" else compile(loss, ours, backend="numpy")
        fit(given, [1.0, 2.0, 3.0], [2.0, 4.0, 6.5], params=ours, optimizer=optimizer, epochs=5, batch_size=2,
            progress=False)  # fmt: skip
        assert absent.data == START[2]
        assert optimizer.state[2] == (0.0,) * len(optimizer.state_names)
        found[kind] = [v.data for v in ours]
    assert found["eager"] == pytest.approx(found["compiled"], rel=1e-12)
    assert found["eager"][1] != START[1]


def test_a_penalty_reaches_what_the_loss_does_not():
    for kind in ("eager", "compiled"):
        ours, _ = scalars()
        w, _, absent = ours

        def loss(x, w=w):
            return (w - x) ** 2

        given = loss if kind == "eager" else compile(loss, ours, backend="numpy")
        sgd = optim.SGD(ours, 0.1)
        fit(given, [1.0], params=ours, optimizer=sgd, epochs=1, progress=False, penalty=lambda a=absent: a * a)
        assert absent.data == pytest.approx(-1.0 + 0.1 * 2.0)


def test_a_silent_sum_of_many_is_reached():
    p = [Value(1.0) for _ in range(5)]
    relu(total(p) - 100.0).backward()
    optimizer = optim.AdamW(p, 0.1)
    optimizer.step()
    assert [v.data for v in p] == pytest.approx([1.0 - 0.1 * 0.01] * 5, rel=1e-15)
