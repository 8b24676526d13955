"""Progressive Volume Distillation: any volume taught to any field."""

from .options import DistillOptions
from .rays import cameras_around
from .run import distill
from .state import DistillState

__all__ = ["DistillOptions", "DistillState", "cameras_around", "distill"]
