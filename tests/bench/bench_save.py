"""How long a save stops training, for 500 MB of state.

    python tests/bench/bench_save.py

In turns with `torch.save` of the same state, which is what stops a plain loop and Lightning's, and with torch's
`dcp.async_save`, which copies and writes beside the training as ours does; what one has left to the disk is on it before the next begins.
Medians, and the 99th percentile.
"""
import argparse, os, statistics, tempfile, time
from pathlib import Path
import torch, torch.distributed as dist, torch.distributed.checkpoint as dcp
from trainlab.run.checkpoint import Checkpoints


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('--megabytes', type=int, default=500); p.add_argument('--tensors', type=int, default=200); p.add_argument('--rounds', type=int, default=9)
    p.add_argument('--folder', default=None, help='where to write; a temporary folder by default')
    opt = p.parse_args()
    each = opt.megabytes*10**6//opt.tensors//4
    state = {f'layer{i}.weight': torch.randn(each) for i in range(opt.tensors)}
    ours, plain, theirs, commit = [], [], [], []
    dist.init_process_group('gloo', store=dist.HashStore(), rank=0, world_size=1)
    with tempfile.TemporaryDirectory(dir=opt.folder) as root:
        run = Checkpoints(Path(root)/'run', keep=1)
        for n in range(opt.rounds + 1):                       # the first makes the buffer and is not counted
            os.sync(); began = time.perf_counter(); run.save(n, dict(model=state), {'state.json': '{}'}); ours.append(time.perf_counter() - began)
            run.wait(); commit.append(time.perf_counter() - began)
            began = time.perf_counter(); torch.save(state, Path(root)/'plain.pt'); plain.append(time.perf_counter() - began); os.sync()
            began = time.perf_counter(); later = dcp.async_save(state, checkpoint_id=Path(root)/'dcp'); theirs.append(time.perf_counter() - began)
            later.result(); os.sync()
    dist.destroy_process_group()
    ms = {k: 1000*statistics.median(v[1:]) for k, v in dict(stops_training=ours, committed_after=commit, torch_save=plain, async_save=theirs).items()}
    late = {k: 1000*sorted(v[1:])[min(opt.rounds - 1, round(.99*opt.rounds))] for k, v in dict(ours=ours, torch_save=plain, async_save=theirs).items()}
    print(f'{opt.megabytes} MB, {opt.tensors} tensors: stops training {ms["stops_training"]:.0f} ms (first time {1000*ours[0]:.0f}), committed and verified after {ms["committed_after"]:.0f} ms, torch.save {ms["torch_save"]:.0f} ms; ratio {ms["stops_training"]/ms["torch_save"]:.3f}; dcp.async_save {ms["async_save"]:.0f} ms')
    print('p99: ' + ', '.join(f'{k} {v:.0f} ms' for k, v in late.items()))


if __name__ == '__main__': main()
