"""How long sixteen small jobs take one after the other, two at a time, and on a Ray of two cores: `python tests/bench/bench_sweep.py`.

A job is twenty steps of a tiny super-resolution, most of it the start of a kernel. Seconds of wall clock; say what else ran.
"""
import tempfile, time
from pathlib import Path
from trainlab.launch.sweep import sweep

JOB = Path(__file__).parent.parent.parent/'nbs'/'train_vsr.ipynb'
SMALL = dict(steps=20, warmup=2, num_blocks=3, crop=24, batch_size=1, preview_every=20, previews=0, device='cpu')
HOW = dict(one_after_the_other=dict(at_once=1), two_at_once=dict(at_once=2), ray=dict(on='ray', at_once=2, ray=dict(num_cpus=1)))

if __name__ == '__main__':
    for how, where in HOW.items():
        with tempfile.TemporaryDirectory() as root:
            began = time.monotonic()
            rows = list(sweep(JOB, dict(lr=[1e-3*(1 + i/16) for i in range(16)]), fixed=SMALL, name='small', root=root, **where))
            print(f'{how}: {time.monotonic() - began:.0f} s, {sum(r["state"] == "finished" for r in rows)} of {len(rows)} finished', flush=True)
