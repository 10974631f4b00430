"""The errors that scalepred raises on purpose, each with the exit code that the command line gives it."""


class ScalepredError(Exception):
    """Something that the user can mend; the message says what is wrong, where, and what to do next."""

    exit_code = 1


class UsageError(ScalepredError):
    """A setting or an argument that cannot be used."""

    exit_code = 2


class StartError(UsageError):
    """A start of training that can't be measured: its loss or gradient is not finite, or nothing is trained."""


class CheckpointError(UsageError):
    """The state of a training that was stopped, of another training or damaged."""


class DataError(ScalepredError):
    """Images, manifests or tasks that cannot be used."""

    exit_code = 3


class WeightsError(ScalepredError):
    """Weights that are missing, unreadable, or of another network."""

    exit_code = 3


class WarehouseBusyError(ScalepredError):
    """Another process holds the warehouse."""

    exit_code = 4


class VersionError(ScalepredError):
    """A warehouse, predictor or model folder of another version, or damaged."""

    exit_code = 5


class DamagedError(VersionError):
    """A warehouse that is no sound database any more."""


def join_problems(headline: str, problems: list[str], *, shown: int = 20) -> str:
    """Return one message for several problems: the headline, then a line for each of the first ``shown``."""
    rest = [f"  … and {len(problems) - shown} more"] if len(problems) > shown else []
    return "\n".join([headline, *(f"  - {problem}" for problem in problems[:shown]), *rest])
