"""Train the small transformer and its text encoder with FLUX's flow-matching loss alone: no mask is ever seen."""

import copy
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderKL, FluxTransformer2DModel
from torch import nn
from transformers import T5EncoderModel

from refam.backbones.flux1 import axes_of
from refam.backbones.latents import grid, patchify, tokens_of
from refam.precision import has_fast_bf16
from refam.tiny.models import POOLED_WIDTH, build_pipeline, build_t5, build_t5_tokenizer, build_transformer
from refam.training.budget import Budget
from refam.training.corpus import Corpus, corpus_size, render_corpus
from refam.training.muon import Muon
from refam.training.train_vae import encode_latents

log = logging.getLogger(__name__)
MUON_RATE, ADAMW_RATE, WARMUP_STEPS = 2e-3, 1.5e-3, 200
EMA_DECAY = 0.999
REPORT_EVERY, SAVE_EVERY = 200, 400  # steps
NOISE_MEAN, NOISE_SD = 1.0, 1.0  # of logit(t): high noise, where words help most


@dataclass(frozen=True)
class Stage:
    """At most `scenes` scenes of `side` pixels and `things` (from, to) things, trained on for `share` of the time."""

    side: int
    things: tuple[int, int]
    scenes: int
    batch: int
    share: float


STAGES = (Stage(64, (1, 3), 20000, 64, 0.4), Stage(128, (2, 5), 24000, 32, 0.6))


class Examples:
    """Latents and tokenised captions, in buckets of equal caption length, so that no padding is needed."""

    def __init__(self, corpus: Corpus, vae: Any) -> None:
        self.latents = tokens_of(patchify(encode_latents(vae, torch.from_numpy(corpus.images))))
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

    def __init__(self, t5: Any, transformer: Any) -> None:
        super().__init__()
        self.t5, self.transformer = t5, transformer

    def forward(self, noised: torch.Tensor, t: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
        """Velocity at noise level t [B] for noised latents [B, tokens, channels] under the text ids [B, L]."""
        side = round(noised.shape[1] ** 0.5)
        velocity: torch.Tensor = self.transformer(
            hidden_states=noised,
            timestep=t,
            encoder_hidden_states=self.t5(ids).last_hidden_state,
            pooled_projections=torch.zeros(len(ids), POOLED_WIDTH),
            txt_ids=torch.zeros(ids.shape[1], 3),
            img_ids=axes_of(grid(side, side)),
            return_dict=False,
        )[0]
        return velocity


def train_transformer(seed: int, minutes: float, folder: Path, *, go_on: bool = False) -> list[dict[str, float]]:
    """Train on the latents of `folder`/vae for `minutes`, save the whole pipeline to `folder`/flux.

    go_on: start from the pipeline in `folder`/flux, its VAE included.
    Returns the learning curve: samples, minutes, loss, side of the scenes in pixels.
    """
    torch.manual_seed(seed)
    vae: Any = AutoencoderKL.from_pretrained(folder / "flux/vae" if go_on else folder / "vae", dtype=torch.float32)
    trainee = _load_trainee(folder / "flux") if go_on else Trainee(build_t5(), build_transformer())
    training = Training(trainee, Budget(minutes))
    end = 0.0
    for stage in STAGES:
        count = corpus_size(minutes * stage.share, stage.scenes)
        corpus = render_corpus(seed + 2, count, stage.side, stage.things)
        batches = Examples(corpus, vae).batches(stage.batch, np.random.default_rng(seed))
        del corpus  # the pixels; only latents are needed from here on
        training.budget.resume()
        end += stage.share
        for step in training.run(batches, end):
            if step % REPORT_EVERY == 0:
                training.report(stage.side)
            if step % SAVE_EVERY == 0:
                save(vae, training.average, folder / "flux")
    save(vae, training.average, folder / "flux")
    return training.curve


class Training:
    """Weights, their moving average, optimizers, and how far it has come."""

    def __init__(self, trainee: Trainee, budget: Budget) -> None:
        self.trainee, self.budget = trainee, budget
        self.average = copy.deepcopy(trainee).requires_grad_(requires_grad=False)
        self.optimizers = _optimizers(trainee)
        self.curve: list[dict[str, float]] = []
        self.samples, self.mean_loss = 0, 1.0

    def run(self, batches: Iterator[tuple[torch.Tensor, torch.Tensor]], end: float) -> Iterator[int]:
        """Train until the share `end` of the budget is spent, yielding the number of each step done, from 1."""
        step = 0
        while (progress := self.budget.progress()) < end:
            _set_rates(self.optimizers, step, progress)
            latents, ids = next(batches)
            loss = _loss(self.trainee, latents, ids)
            for optimizer in self.optimizers:
                optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(self.trainee.parameters(), 1.0)
            for optimizer in self.optimizers:
                optimizer.step()
            step, self.samples = step + 1, self.samples + len(latents)
            self._follow(len(latents))
            self.mean_loss = 0.99 * self.mean_loss + 0.01 * loss.item()
            yield step

    def report(self, side: int) -> None:
        point = {"samples": self.samples, "minutes": round(self.budget.spent, 2), "loss": round(self.mean_loss, 4)}
        self.curve.append({**point, "side": side})
        log.info("transformer %s", self.curve[-1])

    @torch.no_grad()
    def _follow(self, batch: int) -> None:
        """average <- decay * average + (1 - decay) * weights, with a smaller decay during the first steps."""
        decay = min(EMA_DECAY, self.samples / (self.samples + 10 * batch))
        torch._foreach_lerp_(list(self.average.parameters()), list(self.trainee.parameters()), 1 - decay)


def _loss(trainee: Trainee, latents: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
    """Flow matching: the velocity eps - x0 at x_t = (1 - t) x0 + t eps (Lipman et al. 2023; Esser et al. 2024)."""
    t = torch.sigmoid(NOISE_MEAN + NOISE_SD * torch.randn(len(latents)))
    noise = torch.randn_like(latents)
    mix = t[:, None, None]
    with torch.autocast("cpu", torch.bfloat16, enabled=has_fast_bf16()):
        velocity: torch.Tensor = trainee((1 - mix) * latents + mix * noise, t, ids)
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
        Muon(matrices, MUON_RATE),
        torch.optim.AdamW(rest, ADAMW_RATE, betas=(0.9, 0.98), weight_decay=0.0),
    ]


def _set_rates(optimizers: list[torch.optim.Optimizer], step: int, progress: float) -> None:
    """A short warm-up at the start of each stage, then down to 2 % over the second half of the whole training."""
    factor = min((step + 1) / WARMUP_STEPS, 1.0) * min(1.0, max(0.02, 2 * (1 - progress)))
    for optimizer, rate in zip(optimizers, (MUON_RATE, ADAMW_RATE), strict=True):
        for group in optimizer.param_groups:
            group["lr"] = rate * factor


def _load_trainee(folder: Path) -> Trainee:
    t5 = T5EncoderModel.from_pretrained(folder / "text_encoder_2", dtype=torch.float32)
    transformer: Any = FluxTransformer2DModel.from_pretrained(folder / "transformer", dtype=torch.float32)
    return Trainee(t5.train(), transformer.train())


def save(vae: Any, average: Trainee, folder: Path) -> None:
    """Save everything as a diffusers FluxPipeline folder, in fp16."""
    pipeline = build_pipeline(*(copy.deepcopy(part) for part in (vae, average.t5, average.transformer)))
    pipeline.to(torch.float16).save_pretrained(folder)
