"""A walk along the way of a packet, from a client to what it asks: whether each link holds, and which is the first that
does not."""

from kubeup.checks.walk.drawing import as_text, draw, in_short
from kubeup.checks.walk.walk import Walk, as_data, judge, trace

__all__ = ["Walk", "as_data", "as_text", "draw", "in_short", "judge", "trace"]
