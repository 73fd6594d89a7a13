"""PyTorch's own functions of the same meaning, to hold every base function against.

``PEERS`` has one for each base function, on the arguments of its cases. ``numpy`` is
PyTorch's reading of NumPy's namespace, `torch._numpy`, and where that lacks a name or
has another meaning, PyTorch's function.
"""

from __future__ import annotations

import types
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import pytest

torch = pytest.importorskip("torch")
torch_numpy = pytest.importorskip("torch._numpy")

Peer = Callable[..., Any]

_SAME = """
add subtract multiply divide negative square reciprocal sqrt hypot maximum
minimum fmax fmin absolute sign exp expm1 log log1p sin cos tan arctan sinh cosh
tanh sigmoid exp2 log2 log10 logaddexp logaddexp2 arcsin arccos arctan2 arcsinh
arccosh arctanh deg2rad rad2deg floor ceil trunc floor_divide remainder fmod
copysign isfinite isinf isnan signbit greater greater_equal less less_equal
not_equal erf erfc digamma xlogy
"""


def _windows(x: Any, *, size: Any, stride: Any, dilation: Any) -> Any:
    d = len(size)
    lead = x.ndim - d
    for i, (k, step, gap) in enumerate(zip(size, stride, dilation, strict=True)):
        x = x.unfold(lead + i, gap * (k - 1) + 1, step)[..., ::gap]
    return x


def _transposed(linear: Peer, shape: Any, v: Any) -> Any:
    """The transpose of a linear function of an array of a shape, applied to v."""
    x = torch.zeros(shape, dtype=v.dtype, requires_grad=True)
    (adjoint,) = torch.autograd.grad(linear(x), x, v, create_graph=True)
    return adjoint


def _overlap_add(v: Any, *, shape: Any, stride: Any, dilation: Any) -> Any:
    d = len(shape)
    linear = partial(_windows, size=v.shape[-d:], stride=stride, dilation=dilation)
    return _transposed(linear, (*v.shape[: v.ndim - 2 * d], *shape), v)


def _read(x: Any, at: Any) -> Any:
    places = np.arange(x.numel()).reshape(x.shape)
    return x.reshape(-1)[torch.tensor(at.read(places).astype(np.int64))]


def _place(*vs: Any, at: Any, shape: Any) -> Any:
    parts = (
        _transposed(partial(_read, at=part), shape, v)
        for v, part in zip(vs, at, strict=True)
    )
    return sum(parts)


def _gather(places: Any, x: Any, *, batch: int) -> Any:
    size = x.shape[batch]
    at = torch.trunc(places.detach()).to(torch.int64) % size
    first = [
        torch.arange(n).reshape((n,) + (1,) * (at.ndim - 1 - i))
        for i, n in enumerate(x.shape[:batch])
    ]
    return x[(*first, at)]


def _scatter(places: Any, v: Any, *, batch: int) -> Any:
    shape = (*places.shape[:batch], 3, *v.shape[places.ndim :])
    return _transposed(lambda x: _gather(places, x, batch=batch), shape, v)


def _contract(a: Any, b: Any, *, labels: Any) -> Any:
    la, lb, ly = ("".join(chr(97 + i) for i in each) for each in labels)
    return torch.einsum(f"{la},{lb}->{ly}", a, b)


def _of_truths(function: Peer) -> Peer:
    return lambda *xs: function(*(x > 0 for x in xs))


def _of_regular(function: Peer) -> Peer:
    def apply(a: Any, *more: Any) -> Any:
        regular = 0.2 * a + 1.4 * torch.eye(a.shape[-1], dtype=a.dtype)
        return function(regular, *more)

    return apply


def _of_lower(x: Any) -> Any:
    """The symmetric matrix that NumPy reads; PyTorch wants to be given it."""
    return torch.tril(x) + torch.tril(x, -1).mT


def _eigenvectors(x: Any) -> Any:
    vectors = torch.linalg.eigh(_of_lower(x))[1]
    signs = np.sign(np.linalg.eigh(x.detach().numpy())[1] * vectors.detach().numpy())
    return vectors * torch.tensor(signs)  # which of ±u is LAPACK's affair


PEERS: dict[str, Peer] = {
    **{name: getattr(torch, name) for name in _SAME.split()},
    "power": torch.pow,
    "equal": torch.eq,
    "cbrt": lambda x: x ** (1 / 3),
    "rint": torch.round,
    "heaviside": torch.heaviside,
    "gammaln": torch.lgamma,
    "where": lambda c, a, b: torch.where(c > 0, a, b),
    "real": lambda x: (x > 0).to(x.dtype),
    "integer": torch.trunc,
    "xlog1py": torch.special.xlog1py,
    **{
        name: _of_truths(getattr(torch, name))
        for name in ("logical_and", "logical_or", "logical_xor", "logical_not")
    },
    "sum": lambda x, axis: torch.sum(x, axis),
    "max": partial(torch.amax, dim=-1),
    "min": partial(torch.amin, dim=-1),
    "argmax": partial(torch.argmax, dim=-1),
    "argmin": partial(torch.argmin, dim=-1),
    "prod": partial(torch.prod, dim=-1),
    "cumsum": partial(torch.cumsum, dim=-1),
    "cumprod": partial(torch.cumprod, dim=-1),
    "sort": lambda x: torch.sort(x, -1)[0],
    "argsort": partial(torch.argsort, dim=-1, stable=True),
    "softmax": partial(torch.softmax, dim=-1),
    "log_softmax": partial(torch.log_softmax, dim=-1),
    "logsumexp": partial(torch.logsumexp, dim=-1),
    "reshape": lambda x, shape: torch.reshape(x, shape),
    "transpose": lambda x, axes: torch.permute(x, axes),
    "broadcast": lambda x, shape: torch.broadcast_to(x, shape),
    "index": _read,
    "place": _place,
    "gather": _gather,
    "scatter": _scatter,
    "windows": _windows,
    "overlap_add": _overlap_add,
    "contract": _contract,
    "solve": _of_regular(torch.linalg.solve),
    "det": _of_regular(torch.linalg.det),
    "logabsdet": _of_regular(lambda x: torch.linalg.slogdet(x)[1]),
    "sign_of_det": _of_regular(lambda x: torch.linalg.slogdet(x)[0].detach()),
    "cholesky": _of_regular(lambda x: torch.linalg.cholesky(_of_lower(x))),
    "eigenvalues": lambda x: torch.linalg.eigvalsh(_of_lower(x)),
    "eigenvectors": _eigenvectors,
}


def _wrapped(function: Peer) -> Peer:
    """A function of tensors as one of PyTorch's arrays."""

    def tensor(x: Any) -> Any:
        if isinstance(x, torch_numpy.ndarray):
            return x.tensor
        return [tensor(each) for each in x] if isinstance(x, list) else x

    def array(y: Any) -> Any:
        if isinstance(y, torch.Tensor):
            return torch_numpy.ndarray(y)
        return tuple(map(array, y)) if isinstance(y, tuple) else y

    def call(*xs: Any, **more: Any) -> Any:
        given = {name: tensor(x) for name, x in more.items()}
        return array(function(*map(tensor, xs), **given))

    return call


def _norm(x: Any, *, ord: Any = 2, axis: Any = None, keepdims: bool = False) -> Any:
    return torch.linalg.vector_norm(x, ord, axis, keepdims)


def _cross(
    a: Any,
    b: Any,
    axisa: int = -1,
    axisb: int = -1,
    axisc: int = -1,
    axis: int | None = None,
) -> Any:
    if axis is not None:
        axisa = axisb = axisc = axis
    a, b = a.movedim(axisa, -1), b.movedim(axisb, -1)
    return torch.linalg.cross(*torch.broadcast_tensors(a, b)).movedim(-1, axisc)


def _instead(x: Any, number: float) -> Any:
    return torch.where(torch.isnan(x), number, x)


def _masked(reduce: Peer) -> Peer:
    """A reduction of rows by `torch.masked`, over what is a number."""

    def call(x: Any, axis: int, keepdims: bool) -> Any:
        mask = ~torch.isnan(x)
        return reduce(_instead(x, 0.0), axis, keepdim=keepdims, mask=mask)

    return call


def _sliding(x: Any, shape: Any, axis: Any = None) -> Any:
    sizes = (shape,) if isinstance(shape, int) else shape
    axes = range(len(sizes)) if axis is None else (axis,)
    for i, n in zip(axes, sizes, strict=True):
        x = x.unfold(i, n, 1)
    return x


def _vander(x: Any, N: int | None = None, increasing: bool = False) -> Any:
    powers = x[:, None] ** torch.arange(len(x) if N is None else N)
    return powers if increasing else powers.flip(1)


def _extended(base: Any, **more: Any) -> types.SimpleNamespace:
    names = {name: getattr(base, name) for name in dir(base) if name[0] != "_"}
    return types.SimpleNamespace(**{**names, **more})


def _functions(**named: Peer) -> dict[str, Peer]:
    return {name: _wrapped(function) for name, function in named.items()}


class Eigen(NamedTuple):
    """As NumPy returns eigenvalues and eigenvectors."""

    eigenvalues: Any
    eigenvectors: Any


def _eigh(a: Any, UPLO: str = "L") -> Eigen:
    lower = _of_lower(a.tensor if UPLO == "L" else a.tensor.mT)
    return Eigen(*map(torch_numpy.ndarray, torch.linalg.eigh(lower)))


linalg = _extended(
    torch_numpy.linalg,
    eigh=_eigh,
    **_functions(
        matrix_transpose=lambda x: x.mT,
        diagonal=lambda x: torch.linalg.diagonal(x),
        trace=lambda x: torch.linalg.diagonal(x).sum(-1),
        tensordot=lambda a, b, axes: torch.tensordot(a, b, axes),
        matmul=torch.matmul,
        outer=torch.outer,
        vecdot=torch.linalg.vecdot,
        vector_norm=_norm,
        matrix_norm=lambda x, ord="fro": torch.linalg.matrix_norm(x, ord),
        cross=lambda a, b: _cross(a, b),
        cholesky=lambda a, upper=False: torch.linalg.cholesky(
            _of_lower(a.mT if upper else a), upper=upper
        ),
        eigvalsh=lambda a: torch.linalg.eigvalsh(_of_lower(a)),
    ),
)
numpy = _extended(
    torch_numpy,
    linalg=linalg,
    lib=types.SimpleNamespace(
        stride_tricks=types.SimpleNamespace(sliding_window_view=_wrapped(_sliding))
    ),
    **_functions(
        matrix_transpose=lambda x: x.mT,
        modf=lambda x: (x - torch.trunc(x), torch.trunc(x)),
        fix=torch.trunc,
        divmod=lambda a, b: (
            torch.div(a, b, rounding_mode="floor").detach(),
            torch.remainder(a, b),
        ),
        cross=_cross,
        trapezoid=lambda y, x=None, dx=1.0, axis=-1: (
            torch.trapezoid(y, dx=dx, dim=axis)
            if x is None
            else torch.trapezoid(y, x, dim=axis)
        ),
        nansum=lambda x, axis: torch.nansum(x, axis),
        nanprod=lambda x, axis: (
            _instead(x, 1.0).prod() if axis is None else _instead(x, 1.0).prod(axis)
        ),
        nancumsum=lambda x, axis: _instead(
            x.ravel() if axis is None else x, 0.0
        ).cumsum(axis or 0),
        nancumprod=lambda x, axis: _instead(
            x.ravel() if axis is None else x, 1.0
        ).cumprod(axis or 0),
        nanmean=lambda x, axis, keepdims: torch.nanmean(x, axis, keepdims),
        nanvar=_masked(partial(torch.masked.var, unbiased=False)),
        nanstd=_masked(partial(torch.masked.std, unbiased=False)),
        nanmax=_masked(torch.masked.amax),
        nanmin=_masked(torch.masked.amin),
        cumulative_sum=lambda x, axis, **_: torch.cumsum(
            torch.nn.functional.pad(x, (1, 0)), axis
        ),
        cumulative_prod=lambda x: torch.cumprod(x, 0),
        matvec=lambda a, b: torch.einsum("...ij,...j->...i", a, b),
        vecmat=lambda a, b: torch.einsum("...i,...ij->...j", a, b),
        rollaxis=lambda x, axis, start: x.movedim(axis, start),
        unstack=lambda x, axis: torch.unbind(x, axis),
        vander=_vander,
        cov=lambda m, y=None, rowvar=True, bias=False, ddof=None: torch.cov(
            (m if rowvar else m.mT) if y is None else torch.stack([m, y]),
            correction=(0 if bias else 1) if ddof is None else ddof,
        ),
    ),
)
