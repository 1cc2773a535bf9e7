"""An exported network, opened again: its description, its answers, its speed."""

import json
import time
import zipfile
from io import BytesIO
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from sta_tsn.artefacts import first_line
from sta_tsn.errors import UserError
from sta_tsn.prediction.description import INPUT

METADATA = "sta_tsn"  # of an ONNX file
METADATA_FILE = "sta_tsn.json"  # inside a torch.export file
SHORTEST_RUN_SEC = 3.0
FEWEST_PASSES = 3


class OnnxNetwork:
    """An ONNX file in onnxruntime.

    Args:
        path: of the file.

    Raises:
        UserError: not written by `sta-tsn export`.
    """

    def __init__(self, path: Path):
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        self.session = onnxruntime.InferenceSession(
            path, options, providers=["CPUExecutionProvider"]
        )
        held = self.session.get_modelmeta().custom_metadata_map
        if METADATA not in held:
            raise UserError(f"{path} was not written by `sta-tsn export`.")
        self.about = json.loads(held[METADATA])
        self.runs_in = f"onnxruntime {onnxruntime.__version__}"

    def run(self, clips: Tensor) -> dict[str, Tensor]:
        """Return the outputs by name, of uint8 clips (B, N, T, C, S, S)."""
        names = list(self.about["outputs"])
        parts = self.session.run(names, {INPUT: clips.numpy()})
        return {name: torch.from_numpy(part) for name, part in zip(names, parts, strict=True)}


class TorchNetwork:
    """A file of `torch.export`.

    Args:
        path: of the file.

    Raises:
        UserError: not written by `sta-tsn export`, or it could run code.
    """

    def __init__(self, path: Path):
        _refuse_code(path)
        held = {METADATA_FILE: ""}
        self.module = torch.export.load(path, extra_files=held).module()
        if not held[METADATA_FILE]:
            raise UserError(f"{path} was not written by `sta-tsn export`.")
        self.about = json.loads(held[METADATA_FILE])
        self.runs_in = f"torch {torch.__version__}"

    @torch.no_grad()
    def run(self, clips: Tensor) -> dict[str, Tensor]:
        """Return the outputs by name, of uint8 clips (B, N, T, C, S, S)."""
        return dict(zip(self.about["outputs"], self.module(clips), strict=True))


Exported = OnnxNetwork | TorchNetwork


def open_exported(path: Path) -> Exported:
    """Open a file that `sta-tsn export` wrote, by what its name ends in.

    Raises:
        UserError: no such file, another kind, or one that this suite did not write.
    """
    if not path.is_file():
        raise UserError(f"{path}: no such file. `sta-tsn export CHECKPOINT` writes one.")
    try:
        if path.suffix == ".onnx":
            return OnnxNetwork(path)
        if path.suffix == ".pt2":
            return TorchNetwork(path)
    except ImportError as error:
        raise UserError(f"{path} needs onnxruntime: pip install 'sta-tsn[export]'.") from error
    except UserError:
        raise
    except Exception as error:  # each runtime has kinds of its own for damaged files
        reason = first_line(error)
        raise UserError(f"{path} is damaged or no exported network ({reason}).") from error
    raise UserError(f"{path}: give a file ending in .onnx or .pt2 that `sta-tsn export` wrote.")


def _refuse_code(path: Path) -> None:
    """Raise UserError for a file of `torch.export` that could run code when it is opened.

    `torch.export.load` unpickles what the file itself says is a pickle, and inputs kept as an
    example where they hold more than tensors. `sta-tsn export` writes neither.
    """
    refusal = UserError(f"{path} holds pickled objects, which could run code; it is not opened.")
    with zipfile.ZipFile(path) as file:
        for name in file.namelist():
            content = file.read(name)
            if name.endswith("_config.json") and b'"use_pickle": true' in content:
                raise refusal
            if "/sample_inputs/" in name:
                try:
                    torch.load(BytesIO(content), weights_only=True)
                except Exception as error:
                    raise refusal from error


def benchmark(path: str, batch: int = 1) -> float:
    """Measure how many videos a second an exported network scores, and say so.

    The clips are noise and lie in memory: reading and cropping videos comes on top.

    Args:
        path: of a file that `sta-tsn export` wrote.
        batch: videos in a pass.

    Returns:
        Videos a second, by the median pass of at least 3 s.

    Raises:
        UserError: as `open_exported`, or a batch below 1.
    """
    if batch < 1:
        raise UserError(f"batch={batch}: give the number of videos in a pass, at least 1.")
    network = open_exported(Path(path))
    shape = network.about["input"]["shape"][1:]
    generator = torch.Generator().manual_seed(0)
    clips = torch.randint(0, 256, (batch, *shape), generator=generator, dtype=torch.uint8)
    network.run(clips)  # the first pass allocates memory and chooses kernels
    seconds: list[float] = []
    while sum(seconds) < SHORTEST_RUN_SEC or len(seconds) < FEWEST_PASSES:
        start = time.perf_counter()
        network.run(clips)
        seconds.append(time.perf_counter() - start)
    each = float(np.median(seconds))
    num_segments, num_frames, _, side_px, _ = shape
    threads = torch.get_num_threads()
    print(
        f"{batch / each:.2f} videos/s ({1000 * each / batch:.0f} ms a video of {num_segments} x "
        f"{num_frames} frames of {side_px} px, one crop; batch {batch}, {threads} CPU threads, "
        f"{network.runs_in})"
    )
    return batch / each
