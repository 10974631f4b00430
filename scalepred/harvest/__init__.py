"""Runs what is missing of many finetunes, on this machine or on a cluster."""

__all__ = [
    "balance",
    "calls",
    "draw",
    "guess",
    "harvest",
    "local_engine",
    "octaves",
    "plan",
    "ray_engine",
    "request",
    "sizes",
    "space",
]
