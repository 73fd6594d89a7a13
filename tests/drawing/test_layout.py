"""Drawings: nothing overlaps, and no edge crosses a node."""

import itertools
import re
import xml.etree.ElementTree as ET

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dtrain import program, weight, zoo
from dtrain.drawing.dot import dot
from dtrain.drawing.layout import Size, drawn, drawn_edges, layout, levels
from dtrain.drawing.svg import LARGEST, drawing
from dtrain.errors import UsageError


def random_graph(choices):
    """Return a graph of scalars whose edges follow the choices."""

    @program
    def wired(p, q):
        values = [p, q, weight("u"), weight("w")]
        for a, b in choices:
            x, y = values[a % len(values)], values[b % len(values)]
            values.append(np.sin(x) if a == b else x * y + 2)
        return sum(values[2:], values[0])

    return wired.trace()


choices = st.lists(st.tuples(st.integers(0, 40), st.integers(0, 40)), max_size=25)


@given(choices)
def test_nothing_overlaps(chosen):
    graph = random_graph(chosen)
    sizes = {i: Size(60 + 7 * (i % 5), 40 + 9 * (i % 4), 50) for i in drawn(graph)}
    placed = layout(graph, sizes)
    assert set(placed.edges) == set(drawn_edges(graph))
    for a, b in itertools.combinations(placed.boxes.values(), 2):
        assert a[2] < b[0] or b[2] < a[0] or a[3] < b[1] or b[3] < a[1]
    for edge, points in placed.edges.items():
        source = graph.nodes[edge.node].inputs[edge.input]
        assert points[0][0] == placed.boxes[source][2]
        assert points[-1][1] == placed.boxes[edge.node][0]
        for (_, end, _), (start, _, _) in itertools.pairwise(points):
            assert end < start  # curved between levels only,
            assert all(
                not (left < start and end < right)
                for left, _, right, _ in placed.boxes.values()
            )
        for left, right, y in points:  # straight inside them, beside the nodes
            for n, box in placed.boxes.items():
                if n not in (source, edge.node):
                    beside = right <= box[0] or box[2] <= left
                    assert beside or y <= box[1] or box[3] <= y
    for box in placed.boxes.values():
        assert 0 <= box[0] < box[2] <= placed.width
        assert 0 <= box[1] < box[3] <= placed.height


@given(choices)
def test_a_level_is_the_longest_path(chosen):
    graph = random_graph(chosen)
    level = levels(graph)
    for number, node in enumerate(graph.nodes):
        if number in level and node.inputs:
            inputs = [level[i] for i in node.inputs if i in level]
            assert level[number] == 1 + max(inputs)
    for number in graph.inputs.values():
        assert level[number] == 0


def test_the_lecture_s_levels():
    graph = zoo.lecture.trace()
    named = {graph.nodes[i].name: at for i, at in levels(graph).items()}
    assert named == {
        **{"P": 0, "Q": 0, "W0": 0, "A": 1, "B": 2, "W1": 2, "W2": 2},
        **{"C": 3, "D": 3, "E": 4, "F": 4, "R": 5},
    }


@pytest.mark.parametrize("name", sorted(zoo.ENTRIES))
def test_every_program_of_the_zoo_is_drawn_or_refused(name):
    entry = zoo.ENTRIES[name]
    columns = zoo.DATA[entry.data]().columns
    shapes = {key: columns[key].shape[1:] for key in entry.program.inputs}
    graph = entry.program.trace(**shapes)
    arrows = re.findall(r"(?m)^  \d+ -> \d+$", dot(graph))
    assert len(arrows) == len(drawn_edges(graph))
    if len(drawn(graph)) > LARGEST:
        with pytest.raises(UsageError, match=f"{len(drawn(graph)):,} nodes"):
            drawing(graph)
        return
    svg = drawing(graph)
    assert drawing(graph) == svg
    tree = ET.fromstring(svg)  # noqa: S314
    groups = tree.findall(".//{*}g")
    assert len(groups) == len(drawn(graph)) + len(drawn_edges(graph))


def test_the_edges_of_many_inputs_end_apart():
    @program
    def wide(p):
        return np.sum(np.stack([np.sin(k * p) for k in range(1, 30)]) * weight("w"))

    graph = wide.trace()
    sizes = {i: Size(60, 40 + 12 * len(graph.nodes[i].inputs)) for i in drawn(graph)}
    placed = layout(graph, sizes)
    for edges in (
        [e for e in placed.edges if e.node == number] for number in placed.boxes
    ):
        heights = sorted(placed.edges[edge][-1][2] for edge in edges)
        assert all(b - a >= 12 for a, b in itertools.pairwise(heights))


def test_dot_names_the_nodes():
    text = dot(zoo.lecture.trace())
    labels = re.findall(r'label="(\w+)\\n', text)
    assert labels == ["P", "Q", "W0", "W1", "W2", *"ABCDEFR"]


def test_names_are_escaped():
    @program
    def sharp(p):
        return weight('<w> & "x"') * p

    graph = sharp.trace()
    texts = "".join(ET.fromstring(drawing(graph)).itertext())  # noqa: S314
    assert '<w> & "x" · p' in texts
    assert r"<w> & \"x\"" in dot(graph)
