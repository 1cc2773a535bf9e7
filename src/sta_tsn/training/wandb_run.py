"""A run at W&B: what it is called, and what is sent beside the metrics that Lightning logs."""

import os
from pathlib import Path

import numpy as np

from sta_tsn.configuration import read_yaml
from sta_tsn.errors import UserError
from sta_tsn.evaluation import ScoreTable, per_class_accuracy
from sta_tsn.lightning import LightningModule, Trainer, WandbLogger
from sta_tsn.runs.folder import RunFolder
from sta_tsn.runs.layout import DatasetRuns, flat_settings, run_identity, run_name
from sta_tsn.runs.run_videos import run_videos
from sta_tsn.video import FlowStore

PROJECT = "sta-tsn"
VARIABLES = {
    "project": "WANDB_PROJECT",
    "name": "WANDB_NAME",
    "group": "WANDB_RUN_GROUP",
    "job_type": "WANDB_JOB_TYPE",
}
NUM_PICTURES = 2  # test videos with their attention


def wandb_logger(folder: RunFolder) -> WandbLogger:
    """Return a logger that is online when logged in and offline otherwise, and never asks.

    There is one W&B run per run folder, found by its id when resumed. What W&B's own variables say
    (WANDB_PROJECT, WANDB_DIR, WANDB_NAME, WANDB_RUN_GROUP, WANDB_JOB_TYPE) goes before ours, and
    WANDB_TAGS are added.

    Raises:
        UserError: WANDB_MODE=online, and nobody is logged in or W&B is out of reach.
    """
    os.environ.setdefault("WANDB_SILENT", "true")
    mode = os.environ.get("WANDB_MODE")
    if mode == "online" and not _is_reachable():
        raise UserError(
            "WANDB_MODE=online, but nobody is logged in at W&B, or it is out of reach. Give "
            "WANDB_API_KEY or call `wandb login`; WANDB_MODE=offline logs here alone."
        )
    if not mode:
        mode = "online" if _is_reachable() else "offline"
    logger = WandbLogger(
        id=folder.about["wandb_id"],
        resume="allow",
        save_dir=os.environ.get("WANDB_DIR") or str(folder.path),
        mode=mode,
        **_asked_for(labels(folder.path)),
    )
    # Lightning hands on a setting that W&B has given up, and W&B warns of it at every start.
    logger._wandb_init.pop("anonymous", None)
    return logger


def _asked_for(own: dict) -> dict:
    """Return project and labels of a run: W&B's variables where they are set, else our own."""
    settings = {"project": PROJECT, **own}
    for name, variable in VARIABLES.items():
        if os.environ.get(variable):
            settings[name] = os.environ[variable]
    tags = [tag.strip() for tag in os.environ.get("WANDB_TAGS", "").split(",") if tag.strip()]
    if tags:
        settings["tags"] = [*own.get("tags", []), *tags]
    return settings


def _is_reachable() -> bool:
    """Tell whether somebody is logged in and W&B knows; nobody is asked."""
    import wandb

    try:
        return bool(wandb.login(prompt=False))
    except (wandb.Error, OSError) as error:
        reason = str(error).splitlines()[0]
        print(
            f"W&B cannot be reached ({reason}): logged offline; experiments/README.md, Logs, says "
            "how to send the run.",
            flush=True,
        )
        return False


def labels(path: Path) -> dict:
    """Return name, group (runs that differ in seed alone), job type and tags of a run's folder.

    Example:
        >>> labels(Path("runs/demo/split1/cnn/rgb/seed0/backbone"))["group"]
        'demo/split1/cnn/rgb/backbone'
    """
    found, name = run_identity(path), run_name(path)
    if not found:
        return {"name": name}
    dataset, split, model, modality, seed, stage = name.split("/")
    return {
        "name": name,
        "group": "/".join((dataset, split, model, modality, stage)),
        "job_type": stage,
        "tags": [dataset, split, model, modality, seed],
    }


def log_settings(trainer: Trainer, folder: RunFolder) -> None:
    """Send the run's settings and what it is, as `load_runs` reads them from the folder."""
    settings = flat_settings(read_yaml(folder.config))
    _run(trainer).config.update(
        {**run_identity(folder.path), "commit": folder.about.get("commit", "unknown"), **settings},
        allow_val_change=True,
    )


def log_test(trainer: Trainer, folder: RunFolder, table: ScoreTable) -> None:
    """Send what the test said, or say that W&B does not take it: the folder has the results."""
    run = _run(trainer)
    if run.disabled:
        return
    try:
        _send_test(run, folder, table, attention_figures(trainer.lightning_module, folder))
    except Exception as error:  # whatever W&B and the network raise
        reason = " ".join(str(error).split())
        print(f"{folder.path}: the test's results were not sent to W&B ({reason}).", flush=True)


def attention_figures(task: LightningModule, folder: RunFolder) -> dict:
    """Return pictures of what a model of attention looks at, in test videos drawn at random.

    There are none of other models, and of runs outside `runs/`.
    """
    from sta_tsn.attention.explain import explain_video, plot_attention

    identity = run_identity(folder.path)
    if not identity or not hasattr(task.model, "encoder"):
        return {}
    _, videos = run_videos(folder)
    flow = FlowStore(DatasetRuns.of(folder.path).flow) if identity["modality"] == "flow" else None
    figures = {}
    shuffled = np.random.default_rng(0).permutation(np.array(videos.test, dtype=object))
    for record in shuffled[:NUM_PICTURES]:
        explained = explain_video(task, record, flow)
        if explained.output.spatial_weights is None:
            return {}
        figures[f"attention_{len(figures) + 1}"] = plot_attention(explained, record.id)
    return figures


def _send_test(run, folder: RunFolder, table: ScoreTable, attention: dict) -> None:
    """Send measures and cost as the run's summary, the rest as pictures, tables and a file."""
    import wandb

    from sta_tsn.attention.key_frames import beta_figure
    from sta_tsn.evaluation.charts import confusion_figure, per_class_figure
    from sta_tsn.runs.reading import costs
    from sta_tsn.runs.run_tables import score_lines

    name = run_name(folder.path)
    figures = {
        **attention,
        "confusion": confusion_figure(table, name),
        "per_class": per_class_figure(table, name),
    }
    if table.temporal_weights is not None:
        figures["beta"] = beta_figure(table, None)
    accuracies = (100 * per_class_accuracy(table.scores, table.labels)).tolist()
    classes = zip(table.classes, table.labels.sum(0).tolist(), accuracies, strict=True)
    tables = {
        "classes": wandb.Table(
            columns=["class", "videos", "accuracy %"], data=[list(line) for line in classes]
        ),
        "scores": wandb.Table(dataframe=score_lines(table)),
    }
    run.summary.update({**table.summary, **costs(folder.about)})
    run.save(str(folder.scores), base_path=str(folder.path), policy="now")
    run.log(
        {f"test/{key}": wandb.Image(figure) for key, figure in figures.items()}
        | {f"test/{key}": one for key, one in tables.items()}
    )


def _run(trainer: Trainer):
    return next(logger for logger in trainer.loggers if isinstance(logger, WandbLogger)).experiment
