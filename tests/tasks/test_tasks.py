import pytest
import torch
from pytorch_lightning import Trainer
from torch import nn

from sta_tsn.artefacts import load_checkpoint
from sta_tsn.errors import ConfigError, UserError
from sta_tsn.tasks import MotionBackbone, SpatialAttentionBackbone, TemporalAttentionTSN
from sta_tsn.tasks.backbone import batch_norms, tsn_parameter_groups
from sta_tsn.training.stage import score_table, warn_of_frozen_noise
from sta_tsn.training.step_monitor import StepMonitor

CLASSES = ["a", "b", "c"]


@pytest.fixture
def task() -> SpatialAttentionBackbone:
    return SpatialAttentionBackbone(
        CLASSES, "test_resnet", weights="none", lr=0.1, head_lr_scale=10
    )


def test_partial_batch_normalisation(task):
    task.configure_optimizers()
    norms = [module for module in task.model.modules() if isinstance(module, nn.BatchNorm2d)]
    task.on_train_epoch_start()
    assert norms[0].training
    assert norms[0].weight.requires_grad
    assert not any(
        norm.training or norm.weight.requires_grad or norm.bias.requires_grad for norm in norms[1:]
    )
    before = [norm.running_mean.clone() for norm in norms]
    task.model(torch.rand(2, 3, 1, 3, 96, 96))
    assert not torch.equal(norms[0].running_mean, before[0])
    assert all(
        torch.equal(norm.running_mean, mean)
        for norm, mean in zip(norms[1:], before[1:], strict=True)
    )


def test_frozen_layers_keep_weights_and_statistics():
    task = SpatialAttentionBackbone(
        CLASSES, "test_resnet", weights="none", trained_batch_norms="all", frozen_share=0.4
    )
    task.on_train_epoch_start()
    before = {name: value.clone() for name, value in task.model.state_dict().items()}
    optimizer = torch.optim.SGD([p for p in task.model.parameters() if p.requires_grad], lr=0.1)
    task.model(torch.rand(2, 3, 1, 3, 96, 96)).scores.square().sum().backward()
    optimizer.step()
    changed = {
        name
        for name, value in task.model.state_dict().items()
        if not torch.equal(value, before[name])
    }
    frozen = ("encoder.cnn.net.conv1", "encoder.cnn.net.bn1", "encoder.cnn.net.layer1")
    assert changed
    assert not any(name.startswith(frozen) for name in changed)
    assert any("layer2" in name for name in changed)


def test_more_than_all_layers_cannot_be_frozen():
    with pytest.raises(ConfigError, match="frozen_share=2"):
        SpatialAttentionBackbone(CLASSES, "test_resnet", weights="none", frozen_share=2)


def test_parameter_groups_are_tsns(task):
    """Every trained parameter once; biases at twice the rate, the head at ten times."""
    groups = tsn_parameter_groups(task.model, 0.1, {"first": 1, "head": 10}, 5e-4)
    settings = {
        id(p): (group["lr"], group["weight_decay"]) for group in groups for p in group["params"]
    }
    trained = {name: p for name, p in task.model.named_parameters() if p.requires_grad}
    assert sorted(settings) == sorted(map(id, trained.values()))
    assert settings[id(task.model.head.weight)] == pytest.approx((1.0, 5e-4))
    assert settings[id(task.model.head.bias)] == pytest.approx((2.0, 0))
    assert settings[id(task.model.encoder.attention.score.weight)] == pytest.approx((1.0, 5e-4))
    for name, parameter in trained.items():
        if name.startswith("encoder.cnn"):
            expected = (
                (0.1, 0.0) if parameter.ndim == 1 else (0.1, 5e-4)
            )  # the one trained batch norm, or a kernel
            assert settings[id(parameter)] == pytest.approx(expected), name


def test_synchronised_batch_normalisation_stays_partial(task):
    task.model = torch.nn.SyncBatchNorm.convert_sync_batchnorm(task.model)
    task.on_train_epoch_start()
    norms = batch_norms(task.model.encoder.cnn)
    assert len(norms) > 1
    assert [norm.training for norm in norms] == [True] + [False] * (len(norms) - 1)


def test_layer_norms_do_not_decay(task):
    task.model.head = torch.nn.Sequential(torch.nn.LayerNorm(4), torch.nn.Linear(4, 2))
    groups = tsn_parameter_groups(task.model, 0.1, {"first": 1, "head": 1}, 5e-4)
    found = {id(p): (g["lr"], g["weight_decay"]) for g in groups for p in g["params"]}
    norm, linear = task.model.head
    assert found[id(norm.weight)] == (0.1, 0.0)
    assert found[id(norm.bias)] == (0.1, 0.0)
    assert found[id(linear.bias)] == (0.2, 0.0)


def test_a_cosine_needs_a_last_epoch(task):
    task.hparams.lr_milestones = None
    task.trainer = Trainer(max_epochs=-1, accelerator="cpu", logger=False)
    with pytest.raises(ConfigError, match="max_epochs=-1"):
        task.configure_optimizers()


def test_a_flipped_bit_in_a_checkpoint_is_told(tmp_path):
    path = tmp_path / "last.ckpt"
    torch.save({"state_dict": {"weight": torch.rand(5000)}}, path)
    assert load_checkpoint(path)["state_dict"]["weight"].shape == (5000,)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 4
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"last\.ckpt is damaged"):
        load_checkpoint(path)


def test_a_requeued_run_starts_in_the_middle_of_an_epoch(task):
    """Lightning calls no `on_train_epoch_start` then."""
    monitor = StepMonitor()
    monitor.on_train_start(Trainer(accelerator="cpu", logger=False), task)
    monitor.on_train_batch_start(None, task, {}, 3)
    assert monitor._waited >= 0


def test_a_stage_one_checkpoint_describes_the_network_not_its_source(task):
    assert task.hparams["weights"] == "none"
    assert task.hparams["backbone"]["name"] == "test_resnet"
    again = SpatialAttentionBackbone(**task.hparams)
    again.load_state_dict(task.state_dict())
    clips = torch.rand(1, 3, 1, 3, 96, 96)
    assert torch.equal(again.eval()(clips).scores, task.eval()(clips).scores)


@pytest.fixture
def temporal(task, tmp_path) -> TemporalAttentionTSN:
    torch.save(
        {"state_dict": task.state_dict(), "hyper_parameters": dict(task.hparams)},
        tmp_path / "backbone.ckpt",
    )
    return TemporalAttentionTSN(CLASSES, str(tmp_path / "backbone.ckpt"), hidden_dim=8)


def test_readings_of_stage_one_reach_stage_two(tmp_path):
    one = SpatialAttentionBackbone(
        CLASSES,
        "test_resnet",
        weights="none",
        pool_sizes=(1, 3),
        focus="inner_product",
        pool_mode="adaptive",
    )
    torch.save(
        {"state_dict": one.state_dict(), "hyper_parameters": dict(one.hparams)},
        tmp_path / "backbone.ckpt",
    )
    attention = TemporalAttentionTSN(
        CLASSES, str(tmp_path / "backbone.ckpt"), hidden_dim=8
    ).model.encoder.attention
    assert (attention.pyramid.mode, attention.pyramid.sizes, attention.focus) == (
        "adaptive",
        (1, 3),
        "inner_product",
    )


def test_stage_two_refuses_a_network_without_spatial_attention(tmp_path):
    smnet = MotionBackbone(CLASSES, "test_resnet", weights="none")
    torch.save(
        {"state_dict": smnet.state_dict(), "hyper_parameters": dict(smnet.hparams)},
        tmp_path / "smnet.ckpt",
    )
    with pytest.raises(ConfigError, match=r"smnet.ckpt is not of a CNN as in Table 2"):
        TemporalAttentionTSN(CLASSES, str(tmp_path / "smnet.ckpt"), hidden_dim=8)


@pytest.mark.parametrize(
    ("backbone", "norms", "share", "said"),
    [
        (
            "test_resnet",
            "none",
            0.0,
            "model.frozen_share=0.0 and model.trained_batch_norms=none keep part",
        ),
        (
            "test_resnet",
            "all",
            0.5,
            "model.frozen_share=0.5 and model.trained_batch_norms=all keep part",
        ),
        ("test_resnet", "all", 0.0, ""),
        ("test_convnext", "none", 0.0, ""),  # it has no batch norms
    ],
)
def test_layers_frozen_at_random_weights_are_warned_of(backbone, norms, share, said, capsys):
    task = SpatialAttentionBackbone(
        CLASSES, backbone, weights="none", trained_batch_norms=norms, frozen_share=share
    )
    warn_of_frozen_noise("imagenet", task)
    assert not capsys.readouterr().out
    warn_of_frozen_noise("none", task)
    out = capsys.readouterr().out
    assert said in out
    assert bool(said) == bool(out)


def test_a_backbone_with_options_takes_flow():
    """As in experiments/datasets/demo/smnet.yaml."""
    named = {"name": "test_resnet", "options": {"drop_path_rate": 0.0}}
    for kind, clips in (
        (SpatialAttentionBackbone, (1, 3, 1, 20, 96, 96)),
        (MotionBackbone, (1, 1, 8, 20, 96, 96)),
    ):
        flow = kind(CLASSES, named, weights="none", modality="flow").eval()
        assert flow(torch.rand(clips)).scores.shape == (1, 3)
        assert flow.model.encoder.cnn.num_channels == 20


def test_stage_two_starts_from_stage_one_and_freezes_the_cnn(task, temporal):
    for name in ("encoder", "head"):
        ours, theirs = (
            getattr(temporal.model, name).state_dict(),
            getattr(task.model, name).state_dict(),
        )
        assert all(torch.equal(ours[key], theirs[key]) for key in theirs)
    trained = {
        name.partition(".")[0] for name, p in temporal.model.named_parameters() if p.requires_grad
    }
    assert trained == {"attention", "head"}


def test_stage_two_loss_is_equation_14(temporal, monkeypatch):
    logged = {}
    monkeypatch.setattr(
        temporal,
        "log_training",
        lambda loss, scores, labels, **terms: logged.update(terms, scores=scores),
    )
    temporal.eval()
    relevant = torch.rand(4, 3, 5) > 0.5
    batch = {
        "features": torch.rand(4, 1, 3, 5, 96).half(),
        "labels": torch.eye(3)[[0, 1, 2, 0]],
        "relevant": relevant,
    }
    loss = temporal.training_step(batch)
    torch.testing.assert_close(loss, logged["loss_ce"] + logged["loss_mse"])
    torch.testing.assert_close(
        logged["loss_ce"], nn.functional.cross_entropy(logged["scores"], torch.tensor([0, 1, 2, 0]))
    )
    assert logged["share_judged_false"] == pytest.approx((~relevant).float().mean().item())
    assert logged["loss_mse"] > 0
    temporal.hparams.temporal_regularization = False
    torch.testing.assert_close(temporal.training_step(batch), logged["loss_ce"])


def test_the_papers_schedule(temporal):
    setup = temporal.configure_optimizers()
    optimizer, scheduler = setup["optimizer"], setup["lr_scheduler"]["scheduler"]
    assert setup["lr_scheduler"]["interval"] == "step"
    assert optimizer.param_groups[0]["momentum"] == 0.9
    rates = {}
    for iteration in range(15000):
        rates[iteration] = optimizer.param_groups[0]["lr"]
        optimizer.step()
        scheduler.step()
    assert [rates[i] for i in (0, 2999, 3000, 6000, 12000, 14999)] == pytest.approx(
        [1e-3, 1e-3, 1e-4, 1e-5, 1e-7, 1e-7]
    )


def test_scores_of_a_diverged_run_are_no_result(temporal):
    temporal.test_outputs[0] = {"scores": torch.tensor([0.1, float("nan"), 0.2])}
    with pytest.raises(UserError, match=r"not finite numbers: training diverged. Lower model.lr"):
        score_table(temporal, [{"id": "a", "group": "a", "labels": [0]}], {})


def test_testing_averages_crops(temporal):
    features = torch.rand(2, 10, 3, 5, 96)
    temporal.eval()
    labels = torch.eye(3)[[0, 2]]
    batch = {"features": features, "labels": labels, "index": torch.tensor([4, 1])}
    temporal.test_step(batch)
    by_hand = torch.stack([temporal.model.classify(features[:, v]).scores for v in range(10)]).mean(
        0
    )
    torch.testing.assert_close(temporal.test_outputs[4]["scores"], by_hand[0])
    torch.testing.assert_close(temporal.test_outputs[1]["scores"], by_hand[1])
    centre = temporal.model.classify(features[:, 0]).temporal_weights
    torch.testing.assert_close(temporal.test_outputs[1]["temporal_weights"], centre[1])
