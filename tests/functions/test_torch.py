"""Values and gradients of everything in the tables against PyTorch's, in float64."""

from __future__ import annotations

import re
import types
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
import pytest

import dtrain
from dtrain.functions.base import ADAPTERS, FUNCTIONS, UFUNCS
from tests.functions.cases import CASES, Case, random_cases
from tests.functions.page import numpy_name
from tests.functions.slopes import program_of
from tests.tracing.numpy_calls import CALLS

torch = pytest.importorskip("torch", reason="PyTorch is not installed (--peers)")
pytestmark = pytest.mark.peers
from tests.functions import torch_peers  # noqa: E402

NEAR = 1e-10

# What PyTorch lacks. Their values are held against NumPy's, where they are NumPy's, and
# their derivatives against differences of both orders, in the tables of these folders.
WITHOUT = {
    "block_sum": "PyTorch has no blocks of samples",
    "to_samples": "PyTorch has no blocks of samples",
    "np.apply_along_axis": "a loop over lines; PyTorch has none",
    "np.delete": "a gather; PyTorch has no such name",
    "np.ediff1d": "np.diff and np.concatenate, which are held",
    "np.insert": "np.concatenate, which is held",
    "np.interp": "PyTorch interpolates images alone",
    "np.polyval": "Horner's rule; PyTorch has no such name",
    "np.select": "np.where, which is held",
}
# PyTorch has the function, but not in this way of calling it.
CALLED_OTHERWISE = re.compile(
    r"np.pad, (constants|edge|symmetric|wrap|reflect|by axis)|np.(any|all), axis \(|"
    r"np.median, axis (None|\(0)|np.(convolve|correlate), (same|valid)|"
    r"np.add.accumulate|np.multiply.outer|np.(ravel|reshape), F|divmod|"
    r"np.linalg.vecdot, ranks|np.cov, (one row of columns|columns of both)"
)
COMPARED = [
    name
    for name in CALLS
    if re.split(r"[ ,(]", name)[0] not in WITHOUT and not CALLED_OTHERWISE.match(name)
]


def test_every_function_is_compared_with_pytorch_or_listed() -> None:
    held = {*torch_peers.PEERS} | {re.split(r"[ ,(]", name)[0] for name in COMPARED}
    names = {numpy_name(function) for function in ADAPTERS}
    names |= {f"np.{u.__name__}" for u in UFUNCS if u.__name__ not in FUNCTIONS}
    names |= {*FUNCTIONS}
    # These are looked at under the names of what they are.
    names -= {"np.where", *(f"np.{name}" for name in BY_OTHER_NAMES)}
    assert names - held == {*WITHOUT}


BY_OTHER_NAMES = (
    *("reshape", "ravel", "transpose", "broadcast_to", "concatenate", "stack", "sum"),
    *("mean", "max", "min", "argmax", "argmin", "prod", "matmul", "dot", "vecdot"),
    *("outer", "float_power", "positive", "fabs", "invert"),
    *("bitwise_and", "bitwise_or", "bitwise_xor"),
)


def held(
    call: Callable[..., Any],
    peer: Callable[..., Any],
    arrays: list[Any],
    within: float = NEAR,
) -> Iterator[None]:
    """Compare values, then gradients of a sum that depends on every element."""
    shapes = [np.shape(x) for x in arrays]
    kinds = "w" * len(shapes)
    weights = {f"w{i}": x for i, x in enumerate(arrays)} | {"t": 0.0}
    one = {"c": np.ones(1)}
    plain = program_of(call, shapes, kinds, scalar=False)
    value = dtrain.predict(plain, weights, one)[0]
    tensors = [torch.tensor(x, requires_grad=True) for x in arrays]
    y = torch.as_tensor(peer(*tensors)).to(torch.float64)
    near = NEAR * max(1.0, np.abs(value).max(initial=0))
    np.testing.assert_allclose(value, y.detach(), rtol=NEAR, atol=near, strict=True)
    yield
    scalar = program_of(call, shapes, kinds, scalar=True)
    _, gradient = dtrain.loss_and_gradient(scalar, weights, one, loss="mean")
    c = torch.linspace(0.6, 1.4, y.numel(), dtype=y.dtype).reshape(y.shape)
    total = torch.sum(torch.exp(0.2 * y) * c) + sum(0 * x.sum() for x in tensors)
    for i, slopes in enumerate(torch.autograd.grad(total, tensors)):
        near = within * max(1.0, np.abs(gradient[f"w{i}"]).max(initial=0))
        np.testing.assert_allclose(gradient[f"w{i}"], slopes, rtol=0, atol=near)


def each(cases: list[Case]) -> Any:
    compared = [c for c in cases if c.name in torch_peers.PEERS and not c.over_block]
    return pytest.mark.parametrize("case", compared, ids=str)


@each(CASES)
def test_base_functions(case: Case) -> None:
    compare(case)


@each(random_cases(np.random.default_rng(20)))
def test_base_functions_on_random_shapes(case: Case) -> None:
    compare(case)


def compare(case: Case) -> None:
    rng = np.random.default_rng(21)
    arrays = [case.draw(rng, i) for i in range(len(case.shapes))]
    peer = partial(torch_peers.PEERS[case.name], **case.params)
    for _ in held(case.call, peer, arrays):
        if not FUNCTIONS[case.name].differentiable:
            break


@pytest.mark.parametrize("name", COMPARED)
def test_functions_of_numpy(name: str) -> None:
    rng = np.random.default_rng(22)
    arrays = [rng.uniform(0.3, 2, shape) for shape in ((2, 3), (3,), (), (3, 3))]
    call = CALLS[name]

    def peer(*tensors: Any) -> Any:
        y = in_pytorch(call)(*map(torch_peers.torch_numpy.ndarray, tensors))
        return getattr(y, "tensor", y)

    for _ in held(call, peer, arrays):
        pass


def in_pytorch(call: Callable[..., Any]) -> Callable[..., Any]:
    """The same function, with PyTorch's reading of NumPy in NumPy's place."""
    if isinstance(call, partial):
        return partial(in_pytorch(call.func), **call.keywords)
    assert isinstance(call, types.FunctionType)
    names = {**call.__globals__, "np": torch_peers.numpy}
    code, defaults = call.__code__, call.__defaults__
    return types.FunctionType(code, names, None, defaults, call.__closure__)


SPECIAL = {
    "digamma": torch.special.digamma,
    "entr": torch.special.entr,
    "erf": torch.special.erf,
    "erfc": torch.special.erfc,
    "exp2": torch.special.exp2,
    "expit": torch.special.expit,
    "expm1": torch.special.expm1,
    "gammaln": torch.special.gammaln,
    "log1p": torch.special.log1p,
    "log_expit": torch.nn.functional.logsigmoid,
    "logit": torch.special.logit,
    "ndtr": torch.special.ndtr,
    "psi": torch.special.psi,
    "cbrt": lambda x: x ** (1 / 3),
    "xlog1py": lambda x: torch.special.xlog1py(x, x),
    "xlogy": lambda x: torch.special.xlogy(x, x),
}


def test_every_function_of_scipy_has_a_peer() -> None:
    from dtrain.functions.special import OF_SCIPY

    assert {*SPECIAL} == {*OF_SCIPY}


@pytest.mark.parametrize("name", SPECIAL)
@pytest.mark.parametrize("shape", [(), (0,), (1, 3), (2, 3)])
def test_functions_of_scipy(name: str, shape: tuple[int, ...]) -> None:
    function = getattr(pytest.importorskip("scipy.special"), name)
    x = np.random.default_rng(23).uniform(0.1, 0.9, shape)
    call = (lambda x: function(x, x)) if function.nin == 2 else function
    # PyTorch's own trigamma has nine digits; test_special.py looks at ours.
    within = 1e-9 if name in ("digamma", "psi") else NEAR
    for _ in held(call, SPECIAL[name], [x], within):
        pass
