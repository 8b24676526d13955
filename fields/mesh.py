"""Meshes out of fields: extraction, colours and clean-up (`fields.mesh_files` writes them)."""

from .mesh_edit import automatic_level, components_where, largest_components, simplify, vertex_colors
from .mesh_extract import extract_mesh, extract_mesh_steps
from .mesh_smooth import smooth_steps
from .mesh_texture import paint_texture, require_atlas
from .mesh_types import Mesh

__all__ = [
    "Mesh",
    "automatic_level",
    "components_where",
    "extract_mesh",
    "extract_mesh_steps",
    "largest_components",
    "paint_texture",
    "require_atlas",
    "simplify",
    "smooth_steps",
    "vertex_colors",
]
