"""Files and folders that are written whole or not at all, and what stands in them as text."""

from ._csv import write_csv
from ._folder import newest, put_in_place, refuse_unwritable, whole_folder
from ._whole import whole_file

__all__ = [
    "newest",
    "refuse_unwritable",
    "put_in_place",
    "whole_file",
    "whole_folder",
    "write_csv",
]
