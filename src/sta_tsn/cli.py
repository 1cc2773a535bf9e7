"""The verbs of `sta-tsn`, and nothing else.

Heavy imports wait until a verb needs them, so that --help is quick.
"""

import argparse
import errno
import os
import signal
import sys
import tempfile
from collections.abc import Sequence
from os.path import expanduser  # make hands a quoted ~ on as it is

from sta_tsn import __version__
from sta_tsn.errors import UserError
from sta_tsn.pipeline.recipes import default_experiments

FIT_HELP = """Options are LightningCLI's: --config=FILE (several; later ones win),
--run_dir=FOLDER, and any constructor argument of the configured classes as --model.NAME,
--data.NAME, or of Lightning's Trainer as --trainer.NAME; further --trainer.callbacks and
--trainer.logger; --ckpt_path=FILE to go on from; --seed_everything=0, --test=false (end
after training), --keep_features=true (of stage one, for stage two), --select=true (test the epoch
with the least validation loss). --print_config shows what the files make together,
--model.help=sta_tsn.SpatialAttentionBackbone the arguments of a class.
`sta-tsn train` prints the command of every stage it runs."""

# Of folders and files that a command names: no traceback helps there.
FILE_TROUBLES = (
    errno.EACCES,
    errno.EPERM,
    errno.EROFS,
    errno.ENOSPC,
    errno.EDQUOT,
    errno.ENOTDIR,
    errno.EISDIR,
    errno.EEXIST,
    errno.EIO,
    errno.ELOOP,
    errno.ENAMETOOLONG,
    errno.ESTALE,
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one verb and return the exit status; user errors are printed without a traceback."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    # Read once, when torch is loaded: threads that wait sleep, and leave the cores to others.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    # A scheduler's end is a Ctrl-C: nothing counts as finished.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        if arguments[:1] == ["fit"] and arguments[1:] not in ([], ["--help"], ["-h"]):
            from sta_tsn.training.orphans import end_with_first_process

            end_with_first_process()  # before what takes seconds to import
            from sta_tsn.training.stage import fit_and_test

            fit_and_test(arguments[1:])
        else:
            options = _parser().parse_args(arguments)
            options.run(options)
    except UserError as error:
        print(f"sta-tsn: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        if error.errno not in FILE_TROUBLES:
            raise
        # Libraries that write lose the name.
        place = error.filename or f"RUNS or the temporary folder {tempfile.gettempdir()}"
        print(
            f"sta-tsn: {place}: {error.strerror}. "
            "DATA must be readable, RUNS a folder to write to.",
            file=sys.stderr,
        )
        return 1
    except UnicodeEncodeError as error:
        if "surrogates" not in error.reason:
            raise
        name = os.fsencode(error.object).decode("utf-8", "backslashreplace").strip()
        print(f"sta-tsn: {name[:200]}: not UTF-8. Rename the file or folder.", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nStopped. The same command goes on where it was.", file=sys.stderr)
        return 130
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="sta-tsn", description="Action recognition in video with STA-TSN."
    )
    parser.add_argument("--version", action="version", version=f"sta-tsn {__version__}")
    verbs = parser.add_subparsers(title="verbs", required=True, metavar="VERB")

    train = verbs.add_parser(
        "train", help="train and test the rows of the model's table, then write the report"
    )
    _add_data_options(train)
    _add_train_options(train)
    train.add_argument("--seed", type=int, default=0)
    train.set_defaults(run=_train)

    reproduce = verbs.add_parser(
        "reproduce",
        help="the paper's tables and figures: every row, split and seed, with statistics",
    )
    _add_data_options(reproduce, one_split=False)
    _add_train_options(reproduce)
    reproduce.add_argument(
        "--splits", type=int, nargs="+", help="official splits (default: 1; of SBU all five folds)"
    )
    reproduce.add_argument("--seeds", type=int, nargs="+", default=[0])
    reproduce.add_argument(
        "--unrelated",
        nargs="+",
        default=[],
        metavar="FOLDER",
        help="of --model interference: folders of videos that show none of the dataset's classes",
    )
    reproduce.set_defaults(run=_reproduce)

    report = verbs.add_parser(
        "report", help="rebuild the report of reproduce from the score tables that are there"
    )
    report.add_argument("--dataset", default="demo")
    report.add_argument("--model", default="sta_tsn", help=_studies())
    report.add_argument("--runs", type=expanduser, default="runs", help="where the runs lie")
    report.set_defaults(run=_report)

    data = verbs.add_parser(
        "data", help="download and unpack a dataset's archives (resumable, checksummed)"
    )
    _add_dataset_options(data)
    data.set_defaults(run=_data)

    flow = verbs.add_parser(
        "flow", help="TV-L1 optical flow of every video of the split, stored once (resumable)"
    )
    _add_data_options(flow)
    _add_device_options(flow)
    flow.add_argument(
        "--pairs-at-once",
        type=int,
        help="frame pairs a device works on together, which bounds its memory (CPU: 1, GPU: 64)",
    )
    flow.set_defaults(run=_flow)

    _add_features(verbs)

    _add_exchange(verbs)

    check = verbs.add_parser(
        "check-data", help="count the frames that decode; name what is missing or broken"
    )
    _add_dataset_options(check)
    check.set_defaults(run=_check_data)

    evaluate = verbs.add_parser("evaluate", help="accuracy from score tables")
    evaluate.add_argument("scores", type=expanduser, nargs="+", help="scores.npz files")
    evaluate.set_defaults(run=_evaluate)

    fuse = verbs.add_parser("fuse", help="join the scores of several runs, e.g. RGB and flow")
    fuse.add_argument("runs", type=expanduser, nargs="+", help="run folders or scores.npz files")
    fuse.add_argument("--weights", nargs="+", type=float, help="one per run; all 1 by default")
    fuse.add_argument("--out", type=expanduser, help="score table to write")
    fuse.set_defaults(run=_fuse)

    _add_predict(verbs)

    _add_explain(verbs)
    _add_demo(verbs)

    _add_export(verbs)

    recipes = verbs.add_parser(
        "recipes", help="copy the suite's recipes into a folder, to be edited"
    )
    recipes.add_argument(
        "folder",
        type=expanduser,
        nargs="?",
        default="experiments",
        help="a new one (default: experiments, where train looks first)",
    )
    recipes.set_defaults(run=_recipes)

    sweep = verbs.add_parser(
        "sweep", help="the trials of a W&B sweep file, without a server (resumable)"
    )
    sweep.add_argument(
        "file", help="for example experiments/sweeps/demo_grid.yaml; `wandb sweep` takes the same"
    )
    sweep.add_argument(
        "--devices",
        default="auto",
        help="GPUs to use, a trial on each; on the CPU, trials at one time (auto: 1)",
    )
    sweep.add_argument(
        "--runs", type=expanduser, default="runs", help="where everything is written"
    )
    sweep.set_defaults(run=_sweep)

    fit = verbs.add_parser(
        "fit",
        help="train and test one stage: --config=FILE ... --run_dir=FOLDER --name=value ...",
        epilog=FIT_HELP,
    )
    fit.set_defaults(run=lambda options: fit.print_help())
    return parser


def _add_features(verbs: argparse._SubParsersAction) -> None:
    features = verbs.add_parser(
        "features",
        help="features of videos, stored once (resumable): by a trained backbone, or a frozen one",
    )
    features.add_argument(
        "trained",
        metavar="RUN",
        type=expanduser,
        nargs="?",
        help="a stage-one run, .../backbone: the videos of its split",
    )
    features.add_argument(
        "--backbone",
        help="in its place a network as it is, for all videos of --dataset: any timm name, or "
        "transformers:NAME (or folder) of a V-JEPA 2 or VideoMAE",
    )
    features.add_argument(
        "--weights", type=expanduser, help="of it: imagenet, none, or a safetensors/pth file"
    )
    features.add_argument(
        "--kept",
        choices=("pooled", "map", "both"),
        default="pooled",
        help="of each frame: the mean of its map (D), the map (H x W x D), or both",
    )
    features.add_argument(
        "--crops", type=int, choices=(1, 10), default=1, help="centre crop, or ten as in testing"
    )
    features.add_argument(
        "--splits", type=int, nargs="+", help="official splits whose videos are stored; all"
    )
    features.add_argument(
        "--segments", type=int, help="of a video, or clips of a clip encoder; the recipe's"
    )
    features.add_argument("--out", type=expanduser, help="folder of the store")
    features.add_argument(
        "--allow-missing", action="store_true", help="go on without videos that are absent"
    )
    features.add_argument("--workers", type=int, help="processes that decode, of each device")
    _add_dataset_options(features)
    _add_device_options(features)
    features.set_defaults(run=_features)


def _add_exchange(verbs: argparse._SubParsersAction) -> None:
    from_elsewhere = verbs.add_parser(
        "import-features",
        help="features made elsewhere, a folder with features.csv (path,labels,group,split)",
    )
    from_elsewhere.add_argument("folder", type=expanduser)
    from_elsewhere.add_argument("--dataset", required=True, help="what the videos are called")
    from_elsewhere.add_argument("--encoder", help="what made them, where the table does not say")
    from_elsewhere.add_argument("--frames-per-sec", help="that were encoded, for the record")
    from_elsewhere.add_argument("--preprocessing", help="size, crop, statistics, for the record")
    from_elsewhere.add_argument(
        "--frames",
        type=int,
        nargs=2,
        metavar=("SEGMENTS", "FRAMES"),
        help="as which a video's are stored; 1 x all where all videos have as many, else 3 x 10",
    )
    from_elsewhere.add_argument("--runs", type=expanduser, default="runs")
    from_elsewhere.set_defaults(run=_import_features)

    to_elsewhere = verbs.add_parser(
        "export-features", help="a store of frozen features as a folder that import-features reads"
    )
    to_elsewhere.add_argument("store", type=expanduser)
    to_elsewhere.add_argument("folder", type=expanduser)
    to_elsewhere.add_argument("--form", choices=("npy", "npz", "safetensors"), default="npy")
    to_elsewhere.set_defaults(run=_export_features)


def _add_predict(verbs: argparse._SubParsersAction) -> None:
    predict = verbs.add_parser(
        "predict", help="class probabilities of any videos, by any checkpoint of the suite"
    )
    predict.add_argument(
        "videos",
        type=expanduser,
        nargs="+",
        help="video files, folders of them, lists.txt with a path a line",
    )
    predict.add_argument(
        "--checkpoint",
        type=expanduser,
        required=True,
        help="of either stage, .../checkpoints/last.ckpt",
    )
    predict.add_argument(
        "--and",
        type=expanduser,
        dest="second",
        metavar="CHECKPOINT",
        help="a second one, flow beside RGB say: their class scores are averaged",
    )
    predict.add_argument("--top", type=int, default=5, help="classes to name")
    predict.add_argument(
        "--crops", type=int, choices=(10, 1), default=10, help="10 as in testing; 1 is quick"
    )
    predict.add_argument(
        "--window_sec", type=float, help="predict windows of so many seconds, for long videos"
    )
    predict.add_argument(
        "--stride_sec",
        type=float,
        help="from one window's start to the next's; default: its length",
    )
    predict.add_argument(
        "--out", type=expanduser, help="folder for predictions.csv and predictions.json"
    )
    predict.set_defaults(run=_predict)


def _add_explain(verbs: argparse._SubParsersAction) -> None:
    explain = verbs.add_parser(
        "explain",
        help="a page for each video: the answer, where and when the network looked",
        epilog="`sta-tsn explain VIDEO CHECKPOINT` draws the paper's Figure 6 of one video alone.",
    )
    explain.add_argument(
        "videos", nargs="+", help="video files, folders of them, lists.txt with a path a line"
    )
    explain.add_argument("--checkpoint", help="of either stage, .../checkpoints/last.ckpt")
    explain.add_argument(
        "--and",
        dest="second",
        metavar="CHECKPOINT",
        help="a second one, flow beside RGB say: shown side by side, class scores averaged",
    )
    explain.add_argument(
        "--out",
        help="folder to write to (default: explanations); without --checkpoint the picture's file "
        "(default: <video>_attention.png)",
    )
    explain.set_defaults(run=_explain)


def _studies(sees: str = "") -> str:
    """Return the names of the studies, or of those that see videos or skeletons."""
    from sta_tsn.pipeline.studies import STUDIES

    return ", ".join(study.name for study in STUDIES if sees in ("", study.sees))


def _add_export(verbs: argparse._SubParsersAction) -> None:
    export = verbs.add_parser(
        "export", help="a checkpoint's network as a file that runs without this suite"
    )
    export.add_argument(
        "checkpoint", type=expanduser, help="of either stage, .../checkpoints/last.ckpt"
    )
    export.add_argument(
        "--format",
        choices=("onnx", "torch_export"),
        default="onnx",
        help="onnx, or a file that torch.export.load opens",
    )
    export.add_argument(
        "--videos",
        type=expanduser,
        nargs="+",
        required=True,
        help="files, folders, lists.txt: the file must answer on them as the checkpoint does",
    )
    export.add_argument(
        "--out", type=expanduser, help="file to write (default: beside the checkpoint)"
    )
    export.set_defaults(run=_export)

    publish = verbs.add_parser(
        "publish", help="a run as a folder for Hugging Face's Hub: weights, settings, card"
    )
    publish.add_argument(
        "folder", type=expanduser, metavar="RUN", help="a tested run, .../temporal or .../backbone"
    )
    publish.add_argument("out", type=expanduser, help="a new folder; nothing is sent")
    publish.set_defaults(run=_publish)

    benchmark = verbs.add_parser("benchmark", help="videos a second of an exported network")
    benchmark.add_argument("file", type=expanduser, help="what export wrote, .onnx or .pt2")
    benchmark.add_argument("--batch", type=int, default=1, help="videos in a pass")
    benchmark.set_defaults(run=_benchmark)


def _add_demo(verbs: argparse._SubParsersAction) -> None:
    demo = verbs.add_parser(
        "demo", help="a page on this machine alone that takes videos and explains each"
    )
    demo.add_argument("checkpoint", type=expanduser, help="of either stage, .../last.ckpt")
    demo.add_argument(
        "--and",
        type=expanduser,
        dest="second",
        metavar="CHECKPOINT",
        help="a second one, flow beside RGB say: shown side by side",
    )
    demo.add_argument("--port", type=int, default=7860, help="of 127.0.0.1; 0 takes a free one")
    demo.set_defaults(run=_demo)


def _add_train_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--modality", default="rgb", help="rgb, flow or two-stream")
    parser.add_argument(
        "--model",
        default="sta_tsn",
        help=f"{_studies()} (of skeletons: {_studies('skeletons')})",
    )
    parser.add_argument(
        "--backbone",
        help="any timm CNN; else the recipe's, else resnet152 (tsn, smnet, stin: resnet50)",
    )
    parser.add_argument(
        "--weights", type=expanduser, help="imagenet, none, or a safetensors/pth file"
    )
    parser.add_argument(
        "--set",
        dest="settings",
        nargs="+",
        default=[],
        metavar="model.NAME=VALUE",
        help="arguments of constructors (model., data., trainer.) for every stage that takes them",
    )
    parser.add_argument(
        "--epochs", type=int, help="of every stage: short for --set trainer.max_epochs=N"
    )
    parser.add_argument("--workers", type=int, help="processes that read data, of each device")
    parser.add_argument(
        "--features",
        type=expanduser,
        help="of --model probe: a store of frozen features; else that of --backbone",
    )
    parser.add_argument(
        "--shots",
        type=int,
        nargs="+",
        default=(),
        help="of --model probe: learn from so many labelled videos of each class, e.g. 1 5 10 20",
    )
    _add_device_options(parser)


def _add_device_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--devices", default="auto", help="GPUs (or CPU processes) to use, e.g. 2")
    parser.add_argument(
        "--nodes", type=int, default=1, help="machines; start the same command on each"
    )


def _add_data_options(parser: argparse.ArgumentParser, one_split: bool = True) -> None:
    if one_split:
        parser.add_argument("--split", type=int, default=1, help="official split, from 1")
    parser.add_argument(
        "--allow-missing", action="store_true", help="go on without videos that are absent"
    )
    _add_dataset_options(parser)


def _add_dataset_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--dataset",
        default="demo",
        help="a folder of experiments/: demo, ucf101, hmdb51, jhmdb, thumos14, folder, ...",
    )
    parser.add_argument(
        "--data",
        type=expanduser,
        help="the dataset's folder; the experiment's YAML says the default",
    )
    parser.add_argument(
        "--runs", type=expanduser, default="runs", help="where everything is written"
    )
    parser.add_argument(
        "--experiments",
        type=expanduser,
        default=default_experiments(),
        help="folder of the recipes (default: experiments where it is here, else the suite's own)",
    )


def _train(options: argparse.Namespace) -> None:
    from sta_tsn.pipeline.options import TrainOptions
    from sta_tsn.pipeline.studies import find_study

    own_way = find_study(options.model).own_way
    if own_way and own_way.train:
        own_way.train(_as(TrainOptions, options))
        return
    from sta_tsn.pipeline.train import train

    train(_as(TrainOptions, options))


def _reproduce(options: argparse.Namespace) -> None:
    from sta_tsn.pipeline.options import TrainOptions
    from sta_tsn.pipeline.reproduce import reproduce

    reproduce(_as(TrainOptions, options), options.splits, options.seeds)


def _report(options: argparse.Namespace) -> None:
    from sta_tsn.pipeline.options import TrainOptions
    from sta_tsn.pipeline.reproduce import report

    report(_as(TrainOptions, options))


def _data(options: argparse.Namespace) -> None:
    from sta_tsn.pipeline.data import download_data
    from sta_tsn.pipeline.options import TrainOptions

    download_data(_as(TrainOptions, options))


def _flow(options: argparse.Namespace) -> None:
    from sta_tsn.pipeline.data import extract_flow
    from sta_tsn.pipeline.options import TrainOptions

    extract_flow(_as(TrainOptions, options), options.pairs_at_once)


def _features(options: argparse.Namespace) -> None:
    if bool(options.trained) == bool(options.backbone):
        raise UserError(
            "features needs a stage-one run (.../backbone), or --backbone NAME with --dataset; "
            "one of the two."
        )
    if options.trained:
        from sta_tsn.training.stage import write_features

        write_features(options.trained)
        return
    from sta_tsn.pipeline.frozen import StoreOptions, store_features
    from sta_tsn.pipeline.options import TrainOptions

    store_features(_as(TrainOptions, options), _as(StoreOptions, options))


def _import_features(options: argparse.Namespace) -> None:
    from sta_tsn.pipeline.frozen import import_store

    given = {
        "encoder": options.encoder,
        "frames_per_sec": options.frames_per_sec,
        "preprocessing": options.preprocessing,
    }
    made_by = {name: value for name, value in given.items() if value}
    import_store(options.folder, options.runs, options.dataset, made_by, options.frames)


def _export_features(options: argparse.Namespace) -> None:
    from pathlib import Path

    from sta_tsn.features.exchange import export_features

    export_features(Path(options.store), Path(options.folder), options.form)


def _check_data(options: argparse.Namespace) -> None:
    from sta_tsn.pipeline.data import check_data
    from sta_tsn.pipeline.options import TrainOptions

    check_data(_as(TrainOptions, options))


def _evaluate(options: argparse.Namespace) -> None:
    from sta_tsn.report.printing import evaluate

    evaluate(options.scores)


def _fuse(options: argparse.Namespace) -> None:
    from sta_tsn.report.printing import fuse_runs

    fuse_runs(options.runs, options.weights or [1.0] * len(options.runs), options.out)


def _predict(options: argparse.Namespace) -> None:
    from sta_tsn.prediction.command import PredictOptions, predict

    checkpoints = [options.checkpoint, *([options.second] if options.second else [])]
    predict(
        PredictOptions(
            options.videos,
            checkpoints,
            options.top,
            options.crops,
            options.window_sec,
            options.stride_sec,
            options.out,
        )
    )


def _explain(options: argparse.Namespace) -> None:
    from pathlib import Path

    from sta_tsn.explanation.explain_command import explain, explain_picture

    if options.checkpoint:
        checkpoints = [options.checkpoint, *([options.second] if options.second else [])]
        explain(options.videos, checkpoints, Path(options.out or "explanations"))
        return
    if len(options.videos) != 2 or options.second:
        raise UserError(
            "explain needs a checkpoint: sta-tsn explain VIDEO... --checkpoint CHECKPOINT."
        )
    video, checkpoint = options.videos
    explain_picture(video, checkpoint, Path(options.out or f"{Path(video).stem}_attention.png"))


def _export(options: argparse.Namespace) -> None:
    from sta_tsn.prediction.export import export

    export(options.checkpoint, options.format, options.out, options.videos)


def _publish(options: argparse.Namespace) -> None:
    from sta_tsn.runs.publishing import publish

    publish(options.folder, options.out)


def _benchmark(options: argparse.Namespace) -> None:
    from sta_tsn.prediction.exported import benchmark

    benchmark(options.file, options.batch)


def _recipes(options: argparse.Namespace) -> None:
    from sta_tsn.pipeline.recipes import copy_recipes

    copy_recipes(options.folder)


def _demo(options: argparse.Namespace) -> None:
    from sta_tsn.explanation.demo_server import serve_demo

    checkpoints = [options.checkpoint, *([options.second] if options.second else [])]
    serve_demo(checkpoints, options.port)


def _sweep(options: argparse.Namespace) -> None:
    from sta_tsn.sweeps.sweep import sweep

    sweep(options.file, options.devices, options.runs)


def _as(kind: type, options: argparse.Namespace):
    return kind(
        **{
            name: value
            for name, value in vars(options).items()
            if name in kind.__dataclass_fields__
        }
    )
