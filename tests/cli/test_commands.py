"""`dtrain eval`, `predict`, `show`, `explain` and `check`."""

import json
import re

import numpy as np
import pytest

import dtrain as library
from dtrain.cli.main import COMMANDS
from dtrain.cli.sources import load_program
from tests.cli.conftest import data, options_of

NET = ["model.py:net", "data.npz"]


@pytest.fixture
def weights(dtrain):
    """Files of trained weights: net's, another net's, and both's."""
    for name, extra in (("net", []), ("other", ["--seed", 1])):
        words = ["train", *NET, "--epochs", 1, "--save", f"{name}.w", *extra]
        assert dtrain(*words).code == 0
    library_save("both.w", {"gain": np.array(2.0)})
    library_save("lecture.w", {f"W{i}": np.array(i + 0.5) for i in range(3)})
    library_save("wrong.w", {"W": np.array(0.5), "b": np.array(0.5)})
    return library.load("net.w")


def library_save(path, values):
    from dtrain.checkpoint.output import save

    save(values, path)


USUAL = {
    "eval": ["eval", *NET, "--weights", "net.w"],
    "predict": ["predict", *NET, "--weights", "net.w"],
    "show": ["show", "model.py:line"],
    "explain": ["explain", "lecture"],
    "check": ["check", *NET],
}
WITHOUT_DATA = ["check", "model.py:line"]

# command: {option: words that change what is printed}
EFFECTS = {
    "eval": {
        "--bits": None,  # tests/cli/test_doctor.py
        "--columns": ["--columns", "x=y"],
        "--missing": None,  # tests/training/test_tables.py
        "--separator": None,  # tests/training/test_tables.py
        "--loss": None,  # tests/cli/test_model_files.py
        "--report": None,  # below
        "--sample-weight": None,  # tests/cli/test_train.py
        "--target": ["--target", "u"],
        "--weights": ["--weights", "other.w"],
        "--timeout": None,  # tests/cli/test_processes.py
    },
    "predict": {
        "--bits": None,  # tests/cli/test_doctor.py
        "--columns": ["--columns", "x=y"],
        "--separator": None,  # tests/training/test_tables.py
        "--out": ["--out", "out.csv"],
        "--raw": None,  # tests/cli/test_model_files.py
        "--weights": ["--weights", "other.w"],
        "--timeout": None,  # tests/cli/test_processes.py
    },
    "show": {
        "--shape": ["--shape", "p=3,2"],
        "--plan": ["--plan"],
        "--loss": ["--plan", "--loss", "huber"],
        "--dot": ["--dot", "graph.dot"],
        "--svg": ["--svg", "graph.svg"],
    },
    "explain": {
        "--at": ["--at", "P=1,Q=2"],
        "--shape": ["--at", "P=1,Q=2", "--shape", "P=3"],
        "--weights": ["--weights", "lecture.w"],
        "--seed": ["--seed", 7],
        "--output": None,  # tests/cli/test_explain.py
        "--html": ["--html", "page.html"],
    },
    "check": {
        "--bits": None,  # tests/cli/test_doctor.py
        "--columns": ["--columns", "x=y"],
        "--missing": None,  # tests/training/test_tables.py
        "--separator": None,  # tests/training/test_tables.py
        "--l1": ["--l1", 0.1],
        "--l2": ["--l2", 0.1],
        "--loss": ["--loss", "mean"],
        "--seed": ["--seed", -3],
        "--target": ["--target", "u"],
        "--weights": ["--weights", "other.w"],
        "--shape": None,  # below
        "--timeout": None,  # tests/cli/test_processes.py
    },
}


def test_every_command_and_option_is_in_the_tables(dtrain):
    assert set(EFFECTS) == set(USUAL) == set(COMMANDS) - {"train", "doctor"}
    for command, options in EFFECTS.items():
        assert options_of(dtrain, command) == set(options)


@pytest.mark.parametrize(
    ("command", "option"),
    [
        (command, option)
        for command, options in EFFECTS.items()
        for option in options
        if option not in ("--report", "--output", "--bits", "--timeout")
    ],
)
@pytest.mark.usefixtures("weights")
def test_every_option_changes_what_is_printed(dtrain, command, option):
    usual, words = USUAL[command], EFFECTS[command][option]
    if words is None:
        usual, words = WITHOUT_DATA, ["--shape", "p=2,3"]
    before, after = dtrain(*usual), dtrain(*usual, *words)
    assert before.code == after.code == 0, after.err
    assert before.out != after.out
    assert before.out == dtrain(*usual).out


def test_eval_gives_the_mean_loss(dtrain, weights):
    answer = dtrain(*USUAL["eval"])
    assert list(answer.table) == ["program", "ranks", "samples", "loss", "rmse", "r2"]
    columns = data()
    output = library.predict(load_program("model.py:net"), weights, [columns["x"]])
    loss = np.square(columns["t"] - output).mean()
    right = {"loss": loss, "rmse": loss**0.5, "r2": 1 - loss / columns["t"].var()}
    for name, value in right.items():
        assert float(answer.table[name]) == pytest.approx(value, rel=1e-5)
    assert answer.table["samples"] == "30"


@pytest.mark.usefixtures("weights")
def test_eval_reports_what_it_prints(dtrain, folder):
    answer = dtrain(*USUAL["eval"], "--report", "out.json")
    report = json.loads((folder / "out.json").read_text())
    assert list(report) == ["program", "samples", "loss", "accuracy", "rmse", "r2"]
    assert report["accuracy"] is None
    for name in ("loss", "rmse", "r2"):
        assert f"{report[name]:.6g}" == answer.table[name]
    kept = (folder / "net.w").read_bytes()
    answer = dtrain(*USUAL["eval"], "--report", "net.w")
    assert (answer.code, answer.out) == (2, "")
    assert (folder / "net.w").read_bytes() == kept


def test_eval_gives_the_accuracy_of_classes(dtrain):
    assert dtrain("mlp", "--epochs", 3, "--save", "mlp.w").code == 0
    trained = dtrain("mlp", "--epochs", 3).table
    answer = dtrain("eval", "mlp", "digits-heldout", "--weights", "mlp.w")
    assert answer.table["accuracy"] == trained["held-out accuracy"]
    assert answer.table["samples"] == "360"


def test_labels_and_one_hot_targets_are_the_same_classes(dtrain):
    words = ["mlp", "--epochs", 3, "--loss", "cross_entropy", "--save"]
    one_hot = dtrain(*words, "mlp.w").table
    labels = dtrain(*words, "labels.w", "--target", "label").table
    assert float(labels["held-out accuracy"].split()[0]) > 80
    for name in ("held-out accuracy", "loss", "weights_sha256"):
        assert one_hot[name] == labels[name]
    words = ["eval", "mlp", "digits-heldout", "--loss", "cross_entropy", "--weights"]
    for extra in (["labels.w", "--target", "label"], ["mlp.w"]):
        assert dtrain(*words, *extra).table["accuracy"] == labels["held-out accuracy"]


def test_predict_writes_what_predict_gives(dtrain, weights, folder):
    right = library.predict(load_program("model.py:net"), weights, [data()["x"]])
    for ending in ("npy", "npz", "csv"):
        answer = dtrain(*USUAL["predict"], "--out", f"out.{ending}")
        assert (answer.code, answer.out, answer.err) == (0, "", "")
    np.testing.assert_array_equal(np.load("out.npy"), right)
    with np.load("out.npz") as arrays:
        assert list(arrays) == ["net"]
        np.testing.assert_array_equal(arrays["net"], right)
    text = (folder / "out.csv").read_text()
    assert text == dtrain(*USUAL["predict"]).out
    lines = text.splitlines()
    assert lines[0] == "net"
    np.testing.assert_array_equal(np.float32(lines[1:]), right)


@pytest.mark.usefixtures("weights")
def test_predict_gives_several_outputs_by_name(dtrain, folder):
    words = ["predict", "model.py:both", "data.npz", "--weights", "both.w"]
    x = data()["x"]
    assert dtrain(*words, "--out", "out.npz").code == 0
    with np.load("out.npz") as arrays:
        assert sorted(arrays) == ["all", "sum"]
        np.testing.assert_allclose(arrays["sum"], 2 * x.sum(axis=1))
        np.testing.assert_allclose(arrays["all"], np.exp(-x))
    lines = dtrain(*words).out.splitlines()
    assert lines[0] == "sum,all_0,all_1,all_2,all_3"
    table = np.array([line.split(",") for line in lines[1:]], float)
    np.testing.assert_array_equal(table[:, 1:], np.exp(-x))
    before = {path.name for path in folder.iterdir()}
    answer = dtrain(*words, "--out", "out.npy")
    assert (answer.code, answer.out) == (2, "")
    assert "sum, all" in answer.err
    assert {path.name for path in folder.iterdir()} == before


def test_show_prints_the_graph(dtrain):
    for words, shapes in (([], {}), (["--shape", "x=4"], {"x": (4,)})):
        name = "net" if shapes else "line"
        answer = dtrain("show", f"model.py:{name}", *words)
        graph = load_program(f"model.py:{name}").trace(**shapes)
        assert answer.code == 0
        assert answer.out.startswith(str(graph) + "\n\n")
        levels = [x for x in answer.out.splitlines() if x.startswith("  level ")]
        assert len(levels) == len(graph.levels)
    assert dtrain("show", "lecture").out.endswith("\n  4 paths from weights to R\n")


def test_show_takes_the_shapes_of_the_zoo_s_data(dtrain):
    answer = dtrain("show", "mlp")
    assert "(32, 64)" in answer.out
    assert answer.out.startswith("mlp(x) -> mlp: 4 weights")


def test_show_prints_the_plan_of_a_backend(dtrain):
    plain = dtrain("show", "model.py:line", "--plan")
    steps = """\
%0 = multiply(weights[1], p)
%1 = add(%0, weights[0])
%2 = subtract((target), %1)
loss = vecdot(%2, %2)
slots[0] = sum(%2)
slots[1] = vecdot(%2, p)""".splitlines()
    head, title, *rest = plain.out.splitlines()
    assert head == "blocks of 64 samples: 6 steps; 832 bytes"
    assert title == "  for every block:"
    assert rest == ["    " + step for step in steps]
    steps = [step.replace("vecdot", "sum of multiply") for step in steps]
    fused = dtrain("show", "model.py:line", "--plan", "fused")
    head, _, loop, *rest = fused.out.splitlines()
    assert head == (
        "blocks of 64 samples: 6 steps, 6 of them in 1 loop of 1 kernel; 576 bytes"
    )
    assert re.fullmatch(
        "    loop over 64, kernel [0-9a-f]{6}: reads 4 arrays, writes 3", loop
    )
    assert rest == ["      " + step for step in steps]
    assert dtrain("show", "model.py:line", "--plan", "x").code == 2


def test_show_needs_no_shape_of_an_input_that_is_a_scalar(dtrain):
    assert dtrain("show", "lecture", "--shape", "P=2").code == 0


@pytest.mark.usefixtures("weights")
def test_check_names_the_weight_whose_gradient_is_wrong(dtrain):
    for extra in ([], ["data.csv"], ["--weights", "wrong.w"], ["--seed", 7]):
        answer = dtrain("check", "model.py:wrong", *extra)
        assert (answer.code, answer.err) == (1, "")
        verdicts = dict(line.split(maxsplit=1) for line in answer.out.splitlines())
        assert verdicts["W"].endswith("WRONG")


def test_check_draws_places_for_an_input_that_is_an_index(dtrain, folder):
    (folder / "table.py").write_text(
        "from dtrain import program, weight\n\n\n"
        "@program\ndef look(i, p):\n    return weight('T', 5)[i] * p\n"
    )
    answer = dtrain("check", "table.py:look")
    assert (answer.code, answer.err) == (0, "")
    assert answer.out.startswith("T ")


@pytest.mark.parametrize("program", ["lecture", "mlp"])
def test_check_passes_the_zoo(dtrain, program):
    answer = dtrain("check", program)
    assert answer.code == 0
    lines = answer.out.splitlines()
    graph_weights = library.init(
        getattr(library.zoo, program), shapes={"x": 64} if program == "mlp" else {}
    )
    assert [line.split()[0] for line in lines] == sorted(graph_weights)
    assert all(line.endswith("  ok") for line in lines)
