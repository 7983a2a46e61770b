"""Train video VAEs on real clips and score them on two that were held out, beside the closed-form floor of the same compression.

    python tests/bench/bench_video_vae.py --minutes 10 --seed 0
    python tests/bench/bench_video_vae.py --minutes 10 --model wan            diffusers' AutoencoderKLWan of the same size
    python tests/bench/bench_video_vae.py --steps 300                         the same number of steps
    python tests/bench/bench_video_vae.py --minutes 2 --kl 1e-4               one point of the sweep over the KL weight

asl_book and bikes of the media folder are held out; all other clips but carphone (176x144) are trained on, 240 frames of each
at most, decoded with a shorter side of 256. 4x8x8, 16 channels. Scored: four windows of 17 frames of the middle 256x256 of each
clip; RGB PSNR by frame. Minutes are CPU minutes of this process, which has one thread: set OMP_NUM_THREADS=1.
Prints one line of JSON.
"""
import argparse, json, math, tempfile, time
from pathlib import Path
import numpy as np, torch
from fastai.callback.core import Callback
from trainlab.engine.device import autocast
from trainlab.run.config import configure
from trainlab.run.folder import Run
from trainlab.media.frames import cached_frames
from trainlab.media.samples import media_folder
from trainlab.nn.latents import LatentStatistics
from trainlab.video_vae.diffusers_vae import DiffusersVAE
from trainlab.video_vae.linear_codec import as_signed
from trainlab.media.clips import Clip
from trainlab.video_vae.data import ValidationClips
from trainlab.video_vae.train import Config, frame_psnr, system

WAN = dict(base_dim=16, dim_mult=[1, 3, 4, 4], z_dim=16)  # 4 % smaller than our nano; widths that 16 divides, which convolutions are fastest with
HELD = ('asl_book.mkv', 'bikes.mp4')
FIXED = dict(valid=list(HELD), max_frames=240, side=256, resolution=64, frames=17, batch_size=4, preview_every=0, save_every=0, save_minutes=0, valid_resolution=256, valid_frames=17)


def linked(to: Path) -> Path:
    to.mkdir(parents=True, exist_ok=True)
    for f in sorted((media_folder()/'video').iterdir()):
        if f.name != 'carphone.mp4' and not (to/f.name).exists(): (to/f.name).symlink_to(f.resolve())
    return to


@torch.no_grad()
def scored(model, data: Path, precision: str) -> dict:
    "PSNR of the model and of the floor, by clip and on average, and what the latents are like."
    model.eval(); found, statistics = {}, LatentStatistics()
    valid = ValidationClips([Clip(n, cached_frames(data/n, 10**6, side=256)) for n in HELD], 256, 17, windows=4)
    for i, (clip, _) in enumerate(valid.items):
        x = as_signed(valid.item(i)[0])[None]
        with autocast(torch.device('cpu'), precision): out = model(x)
        statistics.add(out.posterior)
        real = x[:, :, :out.reconstruction.shape[2]]
        found.setdefault(clip.name, []).append([frame_psnr(y, real).mean().item() for y in (out.reconstruction, model.floor(real))])
    by_clip = {k: np.mean(v, 0) for k, v in found.items()}
    ours, floor = np.mean(list(by_clip.values()), 0)
    return dict(psnr=round(ours, 3), floor=round(floor, 3), over_floor=round(ours - floor, 3), **{k: [round(float(x), 2) for x in v] for k, v in by_clip.items()},
                kl_per_dim=round(float(statistics.kl_per_dim.mean()), 4), active=statistics.active_channels)


class Clock(Callback):
    "CPU seconds of the steps alone, and an end to them."
    run_valid, toward_end = False, True
    def __init__(self): self.begun, self.seconds = None, 0.
    def before_batch(self): self.begun = self.begun or time.process_time()
    def after_batch(self): self.seconds = time.process_time() - self.begun
    def state_dict(self): return {}


def ours(opt, data: Path, root: str, steps: int, measure: bool = False):
    cfg = configure(Config, FIXED | dict(name='measure' if measure else 'bench', data=str(data), root=root, steps=steps, seed=opt.seed, lr=opt.lr, kl_weight=opt.kl, size=opt.size, resume=False))
    run, clock = Run(cfg), Clock()
    with run.open():
        learn = system.learner(cfg, run)
        if len(learn.dls) > 1: learn.dls.loaders = learn.dls.loaders[:1]      # scored below, at the end
        system.begin(learn); learn.add_cb(clock); learn.fit()
        with learn.averaged(): result = None if measure else scored(learn.model, data, cfg.precision)
    return learn.model, clock.seconds, result


def plain_wan(opt, data: Path, root: str, seconds: float):
    "The loop of diffusers' examples: AdamW, warm-up and cosine, mean squared error and KL."
    from diffusers import AutoencoderKLWan
    torch.manual_seed(opt.seed)
    vae = DiffusersVAE(AutoencoderKLWan(**WAN))
    run = Run(configure(Config, FIXED | dict(name='wan', data=str(data), root=root, steps=10**5, seed=opt.seed, resume=False)))
    with run.open(): learn = system.learner(run.config, run)
    vae.fit_base(learn.loader.one_batch(s)[0] for s in range(0, 1600, 100))
    batches, optimizer = learn.loader.batches(), torch.optim.AdamW(vae.vae.parameters(), opt.lr)
    precision, total, step, finite, began = opt.precision, opt.steps, 0, True, time.process_time()
    while True:
        _, _, (x,) = next(batches)
        done = step/total if total else (time.process_time() - began)/seconds
        if done >= 1 or not finite: break
        for group in optimizer.param_groups: group['lr'] = opt.lr*min(1, (step + 1)/20)*(1 + math.cos(math.pi*done))/2
        with autocast(torch.device('cpu'), precision): terms = vae.train()(x).terms
        (terms['reconstruction'] + opt.kl*terms['kl']).backward()
        torch.nn.utils.clip_grad_norm_(vae.vae.parameters(), 1.); optimizer.step(); optimizer.zero_grad()
        step, finite = step + 1, bool(terms['reconstruction'].isfinite())
    took = time.process_time() - began
    return vae, step, took, scored(vae, data, precision) | dict(finite=finite)


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('--minutes', type=float, default=10); p.add_argument('--steps', type=int, default=0); p.add_argument('--seed', type=int, default=0)
    p.add_argument('--model', choices=('ours', 'wan'), default='ours'); p.add_argument('--lr', type=float, default=5e-4); p.add_argument('--kl', type=float, default=1e-7)
    p.add_argument('--size', default='nano'); p.add_argument('--precision', default='bf16', help='of the loop around Wan')
    opt = p.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as root:
        data = linked(Path(root)/'video')
        if opt.model == 'wan':
            model, steps, took, result = plain_wan(opt, data, root, 60*opt.minutes)
            more = dict(parameters=sum(q.numel() for q in model.vae.parameters()))
        else:
            steps = opt.steps
            if not steps: ours(opt, data, root, 5, True); steps = int(60*opt.minutes/(ours(opt, data, root, 40, True)[1]/40))
            model, took, result = ours(opt, data, root, steps)
            more = dict(parameters=sum(q.numel() for q in model.parameters()))
    print(json.dumps(dict(model=opt.model, seed=opt.seed, lr=opt.lr, kl_weight=opt.kl, steps=steps, cpu_seconds=round(took, 1), **more, **result)))


if __name__ == '__main__': main()
