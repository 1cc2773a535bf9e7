"""The rows that `make train` fills for each model: a paper's table, one run of the suite per row."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from sta_tsn.running.folder import RunFolder

if TYPE_CHECKING:
    from sta_tsn.running.data import TrainOptions

SKELETON = "skeleton"  # in the place of rgb and flow


@dataclass(frozen=True)
class Row:
    """One row of a table: its name in the report, its run below `split<k>`, its configuration files.

    stage: backbone, temporal, or lstm (skeletons); `experiments/<dataset>/<stage>.yaml` is its recipe. config: below `experiments`.
    """

    title: str
    model: str
    stage: str
    config: str

    def folder(self, options: "TrainOptions") -> RunFolder:
        """Of `options.modality`; of skeletons whatever that says."""
        split = Path(options.runs, options.dataset, f"split{options.split}")
        modality = SKELETON if self.stage == "lstm" else options.modality
        return RunFolder(split / self.model / modality / f"seed{options.seed}" / self.stage)


TABLE_2 = (
    Row("CNN", "cnn", "backbone", "table2/cnn.yaml"),
    Row("SA-CNN", "sa_cnn", "backbone", "table2/sa_cnn.yaml"),
    Row("SA-CNN+TSN", "sta_tsn", "backbone", "table2/sa_cnn_tsn.yaml"),
    Row("STA-TSN", "sta_tsn", "temporal", "table2/sta_tsn.yaml"),
)
TABLE_STA_LSTM = (
    Row("LSTM", "lstm", "lstm", "table_sta_lstm/lstm.yaml"),
    Row("SA-LSTM", "sa_lstm", "lstm", "table_sta_lstm/sa_lstm.yaml"),
    Row("TA-LSTM", "ta_lstm", "lstm", "table_sta_lstm/ta_lstm.yaml"),
    Row("STA-LSTM", "sta_lstm", "lstm", "table_sta_lstm/sta_lstm.yaml"),
)
TABLE_SMNET = (
    Row("TSN, 8 frames", "tsn_8", "backbone", "table_smnet/tsn.yaml"),
    Row("SMNet", "smnet", "backbone", "table_smnet/smnet.yaml"),
)
TABLE_TSN = (Row("TSN", "tsn", "backbone", "table_stin/tsn.yaml"),)
TABLE_STIN = (*TABLE_TSN, Row("STIN", "stin", "backbone", "table_stin/stin.yaml"))
ROWS = {  # by MODEL; the last row is the model itself
    "sta_tsn": TABLE_2,
    "sta_lstm": TABLE_STA_LSTM,
    "smnet": TABLE_SMNET,
    "stin": TABLE_STIN,
    "tsn": TABLE_TSN,
}
