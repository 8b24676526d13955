"""Mesh files, read without trusting them."""

from .load import READERS, load_mesh
from .raw import MAX_COORDINATE, MeshLimits

__all__ = ["MAX_COORDINATE", "READERS", "MeshLimits", "load_mesh"]
