"""The setting trainer.fast_dev_run=true: every row goes the whole road, and nothing of it stays."""

import subprocess

from tests_support import command, train, write_mini_experiments


def test_a_dry_run_leaves_nothing_but_frame_counts(mini_ucf101, tmp_path):
    experiments = write_mini_experiments(tmp_path, mini_ucf101)
    runs = tmp_path / "runs"
    said = train(experiments, runs, "--model", "tsn", "--set", "trainer.fast_dev_run=true")
    assert said.count("=== ") == 1
    assert "Dry run: every row was trained" in said
    assert [path.name for path in runs.iterdir()] == ["mini"]
    assert [path.name for path in (runs / "mini").iterdir()] == ["manifest.csv"]


def test_a_dry_run_in_a_recipe_is_refused(mini_ucf101, tmp_path):
    """Every run of that recipe would be one."""
    experiments = write_mini_experiments(tmp_path, mini_ucf101)
    recipe = experiments / "datasets/mini/backbone.yaml"
    recipe.write_text(recipe.read_text().replace("max_epochs: 8", "fast_dev_run: true"))
    done = subprocess.run(
        command(experiments, tmp_path / "runs", "--model", "tsn"),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert "trainer.fast_dev_run=True in a YAML file" in done.stderr
