"""Attacks on the outputs of this project: on anonymized videos, and on private training."""

from __future__ import annotations

from typing import TYPE_CHECKING

from raymaskdp import imported_on_use

if TYPE_CHECKING:
    from raymaskdp.audit.anonymization import AnonymizationAudit, audit_anonymization
    from raymaskdp.audit.config import AnonymizationAuditConfig, TrainingAuditConfig
    from raymaskdp.audit.training import TrainingAudit, audit_training

__all__ = [
    "AnonymizationAudit",
    "AnonymizationAuditConfig",
    "TrainingAudit",
    "TrainingAuditConfig",
    "audit_anonymization",
    "audit_training",
]

__getattr__ = imported_on_use(
    __name__,
    {
        "AnonymizationAudit": "anonymization",
        "AnonymizationAuditConfig": "config",
        "TrainingAudit": "training",
        "TrainingAuditConfig": "config",
        "audit_anonymization": "anonymization",
        "audit_training": "training",
    },
)
