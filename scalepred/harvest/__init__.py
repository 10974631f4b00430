"""Runs what is missing of many finetunes, on this machine or on a cluster."""

__all__ = [
    "balance",
    "calls",
    "draw",
    "harvest",
    "local_engine",
    "plan",
    "ray_engine",
    "request",
    "sizes",
    "space",
]
