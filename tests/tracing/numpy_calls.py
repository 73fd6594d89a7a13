"""Calls of NumPy's functions that dtrain makes of its base functions."""

# Every expression is given the same four values.
# ruff: noqa: ARG005

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

CALLS: dict[str, Callable[..., Any]] = {
    # x is (2, 3), y is (3,), z is (), m is (3, 3); entries between 0.3 and 2.
    "np.clip": lambda x, y, z, m: np.clip(x, 0.6, 1.5),
    "np.clip, arrays": lambda x, y, z, m: np.clip(x, min=0.5 * y, max=y),
    "np.amax": lambda x, y, z, m: np.amax(x, axis=1),
    "np.amin": lambda x, y, z, m: np.amin(x),
    "np.divmod": lambda x, y, z, m: np.stack(np.divmod(x, 0.7 * y)),
    "divmod": lambda x, y, z, m: divmod(7, y)[1] + x % y + 3 % x + x // y,
    "np.modf": lambda x, y, z, m: np.stack(np.modf(-3 * x)),
    "np.round": lambda x, y, z, m: np.round(x, 1) + x,
    "np.around": lambda x, y, z, m: np.around(x) + x,
    "np.fix": lambda x, y, z, m: np.fix(3 * x) + x,
    "np.radians": lambda x, y, z, m: np.radians(x),
    "np.degrees": lambda x, y, z, m: np.degrees(x),
    "np.moveaxis": lambda x, y, z, m: np.moveaxis(x[None] * y, 0, -1),
    "np.moveaxis, several": lambda x, y, z, m: np.moveaxis(
        x[:, None, :, None] * m[:, None], (0, -1), (2, 1)
    ),
    "np.swapaxes": lambda x, y, z, m: np.swapaxes(x, 0, -1),
    "np.matrix_transpose": lambda x, y, z, m: np.matrix_transpose(x[None] * y),
    "np.linalg.matrix_transpose": lambda x, y, z, m: np.linalg.matrix_transpose(x),
    "np.expand_dims": lambda x, y, z, m: np.expand_dims(x, 1),
    "np.expand_dims, several": lambda x, y, z, m: np.expand_dims(x, (0, -1)),
    "np.squeeze": lambda x, y, z, m: np.squeeze(x[:1, :, None]),
    "np.squeeze, axis": lambda x, y, z, m: np.squeeze(x[:1, :, None], axis=0),
    "np.flip": lambda x, y, z, m: np.flip(x),
    "np.flip, axis": lambda x, y, z, m: np.flip(x, axis=-1),
    "np.flipud": lambda x, y, z, m: np.flipud(x),
    "np.fliplr": lambda x, y, z, m: np.fliplr(x),
    "np.roll": lambda x, y, z, m: np.roll(x, 2),
    "np.roll, axis": lambda x, y, z, m: np.roll(x, -1, axis=1),
    "np.roll, axes": lambda x, y, z, m: np.roll(x, (1, 5), axis=(0, 1)),
    "np.repeat": lambda x, y, z, m: np.repeat(x, 2),
    "np.repeat, axis": lambda x, y, z, m: np.repeat(x, 2, axis=1),
    "np.repeat, counts": lambda x, y, z, m: np.repeat(x, [2, 0, 1], axis=-1),
    "np.tile": lambda x, y, z, m: np.tile(x, 2),
    "np.tile, axes": lambda x, y, z, m: np.tile(y, (2, 1, 2)),
    "np.array_split": lambda x, y, z, m: np.concatenate(np.array_split(y, 2)[::-1]),
    "np.split": lambda x, y, z, m: np.stack(np.split(x, 3, axis=1)[::-1]),
    "np.split, places": lambda x, y, z, m: np.concatenate(np.split(y, [1, 1, 2])[::-1]),
    "np.atleast_1d": lambda x, y, z, m: np.atleast_1d(z),
    "np.atleast_2d": lambda x, y, z, m: np.concatenate(np.atleast_2d(y, x)),
    "np.vstack": lambda x, y, z, m: np.vstack([x, y]),
    "np.hstack": lambda x, y, z, m: np.hstack([x, x[:, :1]]),
    "np.hstack, vectors": lambda x, y, z, m: np.hstack([z, y]),
    "np.column_stack": lambda x, y, z, m: np.column_stack([y, m]),
    "np.append": lambda x, y, z, m: np.append(y, z),
    "np.append, axis": lambda x, y, z, m: np.append(x, m, axis=0),
    "np.pad": lambda x, y, z, m: np.pad(x, 1),
    "np.pad, constants": lambda x, y, z, m: np.pad(
        x, ((0, 1), (2, 0)), constant_values=((3, 4), (5, 6))
    ),
    **{
        f"np.pad, {mode}": partial(
            lambda x, y, z, m, mode: np.pad(x, (1, 2), mode), mode=mode
        )
        for mode in ("edge", "symmetric", "wrap")
    },
    "np.pad, reflect": lambda x, y, z, m: np.pad(y, (2, 1), "reflect"),
    "np.diagonal": lambda x, y, z, m: np.diagonal(m),
    **{
        f"np.diagonal, offset {k}": partial(
            lambda x, y, z, m, k: np.diagonal(x, k), k=k
        )
        for k in (-1, 1, 2)
    },
    "np.diagonal, axes": lambda x, y, z, m: np.diagonal(x[:, None] * m, 1, 2, 0),
    "np.linalg.diagonal": lambda x, y, z, m: np.linalg.diagonal(x[:, None] * m),
    "np.diag": lambda x, y, z, m: np.diag(y),
    "np.diag, above": lambda x, y, z, m: np.diag(y, 2),
    "np.diag, below": lambda x, y, z, m: np.diag(y, -1),
    "np.diag, matrix": lambda x, y, z, m: np.diag(m, 1),
    "np.trace": lambda x, y, z, m: np.trace(m),
    "np.linalg.trace": lambda x, y, z, m: np.linalg.trace(x[:, None] * m),
    "np.tril": lambda x, y, z, m: np.tril(m),
    "np.triu": lambda x, y, z, m: np.triu(x, 1),
    "np.diff": lambda x, y, z, m: np.diff(x),
    "np.diff, twice": lambda x, y, z, m: np.diff(m, n=2, axis=0),
    "methods": lambda x, y, z, m: (
        x.clip(0.5, 1.5).swapaxes(0, 1).flatten().repeat(2).round(1)[None].squeeze()
        + m.trace()
        + m.diagonal().sum()
    ),
    "np.einsum": lambda x, y, z, m: np.einsum("ij,jk->ik", x, m),
    "np.einsum, alphabet": lambda x, y, z, m: np.einsum("ba, ac", x, m),
    "np.einsum, three": lambda x, y, z, m: np.einsum("ij,jk,k->i", x, m, y),
    "np.einsum, kept": lambda x, y, z, m: np.einsum("ij,kj,lj->jilk", x, m, x),
    "np.einsum, one": lambda x, y, z, m: np.einsum("ij->j", x),
    "np.einsum, turned": lambda x, y, z, m: np.einsum("ij->ji", x),
    "np.einsum, trace": lambda x, y, z, m: np.einsum("ii", m),
    "np.einsum, diagonal": lambda x, y, z, m: np.einsum("ii,i->i", m, y),
    "np.einsum, lone": lambda x, y, z, m: np.einsum("ij,k->k", x, y),
    "np.einsum, dots": lambda x, y, z, m: np.einsum("...j,jk->...k", x[:, None], m),
    "np.einsum, more dots": lambda x, y, z, m: np.einsum("...i,...i", x, y),
    "np.einsum, dots that broadcast": lambda x, y, z, m: np.einsum(
        "i...,...->...i", x, m[:1]
    ),
    "np.einsum, scalar": lambda x, y, z, m: np.einsum(",i->i", z, y),
    "np.tensordot": lambda x, y, z, m: np.tensordot(x[:, :, None] * y, m),
    "np.tensordot, one": lambda x, y, z, m: np.tensordot(x, m, 1),
    "np.tensordot, none": lambda x, y, z, m: np.tensordot(x, y, 0),
    "np.tensordot, named": lambda x, y, z, m: np.tensordot(
        x[:, :, None] * y, m, ((2, 1), (0, 1))
    ),
    "np.linalg.tensordot": lambda x, y, z, m: np.linalg.tensordot(x, m, axes=1),
    "np.inner": lambda x, y, z, m: np.inner(x, m),
    "np.inner, scalar": lambda x, y, z, m: np.inner(x, z),
    "np.vdot": lambda x, y, z, m: np.vdot(m, m.T),
    "np.kron": lambda x, y, z, m: np.kron(x, m),
    "np.kron, vector": lambda x, y, z, m: np.kron(y, m),
    "np.linalg.matmul": lambda x, y, z, m: np.linalg.matmul(x, m),
    "np.linalg.outer": lambda x, y, z, m: np.linalg.outer(y, y),
    "np.linalg.vecdot": lambda x, y, z, m: np.linalg.vecdot(x, y),
    "np.cross": lambda x, y, z, m: np.cross(x, y),
    **{
        f"np.{name}, axis {axis}": partial(
            lambda x, y, z, m, name, axis: getattr(np, name)(x, axis=axis),
            name=name,
            axis=axis,
        )
        for name in ("cumsum", "cumprod")
        for axis in (None, 0, -1)
    },
    **{
        f"np.{name}, axis {axis}, keepdims {keepdims}": partial(
            lambda x, y, z, m, name, **more: getattr(np, name)(x, **more) + z,
            name=name,
            axis=axis,
            keepdims=keepdims,
        )
        for name in ("var", "std", "ptp", "any", "all", "count_nonzero")
        for axis, keepdims in ((None, False), (0, True), ((-1, 0), False))
    },
    "np.var, ddof": lambda x, y, z, m: np.var(x, axis=1, ddof=1) + x.std(ddof=1),
    "np.average": lambda x, y, z, m: np.average(x, axis=0),
    "np.average, weights": lambda x, y, z, m: np.average(x, axis=1, weights=m[:2]),
    "np.linalg.norm": lambda x, y, z, m: np.linalg.norm(x),
    **{
        f"np.linalg.norm, {ord} of vectors": partial(
            lambda x, y, z, m, ord: z + np.linalg.norm(x, ord, axis=1, keepdims=True),
            ord=ord,
        )
        for ord in (0, 1, 2, 3, 0.5, np.inf, -np.inf)
    },
    **{
        f"np.linalg.norm, {ord} of matrices": partial(
            lambda x, y, z, m, ord: np.linalg.norm(x[:, None] * m, ord, axis=(2, 0)),
            ord=ord,
        )
        for ord in ("fro", 1, -1, np.inf, -np.inf)
    },
    "np.linalg.vector_norm": lambda x, y, z, m: np.linalg.vector_norm(x),
    "np.linalg.vector_norm, 3": lambda x, y, z, m: np.linalg.vector_norm(x, ord=3),
    "np.linalg.vector_norm, axis": lambda x, y, z, m: np.linalg.vector_norm(
        x, axis=1, ord=1
    ),
    "np.take": lambda x, y, z, m: np.take(m, [[2, 0], [-1, 1]], axis=1),
    "np.take, flat": lambda x, y, z, m: m.take(4),
    "np.take, from the data": lambda x, y, z, m: np.take(m, np.argmax(x, 1), axis=1),
    "np.take_along_axis": lambda x, y, z, m: np.take_along_axis(
        x, np.array([[2, 0], [1, 1]]), axis=1
    ),
    "np.take_along_axis, from the data": lambda x, y, z, m: np.take_along_axis(
        m, np.argsort(m, axis=0)[:2], axis=0
    ),
    "np.take_along_axis, stretched": lambda x, y, z, m: np.take_along_axis(
        m, np.argsort(y)[None], axis=1
    ),
    "indexing by choices": lambda x, y, z, m: m[np.argmax(x, axis=1)],
    "indexing by one choice": lambda x, y, z, m: m[1:, np.argmax(y)],
    "indexing by two choices": lambda x, y, z, m: (x[:, None] * m)[
        None, np.argmax(x[:, 0]), :, np.argmax(y)
    ],
    "indexing by pairs of choices": lambda x, y, z, m: (x[:, None] * m)[
        :, np.argmax(m, axis=0), np.argsort(m)[:2]
    ],
    "indexing by .astype(int)": lambda x, y, z, m: m[(z * 0.9).astype(int), ..., None],
    **{
        f"np.{name}, axis {axis}": partial(
            lambda x, y, z, m, name, axis: getattr(np, name)(x, axis=axis) * z,
            name=name,
            axis=axis,
        )
        for name in ("sort", "argsort")
        for axis in (None, 0, -1)
    },
    **{
        f"np.median, axis {axis}, keepdims {keepdims}": partial(
            lambda x, y, z, m, **more: np.median(x, **more),
            axis=axis,
            keepdims=keepdims,
        )
        for axis, keepdims in ((None, False), (0, True), (1, False), ((0, 1), True))
    },
    "np.quantile": lambda x, y, z, m: np.quantile(m, 0.3, axis=0),
    "np.quantile, several": lambda x, y, z, m: np.quantile(x, [0, 0.5, 0.9, 1]),
    "np.percentile": lambda x, y, z, m: np.percentile(x, 35, axis=1, keepdims=True),
    "np.lib.stride_tricks.sliding_window_view": lambda x, y, z, m: (
        np.lib.stride_tricks.sliding_window_view(m, (2, 3))
    ),
    "np.lib.stride_tricks.sliding_window_view, axis": lambda x, y, z, m: (
        np.lib.stride_tricks.sliding_window_view(x, 2, axis=0)
    ),
    **{
        f"np.{name}, {mode}": partial(
            lambda x, y, z, m, name, mode: np.concatenate(
                [
                    getattr(np, name)(m[0], x[0, :2], mode),
                    getattr(np, name)(y, x[1], mode),
                    getattr(np, name)(x[:, 0], y, mode),
                ]
            ),
            name=name,
            mode=mode,
        )
        for name in ("convolve", "correlate")
        for mode in ("full", "same", "valid")
    },
    "np.linalg.solve": lambda x, y, z, m: np.linalg.solve(m + 3 * np.eye(3), y),
    "np.linalg.solve, matrix": lambda x, y, z, m: np.linalg.solve(
        m + 3 * np.eye(3), x.T
    ),
    "np.linalg.solve, stretched": lambda x, y, z, m: np.linalg.solve(
        m + 3 * np.eye(3), (x[:, None] * m)[:, :, :2]
    ),
    "np.linalg.inv": lambda x, y, z, m: np.linalg.inv(m + 3 * np.eye(3)),
    "np.linalg.det": lambda x, y, z, m: np.linalg.det(m + 3 * np.eye(3)),
    "np.linalg.slogdet": lambda x, y, z, m: np.stack(
        np.linalg.slogdet(m - 4 * np.eye(3))
    ),
    "np.linalg.slogdet, named": lambda x, y, z, m: (
        np.linalg.slogdet(m + 3 * np.eye(3)).logabsdet
    ),
    **{
        f"np.linalg.matrix_power, {n}": partial(
            lambda x, y, z, m, n: np.linalg.matrix_power(m + 3 * np.eye(3), n) / 50,
            n=n,
        )
        for n in (-2, 1, 2, 3)
    },
    "np.linalg.multi_dot": lambda x, y, z, m: np.linalg.multi_dot([x, m, m, y]),
    "np.linalg.cholesky": lambda x, y, z, m: np.linalg.cholesky(m + 5 * np.eye(3)),
    "np.linalg.cholesky, upper": lambda x, y, z, m: np.linalg.cholesky(
        m + 5 * np.eye(3), upper=True
    ),
    "np.linalg.eigh": lambda x, y, z, m: (
        np.linalg.eigh(m).eigenvalues * np.square(np.linalg.eigh(m, "U")[1])
    ),
    "np.linalg.eigvalsh": lambda x, y, z, m: np.linalg.eigvalsh(m),
    "np.linalg.cross": lambda x, y, z, m: np.linalg.cross(x, y),
    "np.cross, axes": lambda x, y, z, m: np.cross(m[:2].T, x, axisa=0, axisc=0),
    "np.cross, axis": lambda x, y, z, m: np.cross(x.T, m[:, :2], axis=0),
    "np.linalg.matrix_norm": lambda x, y, z, m: np.linalg.matrix_norm(x),
    "np.linalg.matrix_norm, 1": lambda x, y, z, m: np.linalg.matrix_norm(x, ord=1),
    "np.linalg.vector_norm, axes": lambda x, y, z, m: np.linalg.vector_norm(
        x, ord=3, axis=(0, 1), keepdims=True
    ),
    "np.rot90": lambda x, y, z, m: np.rot90(x),
    "np.rot90, back": lambda x, y, z, m: np.rot90(x[:, None] * m, -1, axes=(2, 0)),
    "np.rollaxis": lambda x, y, z, m: np.rollaxis(x[:, None] * m, 2, 1),
    "np.diagflat": lambda x, y, z, m: np.diagflat(x, -1),
    "np.apply_along_axis": lambda x, y, z, m: np.apply_along_axis(
        lambda row, by: np.outer(row, row) * by, 0, x, 2.0
    ),
    "np.diff, ends": lambda x, y, z, m: np.diff(x, 2, 1, prepend=0, append=m[:2, :1]),
    "np.ediff1d": lambda x, y, z, m: np.ediff1d(x, to_begin=[1.0, 2], to_end=3),
    "np.trapezoid": lambda x, y, z, m: np.trapezoid(x, y),
    "np.trapezoid, dx": lambda x, y, z, m: np.trapezoid(m, dx=0.5, axis=0),
    "np.gradient": lambda x, y, z, m: np.gradient(y, 0.5),
    "np.gradient, axes": lambda x, y, z, m: np.stack(np.gradient(m, 1, 2)),
    "np.interp": lambda x, y, z, m: np.interp(x, [0.5, 0.9, 1.4, 1.8], m.ravel()[:4]),
    "np.interp, ends": lambda x, y, z, m: np.interp(z, [0.9, 1.4], y[:2], 7, -3) + z,
    "np.interp, one point": lambda x, y, z, m: np.interp(x, [0.9], y[:1], left=3),
    "np.polyval": lambda x, y, z, m: np.polyval(y, x),
    "np.polyval, known": lambda x, y, z, m: np.polyval([1, 0, -2], x),
    "np.vander": lambda x, y, z, m: np.vander(y),
    "np.vander, increasing": lambda x, y, z, m: np.vander(y, 5, increasing=True),
    "np.sinc": lambda x, y, z, m: np.sinc(x) + np.sinc(0.2 * x) + np.sinc(x - x),
    **{
        f"np.{name}, axis {axis}": partial(
            lambda x, y, z, m, name, axis: (
                getattr(np, name)(np.where(x < 0.7, np.nan, x), axis=axis) * z
            ),
            name=name,
            axis=axis,
        )
        for name in ("nansum", "nanprod", "nancumsum", "nancumprod")
        for axis in (None, 0, 1)
    },
    **{
        f"np.{name}, keepdims {keepdims}": partial(
            lambda x, y, z, m, name, keepdims: (
                getattr(np, name)(
                    np.where(np.eye(3) > 0, np.nan, m), axis=1, keepdims=keepdims
                )
                * z
            ),
            name=name,
            keepdims=keepdims,
        )
        for name in ("nanmean", "nanvar", "nanstd", "nanmax", "nanmin")
        for keepdims in (False, True)
    },
    "np.nan_to_num": lambda x, y, z, m: np.nan_to_num(
        np.where(x < y, x, np.array([np.nan, np.inf, -np.inf])), True, 5, 2, -3
    ),
    "np.cov": lambda x, y, z, m: np.cov(x),
    "np.cov, columns": lambda x, y, z, m: np.cov(x, rowvar=False, bias=True),
    "np.cov, two": lambda x, y, z, m: np.cov(y, m[0], ddof=0),
    "np.cov, one": lambda x, y, z, m: np.cov(y),
    "np.corrcoef": lambda x, y, z, m: np.corrcoef(x, y),
    "np.average, along": lambda x, y, z, m: np.average(
        x, axis=0, weights=y[:2], keepdims=True
    ),
    "np.select": lambda x, y, z, m: np.select([x < 0.6, x < y], [x * z, y], z),
    "np.choose": lambda x, y, z, m: np.choose((0.9 * x).astype(int), [x, y, z]),
    "np.isclose": lambda x, y, z, m: np.isclose(x, np.round(x), atol=0.3) * x,
    "np.allclose": lambda x, y, z, m: np.allclose(x, y, atol=9) * x + z,
    "np.isposinf": lambda x, y, z, m: (
        1.0 * np.isposinf(x + np.array([np.inf, 0, -np.inf])) * x
    ),
    "np.isneginf": lambda x, y, z, m: (
        1.0 * np.isneginf(x - np.array([np.inf, 0, 1])) * x
    ),
    "np.real": lambda x, y, z, m: np.real(x),
    "np.conjugate": lambda x, y, z, m: np.conj(x),
    "np.copy": lambda x, y, z, m: np.copy(x) * x.copy(),
    "np.cumulative_sum": lambda x, y, z, m: np.cumulative_sum(
        x, axis=1, include_initial=True
    ),
    "np.cumulative_prod": lambda x, y, z, m: np.cumulative_prod(y),
    "np.matvec": lambda x, y, z, m: np.matvec(x[:, None] * m, y),
    "np.vecmat": lambda x, y, z, m: np.vecmat(x, m),
    "np.dstack": lambda x, y, z, m: np.dstack([x, 2 * x]),
    "np.dstack, vectors": lambda x, y, z, m: np.dstack([y, y]),
    "np.atleast_3d": lambda x, y, z, m: (
        np.atleast_3d(x) * np.atleast_3d(y) * np.atleast_3d(z)
    ),
    "np.hsplit": lambda x, y, z, m: np.hsplit(x, [1])[1] + np.hsplit(y, 3)[0],
    "np.vsplit": lambda x, y, z, m: np.vsplit(x, 2)[1],
    "np.dsplit": lambda x, y, z, m: np.dsplit(x[None], 3)[2],
    "np.unstack": lambda x, y, z, m: np.unstack(x, axis=1)[2],
    "np.insert": lambda x, y, z, m: np.insert(x, 1, z, axis=1),
    "np.insert, flat": lambda x, y, z, m: np.insert(x, -1, z),
    "np.delete": lambda x, y, z, m: np.delete(x, [0, 2], axis=1),
    "np.delete, flat": lambda x, y, z, m: np.delete(x, -2),
    "np.broadcast_arrays": lambda x, y, z, m: np.stack(np.broadcast_arrays(x, y, z)),
    "np.meshgrid": lambda x, y, z, m: np.stack(np.meshgrid(y, x[0], [1.0, 2])),
    "np.meshgrid, ij": lambda x, y, z, m: np.stack(
        np.meshgrid(y, x[0, :2], indexing="ij")
    ),
    "np.max of an inner axis": lambda x, y, z, m: np.max(
        np.reshape(x[:, :, None] * y, (2, 3, 3, 1)), axis=1
    ),
    "np.min of two inner axes": lambda x, y, z, m: np.min(
        np.reshape(x[:, :, None] * y[:2], (2, 3, 1, 2)), axis=(1, 2)
    ),
    "np.pad, by axis": lambda x, y, z, m: np.pad(x, {-1: (1, 2)}),
    "np.round, tens": lambda x, y, z, m: np.round(73 * x, -1) + x,
    "np.add.accumulate": lambda x, y, z, m: np.add.accumulate(x),
    "np.multiply.outer": lambda x, y, z, m: np.multiply.outer(x, y),
    "np.ravel, F": lambda x, y, z, m: np.ravel(x, "F"),
    "np.reshape, F": lambda x, y, z, m: x.reshape(3, -1, order="F"),
    "np.linalg.vecdot, ranks": lambda x, y, z, m: np.linalg.vecdot(m, y, axis=0),
    "np.cov, one row of columns": lambda x, y, z, m: (
        np.cov(x[:1], rowvar=False, bias=True) + np.cov(y, rowvar=False)
    ),
    "np.cov, columns of both": lambda x, y, z, m: np.cov(m, x.T, rowvar=False),
    "truths added": lambda x, y, z, m: ((x > 1) + (x < y)) * ((x > y) * (x > 1)) + x,
    "np.zeros_like": lambda x, y, z, m: x + np.zeros_like(x),
    "np.ones_like": lambda x, y, z, m: x * np.ones_like(x),
    "np.full_like": lambda x, y, z, m: x * np.full_like(x, 2.5),
}
