"""What a user can train: for each model a study, a paper's table with one run per row.

A new model is one file in `models/`, one in `tasks/`, its rows' YAML in `experiments/models/` and a
study here; the help texts and the checks of names follow from it. A study whose runs are made
otherwise brings its own way. Nothing heavy is imported, for `--help` lists the studies.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from sta_tsn.errors import unknown
from sta_tsn.pipeline.drawing import Draw, draw_nothing, draw_on_frames, draw_on_skeletons
from sta_tsn.pipeline.options import TrainOptions
from sta_tsn.runs.folder import RunFolder

SKELETON = "skeleton"  # in the place of rgb and flow


@dataclass(frozen=True)
class Row:
    """One row of a table: its name in the report, its run, its configuration files.

    Attributes:
        title: its name in the report.
        model: its folder below `split<k>`.
        stage: backbone, temporal, or lstm (skeletons); the dataset's `<stage>.yaml` is its recipe.
        config: its YAML file below `experiments`.
        change: a YAML file below `experiments` that is read last, over the recipe (ablations).
        beside: title of the row that it is compared with; the row above it where empty.
        stage_one: model whose features a temporal stage reads; its own where empty.
    """

    title: str
    model: str
    stage: str
    config: str
    change: str = ""
    beside: str = ""
    stage_one: str = ""

    def folder(self, options: TrainOptions) -> RunFolder:
        """Return the run's folder for `options.modality`; for skeletons whatever that says."""
        modality = SKELETON if self.stage == "lstm" else options.modality
        return RunFolder(
            options.place.run(options.split, self.model, modality, options.seed, self.stage)
        )

    def backbone(self, options: TrainOptions) -> RunFolder:
        """Return the folder of the stage one that a temporal stage starts from."""
        return replace(self, model=self.stage_one or self.model, stage="backbone").folder(options)


@dataclass(frozen=True)
class OwnWay:
    """How a study is made and reported whose runs are no rows that `sta-tsn fit` trains.

    Attributes:
        reproduce: takes options, official splits (None: the study's default) and seeds.
        report: rebuilds the report from what is there.
        train: makes the runs of one split and seed; None where only `reproduce` does.
    """

    reproduce: Callable[[TrainOptions, Sequence[int] | None, Sequence[int]], None]
    report: Callable[[TrainOptions], None]
    train: Callable[[TrainOptions], None] | None = None


@dataclass(frozen=True)
class Study:
    """The rows that are trained, tested and reported together under one name.

    Attributes:
        name: what the user calls it, and the report's folder.
        title: of the report's table.
        rows: in the table's order; the model itself is the last, except for ablations. None where
            the study has its own way.
        sees: what its networks learn from.
        draw: makes the report's pictures of attention.
        measures_attention: whether `reproduce` scores the attention of the last row.
        check_backbone: raises ConfigError for a backbone that the model cannot take.
        own_way: in the place of rows; `reproduce` and `report` take it.
    """

    name: str
    title: str
    rows: tuple[Row, ...] = ()
    sees: Literal["videos", "skeletons"] = "videos"
    draw: Draw = draw_nothing
    measures_attention: bool = False
    check_backbone: Callable[[str], object] | None = None
    own_way: OwnWay | None = None

    def streams(self, modality: str) -> list[str]:
        """Return the modalities of the runs that `rgb`, `flow` or `two-stream` asks for."""
        if self.sees == "skeletons":
            return [SKELETON]
        return ["rgb", "flow"] if modality == "two-stream" else [modality]


def _smnet_takes(backbone: str) -> None:
    from sta_tsn.models import SMNet

    SMNet(2, backbone)


def _reproduce_interference(
    options: TrainOptions, splits: Sequence[int] | None, seeds: Sequence[int]
) -> None:
    from sta_tsn.pipeline.interference import reproduce_interference

    reproduce_interference(options, splits, seeds)


def _report_interference(options: TrainOptions) -> None:
    from sta_tsn.pipeline.interference import report_interference

    report_interference(options)


def _train_probes(options: TrainOptions) -> None:
    from sta_tsn.pipeline.probes import train_probes

    train_probes(options)


def _reproduce_probes(
    options: TrainOptions, splits: Sequence[int] | None, seeds: Sequence[int]
) -> None:
    from sta_tsn.pipeline.probes import reproduce_probes

    reproduce_probes(options, splits, seeds)


def _report_probes(options: TrainOptions) -> None:
    from sta_tsn.pipeline.probes import report_probes

    report_probes(options)


SA_CNN_TSN = Row("SA-CNN+TSN", "sta_tsn", "backbone", "models/sta_tsn/sa_cnn_tsn.yaml")
STA_TSN = Row("STA-TSN", "sta_tsn", "temporal", "models/sta_tsn/sta_tsn.yaml")
TSN = Row("TSN", "tsn", "backbone", "models/tsn/tsn.yaml")


def _of_skeletons(title: str, model: str, beside: str = "LSTM") -> Row:
    return Row(title, model, "lstm", f"models/sta_lstm/{model}.yaml", beside=beside)


def _ablation(title: str, name: str, base: Row) -> Row:
    return replace(
        base,
        title=title,
        model=f"ablation_{name}",
        change=f"ablations/{name}.yaml",
        beside=base.title,
        stage_one=base.model,
    )


STA_TSN_STUDY = Study(
    "sta_tsn",
    "Table 2",
    (
        Row("CNN", "cnn", "backbone", "models/sta_tsn/cnn.yaml"),
        Row("SA-CNN", "sa_cnn", "backbone", "models/sta_tsn/sa_cnn.yaml"),
        SA_CNN_TSN,
        STA_TSN,
    ),
    draw=draw_on_frames,
    measures_attention=True,
)
STA_LSTM_STUDY = Study(
    "sta_lstm",
    "STA-LSTM",
    (
        _of_skeletons("LSTM", "lstm", beside=""),
        _of_skeletons("SA-LSTM", "sa_lstm"),
        _of_skeletons("TA-LSTM", "ta_lstm"),
        _of_skeletons("STA-LSTM", "sta_lstm"),
    ),
    sees="skeletons",
    draw=draw_on_skeletons,
)
SMNET_STUDY = Study(
    "smnet",
    "SMNet",
    (
        Row("TSN, same frames", "tsn_same_frames", "backbone", "models/smnet/tsn.yaml"),
        Row("SMNet", "smnet", "backbone", "models/smnet/smnet.yaml"),
    ),
    check_backbone=_smnet_takes,
)
STIN_STUDY = Study(
    "stin",
    "STIN",
    (TSN, Row("STIN", "stin", "backbone", "models/stin/stin.yaml")),
    draw=draw_on_frames,
)
TSN_STUDY = Study("tsn", "TSN", (TSN,))
ABLATIONS = Study(
    "ablations",
    "Ablations",
    (
        SA_CNN_TSN,
        _ablation("one pooling size", "one_pooling_size", SA_CNN_TSN),
        _ablation("two pooling sizes", "two_pooling_sizes", SA_CNN_TSN),
        _ablation("adaptive pooling", "adaptive_pooling", SA_CNN_TSN),
        _ablation("inner product", "inner_product", SA_CNN_TSN),
        _ablation("five snippets", "five_snippets", SA_CNN_TSN),
        replace(STA_TSN, beside=SA_CNN_TSN.title),
        _ablation("no regularization", "no_regularization", STA_TSN),
        _ablation("LSTM of 128", "lstm_128", STA_TSN),
        _ablation("LSTM of 2048", "lstm_2048", STA_TSN),
        _ablation("1 x 30 frames", "frames_1x30", STA_TSN),
        _ablation("6 x 5 frames", "frames_6x5", STA_TSN),
        _ablation("3 x 5 frames", "frames_3x5", STA_TSN),
        _ablation("3 x 1 frames", "frames_3x1", STA_TSN),
    ),
)
INTERFERENCE = Study(
    "interference",
    "Clips among unrelated frames",
    own_way=OwnWay(_reproduce_interference, _report_interference),
)
PROBE = Study(
    "probe",
    "Heads on frozen features",
    own_way=OwnWay(_reproduce_probes, _report_probes, _train_probes),
)
STUDIES = (
    STA_TSN_STUDY,
    TSN_STUDY,
    SMNET_STUDY,
    STIN_STUDY,
    STA_LSTM_STUDY,
    ABLATIONS,
    INTERFERENCE,
    PROBE,
)


def find_study(name: str) -> Study:
    """Return the study of that name.

    Raises:
        ConfigError: there is none; names the nearest.
    """
    for study in STUDIES:
        if study.name == name:
            return study
    raise unknown("model", name, [study.name for study in STUDIES])
