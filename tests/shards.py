"""Train in shards (FSDP2) on several ranks, with fewer and with more in turns, and compare with one process.

    python tests/shards.py                         # a transformer, AdamW and EMA; 1, 2 -> 1 -> 2, and 2 -> 2 -> 2 ranks
    python tests/shards.py --what frozen           # most of the transformer is frozen, and nothing averaged
    python tests/shards.py --what vsr --ranks 4    # super-resolution, with Muon

A run is led to its end in three parts, each a start of its own on some number of ranks under torch's agent. `apart` is
the largest relative difference of the losses from those of one process; `different` counts runs that were stopped twice
on as many ranks and differ, in any bit, from one that was not.
"""
import argparse, json, os, subprocess, sys, tempfile
from pathlib import Path
import torch
from fastai.callback.core import Callback
from torch import nn
from killing import Textures, litter, outcome, same
from trainlab.engine.phases import TrainConfig
from trainlab.nn.shards import in_shards
from trainlab.run.config import configure
from trainlab.system import Data, System
from trainlab.vsr.train import system as vsr

STEPS = 8, 16, 24


class Block(nn.Module):
    "Attention and a gated linear unit, each behind a norm."
    def __init__(self, width: int):
        super().__init__()
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(2))
        self.attention, self.gate, self.out = nn.MultiheadAttention(width, 4, batch_first=True), nn.Linear(width, 4*width), nn.Linear(2*width, width)

    def forward(self, x):
        y = self.norms[0](x)
        x = x + self.attention(y, y, y, need_weights=False)[0]
        a, b = self.gate(self.norms[1](x)).chunk(2, -1)
        return x + self.out(nn.functional.silu(a)*b)


class Transformer(nn.Module):
    "Rows of a picture as tokens; its lists of layers are what is gathered at once."
    def __init__(self, size: int = 8, width: int = 36, depth: int = 3):
        super().__init__()
        self.enter, self.leave = nn.Linear(size, width), nn.Linear(width, size)
        self.blocks = nn.ModuleList(Block(width) for _ in range(depth))

    def forward(self, x):
        x = self.enter(x[:, 0])
        for block in self.blocks: x = block(x)
        return self.leave(x)[:, None]


class Config(TrainConfig, defaults=dict(schedule='constant', precision='fp32', lr=3e-3, warmup=0, save_every=4, preview_every=8, log_every=1, ema=.95)): pass
def textures(cfg, files): return Data(Textures(21, 8), Textures(1, 8), {})   # to validate on there is one sample, and some ranks have none
def transformer(cfg, facts): return Transformer()
def loss(cfg, model): return nn.functional.mse_loss


class InShards(Callback):
    "Where several ranks train, each has a shard of every weight."
    def before_step(self): assert all(in_shards(p) == self.learn.ranks.many for p in self.learn.model.parameters())
    def state_dict(self): return {}


system = System(Config, textures, transformer, loss, callbacks=lambda cfg, model: [InShards()])
CASES = dict(transformer=(system, dict(batch_size=4, gradient_accumulation=2)), frozen=(system, dict(batch_size=4, ema=0.)), muon=(system, dict(batch_size=4, optimizer='muon')),
             vsr=(vsr, dict(batch_size=4, frames=3, schedule='constant', warmup=2, precision='fp32', save_every=4, preview_every=8, log_every=1, previews=1)))


def train(root: str, name: str, what: str, steps: int, ranks: int) -> None:
    "In a process of its own: lead a run to a step, on so many ranks."
    of, told = CASES[what]
    told |= dict(phases=[dict(name='some', steps=steps, train=['enter.*', 'blocks.0.*'], lr=3e-3)]) if what == 'frozen' else dict(steps=steps)
    of.train(configure(of.config, dict(name=name, root=root, device='cpu', devices=ranks, fsdp=ranks > 1) | told))


def led(root: str, name: str, what: str, steps: int, ranks: int) -> None:
    here = os.path.dirname(os.path.abspath(__file__))
    code = f'import sys; sys.path.insert(0, {here!r}); import shards; shards.train({root!r}, {name!r}, {what!r}, {steps}, {ranks})'
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=900)
    if done.returncode: raise SystemExit(done.stderr[-4000:])


def apart(a: list, b: list) -> float:
    "The largest relative difference of the losses."
    return max(abs(x[1] - y[1])/abs(y[1]) for x, y in zip(a, b, strict=True) if not isinstance(x, dict))


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('--what', choices=list(CASES), default='transformer'); p.add_argument('--ranks', type=int, default=2)
    opt = p.parse_args()
    with tempfile.TemporaryDirectory() as root:
        many = opt.ranks
        led(root, 'alone', opt.what, STEPS[-1], 1)
        led(root, 'whole', opt.what, STEPS[-1], many)
        for name, turns in (('turns', (many, 1, many)), ('stopped', (many, many, many))):
            for steps, ranks in zip(STEPS, turns): led(root, name, opt.what, steps, ranks)
        alone, whole, turns, stopped = (outcome(root, name) for name in ('alone', 'whole', 'turns', 'stopped'))
        trained = lambda rows: [x for x in rows if not isinstance(x, dict)]
        row = dict(what=opt.what, ranks=many, steps=len(trained(whole[1])), apart=apart(trained(whole[1]), trained(alone[1])), turns_apart=apart(trained(turns[1]), trained(alone[1])),
                   different=int(not (stopped[0].keys() == whole[0].keys() and all(torch.equal(whole[0][f][k], stopped[0][f][k]) for f in whole[0] for k in whole[0][f]) and trained(stopped[1]) == trained(whole[1]))),
                   litter=[x for p in Path(root).iterdir() if p.is_dir() for x in litter(root, p.name)])
        print(json.dumps(row))
    sys.exit(bool(row['different'] or row['litter']))


if __name__ == '__main__': main()
