"""Pictures out of renders: colour maps, PNG and JPEG bytes, contact sheets."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

# Anchor colours, evenly spaced, between which a map is interpolated.
_RAINBOW = (
    "30123b",
    "4145ab",
    "4675ed",
    "39a2fc",
    "1bcfd4",
    "24eca6",
    "61fc6c",
    "a4fc3b",
    "d1e834",
    "f3c63a",
    "fe9b2d",
    "f36315",
    "d93806",
    "b11901",
    "7a0402",
)  # dark blue over green to dark red
_HEAT = ("000004", "1c1044", "4f127b", "812581", "b5367a", "e55964", "fb8761", "fec287", "fcfdbf")


def heat(values: Tensor, high: float) -> Tensor:
    """Black to yellow for values [H, W] from 0 to `high`: [H, W, 3] in [0, 1]."""
    return _mapped(values / max(high, 1e-12), _HEAT)


def rainbow(values: Tensor, low: float, high: float) -> Tensor:
    """Red for `low` (near) over green to blue for `high` (far), of values [H, W]: [H, W, 3] in [0, 1]."""
    return _mapped(1 - (values - low) / max(high - low, 1e-12), _RAINBOW)


def css_gradient(name: str) -> str:
    """The map `heat` or `rainbow` as a CSS gradient from left to right, for a legend."""
    anchors = _HEAT if name == "heat" else _RAINBOW[::-1]
    return f"linear-gradient(to right, {', '.join('#' + anchor for anchor in anchors)})"


def depth_range(depth: Tensor, opacity: Tensor) -> tuple[float, float]:
    """The span of depths [H, W] that are seen (opacity above one half), without a hundredth at each end."""
    seen = depth[opacity > 0.5]
    if not len(seen):
        return 0.0, 1.0
    low, high = np.percentile(seen.cpu().numpy(), (1, 99)).tolist()
    return low, max(high, low + 1e-6 * max(1.0, abs(low)))


def depth_picture(depth: Tensor, opacity: Tensor, span: tuple[float, float]) -> Tensor:
    """Depths in colours over white, [H, W, 3] in [0, 1]; what is not opaque fades."""
    weight = opacity.clamp(0, 1)[..., None]
    return rainbow(depth, *span) * weight + (1 - weight)


def normal_picture(normal: Tensor, opacity: Tensor) -> Tensor:
    """Normals as colours (x red, y green, z blue, 0 is grey) over white, [H, W, 3] in [0, 1]."""
    weight = opacity.clamp(0, 1)[..., None]
    unit = torch.nn.functional.normalize(normal, dim=-1)
    return (0.5 + 0.5 * unit) * weight + (1 - weight)


def grey_picture(values: Tensor) -> Tensor:
    """Values [H, W] in [0, 1] as grey levels [H, W, 3]."""
    return values.clamp(0, 1)[..., None].expand(*values.shape, 3)


def error_map(a: Tensor, b: Tensor) -> Tensor:
    """Mean absolute difference of two pictures [H, W, 3] at every pixel, [H, W]."""
    return (a - b).abs().mean(dim=-1)


def picture_of(name: str, views: Mapping[str, Tensor], span: tuple[float, float]) -> Tensor:
    """One of `PICTURES` out of what `render_view` gave, as colours [H, W, 3] in [0, 1]."""
    if name == "depth":
        return depth_picture(views["depth"], views["opacity"], span)
    if name == "normal":
        return normal_picture(views["normal"], views["opacity"])
    return grey_picture(views["opacity"]) if name == "opacity" else views["rgb"]


PICTURES = ("rgb", "depth", "normal", "opacity")


def to_bytes(picture: Tensor) -> np.ndarray:
    """[H, W, 3] in [0, 1] as uint8."""
    return (picture.detach().clamp(0, 1) * 255).round().to(torch.uint8).cpu().numpy()


def png(picture: Tensor, notes: Mapping[str, str] | None = None) -> bytes:
    """A PNG file of [H, W, 3] in [0, 1]; `notes` become its text entries."""
    from PIL import Image
    from PIL.PngImagePlugin import PngInfo

    text = PngInfo()
    for key, value in (notes or {}).items():
        text.add_text(key, value)
    stream = io.BytesIO()
    Image.fromarray(to_bytes(picture)).save(stream, format="PNG", pnginfo=text)
    return stream.getvalue()


def jpeg(picture: Tensor, quality: int = 88) -> bytes:
    """A JPEG file of [H, W, 3] in [0, 1], without colour subsampling."""
    from PIL import Image

    stream = io.BytesIO()
    Image.fromarray(to_bytes(picture)).save(stream, format="JPEG", quality=quality, subsampling=0, optimize=True)
    return stream.getvalue()


def cut_out(views: Mapping[str, Tensor]) -> Tensor:
    """RGBA [H, W, 4] in [0, 1], straight alpha, of `rgb` and `opacity` rendered over black."""
    alpha = views["opacity"].clamp(0, 1)[..., None]
    return torch.cat([(views["rgb"] / alpha.clamp_min(1e-3)).clamp(0, 1), alpha], dim=-1).cpu()


def trimmed(frames: Sequence[Tensor], margin: float = 0.06) -> list[Tensor]:
    """RGBA pictures [H, W, 4] of one size, cut to what any shows and a margin (a share of the width)."""
    shown = torch.stack([frame[..., 3] > 0.05 for frame in frames]).any(dim=0)
    if not bool(shown.any()):
        return list(frames)
    edge = round(margin * shown.shape[1])
    row, column = shown.any(dim=1).nonzero()[:, 0], shown.any(dim=0).nonzero()[:, 0]
    rows = slice(max(0, int(row[0]) - edge), int(row[-1]) + 1 + edge)
    columns = slice(max(0, int(column[0]) - edge), int(column[-1]) + 1 + edge)
    return [frame[rows, columns] for frame in frames]


def webp(frames: Sequence[Tensor], milliseconds: int = 50, quality: int = 88) -> bytes:
    """A WebP file of one or several (an endless film) pictures [H, W, 3] or [H, W, 4] in [0, 1]."""
    from PIL import Image

    first, *rest = [Image.fromarray(to_bytes(frame)) for frame in frames]
    stream = io.BytesIO()
    if rest:
        first.save(
            stream,
            format="WEBP",
            save_all=True,
            append_images=rest,
            duration=milliseconds,
            loop=0,
            quality=quality,
            method=4,
        )
    else:
        first.save(stream, format="WEBP", quality=quality, method=4)
    return stream.getvalue()


def beside(pictures: Sequence[Tensor], gap: int = 4) -> Tensor:
    """Pictures of one height [H, W_k, 3] in a row, white between them."""
    space = torch.ones(pictures[0].shape[0], gap, 3)
    parts = [part for picture in pictures for part in (space, picture.cpu())]
    return torch.cat(parts[1:], dim=1)


def _mapped(values: Tensor, anchors: Sequence[str]) -> Tensor:
    colors = np.array([[int(text[i : i + 2], 16) / 255 for i in (0, 2, 4)] for text in anchors])
    place = values.detach().nan_to_num(0.0).clamp(0, 1).cpu().double().numpy()
    steps = np.linspace(0, 1, len(anchors))
    channels = [np.interp(place, steps, colors[:, channel]) for channel in range(3)]
    return torch.from_numpy(np.stack(channels, -1)).float()
