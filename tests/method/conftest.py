import pytest
import torch

from dsacap.method.readout import Readout
from helpers import VERTICES, VOCABULARY


@pytest.fixture
def graph():
    torch.manual_seed(0)
    readout = Readout(VERTICES, VOCABULARY, width=16, heads=2, layers=1, transition_heads=2)
    with torch.no_grad():
        for parameter in readout.parameters():
            parameter.copy_(torch.randn_like(parameter) * 0.7)
        return tuple(x.double() for x in readout(torch.randn(2, 3, 16)))
