import torch

from dsacap.method.dag_likelihood import exact, log_likelihood, passage


def test_sums_keep_their_digits_under_autocast(graph):
    words, transitions = (x.float() for x in graph)
    captions = torch.tensor([[[4, 5, 6], [8, 8, 0]]] * 2)
    plain = log_likelihood(words, transitions, captions), passage(transitions)
    with torch.autocast("cpu", torch.bfloat16):
        assert (words @ words.mT).dtype is torch.bfloat16
        again = log_likelihood(words, transitions, captions), passage(transitions)
    assert all(torch.equal(a, b) for a, b in zip(plain, again, strict=True))


def test_what_is_exact_takes_its_arguments_as_they_are_but_for_bfloat16():
    @exact
    def product(x, y, times, *, more=0):
        """Of matrices."""
        return x @ y * times + more

    assert (product.__name__, product.__doc__) == ("product", "Of matrices.")
    torch.manual_seed(0)
    x, y = torch.randn(5, 5), torch.randn(5, 5)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(product(x, y, 2, more=1), product(x, y, 2) + 1)
        found = (
            product(x, y, 2),
            product(x.bfloat16(), y.bfloat16(), 2),
            product(x.double(), y.double(), 2),
        )
    assert [each.dtype for each in found] == [torch.float32, torch.float32, torch.float64]
    assert torch.equal(found[0], x @ y * 2)
    assert torch.equal(found[1], x.bfloat16().float() @ y.bfloat16().float() * 2)
