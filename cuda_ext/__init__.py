"""Operators of Fieldscape: one Python face each, a PyTorch reference, CPU and CUDA kernels."""

from . import mlp_half  # noqa: F401  (registers its operators)
from .accelerators import using
from .adam import Adam, ParameterGroup
from .composite import composite, visible
from .engine import quiet_torch, reference_only
from .harmonics import spherical_harmonics
from .hash_grid import HashGrid, hash_grid
from .hash_network import hash_network
from .march import MarchSpace, march
from .mlp import mlp, weight_count
from .muon import Muon
from .planes import line_lookup, triplane_lookup
from .products import product_lookup
from .sparse import SparseIndex, sparse_lookup

__all__ = [
    "Adam",
    "HashGrid",
    "MarchSpace",
    "Muon",
    "ParameterGroup",
    "SparseIndex",
    "composite",
    "hash_grid",
    "hash_network",
    "line_lookup",
    "march",
    "mlp",
    "product_lookup",
    "quiet_torch",
    "reference_only",
    "sparse_lookup",
    "spherical_harmonics",
    "triplane_lookup",
    "using",
    "visible",
    "weight_count",
]
