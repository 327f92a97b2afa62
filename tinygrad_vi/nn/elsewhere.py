"""Names that PyTorch's module of this name has and this one has not: what to write for them."""

from __future__ import annotations

from tinygrad_vi.nn.activations import ACTIVATIONS, LAYER_ACTIVATIONS

ELSEWHERE = {
    "Linear": 'Layer(n_inputs, n_outputs, "identity"), or MLP(n_inputs, [16, 1]) for several',
    "Sequential": "MLP(n_inputs, [16, 1]), or a Module of your own whose forward calls one layer after the other",
    "ModuleList": "self.layers = [...], a list: parameters are found in it",
    "Parameter": "Value(0.0), an attribute of a Module",
    "functional": "the functions of tinygrad_vi, such as relu(v), and those of tinygrad_vi.losses",
    **{
        name: f"losses.{ours}(prediction, target), a function of one example in tinygrad_vi"
        for name, ours in [("MSELoss", "mse"), ("BCELoss", "bce"), ("BCEWithLogitsLoss", "bce_with_logits"),
                           ("CrossEntropyLoss", "cross_entropy"), ("HuberLoss", "huber")]
    },
}  # fmt: skip


def missing(name: str) -> AttributeError:
    """The error for a name that `tinygrad_vi.nn` has not."""
    written = ELSEWHERE.get(name)
    ours = next((known for known in (*ACTIVATIONS, *LAYER_ACTIVATIONS) if known.replace("_", "") == name.lower()), None)
    if written is None and ours is not None:
        written = f'activation="{ours}" in a Layer or an MLP'
    return AttributeError(
        f"module 'tinygrad_vi.nn' has no attribute {name!r}" + (f": write {written}" if written else "")
    )
