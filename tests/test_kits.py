"""Folders of meshes as kits: kinds from names or a mapping, sizes in metres, fronts to +z, composed like our own."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from data.kinds import KINDS
from data.kit_names import guessed_kind
from data.kits import MeshKit, find_models, load_kit
from data.rooms import make_room_scene
from data.scene import Scene, box_at, make_item
from data.settlement import make_city_scene, make_village_scene
from data.solids import box, joined
from fields.errors import UserError
from fields.mesh_files import save_mesh
from fields.mesh_types import Mesh


def sofa_mesh(scale: float) -> Mesh:
    """A seat with a back on its -z side, at any scale."""
    whole = joined([box((2.0, 0.4, 0.9)), box((2.0, 0.85, 0.2), (0, 0, -0.35))])
    return Mesh(whole.vertices * np.float32(scale), whole.faces)


def turned_about(mesh: Mesh, quarter: int) -> Mesh:
    vertices = mesh.vertices
    for _ in range(quarter):
        vertices = vertices[:, [2, 1, 0]] * np.float32([1, 1, -1])
    return Mesh(vertices, mesh.faces)


@pytest.mark.parametrize(
    ("name", "kind"),
    [("Bed_King", "double_bed"), ("bed_single_A", "single_bed"), ("NightStand_1", "nightstand"), ("chair_B", "chair"),
     ("armchair_pillows", "armchair"), ("Couch_Large1", "sofa"), ("Light_Desk", "table_lamp"),
     ("table_low", "coffee_table"), ("Kitchen_Fridge", "fridge"), ("rug_oval_A", "rug"), ("car_taxi", "car"),
     ("building_A_withoutBase", "block"),
     ("streetlight", "street_lamp"), ("Plate_1", ""), ("Door_3", ""), ("trafficlight_A", ""), ("king", "")],
)  # fmt: skip
def test_names_tell_the_kind(name: str, kind: str) -> None:
    assert guessed_kind(name) == kind


@pytest.mark.parametrize("quarter", range(4))
@pytest.mark.parametrize("scale", [0.01, 1.0, 100.0])
def test_models_come_to_metres_and_turn_their_backs_away(tmp_path: Path, scale: float, quarter: int) -> None:
    save_mesh(turned_about(sofa_mesh(scale), quarter), tmp_path / "My Sofa.obj")
    (item,) = load_kit(tmp_path).items["sofa"]
    assert 1.5 < item.size[0] < 2.5 and 0.6 < item.size[1] < 1.0 and 0.7 < item.size[2] < 1.2
    vertices = np.concatenate([part.mesh.vertices for part in item.parts])
    assert vertices[vertices[:, 1] > 0.9 * item.size[1], 2].mean() < -0.2


def test_mapping_names_kind_and_front(tmp_path: Path) -> None:
    save_mesh(turned_about(sofa_mesh(1.0), 1), tmp_path / "model_17.obj")
    save_mesh(sofa_mesh(1.0), tmp_path / "sofa_unused.obj")
    (tmp_path / "kit.json").write_text(json.dumps({"models": {"model_17.obj": {"kind": "sofa", "turn_degrees": -90}}}))
    models = find_models(tmp_path)
    assert [model.path.name for model in models] == ["model_17.obj"]
    (item,) = load_kit(tmp_path).items["sofa"]
    assert item.size[0] > 1.5 * item.size[2]


@pytest.mark.parametrize(
    ("mapping", "code"),
    [({"models": []}, "E-KIT-MAPPING"), ({"models": {"a.obj": "spaceship"}}, "E-KIT-MAPPING"),
     ({"models": {"a.obj": 3}}, "E-KIT-MAPPING"),
     ({"models": {"a.obj": {"kind": "sofa", "turn_degrees": "x"}}}, "E-KIT-MAPPING"),
     ({"models": {"../a.obj": "sofa"}}, "E-PATH-ESCAPE"), ({"models": {"a.obj": "sofa"}}, "E-MESH-MISSING")],
)  # fmt: skip
def test_wrong_mappings_are_refused(tmp_path: Path, mapping: object, code: str) -> None:
    (tmp_path / "kit.json").write_text(json.dumps(mapping))
    with pytest.raises(UserError, match=code):
        load_kit(tmp_path)


def test_folders_without_usable_models_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="E-KIT-FOLDER"):
        load_kit(tmp_path / "missing")
    save_mesh(sofa_mesh(1.0), tmp_path / "thing.obj")
    with pytest.raises(UserError, match="E-KIT-EMPTY"):
        load_kit(tmp_path)


def test_broken_models_are_told_together(tmp_path: Path) -> None:
    for name in ("chair_1", "chair_2"):
        (tmp_path / f"{name}.obj").write_text("v 0 0 0\n")
    with pytest.raises(UserError, match=r"chair_1(.|\n)*chair_2"):
        load_kit(tmp_path)


def test_things_of_other_proportions_are_left_out(tmp_path: Path) -> None:
    save_mesh(box((0.01, 3.0, 0.01)), tmp_path / "table_pole.obj")
    save_mesh(sofa_mesh(1.0), tmp_path / "sofa.obj")
    assert set(load_kit(tmp_path).items) == {"sofa"}


@pytest.fixture(scope="module")
def kits(shared_data: Path) -> Path:
    folder = shared_data / "scenes"
    if not folder.is_dir():
        pytest.skip(f"no kits at {folder}")
    return folder


@pytest.mark.parametrize("name", ["kaykit_furniture", "quaternius_house_interior_pack"])
def test_free_furniture_kits_furnish_rooms(kits: Path, name: str) -> None:
    kit = load_kit(kits / name)
    assert sum(map(len, kit.items.values())) >= 30
    for items in kit.items.values():
        for item in items:
            kind = KINDS[item.kind]
            assert item.name == kind.name and 0.3 * kind.width[0] < item.size[0] < 3.1 * kind.width[1]
    own = {id(part.mesh.faces) for items in kit.items.values() for item in items for part in item.parts}
    layout_parts = make_room_scene(5, (2, 2), kit).parts
    assert sum(id(part.mesh.faces) in own for part in layout_parts) >= 5


@pytest.mark.parametrize(
    ("name", "make"), [("kaykit_medieval_hexagon", make_village_scene), ("kaykit_city", make_city_scene)]
)
def test_free_building_kits_make_villages_and_cities(kits: Path, name: str, make: Callable[..., Scene]) -> None:
    kit = load_kit(kits / name)
    found = make(2, (60.0, 60.0), kit)
    assert sum(box.name == "house" for box in found.layout.objects) >= 2
    assert found.layout == make(2, (60.0, 60.0), kit).layout


def test_items_of_a_kit_fill_their_boxes() -> None:
    item = make_item("sofa", "sofa", [(sofa_mesh(1.0), (0.5, 0.5, 0.5))])
    kit = MeshKit({"sofa": [item]})
    found = kit.item("sofa", np.random.default_rng(0))
    assert found is item and kit.item("bed", np.random.default_rng(0)) is None
    assert box_at(item, 1.0, 1.0, 0.0).size == pytest.approx((2.0, 0.85, 0.9), abs=1e-5)
