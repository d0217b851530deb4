"""Make the data files that tasks read, from the original downloads; nothing is fetched."""

from tracetorch.data.convert.sources import SOURCES, Source, make_data_file

__all__ = ["SOURCES", "Source", "make_data_file"]
