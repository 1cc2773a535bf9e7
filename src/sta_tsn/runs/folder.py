"""A run's folder: what made it, whether it is finished, and where its files lie.

A stage is done when `run.json` has the stamp of its command (`stage_fingerprint`: settings, of
files their content, of videos what `--videos` says of them), its scores are there, and its features
where a stage two reads them.
"""

import fcntl
import os
import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from sta_tsn.artefacts import (
    check_checkpoint,
    file_fingerprint,
    fingerprint,
    provenance,
    read_json,
    write_json,
)
from sta_tsn.configuration import read_yaml
from sta_tsn.errors import UserError
from sta_tsn.runs.layout import ABOUT_FILE, CARD_FILE, CONFIG_FILE, METRICS_FILE, SCORES_FILE

SECONDS_TO_CLAIM = 600  # machines of a cluster do not start at one time
VOLATILE = {
    "--run_dir",
    "--threads",
    "--trainer.devices",
    "--trainer.num_nodes",
    "--data.num_workers",
}
NEEDED_OF_A_RUN = {"fingerprint", "arguments", "wandb_id", "seconds"}  # in run.json
SAID_BY_VIDEOS = {
    "--data.manifest",
    "--data.dataset.init_args.root",
    "--data.allow_missing",
    "--data.flow",
}


def stage_fingerprint(arguments: list[str]) -> str:
    """Return a stamp that changes with whatever changes a run's result, not with the machine.

    Where a value is a file (weights, checkpoint, manifest) its content counts, of a configuration
    what it says (comments may change), of a feature store what made it. With `--videos=...`, the
    fingerprint of every video, label and frame count of the split, where they lie does not matter.

    Args:
        arguments: of `sta-tsn fit`, each as `--name=value`.
    """
    left_out = VOLATILE | SAID_BY_VIDEOS if videos_are_told(arguments) else VOLATILE
    parts = []
    for argument in arguments:
        name, _, value = argument.partition("=")
        if name in left_out:
            continue
        store = Path(value, "store.json")
        file = store if store.exists() else Path(value)
        if value and file.is_file():
            value = fingerprint(read_yaml(file)) if name == "--config" else file_fingerprint(file)
        parts.append((name, value))
    return fingerprint(parts)


def videos_are_told(arguments: list[str]) -> bool:
    """Return whether `--videos` says which videos the split has, for the stamp."""
    return any(argument.startswith("--videos=") for argument in arguments)


def agent_trial() -> tuple[str, str] | None:
    """Return sweep id and run id where a W&B agent started this process or its first rank."""
    sweep = os.environ.get("WANDB_SWEEP_ID")
    run = os.environ.get("WANDB_RUN_ID")
    return (sweep, run) if sweep and run else None


def is_first_process() -> bool:
    """Return whether this is the first of all machines' processes that run one stage together.

    Before a Trainer is there, Lightning's rank is that on this machine alone.
    """
    from sta_tsn.lightning import rank_zero_only

    return rank_zero_only.rank == 0 and os.environ.get("NODE_RANK", "0") == "0"


@contextmanager
def only_one(folder: Path) -> Iterator[None]:
    """Hold the folder for this process: two that write one would spoil each other's files.

    Args:
        folder: that is written; the lock lies beside it.

    Raises:
        UserError: another process holds it.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    with open(folder.with_name(f".{folder.name}.lock"), "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise UserError(
                f"Another process works in {folder} already. Wait until it has ended, or end it."
            ) from error
        except OSError as error:  # some file systems of clusters
            print(
                f"No locks in {folder.parent} ({error.strerror}): take care that no second process "
                f"works in {folder}.",
                flush=True,
            )
        # Else workers that outlive a kill for seconds would hold the lock.
        os.register_at_fork(after_in_child=lock.close)
        yield


class RunFolder:
    """Paths and state of one stage's run.

    Args:
        path: `runs/<dataset>/split<k>/<model>/<modality>/seed<s>/<stage>`.
    """

    def __init__(self, path: str | os.PathLike):
        self.path = Path(path)
        self.checkpoints = self.path / "checkpoints"
        self.best = self.checkpoints / "best.ckpt"
        self.last = self.checkpoints / "last.ckpt"
        self.features = self.path / "features"
        self.scores = self.path / SCORES_FILE
        self.metrics = self.path / METRICS_FILE
        self.card = self.path / CARD_FILE
        self.config = self.path / CONFIG_FILE

    @property
    def about(self) -> dict:
        """Return what `run.json` says; {} where there is none."""
        return read_json(self.path / ABOUT_FILE)

    @property
    def features_read(self) -> Path:
        """Return the folder of stage one's features that a stage-two run learned from."""
        beside = self.path.with_name("backbone") / "features"
        if beside.exists():
            return beside
        for argument in self.about.get("arguments", []):
            name, _, value = argument.partition("=")
            if name == "--data.features":
                return Path(value)
        return beside

    @property
    def tested_checkpoint(self) -> Path:
        """Return the last epoch's; with `select` the best on validation (THUMOS14's protocol).

        The schedule ends with the last, in TSN's recipe and in the paper's 15000 iterations.
        Choosing by validation was tried: the 51 validation clips of JHMDB chose, by loss, the
        second of ten epochs for SA-CNN (44.4 % on test), before the learning rate had come down.
        `best.ckpt` is kept beside it.

        Raises:
            UserError: `select`, and no epoch was validated.
        """
        if not self.about.get("select"):
            return self.last
        if not self.best.exists():
            raise UserError(
                f"{self.path}: select=true, but no epoch was validated (data.val_share, "
                "trainer.check_val_every_n_epoch)."
            )
        return self.best

    def is_done(self, stamp: str) -> bool:
        """Return whether the run ended with these settings and inputs, features included.

        It ended when it was tested, or trained where no test was wanted. Features are there where a
        stage two reads them.
        """
        about = self.about
        ended = self.scores.exists() or about.get("tested") is False
        whole = not about.get("keeps_features") or (self.features / "store.json").exists()
        return about.get("fingerprint") == stamp and ended and whole

    def note(self, **facts) -> None:
        """Add facts to run.json."""
        write_json(self.path / ABOUT_FILE, {**self.about, **facts})

    def claim(self, stamp: str, arguments: list[str]) -> None:
        """Make this the folder of a run; one with other settings is moved aside, not lost.

        Args:
            stamp: of the run, see `stage_fingerprint`.
            arguments: its command line.

        Raises:
            UserError: the checkpoint to go on from is damaged, or what the folder says of itself.
        """
        about = self.about
        missing = NEEDED_OF_A_RUN - set(about)
        if about and missing:
            raise UserError(
                f"{self.path / ABOUT_FILE} is damaged: it lacks {', '.join(sorted(missing))}. Move "
                f"{self.path} away; the command that wrote it does so again."
            )
        if about and about["fingerprint"] != stamp:
            aside = self.path.with_name(f"{self.path.name}.old-{time.strftime('%Y%m%d-%H%M%S')}")
            self.path.rename(aside)
            differing = sorted(set(arguments).symmetric_difference(about["arguments"]))
            changed = ", ".join(differing) or "file contents"
            print(
                f"{self.path}: settings or inputs changed ({changed}).\n"
                f"  The earlier run is kept as {aside}.",
                flush=True,
            )
            about = {}
        if not about:
            trial = agent_trial()
            wandb_id = trial[1] if trial else secrets.token_hex(4)
            about = {
                "fingerprint": stamp,
                "arguments": arguments,
                "wandb_id": wandb_id,
                "seconds": {},
                **provenance(),
            }
            write_json(self.path / ABOUT_FILE, about)
        for half_written in self.checkpoints.glob(".*.ckpt"):  # by a process that was killed
            half_written.unlink()
        if self.last.exists():
            check_checkpoint(self.last)

    def wait_for(self, stamp: Callable[[], str]) -> None:
        """Wait until the first process has claimed the folder.

        Args:
            stamp: returns the run's; asked again each time, for inputs may come late.

        Raises:
            UserError: the first process does not begin.
        """
        latest = time.monotonic() + SECONDS_TO_CLAIM
        while self.about.get("fingerprint") != stamp():
            if time.monotonic() > latest:
                raise UserError(
                    f"The first process (NODE_RANK=0) has not begun in {self.path} for "
                    f"{SECONDS_TO_CLAIM} s. Is the same command running there, with the same "
                    "files, and the folder shared?"
                )
            time.sleep(1)  # the stamp reads whole files

    def add_seconds(self, step: str, seconds: float, peak_memory_gb: float) -> None:
        """Add to a step's time and keep the main process's highest memory."""
        about = self.about
        spent = dict(about["seconds"])
        spent[step] = round(spent.get(step, 0) + seconds, 2)
        peak = max(about.get("peak_memory_gb", 0), round(peak_memory_gb, 2))
        self.note(seconds=spent, peak_memory_gb=peak)
