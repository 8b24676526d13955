"""Networks of the block generator: shapes, gradients, symmetries, skipping, and their folders."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scene_blocks import CHANNELS, CLASSES, PIXELS, RESOLUTION, SmallDecoder, small_blocks, woken
from torch import Tensor

from fields.errors import UserError
from scenegen.augment import SYMMETRIES
from scenegen.lookup import plane_features
from scenegen.model_folder import load_model, read_notes, save_models
from scenegen.models import ATTENTIONS, ConvDenoiser, TriplaneVAE, build_denoiser, sublayer_names
from scenegen.models.condition import plane_maps
from scenegen.presets import PRESETS


def vae(**config: Any) -> TriplaneVAE:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        given = {"latent_channels": 2, "latent_resolution": 4, "widths": (8, 16, 16), "heads": 2, **config}
        return TriplaneVAE(CHANNELS, RESOLUTION, **given)


def denoiser(**config: Any) -> ConvDenoiser:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        given = {"latent_channels": 2, "resolution": 4, "classes": CLASSES, "widths": (16, 32), **config}
        return build_denoiser("conv", condition_width=8, **given)


def inputs(batch: int = 2) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(3)
    layout = (torch.rand(batch, CLASSES, PIXELS, PIXELS, generator=generator) > 0.8).float()
    noisy = torch.randn(batch, 3, 2, 4, 4, generator=generator)
    return noisy, torch.linspace(900, 10, batch).long(), layout, torch.ones(batch, dtype=torch.bool)


@given(index=st.integers(0, 7), seed=st.integers(0, 10**6))
def test_moved_planes_decode_at_moved_points_to_the_same_distances(index: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    planes = torch.randn(2, 3, CHANNELS, 9, 9, generator=generator)
    points = torch.rand(2, 40, 3, generator=generator) * 2 - 1
    symmetry, decoder = SYMMETRIES[index], SmallDecoder()
    moved = decoder(symmetry.planes(planes), symmetry.points(points))
    torch.testing.assert_close(moved, decoder(planes, points), atol=1e-5, rtol=0)


@pytest.mark.parametrize("symmetry", SYMMETRIES)
def test_plans_move_with_their_block(symmetry: Any) -> None:
    maps = torch.zeros(1, 32, 32)
    maps[0, 3, 25] = 1  # row z, column x
    place = torch.tensor([(25 + 0.5) / 16 - 1, 0.4, (3 + 0.5) / 16 - 1])
    row, column = symmetry.layout(maps)[0].nonzero()[0].tolist()
    x, y, z = symmetry.points(place).tolist()
    assert ((column + 0.5) / 16 - 1, 0.4, (row + 0.5) / 16 - 1) == pytest.approx((x, y, z))


def test_eight_symmetries_differ_and_the_first_changes_nothing() -> None:
    planes = torch.randn(3, 2, 5, 5, generator=torch.Generator().manual_seed(0))
    moved = [symmetry.planes(planes) for symmetry in SYMMETRIES]
    assert torch.equal(moved[0], planes)
    assert len({tensor.numpy().tobytes() for tensor in moved}) == 8


@pytest.mark.parametrize("attention", list(ATTENTIONS))
@pytest.mark.parametrize("activation", ["silu", "gelu"])
def test_vae_keeps_shapes_and_every_weight_gets_a_gradient(attention: str, activation: str) -> None:
    network = woken(vae(attention=attention, activation=activation))
    planes = small_blocks(2).planes.float()
    posterior = network.encode(planes)
    assert posterior.mean.shape == (2, *network.latent_shape)
    decoded, _, _ = network(planes, torch.randn_like(posterior.mean))
    assert decoded.shape == planes.shape
    (decoded.square().mean() + posterior.kl()).backward()
    assert [name for name, p in network.named_parameters() if p.grad is None or not p.grad.any()] == []


def test_vae_may_go_deeper_than_its_latents() -> None:
    network = woken(vae(widths=(8, 8, 16, 16), latent_resolution=8))
    planes = small_blocks(1).planes.float()
    assert network.encode(planes).mean.shape == (1, 3, 2, 8, 8)
    assert network(planes)[0].shape == planes.shape


def test_vae_of_patches_looks_at_every_vertex_and_gives_every_vertex_back() -> None:
    network = woken(vae(patch=2, widths=(16, 16), attention_layers=0))
    planes = small_blocks(1).planes.float().requires_grad_()
    mean = network.encode(planes).mean
    assert mean.shape == (1, 3, 2, RESOLUTION // 4, RESOLUTION // 4)
    mean.square().sum().backward()
    assert planes.grad is not None and (planes.grad != 0).all()
    decoded = network.decode(mean.detach())
    assert decoded.shape == planes.shape
    assert len(decoded.detach()[0, 0, 0].unique()) > RESOLUTION**2 / 2  # not the same number for a whole patch


def test_scales_that_do_not_lead_to_the_latents_are_refused() -> None:
    with pytest.raises(ValueError, match="patches of 2 and 2 scales do not lead from 16 to 2"):
        vae(patch=2, widths=(16, 16), latent_resolution=2)


def test_one_plane_of_a_block_changes_the_latents_of_the_others_but_not_of_other_blocks() -> None:
    network = woken(vae())
    planes = small_blocks(2).planes.float()
    changed = planes.clone()
    changed[0, 1] += 1
    before, after = network.encode(planes).mean, network.encode(changed).mean
    assert all((before[0, plane] - after[0, plane]).abs().max() > 1e-4 for plane in range(3))
    torch.testing.assert_close(before[1], after[1])


def test_kl_is_zero_at_the_prior_and_agrees_with_torch_elsewhere() -> None:
    from torch.distributions import Normal, kl_divergence

    posterior = vae().encode(small_blocks(2).planes.float())
    ours = Normal(posterior.mean, posterior.deviation)
    torch.testing.assert_close(posterior.kl(), kl_divergence(ours, Normal(0.0, 0.25)).mean())
    prior = type(posterior)(torch.zeros(2), torch.full((2,), 0.25).square().log(), 0.25)
    assert abs(float(prior.kl())) < 1e-6


def test_normalisation_takes_off_a_mean_block_that_no_symmetry_changes() -> None:
    network, planes = vae(), small_blocks(6).planes
    network.normalise_to(planes)
    for symmetry in SYMMETRIES:
        torch.testing.assert_close(symmetry.planes(network.plane_mean), network.plane_mean)
    assert torch.equal(network.plane_deviation[0], network.plane_deviation[2])
    copies = torch.cat([symmetry.planes(planes.float()) for symmetry in SYMMETRIES])
    normal = network.normalised(copies)
    torch.testing.assert_close(normal.mean(0), torch.zeros_like(normal[0]), atol=1e-5, rtol=0)
    torch.testing.assert_close(normal.square().mean((0, 3, 4)), torch.ones(3, CHANNELS))


@pytest.mark.parametrize("attention", list(ATTENTIONS))
def test_denoiser_keeps_the_shape_and_every_weight_gets_a_gradient(attention: str) -> None:
    network = woken(denoiser(attention=attention, blocks=2))
    noisy, time, layout, known = inputs()
    known[1] = False
    context = torch.rand(*noisy.shape[:2], noisy.shape[2] + 1, *noisy.shape[3:])
    found = network(noisy, time, layout, known, context)
    assert found.shape == noisy.shape
    found.square().mean().backward()
    assert [name for name, p in network.named_parameters() if p.grad is None or not p.grad.any()] == []


def test_denoiser_heeds_time_plan_neighbours_and_whether_the_plan_is_to_be_followed() -> None:
    network = woken(denoiser())
    noisy, time, layout, known = inputs()
    plain = network(noisy, time, layout, known)
    others = [
        network(noisy, time + 50, layout, known),
        network(noisy, time, 1 - layout, known),
        network(noisy, time, layout, ~known),
        network(noisy, time, layout, known, torch.ones(*noisy.shape[:2], noisy.shape[2] + 1, *noisy.shape[3:])),
    ]
    assert all((other - plain).abs().max() > 1e-4 for other in others)
    unknown = network(noisy, time, torch.zeros_like(layout), ~known)
    torch.testing.assert_close(unknown, others[2])
    assert (network(noisy, time, torch.zeros_like(layout), known) - unknown).abs().max() > 1e-5


def test_upright_planes_get_the_profiles_of_the_plan() -> None:
    layout = torch.zeros(1, 1, 32, 32)
    layout[0, 0, 4:20, 7] = 1  # rows z, column x
    xy, xz, yz = plane_maps(layout)[0, :, 0]
    assert torch.equal(xz, layout[0, 0])
    assert xy[:, 7].eq(0.5).all() and xy.sum() == 16  # columns x
    assert yz[4:20].eq(1 / 32).all() and yz[:4].eq(0).all()  # rows z


def test_any_named_sublayer_can_be_left_out_and_only_those() -> None:
    network = woken(denoiser())
    arguments = inputs()
    plain = network(*arguments)
    names = sublayer_names(network)
    assert {"middle.0.attention", "middle.1.feedforward", "down.0.0", "up.1.1"} <= set(names)
    for name in names:
        assert not torch.equal(network(*arguments, skip={name}), plain), name
    assert torch.equal(network(*arguments, skip={"nothing"}), plain)
    assert network(*arguments, skip=set(names)).isfinite().all()
    shrunk = woken(vae())
    planes = small_blocks(1).planes.float()
    assert not torch.equal(shrunk.encode(planes, {"encoder.mix.0.attention"}).mean, shrunk.encode(planes).mean)


@pytest.mark.parametrize(
    ("make", "config"),
    [
        (denoiser, {"attention": "sharp"}),
        (denoiser, {"activation": "tanhish"}),
        (denoiser, {"condition": "tokens"}),
        (denoiser, {"heads": 3}),
        (denoiser, {"resolution": 5}),
        (vae, {"latent_resolution": 3}),
        (vae, {"attention": "sharp"}),
    ],
)
def test_impossible_settings_are_refused(make: Any, config: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"expected one of|divide|multiple|lead|halved"):
        make(**config)


def test_linear_attention_is_an_average_of_values() -> None:
    q, k, v = torch.randn(3, 1, 2, 7, 4, generator=torch.Generator().manual_seed(0))
    found = ATTENTIONS["linear"](q, k, v)
    assert (found <= v.amax(2, keepdim=True) + 1e-5).all() and (found >= v.amin(2, keepdim=True) - 1e-5).all()
    constant = ATTENTIONS["linear"](q, k, torch.ones_like(v))
    torch.testing.assert_close(constant, torch.ones_like(v))


@pytest.mark.parametrize(
    ("name", "vae_count", "denoiser_count"), [("tiny", 0.5e6, 3.1e6), ("small", 2.9e6, 21.7e6), ("paper", 0.8e9, 100e6)]
)
def test_presets_have_about_the_sizes_of_the_ladder(name: str, vae_count: float, denoiser_count: float) -> None:
    from scenegen.build import new_denoiser, new_vae

    preset = PRESETS[name]
    with torch.device("meta"):
        coder, network = new_vae(preset), new_denoiser(preset, classes=9)
        fit, latent = preset.fit, preset.vae.latent_resolution
        planes = torch.zeros(1, 3, fit.channels, fit.resolution, fit.resolution)
        decoded = coder(planes)[0]
        assert decoded.shape == planes.shape
        decoded.sum().backward()
        noisy = torch.zeros(1, 3, preset.vae.latent_channels, latent, latent)
        plan, known = torch.zeros(1, 9, 32, 32), torch.ones(1, dtype=torch.bool)
        assert network(noisy, torch.zeros(1), plan, known).shape == noisy.shape
    assert sum(p.numel() for p in coder.parameters()) == pytest.approx(vae_count, rel=0.5)
    assert sum(p.numel() for p in network.parameters()) == pytest.approx(denoiser_count, rel=0.2)


def test_model_folder_gives_back_the_networks_and_diffusers_reads_it(tmp_path: Path) -> None:
    coder, network = woken(vae()), woken(denoiser())
    folder = save_models(tmp_path / "model", {"vae": coder, "denoiser": network}, card="# A\n", notes={"seed": 3})
    assert read_notes(folder) == {"seed": 3} and (folder / "README.md").read_text() == "# A\n"
    back = load_model(ConvDenoiser, folder, "denoiser")
    assert torch.equal(back(*inputs()), network(*inputs()))
    assert not any(p.requires_grad for p in back.parameters())
    planes = small_blocks(1).planes.float()
    theirs = TriplaneVAE.from_pretrained(folder / "vae", low_cpu_mem_usage=False)
    assert torch.equal(theirs.encode(planes).mean, coder.encode(planes).mean)
    assert {path.suffix for path in folder.rglob("*") if path.is_file()} == {".json", ".md", ".safetensors"}


def test_half_precision_folder_is_half_as_large_and_nearly_the_same(tmp_path: Path) -> None:
    coder, planes = woken(vae()), small_blocks(1).planes.float()
    sizes = []
    for half in (False, True):
        folder = save_models(tmp_path / str(half), {"vae": coder}, card="", notes={}, half=half)
        sizes.append(sum(file.stat().st_size for file in folder.rglob("*.safetensors")))
    assert sizes[1] < 0.62 * sizes[0]
    back = load_model(TriplaneVAE, tmp_path / "True", "vae")
    assert next(back.parameters()).dtype == torch.float32 and next(coder.parameters()).dtype == torch.float32
    torch.testing.assert_close(back.encode(planes).mean, coder.encode(planes).mean, atol=0.02, rtol=0)


def test_model_folder_is_replaced_whole_and_nothing_is_left_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "model"
    save_models(path, {"vae": vae()}, card="one", notes={})
    (path / "foreign.txt").write_text("goes")
    broken = vae()
    broken.planes_in.weight.data[0] = float("nan")
    with pytest.raises(UserError) as caught:
        save_models(path, {"vae": broken}, card="two", notes={})
    assert caught.value.code == "E-NAN-SAVE" and (path / "README.md").read_text() == "one"
    save_models(path, {"vae": vae()}, card="three", notes={})
    assert (path / "README.md").read_text() == "three" and not (path / "foreign.txt").exists()
    assert [entry.name for entry in tmp_path.iterdir()] == ["model"]


@pytest.mark.parametrize(
    ("spoil", "code"),
    [
        (lambda folder: (folder / "model.json").unlink(), "E-CKPT-MISSING"),
        (lambda folder: (folder / "model.json").write_text("[]"), "E-CKPT-MODEL"),
        (lambda folder: (folder / "model.json").write_text('{"format": NaN}'), "E-JSON-NONFINITE"),
        (lambda folder: (folder / "vae" / "config.json").write_text("{}"), "E-CKPT-HASH"),
        (lambda folder: (folder / "vae" / "diffusion_pytorch_model.safetensors").unlink(), "E-CKPT-HASH"),
        (lambda folder: _flip(folder / "vae" / "diffusion_pytorch_model.safetensors"), "E-CKPT-HASH"),
        (lambda folder: _drop(folder, "vae/"), "E-CKPT-MISSING"),
    ],
)
def test_spoiled_model_folders_are_refused(tmp_path: Path, spoil: Any, code: str) -> None:
    folder = save_models(tmp_path / "model", {"vae": vae()}, card="", notes={})
    spoil(folder)
    with pytest.raises(UserError) as caught:
        load_model(TriplaneVAE, folder, "vae")
    assert caught.value.code == code and "\n" not in caught.value.line()


def test_a_network_is_not_taken_for_another(tmp_path: Path) -> None:
    folder = save_models(tmp_path / "model", {"vae": vae()}, card="", notes={})
    with pytest.raises(UserError) as caught:
        load_model(ConvDenoiser, folder, "vae")
    assert caught.value.code == "E-CKPT-TYPE"


def _flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-5] ^= 1
    path.write_bytes(content)


def _drop(folder: Path, prefix: str) -> None:
    manifest = json.loads((folder / "model.json").read_text())
    manifest["files"] = {name: digest for name, digest in manifest["files"].items() if not name.startswith(prefix)}
    (folder / "model.json").write_text(json.dumps(manifest))


def test_features_are_summed_over_planes() -> None:
    planes = torch.zeros(1, 3, 1, 5, 5)
    planes[0, 0], planes[0, 1], planes[0, 2] = 1, 10, 100
    assert plane_features(planes, torch.zeros(1, 1, 3)).item() == 111
