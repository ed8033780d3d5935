"""Anonymize videos of people, and train on them with masked differential privacy, on Ray.

Each command is a function of the same name that takes a frozen configuration and returns a frozen result:

    from raymaskdp.anonymize import anonymize
    from raymaskdp.train import prepare, train, evaluate
    from raymaskdp.sweep import sweep
    from raymaskdp.report import report
"""

from importlib.metadata import version

__version__ = version("raymaskdp")
