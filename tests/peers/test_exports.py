"""Programs in StableHLO and on PyTorch's tensors give the numbers of the engine."""

import numpy as np
import pytest

from tinygrad_vi import DomainError, Value, compile, log, losses, nn, tanh

RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=(7, 2)), np.array([0.0, 2, 1, 1, 0, 2, 1])


def classifier():
    model = nn.MLP(2, [4, 3], activation="tanh", seed=1)
    step = compile(lambda x, y: losses.cross_entropy(model(x), y), params=model)
    return step, *step.value_and_grad(step.theta, X, Y)


def test_stablehlo_is_read_back(tmp_path):
    jax = pytest.importorskip("jax", reason="JAX is not installed: pip install jax")
    pytest.importorskip("flatbuffers", reason="jax.export writes its files with it: pip install flatbuffers")
    from jax import export

    step, value, gradient = classifier()
    content = step.export(tmp_path / "model.stablehlo").read_bytes()
    with jax.enable_x64(True):
        program = export.deserialize(content)
        assert set(program.platforms) == {"cpu", "cuda", "tpu"}
        found, slopes = program.call(step.theta, X, Y[:, None])
        assert found == pytest.approx(value, rel=1e-12)
        assert np.asarray(slopes) == pytest.approx(gradient, rel=1e-12, abs=1e-14)
        few = program.call(step.theta, X[:3], Y[:3, None])
        assert few[0] == pytest.approx(step(step.theta, X[:3], Y[:3]), rel=1e-12)
    alone = compile(lambda x: tanh(x[0]) * x[1])
    alone.value_and_grad([1.0, 2.0])
    with jax.enable_x64(True):
        program = export.deserialize(alone.export(tmp_path / "alone.stablehlo", asked="value").read_bytes())
        assert program.call(np.array([1.0, 2.0])) == pytest.approx(2.0 * np.tanh(1.0), rel=1e-14)


def test_stablehlo_in_single_precision(tmp_path):
    pytest.importorskip("jax", reason="JAX is not installed: pip install jax")
    pytest.importorskip("flatbuffers", reason="jax.export writes its files with it: pip install flatbuffers")
    from jax import export

    step, value, gradient = classifier()
    content = step.export(tmp_path / "model.stablehlo", dtype="float32").read_bytes()
    found, slopes = export.deserialize(content).call(*(np.float32(x) for x in (step.theta, X, Y[:, None])))
    assert found.dtype == slopes.dtype == np.float32
    assert found == pytest.approx(value, rel=1e-5)
    assert np.asarray(slopes) == pytest.approx(gradient, rel=1e-5, abs=1e-6)
    with pytest.raises(ValueError, match=r"shape|symbolic"):  # fewer labels than rows
        export.deserialize(content).call(*(np.float32(x) for x in (step.theta, X, Y[:1, None])))


def test_pytorch_has_value_and_gradient():
    torch = pytest.importorskip("torch", reason="PyTorch is not installed: pip install torch")
    step, value, gradient = classifier()
    mean = step.to_torch()
    theta = torch.tensor(step.theta, requires_grad=True)
    loss = mean(theta, torch.tensor(X), Y)
    assert loss.item() == pytest.approx(value, rel=1e-12)
    (3.0 * loss + theta.sum()).backward()
    assert theta.grad.numpy() == pytest.approx(3.0 * gradient + 1.0, rel=1e-12)
    single = torch.tensor(step.theta, dtype=torch.float32, requires_grad=True)
    mean(single, X, Y).backward()
    assert single.grad.dtype == torch.float32
    assert single.grad.numpy() == pytest.approx(gradient, rel=1e-5, abs=1e-6)
    with torch.no_grad():
        assert mean(theta, X, Y).item() == pytest.approx(value, rel=1e-12)
    assert torch.autograd.gradcheck(lambda t: mean(t, X, Y), theta.detach().requires_grad_())
    optimizer = torch.optim.LBFGS([theta])

    def closure():
        optimizer.zero_grad()
        loss = mean(theta, X, Y)
        loss.backward()
        return loss

    optimizer.step(closure)
    assert mean(theta, X, Y).item() < 0.5 * value


def test_pytorch_is_refused_what_there_is_not():
    torch = pytest.importorskip("torch", reason="PyTorch is not installed: pip install torch")
    step, *_ = classifier()
    mean = step.to_torch()
    theta = torch.tensor(step.theta, requires_grad=True)
    loss = mean(theta, X, Y)
    [slope] = torch.autograd.grad(loss, theta, create_graph=True)
    with pytest.raises(RuntimeError, match=r"first derivatives in PyTorch, no second: step\.hvp"):
        (loss + (slope**2).sum()).backward()  # a penalty on the gradient
    with pytest.raises(TypeError, match=r"the data require grad: give x\.detach\(\)"):
        mean(theta, torch.tensor(X, requires_grad=True), Y)
    with pytest.raises(TypeError, match=r"theta is a tensor, as torch\.tensor\(step\.theta, requires_grad=True\)"):
        mean(step.theta, X, Y)
    w = Value(1.0)
    logarithm = compile(lambda x: log(w * x), params=[w]).to_torch()
    with pytest.raises(DomainError, match="example 1: log"):
        logarithm(torch.ones(1, dtype=torch.float64, requires_grad=True), [1.0, 0.0])
