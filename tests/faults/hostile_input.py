"""Files of a stranger, each with a payload that would leave a mark if anything executed it."""

import csv
import io
import os
import pickle
import shutil
import sys
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import yaml
from ended import call_forked, run_forked
from safetensors.torch import save_file
from tally import Tally
from tests_support import save_checkpoint

from sta_tsn.artefacts import write_json
from sta_tsn.datasets.demo import write_video
from sta_tsn.datasets.unpack import unpack
from sta_tsn.errors import UserError
from sta_tsn.evaluation import ScoreTable
from sta_tsn.report.reproduction import build_reproduction
from sta_tsn.report.tables import TestedRun
from sta_tsn.runs.folder import stage_fingerprint
from sta_tsn.tasks import SpatialAttentionBackbone, TemporalAttentionTSN

SECONDS_A_CASE = 120
FORMULAS = ("=", "+", "-", "@", "\t", "\r")  # what a spreadsheet takes a cell's start for
MARKUP = '<img src=x onerror="document.title=1">'
EVIL_CLASSES = ['=HYPERLINK("http://x")', "@SUM(1+1)*cmd", f"{MARKUP}", "$(touch mark)"]


# In the place of a verb: build stage two's task from a checkpoint, as `fit` does.
STAGE_TWO = "stage two"


class Payload:
    """Touches a file where it is unpickled.

    Args:
        mark: the file.
    """

    def __init__(self, mark: Path):
        self.mark = mark

    def __reduce__(self):
        return os.system, (f"touch '{self.mark}'",)


@dataclass(frozen=True)
class Case:
    """One hostile input and the command that is given it.

    Attributes:
        name: what is hostile.
        arguments: of `sta-tsn`.
        kind: of input.
        may_succeed: where the input does no harm, the command may do its work.
    """

    name: str
    arguments: list[str]
    kind: str
    may_succeed: bool = False


class Scene:
    """The files of a stranger, all in one folder.

    Args:
        folder: to write to.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        folder.mkdir(parents=True)
        self.mark = folder / "mark"
        self.video = folder / "video.avi"
        frames = np.random.default_rng(0).integers(0, 255, (12, 48, 64, 3), dtype=np.uint8)
        write_video(self.video, frames)
        self.videos = folder / "videos"
        for name in ("Jump", "Run"):
            for number in range(4):
                clip = self.videos / name / f"g{number}_c01.avi"
                clip.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(self.video, clip)
        task = SpatialAttentionBackbone(["Jump", "Run"], "test_resnet", "none", input_px=64)
        self.honest = folder / "honest.ckpt"
        save_checkpoint(self.honest, task, frames=[2, 2])
        self.state = torch.load(self.honest, weights_only=True)

    def path(self, name: str) -> Path:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def fit(self, run: str, *more: str) -> list[str]:
        """Return the command that would train one epoch on the harmless videos."""
        recipe = self.path("recipe.yaml")
        dataset = {
            "class_path": "sta_tsn.datasets.Folder",
            "init_args": {"root": str(self.videos)},
        }
        content = {
            "model": {
                "class_path": "sta_tsn.tasks.SpatialAttentionBackbone",
                "init_args": {"backbone": "test_resnet", "weights": "none", "input_px": 64},
            },
            "data": {
                "class_path": "sta_tsn.video.VideoDataModule",
                "init_args": {"dataset": dataset, "manifest": str(self.path("manifest.csv"))},
            },
            "trainer": {"accelerator": "cpu", "max_epochs": 1, "devices": 1},
        }
        recipe.write_text(yaml.safe_dump(content))
        return ["fit", f"--config={recipe}", f"--run_dir={self.folder / run}", *more]


def checkpoints(scene: Scene) -> Iterator[Case]:
    """Give checkpoints with a payload, at every place, in every format, to every verb."""
    honest = scene.state
    places = {
        "whole": Payload(scene.mark),
        "weights": {**honest, "state_dict": {"x": Payload(scene.mark)}},
        "settings": {**honest, "hyper_parameters": {"classes": Payload(scene.mark)}},
        "callbacks": {**honest, "callbacks": [Payload(scene.mark)]},
        "a new key": {**honest, "later": Payload(scene.mark)},
    }
    for place, content in places.items():
        for zipped in (True, False):
            path = scene.path(f"{place.replace(' ', '_')}_{zipped}.ckpt")
            torch.save(content, path, _use_new_zipfile_serialization=zipped)
            named = f"payload in {place}, {'zip' if zipped else 'pickle'}"
            yield from _to_every_verb(scene, path, named)
    bare = scene.path("bare.ckpt")
    bare.write_bytes(pickle.dumps(Payload(scene.mark)))
    yield from _to_every_verb(scene, bare, "a bare pickle")
    module = scene.path("script.ckpt")
    torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), module)
    yield from _to_every_verb(scene, module, "TorchScript")


def _to_every_verb(scene: Scene, path: Path, named: str) -> Iterator[Case]:
    video = str(scene.video)
    out = f"--out={scene.folder / 'out'}"
    for arguments in (
        ["predict", video, f"--checkpoint={path}", out],
        ["explain", video, f"--checkpoint={path}", out],
        ["explain", video, str(path)],
        ["export", str(path), "--videos", video],
        ["demo", str(path)],
    ):
        yield Case(f"{named}: {arguments[0]}", arguments, "checkpoint")
    yield Case(f"{named}: stage two", [STAGE_TWO, str(path)], "checkpoint")
    weights = scene.fit("weights_run", f"--model.weights={path}")
    yield Case(f"{named}: model.weights", weights, "weights")
    yield Case(f"{named}: going on", _resumed(scene, path), "checkpoint")


def _resumed(scene: Scene, path: Path) -> list[str]:
    """Return a command that goes on from a stranger's checkpoint, in a run that is its own."""
    run = scene.folder / f"resumed_{path.stem}"
    arguments = scene.fit(run.name)
    checkpoint = run / "checkpoints" / "last.ckpt"
    checkpoint.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(path, checkpoint)
    stamp = stage_fingerprint(arguments[1:])
    about = {"fingerprint": stamp, "arguments": [], "seconds": {}, "wandb_id": "x"}
    about["commit"] = "x"
    write_json(run / "run.json", about)
    return arguments


def settings(scene: Scene) -> Iterator[Case]:
    """Give checkpoints of plain tensors and texts whose texts are the payload."""
    stolen = scene.path("stolen.pth")
    torch.save(Payload(scene.mark), stolen)
    local = scene.path("local/config.json")
    local.write_text('{"architecture": "test_resnet", "num_classes": 2}')
    shutil.copy(stolen, local.parent / "pytorch_model.bin")
    options = {"checkpoint_path": str(stolen)}
    changed = {
        "options": {"backbone": {"name": "test_resnet", "options": options}},
        "pickled weights": {"weights": str(stolen)},
        "local-dir": {"backbone": f"local-dir:{local.parent}"},
        "a class": {"_instantiator": "os.system", "_class_path": "os.system"},
        "many classes": {"classes": ["x"] * 200_000},
        "huge": {"backbone": {"name": "test_resnet", "input_px": 10**9}},
        "pool": {"pool_sizes": (10**9,)},
    }
    for name, one in changed.items():
        path = scene.path(f"settings_{name.replace(' ', '_')}.ckpt")
        hyper_parameters = {**scene.state["hyper_parameters"], **one}
        torch.save({**scene.state, "hyper_parameters": hyper_parameters}, path)
        arguments = ["predict", str(scene.video), f"--checkpoint={path}"]
        yield Case(f"settings, {name}", arguments, "checkpoint", may_succeed=True)


def weights(scene: Scene) -> Iterator[Case]:
    """Give weights whose header asks for what no header should."""
    for number, header in enumerate(
        (
            f"timm test_resnet, checkpoint_path={scene.path('stolen.pth')}",
            "timm test_resnet, __class__=os.system",
            f"timm local-dir:{scene.folder / 'local'}",
            "timm " + "x" * 1_000_000,
            "{{''.__class__.__mro__}}",
        )
    ):
        path = scene.path(f"header_{number}.safetensors")
        save_file({"w": torch.zeros(1)}, path, {"architecture": header})
        yield Case(f"header {number}", scene.fit("w", f"--model.weights={path}"), "weights")
    for number, length in enumerate((0, 2**40, 2**63)):
        path = scene.path(f"length_{number}.safetensors")
        path.write_bytes(length.to_bytes(8, "little") + b"{}")
        yield Case(f"length {length}", scene.fit("w", f"--model.weights={path}"), "weights")


def scores(scene: Scene) -> Iterator[Case]:
    """Give score tables with pickled arrays to whatever reads them."""
    objects = np.empty(1, object)
    objects[0] = Payload(scene.mark)
    path = scene.path("scores/objects.npz")
    np.savez(path, **dict.fromkeys(("ids", "scores", "labels", "classes", "protocol"), objects))
    single = scene.path("scores/single.npy")
    np.save(single, objects, allow_pickle=True)
    bare = scene.path("scores/bare.npz")
    bare.write_bytes(pickle.dumps(Payload(scene.mark)))
    huge = scene.path("scores/huge.npz")
    with zipfile.ZipFile(huge, "w", zipfile.ZIP_DEFLATED) as file:
        for name in ("ids", "scores", "labels", "classes", "protocol"):
            head = f"{{'descr': '<f8', 'fortran_order': False, 'shape': ({10**12},)}}".ljust(117)
            file.writestr(f"{name}.npy", b"\x93NUMPY\x01\x00\x76\x00" + head.encode() + b"\n")
    for one in (path, single, bare, huge):
        yield Case(f"{one.name}: evaluate", ["evaluate", str(one)], "scores")
        yield Case(f"{one.name}: fuse", ["fuse", str(one), str(one)], "scores")
        run = scene.path(f"runs_{one.stem}/x/split1/cnn/rgb/seed0/backbone/scores.npz")
        shutil.copy(one, run)
        report = ["report", "--dataset=x", f"--runs={scene.folder / f'runs_{one.stem}'}"]
        yield Case(f"{one.name}: report", report, "scores")


def features(scene: Scene) -> Iterator[Case]:
    """Give folders of features with pickled arrays and with names that lead elsewhere."""
    objects = np.empty(1, object)
    objects[0] = Payload(scene.mark)
    table = "path,labels,group\n{name},a,g1\nb.npy,b,g2\n"
    for name in ("objects.npy", "objects.npz", "../outside.npy", "/etc/passwd", "bare.npy"):
        folder = scene.path(f"features_{Path(name).name.replace('.', '_')}/features.csv").parent
        (folder / "features.csv").write_text(table.format(name=name))
        np.save(folder / "b.npy", np.zeros((4, 8), np.float32))
        if name == "objects.npz":
            np.savez(folder / name, features=objects)
        elif name == "bare.npy":
            (folder / name).write_bytes(pickle.dumps(Payload(scene.mark)))
        elif not Path(name).is_absolute():
            np.save(folder / name, objects, allow_pickle=True)
        store = folder / "store"
        arguments = ["import-features", str(folder), str(store), "--encoder=x"]
        yield Case(f"{name}: import-features", arguments, "features")


def run_folders(scene: Scene) -> Iterator[Case]:
    """Give run folders whose settings name classes and files of a stranger."""
    evil = {"class_path": "imaplib.IMAP4_stream", "init_args": {"command": f"touch {scene.mark}"}}
    tags = f"!!python/object/apply:os.system ['touch {scene.mark}']"
    for place in ("model", "data", "trainer"):
        run = scene.path(f"run_{place}/config.yaml").parent
        (run / "config.yaml").write_text(yaml.safe_dump({place: evil}))
        _tested(run, scene)
        yield Case(f"config.yaml, {place}: features", ["features", str(run)], "run folder")
        yield Case(f"config.yaml, {place}: publish", ["publish", str(run)], "run folder", True)
    run = scene.path("run_tags/config.yaml").parent
    (run / "config.yaml").write_text(f"model: {tags}\n")
    _tested(run, scene)
    yield Case("config.yaml, tags: features", ["features", str(run)], "run folder")
    published = scene.path("published/config.json").parent
    shutil.copy(scene.path("stolen.pth"), published / "model.safetensors")
    (published / "config.json").write_text('{"class_path": "os.system"}')
    arguments = ["predict", str(scene.video), f"--checkpoint={published}"]
    yield Case("a published folder", arguments, "run folder")


def _tested(run: Path, scene: Scene) -> None:
    (run / "checkpoints").mkdir(exist_ok=True)
    shutil.copy(scene.honest, run / "checkpoints" / "last.ckpt")
    (run / "scores.npz").write_bytes(b"")
    write_json(run / "run.json", {"fingerprint": "x", "arguments": [], "seconds": {}})


def recipes(scene: Scene) -> Iterator[Case]:
    """Give YAML with tags, with aliases that grow without end, and with classes of a stranger."""
    grown = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    for number in range(1, 12):
        inner = ", ".join([f"*a{number - 1}"] * 9)
        grown.append(f"a{number}: &a{number} [{inner}]")
    texts = {
        "tags": f"model: !!python/object/apply:os.system ['touch {scene.mark}']",
        "new": "model: !!python/object/new:subprocess.Popen [['touch', '/tmp/x']]",
        "aliases": "\n".join(grown) + "\nmodel: *a11",
        "aliases in a value": "\n".join(grown) + "\ntrainer: {callbacks: *a11}",
        "a class": "model: {class_path: os.system, init_args: {command: touch x}}",
    }
    for name, text in texts.items():
        path = scene.path(f"recipe_{name.replace(' ', '_')}.yaml")
        path.write_text(text)
        yield Case(f"recipe, {name}", [*scene.fit("r"), f"--config={path}"], "recipe")
        sweep = scene.path(f"sweep_{name.replace(' ', '_')}.yaml")
        sweep.write_text(f"method: grid\nmetric: {{name: val/loss}}\n{text}\n")
        yield Case(f"sweep file, {name}", ["sweep", str(sweep)], "sweep file")


def archives(scene: Scene) -> Iterator[tuple[str, Path]]:
    """Yield archives that would write outside their folder, or without end."""
    for number, name in enumerate(
        ("../mark", "/tmp/sta_tsn_mark", "a/../../mark", "C:\\mark", "..\\mark", "a/\0mark")
    ):
        path = scene.path(f"archives/{number}.zip")
        with zipfile.ZipFile(path, "w") as file:
            file.writestr("ok", b"1")
            file.writestr(name, b"2")
        yield f"zip, {name!r}", path
        path = scene.path(f"archives/{number}.tar.gz")
        path.write_bytes(_tar(tarfile.TarInfo(name.replace("\0", "0")), b"2"))
        if "\\" not in name and "\0" not in name:
            yield f"tar, {name!r}", path
    for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE):
        info = tarfile.TarInfo("a")
        info.type = kind
        info.linkname = str(scene.folder)
        path = scene.path(f"archives/{kind.decode()}.tar.gz")
        path.write_bytes(_tar(info, b""))
        yield f"tar, type {kind.decode()}", path
    bomb = scene.path("archives/bomb.zip")
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("a", bytes(200_000_000))
    yield "zip bomb", bomb


def _tar(info: tarfile.TarInfo, content: bytes) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as file:
        info.size = len(content)
        file.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


KINDS: tuple[Callable[[Scene], Iterator[Case]], ...] = (
    settings,
    weights,
    scores,
    features,
    run_folders,
    recipes,
    checkpoints,
)


def try_hostile_input(folder: Path, most: int | None = None) -> list[Tally]:
    """Give every verb what a stranger made; count payloads that ran and ends without a sentence.

    Args:
        folder: to work in.
        most: cases of each kind of input; None: all.
    """
    scene = Scene(folder / "hostile")
    tallies: dict[str, Tally] = {}
    for kind in KINDS:
        cases = list(kind(scene))
        step = 1 if most is None else max(1, len(cases) // most)
        for case in cases[::step]:
            tally = tallies.setdefault(case.kind, Tally("Hostile input", case.kind))
            _try(case, scene, tally)
    if "sweep file" in tallies:
        tallies["sweep file"].remark = "its `command` is a program to run, as at W&B: not a case"
    return [*tallies.values(), _try_archives(scene), *_try_names(scene)]


def _try(case: Case, scene: Scene, tally: Tally) -> None:
    tally.tried += 1
    if case.arguments[0] == STAGE_TWO:
        ended = call_forked(lambda: _build_stage_two(case.arguments[1]), SECONDS_A_CASE)
    else:
        ended = run_forked(case.arguments, SECONDS_A_CASE)
    print(f"  {case.kind}, {case.name}: {ended.last_line}", file=sys.stderr, flush=True)
    if scene.mark.exists():
        scene.mark.unlink()
        tally.note("executed", case.name)
    if ended.status is None:
        tally.note("hung", f"{case.name}: over {SECONDS_A_CASE} s")
    elif not ended.is_named:
        tally.note("unnamed", f"{case.name}: {ended.last_line}")
    elif ended.status == 0 and not case.may_succeed:
        tally.note("lost", f"{case.name}: taken without a word")


def _build_stage_two(checkpoint: str) -> int:
    try:
        TemporalAttentionTSN(["Jump", "Run"], checkpoint, hidden_dim=8)
    except UserError as error:
        print(error)
        return 1
    return 0


def _try_archives(scene: Scene) -> Tally:
    tally = Tally("Hostile input", "archives")
    out = scene.folder / "out" / "of" / "archives"
    for name, path in archives(scene):
        tally.tried += 1
        before = {file for file in scene.folder.rglob("*") if out not in file.parents}

        def unpack_it(path: Path = path) -> int:
            try:
                unpack(path, out)
            except UserError as error:
                print(error)
                return 1
            return 0

        ended = call_forked(unpack_it, SECONDS_A_CASE)
        left = {file for file in scene.folder.rglob("*") if out not in file.parents} - before
        if left - {out, *out.parents} or Path("/tmp/sta_tsn_mark").exists():
            tally.note("executed", f"{name}: wrote outside its folder")
        if ended.status is None:
            tally.note("hung", name)
        elif not ended.is_named:
            tally.note("unnamed", f"{name}: {ended.last_line}")
    return tally


def _try_names(scene: Scene) -> list[Tally]:
    """Show what files and classes with hostile names become in tables and pages."""
    tables = Tally("Hostile input", "cells of CSV files with names that are formulas")
    pages = Tally("Hostile input", "pages with names that are HTML")
    state = dict(scene.state)
    state["hyper_parameters"] = {**state["hyper_parameters"], "classes": EVIL_CLASSES[:2]}
    checkpoint = scene.path("names.ckpt")
    torch.save(state, checkpoint)
    folder = scene.path("names/x").parent
    for name in ("=1+1.avi", "@SUM(A1).avi", "-2+3.avi", f"{MARKUP}.avi", "$(touch mark).avi"):
        shutil.copy(scene.video, folder / name.replace("/", "_"))
    out = folder / "out"
    for verb in ("predict", "explain"):
        arguments = [verb, *_names_in(folder), f"--checkpoint={checkpoint}", f"--out={out}"]
        ended = _in_folder(folder, arguments)
        if not ended.is_named:
            pages.note("unnamed", f"{verb}: {ended.last_line}")
    _write_report(scene, folder / "report")
    for path in folder.rglob("*.csv"):
        _count_formulas(path, tables)
    for path in folder.rglob("*.html"):
        pages.tried += 1
        if MARKUP in path.read_text():
            pages.note("executed", f"{path.name}: holds {MARKUP}")
    if list(scene.folder.rglob("mark")):
        pages.note("executed", "a name was given to a shell")
    return [tables, pages]


def _names_in(folder: Path) -> list[str]:
    return sorted(f"./{path.name}" for path in folder.glob("*.avi"))


def _in_folder(folder: Path, arguments: list[str]):
    from sta_tsn.cli import main

    def run() -> int:
        os.chdir(folder)
        return main(arguments)

    return call_forked(run, SECONDS_A_CASE)


def _write_report(scene: Scene, folder: Path) -> None:
    """Write the report of a table whose classes and videos have hostile names."""
    labels = torch.eye(4).repeat(3, 1).bool()
    protocol = {"dataset": MARKUP, "split": 1, "segments": 1, "frames_per_segment": 1, "crops": 1}
    protocol |= {"seed": 0, "missing": 0, "commit": MARKUP, "val_share": 0.1}
    ids = [f"{EVIL_CLASSES[row % 4]}{row}" for row in range(12)]
    table = ScoreTable(ids, torch.rand(12, 4), labels, EVIL_CLASSES, protocol)
    runs = [TestedRun(row, "rgb", 1, 0, table, None) for row in ("CNN", "STA-TSN")]

    def build() -> int:
        build_reproduction(runs, MARKUP, "sta-tsn report", [], folder, {})
        return 0

    ended = call_forked(build, SECONDS_A_CASE)
    assert ended.status == 0, ended.said[-2000:]


def _count_formulas(path: Path, tally: Tally) -> None:
    with open(path, newline="", encoding="utf-8") as file:
        for row in csv.reader(file):
            for cell in row:
                tally.tried += 1
                if cell.startswith(FORMULAS) and not _is_number(cell):
                    tally.note("executed", f"{path.name}: the cell {cell[:40]!r}")


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True
