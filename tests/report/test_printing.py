"""What commands print fits where it is printed."""

import pandas as pd
import pytest

from sta_tsn.report.printing import print_table

MEASURES = {
    "micro accuracy %": 83.33,
    "top-5 accuracy %": 99.1,
    "mean-class accuracy %": 83.3,
    "mAP %": 91.25,
    "videos": 3783,
    "minutes": 103.2,
    "peak memory GB": 5.21,
}


@pytest.mark.parametrize("columns", [80, 120])
def test_no_header_of_a_table_is_cut(capsys, monkeypatch, columns):
    monkeypatch.setattr("sys.stdout.isatty", lambda: columns == 80)
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setenv("TERM", "dumb")  # no colours
    rows = {"CNN, rgb": MEASURES, "STA-TSN, two-stream, learned": {**MEASURES, "mAP %": None}}
    print_table(pd.DataFrame(rows).T, "the protocol", "Table 2")
    printed = capsys.readouterr().out
    assert max(map(len, printed.splitlines())) <= columns
    for word in ("micro", "top-5", "mean-class", "mAP", "videos", "minutes", "peak", "GB"):
        assert word in printed
    assert "…" not in printed
    assert "–" in printed
