"""`make train`: the four rows of STA-TSN's Table 2 for one dataset, split, modality and seed, then the report.

Each stage is its own process (`sta-tsn fit`, which anyone can repeat by hand: the command is printed), so that
memory is given back, DDP can launch its ranks and a kill hurts one stage only. A stage whose folder carries the
stamp of the same settings and inputs is not repeated.
"""

import shlex
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from sta_tsn.artefacts import write_json
from sta_tsn.datasets import VideoDataset, VideoSplit, build_manifest, check_dataset, prepare_split
from sta_tsn.datasets.check import summary
from sta_tsn.errors import ConfigError, UserError, unknown
from sta_tsn.running.configuration import check_keys, parameters, read_yaml, resolve_class
from sta_tsn.running.folder import RunFolder, stage_fingerprint


@dataclass(frozen=True)
class TrainOptions:
    """What `make train` can be told; the Makefile's variables in lower case."""

    dataset: str = "demo"
    data: str | None = None
    split: int = 1
    modality: str = "rgb"
    model: str = "sta_tsn"
    backbone: str | None = None
    weights: str | None = None
    devices: str = "auto"
    nodes: int = 1
    runs: str = "runs"
    seed: int = 0
    allow_missing: bool = False
    experiments: str = "experiments"


@dataclass(frozen=True)
class Row:
    """One row of Table 2: its name in the report, its run below `split<k>`, its configuration files."""

    title: str
    model: str
    stage: str  # backbone or temporal
    config: str

    def folder(self, options: TrainOptions) -> RunFolder:
        split = Path(options.runs, options.dataset, f"split{options.split}")
        return RunFolder(split / self.model / options.modality / f"seed{options.seed}" / self.stage)


TABLE_2 = (
    Row("CNN", "cnn", "backbone", "cnn.yaml"),
    Row("SA-CNN", "sa_cnn", "backbone", "sa_cnn.yaml"),
    Row("SA-CNN+TSN", "sta_tsn", "backbone", "sa_cnn_tsn.yaml"),
    Row("STA-TSN", "sta_tsn", "temporal", "sta_tsn.yaml"),
)


def train(options: TrainOptions) -> None:
    """Train, test and report every row that is not done yet."""
    check_names(options)
    manifest = Path(options.runs, options.dataset, "manifest.csv")
    videos, classes = prepare_videos(options, manifest)
    sides = f"{len(videos.train)} training, {len(videos.val)} validation, {len(videos.test)} test videos"
    print(f"{options.dataset} split {options.split}: {sides}, {len(classes)} classes", flush=True)
    for row in TABLE_2:
        folder = row.folder(options)
        arguments = stage_arguments(row, options, manifest, videos.fingerprint)
        if folder.is_done(stage_fingerprint(arguments)):
            print(f"{row.title}: done already ({folder.path})", flush=True)
            continue
        print(f"\n=== {row.title}\n{shlex.join(['sta-tsn', 'fit', *arguments])}", flush=True)
        if _run_stage(arguments):
            raise UserError(f"{row.title} did not finish. The same command goes on where it stopped.")
    from sta_tsn.report import build_report

    runs = {row.title: row.folder(options) for row in TABLE_2}
    scores = {title: run.scores for title, run in runs.items()}
    build_report(scores, runs["STA-TSN"].tested_checkpoint, videos.test, Path(options.runs, options.dataset, "report"))


def _run_stage(arguments: list[str]) -> int:
    """`sta-tsn fit` in a process of its own; on Ctrl-C, which it gets too, wait until it has ended cleanly."""
    process = subprocess.Popen([sys.executable, "-m", "sta_tsn", "fit", *arguments])
    try:
        return process.wait()
    except KeyboardInterrupt:
        process.wait()
        raise


def check_names(options: TrainOptions) -> None:
    """Names are checked before anything is loaded."""
    datasets = sorted(path.parent.name for path in Path(options.experiments).glob("*/backbone.yaml"))
    if not datasets:
        raise ConfigError(f"No experiments in {Path(options.experiments).resolve()}: run from the repository's root.")
    if options.dataset not in datasets:
        raise unknown("dataset", options.dataset, datasets)
    if options.modality != "rgb":
        raise unknown("modality", options.modality, ["rgb"])
    if options.model != "sta_tsn":
        raise unknown("model", options.model, ["sta_tsn"])
    if options.backbone:
        from sta_tsn.models.cnn import check_backbone_name

        check_backbone_name(options.backbone)
    if options.weights and options.weights not in ("imagenet", "none") and not Path(options.weights).is_file():
        raise ConfigError(f"WEIGHTS={options.weights}: no such file (nor 'imagenet' or 'none').")


def data_settings(options: TrainOptions) -> dict:
    """Arguments of the data module in the experiment's YAML."""
    return (read_yaml(Path(options.experiments, options.dataset, "backbone.yaml")).get("data") or {}).get("init_args") or {}


def open_dataset(options: TrainOptions) -> VideoDataset:
    """The dataset that the experiment's YAML names, at DATA where given."""
    path = Path(options.experiments, options.dataset, "backbone.yaml")
    section = data_settings(options).get("dataset")
    if not section or "class_path" not in section:
        raise ConfigError(f"{path} names no data.init_args.dataset.class_path.")
    kind = resolve_class(section["class_path"], str(path))
    arguments = (section.get("init_args") or {}) | ({"root": options.data} if options.data else {})
    check_keys(arguments, parameters(kind), "data.dataset.", str(path))
    return kind(**arguments)


def prepare_videos(options: TrainOptions, manifest: Path) -> tuple[VideoSplit, list[str]]:
    """Count frames once, and say what is wrong with the data before any training starts."""
    dataset = open_dataset(options)
    counted = build_manifest(dataset.records(options.split).videos, manifest)
    val_share = {key: value for key, value in data_settings(options).items() if key == "val_share"}
    return prepare_split(dataset, options.split, counted, allow_missing=options.allow_missing, **val_share), dataset.classes


def stage_arguments(row: Row, options: TrainOptions, manifest: Path, videos: str) -> list[str]:
    """The command line of `sta-tsn fit` for one row."""
    experiments, folder = Path(options.experiments), row.folder(options)
    arguments = [
        f"--config={experiments / 'table2' / row.config}",
        f"--config={experiments / options.dataset / row.stage}.yaml",
        f"--run_dir={folder.path}",
        f"--seed_everything={options.seed}",
        f"--trainer.devices={options.devices}",
        f"--trainer.num_nodes={options.nodes}",
    ]
    if row.stage == "temporal":
        backbone = RunFolder(folder.path.with_name("backbone"))
        return [*arguments, f"--data.features={backbone.features}", f"--model.backbone_checkpoint={backbone.tested_checkpoint}"]
    arguments += [f"--videos={videos}", f"--data.manifest={manifest}", f"--data.split={options.split}"]
    if options.allow_missing:
        arguments.append("--data.allow_missing=true")
    if options.data:
        arguments.append(f"--data.dataset.init_args.root={options.data}")
    if options.backbone:
        arguments.append(f"--model.backbone={options.backbone}")
    if options.weights:
        arguments.append(f"--model.weights={options.weights}")
    return arguments


def check_data(options: TrainOptions) -> None:
    """`make check-data`: count frames, compare with what is published, write check.json. Deletes nothing."""
    check_names(options)
    dataset = open_dataset(options)
    folder = Path(options.runs, options.dataset)
    report = check_dataset(dataset, build_manifest(dataset.listed(), folder / "manifest.csv", retry_slow=True))
    write_json(folder / "check.json", report)
    print(f"{summary(report)}\nEvery name: {(folder / 'check.json').resolve()}\nFrame counts: {(folder / 'manifest.csv').resolve()}")
