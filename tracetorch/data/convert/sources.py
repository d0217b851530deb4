"""Which data files there are, where their originals come from, and how a file is made of them."""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from tracetorch.data.convert.idx import images
from tracetorch.data.convert.motion import motion
from tracetorch.data.convert.physionet import RECORDS, mitbih
from tracetorch.data.convert.speech import speech
from tracetorch.data.files import write_file


@dataclass(frozen=True)
class Source:
    """State where a data file comes from.

    Attributes:
        file: The file that tasks read.
        tasks: The tasks.
        address: Where the original is described and distributed.
        licence: The original's licence.
        recipe: What to download, in one sentence.
        convert: Makes the file's arrays of a folder of downloads.
    """

    file: str
    tasks: tuple[str, ...]
    address: str
    licence: str
    recipe: str
    convert: Callable[[Path], dict[str, npt.NDArray[np.generic]]]


_FOUR = (
    "download train-images-idx3-ubyte.gz, train-labels-idx1-ubyte.gz, and both that begin with t10k, into one folder"
)
SOURCES = {
    "mnist": Source(
        "mnist.npz",
        ("mnist", "psmnist", "mnist-reward"),
        "https://doi.org/10.1109/5.726791",
        "none stated",
        _FOUR,
        images,
    ),
    "fashion": Source(
        "fashion_mnist.npz",
        ("fashion",),
        "https://github.com/zalandoresearch/fashion-mnist",
        "MIT",
        _FOUR,
        images,
    ),
    "ecg": Source(
        "mitbih12.npz",
        ("ecg",),
        "https://physionet.org/content/mitdb/1.0.0/",
        "ODC-By 1.0",
        f"download the files .hea, .dat and .atr of the records {', '.join(RECORDS)} into one folder",
        mitbih,
    ),
    "speech": Source(
        "gsc_test_8k.npz",
        ("speech",),
        "http://download.tensorflow.org/data/speech_commands_test_set_v0.02.tar.gz",
        "CC BY 4.0",
        "download speech_commands_test_set_v0.02.tar.gz; it need not be unpacked",
        speech,
    ),
    "har": Source(
        "har_geotec.npz",
        ("har",),
        "https://matey97.github.io/thesis/02.2_dataset.html",
        "CC BY 4.0",
        "download the smartphone and smartwatch recordings, which the page names, and unpack them",
        motion,
    ),
}
"""Data files by the word of the command ``tracetorch data``."""


def make_data_file(name: str, downloads: str | os.PathLike[str], folder: str | os.PathLike[str] = ".") -> Path:
    """Make the data file of a key of `SOURCES` from its downloads, whole or not at all; an older one stays."""
    if name not in SOURCES:
        raise ValueError(f"no data file {name!r}: choose one of {', '.join(SOURCES)}")
    file = Path(folder).expanduser() / SOURCES[name].file
    if file.exists():
        raise FileExistsError(f"{str(file)!r} is there already: nothing is overwritten")
    content = io.BytesIO()
    np.savez_compressed(content, **SOURCES[name].convert(Path(downloads).expanduser()))  # type: ignore[arg-type]
    file.parent.mkdir(parents=True, exist_ok=True)
    write_file(file, content.getvalue())
    return file
