"""What the documents show is what happens."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from dtrain import check, program, train, weight, zoo
from dtrain.data import readers
from dtrain.drawing.svg import drawing
from tests.functions.page import page
from tests.mpirun import clean_environment

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
GUIDE = (ROOT / "docs/guide.md").read_text()
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(ROOT.glob("docs/*.md"))]


def blocks(page: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", page, re.DOTALL)


@pytest.fixture(scope="module")
def namespace(tmp_path_factory):
    """The names that the Python of README and guide leave behind, run in one go."""
    folder = tmp_path_factory.mktemp("readme")
    source = folder / "model.py"
    source.write_text("\n".join(blocks(README, "python") + blocks(GUIDE, "python")))
    names: dict[str, object] = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        exec(compile(source.read_text(), str(source), "exec"), names)  # noqa: S102
    return names


def test_the_readme_is_short():
    assert len(README.splitlines()) <= 160


def test_the_readme_trains_and_repeats_its_digest(namespace):
    assert namespace["again"].digest == namespace["run"].digest
    assert namespace["run"].report["loss"] < 0.01


def test_the_guide_stops_when_its_callback_asks(namespace):
    assert namespace["fitted"].report["message"].startswith("good enough")


def test_the_readme_prints_its_graph(namespace):
    assert f"{namespace['R'].trace()}\n" in blocks(README, "text")


def commands() -> list[str]:
    lines = "".join(blocks(README, "console") + blocks(GUIDE, "console")).splitlines()
    return [line[2:] for line in lines if " python -m dtrain " in line]


def test_the_documents_have_commands():
    assert len(commands()) == 10


def test_the_commands_of_the_documents_run(namespace, tmp_path):
    (tmp_path / "model.py").write_text(blocks(README, "python")[0])
    rows = zip(namespace["p"], namespace["q"], namespace["t"], strict=True)
    (tmp_path / "data.csv").write_text(
        "p,q,t\n" + "".join(f"{p},{q},{t}\n" for p, q, t in rows)
    )
    digests = set()
    for command in commands():
        words = re.sub("^mpirun .*-n [0-9] ", "", command).split()
        assert words[:3] == ["python", "-m", "dtrain"]
        done = subprocess.run(
            [sys.executable, *words[1:]],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == 0, done.stderr
        digests.update(re.findall("^weights_sha256 +(.*)", done.stdout, re.MULTILINE))
    assert len(digests) == 1
    assert (tmp_path / "R.csv").read_text().startswith("R\n")


def test_the_way_from_a_table_to_a_model_runs(tmp_path):
    """Each command shows the labels that the page shows; numbers may differ."""
    page = (ROOT / "docs/table.md").read_text()
    for name, source in zip(("table", "model"), blocks(page, "python"), strict=True):
        (tmp_path / f"{name}.py").write_text(source)
    for command in "\n".join(blocks(page, "console")).split("$ ")[1:]:
        line, _, shown = command.partition("\n")
        done = subprocess.run(
            ["/bin/bash", "-c", line.replace("python", sys.executable, 1)],
            cwd=tmp_path,
            env=clean_environment(),
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert done.returncode == 0, done.stderr
        said, right = (
            [each.split("  ")[0] for each in text.splitlines() if "  " in each]
            for text in (done.stdout, shown)
        )
        assert said == right
        if "--save" in line:
            assert "1 of 400 rows have a missing value" in done.stderr
            assert "validations without an improvement" in done.stdout


def test_the_examples_of_how_to_extend_train(monkeypatch):
    monkeypatch.setattr(readers, "READERS", readers.READERS.copy())
    names = {}
    for source in blocks((ROOT / "docs/extending.md").read_text(), "python"):
        exec(source, names)  # noqa: S102
    x = np.linspace(-1, 1, 20)
    net = program(lambda x: names["my_tanh"](weight("w", init=0.5) * x))
    assert check(net, {"x": x}, x, loss=names["LogCosh"]()).passed
    assert check(net, {"x": x}, x, penalty=names["spread"]).passed
    assert ".txt" in readers.READERS
    data = {"x": x, "t": np.tanh(2 * x)}
    run = train(net, data, epochs=60, learning_rate=0.05, optimizer=names["scaled"]())
    assert run.weights["w"] == pytest.approx(2, abs=0.1)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_file_that_is_named_is_there(page):
    found = re.findall(r"`([a-z]+/[a-z_/]+\.py)`", page.read_text())
    for file in found:
        assert any((ROOT / top / file).exists() for top in ("", "dtrain", "tests")), (
            file
        )


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_to_a_file_leads_somewhere(page):
    for link in re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text()):
        if "://" not in link:
            assert (page.parent / link).exists(), link


def test_the_drawing_of_the_lecture_is_what_show_draws():
    drawn = (ROOT / "docs" / "lecture.svg").read_text()
    assert drawn == drawing(zoo.lecture.trace())


def test_the_page_of_functions_makes_functions_that_train():
    pytest.importorskip("scipy.special")
    (source,) = re.findall(r"```python\n(.*?)```", page(), re.DOTALL)
    names: dict[str, object] = {}
    exec(source, names)  # noqa: S102
    for name in ("swish", "dawson"):
        own = names[name]
        net = program(lambda x, own=own: own(weight("w", init=0.7) * x))
        assert check(net, [np.linspace(-1, 1, 5)]).passed


def test_the_page_of_functions_is_that_of_the_tables():
    assert (ROOT / "docs" / "functions.md").read_text() == page()
