"""One HTML file about anonymized videos, trainings, sweeps and audits."""

from raymaskdp.report.report import ReportResult, report

__all__ = ["ReportResult", "report"]
