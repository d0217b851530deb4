"""Read the data that tasks and examples use, and one's own, from a path that the user gives."""

from tracetorch.data.collate import RaggedBatch, collate_ragged
from tracetorch.data.digits import digits
from tracetorch.data.files import ENVIRONMENT_VARIABLE, DamagedFileError, DataNotFoundError, find_file, load_arrays
from tracetorch.data.hdf5 import HDF5Events
from tracetorch.data.images import Images, fashion_mnist, mnist
from tracetorch.data.mitbih import ECGRecord, mitbih
from tracetorch.data.own_files import read_csv, read_npy, read_wav
from tracetorch.data.pool import Recordings, RowPool, Window
from tracetorch.data.recordings import DenseRecording, EventRecording, Recording
from tracetorch.data.splits import Split, split_by_hash
from tracetorch.data.tonic import EventDataset, TonicRecordings

__all__ = [
    "ENVIRONMENT_VARIABLE",
    "DamagedFileError",
    "DataNotFoundError",
    "DenseRecording",
    "ECGRecord",
    "EventDataset",
    "EventRecording",
    "HDF5Events",
    "Images",
    "RaggedBatch",
    "Recording",
    "Recordings",
    "RowPool",
    "Split",
    "TonicRecordings",
    "Window",
    "collate_ragged",
    "digits",
    "fashion_mnist",
    "find_file",
    "load_arrays",
    "mitbih",
    "mnist",
    "read_csv",
    "read_npy",
    "read_wav",
    "split_by_hash",
]
