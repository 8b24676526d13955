"""Scenes block by block: tri-planes under one decoder, a latent of them, and diffusion under a floor plan.

Wu et al. 2024, "BlockFusion: Expandable 3D Scene Generation using Latent Tri-plane Extrapolation". Lengths in
metres, y up, ground plane xz; inside a block positions and distances are in block units, [-1, 1] along each axis.
"""
