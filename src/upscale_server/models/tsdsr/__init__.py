"""TSD-SR: one-step diffusion super-resolution on Stable Diffusion 3 Medium, for stills.

Importing this package, its options, geometry, tiles, windows and memory needs no torch; `loading` asks for the extra
`[tsdsr]` when it is called. What follows the official script and what goes beyond it: docs/decisions/0016.

    options      how it is asked to run
    geometry     which size a picture is worked on at, in both modes
    tiles        where latent tiles lie and what each pixel of one weighs
    vae_windows  where the official tiled VAE cuts
    memory       what a picture needs, and what is given up first where that is too much
    files        where the weights are, and whether they are all there
    loading      the files -> `Tsdsr`

    weights      LoRA and prompt embeddings, checked
    networks     transformer and VAE with the LoRA merged
    constants    what the prompt and the timestep come to, computed once
    device       devices, number formats and out-of-memory errors of torch
    prediction   latent -> what the transformer says about it, tile by tile
    vae_walk     the layers of encoder and decoder in order, over any way of holding their maps
    vae_strips   maps held whole and computed in strips: no seams
    vae_tiles    maps held in the official script's tiles, for parity
    vae          picture -> latent distribution, latent -> picture
    pixels       integer pixels, resizing, 8 bits
    colour       wavelet and AdaIN alignment
    stages       the way of one picture through all of it
    model        `Tsdsr`, and the `Upscaler` it gives for a factor
"""

from upscale_server.models.tsdsr.options import TsdsrOptions

__all__ = ["TsdsrOptions"]
