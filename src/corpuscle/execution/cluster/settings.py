"""Settings: where a cluster is, and what its jobs are to have; never in a study's file: no result depends on it."""

import os
import re
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from corpuscle.core.components import STRICT, explain
from corpuscle.core.errors import InputError
from corpuscle.core.paths import read_plain
from corpuscle.core.plain_toml import beyond_64_bits, parse_toml
from corpuscle.core.text import shortened

SLURM = "slurm"
# How an address of a scheduler begins.
ADDRESSES = ("tcp://", "tls://", "ws://", "wss://", "ucx://")
# Days may stand in front; digits are those of ASCII, and SLURM's own numbers have no more of them.
TIME = re.compile(r"([0-9]{1,5}-)?[0-9]{1,9}(:[0-9]{1,9}){0,2}")
# Less than this, no worker even starts with.
LEAST_MEMORY = 10**8
UNITS = {"KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12, "KIB": 2**10, "MIB": 2**20, "GIB": 2**30, "TIB": 2**40}


def n_bytes(value: object) -> object:
    """Return the bytes of a text such as ``"32 GB"``.

    Examples
    --------
    >>> n_bytes("32 GB")
    32000000000
    """
    digits = value.rstrip("kKmMgGtTiIbB ") if isinstance(value, str) else ""
    unit = value[len(digits) :].strip().upper() if isinstance(value, str) else ""
    try:
        size = float(digits) * UNITS[unit]
    except (KeyError, ValueError):
        size = 0.0
    if not LEAST_MEMORY <= size < 2**60:
        raise ValueError('should be a text such as "32 GB", 100 MB at least')
    return round(size)


def _one_line(value: str) -> str:
    if not value or not value.isprintable() or value != value.strip():
        raise ValueError("should be a text on one line")
    return value


def _duration(value: str) -> str:
    try:
        seconds_of(value)
    except ValueError:
        raise ValueError('should be a time as sbatch has it, such as "24:00:00" or "2-00:00:00"') from None
    return value


def seconds_of(time: str) -> int:
    """Return the seconds of a time limit as ``sbatch`` has it.

    Examples
    --------
    >>> seconds_of("1-02:00:00"), seconds_of("90"), seconds_of("10:30")
    (93600, 5400, 630)
    """
    if not TIME.fullmatch(time):
        raise ValueError(time)
    days, dash, rest = time.rpartition("-")
    parts = [int(part) for part in rest.split(":")]
    # Without days, one number is minutes, and two are minutes and seconds; with days, they begin with the hours.
    hours, minutes, seconds = [*parts, 0, 0][:3] if dash or len(parts) == 3 else [0, *parts, 0][:3]
    found = int(days or 0) * 86_400 + hours * 3600 + minutes * 60 + seconds
    if found <= 0:
        raise ValueError(time)
    return found


Line = Annotated[str, BeforeValidator(lambda value: _one_line(value) if isinstance(value, str) else value)]
Bytes = Annotated[int, BeforeValidator(n_bytes)]
Duration = Annotated[str, BeforeValidator(lambda value: _duration(value) if isinstance(value, str) else value)]


class Slurm(BaseModel):
    """What a SLURM job is to have, and how many there may be.

    Attributes
    ----------
    partition, account
        As for ``sbatch``; its defaults where they are left out.
    time
        A job's time limit, such as ``"24:00:00"``. What a job did not finish, the next one goes on with.
    cores
        Cores of a job, each of which makes one artifact at a time.
    memory
        Memory of a job, such as ``"64 GB"``.
    gpus, gpu_memory
        GPUs of a job, and the memory of one, such as ``"40 GB"``: where it is given, small models may share one.
    minimum, maximum
        How many jobs there are at least and at most while a study runs; they come and go with the work.
    environment
        Lines of shell that a job begins with, such as ``"module load cuda"``.
    directives
        More options of ``sbatch``, such as ``"--constraint=a100"``.
    interface
        The network by which jobs reach this machine, such as ``"ib0"``.
    python
        The Python that jobs run; by default this process' own, which they must see under the same path.
    """

    model_config = ConfigDict(frozen=True, **STRICT)

    partition: Line | None = None
    account: Line | None = None
    time: Duration = "24:00:00"
    cores: Annotated[int, Field(ge=1, le=4096)] = 4
    memory: Bytes = 16 * 10**9
    gpus: Annotated[int, Field(ge=0, le=64)] = 0
    gpu_memory: Bytes | None = None
    minimum: Annotated[int, Field(ge=0, le=10_000)] = 0
    maximum: Annotated[int, Field(ge=1, le=10_000)] = 10
    environment: tuple[Line, ...] = ()
    directives: tuple[Line, ...] = ()
    interface: Line | None = None
    python: Line | None = None

    @model_validator(mode="before")
    @classmethod
    def _lists_are_tuples(cls, value: object) -> object:
        if not isinstance(value, dict):
            return value
        return {key: tuple(found) if isinstance(found, list) else found for key, found in value.items()}

    @model_validator(mode="after")
    def _no_fewer_than_the_least(self) -> "Slurm":
        if self.maximum < self.minimum:
            raise ValueError("maximum should be no less than minimum")
        return self


def user_file() -> Path:
    """Return where a user's own table is."""
    home = os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config"
    return Path(home) / "corpuscle" / "cluster.toml"


def settings(given: str | Path) -> str | Slurm:
    """Return a scheduler's address, or what SLURM's jobs are to have.

    Parameters
    ----------
    given
        What ``--cluster`` says: an address, ``slurm``, or a TOML file.

    Raises
    ------
    InputError
        When it is none of these, or the file cannot be used.

    Examples
    --------
    >>> settings("tcp://10.0.0.1:8786")
    'tcp://10.0.0.1:8786'
    """
    text = str(given)
    if text.startswith(ADDRESSES):
        return text
    if text == SLURM:
        path = user_file()
        if not path.exists():
            raise InputError(
                f"--cluster slurm needs the table of your cluster in {path}: for example partition, time, cores and "
                "memory of a job; or name another file: --cluster FILE.toml"
            )
        return read(path)
    if not text.endswith(".toml"):
        raise InputError(
            f"--cluster: expected the address of a Dask scheduler, such as tcp://10.0.0.1:8786, or slurm, or a TOML "
            f"file; got {shortened(text)!r}"
        )
    return read(Path(text))


def read(path: Path) -> Slurm:
    """Read the table of a file.

    Raises
    ------
    InputError
        With everything that is wrong with it.
    """
    try:
        raw = parse_toml(read_plain(path, "utf-8-sig"))
    except FileNotFoundError:
        raise InputError(f"--cluster: no such file: {path}") from None
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read as TOML ({shortened(str(error))})") from None
    if too_large := next(beyond_64_bits(raw), None):
        raise InputError(f"{path}: {shortened(too_large)}: a whole number beyond 64 bits, the most that TOML has")
    try:
        return Slurm.model_validate(raw)
    except ValidationError as error:
        raise InputError(f"{path}: {'; '.join(_faults(error))}") from None


def _faults(error: ValidationError) -> list[str]:
    """Return everything wrong with a table, in words."""
    return [shortened(explain(fault, Slurm.model_fields)) for fault in error.errors(include_url=False)]
