"""The page of an explanation, in a browser."""

import math

import numpy as np
import pytest

from dtrain import base_function, init, layers, loss_and_gradient, program, weight, zoo
from dtrain.errors import UsageError
from dtrain.explain.explanation import Explanation
from dtrain.explain.javascript import FUNCTIONS
from dtrain.explain.page import page

POINT = {"P": 0.3, "Q": 1.2}


def explained(model, point, weights=None):
    """Return the explanation of a program at a point."""
    shapes = {name: np.shape(value) for name, value in point.items()}
    if weights is None:
        weights = init(model, shapes=shapes)
    return Explanation(model, model.trace(**shapes), point, weights)


def trained(model, point, weights):
    """Return output and gradient, computed by the engine."""
    sample = {name: np.array([value]) for name, value in point.items()}
    return loss_and_gradient(model, weights, sample, loss="mean")


@program
def recurrent(p, q):
    h = 0.1
    for t in range(4):
        h = np.tanh(weight("W") * h + weight("U") * (p if t % 2 else q) + weight("b"))
    return h


@program
def pieces(p):
    w, u = weight("w", init=0.7), weight("u", init=-0.3)
    y = layers.erf(w * p) + layers.gammaln(w + 3) + np.where(p > u, p**w, w / p)
    return y + np.maximum(w, u) * np.hypot(p, w) - abs(u) * np.logaddexp(w, p)


@program
def vectors(x):
    return np.sum(np.tanh(layers.dense(x, 3, name="hidden")))


@program
def ladder(p):
    x = weight("w") * p
    for _ in range(30):
        x = np.sin(x) + np.cos(x)
    return x


@pytest.fixture
def lecture(opened):
    """Open the page of the lecture's example."""
    return opened(page(explained(zoo.lecture, POINT)))


@pytest.mark.parametrize(
    ("model", "point"),
    [(zoo.lecture, POINT), (recurrent, {"p": 0.5, "q": -1.0}), (pieces, {"p": 0.4})],
    ids=lambda each: getattr(each, "name", ""),
)
def test_the_numbers_are_those_of_loss_and_gradient(opened, model, point):
    weights = init(model)
    output, gradient = trained(model, point, weights)
    shown = opened(page(explained(model, point, weights)))
    assert float(shown.text("#output")) == output
    names = shown.texts("#weights tbody button")
    assert sorted(names) == sorted(gradient)
    for k, name in enumerate(names):
        row = f"#weight-{k}"
        assert float(shown.text(f"{row} .value")) == weights[name]
        assert float(shown.text(f"{row} .gradient")) == gradient[name]
        shown.click(f"{row} button")
        printed = f"{gradient[name]:.12g}"
        assert float(shown.text("#propagated")) == float(printed)
        assert float(shown.text("#sum")) == pytest.approx(gradient[name], rel=1e-11)
        products = map(float, shown.texts("#paths tbody td.product"))
        assert math.fsum(products) == pytest.approx(gradient[name], rel=1e-10)
    assert shown.complaints() == []


def test_the_sums_of_the_lecture_are_equal_to_all_printed_digits(lecture):
    for k in range(3):
        lecture.click(f"#weight-{k} button")
        assert lecture.text("#sum") == lecture.text("#propagated")


@pytest.mark.parametrize(
    ("model", "point", "moved"),
    [
        (zoo.lecture, POINT, {"P": -1.25, "W1": 0.5, "Q": 0.125}),
        (recurrent, {"p": 0.5, "q": -1.0}, {"p": 2.0, "W": -0.75}),
        (pieces, {"p": 0.4}, {"p": 1.5, "w": -1.25, "u": 0.5}),
    ],
    ids=lambda each: getattr(each, "name", ""),
)
def test_sliders_compute_what_python_computes(opened, model, point, moved):
    weights = init(model)
    graph = model.trace()
    shown = opened(page(explained(model, point, weights)))
    for name, value in moved.items():
        number = {**graph.inputs, **graph.weights}[name]
        shown.set(f"#number-{number}", value)
    there = {name: moved.get(name, value) for name, value in point.items()}
    weights |= {k: np.array(v) for k, v in moved.items() if k in weights}
    output, gradient = trained(model, there, weights)
    close = {"rel": 1e-12, "abs": 1e-12, "nan_ok": True}
    assert float(shown.text("#output")) == pytest.approx(output, **close)
    for k, name in enumerate(shown.texts("#weights tbody button")):
        found = float(shown.text(f"#weight-{k} .gradient"))
        assert found == pytest.approx(float(gradient[name]), **close)
    again = explained(model, there, weights)
    passed = shown.script("return passed")
    for edge, value in again.passed.items():
        assert passed[f"{edge.node}:{edge.input}"] == pytest.approx(
            float(value), **close
        )
    assert shown.complaints() == []


def test_a_slider_moves_and_can_be_reset(lecture):
    before = lecture.text("#output"), lecture.text("#weight-0 .gradient")
    lecture.set("#range-0", 2)
    assert lecture.script("return document.getElementById('number-0').value") == "2"
    assert "P = 2" in lecture.text("#point")
    assert lecture.text("#output") != before[0]
    lecture.click("#reset")
    after = lecture.text("#output"), lecture.text("#weight-0 .gradient")
    assert [float(text) for text in after] == pytest.approx(
        [float(text) for text in before], rel=1e-14
    )


def test_keys_step_forward_and_backward(lecture):
    from selenium.webdriver import Keys

    assert lecture.text("#progress") == "Start"
    assert lecture.texts(".edge .v") == [""] * 12
    lecture.press(Keys.ARROW_RIGHT, Keys.ARROW_RIGHT)
    assert lecture.text("#progress") == "Forward 2 of 7, level 2"
    assert lecture.text("#step .equation").startswith("B = f0(A, Q)\n = f0(")
    assert lecture.texts(".node.now .name") == ["B"]
    lecture.press(Keys.ARROW_LEFT)
    assert lecture.texts(".node.now .name") == ["A"]
    lecture.press(Keys.END)
    assert lecture.text("#progress") == "Backward 12 of 12"
    assert all(lecture.texts(".edge .v") + lecture.texts(".edge .x"))
    lecture.press(Keys.HOME)
    assert lecture.text("#progress") == "Start"


def test_backward_steps_show_the_transfer_function(lecture):
    said = []
    while not lecture.script("return document.getElementById('next').disabled"):
        lecture.click("#next")
        said.append(lecture.text("#step .equation").split("\n")[0])
    assert said[7:] == [
        "vR = 1",
        "vF = vR · E",
        "vE = vR · F",
        "vD = vF · F · (1 − F)",
        "vC = vE · (1 − E²)",
        "vB = vC · W1 + vD · W2",
        "vA = vB · cos(A)",
        "vW2 = vD · B",
        "vW1 = vC · B",
        "vW0 = vA · P",
        "vQ = vB",
        "vP = vA · W0",
    ]


def test_a_weight_is_reached_and_selected_by_keys(lecture):
    from selenium.webdriver import Keys

    focus = "return document.activeElement.dataset.node || document.activeElement.id"
    seen = []
    while not seen or (seen[-1] != "2" and len(seen) < 20):
        lecture.press(Keys.TAB)
        seen.append(lecture.script(focus))
    assert {"next", "last", "board"} <= set(seen)
    outline = "return getComputedStyle(document.activeElement.querySelector('rect'))"
    assert lecture.script(f"{outline}.strokeWidth") == "4px"
    lecture.press(Keys.ENTER)
    pressed = lecture.script("return document.activeElement.ariaPressed")
    assert pressed == "true"
    lit = sorted(lecture.texts(".node.lit .name"))
    assert lit == ["A", "B", "C", "D", "E", "F", "R", "W0"]
    assert len(lecture.texts(".edge.lit")) == 8
    lecture.click("#paths tbody button")
    assert sorted(lecture.texts(".node.lit .name")) == ["A", "B", "C", "E", "R", "W0"]
    lecture.press(Keys.ESCAPE)
    assert lecture.texts(".node.lit .name") == []


def test_only_the_page_is_requested(lecture):
    lecture.click("#last")
    requests = lecture.requests()
    assert len(requests) == 1
    assert requests[0].startswith("file:")
    assert lecture.complaints() == []


@pytest.mark.parametrize("width", [360, 1280])
@pytest.mark.parametrize(
    ("model", "point"), [(zoo.lecture, POINT), (vectors, {"x": np.arange(4.0)})]
)
def test_the_page_is_as_wide_as_the_window(opened, width, model, point):
    shown = opened(page(explained(model, point)), width)
    shown.click("#weights button")
    for step in ("#next", "#last"):
        shown.click(step)
        overflow = "document.documentElement.scrollWidth - innerWidth"
        assert shown.script(f"return {overflow}") <= 0
        inside = shown.script(
            "const box = document.querySelector('.node.now').getBoundingClientRect();"
            "return box.left >= 0 && box.right <= innerWidth"
        )
        assert inside


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_has_enough_contrast_in_light_and_dark(lecture, scheme):
    feature = {"name": "prefers-color-scheme", "value": scheme}
    lecture.chrome.execute_cdp_cmd(
        "Emulation.setEmulatedMedia", {"features": [feature]}
    )
    lecture.click("#last")
    colours = lecture.script(
        "const fill = (s) => getComputedStyle(document.querySelector(s)).fill;"
        "return [fill('.node.function rect'), fill('.graph .name'),"
        " fill('.graph .formula'), fill('.graph .x'), fill('.graph .v')]"
    )
    lecture.chrome.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})
    paper, *inks = map(luminance, colours)
    for ink in inks:
        high, low = max(paper, ink), min(paper, ink)
        assert (high + 0.05) / (low + 0.05) >= 4.5  # WCAG 2, level AA


def luminance(colour):
    """Return the luminance of a CSS colour, as defined by WCAG 2."""
    channels = [int(c) / 255 for c in colour[4:-1].split(",")]
    linear = [
        c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels
    ]
    return float(np.dot(linear, [0.2126, 0.7152, 0.0722]))


def test_labels_do_not_overlap(opened):
    shown = opened(page(explained(recurrent, {"p": 0.5, "q": -1.0})))
    shown.click("#last")
    boxes = shown.script(
        "return [...document.querySelectorAll('.edge text, .node rect')]"
        ".map((each) => each.getBBox())"
        ".map((box) => [box.x, box.y, box.x + box.width, box.y + box.height])"
    )
    for i, a in enumerate(boxes):
        for b in boxes[:i]:
            apart = a[2] <= b[0] or b[2] <= a[0] or a[3] <= b[1] or b[3] <= a[1]
            assert apart, (a, b)


def test_arrays_are_summarised(opened):
    point = {"x": np.arange(4.0)}
    weights = init(vectors, shapes={"x": 4})
    gradient = trained(vectors, point, weights)[1]["hidden.W"]
    shown = opened(page(explained(vectors, point, weights)))
    assert "arrays" in shown.text("#no-sliders")
    shown.click("#weight-0 button")
    assert shown.text("#sum") == shown.text("#propagated")
    assert shown.text("#sum").startswith("(3, 4) from ")
    assert f"mean {gradient.mean():.4g}".replace("-", "−") in shown.text("#sum")
    assert shown.complaints() == []


def test_a_function_without_javascript_disables_the_sliders(opened, monkeypatch):
    monkeypatch.delitem(FUNCTIONS, "tanh")
    shown = opened(page(explained(recurrent, {"p": 0.5, "q": -1.0})))
    assert shown.text("#no-sliders").endswith("tanh has no translation to JavaScript.")
    assert shown.texts("#sliders input") == []
    shown.click("#last")
    assert all(shown.texts(".edge .v"))
    assert shown.complaints() == []


def test_a_custom_function_may_have_the_name_of_a_base_function(opened):
    @base_function(vjp=lambda v, y, _x: (v * (1 - y * y),))
    def square(x):
        return np.tanh(x)

    @program
    def own(p):
        return square(weight("w") * p)

    explanation = explained(own, {"p": 0.5})
    shown = opened(page(explanation))
    shown.set("#number-0", 0.75)
    output, gradient = trained(own, {"p": 0.75}, {"w": explanation.given["w"]})
    assert float(shown.text("#output")) == pytest.approx(output, rel=1e-14)
    derivative = float(shown.text("#weight-0 .gradient"))
    assert derivative == pytest.approx(float(gradient["w"]), rel=1e-14)
    assert shown.texts(".node.output .formula") == ["square(x₂)"]


def test_too_many_paths_are_counted(opened):
    shown = opened(page(explained(ladder, {"p": 0.4})))
    shown.click("#weight-0 button")
    assert f"{2**30:,} paths, too many" in shown.text("#too-many")
    assert len(shown.texts(".edge.lit")) == 121
    assert shown.complaints() == []


def test_a_graph_too_large_to_be_drawn_is_refused():
    @program
    def long(p):
        for _ in range(700):
            p = np.sin(p)
        return weight("w") * p

    with pytest.raises(UsageError, match=r"703 nodes.*--dot"):
        page(explained(long, {"p": 0.4}))


def test_names_of_the_program_are_escaped(opened):
    @program
    def sharp(p):
        with_tag = weight("</script><b>w") * p
        return with_tag + weight("a&b") + weight("<!--<script>{{data}}")

    shown = opened(page(explained(sharp, {"p": 1.0})))
    names = ["</script><b>w", "a&b", "<!--<script>{{data}}"]
    assert shown.texts("#weights button") == names
    assert set(names) <= set(shown.texts(".node .name"))
    assert shown.complaints() == []


def test_values_that_are_not_finite_are_shown(opened):
    @program
    def gone(p):
        return np.log(weight("w", init=-1.0) * p) + weight("b", init=0.0) / (p - p)

    shown = opened(page(explained(gone, {"p": 1.0})))
    assert shown.text("#output") == "NaN"
    shown.click("#weight-0 button")
    shown.click("#last")
    assert shown.complaints() == []
