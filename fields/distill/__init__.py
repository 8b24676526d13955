"""Progressive Volume Distillation: any volume taught to any field."""

from .levels import cameras_around, distill

__all__ = ["cameras_around", "distill"]
