"""fieldscape scene evaluate"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from fields.errors import UserError

from .. import parsing
from ..arguments import Device, Force, JsonTo, Seed
from ..console import Console

if TYPE_CHECKING:
    from pathlib import Path


def register(group: typer.Typer) -> None:
    """Add the command to the group `scene`."""
    group.command("evaluate")(evaluate)


def evaluate(
    model: Annotated[
        str, typer.Argument(help="Run folder of train-diffusion or train-vae, a model folder, or a shipped model.")
    ],
    blocks: Annotated[str | None, typer.Argument(help="Folder made by scene prepare.")] = None,
    planes: Annotated[str | None, typer.Argument(help="Folder made by scene fit.")] = None,
    count: Annotated[int, typer.Option(help="Blocks to generate and compare.", min=2, max=10_000)] = 200,
    sampler: Annotated[str, typer.Option(help="ddpm, ddim or dpm.")] = "ddim",
    steps: Annotated[int, typer.Option(help="Steps of sampling.", min=1, max=1000)] = 20,
    guidance: Annotated[float, typer.Option(help="How strongly plans are followed; 1 as learned.")] = 2.0,
    sheet: Annotated[
        str | None, typer.Option(metavar="FILE.png", help="Write pictures: generated, nearest training block, plan.")
    ] = None,
    seams: Annotated[
        bool, typer.Option("--seams", help="Also make a scene in several ways, and compare blocks where they overlap.")
    ] = False,
    size: Annotated[str, typer.Option(metavar="COLUMNSxROWS", help="Blocks of that scene.")] = "6x6",
    rings: Annotated[
        int, typer.Option(help="Rings of blocks that --seams grows around one, to tell drift.", min=0, max=5)
    ] = 5,
    seam_sheet: Annotated[
        str | None, typer.Option(metavar="FILE.png", help="Write where blocks disagree, a picture for each way.")
    ] = None,
    seed: Seed = 0,
    device: Device = "auto",
    force: Force = False,
    json_to: JsonTo = None,
) -> None:
    """Figures of held-out blocks: fit, auto-encoder, generation beside train-against-held-out, plans kept; seams.

    With --seams alone BLOCKS and PLANES may be left out.
    """
    console = Console(json_to)
    _check_given(blocks, planes, seams)
    from scenegen.sampling import SamplingOptions
    from scenegen.schedulers import SAMPLERS
    from scenegen.shipped import find_model

    from ..devices import pick_device
    from ..outputs import check_file
    from ..scene_evaluation import open_networks

    (name,) = parsing.choices(sampler, SAMPLERS, "--sampler")[:1]
    target, seam_target = (check_file(file, (".png",), force) if file else None for file in (sheet, seam_sheet))
    seam_options = _seam_options(size, rings, seed, steps, guidance)
    folder, chosen = find_model(model), pick_device(device)
    networks, notes = open_networks(folder, chosen)
    document: dict[str, Any] = {}
    if blocks is not None and planes is not None:
        sampling = SamplingOptions(name, steps, guidance, str(notes.get("prediction", "sample")))
        document = console.run(_blocks_run(networks, blocks, planes, count, seed, sampling, target))
        for line in _lines(document):
            console.say(line)
    if seams:
        document["seams"] = console.run(_seam_run(folder, networks, seam_options, seam_target, chosen))
        for line in _seam_lines(document["seams"]):
            console.say(line)
    console.finish(document)


def _check_given(blocks: str | None, planes: str | None, seams: bool) -> None:
    if (blocks is None) != (planes is None) or (blocks is None and not seams):
        raise UserError("E-USAGE-SOURCE", "BLOCKS and PLANES belong together", got="one" if blocks else "none",
                        expected="both, or --seams without them",
                        fix="name the folders of scene prepare and scene fit")  # fmt: skip


def _blocks_run(
    networks: Any, blocks: str, planes: str, count: int, seed: int, sampling: Any, target: Path | None
) -> Any:
    from scenegen.evaluate import EvaluateOptions
    from scenegen.store import open_store

    from ..scene_evaluation import evaluation_run

    stores = open_store(blocks, "samples"), open_store(planes, "fitted")
    return evaluation_run(networks, *stores, EvaluateOptions(count, seed, sampling), target)


def _seam_options(size: str, rings: int, seed: int, steps: int, guidance: float) -> Any:
    from scenegen.world.composed import parse_size

    from ..seam_evaluation import SeamOptions
    from ..world_request import SceneRequest

    options = SceneRequest(steps=steps, guidance=guidance).options()
    return SeamOptions(parse_size(size), seed, options, rings=rings)


def _seam_run(folder: Path, networks: Any, options: Any, target: Path | None, device: str) -> Any:
    from ..seam_evaluation import seam_run

    return seam_run(folder, networks, options, target, device)


def _lines(document: dict[str, Any]) -> list[str]:
    lines = [
        f"{name:<4} surface error {document[name]['surface_mm']:.2f} mm, sign IoU {document[name]['sign_iou']:.3f}"
        for name in ("fit", "vae")
    ]
    made, plan = document["generation"], document["layout"]
    if made and made["nna"] is not None:
        beside = made["reference"]
        lines.append(
            f"generated against held out: 1-NNA {made['nna']:.1%} (training blocks {beside['nna']:.1%}), "
            f"COV {made['cov']:.1%} ({beside['cov']:.1%}), MMD {made['mmd']:.5f} ({beside['mmd']:.5f})"
        )
        lines.append(f"nearer to a training block than 99 % of held-out ones: {made['copying']['close']:.1%}")
    if plan:
        lines.append(f"furniture IoU with the plan {plan['iou']:.3f}, with another's {plan['shuffled']:.3f}")
        lines.append(f"{document['seconds_per_block']:.2f} s a block")
    return lines


def _seam_lines(document: dict[str, Any]) -> list[str]:
    """A line for each way of making the blocks, then for each ring."""
    lines = [f"{'seams':<21} gap mm  sign IoU  normal deg  Chamfer mm  layout IoU  components  open edges"]
    for row in document["rows"]:
        gap, iou, angle, chamfer = (_figure(row[name]) for name in ("gap_mm", "sign_iou", "normal_deg", "chamfer_mm"))
        mesh, layout = row["mesh"], _figure(row["layout"]["iou"])
        lines.append(f"{row['name']:<21} {gap:>6}  {iou:>8}  {angle:>10}  {chamfer:>10}  {layout:>10}  "
                     f"{mesh['components']:>10}  {mesh['open_edges']:>10}")  # fmt: skip
    lines.append(f"layout IoU in the scene less that of single blocks: {_figure(document['layout_gain'])}")
    lines += [
        f"ring {ring['ring']}: gap {_figure(ring['gap_mm'])} mm, sign IoU {_figure(ring['sign_iou'])}, Chamfer "
        f"{_figure(ring['chamfer_mm'])} mm, layout IoU {_figure(ring['layout_iou'])}, of single blocks "
        f"{_figure(ring['single_layout_iou'])}"
        for ring in document["rings"]
    ]
    return lines


def _figure(value: float | None) -> str:
    return "-" if value is None else f"{value:.3g}"
