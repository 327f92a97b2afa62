# mypy: disable-error-code="misc,untyped-decorator,no-untyped-call,import-untyped"
"""Machine code that is kept on disk, and read again only if it is the code of this very text.

Numba has a cache of its own (``cache=True``).  It knows a function by its file alone, so that an edited helper or
constant of another file leaves the old machine code in use; its index is overwritten by two processes at once; what is
cut off or spoilt there is an error or, worse, runs; and without a folder to write to it refuses to compile.  Here a
piece of code lies in one file with its key and its checksum.  The key is a digest of everything that it was made from:

    the texts of all modules of the package that the function can see, and the constants in them
    the function, its signature, the processor, the versions of Python, Numba and LLVM

Whatever does not fit is compiled again.  A warning says so when a file is spoilt and, once, when there is no folder to
keep anything in.
"""

from __future__ import annotations

import hashlib
import os
import pickle
import sys
import warnings
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar, cast

import llvmlite
import numba
import numpy as np
from numba.core import config
from numba.core.caching import NullCache
from numba.core.codegen import JITCodeLibrary
from numba.core.compiler import Compiler, CompileResult
from numba.core.registry import CPUDispatcher
from numba.core.serialize import dumps

from tinygrad_vi.files import write_atomically

F = TypeVar("F", bound=Callable[..., Any])

#: settings of Numba that make other machine code
SETTINGS = ("OPT", "BOUNDSCHECK", "DEBUGINFO_DEFAULT", "LOOP_VECTORIZE", "SLP_VECTORIZE")
#: constants that follow from the processor, which the key of machine code names anyway: tables are the same for all
OF_THE_PROCESSOR = {"REGISTER", "TALL"}
DIGEST = hashlib.sha256().digest_size


def kept(**options: Any) -> Callable[[F], F]:
    """`numba.njit` with these options, whose machine code is kept.

    Numba lets a function inherit what it does not say from whoever calls it first; kept code must not depend on that,
    so what is not said is said here.
    """
    options = {"fastmath": False, "error_model": "numpy", **options}

    def decorate(function: F) -> F:
        compiled: Any = numba.njit(**options)(function)
        if hasattr(compiled, "py_func"):  # with NUMBA_DISABLE_JIT=1 it is the function itself
            compiled._cache = _Kept(function)
        return cast(F, compiled)

    return decorate


class _Part(JITCodeLibrary):
    """The code of a function that only other compiled functions call: it becomes machine code as a part of theirs.

    Numba optimises what each function calls together with it, and then once more with whoever calls it: a function five
    calls deep is optimised five times, and made machine code as often.
    """

    def _optimize_final_module(self) -> None:
        pass

    def _finalize_final_module(self) -> None:
        self._finalize_dynamic_globals()
        self._verify_declare_only_symbols()
        self._finalized = True

    def get_pointer_to_function(self, _: str) -> int:
        return 0

    @property
    def codegen(self) -> Any:
        return _WithoutEnvironment(self._codegen)


class _WithoutEnvironment:
    """What makes code, for a function that has no place in memory where Numba could write what belongs to it."""

    def __init__(self, codegen: Any) -> None:
        self._codegen = codegen

    def __getattr__(self, name: str) -> Any:
        return getattr(self._codegen, name)

    def set_env(self, *_: Any) -> None:
        pass


class _PartCompiler(Compiler):
    """Numba's compiler, for such a function."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.state.library = _Part(self.state.targetctx.codegen(), "part")


class _CallableFromPython(CPUDispatcher):
    """Such a function, which Python may call all the same: then it is compiled for itself."""

    def __call__(self, *arguments: Any) -> Any:
        if "alone" not in vars(self):
            self.alone = numba.njit(**self.options)(self.py_func)
        return self.alone(*arguments)


def part(**options: Any) -> Callable[[F], F]:
    """The same for a function that only compiled functions call: nothing of it is kept, but as a part of theirs."""
    options = {"fastmath": False, "error_model": "numpy", **options}
    inside = {"pipeline_class": _PartCompiler, "no_cpython_wrapper": True, "no_cfunc_wrapper": True}

    def decorate(function: F) -> F:
        compiled: Any = numba.njit(**inside, **options)(function)
        if hasattr(compiled, "py_func"):
            compiled.__class__, compiled.options = _CallableFromPython, options
        return cast(F, compiled)

    return decorate


class _Kept(NullCache):
    """What Numba asks for machine code and gives it to, for one function."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function = function
        for module in _visible(sys.modules[function.__module__]):
            _text(module.__name__)  # now, as it was imported: it may be edited before anything is compiled

    @property
    def cache_path(self) -> str:
        """The folder, as Numba's statistics tell it."""
        return str(next(_folders(self.function)))

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        """The code for a signature; None where there is none that fits."""
        target_context.refresh()
        key = self._key(sig, target_context.codegen())
        spoilt = ""
        for folder in _folders(self.function):
            file = folder / self._name(sig, target_context.codegen())
            try:
                content = file.read_bytes()
                if content[:DIGEST] == key:
                    payload = memoryview(content)[2 * DIGEST :]
                    if hashlib.sha256(payload).digest() != content[DIGEST : 2 * DIGEST]:
                        raise ValueError("its checksum does not fit")
                    return CompileResult._rebuild(target_context, *pickle.loads(payload))
                if len(content) < 2 * DIGEST:
                    raise ValueError("it is cut off")
            except (FileNotFoundError, NotADirectoryError):
                continue
            except Exception as error:  # a pickle may raise anything
                spoilt = f"{file} cannot be used ({error})"
        if spoilt:
            warnings.warn(
                f"{spoilt}: the code is compiled again, which takes some seconds", RuntimeWarning, stacklevel=2
            )
        _say_once_that_it_is_compiled()
        return None

    def save_overload(self, sig: Any, data: Any) -> None:
        """Keep code in the first folder that takes it."""
        if data.library.has_dynamic_globals or not all(lifted.can_cache for lifted in data.lifted):
            return
        key, name = self._key(sig, data.codegen), self._name(sig, data.codegen)
        payload = dumps(data._reduce())
        content = key + hashlib.sha256(payload).digest() + payload
        for folder in _folders(self.function):
            try:
                folder.mkdir(parents=True, exist_ok=True)
                write_atomically(folder / name, content, durable=False)
            except OSError:
                continue
            return
        _say_once_that_nothing_is_kept()

    def _key(self, sig: Any, codegen: Any) -> bytes:
        made_from = _environment(codegen), self._identity(sig), digest(self.function.__module__)
        return hashlib.sha256(repr(made_from).encode()).digest()

    def _name(self, sig: Any, codegen: Any) -> str:
        """One file for each function, signature and environment: the code of an edited text replaces the old one."""
        place = hashlib.sha256(repr((_environment(codegen), self._identity(sig))).encode()).hexdigest()[:16]
        return f"{self.function.__module__.rpartition('.')[2]}.{self.function.__name__}.{place}.code"

    def _identity(self, sig: Any) -> tuple[str, ...]:
        return self.function.__module__, self.function.__qualname__, str(sig)


def _environment(codegen: Any) -> tuple[Any, ...]:
    settings = [getattr(config, name, None) for name in SETTINGS]
    return codegen.magic_tuple(), sys.version, numba.__version__, llvmlite.__version__, np.__version__, settings


# --- Where ------------------------------------------------------------------------------------------------------------


def _folders(function: Callable[..., Any]) -> Iterator[Path]:
    """NUMBA_CACHE_DIR if there is one, the folder of Python's own compiled files, the user's folder for caches."""
    home = Path(function.__code__.co_filename).resolve().parent
    below = f"tinygrad_vi_{hashlib.sha256(os.fsencode(home)).hexdigest()[:16]}"  # other versions have other places
    if named := getattr(config, "CACHE_DIR", ""):
        yield Path(named) / below
    yield home / "__pycache__"
    if folder := _users_caches():
        yield folder / "tinygrad_vi" / below


def _users_caches() -> Path | None:
    if sys.platform == "win32":
        named = os.environ.get("LOCALAPPDATA")
    else:
        named = os.environ.get("XDG_CACHE_HOME")
    if named:
        return Path(named)
    try:
        return Path.home() / ("Library/Caches" if sys.platform == "darwin" else ".cache")
    except RuntimeError:  # a user without a home
        return None


@cache
def _say_once_that_it_is_compiled() -> None:
    text = "tinygrad_vi: preparing the kernel (it is compiled once on a machine, which takes some seconds) ..."
    print(text, file=sys.stderr, flush=True)


@cache
def _say_once_that_nothing_is_kept() -> None:
    warnings.warn(
        "there is no folder to keep the compiled kernel in: it is compiled in each process, which takes some seconds. "
        "Set NUMBA_CACHE_DIR to a folder that can be written to",
        RuntimeWarning,
        stacklevel=3,
    )


# --- What it was made from --------------------------------------------------------------------------------------------


@cache
def digest(module: str) -> str:
    """The texts and constants of all modules of the package that a module can see."""
    seen = sorted(_visible(sys.modules[module]), key=lambda m: m.__name__)
    content = [(m.__name__, _text(m.__name__), sorted(_constants(m))) for m in seen]
    return hashlib.sha256(repr(content).encode()).hexdigest()


@cache
def _text(module: str) -> str:
    """The text of a module; where there is none, one that fits no other process."""
    loader: Any = getattr(sys.modules[module], "__loader__", None)
    text = loader.get_source(module) if hasattr(loader, "get_source") else None
    return os.urandom(16).hex() if text is None else str(text)


def _visible(module: ModuleType) -> set[ModuleType]:
    """The module, and the modules of the same package that its functions, classes and modules come from, and so on."""
    package, found, left = module.__name__.partition(".")[0], set(), [module]
    while left:
        at = left.pop()
        if at in found:
            continue
        found.add(at)
        for x in vars(at).values():
            name = x.__name__ if isinstance(x, ModuleType) else getattr(x, "__module__", None)
            if isinstance(name, str) and name.partition(".")[0] == package and name in sys.modules:
                left.append(sys.modules[name])
    return found


def _constants(module: ModuleType) -> Iterator[tuple[str, str]]:
    """The numbers, texts and arrays of a module, wherever they come from: Numba writes them into the code."""
    for name, x in vars(module).items():
        if isinstance(x, np.ndarray):
            yield name, f"{x.dtype} {x.shape} {hashlib.sha256(x.tobytes()).hexdigest()}"
        elif not name.startswith("__") and name not in OF_THE_PROCESSOR and _is_constant(x):
            yield name, repr(x)


def _is_constant(x: Any) -> bool:
    if isinstance(x, (tuple, list)):
        return all(map(_is_constant, x))
    if isinstance(x, dict):
        return all(_is_constant(key) and _is_constant(value) for key, value in x.items())
    return x is None or isinstance(x, (bool, int, float, complex, str, bytes, np.generic))
