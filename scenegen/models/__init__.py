"""Networks of the block generator: the tri-plane VAE, denoisers and condition encoders."""

from .condition import CONDITIONS
from .denoiser import DENOISERS, ConvDenoiser, build_denoiser
from .layers import ACTIVATIONS, ATTENTIONS, sublayer_names
from .vae import Posterior, TriplaneVAE

__all__ = [
    "ACTIVATIONS",
    "ATTENTIONS",
    "CONDITIONS",
    "DENOISERS",
    "ConvDenoiser",
    "Posterior",
    "TriplaneVAE",
    "build_denoiser",
    "sublayer_names",
]
