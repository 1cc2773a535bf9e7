"""The rows that `make train` fills for each model: a paper's table, one run of the suite per row."""

from dataclasses import dataclass, replace
from pathlib import Path

from sta_tsn.pipeline.options import TrainOptions
from sta_tsn.runs.folder import RunFolder

SKELETON = "skeleton"  # in the place of rgb and flow


@dataclass(frozen=True)
class Row:
    """One row of a table: its name in the report, its run below `split<k>`, its configuration files.

    stage: backbone, temporal, or lstm (skeletons); `experiments/datasets/<dataset>/<stage>.yaml` is its recipe. config: below `experiments`.
    change: a configuration below `experiments` that is read last, over the recipe (ablations). beside: title of the row that it is
    compared with; the row above it where empty. stage_one: model whose features a temporal stage reads; its own where empty.
    """

    title: str
    model: str
    stage: str
    config: str
    change: str = ""
    beside: str = ""
    stage_one: str = ""

    def folder(self, options: TrainOptions) -> RunFolder:
        """Of `options.modality`; of skeletons whatever that says."""
        split = Path(options.runs, options.dataset, f"split{options.split}")
        modality = SKELETON if self.stage == "lstm" else options.modality
        return RunFolder(split / self.model / modality / f"seed{options.seed}" / self.stage)

    def backbone(self, options: TrainOptions) -> RunFolder:
        """Of the stage one that a temporal stage starts from."""
        return replace(self, model=self.stage_one or self.model, stage="backbone").folder(options)


SA_CNN_TSN = Row("SA-CNN+TSN", "sta_tsn", "backbone", "models/sta_tsn/sa_cnn_tsn.yaml")
STA_TSN = Row("STA-TSN", "sta_tsn", "temporal", "models/sta_tsn/sta_tsn.yaml")
TABLE_2 = (
    Row("CNN", "cnn", "backbone", "models/sta_tsn/cnn.yaml"),
    Row("SA-CNN", "sa_cnn", "backbone", "models/sta_tsn/sa_cnn.yaml"),
    SA_CNN_TSN,
    STA_TSN,
)
TABLE_STA_LSTM = (
    Row("LSTM", "lstm", "lstm", "models/sta_lstm/lstm.yaml"),
    Row("SA-LSTM", "sa_lstm", "lstm", "models/sta_lstm/sa_lstm.yaml", beside="LSTM"),
    Row("TA-LSTM", "ta_lstm", "lstm", "models/sta_lstm/ta_lstm.yaml", beside="LSTM"),
    Row("STA-LSTM", "sta_lstm", "lstm", "models/sta_lstm/sta_lstm.yaml", beside="LSTM"),
)
TABLE_SMNET = (
    Row("TSN, same frames", "tsn_same_frames", "backbone", "models/smnet/tsn.yaml"),
    Row("SMNet", "smnet", "backbone", "models/smnet/smnet.yaml"),
)


def _ablation(title: str, name: str, base: Row) -> Row:
    change = f"ablations/{name}.yaml"
    return replace(
        base,
        title=title,
        model=f"ablation_{name}",
        change=change,
        beside=base.title,
        stage_one=base.model,
    )


TABLE_ABLATIONS = (
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
)
TABLE_TSN = (Row("TSN", "tsn", "backbone", "models/tsn/tsn.yaml"),)
TABLE_STIN = (*TABLE_TSN, Row("STIN", "stin", "backbone", "models/stin/stin.yaml"))
ROWS = {  # by MODEL; the last row is the model itself, except for ablations
    "sta_tsn": TABLE_2,
    "sta_lstm": TABLE_STA_LSTM,
    "smnet": TABLE_SMNET,
    "stin": TABLE_STIN,
    "tsn": TABLE_TSN,
    "ablations": TABLE_ABLATIONS,
}
