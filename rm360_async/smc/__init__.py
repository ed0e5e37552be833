"""Read .smc files: typed values, and an index of where each stored blob is.

Theory of operation. An .smc is an HDF5 file that consists mainly of encoded pictures, each a small contiguous dataset
of bytes. HDF5 is asked only *where* a picture is stored (offset and size); the bytes are then copied by the kernel and
never pass through HDF5. Datasets that are not contiguous (chunked, compressed, compact) are read through h5py. A file
may be damaged or hostile: only hard links are followed, nothing outside the file is read, every size is checked before
memory is allocated, and a failure inside HDF5 is caught where it happens, not by its type. All h5py calls of one file
belong to one thread; `Blob.read` and `check_picture` may run in any.
"""

from rm360_async.smc.arrays import (
    Audio,
    AudioShape,
    Calibration,
    read_array,
    read_audio,
    read_audio_shape,
    read_calibration,
)
from rm360_async.smc.blobs import Blob
from rm360_async.smc.errors import HDF5_VERSION, UnreadableData
from rm360_async.smc.file import SmcFile
from rm360_async.smc.frames import FrameList
from rm360_async.smc.pair import SmcPair
from rm360_async.smc.picture_check import Picture, check_picture, read_image_size

__all__ = [
    "HDF5_VERSION",
    "Audio",
    "AudioShape",
    "Blob",
    "Calibration",
    "FrameList",
    "Picture",
    "SmcFile",
    "SmcPair",
    "UnreadableData",
    "check_picture",
    "read_array",
    "read_audio",
    "read_audio_shape",
    "read_calibration",
    "read_image_size",
]
