"""Train the small SAM on scenes and their true masks, from points, as segment-anything's own training did."""

import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch.nn import functional

from refam.tiny.sam import SMALL_SAM, build_sam
from refam.training.budget import Budget
from refam.training.corpus import Corpus, corpus_size, render_corpus

log = logging.getLogger(__name__)
BATCH, LEARNING_RATE, MOST_SCENES = 12, 1.5e-3, 6000
FOCAL_GAMMA, FOCAL_WEIGHT = 2.0, 20.0  # focal : dice = 20 : 1, Kirillov et al. 2023, appendix A
MAX_POINTS = 4
CROP_CHANCE = 0.3  # wide or tall images, so that SAM knows its own padding


def train_sam(seed: int, minutes: float, folder: Path, *, go_on: bool = False) -> list[dict[str, float]]:
    """Train for `minutes`, save to `folder`/sam. Returns the learning curve: steps, minutes, mean IoU, loss.

    go_on: start from the weights in `folder`/sam.
    """
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    corpus = render_corpus(seed + 1, corpus_size(minutes, MOST_SCENES), SMALL_SAM["image_size"], (2, 5))
    sam = build_sam(SMALL_SAM).train()
    if go_on:
        sam.load_state_dict(load_file(folder / "sam" / "model.safetensors"))
    optimizer = torch.optim.AdamW(sam.parameters(), LEARNING_RATE, betas=(0.9, 0.98), weight_decay=0.02)
    budget = Budget(minutes)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min((step + 1) / 200, max(0.02, 1 - budget.progress()))
    )
    curve: list[dict[str, float]] = []
    step, mean_loss, mean_iou = 0, 1.0, 0.0
    while budget.progress() < 1:
        loss, iou = _batch_loss(sam, corpus, rng)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(sam.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        step += 1
        mean_loss, mean_iou = 0.98 * mean_loss + 0.02 * loss.item(), 0.98 * mean_iou + 0.02 * iou
        if step % 100 == 0:
            values = {"minutes": budget.spent, "loss": mean_loss, "mean_iou": mean_iou}
            curve.append({"steps": step, **{name: round(value, 4) for name, value in values.items()}})
            log.info("sam %s", curve[-1])
    _save(sam, folder / "sam")
    return curve


def _batch_loss(sam: Any, corpus: Corpus, rng: np.random.Generator) -> tuple[torch.Tensor, float]:
    """Mean loss over a batch of images, each prompted for all of its things; and the mean IoU of the best masks."""
    chosen = rng.integers(0, len(corpus.images), BATCH)
    side = SMALL_SAM["image_size"]
    pixels = torch.stack([sam.preprocess(torch.from_numpy(corpus.images[i]).permute(2, 0, 1).float()) for i in chosen])
    masks = [torch.from_numpy(corpus.masks[i]) for i in chosen]
    for image, mask in zip(pixels, masks, strict=True):
        if rng.random() < CROP_CHANCE:
            kept = int(rng.integers(side // 2, side))
            cut = (..., slice(kept, None)) if rng.random() < 0.5 else (..., slice(kept, None), slice(None))
            image[cut], mask[cut] = 0, False
    embeddings = sam.image_encoder(pixels)
    losses, ious = [], []
    for embedding, all_masks in zip(embeddings, masks, strict=True):
        mask = all_masks[all_masks.flatten(1).sum(1) > 30]
        if not len(mask):
            continue
        sparse, dense = sam.prompt_encoder(points=_points(mask, rng), boxes=None, masks=None)
        logits, predicted_iou = sam.mask_decoder(
            image_embeddings=embedding[None],
            image_pe=sam.prompt_encoder.get_dense_pe(),
            sparse_prompt_embeddings=sparse,
            dense_prompt_embeddings=dense,
            multimask_output=True,
        )
        logits = functional.interpolate(logits, (side, side), mode="bilinear")
        candidate_losses, candidate_ious = _mask_losses(logits, mask)
        best = candidate_losses.argmin(1, keepdim=True)
        iou_error = (predicted_iou - candidate_ious).square().mean()
        losses.append(candidate_losses.gather(1, best).mean() + 0.05 * candidate_losses.mean() + iou_error)
        ious.append(candidate_ious.gather(1, predicted_iou.argmax(1, keepdim=True)).mean().item())
    return torch.stack(losses).mean(), float(np.mean(ious))


def _points(mask: torch.Tensor, rng: np.random.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """One to `MAX_POINTS` points a thing: the first one on it, each further one on it or, labelled 0, off it.

    Returns coordinates float [things, points, 2] as (x, y) in pixels, and labels [things, points].
    """
    count = 1 if rng.random() < 0.5 else int(rng.integers(2, MAX_POINTS + 1))
    coordinates, labels = [], []
    for one in mask.numpy():
        inside = [True, *(rng.random(count - 1) < 0.5)]
        spots = [np.argwhere(one if i else ~one) for i in inside]
        coordinates.append([spot[rng.integers(len(spot))][::-1] + 0.5 for spot in spots])
        labels.append(inside)
    return torch.tensor(np.array(coordinates), dtype=torch.float32), torch.tensor(np.array(labels), dtype=torch.int32)


def _mask_losses(logits: torch.Tensor, mask: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Focal + dice loss, and true IoU, of each candidate: logits [B, 3, S, S], mask [B, S, S] -> two [B, 3]."""
    truth = mask[:, None].float().expand_as(logits)
    probability = logits.sigmoid()
    cross_entropy = functional.binary_cross_entropy_with_logits(logits, truth, reduction="none")
    wrongness = (probability - truth).abs() ** FOCAL_GAMMA
    focal = (wrongness * cross_entropy).mean((-2, -1))
    overlap = (probability * truth).sum((-2, -1))
    dice = 1 - (2 * overlap + 1) / (probability.sum((-2, -1)) + truth.sum((-2, -1)) + 1)
    hard = logits > 0
    union = (hard | mask[:, None]).sum((-2, -1)).clamp(min=1)
    iou = (hard & mask[:, None]).sum((-2, -1)) / union
    return FOCAL_WEIGHT * focal + dice, iou


def _save(sam: Any, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(SMALL_SAM, indent=2) + "\n")
    save_file(
        {name: value.half().contiguous() for name, value in sam.state_dict().items()}, folder / "model.safetensors"
    )
