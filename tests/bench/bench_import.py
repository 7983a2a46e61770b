"""What importing a system costs, beside fastai's Learner, which each of them is made of.

    python tests/bench/bench_import.py --rounds 9

Each import is a process of its own; in turns. Medians, and ratios to `fastai.learner`.
"""
import argparse
from interleaved import REPO, costs, middle

BASE = 'fastai.learner'
MODULES = (BASE, 'trainlab.vsr.train', 'trainlab.video_vae.train', 'trainlab.audio_vae.train', 'trainlab.vsr.upscale')


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('--rounds', type=int, default=9)
    p.add_argument('--modules', nargs='+', default=MODULES[1:], help='what is imported')
    opt = p.parse_args()
    found = costs({m: (['-W', 'ignore', '-c', f'import {m}'], REPO) for m in dict.fromkeys((BASE, *opt.modules))}, opt.rounds)
    cpu, peak = ({k: middle(v, what) for k, v in found.items()} for what in ('cpu', 'peak'))
    print('| import | CPU seconds | ratio | peak MB | ratio |\n|---|---|---|---|---|')
    for name in found:
        print(f'| {name} | {cpu[name]:.2f} | {cpu[name]/cpu[BASE]:.3f} | {peak[name]:.0f} | {peak[name]/peak[BASE]:.3f} |')


if __name__ == '__main__': main()
