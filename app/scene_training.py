"""Training of the block generator as jobs: run folders with states, records, sample pictures and a model folder."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Generator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from diffusers.models.modeling_utils import ModelMixin

from fields.budget import Budget
from fields.errors import UserError
from fields.progress import Progress, finished
from fields.run_folder import RunFolder
from scenegen.block_set import load_blocks
from scenegen.build import new_denoiser, new_vae
from scenegen.decoder import TriplaneDecoder
from scenegen.fit import open_decoder
from scenegen.latents import encode_blocks
from scenegen.model_folder import load_model, read_notes, save_models
from scenegen.models import ConvDenoiser, TriplaneVAE
from scenegen.pictures import block_picture, plan_picture, save_sheet
from scenegen.presets import FitPreset, Preset, preset_named
from scenegen.sampling import SamplingOptions, decode_latents, sample_latents
from scenegen.store import BlockStore
from scenegen.train_diffusion import DiffusionOptions, train_diffusion
from scenegen.train_vae import VaeOptions, train_vae
from scenegen.training import TrainOptions, TrainState

from .record import Record
from .saving import saved

MODEL, SHEET = "model", "samples.png"
PICTURE_SECONDS = 60.0
_SHOWN = 6  # blocks in a sheet of samples
_SHEET_STEPS = 20  # of sampling for a sheet


@dataclass(frozen=True)
class TrainSettings:
    """What a training is asked for; None leaves it to the preset."""

    preset: str = "tiny"
    seconds: float | None = None
    steps: int | None = None
    batch: int | None = None
    rate: float | None = None
    seed: int = 0
    device: str = "cpu"
    bfloat16: bool = False

    def budget(self, usual: int) -> Budget:
        """Seconds, steps, or the preset's steps without either."""
        return Budget(self.seconds, usual if self.seconds is None and self.steps is None else self.steps)

    def options(self, batch: int, rate: float, decay: float) -> TrainOptions:
        """With the preset's batch, learning rate and decay where nothing else is asked for."""
        return TrainOptions(self.batch or batch, self.rate or rate, decay, self.seed, self.bfloat16)


@dataclass(frozen=True)
class Place:
    """Where a run is written, and what may be there already."""

    out: Path
    resume: bool = False
    force: bool = False


def vae_run(
    samples: BlockStore,
    fitted: BlockStore,
    settings: TrainSettings,
    place: Place,
    model: str | os.PathLike[str] | None = None,
) -> Generator[Progress, None, dict[str, Any]]:
    """Train a VAE on the training blocks; OUT/model then holds it with the decoder. Returns the run's record.

    Args:
        model: folder with a VAE whose way back from latents is to be trained further, for the preset's
            `improve_steps`; its other networks are kept, since the latents stay what they are.

    Raises:
        UserError: before the folder is made, for settings that do not fit; `E-NAN-FIT`, `E-CKPT-…`.
    """
    preset = _fitting(preset_named(settings.preset), fitted)
    decoder = open_decoder(fitted, settings.device)
    shower = open_decoder(fitted)  # pictures are made on the CPU
    blocks = load_blocks(samples, fitted, fitted.blocks("train"))
    options = VaeOptions(**asdict(settings.options(preset.vae.batch, preset.vae.learning_rate, 0.999)))
    if model is None:
        command, steps = "scene train-vae", preset.vae.steps
        vae, company = new_vae(preset, settings.seed), _Company()
    else:
        command, steps = "scene train-vae --improve", preset.vae.improve_steps
        vae, company = _to_improve(model, preset)
    state = TrainState(vae, options, settings.device)
    budget = settings.budget(steps)
    shown = blocks.planes[:_SHOWN].float()

    def draw(path: Path) -> None:
        found = state.averaged()(shown.to(settings.device))[0].cpu()
        save_sheet([[block_picture(shower, block) for block in row] for row in (shown, found)], path)

    def models() -> dict[str, Any]:
        return {"decoder": decoder, "vae": state.averaged(), **company.networks}

    job = _Job(command, settings, fitted, state, draw, models, company.notes)
    return (yield from job.go(train_vae(state, blocks, decoder, options, budget), place))


def diffusion_run(
    model: str | os.PathLike[str],
    fitted: BlockStore,
    settings: TrainSettings,
    place: Place,
    prediction: str = "sample",
    backbone: str = "conv",
) -> Generator[Progress, None, dict[str, Any]]:
    """Train a denoiser on latents of the training blocks; OUT/model then holds all three networks.

    Args:
        model: folder with decoder and VAE, made by `vae_run` from the same `fitted` store.

    Raises:
        UserError: as `vae_run`; `E-CKPT-MODEL` for a VAE of other planes.
    """
    preset = _fitting(preset_named(settings.preset), fitted)
    decoder = load_model(TriplaneDecoder, model, "decoder")
    vae = load_model(TriplaneVAE, model, "vae", settings.device)
    _check_vae(vae, preset, model)
    sizes, classes = preset.diffusion, fitted.head.classes
    options = DiffusionOptions(
        **asdict(settings.options(sizes.batch, sizes.learning_rate, sizes.ema)), prediction=prediction
    )
    budget = settings.budget(sizes.steps)
    train = fitted.gather(fitted.blocks("train"))
    latents = yield from encode_blocks(vae, train["planes"], train["layout"])
    state = TrainState(new_denoiser(preset, len(classes), settings.seed, backbone), options, settings.device)
    plans = train["layout"][:_SHOWN]

    def draw(path: Path) -> None:
        sampling = SamplingOptions("ddim", _SHEET_STEPS, prediction=prediction)
        found = finished(sample_latents(state.averaged(), plans, range(len(plans)), sampling))
        pictures = [block_picture(decoder, block) for block in decode_latents(vae, found)]
        save_sheet([pictures, [plan_picture(plan, classes) for plan in plans]], path)

    def models() -> dict[str, Any]:
        return {"decoder": decoder, "vae": vae, "denoiser": state.averaged()}

    job = _Job("scene train-diffusion", settings, fitted, state, draw, models, {"prediction": prediction})
    return (yield from job.go(train_diffusion(state, latents, options, budget), place))


@dataclass(frozen=True)
class _Company:
    """What a model folder has besides decoder and VAE, and what its notes say of it."""

    networks: dict[str, ModelMixin] = field(default_factory=dict)
    notes: dict[str, Any] = field(default_factory=dict)


def _to_improve(model: str | os.PathLike[str], preset: Preset) -> tuple[TriplaneVAE, _Company]:
    """The VAE of a folder with its latents fixed, and what goes with them."""
    vae = load_model(TriplaneVAE, model, "vae")
    _check_vae(vae, preset, model)
    vae.fix_latents()
    notes = read_notes(model)
    if "prediction" not in notes:
        return vae, _Company()
    return vae, _Company({"denoiser": load_model(ConvDenoiser, model, "denoiser")}, {"prediction": notes["prediction"]})


class _Job:
    """One training in its folder. Of several processes, started by torchrun, only the first one writes."""

    def __init__(
        self,
        command: str,
        settings: TrainSettings,
        fitted: BlockStore,
        state: TrainState[Any],
        draw: Callable[[Path], None],
        models: Callable[[], dict[str, Any]],
        notes: dict[str, Any] | None = None,
    ) -> None:
        self.command, self.settings, self.state = command, settings, state
        self.draw, self.models, self.drawn = draw, models, time.monotonic()
        head = fitted.head
        self.notes = {
            "preset": settings.preset,
            "seed": settings.seed,
            "world": head.world,
            "frame": asdict(head.frame),
            "classes": list(head.classes),
            **(notes or {}),
        }

    def go(self, steps: Generator[Progress, None, None], place: Place) -> Generator[Progress, None, dict[str, Any]]:
        if int(os.environ.get("RANK", "0")) != 0:
            yield from steps
            return {}
        with RunFolder(place.out, resume=place.resume, force=place.force) as folder:
            return (yield from self._in_folder(folder, steps, place.resume))

    def _in_folder(
        self, folder: RunFolder, steps: Generator[Progress, None, None], resume: bool
    ) -> Generator[Progress, None, dict[str, Any]]:
        found = folder.load_state() if resume else None
        told = {"train": asdict(self.settings), **self.notes}
        record = Record(self.command, told, self.settings.device, folder.read_record() if resume else None)
        if found is not None:
            self._restore(found.tensors, folder.path)
        folder.write_record(record.document(parameters=sum(p.numel() for p in self.state.model.parameters())))

        def save(status: str) -> None:
            folder.save_state(self.state.step, self.state.tensors(), {"notes": told})
            folder.write_record(record.document(status=status, steps=self.state.step, loss=self.state.loss))
            if status == "running" and time.monotonic() - self.drawn > PICTURE_SECONDS:
                self.draw(folder.path / SHEET)
                self.drawn = time.monotonic()

        with record.phase("train"):
            yield from saved(steps, save)
        save("running")
        with record.phase("pictures"):
            self.draw(folder.path / SHEET)
        document = record.document(status="done", steps=self.state.step, loss=self.state.loss)
        save_models(folder.path / MODEL, self.models(), card=card(self.command, document), notes=self.notes)
        folder.write_record(document)
        return document

    def _restore(self, tensors: dict[str, torch.Tensor], where: Path) -> None:
        mine = {name: tensor.shape for name, tensor in self.state.tensors().items()}
        if {name: tensor.shape for name, tensor in tensors.items()} != mine:
            raise UserError("E-USAGE-RESUME", "run was begun with other settings", where=where,
                            expected="the preset and data it was begun with",
                            fix="repeat the first command with --resume, or start anew with --force")  # fmt: skip
        self.state.load(tensors)


def card(command: str, record: dict[str, Any]) -> str:
    """README.md of a model folder."""
    told, train = record["settings"], record["settings"]["train"]
    frame = told["frame"]
    lines = [
        "# Block generator of Fieldscape",
        "",
        f"Tri-plane blocks of {frame['size']:g} m for world `{told['world']}`, made by `fieldscape {command}`.",
        "",
        f"- preset {train['preset']}, seed {train['seed']}, {record['steps']} steps, loss {record['loss']:.4g}",
        f"- classes of plans: {', '.join(told['classes'])}",
        f"- trained in {sum(record['seconds'].values()):.0f} s on {train['device']}",
        "- data: the scenes given to `fieldscape scene prepare`; their licence governs these weights",
        "- limits: thin parts suffer, plans say nothing of height or facing, and blocks carry no colour",
        "",
    ]
    return "\n".join(lines)


def model_folder(path: str | os.PathLike[str]) -> Path:
    """The model folder that a run folder or model folder stands for."""
    path = Path(path)
    return path / MODEL if (path / MODEL).is_dir() else path


def _fitting(preset: Preset, fitted: BlockStore) -> Preset:
    """The preset with the sizes of planes that the store has.

    Raises:
        UserError: `E-USAGE-PRESET` when the VAE cannot take these planes.
    """
    _, channels, resolution, _ = fitted.head.tensors["planes"]
    if resolution != preset.fit.resolution:
        raise UserError("E-USAGE-PRESET", "planes are not of this preset", where=fitted.folder,
                        got=f"resolution {resolution}", expected=f"{preset.fit.resolution}",
                        fix="use the preset that the planes were fitted with")  # fmt: skip
    sizes: FitPreset = replace(preset.fit, channels=channels)
    return replace(preset, fit=sizes)


def _check_vae(vae: TriplaneVAE, preset: Preset, where: object) -> None:
    wanted = (preset.fit.channels, preset.fit.resolution, preset.vae.latent_channels, preset.vae.latent_resolution)
    names = ("plane_channels", "resolution", "latent_channels", "latent_resolution")
    found = tuple(vae.config[name] for name in names)
    if found != wanted:
        raise UserError("E-CKPT-MODEL", "VAE is of another preset", where=where, got=found, expected=str(wanted),
                        fix="use the preset that it was trained with")  # fmt: skip
