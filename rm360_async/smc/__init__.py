"""Read .smc files: typed values, and an index of where each stored blob lies.

Theory of operation. An .smc is an HDF5 file whose bulk is encoded pictures, each a small dataset of bytes in
one piece. HDF5 is asked only *where* a picture lies (offset and size); the bytes are then copied by the
kernel and never pass through HDF5. What is not in one piece (chunked, compressed, compact) is read through
h5py. A file may be damaged or hostile: only hard links are followed, nothing outside the file is read,
every size is bounded before memory is taken, and a failure inside HDF5 is caught by place, not by type.
All h5py calls of one file belong to one thread; `Blob.read` and the wholeness check may run in any.
"""

from rm360_async.smc.arrays import Audio, AudioShape, Calibration, audio_shape, read_array, read_audio, read_calibration
from rm360_async.smc.blobs import Blob
from rm360_async.smc.errors import HDF5_VERSION, UnreadableData
from rm360_async.smc.file import SmcFile
from rm360_async.smc.frames import FrameList
from rm360_async.smc.pair import SmcPair
from rm360_async.smc.picture_check import Picture, check, image_size

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
    "audio_shape",
    "check",
    "image_size",
    "read_array",
    "read_audio",
    "read_calibration",
]
