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
    "it counts; np.sum(x[..., None] >= edges, axis=-1) gives the bin of x": """
        bincount digitize histogram histogram2d histogram_bin_edges histogramdd
        searchsorted""",
    "use np.sort or np.argsort, which order all elements": """
        argpartition lexsort partition""",
    "how many numbers are not NaN depends on the data; use np.where to replace NaN": """
        nanargmax nanargmin nanmedian nanpercentile nanquantile""",
    "np.linalg.svdvals(x) gives the singular values that it compares": """
        linalg.cond linalg.matrix_rank""",
    "np.linalg.pinv(x) @ y gives the least-squares solution": "linalg.lstsq",
    "np.linalg.cholesky(x.T @ x).T is R with a positive diagonal": """
        linalg.qr""",
    "reshape to a matrix and use np.linalg.solve": """
        linalg.tensorinv linalg.tensorsolve""",
    "its result may be complex; for symmetric matrices use np.linalg.eigh": """
        linalg.eig linalg.eigvals roots""",
    "all values are real": """
        angle imag iscomplex iscomplexobj isreal isrealobj real_if_close
        sort_complex""",
    "it handles the bits of a number": """
        bitwise_count bitwise_left_shift bitwise_right_shift frexp gcd lcm ldexp
        left_shift nextafter packbits right_shift spacing unpackbits""",
    "it computes coefficients, not values; np.polyval evaluates a polynomial": """
        poly polyadd polyder polydiv polyfit polyint polymul polysub""",
    "write `np.exp(np.linspace(np.log(a), np.log(b), n))`": "geomspace",
    "write `np.all(a == b)`": "array_equal array_equiv",
    "call the reduction once for each axis": "apply_over_axes",
    "use np.select, which computes all choices": "piecewise",
    "use np.concatenate along each axis": "block resize",
    "use np.zeros_like": "empty_like",
    "use the value's .astype": "astype",
    "compute the indices from a shape outside the program": """
        diag_indices_from ix_ ravel_multi_index tril_indices_from triu_indices_from
        unravel_index""",
    "its jumps by 2π depend on all elements before": "unwrap",
    "it handles memory, dtypes, text or dates, not numbers": """
        array2string array_repr array_str busday_count busday_offset can_cast
        common_type datetime_as_string einsum_path is_busday isnat may_share_memory
        min_scalar_type result_type save savetxt savez savez_compressed
        shares_memory""",
}

REFUSED = {
    f"np.{name}": reason for reason, names in _REASONS.items() for name in names.split()
}
