"""Attacks on the outputs of this project: on anonymized videos, and on private training."""

from raymaskdp.audit.anonymization import AnonymizationAudit, audit_anonymization
from raymaskdp.audit.collect import AnonymizationAuditConfig
from raymaskdp.audit.training import TrainingAudit, TrainingAuditConfig, audit_training

__all__ = [
    "AnonymizationAudit",
    "AnonymizationAuditConfig",
    "TrainingAudit",
    "TrainingAuditConfig",
    "audit_anonymization",
    "audit_training",
]
