"""The trials of a W&B sweep file without a server.

Each is `sta-tsn fit` in a process and a folder of its own. They run side by side, one on every free
GPU; on the CPU one after another. `sweep.json` knows them: after a kill the same command goes on, a
half-done trial from its checkpoint. Values are read from each run's `metrics.csv`.
"""

import csv
import math
import subprocess
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from sta_tsn.artefacts import read_json, write_json
from sta_tsn.errors import UserError
from sta_tsn.runs.folder import RunFolder, only_one
from sta_tsn.runs.layout import sweeps_folder
from sta_tsn.sweeps.proposals import Trial, num_proposals, propose
from sta_tsn.sweeps.sweep_file import SweepFile, read_sweep
from sta_tsn.sweeps.trial_process import end, start, trial_log, trial_slots

SECONDS_BETWEEN_LOOKS = 0.5


def sweep(file: str, devices: str, runs: str) -> None:
    """Run every trial of a sweep file that is not done yet, then print and draw what came out.

    Args:
        file: a sweep file as `wandb sweep` takes it.
        devices: `auto` (all GPUs, or one trial at a time on the CPU) or the number to use.
        runs: everything is written to `runs/sweeps/<name of the file>/`.

    Raises:
        ConfigError: the file is wrong.
        UserError: the sweep runs already, or trials failed.
    """
    settings = read_sweep(Path(file))
    slots = trial_slots(settings, devices)
    folder = sweeps_folder(runs) / settings.path.stem
    with only_one(folder):
        runner = SweepRunner(settings, folder, slots)
        runner.run()
        trial = runner.reached_target()
        if trial:
            print(
                f"Trial {trial.number} reached the target, {settings.metric} {settings.target}: "
                "no more are started."
            )
        from sta_tsn.sweeps.sweep_report import report_sweep

        trials = [asdict(trial) for trial in runner.trials]
        report_sweep(trials, settings.metric, settings.sign, settings.log_scaled, folder)
        failed = [str(trial.number) for trial in runner.trials if trial.state == "failed"]
        if failed:
            raise UserError(
                f"Trials that failed: {', '.join(failed)}. Why is in {folder}/trial-*.log; the "
                "same command tries them again."
            )


@dataclass
class Running:
    """Hold a trial's process.

    Args:
        trial: what it trains.
        process: of its own session.
        slot: the environment that says on which GPUs.
        counted: until when its time is counted, by the monotonic clock.
    """

    trial: Trial
    process: subprocess.Popen
    slot: dict[str, str]
    counted: float


class SweepRunner:
    """Start, watch and stop the trials of one sweep.

    Args:
        settings: the sweep file.
        folder: for `sweep.json`, and each trial's run folder and log. Trials of a file with other
            settings that lie there are moved aside.
        slots: environments of the trials that run at one time.
    """

    def __init__(self, settings: SweepFile, folder: Path, slots: list[dict[str, str]]):
        self.settings = settings
        self.folder = folder
        self.slots = list(slots)
        self.num_slots = len(slots)
        self.num_proposals = num_proposals(settings.method, settings.parameters, settings.run_cap)
        self.running: list[Running] = []
        self.fingerprint = settings.fingerprint
        about = read_json(folder / "sweep.json")
        self.trials = [Trial(**trial) for trial in about.get("trials", [])]
        if about and about["fingerprint"] != self.fingerprint:
            self._move_aside()
        self.waiting = [trial for trial in self.trials if trial.state in ("running", "failed")]

    def _move_aside(self) -> None:
        """Keep an earlier sweep's folder under another name, and forget its trials."""
        for trial in self.trials:
            # A process of it, if one is left, would write into the new one's folders.
            with trial_log(self.log(trial), trial.pid):
                pass
        aside = self.folder.with_name(f"{self.folder.name}.old-{time.strftime('%Y%m%d-%H%M%S')}")
        self.folder.rename(aside)
        print(
            f"{self.settings.path} or its inputs changed. The earlier sweep is kept as {aside}.",
            flush=True,
        )
        self.trials = []

    def run(self) -> None:
        """Run the trials that are not done, showing how many are."""
        columns = (
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("trials"),
            TimeElapsedColumn(),
            TextColumn("{task.fields[left]}"),
        )
        with Progress(*columns) as self.bar:
            self.bar.add_task("", total=self.total, left="")
            self._show_progress()
            try:
                while self._start_trials():
                    time.sleep(SECONDS_BETWEEN_LOOKS)
                    for running in list(self.running):
                        self._look_at(running)
            finally:  # Ctrl-C, or the first trial failed
                for running in self.running:
                    end(running.process)

    @property
    def total(self) -> int:
        """Return how many trials are to be.

        Once one reached the target, there are none beside those that were started already.
        """
        if self.reached_target():
            return len(self.trials)
        return max(self.num_proposals, len(self.trials))

    def reached_target(self) -> Trial | None:
        """Return the first trial of which a value reached the target, if any did."""
        sign = self.settings.sign
        target = self.settings.target
        if target is None:
            return None
        for trial in self.trials:
            if any(sign * value <= sign * target for value in trial.values):
                return trial
        return None

    def run_folder(self, trial: Trial) -> RunFolder:
        return RunFolder(self.folder / f"trial-{trial.number:03d}")

    def log(self, trial: Trial) -> Path:
        return self.folder / f"trial-{trial.number:03d}.log"

    def _start_trials(self) -> bool:
        """Fill the free slots; return whether something runs.

        The very first trial trains alone at its beginning: it may have to count the videos, and
        when it fails the others would, too.
        """
        while self.slots and (self.waiting or len(self.trials) < self.total):
            if self.running and not self._any_trains(self.trials):
                break
            if not self.waiting:
                self._propose()
            self._start(self.waiting.pop(0))
        return bool(self.running)

    def _propose(self) -> None:
        settings = self.settings
        values = propose(settings.method, settings.parameters, settings.sign, self.trials)
        trial = Trial(len(self.trials) + 1, values)
        self.waiting.append(trial)
        self.trials.append(trial)

    def _any_trains(self, trials: list[Trial]) -> bool:
        return any(self.run_folder(trial).metrics.exists() for trial in trials)

    def _start(self, trial: Trial) -> None:
        slot = self.slots.pop(0)
        with trial_log(self.log(trial), trial.pid) as log:
            trial.state = "running"
            trial.pid = None
            self._save()
            command = self.settings.trial_command(trial.parameters, self.run_folder(trial).path)
            process = start(command, log, {**self.settings.environment, **slot})
        trial.pid = process.pid
        self._save()
        self.running.append(Running(trial, process, slot, time.monotonic()))

    def _look_at(self, running: Running) -> None:
        """Read what the trial logged; stop it where Hyperband says so; note its end."""
        trial = running.trial
        status = running.process.poll()  # before the values are read: none may be written after
        num_values = len(trial.values)
        now = time.monotonic()
        trial.seconds += now - running.counted
        running.counted = now
        trial.values = metric_values(self.run_folder(trial).metrics, self.settings.metric)
        if len(trial.values) > num_values:
            self._save()  # its time, for a kill
        stop_at = self._judge(running)
        if stop_at:
            end(running.process)
            trial.state = "stopped"
            trial.values = trial.values[:stop_at]
        elif status is not None:
            trial.state = "finished" if status == 0 and trial.values else "failed"
        if trial.state != "running":
            self._note_end(running)

    def _judge(self, running: Running) -> int | None:
        """Return the band at which a trial does not go on, None where it does.

        This is Hyperband as W&B describes it: at each band a trial goes on when it is among the
        best 1/eta, rounded up, of all values there so far.
        """
        trial = running.trial
        for band in self.settings.bands:
            if trial.judged < band <= len(trial.values):
                trial.judged = band
                there = [other for other in self.trials if len(other.values) >= band]
                ranked = sorted(self._cost(other, band) for other in there)
                num_going_on = math.ceil(len(ranked) / self.settings.eta)
                cost = self._cost(trial, band)
                if not math.isfinite(cost) or cost > ranked[num_going_on - 1]:
                    return band
        return None

    def _cost(self, trial: Trial, band: int) -> float:
        """Return the value at a band so that less is better; infinite where it is no number."""
        value = trial.values[band - 1]
        return self.settings.sign * value if math.isfinite(value) else math.inf

    def _note_end(self, running: Running) -> None:
        trial = running.trial
        self.running.remove(running)
        self.slots.append(running.slot)
        self._save()
        said = f"{self.settings.metric} {trial.values[-1]:.4g}" if trial.values else "no value"
        self.bar.console.print(
            f"Trial {trial.number} {trial.state}: {said}, {trial.seconds:.0f} s", highlight=False
        )
        self._show_progress()
        others = [other for other in self.trials if other is not trial]
        if trial.state == "failed" and not self._any_trains(others):
            log = self.log(trial)
            lines = log.read_text(errors="replace").replace("\r", "\n").strip().split("\n")
            raise UserError(
                f"Trial {trial.number} failed, and no other got further. {log} ends:\n"
                + "\n".join(lines[-6:])
            )

    def _show_progress(self) -> None:
        done = [trial for trial in self.trials if trial.state in ("finished", "stopped")]
        left = self.total - len(done)
        said = ""
        if done and left:
            seconds_each = sum(trial.seconds for trial in done) / len(done)
            minutes = left * seconds_each / self.num_slots / 60
            said = f"about {minutes:.0f} min left"
        self.bar.update(self.bar.task_ids[0], completed=len(done), total=self.total, left=said)

    def _save(self) -> None:
        about = {
            "fingerprint": self.fingerprint,
            "file": self.settings.path,
            "trials": [asdict(trial) for trial in self.trials],
        }
        write_json(self.folder / "sweep.json", about)


def metric_values(path: Path, metric: str) -> list[float]:
    """Return the metric's values in a metrics.csv in order.

    A line that is being written does not count yet.
    """
    if not path.exists():
        return []
    lines = path.read_text().rpartition("\n")[0].splitlines()
    return [float(row[metric]) for row in csv.DictReader(lines) if row.get(metric)]
