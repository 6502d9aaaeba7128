"""Train one recipe for a number of minutes and leave an annealed checkpoint, on a CPU or a GPU.

It does not export: see `training.export`. Pairs that are not in WORK yet are made first. The learning rate
follows the clock, not the step count, so any slot ends annealed; on a CPU the clock stands while others have the
cores. A later slot continues from the checkpoint or from the shipped model (`--init`). A slot that was broken off goes
on when the same command is given again; to begin anew, remove NAME.unfinished beside the checkpoint.

    python -m training.train fast-clean-x2 --data ../shared/images --work ~/train --minutes 20
"""

from __future__ import annotations

import argparse
import logging
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from training.grow import grow
from training.layers import Layer
from training.machine import describe, keep_freed_memory
from training.make_data import missing_kinds, write_kinds
from training.network import Network
from training.recipes import RECIPES, Recipe, recipe_named
from training.shards import PatchSampler, load_pairs
from training.watch import Watch
from training.weights import History, load_layers, save_checkpoint

log = logging.getLogger("train")

WARM_UP_STEPS = 200
FINAL_LEARNING_RATE = 1e-6
GRADIENT_LIMIT = 0.5
EMA_DECAY = 0.999
LR_PATCH = 64
CHECKPOINT_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Slot:
    """How long and on what to train."""

    minutes: float
    batch: int
    device: torch.device
    learning_rate: float
    seed: int


def learning_rate_at(spent: float, step: int, peak: float) -> float:
    """Give the rate at a fraction `spent` (0..1) of the slot: linear warm-up by steps, cosine by time."""
    cosine = 0.5 * (1.0 + math.cos(math.pi * min(1.0, spent)))
    rate = FINAL_LEARNING_RATE + (peak - FINAL_LEARNING_RATE) * cosine
    return rate * min(1.0, (step + 1) / WARM_UP_STEPS)


def working_seconds() -> float:
    """Return how long this process's cores have worked: other work on the machine must not shorten a slot."""
    return time.process_time() / torch.get_num_threads()


class AveragedLayers:
    """Exponential moving average of the collapsed kernels and biases.

    The collapsed form is averaged, not the branches: a product of averages is not the average product.
    """

    def __init__(self, network: Network) -> None:
        self._averages = [tensor.clone() for tensor in self._collapsed(network)]
        self._updates = 0

    @torch.no_grad()
    def update(self, network: Network) -> None:
        """Move towards the network's present weights; early on the average forgets faster."""
        self._updates += 1
        decay = min(EMA_DECAY, (1 + self._updates) / (10 + self._updates))
        torch._foreach_lerp_(self._averages, self._collapsed(network), 1.0 - decay)

    def layers(self) -> list[Layer]:
        """Return the averages as float32 arrays."""
        arrays = [tensor.cpu().numpy().copy() for tensor in self._averages]
        return [Layer(arrays[i], arrays[i + 1]) for i in range(0, len(arrays), 2)]

    def state_dict(self) -> dict[str, Any]:
        """Return what `load_state_dict` takes."""
        return {"averages": self._averages, "updates": self._updates}

    def load_state_dict(self, stored: dict[str, Any]) -> None:
        """Go on with averages that were written."""
        self._updates = stored["updates"]
        for average, tensor in zip(self._averages, stored["averages"], strict=True):
            average.copy_(tensor)

    @staticmethod
    def _collapsed(network: Network) -> list[Tensor]:
        return [tensor.detach() for conv in network.convs for tensor in (conv.kernel(), conv.bias)]


class Run:
    """A slot under way: the network, its optimizer and averages, and how far it is.

    It can be written and read back, so that a slot that was broken off goes on as the same one.
    """

    def __init__(self, network: Network, past: History, slot: Slot) -> None:
        self.network, self.past = network, past
        self.optimizer = torch.optim.Adam(network.parameters(), lr=slot.learning_rate, betas=(0.9, 0.99))
        self.averaged = AveragedLayers(network)
        self.step, self.seconds = 0, 0.0
        self.curve: list[tuple[float, float]] = []
        self._parts = {"network": network, "optimizer": self.optimizer, "averages": self.averaged}

    def save(self, path: Path) -> None:
        """Write everything that going on needs, whole or not at all."""
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(".part")
        facts = {"step": self.step, "seconds": self.seconds, "curve": self.curve, "past": asdict(self.past)}
        torch.save({**{name: each.state_dict() for name, each in self._parts.items()}, "facts": facts}, part)
        part.replace(path)

    def load(self, path: Path) -> None:
        """Go on from what `save` wrote."""
        stored = torch.load(path, map_location="cpu", weights_only=True)
        for name, each in self._parts.items():
            each.load_state_dict(stored[name])
        facts = stored["facts"]
        self.step, self.seconds, self.curve = facts["step"], facts["seconds"], facts["curve"]
        self.past = History(**facts["past"])  # what the slot began with, whatever the checkpoint says by now


def steps(run: Run, sampler: PatchSampler, slot: Slot) -> Iterator[float]:
    """Train until the slot's time is over; yield the loss after each step."""
    network, optimizer = run.network, run.optimizer
    clock = working_seconds if slot.device.type == "cpu" else time.monotonic
    began = clock() - run.seconds
    while run.seconds < 60.0 * slot.minutes:
        rate = learning_rate_at(run.seconds / (60.0 * slot.minutes), run.step, slot.learning_rate)
        optimizer.param_groups[0]["lr"] = rate
        lr, hr = (torch.from_numpy(array).to(slot.device, non_blocking=True) for array in sampler.batch(slot.batch))
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast(slot.device.type, dtype=torch.bfloat16):
            found = network(lr.contiguous(memory_format=torch.channels_last))
        loss = (found - hr).abs().mean()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), GRADIENT_LIMIT)
        optimizer.step()
        run.averaged.update(network)
        run.step += 1
        run.seconds = clock() - began
        yield loss.item()


def train(run: Run, sampler: PatchSampler, slot: Slot, keep: Callable[[Run], None]) -> None:
    """Run one slot, or what is left of it; call `keep` every minute and at the end."""
    kept, losses = run.seconds, []
    for loss in steps(run, sampler, slot):
        losses.append(loss)
        if run.seconds - kept >= CHECKPOINT_SECONDS:
            log.info("step=%d minutes=%.1f loss=%.5f", run.step, run.seconds / 60.0, float(np.mean(losses)))
            keep(run)
            kept, losses = run.seconds, []
    keep(run)


def starting_point(recipe: Recipe, init: Path | None) -> tuple[Network, History]:
    """Build the network, from `init` (grown where its shape is smaller) or from random branches."""
    network = Network(recipe.shape)
    if init is None:
        return network, History()
    layers, history = load_layers(init)
    network.load(grow(layers, recipe.shape))
    return network, history


def device_name(device: torch.device) -> str:
    """Name what trains, for the card."""
    if device.type == "cuda":
        return f"{torch.cuda.get_device_name(device)}, bf16"
    threads = torch.get_num_threads()
    return f"{threads} thread{'s' if threads > 1 else ''} of {describe()}, bf16"


def run_slot(recipe: Recipe, slot: Slot, data: Path, work: Path, init: Path | None) -> Path:
    """Train one slot, or go on with the one that was broken off, and return the checkpoint's path."""
    torch.manual_seed(slot.seed)
    scale = recipe.shape.scale
    write_kinds(missing_kinds(recipe.mix, work, scale), data, work, scale)
    network, past = starting_point(recipe, init)
    network.to(slot.device, memory_format=torch.channels_last)
    run, checkpoint = Run(network, past, slot), work / "checkpoints" / f"{recipe.stem}.npz"
    state = checkpoint.with_suffix(".unfinished")
    if state.exists():
        run.load(state)
        log.info("going on at step=%d minutes=%.1f of %s", run.step, run.seconds / 60.0, state)
    pairs = {kind: load_pairs(work / f"x{scale}", kind) for kind in recipe.mix}
    sampler = PatchSampler(pairs, recipe.mix, LR_PATCH, slot.seed + run.step)
    watch = Watch(data, recipe.shape)

    def keep(run: Run) -> None:
        layers, minutes = run.averaged.layers(), run.seconds / 60.0
        run.curve.append((round(minutes, 2), round(watch.psnr(layers), 3)))
        log.info("watch minutes=%.1f psnr_y=%.3f", *run.curve[-1])
        spent = History(run.past.minutes + minutes, run.past.steps + run.step, device_name(slot.device), run.curve)
        save_checkpoint(checkpoint, layers, spent)
        run.save(state)

    train(run, sampler, slot, keep)
    state.unlink()
    return checkpoint


def main() -> None:
    """Parse the command line and train one slot."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe", type=recipe_named, help="one of " + ", ".join(RECIPES) + "; -x2 may be left out")
    parser.add_argument("--data", type=Path, required=True, help="pictures; eval/Set5_HR is only watched")
    parser.add_argument("--work", type=Path, required=True, help="the folder make_data wrote to")
    parser.add_argument("--minutes", type=float, default=20.0)
    parser.add_argument("--init", type=Path, help="checkpoint or .onnx to start from")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--learning-rate", type=float, help="peak; default: the recipe's")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    torch.set_num_threads(args.threads)
    keep_freed_memory()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    rate = args.learning_rate or args.recipe.learning_rate
    slot = Slot(args.minutes, args.batch, device, rate, args.seed)
    log.info("checkpoint=%s", run_slot(args.recipe, slot, args.data, args.work, args.init))


if __name__ == "__main__":
    main()
