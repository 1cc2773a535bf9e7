"""The training of one's own that experiments/README.md shows, as a program of its own."""

import re
import shutil
import subprocess
import sys

import torch
from tests_support import ROOT


def test_the_pages_training_runs_on_lightnings_other_package(mini_folder, tmp_path):
    page = (ROOT / "experiments/README.md").read_text(encoding="utf-8")
    shown = page.partition("**Your own training**")[2]
    code = re.search(r"```python\n(.*?)```", shown, re.DOTALL).group(1)
    assert "import lightning as L" in code
    for given, tiny in (
        ('"mobilenetv2_100", ', '"test_resnet", "none", '),
        ("max_epochs=10", "max_epochs=1, accelerator='cpu', enable_progress_bar=False"),
        ("batch_size=8", "batch_size=8, num_workers=0"),
    ):
        assert given in code
        code = code.replace(given, tiny)
    (tmp_path / "train.py").write_text(code)
    (tmp_path / "my_videos").symlink_to(mini_folder)
    shutil.copy(next(mini_folder.glob("Run/*.avi")), tmp_path / "new.mp4")
    ran = subprocess.run(
        [sys.executable, "train.py"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stderr[-4000:]
    assert "test/accuracy" in ran.stdout
    *answers, last = ran.stdout.splitlines()[-4:]
    for line, name in zip(answers, ("Jump", "Run", "Sit"), strict=True):  # a test video of each
        assert line.startswith(f"{name}/v_{name}_g")
    assert last in ("Jump", "Run", "Sit")
    saved = torch.load(tmp_path / "own/mine.ckpt", weights_only=True)
    assert saved["VideoDataModule"]["keep_proportions"] is True
