"""A file of weights remembers what is needed to evaluate and predict again."""

import json

import numpy as np
import pytest

import dtrain as library
from dtrain.checkpoint.model import facts_of

pytestmark = pytest.mark.usefixtures("tables")

PROGRAM = """\
import numpy as np
from dtrain import layers, program, weight


@program
def two(x):
    return layers.dense(x, 1, name="o")[0]


@program
def three(x):
    return layers.dense(x, 3, name="o")


@program
def house(x, kind):
    return weight("price", 3)[kind] * x
"""
TRAIN = ["--learning-rate", 0.5, "--epochs", 30, "--save", "w.safetensors"]


@pytest.fixture
def tables(folder):
    rng = np.random.default_rng(0)
    (folder / "classes.py").write_text(PROGRAM)
    x = rng.standard_normal((60, 2))
    sort = np.argmax(x @ rng.standard_normal((2, 3)), axis=1)
    kinds = np.array(["flat", "house", "shed"])
    rows = ["a,b,yes,sort,kind,size,price"]
    for i in range(60):
        kind = kinds[i % 3]
        yes = int(x[i, 0] > 0)
        rows.append(f"{x[i, 0]},{x[i, 1]},{yes},{sort[i]},{kind},{i + 1},{i % 3 * i}")
    (folder / "train.csv").write_text("\n".join(rows) + "\n")
    return folder


def trained(dtrain, program, *words):
    answer = dtrain("train", f"classes.py:{program}", "train.csv", *TRAIN, *words)
    assert answer.code == 0, answer.err
    return library.load("w.safetensors")


BINARY = ["--columns", "x=a,b", "--target", "yes", "--loss", "binary_cross_entropy"]


def test_eval_uses_loss_columns_and_target_of_the_file(dtrain):
    weights = trained(dtrain, "two", *BINARY)
    assert weights.facts["columns"] == {"x": ["a", "b"]}
    assert weights.facts["target"] == ["yes"]
    answer = dtrain("eval", "classes.py:two", "train.csv", "--weights", "w.safetensors")
    assert answer.code == 0, answer.err
    assert answer.table["accuracy"].endswith("%")
    program = load_program("two")
    said = library.evaluate(program, "w.safetensors", "train.csv")
    assert answer.table["loss"] == f"{said['loss']:.6g}"


def load_program(name):
    from dtrain.cli.sources import load_program

    return load_program(f"classes.py:{name}")


def test_another_loss_is_refused(dtrain):
    trained(dtrain, "two", *BINARY)
    words = ["eval", "classes.py:two", "train.csv", "--weights", "w.safetensors"]
    answer = dtrain(*words, "--loss", "square")
    assert answer.code == 2
    assert "trained with loss 'binary_cross_entropy', not 'square'" in answer.err
    assert dtrain(*words, "--loss", "binary_cross_entropy").code == 0


def test_predict_gives_probabilities_and_labels(dtrain):
    trained(dtrain, "two", *BINARY)
    words = ["predict", "classes.py:two", "train.csv", "--weights", "w.safetensors"]
    assert dtrain(*words, "--out", "p.npz").code == 0
    assert dtrain(*words, "--raw", "--out", "raw.npy").code == 0
    found, logits = np.load("p.npz"), np.load("raw.npy")
    np.testing.assert_allclose(
        found["probability"], 1 / (1 + np.exp(-logits)), rtol=1e-6
    )
    np.testing.assert_array_equal(found["label"], logits > 0)
    assert dtrain(*words, "--out", "p.npy").code == 0
    np.testing.assert_array_equal(np.load("p.npy"), found["probability"])
    answer = dtrain(*words)
    assert answer.out.splitlines()[0] == "probability,label"


def test_probabilities_of_several_classes_add_up(dtrain):
    words = ["--columns", "x=a,b", "--target", "sort", "--loss", "cross_entropy"]
    trained(dtrain, "three", *words)
    words = ["predict", "classes.py:three", "train.csv", "--weights", "w.safetensors"]
    assert dtrain(*words, "--out", "p.npz").code == 0
    found = np.load("p.npz")
    assert found["probability"].shape == (60, 3)
    np.testing.assert_allclose(found["probability"].sum(axis=1), 1, rtol=1e-6)
    np.testing.assert_array_equal(
        found["label"], np.argmax(found["probability"], axis=1)
    )


def test_text_classes_are_predicted_as_text(dtrain):
    words = ["--columns", "x=a,b", "--target", "kind", "--loss", "cross_entropy"]
    trained(dtrain, "three", *words)
    words = ["predict", "classes.py:three", "train.csv", "--weights", "w.safetensors"]
    answer = dtrain(*words)
    assert answer.code == 0, answer.err
    labels = {line.rsplit(",", 1)[1] for line in answer.out.splitlines()[1:]}
    assert labels <= {"flat", "house", "shed"}


def test_categories_are_coded_as_in_training(dtrain, folder):
    words = ["--columns", "x=size", "--columns", "kind=kind", "--target", "price"]
    trained(dtrain, "house", *words, "--learning-rate", 1e-4)
    (folder / "next.csv").write_text("kind,size\nshed,2\nflat,3\n")
    words = ["predict", "classes.py:house", "next.csv", "--weights", "w.safetensors"]
    answer = dtrain(*words)
    assert answer.code == 0, answer.err
    price = library.load("w.safetensors")["price"]
    outputs = [float(line) for line in answer.out.splitlines()[1:]]
    np.testing.assert_allclose(outputs, [2 * price[2], 3 * price[0]], rtol=1e-6)
    (folder / "next.csv").write_text("kind,size\nbarn,2\n")
    answer = dtrain(*words)
    assert answer.code == 2
    assert "barn" in answer.err


def test_other_columns_may_be_named_for_another_table(dtrain, folder):
    trained(dtrain, "two", *BINARY)
    text = (folder / "train.csv").read_text().replace("a,b,yes", "p,q,answer", 1)
    (folder / "other.csv").write_text(text)
    words = ["eval", "classes.py:two", "other.csv", "--weights", "w.safetensors"]
    answer = dtrain(*words)
    assert answer.code == 2
    answer = dtrain(*words, "--columns", "x=p,q", "--target", "answer")
    assert answer.code == 0, answer.err


def test_checkpoints_remember_the_same(dtrain):
    trained(dtrain, "two", *BINARY, "--checkpoint", "run")
    words = ["eval", "classes.py:two", "train.csv", "--weights"]
    one, two = (dtrain(*words, each).table for each in ("w.safetensors", "run"))
    assert one == two


def test_a_changed_program_is_warned_of(dtrain, folder):
    trained(dtrain, "two", *BINARY)
    changed = PROGRAM.replace(
        'return layers.dense(x, 1, name="o")[0]',
        'return 2 * layers.dense(x, 1, name="o")[0]',
    )
    (folder / "classes.py").write_text(changed)
    words = ["eval", "classes.py:two", "train.csv", "--weights", "w.safetensors"]
    answer = dtrain(*words)
    assert answer.code == 0
    assert "not the one that the weights were trained with" in answer.err


def test_a_run_in_memory_remembers_too():
    program = load_program("two")
    options = {"loss": "binary_cross_entropy", "columns": {"x": ["a", "b"]}}
    run = library.train(
        program, "train.csv", epochs=2, learning_rate=0.1, target="yes", **options
    )
    assert "accuracy" in library.evaluate(program, run, "train.csv")
    arrays = {"x": np.ones((3, 2))}  # no such columns: the input's own name
    assert library.predict(program, run, arrays).shape == (3,)
    assert json.dumps(run.model) == json.dumps(facts_of(run))


def test_files_of_others_have_no_facts(tmp_path):
    from safetensors.numpy import save_file

    save_file({"a": np.ones(2)}, tmp_path / "w.safetensors")
    found = library.load(tmp_path / "w.safetensors")
    assert found.facts == {}
    assert found.categories == {}
