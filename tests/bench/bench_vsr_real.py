"""Super-resolution on real clips, split by content and by person, against bicubic, the same model without its neighbours, and BasicVSR.

    python tests/bench/bench_vsr_real.py --minutes 4 --seed 0                  # scored on the development set: to choose by
    python tests/bench/bench_vsr_real.py --minutes 10 --seed 0 --final         # trained on that, too, scored on the final set: once
    python tests/bench/bench_vsr_real.py --minutes 10 --final --model basicvsr # a peer of the same size
    python tests/bench/bench_vsr_real.py --score real bicubic                  # finished runs of the root, nothing is trained
    python tests/bench/bench_vsr_real.py --table runs/bench_vsr/*.json

Of the media folder (see `trainlab.media.samples.media_folder`). No scene, person or film is in two parts. PSNR of the luma
and of colour (Cb and Cr together), `scale` pixels cut off every side, one number a clip; groups are means over clips.
`--degradation real` scores on spoilt frames instead of MATLAB's bicubic ones. Minutes are CPU minutes of this process, which
has one thread; `--set scale=4` and the like are other parameters of the job.
"""
import argparse, json, os, statistics, tempfile, time
from dataclasses import replace
os.environ.setdefault('OMP_NUM_THREADS', '1')
from pathlib import Path
import numpy as np, torch, yaml
from basicvsr import BasicVSR
from real_clips import TRAIN, media_clips, place, training_folder
from trainlab.engine.events import Listener
from trainlab.run.config import configure
from trainlab.media.video import probe, read_frames, read_image
from trainlab.nn.metrics import psnr
from trainlab.vsr.flow import as_float
from trainlab.vsr.formats import DEGRADATIONS
from trainlab.vsr.train import Config, enlarged, stilled, system

DEV = dict(textured=['juggle', 'bedroom'], people=['faces_short', 'asl_milk', 'asl_thanks'])
FINAL = dict(textured=['calendar', 'dog', 'carphone'], fixed=['persons', 'bottles'], people=['asl_book', 'asl_walk'], smooth=['moon'])
WINDOWS, AROUND = 10, 7  # scored frames of a clip, spread evenly, and frames there are on either side of them at least
KIND = 'model', 'part', 'scale', 'degradation', 'run_frames'  # what runs of one table have in common
PEERS = dict(ours=system, basicvsr=replace(system, model=lambda cfg, facts: BasicVSR(scale=cfg.scale)))


def scored(media: Path, names: list[str], frames: int, scale: int):
    "name, window (t, h, w, 3) uint8; what has 720 lines is halved, as in training."
    for name in names:
        if name == 'calendar':
            pictures = sorted((media/'vid4/calendar/GT').glob('*.png')); total, size = len(pictures), None
            read = lambda which: np.stack([read_image(pictures[i]) for i in which])
        else:
            video = probe(place(media, name)); total = video.frames
            size = (video.width//2, video.height//2) if video.height >= 720 else None
            read = lambda which: read_frames(video, which, size)
        for i in np.linspace(AROUND, total - 1 - AROUND, WINDOWS).round().astype(int):
            x = read([*range(i - frames//2, i + frames//2 + 1)])
            yield name, np.ascontiguousarray(x[:, :x.shape[1]//scale*scale, :x.shape[2]//scale*scale])


def chroma(y: torch.Tensor, gt: torch.Tensor, crop: int) -> float:
    "PSNR of Cb and Cr of BT.601, full range, in dB; of (1, 3, h, w) in [0, 1] and uint8."
    to = torch.tensor([[-.168736, -.331264, .5], [.5, -.418688, -.081312]])
    a, b = (torch.einsum('ck,bkhw->bchw', to, as_float(t).clamp(0, 1))[..., crop:-crop, crop:-crop] for t in (y, gt))
    return -10*(a - b).square().mean().log10().item()


@torch.no_grad()
def score(models: dict, windows, degradation: str, scale: int) -> dict:
    "clip -> what bicubic and every model score, in dB: means over its windows."
    rows = {}
    for name, x in windows:
        lr = torch.from_numpy(DEGRADATIONS[degradation](x, scale)).permute(0, 3, 1, 2)[None]
        gt = torch.from_numpy(x[len(x)//2]).permute(2, 0, 1)[None]
        made = dict(bicubic=enlarged(lr, scale)) | {k: m(lr) for k, m in models.items()} | {f'{k} alone': m(stilled(lr)) for k, m in models.items()}
        rows.setdefault(name, []).append({k: (psnr(y, gt, scale).item(), chroma(y, gt, scale)) for k, y in made.items()})
    return {name: {k: np.mean([r[k] for r in every], 0).tolist() for k in every[0]} for name, every in rows.items()}


def table(results: list[dict]) -> str:
    "By clip and by group: mean over runs, and each run; of runs of one kind."
    lines = ['| part | clip | bicubic dB | gain dB | from its frames dB | colour dB | each run |', '|---|---|---|---|---|---|---|']
    def row(part, name, clips):
        def mean(r, k, i): return statistics.mean(r['scores'][c][k][i] for c in clips)
        gains = [mean(r, 'ours', 0) - mean(r, 'bicubic', 0) for r in results]
        frames = [mean(r, 'ours', 0) - mean(r, 'ours alone', 0) for r in results]
        colour = [mean(r, 'ours', 1) - mean(r, 'bicubic', 1) for r in results]
        return (f'| {part} | {name} | {statistics.mean(mean(r, "bicubic", 0) for r in results):.2f} | **{statistics.mean(gains):+.2f}** | '
                f'{statistics.mean(frames):+.2f} | {statistics.mean(colour):+.2f} | {", ".join(f"{g:+.2f}" for g in gains)} |')
    for part, groups in dict(dev=DEV, final=FINAL).items():
        there = {g: [c for c in clips if c in results[0]['scores']] for g, clips in groups.items()}
        lines += [row(part, c, [c]) for clips in there.values() for c in clips] + [row(part, f'*{g}*', clips) for g, clips in there.items() if len(clips) > 1]
    head = f'{results[0]["model"]} x{results[0]["scale"]}, {", ".join(str(r["steps"]) for r in results)} steps, {statistics.mean(r["train_cpu_seconds"] for r in results):.0f} s of CPU, {len(results)} runs, {results[0]["degradation"]}'
    return '\n'.join([head, '', *lines])


class Clock(Listener):
    "CPU seconds when each step ends."
    run_valid = False
    def __init__(self): self.ends = []
    def after_batch(self):
        if self.learn.last_micro: self.ends.append(time.process_time())
    def state_dict(self): return {}


def trained(kind, given: dict, minutes: float) -> None:
    "Train a run, as many steps as fit into so many CPU minutes beside what it does once, if it does not say how many."
    home = Path(given['root'])/given['name']
    if (home/'cpu_seconds').exists(): return
    if home.exists(): raise SystemExit(f'{home}: this run was interrupted, and what it cost is not known. Move it away.')
    if 'steps' not in given:
        with tempfile.TemporaryDirectory() as root:
            few, clock = given | dict(root=root, steps=80), Clock()
            kind.train(configure(Config, few | dict(name='first')))      # frames are decoded once, and kept
            before = time.process_time(); kind.train(configure(Config, few | dict(name='measured')), [clock]); took = time.process_time() - before
        step = (clock.ends[-1] - clock.ends[19])/60
        given = given | dict(steps=int((60*minutes - took)/step) + 80)
        if given['steps'] < 80: raise SystemExit(f'{minutes} minutes: to begin and to validate alone takes {took:.0f} s.')
    before = time.process_time()
    run = kind.train(configure(Config, given))
    (run.path/'cpu_seconds').write_text(str(time.process_time() - before))


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('--minutes', type=float, default=10); p.add_argument('--steps', type=int, help='instead of minutes'); p.add_argument('--seed', type=int, default=0); p.add_argument('--root', default='runs/bench_vsr')
    p.add_argument('--model', choices=PEERS, default='ours'); p.add_argument('--run-frames', type=int, default=0, help='frames when scored; 0: as trained')
    p.add_argument('--name', help='of the run; empty: by its model, minutes, seed and other parameters')
    p.add_argument('--degradation', default='bicubic', help='to train and score with'); p.add_argument('--final', action='store_true', help='train on the development set, too; score on the final set')
    p.add_argument('--score', nargs='*', default=[], metavar='NAME', help='only score these runs')
    p.add_argument('--set', nargs='*', default=[], metavar='NAME=VALUE', help='other parameters of the job')
    p.add_argument('--table', nargs='*', help='only print a table of these results')
    opt = p.parse_args()
    if opt.table:
        kinds = {}
        for r in (json.loads(Path(f).read_text()) for f in opt.table): kinds.setdefault(tuple(r.get(k) for k in KIND), []).append(r)
        print(*map(table, kinds.values()), sep='\n\n'); return
    if opt.model != 'ours' and any(s.split('=')[0] in ('size', 'base_channels', 'num_blocks', 'checkpointing') for s in opt.set): raise SystemExit(f'{opt.model} has one size.')
    media = media_clips()
    root, more, part = Path(opt.root), {k: yaml.safe_load(v) for k, v in (s.split('=') for s in opt.set)}, 'final' if opt.final else 'dev'
    length = dict(steps=opt.steps) if opt.steps else {}
    name = opt.name or '_'.join([opt.model, f'{opt.steps}steps' if opt.steps else f'{opt.minutes:g}min', f'seed{opt.seed}', opt.degradation, part, *(f'{k}{v}' for k, v in more.items())])
    clips = [c for group in (FINAL if opt.final else DEV).values() for c in group]
    if not opt.score:
        data = training_folder(media, TRAIN + [c for group in DEV.values() for c in group if opt.final], root/f'clips_{part}')
        trained(PEERS[opt.model], dict(name=name, root=str(root), data=str(data), seed=opt.seed, degradation=opt.degradation, device='cpu', preview_every=0, save_every=0) | more | length, opt.minutes)
    for name in opt.score or [name]:
        model, cfg = PEERS[opt.model].load(root/name, device='cpu')
        frames = opt.run_frames or cfg.frames
        found = score(dict(ours=model), scored(media, clips, frames, cfg.scale), opt.degradation, cfg.scale)
        result = dict(name=name, model=opt.model, part=part, scale=cfg.scale, steps=cfg.steps, degradation=opt.degradation, train_cpu_seconds=float((root/name/'cpu_seconds').read_text()), run_frames=frames, parameters=sum(q.numel() for q in model.parameters()), scores=found)
        (root/f'{name}_f{frames}_{opt.degradation}_{part}.json').write_text(json.dumps(result, indent=1))
        print(name, table([result]), sep='\n', flush=True)


if __name__ == '__main__': main()
