"""What the READMEs show of what was measured, in their two languages: the words, and where the figures come from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from benchmarks import eager, gpt, peers, set_up
from benchmarks.measure import duration

Words = tuple[str, str]  # English, Vietnamese
Row = list[str]


def alike(*names: str) -> dict[str, Words]:
    """Names that are the same in both languages."""
    return {name: (name, name) for name in names}


MEASURED: Words = (
    "Measured {dates} by `{command}`: {machine}; {packages}. With their spread: "
    "[benchmarks/RESULTS.md](benchmarks/RESULTS.md).",
    "Đo ngày {dates} bằng `{command}`: {machine}; {packages}. Kèm độ phân tán: "
    "[benchmarks/RESULTS.md](benchmarks/RESULTS.md).",
)

# --- The eager engine, against micrograd ------------------------------------------------------------------------------

EAGER_CAPTION: Words = (
    "micrograd's demo step, not compiled: forward, backward and freeing, against micrograd in the same run.",
    "Một bước ví dụ mẫu của micrograd, không biên dịch: truyền xuôi, truyền ngược và giải phóng, so với micrograd.",
)
EAGER_HEADERS: tuple[Row, Row] = (
    ["how the network is written", "collector on, as people run it", "collector off on both sides"],
    ["mạng được viết thế nào", "bật bộ thu gom rác, như người ta vẫn chạy", "tắt ở cả hai phía"],
)
EAGER_LINES: dict[str, Words] = {
    eager.SCALAR: (
        "micrograd's own `nn` code, on our `Value`",
        "mã `nn` của chính micrograd, trên `Value` này",
    ),
    eager.NN: (
        "our `nn.MLP`: a neuron's sum is one node",
        "`nn.MLP` ở đây: tổng của một nơ-ron là một nút",
    ),
}
FASTER: Words = ("{} times faster", "nhanh hơn {} lần")

# --- Programs beside others -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Shown:
    """A table: what it says, its columns by contestant, its lines by program."""

    caption: Words
    columns: dict[str, Words]
    lines: dict[str, Words]


PROGRAM: Words = ("program", "chương trình")
OURS: dict[str, Words] = {
    peers.OURS: ("compiled", "đã biên dịch"),
    peers.BOUND: ("bound", "gắn sẵn dữ liệu"),
}

NETWORKS = Shown(
    (
        "Networks: the time of value and gradient in a training loop, and how many times longer the others take.",
        "Mạng nơ-ron: thời gian tính giá trị và gradient trong vòng huấn luyện, và các bên khác lâu hơn bao nhiêu lần.",
    ),
    {
        **OURS,
        "share": ("one thread, of the core's peak", "một luồng, so với đỉnh của lõi"),
        **alike("jax.jit"),
        "NumPy by hand": ("NumPy by hand", "NumPy viết tay"),
        **alike("PyTorch eager", "CasADi SX", "micrograd"),
    },
    {
        "A": ("micrograd's demo: 2-16-16-1, 100 examples", "ví dụ của micrograd: 2-16-16-1, 100 mẫu"),
        "B": ("64-32-10, cross-entropy, batch 64", "64-32-10, cross-entropy, mini-batch 64"),
        "large batch": ("the same, batch 10,000", "như trên, mini-batch 10,000"),
        "C": ("tanh RNN, 16 units, 20 steps, batch 32", "RNN tanh, 16 nơ-ron, 20 bước, mini-batch 32"),
        "LSTM": ("LSTM, the same sizes", "LSTM, cùng kích thước"),
        "wide": ("64-256-256-10, batch 512", "64-256-256-10, mini-batch 512"),
        "D": ("5,000 random operations without structure", "5,000 phép toán ngẫu nhiên, không có cấu trúc"),
        "gpt 32": ("a GPT of 4,192 parameters, 32 names", "GPT 4,192 tham số, 32 cái tên"),
    },
)

SCALAR = Shown(
    (
        "What practitioners write in scalar code, and programs of GradBench; JAX has `lax.scan` and arrays.",
        "Chương trình thường gặp viết trên từng số, và chương trình của GradBench; JAX dùng `lax.scan` và mảng.",
    ),
    {
        **OURS,
        **alike("jax.jit", "CasADi SX"),
        "CasADi SX, buffers": ("the same, through buffers", "như trên, qua bộ đệm"),
        **alike("autograd"),
    },
    {
        "tiny": ("log(a) + a*b - sin(b): one call", "log(a) + a*b - sin(b): một lần gọi"),
        "Kalman": ("Kalman filter, 300 steps", "bộ lọc Kalman, 300 bước"),
        "GARCH": ("GARCH, 1,000 returns", "GARCH, 1,000 quan sát"),
        "RK4": ("RK4, 200 steps", "RK4, 200 bước"),
        "bundle": ("bundle adjustment, 260 sights", "bundle adjustment, 260 lần nhìn thấy"),
        "HMM": ("hidden Markov model, 200 steps", "mô hình Markov ẩn, 200 bước"),
        "GP": ("Gaussian process, Cholesky in scalars", "quá trình Gauss, Cholesky trên từng số"),
        "shooting": ("control by direct shooting", "điều khiển tối ưu, bắn trực tiếp"),
        "kmeans 10": ("kmeans, 1,000 points, 10 centres", "kmeans, 1,000 điểm, 10 tâm"),
        "kmeans 100": ("kmeans, 1,000 points, 100 centres", "kmeans, 1,000 điểm, 100 tâm"),
        "lse": ("logsumexp of 20,000", "logsumexp của 20,000 số"),
        "ode": ("ode, n = 40, 100 steps", "ode, n = 40, 100 bước"),
        "gmm": ("gmm, 1,000 points", "gmm, 1,000 điểm"),
        "llsq": ("llsq, 1,000 points", "llsq, 1,000 điểm"),
    },
)

# --- Figures that stand alone -----------------------------------------------------------------------------------------

BESIDES: tuple[Row, Row] = (["besides", ""], ["ngoài ra", ""])


@dataclass(frozen=True)
class Alone:
    """A figure: the part that finds it, what it is, how it is told."""

    part: str
    words: Words
    told: Callable[[dict[str, Any]], str]


ALONE = [
    Alone(
        "gpt",
        (
            "GPT of 4,192 parameters: 1,000 training steps, tracing included",
            "GPT 4,192 tham số: 1,000 bước huấn luyện, kể cả ghi lại chương trình",
        ),
        lambda f: duration(f["gpt run"][gpt.ONE]),
    ),
    Alone(
        "gpt",
        ("the same text on a plain Python `Value`", "cũng mã ấy trên một `Value` Python thuần"),
        lambda f: duration(f["gpt run"]["steps"] * f["gpt run"][f"{gpt.PEER}, a step"]),
    ),
    Alone(
        "gpt",
        ("value and gradient of a name in a batch of 32", "giá trị và gradient của một cái tên, mini-batch 32"),
        lambda f: duration(f["gpt 32"]["seconds"][peers.OURS][0] / 32),
    ),
    Alone(
        "sparse",
        ("sparse Hessian of a chain of 2,000 unknowns", "Hessian thưa của chuỗi 2,000 ẩn"),
        lambda f: duration(f["chain 2,000"]["seconds"]["compiled, sparse"][0]),
    ),
    Alone(
        "set-up",
        (
            "set-up by the recorded operation, CPU time: dense code",
            "chuẩn bị cho mỗi phép toán, thời gian CPU: mã dày đặc",
        ),
        lambda f: duration(1e-6 * f[set_up.DENSE]["us"]),
    ),
    Alone(
        "set-up",
        ("the same, long chains", "như trên, chuỗi dài"),
        lambda f: duration(1e-6 * f[set_up.CHAIN]["us"]),
    ),
    Alone(
        "set-up",
        ("the same, no structure", "như trên, không có cấu trúc"),
        lambda f: duration(1e-6 * f[set_up.IRREGULAR]["us"]),
    ),
    Alone(
        "set-up",
        ("set-up of 64-256-256-10, CPU time", "chuẩn bị cho mạng 64-256-256-10, thời gian CPU"),
        lambda f: duration(f[set_up.WIDE]["seconds"]),
    ),
    Alone(
        "set-up",
        (
            "a loss that loops over 10,000 examples, until its first gradient: CPU time",
            "hàm mất mát lặp qua 10,000 mẫu, đến gradient đầu tiên: thời gian CPU",
        ),
        lambda f: duration(f["loop"]["seconds"]),
    ),
    Alone("set-up", ("the same: memory", "như trên: bộ nhớ"), lambda f: f"{f['loop']['gigabytes']:.2f} GB"),
    Alone(
        "set-up",
        (
            "a new process, until its first compiled call: CPU time",
            "một tiến trình mới, đến lần gọi đầu tiên: thời gian CPU",
        ),
        lambda f: duration(f["first"]["first call"]),
    ),
    Alone(
        "set-up",
        ("the same on a new machine, once", "như trên, trên máy mới, một lần"),
        lambda f: duration(f["first"]["cold"]),
    ),
    Alone(
        "import",
        ("`import tinygrad_vi`, over a bare interpreter", "`import tinygrad_vi`, so với trình thông dịch trống"),
        lambda f: duration(1e-3 * f["import"]["ms"]),
    ),
    Alone(
        "memory",
        ("bytes of a product after `backward`", "số byte của một phép nhân sau `backward`"),
        lambda f: f"{f['bytes']['tinygrad_vi: x * c']:.0f}",
    ),
]
