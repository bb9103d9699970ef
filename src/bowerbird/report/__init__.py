"""One self-contained HTML page per run, and its model card; templates lie beside it.

`ReportData` holds everything the two need, from plain results: nothing here knows how a
network is trained or loaded.
"""

from bowerbird.report.card import write_model_card
from bowerbird.report.content import ModelFacts, ReportData
from bowerbird.report.page import write_report

__all__ = ["ModelFacts", "ReportData", "write_model_card", "write_report"]
