"""What can be said of any step afterwards: how fast, and how right.

    python tests/bench/bench_replay.py --seeds 20

A small net learns to sharpen 200 pictures, one of which is noise. For each seed: whether `spikes` names that one first,
without looking at any picture; how many of 400 losses a replay gives again to the last bit, with 0 and 2 workers; and how
long `at` takes at steps of a run that is a million steps long and has no checkpoint.
"""
import argparse, json, statistics, tempfile, time
import numpy as np, torch
from torch import nn
from trainlab.engine.phases import TrainConfig
from trainlab.replay.again import replay
from trainlab.replay.past import at
from trainlab.replay.spikes import spikes
from trainlab.run.config import configure
from trainlab.run.folder import Run
from trainlab.system import Data, System

ITEMS, SIDE = 200, 12


class Config(TrainConfig, defaults=dict(name='sharpen', steps=400, batch_size=4, lr=3e-3, schedule='constant', warmup=20, preview_every=0, save_every=100, keep=0, precision='fp32', device='cpu', log_every=50)):
    pass


class Pictures:
    def __init__(self, seed): self.seed, self.noise, self.names = seed, seed*37 % ITEMS, [f'picture_{i}' for i in range(ITEMS)]
    def __len__(self): return ITEMS
    def describe(self, index, rng): return dict(file=self.names[index], top=int(rng.integers(4)), left=int(rng.integers(4)))
    def item(self, index, rng):
        told = self.describe(index, rng)
        y, x = np.mgrid[told['top']:told['top'] + SIDE, told['left']:told['left'] + SIDE]
        own = np.random.default_rng([self.seed, index])
        a, b, c = own.uniform(.1, .6, 3)
        sharp = np.sin(a*x + 6*c) + np.cos(b*y + 9*c) if index != self.noise else 2*own.normal(size=(SIDE, SIDE))
        sharp = torch.from_numpy(sharp).float()[None]
        return nn.functional.avg_pool2d(sharp, 3, 1, 1), sharp


def net(cfg, facts): return nn.Sequential(nn.Conv2d(1, 16, 3, padding=1), nn.GELU(), nn.Dropout(.05), nn.Conv2d(16, 1, 3, padding=1))
def data(cfg, files): return Data(Pictures(cfg.seed), Pictures(cfg.seed), {})
sharpen = System(Config, data, net, lambda cfg, model: nn.functional.mse_loss)


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('--seeds', type=int, default=20)
    opt = p.parse_args()
    named, equal = 0, {}
    with tempfile.TemporaryDirectory() as root:
        for seed in range(opt.seeds):
            run = sharpen.train(configure(Config, dict(root=root, name=f'seed_{seed}', seed=seed)))
            found = spikes(run)
            named += len(found.samples) > 0 and found.samples['sample'].iloc[0] == f'picture_{Pictures(seed).noise}'
        for workers in (0, 2):
            run = sharpen.train(configure(Config, dict(root=root, name=f'workers_{workers}', workers=workers)))
            equal[workers] = replay(run, 0, 400).equal
        cfg = configure(Config, dict(root=root, name='long', steps=1_000_000))
        with Run(cfg).open(sharpen.files(cfg).contents, system=sharpen.name): pass
        took = []
        for step in (0, 123_456, 999_999):
            began = time.perf_counter(); at(f'{root}/long', step).batch; took.append(time.perf_counter() - began)
    print(json.dumps(dict(noise_named_first=f'{named} of {opt.seeds}', losses_equal={f'{w} workers': f'{n} of 400' for w, n in equal.items()}, seconds_at=round(statistics.median(took), 3), slowest_at=round(max(took), 3))))


if __name__ == '__main__': main()
