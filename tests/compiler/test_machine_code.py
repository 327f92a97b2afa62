"""Machine code that is kept: used when it is that of this very text, compiled again when it is spoilt or there is none."""

import hashlib
import importlib
import os
import pickle
import random
import subprocess
import sys
import warnings
from pathlib import Path
from types import SimpleNamespace

import pytest

pytest.importorskip("numba", reason="the native back end needs Numba")

from tinygrad_vi.compiler import codes, elementary, kernel, lanes, machine_code, tables

MINI = {
    "__init__": "",
    "constants": "SCALE = 2.0\nTABLE = (1.0, 10.0)\nUNUSED = 1\n",
    "helpers": "from tinygrad_vi.compiler.machine_code import kept\n@kept()\ndef shifted(x):\n    return x + 1.0\n",
    "kernel": """from mini.constants import SCALE, TABLE
from mini import constants, helpers
from tinygrad_vi.compiler.machine_code import kept
exact = kept(error_model="numpy", nogil=True)
@exact
def f(x):
    return SCALE * helpers.shifted(x) + TABLE[1] + 0.0 * constants.UNUSED
""",
}
RIGHT = 2.0 * (3.0 + 1.0) + 10.0


@pytest.fixture
def mini(tmp_path, monkeypatch):
    """A small package with machine code, in a folder of its own, and no other folder for it."""
    folder = tmp_path / "mini"
    folder.mkdir()
    for name, text in MINI.items():
        (folder / f"{name}.py").write_text(text)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(machine_code, "_users_caches", lambda: None)
    monkeypatch.setattr(machine_code.config, "CACHE_DIR", "", raising=False)
    yield folder
    forget()


def forget():
    for name in [name for name in sys.modules if name.partition(".")[0] == "mini"]:
        del sys.modules[name]
    said = machine_code._say_once_that_it_is_compiled, machine_code._say_once_that_nothing_is_kept
    for cached in (machine_code.digest, machine_code._text, *said):
        cached.cache_clear()
    importlib.invalidate_caches()


def run():
    """As a new process: the answer, and whether machine code was read."""
    forget()
    f = importlib.import_module("mini.kernel").f
    answer = f(3.0)
    return answer, sum(f.stats.cache_hits.values()) == 1


def edit(folder, name, old, new):
    path = folder / f"{name}.py"
    text = path.read_text()
    assert old in text
    before = path.stat()
    path.write_text(text.replace(old, new))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns + 10**9))  # else Python takes its own compiled file


def code(folder):
    [file] = (folder / "__pycache__").glob("kernel.f.*.code")
    return file


def test_code_is_compiled_once_and_read_again(mini):
    assert run() == (RIGHT, False)
    assert run() == (RIGHT, True)
    assert code(mini).is_file()


def test_it_is_said_when_code_is_compiled_and_only_then(mini, capfd):
    assert run() == (RIGHT, False)
    said = "tinygrad_vi: preparing the kernel (it is compiled once on a machine, which takes some seconds) ...\n"
    assert capfd.readouterr() == ("", said)
    assert run() == (RIGHT, True)
    assert capfd.readouterr() == ("", "")
    edit(mini, "constants", "SCALE = 2.0", "SCALE = 3.0")
    run()
    assert capfd.readouterr() == ("", said)


@pytest.mark.parametrize(("module", "old", "new", "right"), [
    ("constants", "SCALE = 2.0", "SCALE = 3.0", 22.0),
    ("constants", "10.0", "20.0", 28.0),
    ("helpers", "x + 1.0", "x - 1.0", 14.0),
    ("kernel", "SCALE *", "SCALE /", 2.0 / 4.0 + 10.0),
    ("kernel", "error_model", "fastmath=True, error_model", RIGHT),
    ("constants", "UNUSED = 1", "UNUSED = 2", RIGHT),
])  # fmt: skip
def test_whatever_it_was_made_from_is_edited_the_code_is_compiled_again(mini, module, old, new, right):
    run()
    edit(mini, module, old, new)
    assert run() == (right, False)
    assert run() == (right, True)
    edit(mini, module, new, old)
    assert run() == (RIGHT, False)
    assert code(mini).is_file()  # one file, whatever was edited how often


def test_a_comment_elsewhere_in_the_package_changes_nothing(mini):
    run()
    (mini / "other.py").write_text("SCALE = 5.0")
    assert run() == (RIGHT, True)


def test_a_text_edited_between_import_and_compilation_leaves_no_wrong_code(mini):
    forget()
    f = importlib.import_module("mini.kernel").f
    edit(mini, "helpers", "x + 1.0", "x - 1.0")
    assert f(3.0) == RIGHT  # what was imported
    assert run() == (14.0, False)


def spoil(change):
    return lambda file: file.write_bytes(change(file.read_bytes()))


def _replaced_by_a_folder(file):
    file.unlink()
    file.mkdir()


def _payload(thing):
    """Another content with a checksum that fits."""
    payload = pickle.dumps(thing)
    return lambda content: content[:32] + hashlib.sha256(payload).digest() + payload


class _Explodes:
    def __reduce__(self):
        return exec, ("raise ZeroDivisionError('from a pickle')",)


class _FromNowhere:
    pass


DAMAGES = {
    "empty": (spoil(lambda content: b""), True),
    "a few bytes": (spoil(lambda content: content[:20]), True),
    "the header alone": (spoil(lambda content: content[:64]), True),
    "cut off": (spoil(lambda content: content[:-1]), True),
    "half": (spoil(lambda content: content[: len(content) // 2]), True),
    "zeros at the end": (spoil(lambda content: content[:-100] + b"\0" * 100), True),
    "longer": (spoil(lambda content: content + b"x"), True),
    "garbage": (spoil(lambda content: random.Random(0).randbytes(len(content))), False),
    "garbage after the key": (spoil(lambda content: content[:32] + random.Random(0).randbytes(5000)), True),
    "another key": (spoil(lambda content: b"\0" * 32 + content[32:]), False),
    "the wrong pickle": (spoil(_payload({"a": 1})), True),
    "no pickle": (spoil(lambda content: content[:32] + hashlib.sha256(b"abc").digest() + b"abc"), True),
    "a pickle that raises": (spoil(_payload(_Explodes())), True),
    "a pickle of another length": (spoil(_payload((1, 2, 3))), True),
    "a folder of its name": (_replaced_by_a_folder, True),
    "gone": (lambda file: file.unlink(), False),
    "a link to nowhere": (lambda file: (file.unlink(), file.symlink_to("nowhere")), False),
}


@pytest.mark.parametrize("kind", DAMAGES)
def test_spoilt_code_is_compiled_again_with_a_word(mini, kind):
    run()
    damage, said = DAMAGES[kind]
    damage(code(mini))
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        assert run() == (RIGHT, False)
    texts = [str(w.message) for w in heard]
    assert any("cannot be used" in text and "compiled again" in text for text in texts) == said, texts
    if kind != "a folder of its name":  # which stays where it is
        assert run() == (RIGHT, True)


def test_no_flipped_bit_of_the_code_is_ever_run(mini):
    run()
    content, numbers = code(mini).read_bytes(), random.Random(0)
    for _ in range(25):
        changed = bytearray(content)
        changed[numbers.randrange(len(content))] ^= 1 << numbers.randrange(8)
        code(mini).write_bytes(changed)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            assert run() == (RIGHT, False)
    assert run() == (RIGHT, True)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="the superuser may read every file")
def test_code_that_may_not_be_read_is_compiled_again(mini):
    run()
    code(mini).chmod(0)
    with pytest.warns(RuntimeWarning, match="cannot be used .*Permission denied"):
        assert run() == (RIGHT, False)


@pytest.mark.usefixtures("mini")
@pytest.mark.parametrize("fault", [PermissionError(13, "Permission denied"), OSError(5, "Input/output error")])
def test_code_that_cannot_be_read_is_compiled_again(monkeypatch, fault):
    run()
    real = Path.read_bytes

    def fail(path):
        if path.suffix == ".code":
            raise fault
        return real(path)

    monkeypatch.setattr(Path, "read_bytes", fail)
    with pytest.warns(RuntimeWarning, match="cannot be used"):
        assert run() == (RIGHT, False)


def test_without_a_folder_to_write_to_it_is_compiled_in_memory_and_said_once(mini):
    (mini / "__pycache__").write_text("a file in the place of the folder")
    with pytest.warns(RuntimeWarning, match="there is no folder to keep the compiled kernel in") as heard:
        assert run() == (RIGHT, False)
    assert len(heard) == 1
    with pytest.warns(RuntimeWarning, match="Set NUMBA_CACHE_DIR to a folder that can be written to"):
        assert run() == (RIGHT, False)


def test_the_advice_is_good_numba_cache_dir_is_used(mini, monkeypatch, tmp_path):
    (mini / "__pycache__").write_text("a file in the place of the folder")
    monkeypatch.setattr(machine_code.config, "CACHE_DIR", str(tmp_path / "kept" / "here"))
    assert run() == (RIGHT, False)
    assert run() == (RIGHT, True)
    assert any((tmp_path / "kept" / "here").rglob("*.code"))


def test_the_users_folder_for_caches_comes_last(mini, monkeypatch, tmp_path):
    (mini / "__pycache__").write_text("a file in the place of the folder")
    monkeypatch.setattr(machine_code, "_users_caches", lambda: tmp_path / "caches")
    assert run() == (RIGHT, False)
    assert run() == (RIGHT, True)
    assert any((tmp_path / "caches").rglob("*.code"))


@pytest.mark.parametrize(
    ("platform", "variable", "below"),
    [("linux", "XDG_CACHE_HOME", ""), ("linux", "HOME", ".cache"), ("darwin", "HOME", "Library/Caches"),
     ("win32", "LOCALAPPDATA", "")],
)  # fmt: skip
def test_the_users_folder_for_caches_is_that_of_the_system(monkeypatch, tmp_path, platform, variable, below):
    for name in ("XDG_CACHE_HOME", "LOCALAPPDATA"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv(variable, str(tmp_path))
    monkeypatch.setattr(machine_code, "sys", SimpleNamespace(platform=platform))
    monkeypatch.setattr(Path, "home", classmethod(lambda _: Path(os.environ["HOME"])))
    assert machine_code._users_caches() == tmp_path / below


@pytest.mark.usefixtures("mini")
def test_a_full_disk_costs_nothing_but_time(monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(machine_code, "write_atomically", full)
    with pytest.warns(RuntimeWarning, match="there is no folder to keep"):
        assert run() == (RIGHT, False)


def test_another_processor_or_version_has_its_own_file(mini, monkeypatch):
    run()
    monkeypatch.setattr(machine_code.numba, "__version__", "99.0")
    assert run() == (RIGHT, False)
    assert len(list((mini / "__pycache__").glob("kernel.f.*.code"))) == 2
    monkeypatch.undo()


TOGETHER = """
import sys
from tinygrad_vi.compiler import machine_code
machine_code._users_caches = lambda: None
from mini.kernel import f
assert f(3.0) == 18.0
print(sum(f.stats.cache_hits.values()))
"""


@pytest.mark.slow
def test_processes_that_compile_at_once_do_not_meet(mini):
    root = Path(machine_code.__file__).parents[2]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(mini.parent), str(root)]), "NUMBA_CACHE_DIR": ""}
    command = [sys.executable, "-W", "error", "-c", TOGETHER]
    processes = [subprocess.Popen(command, env=environment, stdout=subprocess.PIPE) for _ in range(3)]
    assert all(process.wait() == 0 for process in processes)
    assert {process.communicate()[0].strip() for process in processes} <= {b"0", b"1"}
    assert subprocess.run(command, env=environment, capture_output=True, check=True).stdout.strip() == b"1"
    assert not list((mini / "__pycache__").glob("*.tmp"))


def test_kept_code_inherits_nothing_from_its_first_caller(mini):
    """A sum that is not to be re-ordered, called first by a function that may re-order: (1e16 + x) - 1e16."""
    (mini / "helpers.py").write_text(
        "from tinygrad_vi.compiler.machine_code import kept\n@kept()\ndef rounded(x):\n    return (x + 1e16) - 1e16\n"
    )
    (mini / "kernel.py").write_text(
        "from mini.helpers import rounded\nfrom tinygrad_vi.compiler.machine_code import kept\n"
        "@kept(fastmath=True)\ndef f(x):\n    return rounded(x)\n"
    )
    assert run() == (4.0, False)  # 3 is no multiple of 2, as floats of that size are
    assert sys.modules["mini.helpers"].rounded(3.0) == 4.0
    assert run() == (4.0, True)


# --- the kernel itself ------------------------------------------------------------------------------------------------


@pytest.mark.skipif(not hasattr(kernel.step, "stats"), reason="the JIT is switched off")
def test_the_kernels_code_depends_on_every_text_and_constant_that_it_is_made_from(monkeypatch):
    def digest():
        machine_code.digest.cache_clear()
        return machine_code.digest(kernel.__name__)

    try:
        seen = {digest()}
        texts = {module.__name__: machine_code._text(module.__name__) for module in (kernel, lanes, elementary)}
        for name in texts:
            with monkeypatch.context() as patch:
                patch.setattr(machine_code, "_text", lambda n, edited=name: texts.get(n, n) + "#" * (n == edited))
                seen.add(digest())
        for module, name in ((lanes, "LANES"), (elementary, "SQRT_HALF"), (elementary, "ROUND"), (codes, "DOT"),
                             (kernel, "UNMAPPED"), (codes, "TANH_AND_SECH")):  # fmt: skip
            with monkeypatch.context() as patch:
                patch.setattr(module, name, getattr(module, name) + 1)
                seen.add(digest())
        assert len(seen) == 1 + 3 + 6
        assert digest() in seen
        assert kernel.codes is codes  # the instructions that tables are written in
        assert tables.DOT == codes.DOT
    finally:
        machine_code.digest.cache_clear()


def test_all_that_numba_compiles_here_is_kept_this_way():
    package = Path(machine_code.__file__).parents[1]
    for path in package.rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        assert "cache=True" not in text.replace("(``cache=True``)", "")
        assert "njit" not in text or path.name == "machine_code.py", path
