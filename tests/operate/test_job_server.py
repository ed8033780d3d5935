"""A job server that refuses is a sentence."""

import pytest
import ray.job_submission
from ray.exceptions import AuthenticationError

from raymaskdp.errors import UserError
from raymaskdp.operate.jobs import jobs


def test_a_cluster_that_wants_a_token_is_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray raises this beside a cluster with tokens, and not one of Python's errors."""

    def refuse(address: str | None) -> None:
        raise AuthenticationError("Authentication token is missing.")

    monkeypatch.setattr(ray.job_submission, "JobSubmissionClient", refuse)
    with pytest.raises(UserError, match=r"No job server responds .*token is missing.*; give the dashboard"):
        jobs()
