"""The model card of a finished run, in the format of Hugging Face's Hub."""

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined

from sta_tsn.artefacts import atomic
from sta_tsn.configuration import read_yaml
from sta_tsn.evaluation import ScoreTable, confusion_matrix
from sta_tsn.evaluation.metrics import is_right
from sta_tsn.evaluation.statistics import accuracy_interval
from sta_tsn.runs.folder import RunFolder
from sta_tsn.runs.layout import flat_settings, run_name

NUM_CONFUSED = 5
SYSTEMS = {
    "TemporalAttentionTSN": "STA-TSN",
    "SpatialAttentionBackbone": "TSN",
    "MotionBackbone": "SMNet",
    "InjectionBackbone": "STIN",
    "SkeletonAttention": "LSTM of skeletons",
}


def write_card(run: RunFolder, table: ScoreTable) -> None:
    """Write a run's `README.md`: what it is, data, protocol, numbers, use and limits.

    Args:
        run: tested, with its configuration.
        table: its scores of the test videos. Where none of them has a class, nothing is written.
    """
    right = is_right(table.scores, table.labels).numpy()
    judged = ~np.isnan(right)
    if not judged.any():
        return
    groups = np.array(table.groups)[judged]
    low, high = accuracy_interval(right[judged], groups)
    settings = flat_settings(read_yaml(run.config))
    kind = str(settings.get("model.class_path", "")).rpartition(".")[2]
    of_videos = "data.num_joints" not in settings and kind != "SkeletonAttention"
    accuracy = 100 * float(right[judged].mean())
    content = {
        "metadata": _metadata(run, table, accuracy, of_videos),
        "title": run_name(run.path),
        "system": SYSTEMS.get(kind, kind),
        "backbone": settings.get("model.backbone") if of_videos else None,
        "classes": table.classes,
        "accuracy": accuracy,
        "low": 100 * low,
        "high": 100 * high,
        "mean_class": table.summary["mean-class accuracy %"],
        "num_videos": int(judged.sum()),
        "num_groups": len(set(groups)),
        "num_missing": table.protocol.get("missing"),
        "facts": _facts(table),
        "of_videos": of_videos,
        "confused": _confused(table),
    }
    environment = Environment(
        loader=PackageLoader("sta_tsn.runs"), undefined=StrictUndefined, autoescape=False
    )
    card = environment.get_template("card.md.j2").render(content)
    with atomic(run.card) as temporary:
        temporary.write_text(card + "\n", encoding="utf-8")


def _metadata(run: RunFolder, table: ScoreTable, accuracy: float, of_videos: bool) -> str:
    """Return the card's YAML header, which the Hub reads."""
    from huggingface_hub import EvalResult, ModelCardData

    dataset = str(table.protocol.get("dataset", "unknown"))
    result = EvalResult(
        task_type="video-classification" if of_videos else "other",
        dataset_type=dataset,
        dataset_name=dataset,
        dataset_split=f"split {table.protocol.get('split')}, test",
        metric_type="accuracy",
        metric_value=round(accuracy, 2),
    )
    data = ModelCardData(
        library_name="sta-tsn",
        pipeline_tag="video-classification" if of_videos else None,
        tags=["action-recognition", "attention"],
        model_name=run_name(run.path),
        eval_results=[result],
    )
    return data.to_yaml()


def _facts(table: ScoreTable) -> list[tuple[str, str]]:
    """Return what the numbers were measured with, in pairs of name and value."""
    protocol = table.protocol
    facts = []
    for name in ("dataset", "split", "seed", "commit", "sta-tsn", "torch", "timm"):
        if name in protocol:
            facts.append((name, str(protocol[name])))
    if "segments" in protocol:
        frames = f"{protocol['segments']} x {protocol['frames_per_segment']} frames"
        facts.insert(2, ("tested on", f"{frames}, {protocol['crops']} crops"))
    return facts


def _confused(table: ScoreTable) -> list[str]:
    """Return the pairs of classes most often confused, the worst first."""
    wrong = confusion_matrix(table.scores, table.labels).numpy()
    np.fill_diagonal(wrong, 0)
    order = np.argsort(-wrong, axis=None, kind="stable")[:NUM_CONFUSED]
    pairs = []
    for true, said in zip(*np.unravel_index(order, wrong.shape), strict=True):
        if wrong[true, said]:
            name = f"{table.classes[true]}, taken for {table.classes[said]}"
            pairs.append(f"{name} ({int(wrong[true, said])})")
    return pairs
