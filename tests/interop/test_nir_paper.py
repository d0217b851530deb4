"""The graphs of the NIR paper, and the traces that it recorded of other programs.

They are read from a clone of https://github.com/neuromorphs/NIR: set TRACETORCH_NIR_PAPER to its folder `paper`.
J. E. Pedersen et al., "Neuromorphic intermediate representation" (2024), https://doi.org/10.1038/s41467-024-52259-9.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from interop.nir_oracle import simulate

import tracetorch as tt

nir = pytest.importorskip("nir", reason="needs nir")
PAPER = Path(os.environ.get("TRACETORCH_NIR_PAPER") or "/nowhere")
pytestmark = pytest.mark.skipif(not PAPER.is_dir(), reason="TRACETORCH_NIR_PAPER does not name the paper's folder")


def read(file: str) -> Any:
    return nir.read(PAPER / file, type_check=False)


@pytest.mark.parametrize("program", ["norse", "snntorch", "nengo", "spinnaker2"])
def test_one_neuron_gives_the_spikes_that_programs_recorded(program: str) -> None:
    recorded = np.loadtxt(PAPER / f"01_lif/lif_{program}.csv", delimiter=",")[:, 2]  # input, membrane, spikes
    net = tt.interop.from_nir(read("01_lif/lif_norse.nir"), time=tt.interop.Euler(1e-4), dtype=torch.float64)
    given = np.loadtxt(PAPER / "01_lif/lif_norse.csv", delimiter=",")[:, 0]
    with torch.no_grad():
        spikes = tt.scan(net, torch.from_numpy(given)[:, None, None]).flatten().numpy()
    assert spikes.sum() > 0
    assert np.array_equal(np.flatnonzero(spikes), np.flatnonzero(recorded))


@pytest.mark.parametrize(
    ("file", "dt", "rate"),
    [
        ("02_cnn/cnn_sinabs.nir", 1.0, 0.1),
        ("03_rnn/braille_noDelay_bias_zero.nir", 1e-4, 0.2),
        ("03_rnn/braille_noDelay_noBias_subtract.nir", 1e-4, 0.2),
    ],
)
def test_networks_give_the_spikes_of_the_equations(file: str, dt: float, rate: float) -> None:
    graph = read(file)
    entry = next(node for node in graph.nodes.values() if type(node).__name__ == "Input")
    shape = tuple(int(n) for n in entry.input_type["input"])
    xs = (np.random.default_rng(0).random((60, 2, *shape)) < rate).astype(float)
    expected = simulate(graph, xs, dt)
    net = tt.interop.from_nir(graph, time=tt.interop.Euler(dt), dtype=torch.float64)
    with torch.no_grad():
        found = tt.scan(net, torch.from_numpy(xs)).numpy()
    assert expected["output"].sum() > 0
    assert np.array_equal(found, expected["output"])
