"""`dtrain train`: every option does something, and the default learns."""

import json
import re

import numpy as np
import pytest

import dtrain as library
from dtrain.cli.rows import OPTIONS
from dtrain.training.settings import Settings
from tests.cli.conftest import data, options_of
from tests.training.programs import digest

USUAL = ["model.py:net", "data.npz", "--epochs", 3, "--learning-rate", 0.1]
USUAL += ["--batch", 8, "--momentum", 0.5]

# option: (words, what of the report must be so); None: the digest must be another.
EFFECTS = {
    "--batch": (["--batch", "full"], {"batch": 30, "steps": 3}),
    "--backend": (["--backend", "numpy"], {"backend": "numpy"}),
    "--bits": (["--bits", "native"], {"bits": "native"}),
    "--block": (["--block", 3], {"block": 3, "blocks": 3}),
    "--clip-norm": (["--clip-norm", 0.01], None),
    "--columns": (["--columns", "x=y"], None),
    "--dtype": (["--dtype", "float64"], {"dtype": "float64"}),
    "--epochs": (["--epochs", 4], {"epochs": 4, "steps": 16}),
    "--execution": (["--execution", "levels"], {"execution": "levels"}),
    "--freeze": (["--freeze", "*b*"], None),
    "--rate": (["--rate", "*W*=0.5"], None),
    "--l1": (["--l1", 0.01], None),
    "--l2": (["--l2", 0.01], None),
    "--learning-rate": (["--learning-rate", 0.2], None),
    "--learning-rate-schedule": (["--learning-rate-schedule", "cosine"], None),
    "--loss": (["--loss", "mean"], None),
    "--missing": (["--missing", "skip"], {"rows_left_out": 0}),
    "--momentum": (["--momentum", 0.6], None),
    "--nesterov": (["--nesterov"], None),
    "--on-nonfinite": (["--on-nonfinite", "skip"], {"skipped_steps": 0}),
    "--optimizer": (["--optimizer", "rmsprop"], None),
    "--seed": (["--seed", -1], {"seed": -1}),
    "--target": (["--target", "u"], None),
    "--threads": (["--threads", 2], {"threads": 2}),
    "--validation": (["--validation", 0.25], {"validation_samples": 8}),
    "--validate-every": (
        ["--validation", 0.25, "--epochs", 5, "--validate-every", 2],
        {"validation_samples": 8},
    ),
    "--patience": (
        [*("--validation", 0.25, "--epochs", 9), *("--patience", 2, "--min-delta", 99)],
        {"stopped": "patience", "best_epoch": 1, "steps": 9},
    ),
    "--min-delta": (
        ["--validation", 0.25, "--min-delta", 99],
        {"best_epoch": 1, "stopped": "epochs"},
    ),
    "--restore-best": (["--validation", 0.25, "--restore-best"], {"stopped": "epochs"}),
    "--tolerance": (
        ["--epochs", 9, "--tolerance", 0.99],
        {"stopped": "converged", "converged": True, "steps": 16},
    ),
    "--verify-every": (["--verify-every", 1], {}),
    "--warmup": (["--warmup", 4], None),
    "--weight-decay": (["--weight-decay", 0.1], None),
}
# Of so small a program; and where nothing goes wrong.
SAME_BITS = {"--backend", "--bits", "--execution", "--threads"}
SAME_BITS |= {"--on-nonfinite", "--verify-every", "--missing"}
ELSEWHERE = {"--report", "--save", "--quiet", "--log-dir"}  # see elsewhere
ELSEWHERE |= {"--separator", "--timeout", "--checkpoint", "--resume", "--force"}
ELSEWHERE |= {"--timeout", "--checkpoint", "--resume", "--force"}
ELSEWHERE |= {"--sample-weight", "--class-weight"}
ELSEWHERE |= {"--save-every", "--save-seconds", "--keep", "--min-ranks"}


def report_of(dtrain, *words):
    answer = dtrain("train", *words, "--quiet", "--report", "report.json")
    assert answer.code == 0, answer.err
    with open("report.json") as file:
        return json.load(file)


def test_every_option_is_in_the_table(dtrain):
    assert options_of(dtrain, "train") == set(EFFECTS) | ELSEWHERE


@pytest.mark.parametrize("option", EFFECTS)
def test_every_option_has_its_effect(dtrain, option):
    words, right = EFFECTS[option]
    usual, other = report_of(dtrain, *USUAL), report_of(dtrain, *USUAL, *words)
    same = usual["weights_sha256"] == other["weights_sha256"]
    assert same == (option in SAME_BITS)
    found = {key: other[key] for key in right or {}}
    assert found == (right or {})


WIDE = """\
import numpy as np
from dtrain import layers, program

@program
def wide(x):
    left, right = (np.tanh(layers.dense(x, 700, name=name)) for name in ("l", "r"))
    left, right = layers.dense(left, 700, name="L"), layers.dense(right, 700, name="R")
    return np.sum(left * right)
"""


def test_execution_models_end_with_one_digest(dtrain, folder):
    """Of a program that is wide enough for threads."""
    (folder / "wide.py").write_text(WIDE)
    words = ["wide.py:wide", *USUAL[1:], "--target", "u", "--learning-rate", 1e-4]
    found = [
        report_of(dtrain, *words, "--execution", name, "--threads", threads)
        for name, threads in (("sequential", 1), ("levels", 2), ("dataflow", 2))
    ]
    assert [report["threads"] for report in found] == [1, 2, 2]
    assert len({report["weights_sha256"] for report in found}) == 1


def test_every_schedule_gives_other_bits(dtrain):
    digests = {
        report_of(dtrain, *USUAL, "--learning-rate-schedule", name)["weights_sha256"]
        for name in ("constant", "step", "cosine")
    }
    assert len(digests) == len(library.schedules.SCHEDULES) == 3


def test_the_command_line_has_what_train_has(dtrain):
    """And the same bits."""
    run = library.train(
        _net(),
        data(),
        epochs=3,
        learning_rate=0.1,
        batch=8,
        optimizer=library.optimizers.sgd(momentum=0.5),
    )
    report = report_of(dtrain, *USUAL)
    assert report["weights_sha256"] == run.digest
    assert set(report) == set(run.report)
    for key in ("loss_history", "samples", "weights", "block", "blocks", "steps"):
        assert report[key] == run.report[key]
    words = {option.flag: option.name for option in OPTIONS}
    options = {words[flag] for flag in EFFECTS}
    options |= {"penalty", "checkpoint", "min_ranks", "timeout"}  # tested elsewhere
    options.add("separator")
    options |= {"sample_weight", "class_weight"}
    assert set(Settings.__dataclass_fields__) <= options


def test_weights_of_samples_and_classes_are_those_of_the_library(dtrain, folder):
    rng = np.random.default_rng(2)
    columns = {
        "x": data()["x"],
        "k": rng.integers(0, 2, 30),
        "w": rng.uniform(0, 2, 30),
    }
    np.savez(folder / "weighted.npz", **columns)
    options = {"target": "k", "sample_weight": "w", "loss": "binary_cross_entropy"}
    words = ["model.py:net", "weighted.npz", "--epochs", 3, "--learning-rate", 0.1]
    words += ["--loss", options["loss"], "--target", "k", "--sample-weight", "w"]
    for class_weight, texts in (
        ("balanced", ["balanced"]),
        ({0: 0.5, 1: 3.0}, ["0=0.5", "1=3"]),
    ):
        run = library.train(
            _net(),
            columns,
            epochs=3,
            learning_rate=0.1,
            class_weight=class_weight,
            **options,
        )
        given = [word for text in texts for word in ("--class-weight", text)]
        report = report_of(dtrain, *words, *given, "--save", "w.safetensors")
        assert report["weights_sha256"] == run.digest
    answer = dtrain("eval", *words[:2], *words[6:], "--weights", "w.safetensors")
    assert answer.code == 0, answer.err
    right = library.evaluate(_net(), run, columns, **options)
    assert answer.table["loss"] == f"{right['loss']:.6g}"


def _net():
    from dtrain.cli.sources import load_program

    return load_program("model.py:net")


def test_a_table_with_gaps_text_and_another_separator(dtrain, folder):
    """Text and gaps count only in columns that are read; categories are reported."""
    (folder / "city.py").write_text(CITY)
    rows = ["Bonn|1|x|2", "Köln||y|3", "NA|1|z|9", "Ulm|3||4", "Bonn|4|9|8"]
    (folder / "city.csv").write_text("where|p|note|t\n" + "\n".join(rows) + "\n")
    words = ["city.py:R", "city.csv", "--columns", "city=where", "--target", "t"]
    answer = dtrain("train", *words, "--separator", "|")
    assert answer.code == 2
    assert "city.csv: row 2 (line 3), column 'p' is nan" in answer.err
    words += ["--separator", "|", "--missing", "skip", "--report", "r.json"]
    answer = dtrain("train", *words)
    assert answer.code == 0, answer.err
    said = "city.csv: 2 of 5 rows have a missing value and are left out"
    assert said in answer.err
    report = json.loads((folder / "r.json").read_text())
    assert (report["samples"], report["rows_left_out"]) == (3, 2)
    assert report["categories"] == {"city": ["Bonn", "Ulm"]}


CITY = """\
from dtrain import program, weight

@program
def R(city, p):
    return weight("W", (3,))[city] + weight("a") * p
"""


def test_save_writes_the_weights(dtrain, folder):
    answer = dtrain("train", *USUAL, "--save", "out.safetensors")
    assert answer.code == 0
    weights = library.load(folder / "out.safetensors")
    assert digest(weights) == answer.table["weights_sha256"]


def test_a_run_goes_on_from_its_checkpoints(dtrain, folder):
    saved = [*USUAL, "--checkpoint", "runs", "--keep", 1, "--save-every", 1000]
    first = report_of(dtrain, *saved)
    assert [path.name for path in (folder / "runs").iterdir()] == [
        "step-00000012.safetensors"
    ]
    assert digest(library.load("runs")) == first["weights_sha256"]
    refused = dtrain("train", *saved)
    assert refused.code == 2
    assert "continue it with --resume" in refused.err
    again = report_of(dtrain, *saved, "--resume")
    assert again["resumed_from_step"] == 12
    for key in ("weights_sha256", "loss_history", "steps"):
        assert again[key] == first[key]
    more = [*saved, "--resume", "--epochs", 5, "--save-seconds", 9]
    longer = report_of(dtrain, *more)
    whole = report_of(dtrain, *USUAL, "--epochs", 5)
    assert longer["weights_sha256"] == whole["weights_sha256"]
    refused = dtrain("train", *more, "--seed", 3)
    assert refused.code == 2
    assert "seed was 0 and is 3" in refused.err
    forced = dtrain("train", *more, "--seed", 3, "--force")
    assert forced.code == 0
    assert "resuming from step 20" in forced.err
    evaluated = dtrain("eval", "model.py:net", "data.npz", "--weights", "runs")
    assert evaluated.code == 0


def test_what_is_written_may_lie_beside_what_is_read(dtrain, folder):
    words = [*USUAL, "--checkpoint", "a/run", "--resume"]
    for _ in range(2):  # on the first start there is no such folder yet
        files = ["--report", "a/run/report.json", "--save", "a/weights"]
        assert dtrain("train", *words, *files).code == 0
    words = ["eval", "model.py:net", "data.npz", "--weights", "a/run"]
    assert dtrain(*words, "--report", "a/run/eval.json").code == 0
    words = ["train", "model.py:line", "data", "--epochs", 1]
    assert dtrain(*words, "--save", "data/weights").code == 0
    # the zoo's data is no file
    words = ["train", "lecture", "lecture", "--epochs", 1]
    assert dtrain(*words, "--save", "lecture").code == 0
    assert sorted(library.load(folder / "lecture")) == ["W0", "W1", "W2"]


def test_report_and_table_agree(dtrain):
    answer = dtrain("train", *USUAL, "--report", "report.json")
    with open("report.json") as file:
        report = json.load(file)
    table = answer.table
    assert table["weights_sha256"] == report["weights_sha256"]
    assert table["ranks"].startswith("1 on ")
    assert float(table["loss"].split()[0]) == pytest.approx(report["loss"], rel=1e-5)
    assert list(table) == [
        "program",
        "ranks",
        "samples",
        "weights",
        "blocks",
        "epochs",
        "loss",
        "seconds",
        "samples/s",
        "weights_sha256",
    ]


def test_quiet_prints_nothing(dtrain):
    answer = dtrain("train", *USUAL, "--quiet")
    assert (answer.code, answer.out, answer.err) == (0, "", "")


def test_there_is_one_line_an_epoch_at_most_where_there_is_no_terminal(dtrain):
    answer = dtrain("train", *USUAL)
    lines = answer.err.splitlines()
    assert 1 <= len(lines) <= 3
    epochs = [
        int(re.match(r"epoch (\d+)  step \d+/12  batch loss ", x)[1]) for x in lines
    ]
    assert epochs == sorted(set(epochs))
    assert epochs[-1] == 3
    assert "\x1b" not in answer.out + answer.err


def test_the_default_learns_the_digits(dtrain):
    answer = dtrain()
    assert answer.code == 0
    table = answer.table
    assert table["program"] == "mlp"
    assert table["samples"] == "1,437"
    assert float(table["held-out accuracy"].removesuffix(" %")) >= 95


MLP = ["--batch", 128, "--block", 16, "--optimizer", "adam"]  # the zoo's own


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["train"],
        ["mlp"],
        ["train", "mlp"],
        ["mlp", "digits"],
        ["dtrain.zoo.mlp:mlp", "digits", *MLP],
    ],
    ids=lambda words: " ".join(map(str, words)) or "nothing",
)
def test_without_a_command_or_a_program_the_default_is_meant(dtrain, words):
    answer = dtrain(*words, "--epochs", 1)
    assert answer.code == 0, answer.err
    right = dtrain("train", "mlp", "digits", "--epochs", 1)
    assert answer.table["weights_sha256"] == right.table["weights_sha256"]


@pytest.mark.parametrize(
    "words",
    [
        ["model.py:net", "--epochs", 1, "data.npz"],
        ["--epochs", 1, "model.py:net", "data.npz"],
        ["model.py:net", "data.npz", "--epochs", 1],
    ],
)
def test_options_stand_anywhere(dtrain, words):
    report = report_of(dtrain, *words)
    assert (report["program"], report["samples"], report["epochs"]) == ("net", 30, 1)


def test_an_option_overrides_the_zoo_s(dtrain):
    one = report_of(dtrain, "lecture", "--epochs", 2)
    assert (one["epochs"], one["batch"]) == (2, 1000)
    two = report_of(dtrain, "lecture", "--epochs", 2, "--learning-rate", 0.1)
    assert one["weights_sha256"] != two["weights_sha256"]


DATA = {
    "npz": "data.npz",
    "csv": "data.csv",
    "folder": "data",
    "path": "./data.csv",
}


def test_data_and_programs_come_by_every_kind_of_name(dtrain, folder):
    package = folder / "shop"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "models.py").write_text((folder / "model.py").read_text())
    programs = ["model.py:line", str(folder / "model.py") + ":line"]
    programs += ["model:line", "shop.models:line", "shop/models.py:line"]
    # both forms of data have one free column, t; the .npz has more, but a column t
    digests = {
        report_of(dtrain, program, source, "--epochs", 1)["weights_sha256"]
        for program in programs
        for source in DATA.values()
    }
    assert len(digests) == 1


def test_a_program_file_imports_its_neighbours(dtrain, folder):
    (folder / "parts").mkdir()
    (folder / "parts" / "helper_of_main.py").write_text("SCALE = 2.0\n")
    (folder / "parts" / "main.py").write_text(
        "from helper_of_main import SCALE\n"
        "from dtrain import program, weight\n"
        "@program\n"
        "def scaled(p):\n"
        "    return SCALE * weight('W') * p\n"
    )
    report = report_of(dtrain, "parts/main.py:scaled", "data.csv", "--epochs", 1)
    assert report["program"] == "scaled"


def test_a_range_of_columns_makes_a_vector(dtrain, folder):
    columns = data()
    names = [f"pixel_{i}" for i in range(4)]
    rows = np.column_stack([columns["x"], columns["t"]])
    lines = [",".join([*names, "t"]), *(",".join(map(repr, r)) for r in rows.tolist())]
    (folder / "pixels.csv").write_text("\n".join(lines))
    pixels = report_of(
        dtrain, "model.py:net", "pixels.csv", "--columns", "x=pixel_0:pixel_3"
    )
    assert (
        pixels["weights_sha256"]
        == (report_of(dtrain, "model.py:net", "data.npz")["weights_sha256"])
    )
