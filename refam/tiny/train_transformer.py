"""Train the small transformer and its text encoder with FLUX's flow-matching loss alone: no mask is ever seen."""

import copy
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL, FluxPipeline, FluxTransformer2DModel
from torch import nn
from transformers import T5EncoderModel

from refam.backbones.flux import pack, patch_ids

from .budget import Budget
from .corpus import Corpus, render_corpus
from .models import POOLED_WIDTH, build_pipeline, build_t5, build_t5_tokenizer, build_transformer
from .train_vae import encode_latents

log = logging.getLogger(__name__)
MUON_RATE, ADAMW_RATE, WARMUP_STEPS = 2e-3, 1.5e-3, 200
EMA_DECAY = 0.999
NOISE_MEAN, NOISE_SD = 1.0, 1.0  # of logit(t): high noise, where words help most


@dataclass(frozen=True)
class Stage:
    """Scenes of `side` pixels with `things` (from, to) things, `scenes` of them, trained for `share` of the time."""

    side: int
    things: tuple[int, int]
    scenes: int
    batch: int
    share: float


STAGES = (Stage(64, (1, 3), 16000, 64, 0.3), Stage(128, (2, 5), 20000, 32, 0.7))


class Examples:
    """Latents and tokenised captions, in buckets of equal caption length, so that no padding is needed."""

    def __init__(self, corpus: Corpus, vae: AutoencoderKL) -> None:
        self.latents = pack(encode_latents(vae, torch.from_numpy(corpus.images)))
        tokenizer = build_t5_tokenizer()
        buckets: dict[int, list[tuple[int, list[int]]]] = {}
        for scene, captions in enumerate(corpus.captions):
            for ids in tokenizer(captions).input_ids:
                buckets.setdefault(len(ids), []).append((scene, ids))
        self.buckets = [
            (torch.tensor([scene for scene, _ in rows]), torch.tensor([ids for _, ids in rows]))
            for rows in buckets.values()
        ]

    def batches(self, size: int, rng: np.random.Generator) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Endless (latents [B, tokens, channels], ids [B, L]); a bucket comes as often as it holds captions."""
        weights = np.array([len(scenes) for scenes, _ in self.buckets], dtype=float)
        while True:
            scenes, ids = self.buckets[rng.choice(len(weights), p=weights / weights.sum())]
            rows = torch.from_numpy(rng.integers(0, len(scenes), size))
            yield self.latents[scenes[rows]], ids[rows]


class Trainee(nn.Module):
    """The two parts that learn: text encoder and transformer."""

    def __init__(self, t5: T5EncoderModel, transformer: FluxTransformer2DModel) -> None:
        super().__init__()
        self.t5, self.transformer = t5, transformer

    def forward(self, noised: torch.Tensor, t: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
        """Velocity at noise level t [B] for noised latents [B, tokens, channels] under the text ids [B, L]."""
        side = round(noised.shape[1] ** 0.5)
        return self.transformer(
            hidden_states=noised,
            timestep=t,
            encoder_hidden_states=self.t5(ids).last_hidden_state,
            pooled_projections=torch.zeros(len(ids), POOLED_WIDTH),
            txt_ids=torch.zeros(ids.shape[1], 3),
            img_ids=patch_ids(side, side),
            return_dict=False,
        )[0]


def train_transformer(seed: int, minutes: float, folder: Path) -> list[dict[str, float]]:
    """Train on the latents of `folder`/vae for `minutes`, save the whole pipeline to `folder`/flux.

    Returns the learning curve: samples, minutes, loss, side of the scenes in pixels.
    """
    torch.manual_seed(seed)
    vae = AutoencoderKL.from_pretrained(folder / "vae")
    trainee = Trainee(build_t5(), build_transformer())
    average = copy.deepcopy(trainee).requires_grad_(requires_grad=False)
    optimizers = _optimizers(trainee)
    curve: list[dict[str, float]] = []
    budget = Budget(minutes)
    for stage in STAGES:
        corpus = render_corpus(seed + 2, stage.scenes, stage.side, stage.things)
        batches = Examples(corpus, vae).batches(stage.batch, np.random.default_rng(seed))
        del corpus
        _train_stage(stage, batches, trainee, average, optimizers, budget, curve)
        save(vae, average, folder / "flux")
    return curve


def _train_stage(
    stage: Stage,
    batches: Iterator[tuple[torch.Tensor, torch.Tensor]],
    trainee: Trainee,
    average: Trainee,
    optimizers: list[torch.optim.Optimizer],
    budget: Budget,
    curve: list[dict[str, float]],
) -> None:
    budget.resume()
    end = budget.progress() + stage.share
    samples = int(curve[-1]["samples"]) if curve else 0
    step, mean_loss = 0, 1.0
    while (progress := budget.progress()) < end:
        latents, ids = next(batches)
        _set_rates(optimizers, step, progress)
        loss = _loss(trainee, latents, ids)
        for optimizer in optimizers:
            optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(trainee.parameters(), 1.0)
        for optimizer in optimizers:
            optimizer.step()
        _follow(average, trainee, min(EMA_DECAY, (samples + 1) / (samples + 10 * stage.batch)))
        step, samples = step + 1, samples + stage.batch
        mean_loss = 0.99 * mean_loss + 0.01 * loss.item() if step > 1 else loss.item()
        if step % 200 == 0:
            point = {"samples": samples, "minutes": round(budget.spent, 2), "loss": round(mean_loss, 4)}
            curve.append({**point, "side": stage.side})
            log.info("transformer %s", curve[-1])


def _loss(trainee: Trainee, latents: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
    """Flow matching: the velocity eps - x0 at x_t = (1 - t) x0 + t eps (Lipman et al. 2023; Esser et al. 2024)."""
    t = torch.sigmoid(NOISE_MEAN + NOISE_SD * torch.randn(len(latents)))
    noise = torch.randn_like(latents)
    mix = t[:, None, None]
    with torch.autocast("cpu", torch.bfloat16):
        velocity = trainee((1 - mix) * latents + mix * noise, t, ids)
    return (velocity.float() - (noise - latents)).square().mean()


def _optimizers(trainee: Trainee) -> list[torch.optim.Optimizer]:
    """Muon for the blocks' matrices, AdamW for the rest: at equal time it points far better than AdamW alone."""
    matrices = [
        p
        for name, p in trainee.transformer.named_parameters()
        if p.ndim == 2 and "transformer_blocks" in name and ".norm" not in name
    ]
    chosen = {id(p) for p in matrices}
    rest = [p for p in trainee.parameters() if id(p) not in chosen]
    return [
        torch.optim.Muon(matrices, MUON_RATE, weight_decay=0.01, adjust_lr_fn="match_rms_adamw"),
        torch.optim.AdamW(rest, ADAMW_RATE, betas=(0.9, 0.98), weight_decay=0.0),
    ]


def _set_rates(optimizers: list[torch.optim.Optimizer], step: int, progress: float) -> None:
    """A short warm-up at the start of each stage, then down to 2 % over the second half of the whole training."""
    factor = min((step + 1) / WARMUP_STEPS, 1.0) * min(1.0, max(0.02, 2 * (1 - progress)))
    for optimizer, rate in zip(optimizers, (MUON_RATE, ADAMW_RATE), strict=True):
        for group in optimizer.param_groups:
            group["lr"] = rate * factor


@torch.no_grad()
def _follow(average: Trainee, trainee: Trainee, decay: float) -> None:
    """average <- decay * average + (1 - decay) * trainee."""
    torch._foreach_lerp_(list(average.parameters()), list(trainee.parameters()), 1 - decay)


def save(vae: AutoencoderKL, average: Trainee, folder: Path) -> None:
    """Save everything as a diffusers FluxPipeline folder, in fp16."""
    pipeline: FluxPipeline = build_pipeline(vae, copy.deepcopy(average.t5), copy.deepcopy(average.transformer))
    pipeline.to(torch.float16).save_pretrained(folder)
