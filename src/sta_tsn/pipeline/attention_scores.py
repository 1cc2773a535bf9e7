"""Attention of a tested run, measured once and kept beside its scores."""

from sta_tsn.artefacts import file_fingerprint, fingerprint, read_json, write_json
from sta_tsn.attention.explain import load_sta_tsn
from sta_tsn.attention.measurement import NUM_DROPPED, measure_attention
from sta_tsn.attention.occlusion import FRAMES_COVERED, SHARE_COVERED
from sta_tsn.datasets import VideoDataset, VideoRecord
from sta_tsn.features.feature_store import FeatureStore
from sta_tsn.runs.folder import RunFolder
from sta_tsn.runs.layout import ATTENTION_FILE
from sta_tsn.video import FlowStore

# Part of the stamp: where it changes, attention is measured again.
PROTOCOL = (
    "centre crop; covered: most, least, random, middle; flow: the stack's middle frame; "
    "videos one by one"
)


def score_attention(
    run: RunFolder, dataset: VideoDataset, videos: list[VideoRecord], flow: FlowStore | None = None
) -> None:
    """Measure a stage-two run's attention and write `attention.json` into its folder.

    Does nothing where that has been done with the same scores, protocol and ground truth.
    """
    unpacked = sorted(path.name for path in dataset.root.iterdir())  # ground truth may come later
    protocol = [PROTOCOL, file_fingerprint(run.scores), NUM_DROPPED, SHARE_COVERED, FRAMES_COVERED]
    made_by = fingerprint([*protocol, unpacked])
    file = run.path / ATTENTION_FILE
    if read_json(file).get("made_by") == made_by:
        return
    task = load_sta_tsn(run.tested_checkpoint).eval()
    store = FeatureStore(run.features_read, task.hparams.frames)
    found = measure_attention(task, store, dataset, videos, flow)
    write_json(file, {"made_by": made_by, **found})
