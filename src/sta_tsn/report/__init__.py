"""What people look at: the table, the charts of Figures 4 and 5, the attention pictures of Figure 6."""

from sta_tsn.report.page import build_report, draw_attention
from sta_tsn.report.skeletons import draw_skeleton_attention

__all__ = ["build_report", "draw_attention", "draw_skeleton_attention"]
