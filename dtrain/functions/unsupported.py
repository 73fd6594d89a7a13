"""NumPy's functions that are not in the table, and what to do instead.

`tests/tracing/test_refusals.py` asserts that every function of NumPy that takes arrays
is in the table or here.
"""

from __future__ import annotations

_REASONS = {
    "the shape of its result depends on the data; np.where and sums of masks have "
    "fixed shapes": """
        argwhere extract flatnonzero intersect1d nonzero setdiff1d setxor1d trim_zeros
        union1d unique unique_all unique_counts unique_inverse unique_values compress
        isin""",
    "it writes into an array; np.where, np.concatenate and np.stack make new ones": """
        copyto fill_diagonal place put put_along_axis putmask""",
    "it counts; np.sum(x[..., None] >= edges, axis=-1) says where x lies": """
        bincount digitize histogram histogram2d histogram_bin_edges histogramdd
        searchsorted""",
    "np.sort and np.argsort put all elements in order": """
        argpartition lexsort partition""",
    "how many numbers there are depends on the data; np.where puts some for NaN": """
        nanargmax nanargmin nanmedian nanpercentile nanquantile""",
    "singular vectors have no derivative where singular values are equal; "
    "np.linalg.eigh(x.T @ x) has their squares": """
        linalg.cond linalg.matrix_rank linalg.svd linalg.svdvals""",
    "np.linalg.solve(x.T @ x, x.T @ y) solves for least squares": """
        linalg.lstsq linalg.pinv""",
    "np.linalg.cholesky(x.T @ x) has the same triangle, with all signs +": """
        linalg.qr""",
    "reshape to a matrix and np.linalg.solve": """
        linalg.tensorinv linalg.tensorsolve""",
    "its result may be complex; np.linalg.eigh is there for symmetric matrices": """
        linalg.eig linalg.eigvals roots""",
    "values are real": """
        angle imag iscomplex iscomplexobj isreal isrealobj real_if_close
        sort_complex""",
    "it is about the bits of a number": """
        bitwise_count bitwise_left_shift bitwise_right_shift frexp gcd lcm ldexp
        left_shift nextafter packbits right_shift spacing unpackbits""",
    "it makes coefficients, not values; np.polyval is there": """
        poly polyadd polyder polydiv polyfit polyint polymul polysub""",
    "write `a + (b - a) * np.linspace(0, 1, n)`": "geomspace linspace logspace",
    "write `np.all(a == b)`": "array_equal array_equiv",
    "call the reduction for each axis": "apply_over_axes",
    "use np.select, whose choices are all computed": "piecewise",
    "use np.concatenate along each axis": "block resize",
    "use np.zeros_like": "empty_like",
    "use the value's .astype": "astype",
    "ask for the indices of a shape": """
        diag_indices_from ix_ ravel_multi_index tril_indices_from triu_indices_from
        unravel_index""",
    "it jumps by 2π at places that depend on all elements before": "unwrap",
    "it is a series of its own; base functions can be called as they stand": "i0",
    "it is about arrays in memory, dtypes, text or dates, not about values": """
        array2string array_repr array_str busday_count busday_offset can_cast
        common_type datetime_as_string einsum_path is_busday isnat may_share_memory
        min_scalar_type result_type save savetxt savez savez_compressed
        shares_memory""",
}

REFUSED = {
    f"np.{name}": reason for reason, names in _REASONS.items() for name in names.split()
}
