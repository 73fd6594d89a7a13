"""Weights as files: whole or not at all, the same bits back."""

import os
import stat

import numpy as np
import pytest

import dtrain
from dtrain import train
from dtrain.checkpoint.output import check_writable, save, written_whole
from dtrain.errors import DataError, UsageError
from tests.training.programs import digest, line, line_data, net, net_data

WEIGHTS = {"W": np.ones((2, 3)), "b": np.array(0.5)}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_saved_weights_come_back_with_the_same_bits(tmp_path, dtype):
    run = train(net, net_data(20), epochs=2, learning_rate=0.1, dtype=dtype)
    run.save(tmp_path / "net.safetensors")
    back = dtrain.load(str(tmp_path / "net.safetensors"))
    assert sorted(back) == sorted(run.weights)
    assert digest(back) == run.digest
    assert [p.name for p in tmp_path.iterdir()] == ["net.safetensors"]


def test_scalars_transposed_and_strided_weights_keep_shape_and_values(tmp_path):
    matrix = np.arange(12.0).reshape(3, 4)
    weights = {"scalar": np.array(3.0), "T": matrix.T, "strided": matrix[:, ::2]}
    save(weights, tmp_path / "w")
    back = dtrain.load(tmp_path / "w")
    assert digest(back) == digest(weights)
    for name, values in weights.items():
        np.testing.assert_array_equal(back[name], values)


def test_saved_weights_start_the_next_run(tmp_path):
    first = train(line, line_data(), epochs=3, learning_rate=0.1)
    first.save(tmp_path / "line")
    again = train(
        line,
        line_data(),
        epochs=3,
        learning_rate=0.1,
        weights=dtrain.load(tmp_path / "line"),
    )
    straight = train(line, line_data(), epochs=6, learning_rate=0.1)
    assert again.digest == straight.digest


def test_a_file_is_replaced_and_a_link_is_followed(tmp_path):
    (tmp_path / "real").write_bytes(b"old")
    (tmp_path / "link").symlink_to("real")
    save(WEIGHTS, tmp_path / "link")
    assert (tmp_path / "link").is_symlink()
    assert digest(dtrain.load(tmp_path / "real")) == digest(WEIGHTS)


def test_a_name_may_be_as_long_as_the_disk_allows(tmp_path):
    for name in (255 * "w", 127 * "ü"):
        check_writable("--save", str(tmp_path / name))
        save(WEIGHTS, tmp_path / name)
        assert digest(dtrain.load(tmp_path / name)) == digest(WEIGHTS)
        with pytest.raises(UsageError, match="too long"):
            check_writable("--save", str(tmp_path / f"{name}{name}"))


def test_what_fails_half_way_leaves_the_old_file(tmp_path):
    target = tmp_path / "w"
    target.write_bytes(b"old")

    def fail():
        with written_whole(target, "weights") as file:
            file.write(b"new, but not all of it")
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert target.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [target]


def test_a_pipe_is_written_into_and_stays(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    try:
        check_writable("--report", str(pipe))
        with written_whole(pipe, "report") as file:
            file.write(b"{}")
        assert os.read(reader, 10) == b"{}"
    finally:
        os.close(reader)
    assert stat.S_ISFIFO(pipe.stat().st_mode)


PLACES = {
    "a folder": ("", "folder"),
    "in no folder": ("gone/w", "no folder"),
    "below a file": ("file/w", "no folder"),
    "where nobody may write": ("/proc/w", "cannot write into /proc"),
}


@pytest.fixture(params=PLACES)
def place(request, tmp_path):
    """A place where nothing can be written, and a word of what is said of it."""
    name, word = PLACES[request.param]
    (tmp_path / "file").write_bytes(b"old")
    return tmp_path / name, word, tmp_path


def test_where_nothing_can_be_written_is_said_before_and_after(place):
    path, word, folder = place
    with pytest.raises(UsageError, match=word) as caught:
        check_writable("--save", str(path))
    assert f"--save {path}" in str(caught.value)
    with pytest.raises(UsageError, match="cannot write the weights to") as caught:
        save(WEIGHTS, path)
    assert str(path) in str(caught.value)
    assert [p.name for p in folder.iterdir()] == ["file"]


def test_to_try_whether_a_file_can_be_written_leaves_nothing(tmp_path):
    check_writable("--save", str(tmp_path / "w"))
    check_writable("--save", None)
    assert list(tmp_path.iterdir()) == []


BAD_FILES = {
    "empty": b"",
    "text": b"these are no weights\n",
    "cut short": None,
    "npz": b"PK\x03\x04" + bytes(60),
}


@pytest.mark.parametrize("kind", BAD_FILES)
def test_a_file_that_holds_no_weights_is_refused(tmp_path, kind):
    path = tmp_path / "w.safetensors"
    save(WEIGHTS, path)
    whole = path.read_bytes()
    content = BAD_FILES[kind]
    path.write_bytes(whole[:-8] if content is None else content)
    with pytest.raises(DataError, match=r"w\.safetensors holds no weights"):
        dtrain.load(path)


def test_a_file_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(DataError, match="gone: No such file"):
        dtrain.load(tmp_path / "gone")
    with pytest.raises(DataError, match="there is no checkpoint in"):
        dtrain.load(tmp_path)
