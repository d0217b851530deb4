"""Read the data that tasks and examples use, from a path that the user gives."""

from tracetorch.data.digits import digits
from tracetorch.data.files import ENVIRONMENT_VARIABLE, DamagedFileError, DataNotFoundError, find_file, load_arrays
from tracetorch.data.images import Images, fashion_mnist, mnist
from tracetorch.data.mitbih import ECGRecord, mitbih

__all__ = [
    "ENVIRONMENT_VARIABLE",
    "DamagedFileError",
    "DataNotFoundError",
    "ECGRecord",
    "Images",
    "digits",
    "fashion_mnist",
    "find_file",
    "load_arrays",
    "mitbih",
    "mnist",
]
