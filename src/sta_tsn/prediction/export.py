"""`sta-tsn export`: a checkpoint's network as a file that runs without this suite."""

import json
import logging
import warnings
from collections.abc import Sequence
from contextlib import contextmanager, redirect_stdout
from importlib.util import find_spec
from io import StringIO
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn

from sta_tsn.artefacts import atomic
from sta_tsn.errors import UserError
from sta_tsn.prediction.checkpoints import load_stream
from sta_tsn.prediction.command import listed_videos
from sta_tsn.prediction.description import INPUT, OUTPUTS, describe
from sta_tsn.prediction.exported import METADATA, METADATA_FILE, open_exported
from sta_tsn.prediction.predictor import shown_clip

ExportFormat = Literal["onnx", "torch_export"]
SUFFIXES = {"onnx": ".onnx", "torch_export": ".pt2"}
ONNX_PACKAGES = ("onnx", "onnxscript", "onnxruntime")
OPSET = 18  # of 2022; every runtime of the last years reads it
LARGEST_DIFFERENCE = 1e-4
MOST_VIDEOS = 4096  # in a batch; torch.export wants a bound


class OneCrop(nn.Module):
    """A network as it is exported: one crop's clips in, scores and what attention there is out.

    Args:
        model: any network of videos of the suite.
    """

    def __init__(self, model: nn.Module):
        super().__init__()
        self.model = model

    def forward(self, clips: Tensor) -> tuple[Tensor, ...]:
        """Return scores, alpha and beta, those that there are, of uint8 (B, N, T, C, S, S)."""
        features, alpha = self.model.encoder.in_one_pass(clips)
        output = self.model.classify(features)
        parts = (output.scores, alpha, output.temporal_weights)
        return tuple(part for part in parts if part is not None)


def export(checkpoint: str, format: ExportFormat, out: str | None, videos: Sequence[str]) -> Path:
    """Write a checkpoint's network as a file, after it gave the same answers on real videos.

    Args:
        checkpoint: of either stage.
        format: `onnx`, or `torch_export` (`torch.export.load` opens it).
        out: of the file; beside the checkpoint where None.
        videos: files, folders and lists that the file's answers are compared on.

    Raises:
        UserError: no checkpoint of the suite, no video, a package is missing, or the answers
            differ by more than 1e-4.
    """
    if format == "onnx":
        check_onnx_is_here()
    stream = load_stream(checkpoint)
    clips = [shown_clip(stream, video) for video in listed_videos(videos)]
    network = OneCrop(stream.task.model).eval()
    path = Path(out) if out else Path(checkpoint).with_suffix(SUFFIXES[format])
    with atomic(path) as temporary:
        _write(network, clips[0].shape[1:], describe(stream), temporary, format)
        differences = _differences(network, temporary, clips)
        if max(differences.values()) > LARGEST_DIFFERENCE:
            raise UserError(f"the exported network answers differently: {_listed(differences)}.")
    size_mb = path.stat().st_size / 1e6
    print(f"Largest difference to torch on {len(clips)} videos: {_listed(differences)}")
    print(f"Exported: {path.resolve()} ({size_mb:.1f} MB)")
    return path


def check_onnx_is_here() -> None:
    """Raise UserError, naming the extra, where the packages that write and run ONNX are missing."""
    missing = [name for name in ONNX_PACKAGES if find_spec(name) is None]
    if missing:
        raise UserError(
            f"ONNX needs {', '.join(missing)}: pip install 'sta-tsn[export]', or give "
            "--format=torch_export, which needs nothing more."
        )


def _write(
    network: OneCrop, shape: torch.Size, about: dict, path: Path, format: ExportFormat
) -> None:
    """Trace the network with two black clips; their number is any, later.

    Args:
        network: in evaluation mode.
        shape: of one clip, (N, T, C, S, S).
        about: of `describe`; it gets the names and shapes of the outputs.
        path: of the file.
        format: see `export`.
    """
    # One byte seen as two clips: the file would keep a copy of real ones.
    clips = torch.zeros((), dtype=torch.uint8).expand(2, *shape)
    with torch.no_grad():
        parts = network(clips)
    names = _output_names(parts)
    about["outputs"] = {
        name: {"shape": ["batch", *part.shape[1:]], "holds": OUTPUTS[name]}
        for name, part in zip(names, parts, strict=True)
    }
    text = json.dumps(about)
    with _quiet(), torch.no_grad():
        if format == "onnx":
            program = torch.onnx.export(
                network,
                (clips,),
                dynamo=True,
                opset_version=OPSET,
                input_names=[INPUT],
                output_names=names,
                dynamic_shapes=({0: torch.export.Dim("batch", min=1, max=MOST_VIDEOS)},),
            )
            program.model.metadata_props[METADATA] = text
            program.save(path)
            return
        batch = torch.export.Dim("batch", min=1, max=MOST_VIDEOS)
        exported = torch.export.export(network, (clips,), dynamic_shapes=({0: batch},))
        torch.export.save(exported, path, extra_files={METADATA_FILE: text})


def _output_names(parts: tuple[Tensor, ...]) -> list[str]:
    names = ["scores"]
    for part in parts[1:]:
        names.append("alpha" if part.ndim == 5 else "beta")
    return names


def _differences(network: OneCrop, path: Path, clips: list[Tensor]) -> dict[str, float]:
    """Return the largest difference of each output, over every clip alone and all in one batch."""
    exported = open_exported(path)
    largest: dict[str, float] = {}
    for batch in [*clips, torch.cat(clips)]:
        with torch.no_grad():
            expected = network(batch)
        answered = exported.run(batch)
        for name, one in zip(_output_names(expected), expected, strict=True):
            difference = float((answered[name] - one).abs().max())
            largest[name] = max(largest.get(name, 0.0), difference)
    return largest


def _listed(differences: dict[str, float]) -> str:
    return ", ".join(f"{name} {value:.1e}" for name, value in differences.items())


@contextmanager
def _quiet():
    """Keep the exporters' progress and their notes on their own insides from the screen."""
    loggers = [logging.getLogger(name) for name in ("onnxscript", "onnx_ir", "torch.onnx")]
    levels = [logger.level for logger in loggers]
    with warnings.catch_warnings(), redirect_stdout(StringIO()):
        warnings.simplefilter("ignore")
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)
