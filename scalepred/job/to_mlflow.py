"""Logs a job as a run of MLflow."""

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

EXPERIMENT = "scalepred"

RUN = "scalepred.run_id"
"""The tag that a job which goes on finds its run by."""

MOST_CHARACTERS = 4_000
"""MLflow's stores take 6,000 in a parameter, and fewer in older versions' tags."""

SETTINGS = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",  # its own default has a job wait for many minutes where its server is away
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    "MLFLOW_DISABLE_TELEMETRY": "true",  # a job reaches for no network but where its user has it log to
}
"""Variables of MLflow that are set for this process; what the user has set holds."""


@dataclass(frozen=True)
class _MLflowLog:
    """One run, written through a client, so that MLflow's idea of an active run stays the user's."""

    client: Any
    run: str

    def epoch(self, epoch: int, numbers: Mapping[str, float]) -> None:
        self.client.log_batch(self.run, metrics=_metrics(numbers, step=epoch))

    def end(self, numbers: Mapping[str, float], facts: Mapping[str, str]) -> None:
        self.client.log_batch(self.run, metrics=_metrics(numbers, step=0))
        for name, value in facts.items():
            self.client.set_tag(self.run, f"scalepred.{name}", _short(value))

    def close(self, *, is_done: bool) -> None:
        self.client.set_terminated(self.run, "FINISHED" if is_done else "KILLED")


def open_mlflow(where: str, facts: Mapping[str, str], *, name: str, run: str) -> _MLflowLog:
    """Open a run in the experiment "scalepred", the one that a stopped job began or a new one, with its facts.

    Args:
        where: the URI of a store or server, such as sqlite:///mlflow.db.
        facts: name -> value, known before the training; they become parameters.
        name: of the model's folder, which the run is called after.
        run: the run's id.
    """
    for variable, value in SETTINGS.items():
        os.environ.setdefault(variable, value)
    from mlflow.entities import Param
    from mlflow.tracking import MlflowClient

    client = MlflowClient(tracking_uri=where)
    experiment = client.get_experiment_by_name(EXPERIMENT)
    own = client.create_experiment(EXPERIMENT) if experiment is None else experiment.experiment_id
    begun = client.search_runs([own], f"tags.`{RUN}` = '{run}' AND attributes.status != 'FINISHED'", max_results=1)
    if begun:
        client.update_run(begun[0].info.run_id, status="RUNNING")
        return _MLflowLog(client, begun[0].info.run_id)
    made = client.create_run(own, run_name=name, tags={RUN: run}).info.run_id
    client.log_batch(made, params=[Param(key, _short(value)) for key, value in facts.items()])
    return _MLflowLog(client, made)


def _metrics(numbers: Mapping[str, float], *, step: int) -> list[Any]:
    from mlflow.entities import Metric

    now = int(1000 * time.time())
    return [Metric(name, value, now, step) for name, value in numbers.items()]


def _short(value: str) -> str:
    return value if len(value) <= MOST_CHARACTERS else f"{value[: MOST_CHARACTERS - 1]}…"
