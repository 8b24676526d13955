"""Edits: what is moved looks moved, what is deleted is gone, what is merged is there."""

from __future__ import annotations

import math
from functools import cache

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.functional import normalize

from app.editing import Edit, Place, apply_edits, merged_fields, parse_edits
from fields.boxes import box_distance, in_box
from fields.cameras import Cameras, look_at
from fields.composite import CompositeVolume, Placed
from fields.errors import ExitCode, UserError
from fields.field import Field
from fields.function_volume import FunctionVolume
from fields.mesh import extract_mesh
from fields.render import render_view
from fields.similarity import Similarity
from fields.space import Space
from fields.volume import Volume, laplace_density

BOUNDS = torch.tensor([[-1.0, -1.0, -1.0], [1.0, 1.0, 1.0]])
CENTRE, RADIUS = torch.tensor([0.2, -0.1, 0.15]), 0.5
UPPER = torch.tensor([[-1.0, -1.0, 0.15], [1.0, 1.0, 1.0]])


def ball_sdf(x: Tensor) -> Tensor:
    return (x - CENTRE).norm(dim=-1) - RADIUS


def ball_density(x: Tensor) -> Tensor:
    return 6.0 * torch.sigmoid(-60 * ball_sdf(x))


def painted(x: Tensor, directions: Tensor) -> Tensor:
    """Depends on the place and on the direction."""
    return (0.5 + 0.3 * x + 0.2 * directions).clamp(0, 1)


def blue(x: Tensor, directions: Tensor) -> Tensor:
    return x.new_tensor([0.0, 0.0, 1.0]).expand(len(x), 3)


@cache
def ball(kind: str = "density", rgb=painted) -> FunctionVolume:  # type: ignore[no-untyped-def]
    geometry = ball_sdf if kind == "sdf" else ball_density
    return ready(FunctionVolume(Space(BOUNDS), kind, geometry, rgb))  # type: ignore[arg-type]


def ready(volume: Volume) -> Volume:
    volume.occupancy.rebuild(volume, torch.Generator().manual_seed(0))
    return volume


def points(count: int = 4000, reach: float = 1.0) -> Tensor:
    return reach * (2 * torch.rand(count, 3, generator=torch.Generator().manual_seed(3)) - 1)


def directions(count: int = 4000) -> Tensor:
    return normalize(torch.randn(count, 3, generator=torch.Generator().manual_seed(4)), dim=1)


def camera(place: Similarity | None = None) -> Cameras:
    """Looks at the ball; with `place` it is carried along, distances scaled."""
    pose = look_at(torch.tensor([[2.2, -1.4, 1.1]]), CENTRE, torch.tensor([0.0, 0.0, 1.0]))
    if place is not None:
        pose = torch.cat([place.rotation @ pose[:, :, :3], place.apply(pose[:, None, :, 3]).transpose(1, 2)], dim=2)
    return Cameras.pinhole(pose, 40.0, 32, 32)


PLACES = {
    "moved": Similarity.create(move=(0.4, -2.0, 0.7)),
    "turned": Similarity.create(degrees=(20, -50, 110), about=(0.3, 0.0, -0.2)),
    "scaled": Similarity.create(scale=2.5, about=(1.0, 0.0, 0.0)),
    "all": Similarity.create(scale=0.6, degrees=(0, 0, 35), move=(1.0, 2.0, 3.0)),
}


@pytest.mark.parametrize("kind", ["density", "sdf"])
@pytest.mark.parametrize("name", PLACES)
def test_moved_part_looks_as_from_a_moved_camera(name: str, kind: str) -> None:
    part, place = ball(kind), PLACES[name]
    moved = CompositeVolume([Placed(part, place)])
    before = render_view(part, camera(), 0, what=("rgb", "opacity", "depth"))
    after = render_view(moved, camera(place), 0, what=("rgb", "opacity", "depth"))
    assert before["opacity"].max() > 0.9
    for picture, scale in (("rgb", 1.0), ("opacity", 1.0), ("depth", place.scale)):
        wanted = before[picture] * scale
        seen = before["opacity"] > 0.5 if picture == "depth" else torch.ones_like(before["opacity"], dtype=torch.bool)
        assert (after[picture] - wanted).abs()[seen].mean() < 4e-3 * scale, picture


def test_scale_keeps_opacity_and_stretches_distance() -> None:
    place, x = PLACES["scaled"], points()
    density = CompositeVolume([Placed(ball(), place)]).density(place.apply(x))
    solid = ball().occupancy.occupied(x)
    torch.testing.assert_close(density[solid] * 2.5, ball_density(x[solid]), atol=1e-3, rtol=1e-3)
    distance = CompositeVolume([Placed(ball("sdf"), place)]).sdf(place.apply(x))
    torch.testing.assert_close(distance, 2.5 * ball_sdf(x), atol=1e-4, rtol=1e-4)


def test_deleted_box_has_exactly_no_density_and_the_rest_stays() -> None:
    hole, x = torch.tensor([[0.0, -0.5, 0.0], [0.6, 0.5, 0.5]]), points()
    density = CompositeVolume([Placed(ball(), without=(hole,))], Space(BOUNDS)).density(x)
    gone = in_box(x, hole)
    assert bool((density[gone] == 0).all()) and ball_density(x[gone]).max() > 5
    solid = ~gone & ball().occupancy.occupied(x)
    torch.testing.assert_close(density[solid], ball_density(x[solid]))
    assert bool((density[~ball().occupancy.occupied(x)] == 0).all())


@pytest.mark.parametrize("kind", ["density", "sdf"])
def test_delete_shows_the_background_through_the_hole(kind: str) -> None:
    hole = torch.tensor([[-1.0, -0.25, 0.0], [1.0, 0.05, 0.3]])
    edited = CompositeVolume([Placed(ball(kind), without=(hole,))])
    pose = look_at(torch.tensor([[3.0, -0.1, 0.15]]), CENTRE, torch.tensor([0.0, 0.0, 1.0]))
    view = Cameras.pinhole(pose, 40.0, 33, 33)
    assert render_view(edited, view, 0, what=("opacity",))["opacity"][16, 16] == 0
    assert render_view(ball(kind), view, 0, what=("opacity",))["opacity"][16, 16] > 0.9


def test_crop_shrinks_the_space_and_cuts() -> None:
    cropped = CompositeVolume([Placed(ball(), within=UPPER)])
    low, high = cropped.space.bounds
    assert low[2] == pytest.approx(0.15) and high[2] < 0.75 and low[0] > -0.4
    below = torch.tensor([[0.2, -0.1, 0.1]])
    assert cropped.density(below).item() == 0 and cropped.density(below + torch.tensor([0, 0, 0.1])).item() > 5


def test_cut_distances_are_bounds_of_true_ones_with_the_right_sign() -> None:
    """Half a ball with a box missing: the distance to a dense sample of its surface is never less."""
    hole = torch.tensor([[0.2, -0.7, 0.3], [0.8, 0.5, 0.8]])
    cut = CompositeVolume([Placed(ball("sdf"), within=UPPER, without=(hole,))], Space(2 * BOUNDS))
    x = points(1500, 2.0)
    inside = (ball_sdf(x) < 0) & in_box(x, UPPER) & ~in_box(x, hole)
    assert torch.equal(cut.sdf(x) < 0, inside)
    mesh = extract_mesh(cut.evaluate_geometry, cut.space.bounds / 2, 96, inside="negative")
    assert mesh.is_watertight()
    true = torch.cdist(x, torch.from_numpy(mesh.vertices)).amin(dim=1)
    assert (cut.sdf(x).abs() - true).max() < 0.03  # the mesh's own spacing
    assert mesh.vertices[:, 2].min() == pytest.approx(0.15, abs=0.02)


def test_merge_of_densities_is_their_sum_with_mixed_colors() -> None:
    shift = Similarity.create(move=(0.3, 0.0, 0.0))
    both = CompositeVolume([Placed(ball()), Placed(ball(rgb=blue), shift)])
    x, d = points(), directions()
    first, second = ball().density(x), ball().density(shift.invert(x))
    present = ball().occupancy.occupied(x).float(), ball().occupancy.occupied(shift.invert(x)).float()
    first, second = first * present[0], second * present[1]
    out = both.evaluate(x, d)
    torch.testing.assert_close(out.density, (first + second) * both.space.contains(x), atol=1e-5, rtol=1e-5)
    solid = (first + second > 1e-3) & both.space.contains(x)
    weight = (first / (first + second))[solid, None]
    wanted = weight * painted(x, d)[solid] + (1 - weight) * blue(x, d)[solid]
    torch.testing.assert_close(out.rgb[solid], wanted, atol=1e-4, rtol=1e-4)


def test_merge_of_distances_is_the_union_with_the_nearest_color() -> None:
    shift = Similarity.create(move=(1.2, 0.0, 0.0))
    both = CompositeVolume([Placed(ball("sdf")), Placed(ball("sdf", blue), shift)])
    x, d = points(reach=0.7), directions()
    out = both.evaluate(x, d)
    second = ball_sdf(shift.invert(x))
    assert both.kind == "sdf"
    near = torch.minimum(ball_sdf(x), second)
    assert torch.equal(out.geometry < 0, near < 0) and (out.geometry - near).max() < 1e-5
    other = out.rgb[:, 2] == 1
    clear = (ball_sdf(x) - second).abs() > 0.3
    assert torch.equal(other[clear], (second < ball_sdf(x))[clear])


def test_mixed_kinds_become_density() -> None:
    solid, shift = ball("sdf", blue), Similarity.create(move=(0.0, 1.5, 0.0))
    both = CompositeVolume([Placed(ball()), Placed(solid, shift)])
    assert both.kind == "density"
    x = CENTRE + torch.tensor([[0.0, 1.5, 0.0], [0.0, 0.0, 0.0]])
    torch.testing.assert_close(
        both.density(x), torch.cat([laplace_density(ball_sdf(x[1:]), solid.beta), ball_density(x[1:])])
    )
    assert both.evaluate(x, directions(2)).rgb[0].tolist() == [0, 0, 1]


def test_fields_composites_and_functions_nest() -> None:
    field = ready(Field.create("hash", Space(BOUNDS), "sdf", preset="tiny"))
    turn = Similarity.create(degrees=(0, 90, 0), move=(3.0, 0.0, 0.0))
    inner = ready(CompositeVolume([Placed(field), Placed(ball("sdf"), turn)]))
    outer = CompositeVolume([Placed(inner, Similarity.create(scale=2.0))])
    x = torch.tensor([[0.05, 0.1, 0.0], [0.4, 0.0, 0.0]])
    torch.testing.assert_close(outer.sdf(2 * x), 2 * field.sdf(x), atol=1e-4, rtol=1e-4)
    moved = turn.apply(CENTRE[None])
    assert outer.sdf(2 * moved).item() == pytest.approx(-2 * RADIUS, abs=1e-3)
    out = outer.evaluate(torch.cat([2 * x, 2 * moved]), directions(3))
    torch.testing.assert_close(out.rgb[:2], field.evaluate(x, directions(3)[:2]).rgb)
    assert len(list(outer.parameters())) > 2  # moves to a device with its parts


def test_colors_by_ray_and_by_sample_agree() -> None:
    both = CompositeVolume([Placed(ball(), PLACES["turned"]), Placed(ball("sdf", blue))])
    x, index = points(200, 0.6), torch.arange(200) % 7
    features = both.features(x)
    per_ray = both.color_of(features, directions(7), index)
    torch.testing.assert_close(per_ray, both.color_of(features, directions(7)[index]))


def test_unbounded_fields_stay_unbounded_unless_cropped() -> None:
    field = Field.create("hash", Space(BOUNDS, "unbounded"), preset="tiny")
    hole = torch.tensor([[0.0, 0.0, 0.0], [0.5, 0.5, 0.5]])
    emptied = CompositeVolume([Placed(field, without=(hole,))])
    assert emptied.space.unbounded and torch.equal(emptied.space.bounds, BOUNDS)
    x = torch.tensor([[0.2, 0.2, 0.2], [30.0, 0.0, 0.0]])
    assert emptied.density(x)[0] == 0 and emptied.density(x)[1] == field.density(x)[1] > 0
    cropped = CompositeVolume([Placed(field, within=hole)])
    assert not cropped.space.unbounded and torch.equal(cropped.space.bounds, hole)


def test_forward_facing_fields_are_not_moved() -> None:
    field = Field.create("hash", Space(BOUNDS, "ndc"), preset="tiny")
    assert CompositeVolume([Placed(field, within=UPPER)]).space.contraction == "ndc"
    for parts in ([Placed(field, PLACES["moved"])], [Placed(field), Placed(ball())]):
        with pytest.raises(UserError, match="E-EDIT-NDC"):
            CompositeVolume(parts)


@given(
    st.floats(0.1, 10),
    st.tuples(*[st.floats(-180, 180)] * 3),
    st.tuples(*[st.floats(-5, 5)] * 3),
)
def test_similarities_invert_and_scale_distances(scale: float, degrees: tuple, move: tuple) -> None:
    place, x = Similarity.create(scale=scale, degrees=degrees, move=move, about=(1, 2, 3)), points(20)
    torch.testing.assert_close(place.invert(place.apply(x)), x, atol=1e-3 / scale, rtol=1e-4)
    y = place.apply(x)
    torch.testing.assert_close((y[1:] - y[:-1]).norm(dim=1), scale * (x[1:] - x[:-1]).norm(dim=1), rtol=1e-3, atol=1e-4)
    d = normalize(y[1:] - y[:-1], dim=1)
    torch.testing.assert_close(place.invert_directions(d), normalize(x[1:] - x[:-1], dim=1), atol=1e-3, rtol=0)


def test_box_distance_is_exact() -> None:
    box = torch.tensor([[0.0, 0.0, 0.0], [1.0, 2.0, 3.0]])
    x = torch.tensor([[2.0, 3.0, 1.0], [0.4, 1.0, 1.0], [0.5, 1.0, 5.0]])
    assert box_distance(x, box).tolist() == pytest.approx([math.sqrt(2), -0.4, 2.0])


def test_edits_are_read_in_order() -> None:
    edits = parse_edits([
        "crop:-1,-1,-1, 1,1,1", "duplicate:0,0,0,1,1,1@2,0,0",
        "transform:scale=2,rotate=0,90,0,move=1e-1,0,0,about=0,0,0", "merge:a@b.safetensors@move=2,0,0",
    ])  # fmt: skip
    assert edits[0] == Edit("crop", box=((-1, -1, -1), (1, 1, 1)))
    assert edits[1].place == Place(move=(2, 0, 0))
    assert edits[2].place == Place(2.0, (0, 90, 0), (0.1, 0, 0), (0, 0, 0))
    assert merged_fields(edits) == ["a@b.safetensors"] and edits[3].place == Place(move=(2, 0, 0))


@pytest.mark.parametrize(
    "text",
    [
        "crop", "shrink:1", "crop:1,2,3", "crop:1,1,1,0,0,0", "delete:a,b,c,d,e,f", "duplicate:0,0,0,1,1,1",
        "duplicate:0,0,0,1,1,1@1,2", "transform:", "transform:scale=0", "transform:scale=-1", "transform:size=2",
        "transform:move=1,2", "transform:move=1,2,3,move=1,2,3", "transform:scale=inf", "merge:", "merge:@1,0,0",
        "merge:a@scale=x",
    ],
)  # fmt: skip
def test_edits_that_cannot_be_read_are_refused_in_one_line(text: str) -> None:
    with pytest.raises(UserError) as error:
        parse_edits([text])
    assert error.value.code == "E-USAGE-EDIT" and error.value.exit_code == ExitCode.USAGE
    assert "\n" not in error.value.line() and "Fix:" in error.value.line()


def test_edits_apply_one_after_another() -> None:
    texts = ["crop:-1,-1,0.15,1,1,1", "duplicate:-1,-1,-1,1,1,1@0,0,2", "transform:scale=2,about=0,0,0",
             "merge:other@10,0,0"]  # fmt: skip
    edited = apply_edits(ball("sdf"), {"other": ball("sdf", blue)}, parse_edits(texts))
    top = CENTRE + torch.tensor([0.0, 0.0, 0.2])
    x = torch.stack([top, top + torch.tensor([0, 0, 2.0]), top - torch.tensor([0, 0, 0.3]), 0.5 * top + 5])
    x = torch.cat([2 * x, CENTRE[None] + torch.tensor([10.0, 0.0, 0.0])])
    assert (edited.sdf(x) < 0).tolist() == [True, True, False, False, True]
    assert edited.evaluate(x[-1:], directions(1)).rgb[0].tolist() == [0, 0, 1]
    assert 0 < edited.occupancy.occupied_fraction < 0.2


def test_no_edits_leave_the_volume_itself() -> None:
    volume = ball()
    assert apply_edits(volume, {}, []) is volume


@pytest.mark.parametrize("texts", [["crop:5,5,5,6,6,6"], ["delete:-2,-2,-2,2,2,2"]])
def test_edits_that_leave_nothing_are_refused(texts: list[str]) -> None:
    with pytest.raises(UserError, match="E-USAGE-EDIT"):
        apply_edits(ball(), {}, parse_edits(texts))


def test_turn_is_about_the_middle_of_the_box() -> None:
    edited = apply_edits(ball(), {}, parse_edits(["transform:rotate=0,0,180"]))
    box = ball().occupancy.occupied_box()
    torch.testing.assert_close(edited.space.bounds, box, atol=1e-4, rtol=0)
