"""Flow graphs: the slide's, sharing, names, levels, fingerprints."""

# A transfer function is given all that it might need; a test's name is its docstring.
# ruff: noqa: ARG005, D102

from __future__ import annotations

import textwrap
from typing import Any

import numpy as np
import pytest

from dtrain import (
    base_function,
    layers,
    loss_and_gradient,
    named,
    predict,
    program,
    scope,
    weight,
    zoo,
)
from dtrain.errors import ProgramError
from dtrain.tracing.fingerprint import fingerprint
from dtrain.tracing.trace import Program


def text(block: str) -> str:
    return textwrap.dedent(block).strip()


def functions(graph: Any) -> list[str]:
    """The functions of inner nodes, in order."""
    leaves = ("input", "weight", "constant")
    return [n.function.name for n in graph.nodes if n.function.name not in leaves]


def test_the_lectures_graph_is_the_slides() -> None:
    graph = zoo.lecture.trace()
    assert str(graph) == text(
        """
        R(P, Q) -> R: 3 weights, 7 functions, 6 levels
          P   ()  input
          Q   ()  input
          W0  ()  weight
          W1  ()  weight
          W2  ()  weight
          A   ()  W0 * P
          B   ()  f0(A, Q)
          C   ()  W1 * B
          D   ()  W2 * B
          E   ()  f1(C)
          F   ()  f2(D)
          R   ()  f3(E, F)
        """
    )
    names = [[graph.nodes[i].name for i in level] for level in graph.levels]
    assert names == [
        ["P", "Q", "W0", "W1", "W2"],
        ["A"],
        ["B"],
        ["C", "D"],
        ["E", "F"],
        ["R"],
    ]


def test_the_mlp_is_printed_like_its_formula() -> None:
    assert str(zoo.mlp.trace(x=64)) == text(
        """
        mlp(x) -> mlp: 4 weights, 5 functions, 6 levels
          x         (64,)     input
          hidden.W  (32, 64)  weight
          hidden.b  (32,)     weight
          3         (32,)     hidden.W @ x
          4         (32,)     3 + hidden.b
          5         (32,)     tanh(4)
          output.W  (10, 32)  weight
          output.b  (10,)     weight
          8         (10,)     output.W @ 5
          mlp       (10,)     8 + output.b
        """
    )


def test_everything_can_be_printed() -> None:
    @program
    def all_sorts(x, m):
        parts = np.concatenate([x[::-1], m[0, 1:3], x[[0, 0]]])
        return {
            "a": np.where(parts > 0.5, parts, -1) ** 2.5,
            "b": np.sum(m * x[:2, None], axis=0) - 1 / np.max(m, axis=0),
            "c": np.outer(x, x) @ np.array([1.0, 2, 3]),
        }

    assert str(all_sorts.trace(x=3, m=(2, 3))) == text(
        """
        all_sorts(x, m) -> a, b, c: 0 weights, 16 functions, 7 levels
          x   (3,)    input
          m   (2, 3)  input
          2   (3,)    x[2::-1]
          3   (1, 2)  m[0, 1:3]
          4   (2,)    reshape(3, shape=(2,))
          5   (2,)    x[2 places]
          6   (7,)    place(2 at [0:3], 4 at [3:5], 5 at [5:7])
          8   (7,)    6 > 0.5
          10  (7,)    where(8, 6, -1)
          a   (7,)    10 ** 2.5
          13  (2,)    x[0:2]
          14  (3,)    contract(m, 13; ij,i->j)
          15  (3, 2)  transpose(m, axes=(1, 0))
          16  (3,)    max(15)
          18  (3,)    1 / 16
          b   (3,)    14 - 18
          20  (3, 3)  contract(x, x; i,j->ij)
          21  (3,)    constant
          c   (3,)    20 @ 21
        """
    )


def test_parameters_with_a_default_are_constants() -> None:
    @program
    def scaled(x, factor=3.0):
        return factor * x

    assert scaled.inputs == ("x",)
    assert np.array_equal(predict(scaled, {}, [np.ones(2)]), [3.0, 3.0])


class TestSharing:
    """One name is one weight; programs are inlined as written."""

    def test_a_name_used_twice_is_one_weight(self) -> None:
        @program
        def twice(x):
            return weight("w") * x + weight("w")

        assert list(twice.trace().weights) == ["w"]
        _, gradient = loss_and_gradient(
            twice, {"w": 2.0}, [np.array([3.0, 5])], loss="mean"
        )
        assert gradient["w"] == 5.0  # mean of x, plus 1

    def test_scopes_prefix_names_and_nest(self) -> None:
        @program
        def two(x):
            with scope("left"):
                a = layers.dense(x, 2, name="h")
                with scope("inner"):
                    b = named(a * weight("w"), "b")
            with scope("right"):
                return np.sum(layers.dense(b, 2, name="h")) + weight("w")

        graph = two.trace(x=3)
        assert list(graph.weights) == [
            "left.h.W",
            "left.h.b",
            "left.inner.w",
            "right.h.W",
            "right.h.b",
            "right.w",
        ]
        assert graph.nodes[graph.outputs["two"]].name == "two"
        assert "left.inner.b" in {node.name for node in graph.nodes}

    def test_programs_call_programs(self) -> None:
        @program
        def line(x):
            return weight("slope") * x

        @program
        def both(x, y):
            shared = line(x) + line(y)
            with scope("own"):
                return shared + line(x)

        assert list(both.trace().weights) == ["slope", "own.slope"]
        weights = {"slope": 2.0, "own.slope": 10.0}
        assert predict(both, weights, [np.ones(1), np.full(1, 3.0)]) == [18.0]

    def test_equal_nodes_are_made_once(self) -> None:
        @program
        def repeated(x):
            return np.sin(x * 2) + np.sin(x * 2.0) * (x[0] + x[0])

        assert functions(repeated.trace(x=3)).count("sin") == 1
        assert functions(repeated.trace(x=3)).count("index") == 1

    def test_what_commutes_is_made_once_in_either_order(self) -> None:
        @program
        def turned(x, y):
            w = weight("w")
            products = [np.exp(w * x), np.exp(x * w), np.exp(x + y), np.exp(y + x)]
            return sum(products) + np.exp(x - y) + np.exp(y - x)

        made = functions(turned.trace())
        assert made.count("multiply") == 1
        assert made.count("exp") == 4

    def test_what_no_output_needs_is_left_out_but_leaves_stay(self) -> None:
        @program
        def lazy(x, y):
            np.sin(x)
            weight("unused", (2,))
            return y + weight("w")

        graph = lazy.trace()
        assert functions(graph) == ["add"]
        assert list(graph.inputs) == ["x", "y"]
        assert list(graph.weights) == ["unused", "w"]

    def test_an_input_is_where_its_program_is(self) -> None:
        @program
        def f(x, y):
            return x + y

        graph = f.trace()
        first = f.function.__code__.co_firstlineno
        for number in graph.inputs.values():
            where = str(graph.nodes[number].source)
            assert where.endswith(f"test_graph.py:{first}")


class TestNames:
    """A name is for reading; it changes no value and no derivative."""

    @pytest.mark.parametrize(
        "rename",
        [
            lambda w, x: named(w, "A") * x + w,
            lambda w, x: named(named(w, "A"), "B") * x + w,
            lambda w, x: w * named(x, "A") + w * x - w * x + w,
            lambda w, x: named(named(w * x, "A"), "B") + w,
            lambda w, x: named(named(w * x, "A"), "A") + named(w, "w"),
        ],
        ids=["weight", "twice", "input", "node twice", "the same again"],
    )
    def test_a_second_name_shares_the_value(self, rename: Any) -> None:
        @program
        def renamed(x):
            return rename(weight("w"), x)

        x = np.array([3.0, 5])
        loss, gradient = loss_and_gradient(renamed, {"w": 2.0}, [x], loss="mean")
        assert loss == 10.0
        assert gradient["w"] == 5.0
        assert "A" in str(renamed.trace())

    def test_outputs_that_are_leaves(self) -> None:
        @program
        def leaves(x):
            return {"w": weight("w"), "x": x, "again": x, "sum": x + weight("w")}

        values = predict(leaves, {"w": 2.0}, [np.array([3.0, 5])])
        assert isinstance(values, dict)
        assert {name: v.tolist() for name, v in values.items()} == {
            "w": [2.0, 2.0],
            "x": [3.0, 5.0],
            "again": [3.0, 5.0],
            "sum": [5.0, 7.0],
        }

    def test_the_output_is_named_like_the_program(self) -> None:
        graph = program(_cube).trace()
        assert graph.nodes[graph.output].name == "_cube"


def _cube(x):
    return x * x * x


class TestFingerprint:
    """What is computed, and nothing about where it is written."""

    @staticmethod
    def of(body: str, header: str = "", lines: int = 0) -> str:
        source = (
            "\n" * lines + "import numpy as np\n"
            "from dtrain import weight, named, base_function\n"
            f"{header}\ndef f(x, y):\n    return {body}\n"
        )
        scope: dict[str, Any] = {}
        exec(compile(source, f"<string {lines}>", "exec"), scope)  # noqa: S102
        return fingerprint(Program(scope["f"]).trace())

    BODY = "np.sin(weight('w') * x) + 2.0 * y"

    @pytest.mark.parametrize(
        "same",
        [
            "np.sin(weight('w') * x) + 2 * y",
            "named(np.sin(weight('w') * x), 'A') + 2.0 * y",
            "(np.cos(x), np.sin(weight('w') * x) + 2 * y)[1]",
        ],
    )
    def test_is_unchanged_by(self, same: str) -> None:
        assert self.of(same, lines=17) == self.of(self.BODY)

    @pytest.mark.parametrize(
        "other",
        [
            "np.sin(weight('w') * x) + 2.5 * y",
            "np.sin(weight('w') * x) + 2.0 * x",
            "np.sin(weight('w') * y) + 2.0 * x",
            "np.cos(weight('w') * x) + 2.0 * y",
            "np.sin(weight('v') * x) + 2.0 * y",
            "np.sum(np.sin(weight('w', (2,)) * x)) + 2.0 * y",
            "{'g': np.sin(weight('w') * x) + 2.0 * y}",
        ],
    )
    def test_is_changed_by(self, other: str) -> None:
        assert self.of(other) != self.of(self.BODY)

    def test_sees_into_base_functions(self) -> None:
        define = "@base_function\ndef g(x):\n    return {}"
        sine, cosine = (define.format(f"np.{name}(x)") for name in ("sin", "cos"))
        assert self.of("g(x)", sine) == self.of("g(x)", sine, lines=3)
        assert self.of("g(x)", sine) != self.of("g(x)", cosine)

    def test_depends_on_shapes(self) -> None:
        assert fingerprint(zoo.mlp.trace(x=3)) != fingerprint(zoo.mlp.trace(x=4))


class TestBaseFunctions:
    """A user's own base function: one node, with or without a transfer function."""

    def test_is_one_node_with_its_own_name(self) -> None:
        @base_function
        def swish(x):
            return x / (1 + np.exp(-x))

        @program
        def activated(x):
            return np.sum(swish(weight("w", (3,)) * x)) + np.prod(swish(x))

        assert functions(activated.trace(x=3)).count("swish") == 2

    def test_an_own_transfer_function_is_used(self) -> None:
        @base_function(vjp=lambda v, y, x: (7 * v,))
        def odd(x):
            return x * x

        @program
        def f(x):
            return odd(weight("w") * x)

        loss, gradient = loss_and_gradient(f, {"w": 3.0}, [np.ones(2)], loss="mean")
        assert (loss, gradient["w"]) == (9.0, 7.0)

    @pytest.mark.parametrize(
        ("vjp", "says"),
        [
            (lambda v, y, x: (v, v), "returns 2 adjoints for 1 inputs"),
            (lambda v, y, x: (np.ones(5),), r"adjoint of shape \(5,\)"),
            (lambda v, y, x: (v[:, None],), r"adjoint of shape \(3, 1\)"),
            (lambda v, y, x: 2 * v * x, "returns a Symbol; return a tuple"),
            (lambda v, y, x: None, "returns a NoneType; return a tuple"),
            (lambda v, y, x: ("2 v x",), "a str is no value"),
            (lambda v, y, x: (v + np.ones(4),), r"add of shapes \(3,\) and \(4,\)"),
            (lambda v, y: (v,), r"raised TypeError\n(.|\n)*takes 2 positional"),
            (lambda v, y, x: (v * {}["k"],), r"raised KeyError\n(.|\n)*test_graph.py"),
        ],
    )
    def test_a_transfer_function_that_does_not_fit_is_named(
        self, vjp: Any, says: str
    ) -> None:
        @base_function(vjp=vjp)
        def odd(x):
            return x * x

        @program
        def f(x):
            return np.sum(odd(weight("w", (3,)) * x))

        line = f.function.__code__.co_firstlineno + 2
        with pytest.raises(ProgramError, match=says) as caught:
            loss_and_gradient(f, {"w": np.ones(3)}, [np.ones(2)], loss="mean")
        assert f"test_graph.py:{line}: " in str(caught.value)

    def test_singular_at_one(self) -> None:
        @base_function
        def pole(x):
            return np.log(x - 1) / (x - 1)

        assert program(lambda x: pole(x)).trace(x=3).nodes[-1].shape == (3,)


def test_a_contraction_replaces_products_that_are_summed() -> None:
    @program
    def products(x, m):
        return np.sum(m * x, axis=1) + np.sum(m * m, axis=1) + m @ x

    names = functions(products.trace(x=3, m=(2, 3)))
    assert names.count("contract") == 2  # m @ x is the first one
    assert "sum" not in names


def test_the_sigmoid_is_recognised() -> None:
    @program
    def logistic(x):
        return 1 / (1 + np.exp(-x)) + 1 / (np.exp(x) + 1.0)

    assert "exp" not in functions(logistic.trace())
    extreme = np.array([-800.0, 800.0])
    with np.errstate(all="raise", under="ignore"):
        assert predict(logistic, {}, [extreme]).tolist() == [1.0, 1.0]
