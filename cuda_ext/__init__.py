"""Operators of Fieldscape: one Python face each, a PyTorch reference, CPU and CUDA kernels."""

from .adam import Adam, ParameterGroup
from .composite import composite, visible
from .engine import reference_only
from .harmonics import spherical_harmonics
from .hash_grid import HashGrid, hash_grid
from .march import MarchSpace, march
from .mlp import mlp, weight_count

__all__ = [
    "Adam", "HashGrid", "MarchSpace", "ParameterGroup", "composite", "hash_grid", "march", "mlp",
    "reference_only", "spherical_harmonics", "visible", "weight_count",
]
