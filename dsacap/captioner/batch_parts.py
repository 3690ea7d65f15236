"""A batch worked through in parts, by several processes or one after another, to the result that it has in one piece.

Whatever is random is drawn for the whole batch, by everybody alike, and each part takes its rows: noise, masks, dropout, samples. What is
counted (words, masks) is counted in all captions, which are small, so everybody has them. Then the losses of the parts, each weighted by
its share of the images, add up to that of the whole, and so do their gradients.

The training loop says which part it works on (`at_work_on`); without one, these functions are torch's own. A tensor has *rows for a
part* if its first dimension is a multiple of the part's images: references or samples of an image stand together.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dsacap.common.errors import UserError


@dataclass(frozen=True)
class Part:
    """Images `first` to `last` (without) of a batch of `images`, whose captions are `captions` [N, R, L + 1]. `total` adds a tensor up
    over the parts, where all of them are worked on at the same time."""

    first: int
    last: int
    images: int
    captions: Tensor
    total: Callable[[Tensor], Tensor] | None = None


_part: Part | None = None
_bucket: tuple[int, Tensor] | None = (
    None  # rows of the whole batch that pass a layer together, and which of them are this part's
)


@contextmanager
def at_work_on(part: Part | None) -> Iterator[None]:
    """None: the whole batch."""
    global _part
    before, _part = _part, part
    try:
        yield
    finally:
        _part = before


def share() -> float:
    """Of the batch's images that this part has."""
    return 1.0 if _part is None else (_part.last - _part.first) / _part.images


def whole(captions_BRL: Tensor) -> Tensor:
    """The captions of all images of the batch."""
    return captions_BRL if _part is None else _part.captions


def mine(x: Tensor, dim: int = 0) -> Tensor:
    """Of a tensor with rows for the whole batch, those of this part."""
    if _part is None:
        return x
    each = x.shape[dim] // _part.images
    return x.narrow(dim, _part.first * each, (_part.last - _part.first) * each)


def drawn(
    draw: Callable[..., Tensor],
    shape: Sequence[int],
    device: torch.device | None = None,
    dim: int = 0,
) -> Tensor:
    """Random numbers `draw(shape, device=device)` with rows for this part in dimension `dim`: its own of those of the whole batch."""
    return mine(
        draw((*shape[:dim], _rows_of_all(shape[dim]), *shape[dim + 1 :]), device=device), dim
    )


def multinomial(p_XV: Tensor, samples: int, replacement: bool = False) -> Tensor:
    """`torch.multinomial` of rows for this part."""
    if _part is None:
        return torch.multinomial(p_XV, samples, replacement)
    p_YV = torch.ones_like(p_XV[:1]).repeat(
        _rows_of_all(len(p_XV)), 1
    )  # what others draw does not matter, only that it is drawn
    mine(p_YV).copy_(p_XV)
    return mine(torch.multinomial(p_YV, samples, replacement))


def averaged(x: Tensor) -> Tensor:
    """The mean over the batch of what is a mean over this part. UserError where not all parts are at hand."""
    if _part is None:
        return x
    if _part.total is None:
        raise UserError(
            "this needs a statistic of the whole batch at once, so its batch cannot be accumulated; use accumulate: 1"
        )
    return _part.total(x * share())


def only_whole(what: str) -> None:
    """UserError in a part, for `what` cannot be done there."""
    if _part is not None:
        raise UserError(f"{what} in parts of a batch; use processes: 1 and accumulate: 1")


def length_buckets(real_XL: Tensor, buckets: int = 4) -> Iterator[tuple[Tensor, int]]:
    """Rows of like length together: (rows of this part, longest length of all). Halves the work on captions that are padded to the
    longest. `real_XL` says which places are words in the captions of the whole batch."""
    global _bucket
    length_X = real_XL.sum(-1)
    for rows in length_X.argsort(stable=True).chunk(buckets):
        longest = int(length_X[rows].max())
        if _part is None:
            yield rows, longest
            continue
        each = len(real_XL) // _part.images
        own = ((rows >= _part.first * each) & (rows < _part.last * each)).nonzero()[:, 0]
        _bucket = (len(rows), own)
        try:
            yield rows[own] - _part.first * each, longest
        finally:
            _bucket = None


class Dropout(nn.Dropout):
    """Of inputs with rows for a part, or for this part's rows of a bucket."""

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or not self.p or _part is None:
            return super().forward(x)
        # Compiled code draws numbers of its own. As a decorator, `disable` would load the whole compiler wherever this file is imported.
        kept = torch.compiler.disable(_kept) if torch.compiler.is_compiling() else _kept
        return x * kept(x, self.p)


def _kept(x: Tensor, p: float) -> Tensor:
    """What x is multiplied with: 0 or 1 / (1 - p)."""
    rows = _rows_of_all(len(x)) if _bucket is None else _bucket[0]
    kept = F.dropout(x.new_ones(rows, *x.shape[1:]), p)
    return (mine(kept) if _bucket is None else kept[_bucket[1]]).contiguous()


def _rows_of_all(rows: int) -> int:
    return rows if _part is None else rows // (_part.last - _part.first) * _part.images
