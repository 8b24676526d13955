"""How a student begins, before any gradient step: as close to its teacher as can be computed outright."""

from __future__ import annotations

from collections.abc import Generator

import torch
from torch import Tensor

from cuda_ext.march import pack_bits, unpack_bits

from ..appearance import ViewMLP
from ..field import Field
from ..occupancy import OccupancyGrid
from ..progress import Clock, Progress
from ..space import Space
from ..volume import Volume
from ..voxels import grown
from .target import Target


def start(teacher: Volume, student: Field, generator: torch.Generator) -> Generator[Progress, None, str]:
    """Bring a new `student` near `teacher` in place, and say how; "" when only its occupancy is known.

    "copy": both have one configuration. "resampled": their backends differ in resolution and width only. Otherwise
    whatever the student's backend does with a `Target`. What a backend draws comes from its own seed, so that
    `generator`, which the steps to come go on with, is left alone.

    Raises:
        TypeError: for a distance student of a density teacher.
    """
    if student.kind == "sdf" and teacher.kind != "sdf":
        raise TypeError("start: a density volume cannot teach distances; make a distance volume of it first")
    clock = Clock()
    if isinstance(teacher, Field) and _same_configuration(teacher, student):
        student.resize_like({name: tuple(t.shape) for name, t in teacher.state_dict().items()})
        student.load_state_dict(teacher.state_dict())
        yield clock.report(1, 1, "start")
        return "copy"
    inherit_occupancy(teacher, student)
    shared = share_appearance(teacher, student)
    yield clock.report(1, 2, "start")
    notes = ["appearance network copied"] if shared and isinstance(student.appearance, ViewMLP) else []
    if how := _resampled(teacher, student, shared) or _sampled(teacher, student, shared):
        notes.append(how)
    yield clock.report(2, 2, "start")
    return "; ".join(notes)


def _same_configuration(teacher: Field, student: Field) -> bool:
    return (teacher.name, teacher.backend.config, teacher.kind) == (
        student.name,
        student.backend.config,
        student.kind,
    ) and _same_cells(teacher.occupancy, student.occupancy)


def _resampled(teacher: Volume, student: Field, shared: bool) -> str:
    alike = shared and isinstance(teacher, Field) and teacher.kind == student.kind
    if not alike or not _same_space(teacher.space, student.space):
        return ""
    assert isinstance(teacher, Field)
    return "resampled" if student.backend.resample_from(teacher.backend) else ""


def _sampled(teacher: Volume, student: Field, shared: bool) -> str:
    g = student.occupancy.resolution
    cells = unpack_bits(student.occupancy.bits).bool().view(g, g, g)
    if student.kind == "sdf":  # distances matter everywhere
        cells = torch.ones_like(cells)
    return student.backend.begin_from(Target(teacher, student, shared), cells)


def share_appearance(teacher: Volume, student: Field) -> bool:
    """Give the student the teacher's appearance module where both read one feature space; whether that was so.

    Between two distance fields the rendered width of the surface goes along.
    """
    if teacher.kind == student.kind == "sdf":
        student.log_beta.data.copy_((teacher.beta.detach() / student.space.extent).log())
    theirs = getattr(teacher, "appearance", None)
    same = isinstance(theirs, type(student.appearance)) and teacher.feature_space == student.feature_space != ""
    if same and isinstance(theirs, torch.nn.Module):
        student.appearance.load_state_dict(theirs.state_dict())
    return same


def inherit_occupancy(teacher: Volume, student: Field) -> None:
    """Set the student's occupied cells to its teacher's; in another space, to all that may share any of them.

    The teacher's cells and their neighbours are then looked up from the middles of the student's cells, where
    those are small, and the other way round, where they are large.
    """
    own, theirs = student.occupancy, teacher.occupancy
    if _same_cells(theirs, own):
        own.bits.copy_(theirs.bits)
        return
    g = theirs.resolution
    wide = OccupancyGrid(teacher.space, g).to(theirs.bits.device)
    wide.bits.copy_(pack_bits(grown(unpack_bits(theirs.bits).bool().view(g, g, g)).view(-1)))
    middles = _middles(wide, torch.arange(g**3, device=theirs.bits.device)[unpack_bits(wide.bits).bool()])
    found = torch.zeros(own.resolution**3, dtype=torch.bool, device=own.bits.device)
    for part in torch.arange(own.resolution**3, device=own.bits.device).split(1 << 18):
        x = _middles(own, part)
        found[part] = wide.occupied(x) & teacher.space.contains(x)
    u = student.space.to_unit(middles)
    cell = (u[((u >= 0) & (u < 1)).all(dim=1)] * own.resolution).long()
    found[(cell[:, 2] * own.resolution + cell[:, 1]) * own.resolution + cell[:, 0]] = True
    own.bits.copy_(pack_bits(found))


def _middles(grid: OccupancyGrid, cells: Tensor) -> Tensor:
    return grid.cell_positions(cells, torch.full((1, 3), 0.5, device=cells.device))


def _same_cells(a: OccupancyGrid, b: OccupancyGrid) -> bool:
    return a.resolution == b.resolution and _same_space(a.space, b.space)


def _same_space(a: Space, b: Space) -> bool:
    return a.contraction == b.contraction and torch.equal(a.bounds.cpu(), b.bounds.cpu())
