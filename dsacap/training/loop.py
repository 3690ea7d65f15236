"""The one training loop. Every system goes through it, and every tuning: same images, same order, same number of steps, same selection.

Whatever is random is a function of (seed, step): a run that was killed and resumed gives, on CPU, the same bytes as one that was not.
Several processes give, but for rounding, what one does (dsacap/captioner/batch_parts.py), and a run can go on in more or fewer than it
began in.
"""

import math
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from functools import lru_cache
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor, nn

from dsacap.captioner.interface import Captioner
from dsacap.common.errors import Preempted, UserError
from dsacap.common.files import read_jsonl, read_tensors, write_jsonl, write_tensors
from dsacap.common.progress import progress
from dsacap.config.training import Training
from dsacap.data.prepared import Example
from dsacap.decoding.caption_images import caption_images
from dsacap.scoring.metrics.coco_metrics import score_cider
from dsacap.text.vocabulary import Vocabulary
from dsacap.training.checkpoint import restore, save
from dsacap.training.distributed import Watch, from_main
from dsacap.training.gradients import Gradients, Objective, Read
from dsacap.training.moving_average import MovingAverage
from dsacap.training.read_ahead import ReadAhead
from dsacap.vision.features.pixels import PixelFeatures
from dsacap.vision.features.store import FeatureStore

_CHECKPOINT_SECONDS = 30
_LOG_EVERY = 20
_STILL_RISING = 0.01  # a gain of more than 1 % between the last two evaluations


def train(
    captioner: Captioner,
    settings: Training,
    seed: int,
    train_examples: Sequence[Example],
    val_examples: Sequence[Example],
    store: FeatureStore | PixelFeatures,
    vocabulary: Vocabulary,
    decoding,
    folder: Path,
    description: str,
    accelerator: Accelerator,
    objective: Objective | None = None,
    keep: Literal["best", "last"] = "best",
    fused: bool = False,
) -> dict:
    """Trains `captioner` (already initialised, on the accelerator's device) and leaves model.safetensors in `folder`, beside train.jsonl,
    the curves: the weights with the best validation CIDEr, or the last. Returns facts to record.

    `objective` gives scalars to log, of which `loss` is minimised; without one, it is the captioner's own loss, with dropout.
    `fused` takes torch's fused AdamW, whose arithmetic is the same on every processor (dsacap/common/arithmetic.py).
    With PixelFeatures, model.safetensors holds the encoder too, which is trained where `settings.fine_tune` says so.
    Kill it at any moment and call it again: it goes on from the last checkpoint. Asked to end by SIGTERM, it saves one and raises
    Preempted. Of several processes all call it, the first one evaluates and writes, and all get the facts.
    """
    main = accelerator.is_main_process
    take = Step(
        captioner,
        settings,
        seed,
        train_examples,
        store,
        vocabulary,
        description,
        accelerator,
        objective,
        fused,
    )
    model, average = take.model, take.average
    at = restore(folder / "checkpoint", model, take.optimizer, average)
    if from_main(lambda: at.step, accelerator) != at.step:
        raise UserError(
            f"{folder}: the processes find different checkpoints; the work folder must be one that all machines share"
        )
    log = [row for row in _read_log(folder) if row["step"] <= at.step]
    evaluate = _evaluator(
        captioner, val_examples[: settings.validation_images], store, vocabulary, decoding
    )
    evaluation_steps = {
        round(settings.steps * (i + 1) / settings.evaluations) for i in range(settings.evaluations)
    }
    watch, saved = Watch(accelerator, at.cpu_seconds), time.monotonic()

    def checkpoint() -> None:
        write_jsonl(folder / "train.jsonl", log)
        save(folder / "checkpoint", model, take.optimizer, at, average)

    steps = progress(
        range(at.step, settings.steps), description, "step", total=settings.steps, initial=at.step
    )
    with watch.over_sigterm():
        for step in steps:
            losses = take(step)
            at.step = step + 1
            at.cpu_seconds, asked_to_end = watch.look()
            evaluated = at.step in evaluation_steps
            if evaluated or at.step % _LOG_EVERY == 0:
                row = {
                    "step": at.step,
                    **{name: round(value.item(), 6) for name, value in losses.items()},
                }
                if evaluated:
                    with average.in_place() if average else nullcontext():
                        row["val_CIDEr"] = from_main(evaluate, accelerator)
                        if row["val_CIDEr"] > at.best_cider:
                            at.best_cider, at.best_step = row["val_CIDEr"], at.step
                            if main:
                                write_tensors(folder / "best.safetensors", model.state_dict())
                    steps.set_postfix_str(f"val CIDEr {100 * row['val_CIDEr']:.1f}", refresh=False)
                log.append(row)
            if evaluated or asked_to_end or time.monotonic() - saved > _CHECKPOINT_SECONDS:
                if main:
                    checkpoint()
                saved = time.monotonic()
            if asked_to_end and at.step < settings.steps:
                raise Preempted(
                    f"{description}: asked to end, saved at step {at.step} of {settings.steps}; the same command goes on from there"
                )

    accelerator.wait_for_everyone()  # for the best weights to be written
    if keep == "best":
        model.load_state_dict(read_tensors(folder / "best.safetensors")[0])
    elif average:
        average.copy(average.weights)
    if main:
        write_tensors(folder / "model.safetensors", model.state_dict())
    curve = [row["val_CIDEr"] for row in log if "val_CIDEr" in row]
    return {
        "steps": settings.steps,
        "images_seen": settings.steps * take.images,
        "parameters": sum(p.numel() for p in captioner.parameters()),
        **(
            {"encoder_parameters_trained": sum(p.numel() for p in store.encoder.parameters())}
            if settings.fine_tune
            else {}
        ),
        "best_step": at.best_step if keep == "best" else at.step,
        "val_CIDEr": at.best_cider if keep == "best" else curve[-1],
        "val_still_rising": is_still_rising(curve),
        "train_cpu_seconds": round(at.cpu_seconds, 1),
        "device": str(accelerator.device),
    }


class Step:
    """A step of training, called with its number: a function of that, the seed and the weights."""

    def __init__(
        self,
        captioner: Captioner,
        settings: Training,
        seed: int,
        examples: Sequence[Example],
        store: FeatureStore | PixelFeatures,
        vocabulary: Vocabulary,
        description: str,
        accelerator: Accelerator,
        objective: Objective | None,
        fused: bool = False,
    ):
        """See `train`."""
        self.captioner, self.settings, self.seed, self.description = (
            captioner,
            settings,
            seed,
            description,
        )
        self.examples, self.store, self.vocabulary = examples, store, vocabulary
        self.images = min(settings.batch_size, len(examples))
        self.model = _trained_together(captioner, store, settings)
        self.optimizer = torch.optim.AdamW(
            _parameter_groups(self.model, captioner, settings),
            betas=(0.9, 0.98),
            eps=1e-9,
            fused=fused,
        )
        self.average = MovingAverage(self.model, settings.ema) if settings.ema else None
        self._device = accelerator.device
        self._gradients = Gradients(
            self.model,
            captioner,
            store.features,
            objective or captioner.loss,
            settings,
            self.images,
            accelerator,
        )
        self._read_ahead = ReadAhead(self._read, settings.steps)
        captioner.train(objective is None)

    def __call__(self, step: int) -> dict[str, Tensor]:
        for group in self.optimizer.param_groups:
            group["lr"] = group["factor"] * learning_rate(step, self.settings)
        noise = int(np.random.SeedSequence([self.seed, step, 1]).generate_state(1)[0])
        losses = self._gradients(self._read_ahead(step), noise)
        if not torch.isfinite(losses["loss"]):
            told = f"{self.description}: the loss is {losses['loss'].item()} at step {step}"
            raise UserError(f"{told}; lower training.learning_rate and start again")
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.settings.clip_norm)
        self.optimizer.step()
        if self.average:
            self.average.update(step)
        return losses

    def _read(self, step: int) -> Read:
        longest, views = self.captioner.spec.max_words, self.store.views
        ids, captions_BRL, view_of = _batch(
            step, self.seed, self.settings, self.examples, self.vocabulary, longest, views
        )
        return Read(
            ids,
            captions_BRL,
            [self.store.rows(ids[mine], view_of, self._device) for mine in self._gradients.slices],
        )


def is_still_rising(curve: Sequence[float]) -> bool:
    """Whether the last evaluation is the best and more than 1 % above the one before: more training would have helped."""
    return len(curve) < 2 or (
        curve[-1] >= max(curve) and curve[-1] > curve[-2] * (1 + _STILL_RISING)
    )


def learning_rate(step: int, settings: Training) -> float:
    """Linear warm-up, then a half cosine to zero."""
    if step < settings.warmup:
        return settings.learning_rate * (step + 1) / settings.warmup
    done = (step - settings.warmup) / max(1, settings.steps - settings.warmup)
    return settings.learning_rate * 0.5 * (1 + math.cos(math.pi * done))


def batch_indices(step: int, seed: int, images: int, batch_size: int) -> np.ndarray:
    """Which train images make up step `step`: every epoch is a permutation of its own, cut into whole batches."""
    batch_size = min(batch_size, images)
    epoch, place = divmod(step, images // batch_size)
    return _order(seed, epoch, images)[place * batch_size : (place + 1) * batch_size]


@lru_cache(maxsize=1)
def _order(seed: int, epoch: int, images: int) -> np.ndarray:
    """Kept for the epoch: of all COCO it takes as long as a small step."""
    return np.random.default_rng([seed, epoch, 0]).permutation(images)


def _batch(
    step: int,
    seed: int,
    settings: Training,
    examples: Sequence[Example],
    vocabulary: Vocabulary,
    max_words: int,
    views: int,
) -> tuple[tuple[int, ...], Tensor, dict[int, int]]:
    """Ids of a step's images, their captions [B, R, L + 1], and which view of each is seen."""
    chosen = [examples[i] for i in batch_indices(step, seed, len(examples), settings.batch_size)]
    rng = np.random.default_rng([seed, step, 2])
    captions = [
        [vocabulary.encode(c, max_words) for c in _references(e, settings.references, rng)]
        for e in chosen
    ]
    ids = tuple(e.image_id for e in chosen)
    view_of = dict(
        zip(
            ids,
            rng.integers(views, size=len(ids)).tolist() if views > 1 else [0] * len(ids),
            strict=True,
        )
    )
    captions_BRL = torch.tensor(captions)
    used = int((captions_BRL != 0).sum(-1).max())  # no work on columns that are padding everywhere
    return ids, captions_BRL[..., :used], view_of


def _references(example: Example, count: int, rng: np.random.Generator) -> list[str]:
    """`count` captions of an image: a random choice where it has more, repeated in turn where it has fewer."""
    said = [tokens for tokens in example.tokens if tokens]
    if len(said) > count:
        return [said[i] for i in rng.permutation(len(said))[:count]]
    return [said[i % len(said)] for i in range(count)]


def _evaluator(
    captioner, examples: Sequence[Example], store, vocabulary, decoding
) -> Callable[[], float]:
    references = {e.image_id: list(e.tokens) for e in examples}

    def evaluate() -> float:
        captions = caption_images(
            captioner,
            store,
            vocabulary,
            list(references),
            decoding,
            samples=1,
            seed=0,
            batch_size=100,
        )
        return score_cider(
            references, {image_id: said[0] for image_id, said in captions.items()}
        ).corpus

    return evaluate


def _trained_together(
    captioner: Captioner, store: FeatureStore | PixelFeatures, settings: Training
) -> nn.Module:
    """What is saved, averaged and clipped as one: the captioner, and the encoder where it looks at pixels. The encoder stays in the mode of
    evaluation: statistics of its batch norms are those that it came with, whatever the batch and however it is divided."""
    if not isinstance(store, PixelFeatures):
        return captioner
    store.encoder.requires_grad_(settings.fine_tune is not None)
    return nn.ModuleDict({"captioner": captioner, "encoder": store.encoder})


def _parameter_groups(model: nn.Module, captioner: Captioner, settings: Training) -> list[dict]:
    """Weight decay for matrices only, as is usual. `factor` is of the captioner's learning rate."""
    groups, own = [], set(captioner.parameters())
    encoders = [p for p in model.parameters() if p not in own]
    factor = (
        settings.fine_tune.learning_rate / settings.learning_rate if settings.fine_tune else 0.0
    )
    for parameters, of_rate in ((list(captioner.parameters()), 1.0), (encoders, factor)):
        matrices, others = (
            [p for p in parameters if p.ndim >= 2],
            [p for p in parameters if p.ndim < 2],
        )
        decays = ((matrices, settings.weight_decay), (others, 0.0))
        groups += [
            {"params": some, "weight_decay": decay, "factor": of_rate}
            for some, decay in decays
            if some
        ]
    return groups


def _read_log(folder: Path) -> list[dict]:
    path = folder / "train.jsonl"
    return read_jsonl(path) if path.exists() else []
