"""The study of interference: clips among unrelated frames, summarised in five ways.

Features of frames are stored once; each row's score table is kept, so that an interrupted command
goes on where it stopped and a finished one fits nothing.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields
from fractions import Fraction
from pathlib import Path

from safetensors.torch import load_file, save_file
from torch import Tensor

from sta_tsn.artefacts import (
    atomic,
    file_fingerprint,
    fingerprint,
    provenance,
    read_json,
    write_json,
)
from sta_tsn.configuration import check_keys, read_yaml
from sta_tsn.datasets import (
    Manifest,
    VideoDataset,
    VideoRecord,
    VideoSplit,
    build_manifest,
    open_split,
)
from sta_tsn.errors import ConfigError, UserError
from sta_tsn.evaluation import ScoreTable
from sta_tsn.features.frozen_encoder import FrozenEncoder
from sta_tsn.features.frozen_features import FramesOfVideo, FrozenFeatures, spread_evenly
from sta_tsn.interference.answers import (
    InterferenceRun,
    load_answers,
    run_of_table,
    save_answers,
)
from sta_tsn.interference.fitting import FitSettings, fit, relevant_frames, scores_and_weights
from sta_tsn.interference.footage import Footage, divide, list_footage
from sta_tsn.interference.rows import ROWS, InterferenceRow
from sta_tsn.interference.spliced_files import largest_difference
from sta_tsn.interference.spliced_set import SplicedSet, build_spliced_set, standardized
from sta_tsn.interference.splicing import SHARES
from sta_tsn.pipeline.data import check_names, open_dataset
from sta_tsn.pipeline.options import TrainOptions
from sta_tsn.report.interference import build_interference
from sta_tsn.runs.layout import InterferenceRuns

INTERFERENCE = "interference"  # name of the study
RECIPE = f"{INTERFERENCE}.yaml"
CHECKED_CLIPS = 20  # spliced as real files, too
CHECKED_SHARE = Fraction(2, 3)


@dataclass(frozen=True)
class InterferenceSettings:
    """What `interference.yaml` of a dataset says.

    unrelated: folders of videos that show none of the dataset's classes; none where the dataset
    brings its own. backbone: a timm name. weights: see `build_backbone`. frames_per_clip,
    frames_per_footage: of longer videos so many are encoded, spread evenly. fit: of every row.
    """

    backbone: str
    weights: str = "imagenet"
    unrelated: tuple[str, ...] = ()
    frames_per_clip: int = 20
    frames_per_footage: int = 60
    fit: FitSettings = field(default_factory=FitSettings)


def read_settings(options: TrainOptions) -> InterferenceSettings:
    """Read the dataset's recipe; what the command says of backbone, weights and footage counts.

    Raises:
        ConfigError: there is no recipe, or it holds a key that it may not.
    """
    path = recipe_file(options)
    if not path.exists():
        raise ConfigError(
            f"model=interference: {options.dataset} has no recipe {path}; write one like "
            f"{path.parents[1] / 'jhmdb' / RECIPE}."
        )
    content = dict(read_yaml(path))
    check_keys(content, [one.name for one in fields(InterferenceSettings)], "", str(path))
    of_fit = content.pop("fit", None) or {}
    check_keys(of_fit, [one.name for one in fields(FitSettings)], "fit.", str(path))
    if options.backbone:
        content["backbone"] = options.backbone
    if options.weights:
        content["weights"] = options.weights
    if options.unrelated:
        content["unrelated"] = options.unrelated
    content["unrelated"] = tuple(content.get("unrelated") or ())
    return InterferenceSettings(**content, fit=FitSettings(**of_fit))


def reproduce_interference(
    options: TrainOptions, splits: Sequence[int] | None, seeds: Sequence[int]
) -> None:
    """Fit every row at every share for every split and seed that is not done, then report.

    Seeds beyond the first come last, so that a whole curve is there as early as possible.

    Args:
        options: what the user asked for.
        splits: official splits, 1-based; the first where None.
        seeds: of what is random in fitting. Where a clip lies depends on the split alone.
    """
    check_names(options)
    settings = read_settings(options)
    study = InterferenceStudy(options, settings)
    splits = splits or [1]
    for split in splits:
        study.dataset.check_split(split)
    study.prepare(splits)
    for seed in seeds:
        for split in splits:
            for share in SHARES:
                study.fit_rows(split, share, seed)
    report_interference(options)


class InterferenceStudy:
    """The study of one dataset below `runs/<dataset>/interference`.

    Args:
        options: what the user asked for.
        settings: of the recipe.
    """

    def __init__(self, options: TrainOptions, settings: InterferenceSettings):
        self.options = options
        self.settings = settings
        self.dataset: VideoDataset = open_dataset(options)
        self.place = options.place.interference
        encoder = FrozenEncoder(settings.backbone, settings.weights)
        self.clip_features = FrozenFeatures(self.place.clip_features, encoder)
        self.footage_features = FrozenFeatures(self.place.footage_features, encoder)
        self.splits: dict[int, VideoSplit] = {}
        self.footage: list[Footage] = []

    def prepare(self, splits: Sequence[int]) -> None:
        """Count and encode the frames of all clips and all footage; compare with spliced files."""
        listed = []
        for split in splits:
            listed.extend(self.dataset.records(split).videos)
        manifest = build_manifest(listed, self.options.place.manifest)
        for split in splits:
            self.splits[split] = open_split(
                self.dataset,
                split,
                manifest,
                val_share=0.0,
                allow_missing=self.options.allow_missing,
            )
        folders = self.settings.unrelated or self.dataset.unrelated_footage()
        if not folders:
            raise ConfigError(
                f"model=interference: {recipe_file(self.options)} names no `unrelated` folders; "
                "give `unrelated` folders of videos that show none of the classes."
            )
        listed_footage = list_footage(folders)
        counted = self._count_footage(listed_footage)
        self.footage = [video for video in listed_footage if not _row(counted, video).reason]
        clips = self._clip_frames()
        footage = [self._footage_frames(video, counted) for video in self.footage]
        self.clip_features.write_all(clips)
        self.footage_features.write_all(footage)
        self._compare_with_files(clips, footage, manifest, counted)

    def _count_footage(self, footage: Sequence[Footage]) -> Manifest:
        records = [VideoRecord(video.id, video.path, (), video.source) for video in footage]
        counted = build_manifest(records, self.place.footage_manifest)
        broken = [video.id for video in footage if _row(counted, video).reason]
        if broken:
            print(f"Unrelated footage left out, it does not decode: {', '.join(broken)}")
        return counted

    def _clip_frames(self) -> list[FramesOfVideo]:
        """Return the frames of every clip; where the dataset knows them, the action's alone."""
        clips: dict[str, FramesOfVideo] = {}
        for videos in self.splits.values():
            for record in [*videos.train, *videos.test]:
                if record.id in clips:
                    continue
                frames: Sequence[int] = range(record.num_frames)
                key_frames = self.dataset.key_frames(record)
                if key_frames is not None:
                    frames = key_frames.nonzero()[0].tolist()
                chosen = spread_evenly(frames, self.settings.frames_per_clip)
                clips[record.id] = FramesOfVideo(record.id, record.path, record.num_frames, chosen)
        return list(clips.values())

    def _footage_frames(self, video: Footage, counted: Manifest) -> FramesOfVideo:
        num_frames = _row(counted, video).num_frames
        chosen = spread_evenly(range(num_frames), self.settings.frames_per_footage)
        return FramesOfVideo(video.id, video.path, num_frames, chosen)

    def _compare_with_files(
        self,
        clips: list[FramesOfVideo],
        footage: list[FramesOfVideo],
        manifest: Manifest,
        counted: Manifest,
    ) -> None:
        """Compare spliced features with those of really spliced files, of clips all over the list.

        Footage of another frame size than the clip's is left out of it: a file has one size.
        """
        path = self.place.comparison
        chosen = [clips[place] for place in spread_evenly(range(len(clips)), CHECKED_CLIPS)]
        size = _size(manifest, chosen[0])
        chosen = [clip for clip in chosen if _size(manifest, clip) == size]
        fitting = [video for video in footage if _size(counted, video) == size]
        if len(fitting) < 2:
            print(
                f"No two unrelated videos of {size[0]}x{size[1]} px: no spliced file is compared."
            )
            return
        made_by = fingerprint([[video.about for video in [*chosen, *fitting]], self._backbone()])
        if read_json(path).get("made_by") == made_by:
            return
        print(f"Comparing with {len(chosen)} really spliced files ...", flush=True)
        difference = largest_difference(
            chosen, self.clip_features, fitting, self.footage_features, CHECKED_SHARE
        )
        write_json(
            path, {"made_by": made_by, "clips": len(chosen), "largest_difference": difference}
        )

    def _backbone(self) -> list[str]:
        weights = self.settings.weights
        if Path(weights).is_file():
            weights = file_fingerprint(weights)
        return [self.settings.backbone, weights]

    def fit_rows(self, split: int, share: Fraction, seed: int) -> None:
        """Fit and test the rows at one share of one split; those that are done are left alone."""
        videos = self.splits[split]
        for_training, for_testing = divide(self.footage, split)
        inputs = [
            videos.fingerprint,
            [video.id for video in self.footage],
            self._backbone(),
            asdict(self.settings),
            str(share),
        ]
        todo: list[tuple[InterferenceRow, Path, str]] = []
        for row in ROWS:
            path = self.place.scores(split, share, row.name, seed)
            made_by = fingerprint([*inputs, row.name, seed])
            if not path.exists() or ScoreTable.load(path).protocol.get("made_by") != made_by:
                todo.append((row, path, made_by))
        if not todo:
            return
        print(f"split {split}, {share} unrelated, seed {seed} ...", flush=True)
        train = self._spliced(videos.train, for_training, share, split)
        test = self._spliced(videos.test, for_testing, share, split)
        if self.settings.weights == "none":
            train, test = standardized(train, test)
        relevant = self._judged(train, share, split, fingerprint(inputs))
        for row, path, made_by in todo:
            model = fit(row, train, relevant, self.settings.fit, seed)
            scores, weights = scores_and_weights(model, test)
            protocol = {
                "dataset": self.options.dataset,
                "split": split,
                "seed": seed,
                "share": str(share),
                "row": row.name,
                "missing": videos.num_test_missing,
                "crops": 1,
                "segments": weights.shape[1],
                "frames_per_segment": weights.shape[2],
                "made_by": made_by,
                **provenance(),
            }
            table = ScoreTable(
                test.ids,
                scores,
                test.labels.bool(),
                self.dataset.classes,
                protocol,
                temporal_weights=weights,
                groups=test.groups,
            )
            with atomic(self.place.key_frames(split, share)) as temporary:
                save_file({"key_frames": test.key_frames.contiguous()}, temporary)
            table.save(path)
            print(f"  {row.title}: {table.summary['micro accuracy %']} %", flush=True)

    def _spliced(
        self,
        records: Sequence[VideoRecord],
        footage: Sequence[Footage],
        share: Fraction,
        split: int,
    ) -> SplicedSet:
        frames = [self.footage_features.read(video.id) for video in footage]
        classes = len(self.dataset.classes)
        return build_spliced_set(records, self.clip_features.read, frames, share, split, classes)

    def _judged(self, train: SplicedSet, share: Fraction, split: int, made_by: str) -> Tensor:
        """Return which training frames Eq 13 judges true; judged once for all seeds."""
        path = self.place.judged(split, share, made_by)
        if not path.exists():
            relevant = relevant_frames(train)
            with atomic(path) as temporary:
                save_file({"relevant": relevant}, temporary)
        relevant = load_file(path)["relevant"]
        print(f"  judged false: {100 * float((~relevant).float().mean()):.0f} % of the frames")
        return relevant


def report_interference(options: TrainOptions) -> None:
    """Rebuild the report from the score tables that are there, or from the answers kept of them.

    Only splits and seeds for which every row was tested at every share are shown.

    Raises:
        UserError: there is no such split and seed.
    """
    place = options.place.interference
    folder = options.place.report(INTERFERENCE)
    if place.answers.exists() and not place.fitted():
        runs, facts = load_answers(place.answers)
    else:
        runs = _complete_runs(options)
        facts = _facts(options, runs[0])
        save_answers(runs, facts, folder / place.answers.name)
    page = build_interference(runs, options.dataset, facts, folder)
    print(f"{len(runs)} fitted rows. Report: {page.resolve()}", flush=True)


def _complete_runs(options: TrainOptions) -> list[InterferenceRun]:
    """Return the runs of the seeds that every split has, complete with every row and share.

    Raises:
        UserError: there is none.
    """
    place = options.place.interference
    runs: list[InterferenceRun] = []
    for split, seed in place.fitted():
        of_seed = _tested(place, split, seed)
        if len(of_seed) == len(ROWS) * len(SHARES):
            runs += of_seed
        else:
            print(f"Left out, rows are missing: split {split}, seed {seed}.")
    of_all_splits = _seeds_of_all_splits(runs)
    runs = [run for run in runs if run.seed in of_all_splits]
    if not runs:
        raise UserError(
            f"No complete seed below {place.path.resolve()}: sta-tsn reproduce "
            f"--model={INTERFERENCE} --dataset={options.dataset} makes them."
        )
    return runs


def _facts(options: TrainOptions, run: InterferenceRun) -> dict[str, str]:
    """Return what the report tells of how the rows were made."""
    place = options.place.interference
    table = ScoreTable.load(place.scores(run.split, run.share, run.row, run.seed))
    protocol = table.protocol
    compared = read_json(place.comparison)
    facts = {
        "frames": f"{protocol['segments']} x {protocol['frames_per_segment']}, centre crop",
        "commit": protocol["commit"],
        "made by": f"sta-tsn reproduce --model={INTERFERENCE} --dataset={options.dataset}",
    }
    if compared:
        facts["spliced as real files"] = (
            f"{compared['clips']} clips; features differ by at most "
            f"{compared['largest_difference']:.1e} of the largest"
        )
    return facts


def recipe_file(options: TrainOptions) -> Path:
    """Return where the dataset's recipe of the study lies."""
    return options.recipes / RECIPE


def _tested(place: InterferenceRuns, split: int, seed: int) -> list[InterferenceRun]:
    found = []
    for share in SHARES:
        for row in ROWS:
            path = place.scores(split, share, row.name, seed)
            if path.exists():
                key_frames = load_file(place.key_frames(split, share))["key_frames"]
                table = ScoreTable.load(path)
                found.append(run_of_table(row.name, share, table, key_frames))
    return found


def _seeds_of_all_splits(runs: Sequence[InterferenceRun]) -> set[int]:
    """Return the seeds that every split has: each clip then counts by as many answers."""
    seeds_of: dict[int, set[int]] = {}
    for run in runs:
        seeds_of.setdefault(run.split, set()).add(run.seed)
    return set.intersection(*seeds_of.values()) if seeds_of else set()


def _row(manifest: Manifest, video: Footage):
    return manifest[str(video.path.absolute())]


def _size(manifest: Manifest, video: FramesOfVideo) -> tuple[int, int]:
    row = manifest[str(video.path.absolute())]
    return row.width_px, row.height_px
