"""What `attention.measurement` measured, as tables.

Each run's, and over all splits and seeds whether attention is above its baseline.
"""

import pandas as pd

from sta_tsn.artefacts import read_json
from sta_tsn.report.tables import TestedRun, compared, grouped
from sta_tsn.runs.layout import ATTENTION_FILE

ATTENTION_TEXT = (
    "All on the centre crop of the test videos. Pointing: in how many % of the frames that show "
    "the actor the middle of the most attended cell is on it; beside it a model that always points "
    "at the middle, and a random cell. Peak at border: in how many % that cell is one of the "
    "outermost (of 7 x 7: random 49 %). Mass ratio: attention on the actor over the actor's share "
    "of the area (uniform 1), beside a Gaussian in the middle. Key-frame recall: of a segment's k "
    "key frames, the % among its k most attended, beside chance. Dropped frames: accuracy without "
    "the 3 most, 3 least attended and 3 random frames of each segment. Covered areas: accuracy on "
    "3 frames a segment, with the most attended, the least attended, a random and the middle "
    "quarter of the cells painted over. A stack of flow is held against its middle frame. Columns "
    "are there where the dataset has the ground truth."
)
OVER_BASELINE_TEXT = (
    "Pointing beside a model that always points at the middle of the crop, key-frame recall beside "
    "chance; % of a video's frames (segments), mean over the tests of videos that show what is "
    "asked for, of all splits together. Points, interval and p as above. Runs of an earlier "
    "version, which did not keep the videos one by one, are left out: `make reproduce` measures "
    "them again."
)


def attention_table(runs: list[TestedRun]) -> pd.DataFrame:
    """Return what `attention.measurement` measured, one line a run that has it."""
    lines = []
    for run in runs:
        measured = _measured(run)
        if not measured:
            continue
        line = {"row": run.row, "modality": run.modality, "split": run.split, "seed": run.seed}
        for name, value in measured.items():
            if name not in ("made_by", "by_video"):
                line[name] = value
        lines.append(line)
    return pd.DataFrame(lines).astype(object).fillna("–")  # not every run has everything


def attention_over_baseline(runs: list[TestedRun]) -> pd.DataFrame:
    """Return pointing and key-frame recall beside their baselines, one line a row and modality.

    In % and points (see `compared`); empty where nothing has been measured.
    """
    lines = []
    for (row, modality), group in grouped(runs, "row", "modality").items():
        for measure in ("pointing", "key_frame_recall"):
            found = []
            for run in group:
                columns = _measured(run).get("by_video", {}).get(measure)
                found.append(pd.DataFrame(columns).assign(split=run.split))
            videos = pd.concat(found)
            if videos.empty:
                continue
            line = {
                "row": row,
                "modality": modality,
                "splits": ", ".join(map(str, sorted(videos["split"].unique()))),
                "runs": sum(not one.empty for one in found),
                "measure": measure,
            }
            means = {"group": "first", "attention": "mean", "baseline": "mean"}
            videos = videos.groupby(["split", "video"]).agg(means)
            for name in ("attention", "baseline"):
                line[name] = round(100 * videos[name].mean(), 1)
            line |= compared(videos["baseline"], videos["attention"], videos["group"])
            lines.append(line)
    return pd.DataFrame(lines)


def _measured(run: TestedRun) -> dict:
    """Return what is in the run's file.

    {} for one of an earlier version, which did not keep the videos: `make reproduce` measures
    again.
    """
    measured = read_json(run.folder / ATTENTION_FILE) if run.folder else {}
    return measured if "by_video" in measured else {}
