"""Which rows of a ragged input are the sample's, and which are padding."""

from __future__ import annotations

from typing import Any

from dtrain.tracing.padded import mask
from dtrain.tracing.symbol import Symbol
from dtrain.tracing.trace import current


def present(x: Any) -> Any:
    """Return which rows of a ragged input are the sample's; the others are padding.

    Use it in reductions, such as ``np.sum(energies, where=present(r))``, so that the
    result is that of the sample's rows alone. The rows of padding hold zeros.

    Args:
        x: an input of the program whose column is ragged, of shape (L, ...), where L is
            the length that the samples of a block are padded to.

    Returns:
        A symbol of truth values, (L,).

    Raises:
        ProgramError: outside of a program, or ``x`` is not such an input.

    Example:
        >>> import numpy as np
        >>> from dtrain import predict, present, program, weight
        >>> @program
        ... def total(r):
        ...     return weight("W") * np.sum(np.cos(r), where=present(r))
        >>> predict(total, {"W": 2.0}, {"r": [[0.0], [0.0, 0.0, 0.0]]})
        array([2., 6.])
    """
    builder = current("present(x)")
    symbol = builder.symbol(x)
    lengths = builder.ragged.get(symbol.number)
    if lengths is None:
        node = symbol.node
        what = repr(node.name) if node.name in builder.inputs else "a computed value"
        inputs = [builder.nodes[i].name for i in builder.ragged]
        known = f"the ragged inputs: {', '.join(map(str, inputs))}"
        raise builder.error(
            f"present(x) takes an input whose column is ragged, not {what} of shape "
            f"{node.shape}; "
            + (f"it takes {known}" if inputs else "no input of this program is ragged")
            + "; dtrain.ragged(arrays) makes such a column, also of equal lengths"
        )
    return mask(Symbol(builder, lengths), symbol.shape[0])
