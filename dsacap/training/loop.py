"""The one training loop.

Every system goes through it, and every tuning: the same images in the same order, the same number
of steps, the same selection. Whatever is random is a function of (seed, step), so a run that was
killed and resumed gives, on a CPU, the same bytes as one that was not. Several processes give what
one does, but for rounding (dsacap/captioner/batch_parts.py), and a run can be resumed in more
processes or fewer than it began in.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor

from dsacap.captioner.interface import Captioner
from dsacap.common.errors import Preempted, UserError
from dsacap.common.files import read_jsonl, read_tensors, write_jsonl, write_tensors
from dsacap.common.progress import progress
from dsacap.config.training import Training
from dsacap.data.prepared import Example
from dsacap.decoding.caption_images import caption_images
from dsacap.text.vocabulary import Vocabulary
from dsacap.training.batches import batch_of_step
from dsacap.training.checkpoint import restore, save
from dsacap.training.distributed import Watch, from_main, values_from_main
from dsacap.training.gradients import Gradients, Objective, Read
from dsacap.training.moving_average import MovingAverage
from dsacap.training.parameters import parameter_groups, trained_together
from dsacap.training.read_ahead import ReadAhead
from dsacap.vision.features.store import FeatureStore

if TYPE_CHECKING:
    from dsacap.vision.features.pixels import PixelFeatures

_CHECKPOINT_SECONDS = 30
_LOG_EVERY = 20


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
    """Train a captioner, and leave its weights and curves in a folder.

    Kill it at any moment and call it again: it resumes from the last checkpoint. Of several
    processes all call it; the first one evaluates and writes, and all return the facts.

    Args:
        captioner: The system, initialised, on the accelerator's device.
        settings: How it is trained.
        seed: The seed of its batches and random numbers.
        train_examples: The images that it is trained on.
        val_examples: The images that select the weights.
        store: Features, or pixels with their encoder, which is then stored in model.safetensors
            too, and trained if `settings.fine_tune` says so.
        vocabulary: The words.
        decoding: The decoding by which it is validated.
        folder: Where model.safetensors and train.jsonl, the curves, are written.
        description: The name of the run, for the progress bar and errors.
        accelerator: Of this process.
        objective: Scalars to log, of which `loss` is minimised; by default the captioner's own
            loss, with dropout.
        keep: Whether to store the weights with the best validation CIDEr, or the last ones.
        fused: Whether to use torch's fused AdamW, whose arithmetic is the same on every processor
            (dsacap/common/arithmetic.py).

    Returns:
        Facts for the manifest: steps, parameters, the best validation CIDEr, CPU-seconds.

    Raises:
        UserError: A loss was not finite, or the processes find different checkpoints.
        Preempted: SIGTERM asked it to end; a checkpoint was saved.
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
            f"{folder}: the processes find different checkpoints; "
            "the work folder must be one that all machines share"
        )
    log = [row for row in _read_log(folder) if row["step"] <= at.step]
    val_examples = val_examples[: settings.validation_images]
    evaluate = _evaluator(captioner, val_examples, store, vocabulary, decoding)
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
                take.check()
                row = {
                    "step": at.step,
                    **{name: round(value.item(), 6) for name, value in losses.items()},
                }
                if evaluated:
                    with average.in_place() if average else nullcontext():
                        of_images = values_from_main(evaluate, len(val_examples), accelerator)
                        at.validated = [*at.validated[-1:], of_images]
                        row["val_CIDEr"] = fmean(of_images)
                        if row["val_CIDEr"] > at.best_cider:
                            at.best_cider, at.best_step = row["val_CIDEr"], at.step
                            if main:
                                write_tensors(folder / "best.safetensors", model.state_dict())
                    steps.set_postfix_str(f"val CIDEr {100 * row['val_CIDEr']:.1f}", refresh=False)
                log.append(row)
            if evaluated or asked_to_end or time.monotonic() - saved > _CHECKPOINT_SECONDS:
                take.check()
                if main:
                    checkpoint()
                saved = time.monotonic()
            if asked_to_end and at.step < settings.steps:
                raise Preempted(
                    f"{description}: asked to end, saved at step {at.step} of {settings.steps}; "
                    "the same command resumes there"
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
            if settings.fine_tune and store.encoder is not None
            else {}
        ),
        "best_step": at.best_step if keep == "best" else at.step,
        "val_CIDEr": at.best_cider if keep == "best" else curve[-1],
        "val_still_rising": is_still_rising(curve, at.validated),
        "train_cpu_seconds": round(at.cpu_seconds, 1),
        "device": str(accelerator.device),
    }


class Step:
    """A step of training, called with its number: a function of that, the seed and the weights.

    The CPU queues it without waiting for the GPU, so the loss is examined later, by `check`.
    """

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
        self.captioner, self.settings, self.seed = captioner, settings, seed
        self.description = description
        self.examples, self.store, self.vocabulary = examples, store, vocabulary
        self.images = min(settings.batch_size, len(examples))
        self.model = trained_together(captioner, store, settings)
        self.optimizer = torch.optim.AdamW(
            parameter_groups(self.model, captioner, settings),
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
        self._unchecked: dict[int, Tensor] = {}  # losses by step
        self._read_ahead = ReadAhead(self._read, settings.steps)
        captioner.train(objective is None)

    def __call__(self, step: int) -> dict[str, Tensor]:
        """Take a step and return what the objective logs."""
        for group in self.optimizer.param_groups:
            group["lr"] = group["factor"] * learning_rate(step, self.settings)
        noise = int(np.random.SeedSequence([self.seed, step, 1]).generate_state(1)[0])
        losses = self._gradients(self._read_ahead(step), noise)
        self._unchecked[step] = losses["loss"]
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.settings.clip_norm)
        self.optimizer.step()
        if self.average:
            self.average.update(step)
        return losses

    def check(self) -> None:
        """Wait for the steps taken since the last check.

        Raises:
            UserError: The loss of one was not finite.
        """
        if not self._unchecked:
            return
        losses = torch.stack(list(self._unchecked.values())).tolist()
        for step, loss in zip(self._unchecked, losses, strict=True):
            if not math.isfinite(loss):
                raise UserError(
                    f"{self.description}: the loss is {loss} at step {step};"
                    " lower training.learning_rate and start again"
                )
        self._unchecked.clear()

    def _read(self, step: int) -> Read:
        longest, views = self.captioner.spec.max_words, self.store.views
        ids, captions_BRL, view_of = batch_of_step(
            step, self.seed, self.settings, self.examples, self.vocabulary, longest, views
        )
        return Read(
            ids,
            captions_BRL,
            [self.store.rows(ids[mine], view_of, self._device) for mine in self._gradients.slices],
        )


def is_still_rising(curve: Sequence[float], validated: Sequence[Sequence[float]]) -> bool:
    """Return whether validation shows that more training would have helped.

    It does if the last evaluation is the best, and better than the one before by more than chance:
    the 95 % interval of the mean gain of an image is above 0. What the weights would gain from
    another order of the batches is not in this interval. A run of a single evaluation counts as
    rising, because nothing shows that it was not.

    Args:
        curve: CIDEr at each evaluation.
        validated: CIDEr of each image at the last two evaluations.
    """
    from dsacap.scoring.random_effects import effect

    if len(validated) < 2:
        return True
    gains = np.subtract(validated[-1], validated[-2])
    return curve[-1] >= max(curve) and len(gains) > 1 and effect([gains[None]]).low > 0


def learning_rate(step: int, settings: Training) -> float:
    """Return the learning rate of a step: linear warm-up, then a half cosine to zero."""
    if step < settings.warmup:
        return settings.learning_rate * (step + 1) / settings.warmup
    done = (step - settings.warmup) / max(1, settings.steps - settings.warmup)
    return settings.learning_rate * 0.5 * (1 + math.cos(math.pi * done))


def _evaluator(
    captioner, examples: Sequence[Example], store, vocabulary, decoding
) -> Callable[[], list[float]]:
    # Not before it is needed: a step is timed where the packages of the scores are not installed.
    from dsacap.scoring.metrics.coco_metrics import score_cider

    references = {e.image_id: list(e.tokens) for e in examples}

    def evaluate() -> list[float]:
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
        firsts = {image_id: of_image[0] for image_id, of_image in captions.items()}
        per_image = score_cider(references, firsts).per_image
        return [per_image[image_id] for image_id in references]

    return evaluate


def _read_log(folder: Path) -> list[dict]:
    path = folder / "train.jsonl"
    return read_jsonl(path) if path.exists() else []
