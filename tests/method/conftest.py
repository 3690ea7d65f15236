import pytest
import torch

from dsacap.captioner.interface import ImageSpec
from dsacap.method.dag import DirectedAcyclic
from dsacap.method.dsacap import DSACap
from helpers import LONGEST, VERTICES, VOCABULARY


@pytest.fixture
def readout():
    torch.manual_seed(0)
    model = DSACap.Model(width=16, heads=2, readout_layers=1, vertices=VERTICES, transition_heads=2)
    readout = DirectedAcyclic(
        model, ImageSpec(tokens=3, channels=16, vocabulary=VOCABULARY, max_words=LONGEST)
    )
    with torch.no_grad():
        for parameter in readout.parameters():
            parameter.copy_(torch.randn_like(parameter) * 0.7)
    return readout


@pytest.fixture
def graph(readout):
    with torch.no_grad():
        return tuple(x.double() for x in readout(torch.randn(2, 3, 16)))
