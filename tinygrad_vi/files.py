"""Files that are whole or not there: written under another name and then renamed.  JSON files say what they are and
have a checksum, so that a damaged file is refused.

A program that reads a path while it is written gets the old content or the new one, never a part.  A writer that is
killed leaves the old file as it was.  Of two writers of one path the last one to finish wins.
"""

from __future__ import annotations

import errno
import hashlib
import json
import math
import os
import re
import secrets
import stat
import time
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tinygrad_vi.checks import DomainError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

VERSION = 2
#: seconds after which an unfinished file is a leftover, where files cannot be locked
ABANDONED = 3600.0

# --- Writing ----------------------------------------------------------------------------------------------------------


def write_atomically(path: str | Path, data: bytes | str, *, durable: bool = True) -> Path:
    """Write a file that is complete or not there at all; text as UTF-8.  Returns the path.

    The data go into a new file beside it, ``.name.<random>.tmp``, which then takes its name.  A link is followed, as
    editors do: the file that it leads to is replaced and the link stays.  An existing file keeps its mode and, as far
    as the system allows, its owner; a new one gets the mode that the umask leaves.  What is no regular file (a device,
    a pipe) is written to directly.  Unfinished files that killed writers of this path have left are removed.  It
    survives a power cut; ``durable=False`` gives that up and is faster.

    Raises OSError, and leaves the old file as it was, when it cannot be written: FileNotFoundError without the folder,
    PermissionError for a write-protected file.
    """
    path = Path(path)
    data = data.encode("utf-8") if isinstance(data, str) else data
    target = Path(os.path.realpath(path))
    if target.is_symlink():
        raise OSError(errno.ELOOP, "the links go in a circle", str(path))
    old = os.stat(path) if path.exists() else None
    if old is not None and not stat.S_ISREG(old.st_mode):
        path.write_bytes(data)  # a folder raises IsADirectoryError
        return path
    if not target.parent.is_dir():
        raise FileNotFoundError(f"there is no folder {target.parent} to keep {path.name} in")
    if old is not None and not os.access(target, os.W_OK):
        raise PermissionError(errno.EACCES, "the file is write-protected", str(path))
    _remove_leftovers(target)
    try:
        _replace(target, data, old, durable)
    except OSError as error:
        error.filename, error.filename2 = str(path), None  # the unfinished file's name means nothing to the caller
        raise
    return path


def _replace(target: Path, data: bytes, old: os.stat_result | None, durable: bool) -> None:
    descriptor, unfinished = _unfinished(target, 0o666 if old is None else stat.S_IMODE(old.st_mode) & 0o777)
    try:
        with open(descriptor, "wb") as file:
            if old is not None:
                _take_over(descriptor, old)
            file.write(data)
            file.flush()
            if durable:
                os.fsync(descriptor)
            if fcntl is not None:  # Windows renames closed files only
                os.replace(unfinished, target)
        if fcntl is None:
            os.replace(unfinished, target)
    except BaseException:
        unfinished.unlink(missing_ok=True)
        raise
    if durable:
        _sync_folder(target.parent)


def _unfinished(target: Path, mode: int) -> tuple[int, Path]:
    """A new file beside the target, open and locked: nobody else has it, whatever links were planted."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
    while True:
        path = target.with_name(f"{_prefix(target)}{secrets.token_hex(8)}.tmp")
        try:
            descriptor = os.open(path, flags, mode)  # the umask applies to the mode
        except FileExistsError:
            continue
        if _locked(descriptor) is not False and _is_at(descriptor, path):
            return descriptor, path
        os.close(descriptor)  # before it was locked, another writer took it for a leftover


def _prefix(target: Path) -> str:
    """How the names of unfinished files begin; a name near the limit of 255 bytes is shortened."""
    name = target.name
    return f".{name}." if len(os.fsencode(name)) <= 200 else f".{hashlib.sha256(os.fsencode(name)).hexdigest()}."


def _locked(descriptor: int) -> bool | None:
    """Lock a file until it is closed.  False if another process has locked it; None if files cannot be locked here."""
    if fcntl is None:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # some network file systems
        return None
    return True


def _is_at(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), os.lstat(path))
    except FileNotFoundError:
        return False


def _take_over(descriptor: int, old: os.stat_result) -> None:
    """Give a new file the mode of the one that it replaces, and its owner if that is allowed."""
    if not hasattr(os, "fchown"):
        return
    mode, mine = stat.S_IMODE(old.st_mode), os.fstat(descriptor)
    if (mine.st_uid, mine.st_gid) != (old.st_uid, old.st_gid):
        try:
            os.fchown(descriptor, old.st_uid, old.st_gid)
        except OSError:  # not allowed: then the group, which is another one now, gets no rights
            mode &= ~stat.S_IRWXG
    os.fchmod(descriptor, mode)


def _sync_folder(folder: Path) -> None:
    """Make a renaming survive a power cut, if the system can synchronise folders."""
    if os.name == "nt":
        return
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except PermissionError:  # a folder that may be written and not read
        return
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # some file systems cannot
            raise
    finally:
        os.close(descriptor)


def _remove_leftovers(target: Path) -> None:
    """Remove what killed writers of this path have left.

    A writer holds a lock on its unfinished file, which the system releases when the process ends, in whatever way.  If
    files cannot be locked, an unfinished file counts as left after an hour.
    """
    ours = re.compile(re.escape(_prefix(target)) + r"[0-9a-f]{16}\.tmp")
    try:
        found = [target.with_name(name) for name in os.listdir(target.parent) if ours.fullmatch(name)]
    except PermissionError:  # a folder that may be written and not read
        return
    for path in found:
        try:
            descriptor = os.open(path, os.O_RDWR | getattr(os, "O_NOFOLLOW", 0))
        except OSError:  # gone already, or not ours
            continue
        locked, age = _locked(descriptor), time.time() - os.fstat(descriptor).st_mtime
        if fcntl is None:
            os.close(descriptor)  # Windows removes closed files only
        try:
            if locked or (locked is None and age > ABANDONED):
                path.unlink(missing_ok=True)
        except PermissionError:
            continue  # another user's
        finally:
            if fcntl is not None:
                os.close(descriptor)


# --- JSON -------------------------------------------------------------------------------------------------------------


def write_json(path: str | Path, form: str, content: Mapping[str, Any]) -> Path:
    """Write JSON for `read_json`, which refuses it when a single bit was changed since."""
    return write_atomically(path, json_text(form, content))


def json_text(form: str, content: Mapping[str, Any]) -> str:
    """The text of such a file, one entry a line.  Raises ValueError or TypeError for what JSON cannot hold."""
    entries = {}
    for name, entry in content.items():
        try:
            entries[name] = json.dumps(entry, allow_nan=False)
        except (ValueError, TypeError) as error:  # an infinity; an object
            raise type(error)(f"{name} cannot be written as JSON: {error}") from None
    head = {"format": form, "version": VERSION, "checksum": _checksum(form, entries)}
    lines = {**{name: json.dumps(entry) for name, entry in head.items()}, **entries}
    return "{\n" + ",\n".join(f"{json.dumps(name)}: {text}" for name, text in lines.items()) + "\n}\n"


def _checksum(form: str, entries: Mapping[str, str]) -> str:
    """SHA-256 of the entries as JSON writes them, so that blanks and line ends in the file do not matter."""
    text = json.dumps([form, VERSION, *entries.items()])
    return hashlib.sha256(text.encode()).hexdigest()


def read_json(path: str | Path, form: str, parts: Mapping[str, type], *, old_is_good: bool = False) -> dict[str, Any]:
    """What `write_json` wrote; ValueError, saying what to do, for anything else.

    parts: the entries it must have and their types.  Files of version 1 have no checksum: they are read with a warning,
    and without one where ``old_is_good``.
    """
    try:
        content = json.loads(Path(path).read_bytes().decode("utf-8-sig"), object_pairs_hook=_without_duplicates)
    except (ValueError, RecursionError) as error:
        raise ValueError(
            f"cannot read {path}: it is not complete JSON ({error}). "
            "It may have been cut off or edited: take another copy, or save again"
        ) from None
    if not isinstance(content, dict) or content.get("format") != form:
        found = content.get("format") if isinstance(content, dict) else type(content).__name__
        raise ValueError(f"cannot read {path}: it is no {form} but {shown(found)}")
    version = content.get("version")
    if version not in (1, VERSION) or not isinstance(version, int) or isinstance(version, bool):
        raise ValueError(
            f"cannot read {path}: its version is {shown(version)}, this tinygrad_vi reads the versions 1 and {VERSION}"
        )
    if version == VERSION or "checksum" in content:
        _verify(path, form, content)
    elif not old_is_good:
        warnings.warn(
            f"{path} is of version 1 and has no checksum: if it was damaged, nothing tells. Save it again",
            stacklevel=3,
        )
    for name, kind in parts.items():
        if not isinstance(content.get(name), kind):
            raise ValueError(
                f"cannot read {path}: {name!r} should be a {kind.__name__}, got {shown(content.get(name))}. "
                "It may have been edited: take another copy, or save again"
            )
    return content


def _verify(path: str | Path, form: str, content: Mapping[str, Any]) -> None:
    entries = {
        name: json.dumps(entry) for name, entry in content.items() if name not in ("format", "version", "checksum")
    }
    if content.get("checksum") != _checksum(form, entries):
        raise ValueError(
            f"cannot read {path}: its checksum does not fit its content, so something in it is not as it was written. "
            "Take another copy, or save again. If you have edited it on purpose, set its version to 1 and delete its "
            "line with the checksum: it is then read as it stands"
        )


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    entries = dict(pairs)
    if len(entries) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the name {twice!r:.60} stands there twice")
    return entries


# --- What is read -----------------------------------------------------------------------------------------------------


def whole(change: Callable[..., None], *arguments: Any) -> None:
    """Call a function of several assignments; if Ctrl-C interrupts it, call it once more, so that all are made."""
    try:
        change(*arguments)
    except BaseException:
        change(*arguments)
        raise


def finite(x: Any, name: str) -> float:
    """A number of a file or a state as a float; ValueError if it is none, DomainError for an infinity or NaN."""
    if isinstance(x, bool) or not isinstance(x, (int, float)):
        raise ValueError(f"{name} should be a finite number, got {shown(x)}")
    try:
        number = float(x)
    except OverflowError:  # 10**400
        number = math.inf
    if not math.isfinite(number):
        raise DomainError(f"{name} should be finite, got {shown(x)}")
    return number


def shown(x: Any) -> str:
    """The beginning of the repr of anything that a file may hold."""
    try:
        return f"{x!r:.60}"
    except (ValueError, RecursionError):  # a whole number of thousands of digits; lists without end
        return f"a {type(x).__name__} too long to print"
