"""How long a job takes to its first optimizer step on the built-in data, from the start of Python.

    python tests/bench/bench_start.py [--system video_vae]
    python tests/bench/bench_start.py --against ../older        # in turns with another checkout

Each start is a process of its own that ends after its first step; in turns with a bare Learner of fastai, which a job is
made of, on numbers of its own. Medians of CPU and wall seconds.
"""
import argparse, tempfile
from pathlib import Path
from interleaved import checkouts, costs, middle

JOB = '''
import os, sys
from importlib import import_module
try: from trainlab.run.config import configure
except ImportError: from trainlab.engine.run import configure     # as it was called in 0.1
from torch.optim.optimizer import register_optimizer_step_post_hook

register_optimizer_step_post_hook(lambda *_: os._exit(0))
job = import_module(f'trainlab.{sys.argv[2]}.train')
job.train(configure(job.Config, dict(root=sys.argv[1], name=str(os.getpid()))))
'''
BARE = '''
import os, torch
from functools import partial
from fastai.learner import DataLoaders, Learner
from torch.optim.optimizer import register_optimizer_step_post_hook
from torch.utils.data import DataLoader
from fastai.optimizer import OptimWrapper

register_optimizer_step_post_hook(lambda *_: os._exit(0))
loader = DataLoader([(torch.ones(3), torch.ones(1))]*8, 4)
Learner(DataLoaders(loader, loader), torch.nn.Linear(3, 1), torch.nn.MSELoss(), partial(OptimWrapper, opt=torch.optim.AdamW)).fit(1)
'''


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('--system', default='vsr', choices=['vsr', 'video_vae', 'audio_vae'])
    p.add_argument('--rounds', type=int, default=7)
    p.add_argument('--against', type=Path, help='a folder with another trainlab')
    opt = p.parse_args()
    with tempfile.TemporaryDirectory() as root:
        jobs = {k: (['-W', 'ignore', '-c', JOB, root, opt.system], place) for k, place in checkouts(opt.against).items()}
        found = costs(jobs | {'bare fastai': (['-W', 'ignore', '-c', BARE], Path(root))}, opt.rounds)
    cpu, wall = ({k: middle(v, what) for k, v in found.items()} for what in ('cpu', 'wall'))
    print('; '.join(f'{k}: {cpu[k]:.2f} CPU seconds, {wall[k]:.2f} in all' for k in found))
    if opt.against: print(f'ratio: CPU {cpu["this"]/cpu["other"]:.3f}, in all {wall["this"]/wall["other"]:.3f}')


if __name__ == '__main__': main()
