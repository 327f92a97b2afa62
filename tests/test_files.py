"""Files that are whole or not there: links, modes, kills, two writers, full disks, flipped bits."""

import json
import math
import os
import random
import signal
import stat
import struct
import subprocess
import sys
import time
import warnings
from collections import Counter
from importlib.util import find_spec
from itertools import count

import numpy as np
import pytest

from tinygrad_vi import DomainError, ShapeError, Value, files, fit, nn, optim
from tinygrad_vi.files import read_json, write_atomically, write_json
from tinygrad_vi.nn.module import FILE_FORMAT

posix = pytest.mark.skipif(os.name != "posix", reason="modes and links are those of POSIX")
kills = pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="this system has no SIGKILL to kill a process with")
locks = pytest.mark.skipif(files.fcntl is None, reason="files are not locked on this system")


@pytest.fixture
def umask():
    """The mask 022 for a while: files are 644 then."""
    before = os.umask(0o022)
    yield 0o022
    os.umask(before)


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


# --- where it is written ----------------------------------------------------------------------------------------------


def test_a_file_is_replaced_whole_and_nothing_lies_beside_it(tmp_path):
    path = tmp_path / "a.txt"
    assert write_atomically(path, "một") == path
    assert path.read_text(encoding="utf-8") == "một"
    write_atomically(str(path), b"\x00two\r\n")
    assert path.read_bytes() == b"\x00two\r\n"
    assert os.listdir(tmp_path) == ["a.txt"]


@posix
@pytest.mark.usefixtures("umask")
def test_a_file_keeps_its_mode_and_a_new_one_has_that_of_the_umask(tmp_path):
    path = tmp_path / "a"
    write_atomically(path, "new")
    assert mode(path) == 0o644
    for kept in (0o600, 0o640, 0o664, 0o755, 0o666):  # some are wider than the umask: the user has set them so
        path.chmod(kept)
        write_atomically(path, "again")
        assert mode(path) == kept
    os.umask(0o077)
    assert mode(write_atomically(tmp_path / "b", "new")) == 0o600


@posix
@pytest.mark.usefixtures("umask")
def test_a_secret_file_is_never_readable_for_others_while_it_is_written(tmp_path, monkeypatch):
    path = tmp_path / "secret"
    path.write_text("old")
    path.chmod(0o600)
    seen = []
    real = os.fsync

    def look(descriptor):
        seen.extend(mode(p) for p in tmp_path.iterdir() if p != path)
        real(descriptor)

    monkeypatch.setattr(files.os, "fsync", look)
    write_atomically(path, "new")
    assert seen == [0o600]


@posix
@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root may give files away")
def test_root_leaves_a_file_to_its_owner(tmp_path):
    path = tmp_path / "hers"
    path.write_text("old")
    os.chown(path, 1234, 1235)
    path.chmod(0o600)
    write_atomically(path, "new")
    assert (path.stat().st_uid, path.stat().st_gid, mode(path)) == (1234, 1235, 0o600)


@posix
def test_a_link_is_followed_and_stays(tmp_path):
    (tmp_path / "disk").mkdir()
    real, link, second = tmp_path / "disk" / "real", tmp_path / "link", tmp_path / "second"
    link.symlink_to("disk/real")
    second.symlink_to(link)
    for text in ("first", "then"):  # the first time it leads to nothing
        assert write_atomically(second, text) == second
        assert real.read_text() == text
        assert link.is_symlink()
        assert second.is_symlink()
    assert os.listdir(tmp_path / "disk") == ["real"]


@posix
def test_links_in_a_circle_and_into_no_folder_are_refused(tmp_path):
    (tmp_path / "a").symlink_to(tmp_path / "b")
    (tmp_path / "b").symlink_to(tmp_path / "a")
    with pytest.raises(OSError, match="the links go in a circle"):
        write_atomically(tmp_path / "a", "x")
    (tmp_path / "c").symlink_to(tmp_path / "no" / "file")
    with pytest.raises(FileNotFoundError, match="there is no folder"):
        write_atomically(tmp_path / "c", "x")
    assert all((tmp_path / name).is_symlink() for name in "abc")


@posix
@pytest.mark.parametrize("name", [".a.json.tmp", ".a.json.0000000000000000.tmp", ".a.json.0123456789abcdef.tmp"])
def test_a_planted_link_is_never_followed(tmp_path, name, monkeypatch):
    """Whoever guesses the name of the unfinished file gains nothing: a file of that name is not opened."""
    victim = tmp_path / "victim"
    victim.write_text("precious")
    (tmp_path / name).symlink_to(victim)
    tokens = iter(["0000000000000000", "0123456789abcdef", "1111111111111111", "2222222222222222"])
    monkeypatch.setattr(files.secrets, "token_hex", lambda n: next(tokens))
    write_atomically(tmp_path / "a.json", "text")
    assert victim.read_text() == "precious"
    assert (tmp_path / "a.json").read_text() == "text"
    assert not (tmp_path / "a.json").is_symlink()


@posix
def test_devices_and_pipes_are_written_to_and_stay():
    if not os.access("/dev", os.W_OK):  # who may replace it should not try: the whole machine would lose it
        write_atomically("/dev/null", "x")
        assert stat.S_ISCHR(os.stat("/dev/null").st_mode)
    read, write = os.pipe()
    write_atomically(f"/dev/fd/{write}", "through")
    os.close(write)
    with open(read, "rb") as pipe:
        assert pipe.read() == b"through"


def test_a_folder_is_no_file(tmp_path):
    (tmp_path / "a").mkdir()
    with pytest.raises(OSError, match="a"):
        write_atomically(tmp_path / "a", "x")
    assert os.listdir(tmp_path) == ["a"]


def test_a_write_protected_file_is_not_replaced(tmp_path, monkeypatch):
    path = tmp_path / "kept"
    path.write_text("old")
    monkeypatch.setattr(files.os, "access", lambda path, mode: False)  # the superuser may write everywhere
    with pytest.raises(PermissionError, match="write-protected"):
        write_atomically(path, "new")
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["kept"]


@pytest.mark.parametrize("name", ["x" * 255, "ế" * 85, "-a b.json", "mô hình (1).json", "a.tmp"])
def test_every_name_that_the_system_takes_is_good(tmp_path, name):
    path = tmp_path / name
    try:
        path.write_text("old")
    except OSError:
        pytest.skip("the system itself refuses this name")
    write_atomically(path, "new")
    assert path.read_text() == "new"
    assert os.listdir(tmp_path) == [name]


# --- when it fails ----------------------------------------------------------------------------------------------------


class _Fault(Exception):
    """What may go wrong."""


@pytest.mark.parametrize("call", ["fsync", "replace", "open"])
@pytest.mark.parametrize("fault", [OSError(28, "No space left on device"), KeyboardInterrupt(), MemoryError()])
def test_whatever_fails_the_old_file_stays_and_nothing_lies_beside_it(tmp_path, monkeypatch, call, fault):
    path = tmp_path / "a"
    path.write_text("old")

    def fail(*_, **__):
        raise fault

    monkeypatch.setattr(files.os, call, fail)
    with pytest.raises(type(fault)) as caught:
        write_atomically(path, "new")
    monkeypatch.undo()
    if isinstance(fault, OSError):
        assert caught.value.filename == str(path)
        assert "No space left on device" in str(caught.value)
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["a"]


LIMITED = """
import resource, sys
from tinygrad_vi.files import write_atomically
resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))
try:
    write_atomically(sys.argv[1], "x" * 50_000)
except OSError as error:
    print(error)
"""


@pytest.mark.skipif(find_spec("resource") is None, reason="this system cannot limit the size of files")
def test_a_file_too_large_for_the_disk_leaves_the_old_one(tmp_path):
    path = tmp_path / "a"
    path.write_text("old")
    done = subprocess.run([sys.executable, "-c", LIMITED, str(path)], capture_output=True, text=True, check=True)
    assert "File too large" in done.stdout
    assert str(path) in done.stdout
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["a"]


# --- several writers, and kills ---------------------------------------------------------------------------------------

HAMMER = """
import os, sys
from itertools import count
from tinygrad_vi.files import write_json
letter, enough = sys.argv[2], sys.argv[3]
for i in count():
    if os.path.exists(enough):
        break
    write_json(sys.argv[1], "test", {"letter": letter, "row": [letter] * 20_000})
    if i == 0:
        print("begun", flush=True)
"""


def hammer(path, letter, enough):
    """A process that writes until there is a file ``enough``."""
    process = subprocess.Popen(
        [sys.executable, "-c", HAMMER, str(path), letter, str(enough)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"begun\n"
    return process


def whole(path):
    content = read_json(path, "test", {"letter": str, "row": list})
    assert content["row"] == [content["letter"]] * 20_000
    return content["letter"]


def test_readers_see_whole_files_while_several_write(tmp_path):
    path, enough = tmp_path / "a.json", tmp_path / "enough"
    writers = [hammer(path, letter, enough) for letter in "abc"]
    seen: Counter[str] = Counter()
    while len(seen) < 3 or sum(seen.values()) < 50:  # whole, whoever wrote it
        seen[whole(path)] += 1
    enough.touch()
    assert [writer.wait() for writer in writers] == [0, 0, 0]
    for writer in writers:
        assert writer.communicate()[0] == b""
    assert sorted(os.listdir(tmp_path)) == ["a.json", "enough"]


@kills
@locks
def test_killed_writers_leave_a_whole_file_and_the_next_one_sweeps_up(tmp_path):
    path, other = tmp_path / "a.json", tmp_path / ".b.json.0123456789abcdef.tmp"
    other.write_text("the unfinished file of another path")
    numbers = random.Random(0)
    left = 0
    for tries in count(1):
        writers = [hammer(path, letter, tmp_path / "never") for letter in "ab"]
        time.sleep(0.05 * numbers.random())
        for writer in writers:
            writer.kill()
            writer.communicate()
        whole(path)
        left = max(left, len(os.listdir(tmp_path)) - 2)
        if tries >= 12 and left > 0:  # there is something to sweep up
            break
    write_json(path, "test", {"letter": "c", "row": ["c"] * 20_000})
    assert sorted(os.listdir(tmp_path)) == [other.name, "a.json"]


@locks
def test_an_unfinished_file_in_use_is_no_leftover(tmp_path):
    """However old: its writer may be on a slow disk."""
    path = tmp_path / "a"
    descriptor, unfinished = files._unfinished(path, 0o600)
    os.utime(unfinished, (0, 0))
    write_atomically(path, "text")
    assert unfinished.exists()
    os.close(descriptor)
    write_atomically(path, "text")
    assert not unfinished.exists()


def test_without_locks_only_old_files_are_leftovers(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "fcntl", None)  # as on Windows
    path = tmp_path / "a"
    young, old = tmp_path / ".a.0123456789abcdef.tmp", tmp_path / ".a.fedcba9876543210.tmp"
    hers = [
        tmp_path / name for name in (".a.tmp", ".a.notes.tmp", ".ab.0123456789abcdef.tmp", "a.0123456789abcdef.tmp")
    ]
    for file in (young, old, *hers):
        file.write_text("x")
        os.utime(file, (0, 0))
    os.utime(young)
    write_atomically(path, "text")
    assert young.exists()
    assert not old.exists()
    assert all(file.exists() for file in hers)  # names that are not quite ours
    assert path.read_text() == "text"


def next_descriptor():
    """The number that the system gives the next file to be opened: the lowest that is free."""
    descriptor = os.open(os.devnull, os.O_RDONLY)
    os.close(descriptor)
    return descriptor


@pytest.mark.parametrize("with_locks", [pytest.param(True, marks=locks), False], ids=["locks", "no locks"])
def test_no_file_stays_open_whatever_is_swept_up(tmp_path, monkeypatch, with_locks):
    if not with_locks:
        monkeypatch.setattr(files, "fcntl", None)
    before = next_descriptor()
    for age in (0.0, 1e6):
        for k in range(3):
            leftover = tmp_path / f".a.{k:016x}.tmp"
            leftover.write_text("x")
            os.utime(leftover, (time.time() - age,) * 2)
        write_atomically(tmp_path / "a", "text")
        assert next_descriptor() == before
    assert os.listdir(tmp_path) == ["a"]


# --- checksums --------------------------------------------------------------------------------------------------------


def bits(x):
    return struct.pack("<d", x)


def numbers(model):
    return [bits(p.data) for p in model.parameters()]


def flipped(content, bit):
    changed = bytearray(content)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


def test_every_flipped_bit_of_a_model_file_is_refused_or_changes_no_number(tmp_path):
    model = nn.Neuron(2, "tanh")
    model.load_state_dict({"w": [0.1, -2.5e-7], "b": 0.0})
    adam = optim.Adam(model.parameters(), 0.1)
    path = model.save(tmp_path / "m.json", optimizer=adam)
    content, right = path.read_bytes(), (numbers(model), adam.state_dict())
    twin = nn.Neuron(2, "tanh")
    refused = 0
    for bit in range(8 * len(content)):
        path.write_bytes(flipped(content, bit))
        twin.load_state_dict({"w": [7.0, 7.0], "b": 7.0})
        other = optim.Adam(twin.parameters(), 0.5)
        before = numbers(twin), other.state_dict()
        try:
            twin.load(path, optimizer=other)
        except ValueError:
            refused += 1
            assert (numbers(twin), other.state_dict()) == before
        else:
            assert (numbers(twin), other.state_dict()) == right
    assert refused > 0.9 * 8 * len(content)


def test_two_thousand_large_model_files_with_a_flipped_bit(tmp_path):
    """Without a checksum 18 of 100 load as other numbers."""
    model, twin = nn.MLP(2, [16, 1], seed=0), nn.MLP(2, [16, 1], seed=1)
    path = model.save(tmp_path / "m.json")
    content, generator = path.read_bytes(), random.Random(0)
    loaded = 0
    for _ in range(2000):
        path.write_bytes(flipped(content, generator.randrange(8 * len(content))))
        try:
            twin.load(path)
        except ValueError:
            continue
        loaded += 1
        assert numbers(twin) == numbers(model)
    assert loaded < 200


def test_a_checkpoint_with_a_flipped_bit_is_refused_and_changes_nothing(tmp_path):
    path = tmp_path / "run.json"
    w = [Value(0.1), Value(0.2)]

    def go(w, **options):
        adam = optim.Adam(w, 0.1)
        try:
            fit(lambda x: (w[0] * x - w[1] - 1.0) ** 2, [1.0, 3.0], params=w, optimizer=adam, progress=False,
                checkpoint=path, validation=([2.0], None), patience=5, **options)  # fmt: skip
        finally:
            go.state = [p.data for p in w], adam.state_dict(), random.getstate()

    go(w, epochs=3)
    content, generator = path.read_bytes(), random.Random(1)
    for _ in range(150):
        path.write_bytes(flipped(content, generator.randrange(8 * len(content))))
        fresh = [Value(5.0), Value(6.0)]
        before = [5.0, 6.0], optim.Adam(fresh, 0.1).state_dict(), random.getstate()
        with pytest.raises(ValueError, match="cannot re"):
            go(fresh, epochs=3, resume=True)
        assert go.state == before


@pytest.mark.parametrize("change", [
    lambda text: text.replace("\n", "\r\n"),
    lambda text: "\ufeff" + text,
    lambda text: text + "\n\n",
    lambda text: json.dumps(json.loads(text), indent=4, ensure_ascii=False),
])  # fmt: skip
def test_other_blanks_ends_of_lines_and_byte_order_marks_do_no_harm(tmp_path, change):
    path = write_json(
        tmp_path / "a", "test", {"x": [0.1, -0.0, 5e-324, 1.7976931348623157e308], "tên": "nơ-ron \u2028"}
    )
    path.write_bytes(change(path.read_text(encoding="utf-8")).encode())
    found = read_json(path, "test", {"x": list})
    assert [bits(x) for x in found["x"]] == [bits(x) for x in (0.1, -0.0, 5e-324, 1.7976931348623157e308)]
    assert found["tên"] == "nơ-ron \u2028"


@pytest.mark.parametrize(("old", "new"), [
    ("0.5", "0.25"), ("0.5", "0.50000000000000011"), ("0.0", "-0.0"), ("1.0", "1"), ("true", "1"), ("true", "false"),
    ("null", "0"), ('"a"', '"b"'), ("[", "[[]], ["), (', "z": 1.0', ""), ('"z"', '"y"'),
])  # fmt: skip
def test_every_edit_of_the_content_is_refused_and_the_error_says_what_to_do(tmp_path, old, new):
    path = write_json(tmp_path / "a", "test", {"d": {"x": [0.5, 0.0], "t": True, "n": None, "s": "a", "z": 1.0}})
    text = path.read_text()
    assert old in text.splitlines()[-2]
    path.write_text("\n".join([*text.splitlines()[:-2], text.splitlines()[-2].replace(old, new, 1), "}"]))
    with pytest.raises(ValueError, match="cannot read"):
        read_json(path, "test", {})


def test_the_advice_for_a_file_edited_on_purpose_is_good(tmp_path):
    model = nn.Neuron(1, "linear")
    path = model.save(tmp_path / "m.json")
    path.write_text(path.read_text().replace('"b": 0.0', '"b": 0.75'))
    with pytest.raises(ValueError, match=r"set its version to 1 and delete its line with the checksum"):
        model.load(path)
    lines = path.read_text().replace('"version": 2', '"version": 1').splitlines(keepends=True)
    path.write_text("".join(line for line in lines if "checksum" not in line))
    with pytest.warns(UserWarning, match="is of version 1 and has no checksum"):
        model.load(path)
    assert model.b.data == 0.75


def test_a_file_of_version_1_that_claims_a_checksum_is_checked(tmp_path):
    path = write_json(tmp_path / "a", "test", {"x": 1.0})
    path.write_text(path.read_text().replace('"version": 2', '"version": 1').replace("1.0", "3.0"))
    with pytest.raises(ValueError, match="its checksum does not fit"):
        read_json(path, "test", {})


@pytest.mark.parametrize("version", ["true", "2.0", "0", "3", "null", "[2]", '"2"', "1" + "0" * 400])
def test_other_versions_are_refused(tmp_path, version):
    path = write_json(tmp_path / "a", "test", {"x": 1.0})
    path.write_text(path.read_text().replace('"version": 2', f'"version": {version}'))
    with pytest.raises(ValueError, match="this tinygrad_vi reads the versions 1 and 2"):
        read_json(path, "test", {})


@pytest.mark.parametrize("text", [
    "", "{", "null", "[]", "[" * 100_000, '{"format": "test", "version": 2, "version": 2}', "\x00" * 100,
    '{"format": "test", "version": 1' + "0" * 5000 + "}", '{"format": "test", "x": "\x01"}',
])  # fmt: skip
def test_what_is_no_such_file_is_a_value_error(tmp_path, text):
    path = tmp_path / "a"
    path.write_text(text)
    with pytest.raises(ValueError, match=r"cannot read .*a: it is no"):
        read_json(path, "test", {})


def test_a_name_that_stands_there_twice_is_refused(tmp_path):
    path = tmp_path / "a"
    path.write_text('{"format": "test", "version": 1, "x": 1.0, "x": 2.0}')
    with pytest.raises(ValueError, match="the name 'x' stands there twice"):
        read_json(path, "test", {})


# --- states -----------------------------------------------------------------------------------------------------------

NO_NUMBERS = [True, False, "0.5", None, 1j, [0.5], {}, np.bool_(True), b"1"]
TOO_LARGE = [10**400, -(10**5000), math.inf, math.nan, np.float64("inf"), float("1e999")]


@pytest.mark.parametrize("bad", [*NO_NUMBERS, *TOO_LARGE], ids=files.shown)
def test_a_module_takes_finite_numbers_only_and_all_or_none(bad):
    model = nn.MLP(2, [2, 1], seed=0)
    state, before = model.state_dict(), numbers(model)
    state["layers.0.neurons.0.w"] = [0.5, 0.5]
    last = list(state)[-1]
    error = DomainError if any(bad is x for x in TOO_LARGE) else ValueError
    with pytest.raises(error, match=f"{last} should be"):
        model.load_state_dict({**state, last: bad})
    assert numbers(model) == before


@pytest.mark.parametrize("bad", [{}, {"w": [1.0]}, {"b": 1.0}, {"w": [1.0], "b": 1.0, "c": 1.0}, {1: 2.0}])
def test_missing_and_unknown_names_are_told_even_of_an_empty_state(bad):
    model = nn.Neuron(1)
    with pytest.raises(ValueError, match=r"missing, . unknown"):
        model.load_state_dict(bad)


@pytest.mark.parametrize("bad", [None, [], "state", 3.0, [("w", [1.0])]])
def test_a_state_is_a_dictionary(bad):
    with pytest.raises(TypeError, match="the state of a module is a dictionary"):
        nn.Neuron(1).load_state_dict(bad)


@pytest.mark.parametrize("bad", [[1.0], [1.0, 2.0, 3.0], [[1.0, 2.0]], [[1.0], [2.0]], 1.0, "ab", {"0": 1.0, "1": 2.0}])
def test_wrong_shapes_are_refused(bad):
    model = nn.Neuron(2)
    before = numbers(model)
    with pytest.raises(ValueError, match="should be a"):
        model.load_state_dict({"w": bad, "b": 0.0})
    assert numbers(model) == before


def test_one_parameter_with_two_names_takes_no_two_numbers():
    class Tied(nn.Module):
        def __init__(self):
            self.a = Value(1.0)
            self.b = self.a

    tied = Tied()
    tied.load_state_dict({"a": 2.0, "b": 2.0})
    with pytest.raises(ValueError, match=r"has another name too, and there it is 2.0, not 3.0"):
        tied.load_state_dict({"a": 2.0, "b": 3.0})
    assert tied.a.data == 2.0


KINDS = {
    "SGD": lambda p: optim.SGD(p, 0.1, momentum=0.9),
    "nesterov": lambda p: optim.SGD(p, 0.1, momentum=0.9, nesterov=True),
    "RMSprop": lambda p: optim.RMSprop(p, 0.1, momentum=0.5),
    "Adam": lambda p: optim.Adam(p, 0.1),
    "AdamW": lambda p: optim.AdamW(p, 0.1),
}


def stepped(kind):
    p = [Value(1.0, "a"), Value(-2.0, "b")]
    optimizer = KINDS[kind](p)
    for _ in range(3):
        for x in p:
            x.grad = 0.5 * x.data
        optimizer.step()
    return optimizer


@pytest.mark.parametrize("kind", KINDS)
def test_an_optimiser_takes_over_a_state_only_as_a_whole(kind):
    good = json.loads(json.dumps(stepped(kind).state_dict()))
    fresh = KINDS[kind]([Value(0.0), Value(0.0)])
    before = fresh.state_dict()
    faults = [{}, None, [], {**good, "name": "Other"}, {**good, "name": None}, {**good, "settings": []}]
    faults += [{k: v for k, v in good.items() if k != name} for name in good]
    faults += [{**good, "steps": bad} for bad in (True, 1.0, -1, "3", None, [1], math.nan)]
    faults += [{**good, "state": bad} for bad in (None, [], {}, {**good["state"], "more": [0.0, 0.0]})]
    for name, column in good["state"].items():
        for bad in (*NO_NUMBERS, *TOO_LARGE):
            faults.append({**good, "state": {**good["state"], name: [column[0], bad]}})
        for bad in ([], [0.0], [0.0] * 3, "ab", None, {"0": 1.0, "1": 1.0}, 2.0):
            faults.append({**good, "state": {**good["state"], name: bad}})
    for name, value in good["settings"].items():
        for bad in (*NO_NUMBERS, *TOO_LARGE, -1.0):
            if bad is not value and not (isinstance(value, bool) and isinstance(bad, bool)):
                faults.append({**good, "settings": {**good["settings"], name: bad}})
    for fault in faults:
        with pytest.raises(ValueError):  # noqa: PT011  (the texts differ; that nothing is changed is the point)
            fresh.load_state_dict(fault)
        assert fresh.state_dict() == before
    fresh.load_state_dict(good)
    assert fresh.state_dict() == good


@pytest.mark.parametrize("change", [
    lambda c: c["parameters"].__setitem__(1, 10**400),
    lambda c: c["parameters"].__setitem__(1, True),
    lambda c: c["best"].__setitem__(0, 10**400),
    lambda c: c["best"].append(1.0),
    lambda c: c["optimizer"]["state"]["mean"].__setitem__(1, 10**400),
    lambda c: c["optimizer"].update(steps=True),
    lambda c: c["optimizer"]["settings"].update(learning_rate=10**400),
    lambda c: c["optimizer"].update(settings=[1]),
    lambda c: c["history"]["time"].__setitem__(0, math.nan),
    lambda c: c["history"]["validation_loss"].pop(),
    lambda c: c["history"].update(loss="abc"),
    lambda c: c["history"].update(stopped=3),
    lambda c: c["history"].pop("stopped"),
    lambda c: c["random"].__setitem__(0, 7),
    lambda c: c["random"].__setitem__(2, "x"),
    lambda c: c["random"].__setitem__(1, None),
    lambda c: c["random"][1].__setitem__(0, -1),
    lambda c: c["random"][1].__setitem__(0, 0.5),
    lambda c: c["random"][1].__setitem__(0, 10**400),
    lambda c: c["random"][1].__setitem__(-1, 10**6),
    lambda c: c["random"].append(1),
])  # fmt: skip
@pytest.mark.filterwarnings("ignore:.* has no checksum")
def test_a_checkpoint_is_looked_at_as_a_whole_before_anything_is_changed(tmp_path, change):
    path = tmp_path / "run.json"

    def go(w, adam, **options):
        return fit(lambda x: (w[0] * x - w[1] - 1.0) ** 2, [1.0, 3.0], params=w, optimizer=adam, progress=False,
                   checkpoint=path, validation=([2.0], None), patience=5, **options)  # fmt: skip

    w = [Value(0.1), Value(0.2)]
    go(w, optim.Adam(w, 0.1), epochs=3)
    content = json.loads(path.read_text())
    change(content)
    content["version"] = 1
    del content["checksum"]
    path.write_text(json.dumps(content))
    fresh = [Value(5.0), Value(6.0)]
    adam = optim.Adam(fresh, 0.1)
    before, state = adam.state_dict(), random.getstate()
    with pytest.raises(ValueError, match=r"cannot resume from .*run\.json: "):
        go(fresh, adam, epochs=5, resume=True)
    assert ([p.data for p in fresh], adam.state_dict(), random.getstate()) == ([5.0, 6.0], before, state)


# --- a training is never lost -----------------------------------------------------------------------------------------


def line(checkpoint, **options):
    w = [Value(0.1), Value(0.2)]
    history = fit(lambda x: (w[0] * x - w[1] - 1.0) ** 2, [1.0, 3.0], params=w, optimizer=optim.Adam(w, 0.1), progress=False,
                  checkpoint=checkpoint, epochs=6, **options)  # fmt: skip
    return history, [p.data for p in w]


def test_a_full_disk_does_not_end_a_training(tmp_path, monkeypatch):
    path = tmp_path / "run.json"
    straight = line(tmp_path / "other.json")
    real, calls = os.fsync, []

    def full(descriptor):
        calls.append(descriptor)
        if 3 <= len(calls) <= 4:  # one call for the file, one for the folder: the second and third checkpoint
            raise OSError(28, "No space left on device")
        real(descriptor)

    monkeypatch.setattr(files.os, "fsync", full)
    with pytest.warns(RuntimeWarning, match=r"the checkpoint of epoch [23] could not be written: .*No space left"):
        history, numbers = line(path)
    assert (history.loss, numbers) == (straight[0].loss, straight[1])
    assert json.loads(path.read_text())["history"]["loss"] == history.loss
    assert sorted(os.listdir(tmp_path)) == ["other.json", "run.json"]


def test_a_folder_that_goes_away_does_not_end_a_training(tmp_path):
    folder = tmp_path / "runs"
    folder.mkdir()
    path = folder / "run.json"
    straight = line(None)

    def remove(history):
        if history.epochs == 3:
            path.unlink()
            folder.rmdir()

    with pytest.warns(
        RuntimeWarning, match=r"epoch [3456] could not be written: there is no folder .* \(there is none"
    ):
        history, numbers = line(path, callbacks=remove)
    assert (history.loss, numbers) == (straight[0].loss, straight[1])


def test_the_old_checkpoint_stays_and_can_be_resumed_from(tmp_path, monkeypatch):
    path = tmp_path / "run.json"
    straight = line(None)
    real, calls = os.replace, []

    def once(*names):
        calls.append(names)
        if len(calls) > 2:
            raise PermissionError(13, "Permission denied")
        real(*names)

    monkeypatch.setattr(files.os, "replace", once)
    with pytest.warns(RuntimeWarning, match=r"\(the one of an earlier epoch stays\)"):
        line(path)
    monkeypatch.undo()
    assert len(json.loads(path.read_text())["history"]["loss"]) == 2
    history, numbers = line(path, resume=True)
    assert (history.loss, numbers) == (straight[0].loss, straight[1])


def test_a_checkpoint_that_can_never_be_written_is_an_error_at_once(tmp_path, monkeypatch):
    class Curious(optim.SGD):
        def __init__(self, parameters):
            super().__init__(parameters)
            self.friend = object()

    w = Value(1.0)
    options = {"checkpoint": tmp_path / "run.json", "progress": False}
    with pytest.raises(TypeError, match=r"no checkpoint can be made of this training: .*object is not JSON"):
        fit(lambda x: w * x, [1.0], params=[w], optimizer=Curious([w]), **options)
    monkeypatch.setattr("tinygrad_vi.training.checkpoint.os.access", lambda path, mode: False)
    with pytest.raises(PermissionError, match=r"the checkpoint .*run\.json cannot be written"):
        fit(lambda x: w * x, [1.0], params=[w], **options)
    assert w.data == 1.0


# --- everything else that is written ----------------------------------------------------------------------------------


def _drawing():
    return (Value(2.0, "a") * Value(3.0, "b")).draw()


def _page():
    return (Value(2.0, "a") * Value(3.0, "b")).step_through()


def _plot():
    history = fit(lambda x: (w := Value(1.0)) and (P * x) ** 2 + 0.0 * w, [1.0], params=[P], epochs=2, progress=False)
    return history.plot()


P = Value(1.0)
SHOWN = [
    pytest.param(_drawing, "dot", (), id="drawing"),
    pytest.param(_page, "html", (), id="page"),
    pytest.param(_plot, "png", ("matplotlib",), id="plot"),
    pytest.param(_plot, "svg", ("matplotlib",), id="plot as SVG"),
]


@posix
@pytest.mark.parametrize(("make", "ending", "needs"), SHOWN)
def test_pictures_and_pages_are_whole_or_not_there_as_well(tmp_path, monkeypatch, make, ending, needs):
    for package in needs:
        pytest.importorskip(package)
    picture, path = make(), tmp_path / f"a.{ending}"
    path.write_text("old")
    path.chmod(0o600)

    def full(_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(files.os, "fsync", full)
        with pytest.raises(OSError, match="No space left"):
            picture.save(path)
    assert path.read_text() == "old"
    assert picture.save(path) == path
    assert len(path.read_bytes()) > 100
    assert mode(path) == 0o600
    assert os.listdir(tmp_path) == [path.name]


def test_nothing_in_the_package_writes_a_file_in_another_way():
    import re
    from pathlib import Path

    import tinygrad_vi

    package = Path(tinygrad_vi.__file__).parent
    writes = re.compile(r"\.write_text\(|\.write_bytes\(|\bopen\([^)]*[\"'][wax]|shutil\.copy|\bto_csv\(")
    found = {
        f"{path.relative_to(package)}: {line.strip()}"
        for path in package.rglob("*.py")
        for line in path.read_text(encoding="utf-8").splitlines()
        if writes.search(line)
    }
    assert {text.partition(":")[0] for text in found} == {"files.py"}


def test_warnings_of_this_module_can_be_errors(tmp_path):
    """Where warnings are errors a file of version 1 is an error, and changes nothing."""
    model = nn.Neuron(1)
    path = model.save(tmp_path / "m.json")
    content = json.loads(path.read_text())
    del content["checksum"]
    path.write_text(json.dumps({**content, "version": 1}))
    before = numbers(model)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(UserWarning, match="has no checksum"):
            model.load(path)
    assert numbers(model) == before


def test_a_wrong_shape_in_a_file_is_a_shape_error(tmp_path):
    model = nn.Neuron(2)
    path = write_json(tmp_path / "m.json", FILE_FORMAT, {
        "architecture": repr(model), "names": [p.label for p in model.parameters()], "parameters": {"w": [1.0], "b": 0.0},
    })  # fmt: skip
    with pytest.raises(ShapeError, match=r"cannot load .*m.json: w should be a list of 2, got 1"):
        model.load(path)


def test_what_json_cannot_hold_is_named_and_leaves_the_old_file(tmp_path):
    model = nn.Neuron(1)
    sgd = optim.SGD(model.parameters(), 0.1)
    path = model.save(tmp_path / "m.json", optimizer=sgd)
    content = path.read_bytes()
    sgd.learning_rate = math.inf
    with pytest.raises(ValueError, match="optimizer cannot be written as JSON: Out of range float"):
        model.save(path, optimizer=sgd)
    assert path.read_bytes() == content
