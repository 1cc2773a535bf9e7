"""What `attention.measurement` measured, as tables: each run's, and whether attention is above its baseline over all splits and seeds."""

import pandas as pd

from sta_tsn.artefacts import read_json
from sta_tsn.report.tables import TestedRun, compared, grouped
from sta_tsn.runs.layout import ATTENTION_FILE

ATTENTION_TEXT = (
    "All on the centre crop of the test videos. Pointing: in how many % of the frames that show the actor the middle of the most attended "
    "cell is on it; beside it a model that always points at the middle, and a random cell. Peak at border: in how many % that cell is one "
    "of the outermost (of 7 x 7: random 49 %). Mass ratio: attention on the actor over the actor's share of the area (uniform 1), beside a "
    "Gaussian in the middle. Key-frame recall: of a segment's k key frames, the % among its k most attended, beside chance. Dropped "
    "frames: accuracy without the 3 most, 3 least attended and 3 random frames of each segment. Covered areas: accuracy on 3 frames a "
    "segment, with the most attended, the least attended, a random and the middle quarter of the cells painted over. A stack of "
    "flow is held against its middle frame. Columns are there where the dataset has the ground truth."
)
OVER_BASELINE_TEXT = (
    "Pointing beside a model that always points at the middle of the crop, key-frame recall beside chance; % of a video's frames "
    "(segments), mean over the tests of videos that show what is asked for, of all splits together. Points, interval and p as above. "
    "Runs of an earlier version, which did not keep the videos one by one, are left out: `make reproduce` measures them again."
)


def attention_table(runs: list[TestedRun]) -> pd.DataFrame:
    """What `attention.measurement` measured of each run that has it."""
    lines = []
    for run in runs:
        if measured := _measured(run):
            about = {"row": run.row, "modality": run.modality, "split": run.split, "seed": run.seed}
            lines.append(
                about
                | {
                    name: value
                    for name, value in measured.items()
                    if name not in ("made_by", "by_video")
                }
            )
    return pd.DataFrame(lines).astype(object).fillna("–")  # not every run has everything


def attention_over_baseline(runs: list[TestedRun]) -> pd.DataFrame:
    """Pointing and key-frame recall, one line a row and modality, in % and points (`compared`); empty where nothing has been measured."""
    lines = []
    for (row, modality), group in grouped(runs, "row", "modality").items():
        for measure in ("pointing", "key_frame_recall"):
            found = [
                pd.DataFrame(_measured(run).get("by_video", {}).get(measure)).assign(
                    split=run.split
                )
                for run in group
            ]
            videos = pd.concat(found)
            if videos.empty:
                continue
            splits = ", ".join(map(str, sorted(videos["split"].unique())))
            videos = videos.groupby(["split", "video"]).agg(
                {"group": "first", "attention": "mean", "baseline": "mean"}
            )
            about = {
                "row": row,
                "modality": modality,
                "splits": splits,
                "runs": sum(not one.empty for one in found),
                "measure": measure,
            }
            means = {
                name: round(100 * videos[name].mean(), 1) for name in ("attention", "baseline")
            }
            lines.append(
                about | means | compared(videos["baseline"], videos["attention"], videos["group"])
            )
    return pd.DataFrame(lines)


def _measured(run: TestedRun) -> dict:
    """What is in the run's file; {} for one of an earlier version, which did not keep the videos (`make reproduce` measures again)."""
    measured = read_json(run.folder / ATTENTION_FILE) if run.folder else {}
    return measured if "by_video" in measured else {}
