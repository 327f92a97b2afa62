"""Tape."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tinygrad_vi.value import Value, partials_of, plus, times


def tangents(order: Sequence[Value], seeds: dict[Value, Any], create_graph: bool = False) -> dict[Value, Any]:
    """Forward mode: the derivative of each node of ``order`` when the leaves move along ``seeds``.

    tangent of a node = sum over its parents of  partial by the parent * tangent of the parent.  A leaf that has no seed
    stands still.  With ``create_graph`` the tangents are Values, to be differentiated again.
    """
    tangent = dict(seeds)
    for node in order:
        flow: Any = 0.0
        for parent, partial in zip(node.parents, partials_of(node, create_graph), strict=True):
            flow = plus(flow, times(partial, tangent.get(parent, 0.0)))
        tangent[node] = flow
    return tangent
