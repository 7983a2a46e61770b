"A broken batch, a rate that is too high, a kill right after a step that was left out: nothing good is lost, no bit differs."
import os, subprocess, sys
import pytest, torch
from torch import nn
from fastai.callback.core import Callback
from trainlab.engine.phases import TrainConfig
from trainlab.run.checkpoint import read_checkpoint
from trainlab.run.config import configure
from trainlab.run.folder import Run, RunError
from trainlab.system import Data, System, any_files

BROKEN = 35   # the step whose batch is broken


class Points:
    names = [f'point {i}' for i in range(400)]
    def __init__(self, broken=()): self.broken = broken
    def __len__(self): return 400
    def item(self, index, rng):
        x = torch.randn(3, generator=torch.Generator().manual_seed(index))
        return (x if index not in self.broken else x*float('nan')), x.sum()[None]


def broken(cfg) -> set[int]: return {s.index for s in cfg.plan(dict(items=400))(BROKEN).micro[-1]} if cfg.name != 'whole' else set()

class Config(TrainConfig, defaults=dict(steps=60, lr=1e-2, batch_size=2, gradient_accumulation=2, save_every=4, keep=3, preview_every=20, log_every=7, ema=.9, precision='fp32')): pass
def files(cfg): return any_files(cfg.model_copy(update=dict(data=os.path.dirname(__file__))))
def data(cfg, files): return Data(Points(broken(cfg)), Points())
def model(cfg, facts): return nn.Sequential(nn.Linear(3, 8), nn.BatchNorm1d(8), nn.Dropout(.1), nn.Linear(8, 1))
class Full(nn.MSELoss):
    "A batch of one validates as well."
def loss(cfg, model): return Full()
system = System(Config, data, model, loss, files=files)


class Die(Callback):
    "As by `kill -9`, after a step."
    toward_end, run_valid = True, False
    def __init__(self, at): self.at = at
    def after_batch(self):
        if self.learn.step == self.at and self.learn.last_micro: os._exit(9)
    def state_dict(self): return {}


def config(root, name, **kw): return configure(Config, dict(name=name, root=str(root), **kw))

def outcome(root, name):
    run = Run(config(root, name))
    tensors, _ = read_checkpoint(run.checkpoints.newest())
    rows = [r for k in ('train', 'valid', 'skipped') for r in run.records(k).drop(columns=['seconds', 'eta_s', 'samples_per_s', 'memory_mb', 'time'], errors='ignore').astype(str).values.tolist()]
    return {f'{f}.{k}': v for f, group in tensors.items() for k, v in group.items()}, rows

def same(a, b): return a[1] == b[1] and a[0].keys() == b[0].keys() and all(torch.equal(a[0][k], b[0][k]) for k in a[0])

def killed(root, name, at):
    code = f'import sys; sys.path.insert(0, {os.path.dirname(__file__)!r}); from test_guard import *; system.train(config({str(root)!r}, {name!r}), cbs=[Die({at})])'
    done = subprocess.run([sys.executable, '-W', 'ignore', '-c', code], capture_output=True, text=True)
    assert done.returncode == 9, done.stderr


@pytest.fixture(scope='module')
def alone(tmp_path_factory):
    root = tmp_path_factory.mktemp('alone')
    run = system.train(config(root, 'run'))
    skipped = run.records('skipped')
    assert skipped.step.tolist() == [BROKEN + 1] and skipped.why.tolist() == ['loss']
    assert run.checkpoints.steps() == [52, 56, 60] and run.info['finished']
    return outcome(root, 'run')


def test_a_broken_batch_reaches_nothing(alone):
    assert all(v.isfinite().all() for v in alone[0].values() if v.is_floating_point())


@pytest.mark.parametrize('at', (BROKEN + 1, BROKEN + 2, BROKEN + 6))
def test_killed_after_it_was_left_out(tmp_path, alone, at):
    killed(tmp_path, 'run', at)
    run = system.train(config(tmp_path, 'run'))
    assert run.info['finished'] and same(outcome(tmp_path, 'run'), alone)


@pytest.mark.parametrize('kw', (dict(lr=1e30, clip=1.), dict(lr=1e13, clip=0.), dict(lr=1e30, clip=0.)))
def test_a_ruinous_rate_never_finishes(tmp_path, kw):
    cfg = config(tmp_path, 'whole', warmup=10, save_every=1, keep=3, **kw)
    with pytest.raises(RunError, match='not finite|of no use'): system.train(cfg)
    run = Run(cfg)
    assert not run.info.get('finished')
    for step in run.checkpoints.steps(): assert all(v.isfinite().all() for group in read_checkpoint(run.checkpoints.path(step))[0].values() for v in group.values() if v.is_floating_point())
    with pytest.raises(RunError): system.train(cfg)      # nor when it is taken up again


def test_a_loss_that_stays_finite_is_told(tmp_path, capsys):
    system.train(config(tmp_path, 'whole', lr=1e6, preview_every=30))
    assert 'The loss rises: ' in capsys.readouterr().out
