"""Runs what is missing of many finetunes, on this machine or on a cluster."""

__all__ = [
    "calls",
    "harvest",
    "local_engine",
    "plan",
    "ray_engine",
    "request",
]
