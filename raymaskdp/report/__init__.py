"""One HTML file about anonymized videos, trainings and sweeps."""

from raymaskdp.report.report import ReportResult, report

__all__ = ["ReportResult", "report"]
