"""Students in closed form, before any step: what each is close to, and what it takes over."""

import math
from collections.abc import Callable
from functools import cache

import pytest
import torch
from torch import Tensor

from cuda_ext.march import pack_bits, unpack_bits
from fields.appearance import SHColor
from fields.backends import BACKENDS
from fields.distill.start import inherit_occupancy, share_appearance, start
from fields.distill.target import Target, sphere_directions
from fields.field import Field
from fields.space import Space
from fields.volume import Kind, Volume
from fields.voxels import grown, points_in, voxels_over

BOX = torch.tensor([[-1.0, -1.0, -1.0], [1.0, 1.0, 1.0]])
OTHER_BOX = torch.tensor([[-0.9, -1.2, -1.0], [1.3, 1.0, 0.9]])
SPACE = Space(BOX)
RADIUS = 0.35


class Ball(Volume):
    """A ball whose colour follows position and direction: a teacher that is no field."""

    def __init__(self, kind: Kind = "density", space: Space = SPACE) -> None:
        super().__init__(space, kind)
        self.log_beta.data.fill_(math.log(0.004))
        self.occupancy.rebuild(self, generator())

    def features(self, x: Tensor) -> Tensor:
        return x

    def geometry(self, features: Tensor, x: Tensor) -> Tensor:
        distance = x.norm(dim=-1) - RADIUS
        return distance if self.kind == "sdf" else (-60 * distance).clamp(-8, 5)

    def color_of(self, features: Tensor, directions: Tensor, index: Tensor | None = None) -> Tensor:
        if index is not None:
            directions = directions[index]
        return torch.sigmoid(2 * features + 0.5 * directions)


@cache
def ball(kind: Kind = "density") -> Ball:
    return Ball(kind)


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(3)


def begun(teacher: Volume, student: Field) -> str:
    steps = start(teacher, student, generator())
    while True:
        try:
            assert next(steps).phase == "start"
        except StopIteration as end:
            return str(end.value)


def near_surface(count: int = 4000) -> Tensor:
    towards = torch.nn.functional.normalize(torch.randn(count, 3, generator=generator()), dim=1)
    return towards * (RADIUS + 0.06 * torch.rand(count, 1, generator=generator()) - 0.05)


def opacity_error(teacher: Volume, student: Field) -> float:
    """Mean error of one step's opacity near the surface."""
    x = near_surface()
    alpha = [1 - torch.exp(-volume.density(x) * 4 * SPACE.step) for volume in (teacher, student)]
    return float((alpha[0] - alpha[1]).detach().abs().mean())


def made(name: str, kind: Kind = "density", space: Space = SPACE, **settings: object) -> Field:
    return Field.create(name, space, kind, preset="tiny", settings=settings)


@pytest.fixture(scope="module")
def taught() -> Callable[[str], Field]:
    """Fields that have begun from the ball: something to convert between fields."""
    known: dict[str, Field] = {}

    def field(name: str) -> Field:
        if name not in known:
            known[name] = made(name)
            begun(ball(), known[name])
        return known[name]

    return field


@pytest.mark.parametrize("kind", ["density", "sdf"])
@pytest.mark.parametrize("name", [*BACKENDS, "hash+vm"])
def test_same_configuration_is_copied_to_the_bit(name: str, kind: Kind) -> None:
    teacher = Field.create(name, SPACE, kind, preset="tiny", seed=1)
    teacher.backend.grow(0.2)
    teacher.log_beta.data.fill_(-3.0)
    teacher.occupancy.bits.random_(0, 255, generator=generator())
    student = made(name, kind)
    assert begun(teacher, student) == "copy"
    found = student.state_dict()
    assert all(torch.equal(tensor, found[key]) for key, tensor in teacher.state_dict().items())
    x, d = near_surface(50), sphere_directions(50)
    assert torch.equal(teacher(x, d).rgb, student(x, d).rgb)
    assert torch.equal(teacher.density(x), student.density(x))


@pytest.mark.parametrize(("name", "worst"), [("sparse", 0.03), ("vm", 0.03), ("cp", 0.05), ("hash+vm", 0.03)])
def test_density_students_begin_near_any_teacher(name: str, worst: float) -> None:
    teacher, student = ball(), made(name)
    untaught = opacity_error(teacher, student)
    assert begun(teacher, student) != ""
    assert opacity_error(teacher, student) < min(worst, untaught / 4)
    assert torch.equal(student.occupancy.bits, teacher.occupancy.bits)


@pytest.mark.parametrize("name", ["sparse", "vm", "cp"])
def test_distance_students_begin_near_the_surface(name: str) -> None:
    teacher, student = ball("sdf"), made(name, "sdf")
    student.log_beta.data.fill_(0.0)
    begun(teacher, student)
    x = torch.rand(2000, 3, generator=generator()) * 2 - 1
    assert float((student.sdf(x) - teacher.sdf(x)).detach().abs().mean()) < 0.01
    assert float(student.beta.detach()) == pytest.approx(float(teacher.beta.detach()))


@pytest.mark.parametrize("name", ["sparse", "vm"])
def test_distance_teachers_begin_density_students(name: str) -> None:
    teacher, student = ball("sdf"), made(name)
    begun(teacher, student)
    assert opacity_error(teacher, student) < 0.1


def test_a_density_cannot_begin_a_distance() -> None:
    with pytest.raises(TypeError, match="distance volume"):
        begun(ball(), made("vm", "sdf"))


@pytest.mark.parametrize("name", ["mlp", "hash", "triplane"])
def test_networks_have_no_closed_form(name: str) -> None:
    assert begun(ball(), made(name)) == ""


def test_harmonics_show_the_teachers_colours_from_everywhere() -> None:
    teacher, student = ball(), made("sparse")
    assert isinstance(student.appearance, SHColor)
    begun(teacher, student)
    x, d = near_surface(500), torch.nn.functional.normalize(torch.randn(500, 3, generator=generator()), dim=1)
    assert float((student(x, d).rgb - teacher(x, d).rgb).detach().abs().mean()) < 0.02


def test_shared_appearance_is_copied_and_its_features_matched(taught: Callable[[str], Field]) -> None:
    teacher, student = taught("vm"), made("cp")
    assert begun(teacher, student) == "appearance network copied; alternating least squares"
    assert torch.equal(teacher.appearance.weights, student.appearance.weights)
    target = Target(teacher, student, shared=True)
    u = SPACE.to_unit(near_surface(100))
    assert torch.equal(target(u)[:, 1:], teacher.backend.features(u)[:, 1:])


def test_appearance_is_shared_only_in_one_feature_space() -> None:
    assert share_appearance(made("hash"), made("mlp"))
    assert not share_appearance(made("hash"), made("mlp", appearance=8))
    assert not share_appearance(made("hash"), made("sparse"))
    assert not share_appearance(ball(), made("hash"))
    assert not Target(ball(), made("hash"), shared=False).appearance


@pytest.mark.parametrize("name", ["vm", "cp", "triplane"])
def test_another_resolution_is_resampled(name: str, taught: Callable[[str], Field]) -> None:
    teacher = taught(name)
    student = made(name, resolution=127)
    assert begun(teacher, student).endswith("resampled")
    u = torch.rand(500, 3, generator=generator())
    wanted, found = teacher.backend.features(u).detach(), student.backend.features(u).detach()
    assert float((wanted - found).square().mean()) < 0.01 * float(wanted.square().mean())


@pytest.mark.parametrize("name", ["vm", "cp"])
def test_more_components_add_nothing_at_first_but_can_learn(name: str, taught: Callable[[str], Field]) -> None:
    teacher = taught(name)
    student = made(name, density=20, color=40)
    assert begun(teacher, student).endswith("resampled")
    u = torch.rand(200, 3, generator=generator())
    found = student.backend.features(u)
    assert torch.allclose(found, teacher.backend.features(u), atol=1e-3)
    found[:, 0].sum().backward()
    assert bool((student.backend.lines.grad.abs().amax(dim=(0, 1))[:20] > 0).all())


def test_fewer_components_are_fitted_anew(taught: Callable[[str], Field]) -> None:
    assert begun(taught("vm"), made("vm", density=2)).endswith("alternating least squares")


@pytest.mark.parametrize("name", [*BACKENDS, "hash+vm"])
def test_a_part_that_begins_at_zero_is_zero_and_can_learn(name: str) -> None:
    backend = made(name).backend
    backend.begin_at_zero()
    u = torch.rand(50, 3, generator=generator())
    y = backend.features(u)
    assert bool((y == 0).all())
    y.sum().backward()
    assert any(p.grad is not None and bool(p.grad.any()) for p in backend.parameters())


def test_a_sparse_student_keeps_to_its_limit_and_is_not_pruned_again() -> None:
    student = made("sparse", limit=16_000)
    begun(ball(), student)
    backend = student.backend
    assert len(backend.values) <= 16_000 < 17_000 and backend.cells >= 24
    assert not any(backend.grow(fraction) for fraction in (0.2, 0.5, 0.9))


def test_empty_space_is_too_thin_to_be_seen() -> None:
    target = Target(ball(), made("sparse"), shared=False)
    log_density = float(target(torch.full((1, 3), 0.01))[0, 0]) - math.log(SPACE.extent)
    assert 1 - math.exp(-math.exp(log_density) * SPACE.diagonal) < 0.011


@pytest.mark.parametrize("space", [Space(OTHER_BOX), Space(BOX, "unbounded"), Space(8 * BOX)])
def test_other_spaces_keep_what_the_teacher_holds(space: Space) -> None:
    teacher, student = ball(), made("vm", space=space)
    inherit_occupancy(teacher, student)
    x = near_surface()
    held = teacher.occupancy.occupied(x) & space.contains(x)
    assert bool(held.any()) and bool(student.occupancy.occupied(x)[held].all())
    assert student.occupancy.occupied_fraction < 0.5
    begun(teacher, made("vm", space=space))


def test_a_distance_beyond_the_teachers_box_is_at_least_the_way_back() -> None:
    space = Space(2 * BOX)
    student = made("vm", "sdf", space)
    x = torch.tensor([[1.8, 0.0, 0.0]])
    residual = Target(ball("sdf"), student, shared=False)(space.to_unit(x))
    assert student.geometry(residual, x).item() == pytest.approx(1.8 - RADIUS, abs=1e-4)


def test_fibonacci_directions_are_unit_and_balanced() -> None:
    directions = sphere_directions(32)
    assert torch.allclose(directions.norm(dim=1), torch.ones(32))
    assert float(directions.mean(dim=0).abs().max()) < 0.05


def test_voxels_over_cells_hold_every_point_of_them() -> None:
    cells = unpack_bits(pack_bits(torch.rand(16**3, generator=generator()) < 0.02)).bool().view(16, 16, 16)
    u = points_in(cells, 2000, generator())
    for count in (5, 16, 24, 40):
        x, y, z = (u * count).long().clamp(max=count - 1).unbind(1)
        assert bool(voxels_over(cells, count)[z, y, x].all())
    assert torch.equal(voxels_over(cells, 16), cells)
    assert torch.equal(grown(cells), voxels_over(cells, 16) | grown(cells)) and int(grown(cells).sum()) > int(
        cells.sum()
    )
    assert points_in(torch.zeros_like(cells), 5, generator()).shape == (0, 3)
