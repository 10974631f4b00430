"""Curves with right and wrong images that are drawn, for the tests of what is to win."""

import numpy as np

from benchmarks.wide_curves import Curve


def drawn_curve(index, shares, rng, *, n_seeds=1, n_images=200, group="g", kind="k", n_origins=8, **changes):
    """Return a curve at octaves from -2 on; shares are (s,) or (s, n_seeds): how likely an image is right."""
    of_seeds = np.broadcast_to(np.asarray(shares, float).reshape(len(shares), -1), (len(shares), n_seeds))
    right = (rng.random((*of_seeds.shape, n_images)) < of_seeds[:, :, None]).astype(np.float64)
    fields = {
        "kind": kind,
        "group": group,
        "origin": f"o{index % n_origins}",
        "network": f"n{index % 3}",
        "log2_rates": np.arange(len(shares)) - 2.0,
        "right": right,
        "diverges": False,
        "chance": 0.1,
        "base_log2_rate": 0.0,
    }
    return Curve(**fields | changes)
