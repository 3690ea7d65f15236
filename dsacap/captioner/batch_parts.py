"""Parts of a batch, in several processes or one by one, with the result of the whole batch.

Whatever is random is drawn for the whole batch in each part, which takes its own rows: noise,
masks, dropout, samples. What is counted (words, masks) is counted in the captions of the whole
batch, which are small, so each part has them. Then the losses of the parts, each weighted by its
share of the images, add up to the loss of the batch, and so do their gradients. torch's
DistributedDataParallel would average gradients too, but its processes draw numbers of their own
and count what they have, so the loss would depend on the number of processes.

A part travels with its batch (`Batch.part`), and the training loop hands it to the modules that
drop out (`assign_part`). A tensor has *rows for a part* if its first dimension is a multiple of
the part's images: references or samples of an image are consecutive.
"""

from collections.abc import Callable, Iterator, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dsacap.common.errors import UserError


class Part:
    """A part that is the whole batch: what is drawn and counted is torch's own."""

    share: float = 1.0
    """The fraction of the batch's images that are in this part."""

    def __init__(self, captions: Tensor | None = None) -> None:
        """Describe the batch.

        Args:
            captions: The captions of all its images, `(images, references, length + 1)`, in the
                CPU's memory; None if they are not at hand there.
        """
        self.captions = captions

    def all_captions(self, captions_BRL: Tensor) -> Tensor:
        """Return the captions of the whole batch; `captions_BRL` are those of this part."""
        return captions_BRL

    def known_captions(self, captions_BRL: Tensor) -> Tensor:
        """Return what `all_captions` does, in the CPU's memory.

        The training loop has them there, so that their lengths are known without waiting for a GPU.
        """
        return captions_BRL.cpu() if self.captions is None else self.captions

    def rows(self, x: Tensor, dim: int = 0) -> Tensor:
        """Return this part's rows of a tensor with rows for the whole batch in dimension `dim`."""
        return x

    def drawn(
        self,
        draw: Callable[..., Tensor],
        shape: Sequence[int],
        device: torch.device | None = None,
        dim: int = 0,
    ) -> Tensor:
        """Return random numbers with rows for this part.

        Args:
            draw: Draws them, as `draw(shape, device=device)`.
            shape: The shape for this part.
            device: Where they are.
            dim: The dimension that has the rows.
        """
        return draw(tuple(shape), device=device)

    def multinomial(self, p_XV: Tensor, samples: int, replacement: bool = False) -> Tensor:
        """Return what `torch.multinomial` draws for rows of this part."""
        return _multinomial(p_XV, samples, replacement)

    def mean(self, x: Tensor) -> Tensor:
        """Return the mean over the batch, given the mean `x` over this part.

        Raises:
            UserError: The other parts are not worked on at the same time.
        """
        return x

    def require_whole(self, what: str) -> None:
        """Raise a UserError if this is not the whole batch, because `what` needs that."""

    def length_buckets(self, real_XL: Tensor, buckets: int = 4) -> Iterator[tuple[Tensor, int]]:
        """Yield rows of similar length together, with the greatest length among them.

        This halves the work on captions that are padded to the longest. While a bucket is worked
        on, dropout is that of its rows.

        Args:
            real_XL: Which places are words, in the captions of the whole batch, in the CPU's memory
                (see `known_captions`).
            buckets: The number of buckets.

        Yields:
            Indices of rows of this part, in the CPU's memory, and the greatest length in the bucket
            of the whole batch.
        """
        length_X = real_XL.sum(-1)
        for rows in length_X.argsort(stable=True).chunk(buckets):
            yield rows, int(length_X[rows].max())


class Slice(Part):
    """Consecutive images of a batch."""

    def __init__(
        self,
        first: int,
        last: int,
        images: int,
        captions: Tensor,
        total: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        """Describe the images from `first` up to and not including `last`.

        Args:
            first: The number of the first image.
            last: One more than the number of the last image.
            images: How many images the batch has.
            captions: As for `Part`.
            total: Adds up a tensor over all parts, if they are worked on at the same time.
        """
        super().__init__(captions)
        self.first, self.last, self.images, self.total = first, last, images, total
        self.share = (last - first) / images
        # While a bucket is worked on: its rows in the whole batch, and those of this part.
        self._bucket: tuple[int, Tensor] | None = None

    def all_captions(self, captions_BRL: Tensor) -> Tensor:
        """See `Part`."""
        return self.known_captions(captions_BRL).to(captions_BRL.device, non_blocking=True)

    def rows(self, x: Tensor, dim: int = 0) -> Tensor:
        """See `Part`."""
        each = x.shape[dim] // self.images
        return x.narrow(dim, self.first * each, (self.last - self.first) * each)

    def drawn(
        self,
        draw: Callable[..., Tensor],
        shape: Sequence[int],
        device: torch.device | None = None,
        dim: int = 0,
    ) -> Tensor:
        """See `Part`."""
        whole = (*shape[:dim], self._rows_of_all(shape[dim]), *shape[dim + 1 :])
        return self.rows(draw(whole, device=device), dim)

    def multinomial(self, p_XV: Tensor, samples: int, replacement: bool = False) -> Tensor:
        """See `Part`."""
        # What the other parts draw does not matter, only that it is drawn.
        p_YV = torch.ones_like(p_XV[:1]).repeat(self._rows_of_all(len(p_XV)), 1)
        self.rows(p_YV).copy_(p_XV)
        return self.rows(_multinomial(p_YV, samples, replacement))

    def mean(self, x: Tensor) -> Tensor:
        """See `Part`."""
        if self.total is None:
            raise UserError(
                "this needs a statistic of the whole batch at once, "
                "so its batch cannot be accumulated; use accumulate: 1"
            )
        return self.total(x * self.share)

    def require_whole(self, what: str) -> None:
        """See `Part`."""
        raise UserError(f"{what} in parts of a batch; use processes: 1 and accumulate: 1")

    def length_buckets(self, real_XL: Tensor, buckets: int = 4) -> Iterator[tuple[Tensor, int]]:
        """See `Part`."""
        each = len(real_XL) // self.images
        for rows, longest in super().length_buckets(real_XL, buckets):
            is_own = (rows >= self.first * each) & (rows < self.last * each)
            own = is_own.nonzero()[:, 0]
            self._bucket = (len(rows), own)
            try:
                yield rows[own] - self.first * each, longest
            finally:
                self._bucket = None

    def kept(self, x: Tensor, p: float) -> Tensor:
        """Return what dropout multiplies `x` with: 0, or 1 / (1 - p).

        Args:
            x: A tensor with rows for this part, or for this part of the bucket that is worked on.
            p: The probability of 0.
        """
        rows = self._bucket[0] if self._bucket else self._rows_of_all(len(x))
        kept = F.dropout(x.new_ones(rows, *x.shape[1:]), p)
        if self._bucket is None:
            return self.rows(kept).contiguous()
        return kept[self._bucket[1].to(x.device, non_blocking=True)].contiguous()

    def _rows_of_all(self, rows: int) -> int:
        return rows // (self.last - self.first) * self.images


WHOLE = Part()


def places_of(real_XL: Tensor, device: torch.device) -> Tensor:
    """Return the places where a mask is true, as indices into flattened rows.

    With the mask itself as an index, the CPU would wait for the GPU to count the places.

    Args:
        real_XL: The mask, in the CPU's memory.
        device: Where the indices are needed.
    """
    return real_XL.flatten().nonzero()[:, 0].to(device, non_blocking=True)


def _multinomial(p_XV: Tensor, samples: int, replacement: bool) -> Tensor:
    """Return what `torch.multinomial` does.

    For one sample it first checks that rows are probabilities, for which the CPU would wait for the
    GPU. Its algorithm without that check draws the same.
    """
    if samples > 1:
        return torch.multinomial(p_XV, samples, replacement)
    return (p_XV / torch.empty_like(p_XV).exponential_()).argmax(-1, keepdim=True)


class Dropout(nn.Dropout):
    """Dropout whose mask does not depend on how the batch is divided."""

    part: Part = WHOLE

    def forward(self, x: Tensor) -> Tensor:
        """Drop out elements of `x`, which has rows for the part, or for its rows of a bucket."""
        if not self.training or not self.p or not isinstance(self.part, Slice):
            return super().forward(x)
        kept = self.part.kept
        if torch.compiler.is_compiling():
            # Compiled code draws numbers of its own. As a decorator, `disable` would load the whole
            # compiler wherever this file is imported.
            kept = torch.compiler.disable(kept)
        return x * kept(x, self.p)


def assign_part(model: nn.Module, part: Part) -> None:
    """Tell all `Dropout` modules of a model which part of a batch they will see."""
    for module in model.modules():
        if isinstance(module, Dropout):
            module.part = part
