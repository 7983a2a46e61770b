"""Train video VAEs on real clips and score them on content and people that they never saw, beside the closed-form floor.

    python tests/bench/bench_video_vae.py --minutes 10 --seed 0             # scored on the development set: to choose by
    python tests/bench/bench_video_vae.py --minutes 10 --seed 0 --final     # trained on its people, too, scored on the final set: once
    python tests/bench/bench_video_vae.py --minutes 10 --model wan          # diffusers' AutoencoderKLWan as long; or vidtok, leanvae
    python tests/bench/bench_video_vae.py --minutes 10 --set base=classes size=pico     # other parameters of the job
    python tests/bench/bench_video_vae.py --steps 300                       # the same number of steps
    python tests/bench/bench_video_vae.py --table results/*.json            # by clip and by group, of finished results

Of the media folder (see `trainlab.media.samples.media_folder`). No scene, person or film is in two parts. 4x8x8, 16 channels,
clips decoded with a shorter side of 256. Scored: windows of 17 frames of the middle 256x256 (of carphone, which is smaller, 144x144),
spread evenly, and clips of drawn text in fonts that no training draws. PSNR in dB, mean over frames, then over windows:
RGB, of the first frame, of the later ones, of luma, of colour (Cb and Cr together). The floor is the linear codec of the
same compression, fitted on the same clips. Minutes are CPU minutes of the steps; the process has one thread. Prints one line of JSON.
"""
import argparse, json, math, os, statistics, tempfile, time
os.environ.setdefault('OMP_NUM_THREADS', '1')
from pathlib import Path
import numpy as np, torch, yaml
from fastai.callback.core import Callback
from PIL import Image, ImageDraw, ImageFont
from real_clips import TRAIN, media_clips, place, training_folder
from trainlab.engine.device import autocast
from trainlab.run.config import configure
from trainlab.run.folder import Run
from trainlab.media.clips import Clip
from trainlab.media.frames import cached_frames
from trainlab.media.video import probe
from trainlab.nn.latents import LatentStatistics
from trainlab.video_vae.data import ValidationClips
from trainlab.video_vae.diffusers_vae import DiffusersVAE
from trainlab.video_vae.linear_codec import as_signed
from trainlab.video_vae.train import Config, frame_psnr, system
from video_vaes import LeanVAE, VidTok

DEV = dict(textured=['juggle'], people=['faces_short', 'asl_milk', 'asl_thanks'], text=['text_dev_14', 'text_dev_20'])
FINAL = dict(textured=['calendar', 'dog', 'carphone'], fixed=['persons', 'bottles'], people=['asl_walk'], smooth=['moon'],
             text=['text_final_14', 'text_final_20'])
FONTS = dict(dev='DejaVuSans.ttf', final='DejaVuSerif.ttf')
SIDE, FRAMES, WINDOWS = 256, 17, 4
PEERS = dict(wan='bf16', vidtok='bf16', leanvae='fp32')    # each as large as our nano, in the precision that is faster on a CPU
FIXED = dict(valid=['juggle*'], side=SIDE, resolution=64, frames=FRAMES, batch_size=4, preview_every=0, previews=0, save_every=0, save_minutes=0,
             valid_resolution=SIDE, valid_frames=FRAMES, warmup=50, device='cpu')


def drawn_text(part: str, size: int) -> Clip:
    "Lines of text, half of them moving, black on white and in colours: (17, 256, 256, 3)."
    import matplotlib
    font = ImageFont.truetype(str(Path(matplotlib.get_data_path())/'fonts'/'ttf'/FONTS[part]), size)
    words = dict(dev='Sphinx of black quartz, judge my vow 0123', final='Pack my box with five dozen jugs 456789')[part]
    paints = [('white', 'black'), ('black', 'white'), ('navy', 'yellow'), ('white', 'red')]
    frames = []
    for t in range(FRAMES):
        image = Image.new('RGB', (SIDE, SIDE)); draw = ImageDraw.Draw(image)
        for row, (back, front) in enumerate(paints):
            draw.rectangle([0, 64*row, SIDE, 64*row + 63], back)
            for line in range(2): draw.text((8 - 2*t*line, 64*row + 4 + 30*line), words, front, font)
        frames.append(np.asarray(image))
    return Clip(f'text_{part}_{size}', np.stack(frames))

def clip_of(media: Path, name: str) -> Clip:
    if name.startswith('text'): return drawn_text(name.split('_')[1], int(name.split('_')[2]))
    if name != 'calendar':
        video = probe(place(media, name))
        return Clip(name, cached_frames(video, 10**6, side=min(SIDE, video.width, video.height)))
    pictures = [Image.open(p).convert('RGB') for p in sorted((media/'vid4/calendar/GT').glob('*.png'))]
    width, height = pictures[0].size
    return Clip(name, np.stack([np.asarray(p.resize((round(width*SIDE/height), SIDE), Image.Resampling.BICUBIC)) for p in pictures]))

def windows(media: Path, part: dict):
    "name, (1, 3, 17, h, w) in [-1, 1]."
    for name in (n for names in part.values() for n in names):
        clip = clip_of(media, name)
        valid = ValidationClips([clip], min(SIDE, clip.height//8*8, clip.width//8*8), FRAMES, WINDOWS)
        for i in range(len(valid)): yield name, as_signed(valid.item(i)[0])[None]


def luma_and_colour(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    "BT.601, full range: (t, h, w) and (t, 2, h, w) in [0, 1], of (1, 3, t, h, w) in [-1, 1]."
    to = torch.tensor([[.299, .587, .114], [-.168736, -.331264, .5], [.5, -.418688, -.081312]])
    y = torch.einsum('ck,bkthw->btchw', to, ((x.float() + 1)/2).clamp(0, 1))[0]
    return y[:, 0], y[:, 1:]

def measured(fake: torch.Tensor, real: torch.Tensor) -> dict[str, float]:
    db = lambda a, b: (-10*(a - b).square().flatten(1).mean(1).clamp_min(1e-10).log10()).mean().item()
    rgb, (y, c), (y0, c0) = frame_psnr(fake, real)[0], luma_and_colour(fake), luma_and_colour(real)
    return dict(psnr=rgb.mean().item(), first=rgb[0].item(), later=rgb[1:].mean().item(), luma=db(y, y0), colour=db(c, c0))

@torch.no_grad()
def scored(model, media: Path, precision: str, final: bool) -> dict:
    "clip -> what the model and the floor score, and what the latents are like."
    model.eval(); found, statistics_ = {}, LatentStatistics()
    for name, x in windows(media, FINAL if final else DEV):
        with autocast(torch.device('cpu'), precision): out = model(x)
        if not name.startswith('text'): statistics_.add(out.posterior)
        real = x[:, :, :out.reconstruction.shape[2]]
        found.setdefault(name, []).append(dict(ours=measured(out.reconstruction, real), floor=measured(model.floor(real), real)))
    mean = lambda rows: {k: {m: round(statistics.mean(r[k][m] for r in rows), 3) for m in rows[0][k]} for k in rows[0]}
    by_clip = {name: mean(rows) for name, rows in found.items()}
    real = [v for name, v in by_clip.items() if not name.startswith('text')]
    gain = {m: round(statistics.mean(v['ours'][m] - v['floor'][m] for v in real), 3) for m in real[0]['ours']}
    return dict(part='final' if final else 'dev', gain=gain, mean=mean(real), kl_per_dim=round(float(statistics_.kl_per_dim.mean()), 4), active=statistics_.active_channels, scores=by_clip)


class Clock(Callback):
    "CPU seconds of the steps alone."
    run_valid, toward_end = False, True
    def __init__(self): self.begun, self.seconds = None, 0.
    def before_batch(self): self.begun = self.begun or time.process_time()
    def after_batch(self): self.seconds = time.process_time() - self.begun
    def state_dict(self): return {}


def config(opt, data: Path, root: str, **more): return configure(Config, FIXED | dict(data=str(data), root=root, seed=opt.seed, resume=False) | more | opt.more)

def ours(opt, data: Path, root: str, steps: int, measure: bool = False):
    cfg = config(opt, data, root, name='measure' if measure else 'bench', steps=steps)
    run, clock = Run(cfg), Clock()
    with run.open():
        learn = system.learner(cfg, run)
        if len(learn.dls) > 1: learn.dls.loaders = learn.dls.loaders[:1]      # scored below, at the end
        began = time.process_time(); system.begin(learn); fitted = time.process_time() - began
        learn.add_cb(clock); learn.fit()
        with learn.averaged(): result = None if measure else scored(learn.model, opt.media, cfg.precision, opt.final) | dict(fit_seconds=round(fitted, 1))
        if opt.keep and not measure:
            with learn.averaged(): learn.model.save_pretrained(opt.keep)
    return learn.model, clock.seconds, result


def peer(name: str):
    "Widths that 16 divides, where a network is made of convolutions, which are fastest with them."
    if name == 'vidtok': return VidTok(16, (1, 2, 5, 5))
    if name == 'leanvae': return LeanVAE(40, 120)
    from diffusers import AutoencoderKLWan
    return AutoencoderKLWan(base_dim=16, dim_mult=[1, 3, 4, 4], z_dim=16)

def other(opt, data: Path, root: str, seconds: float):
    "The loop of diffusers' examples: AdamW, warm-up and cosine, mean squared error and KL."
    torch.manual_seed(opt.seed)
    vae = DiffusersVAE(peer(opt.model))
    run = Run(config(opt, data, root, name=opt.model, steps=10**5))
    with run.open(): learn = system.learner(run.config, run)
    vae.fit_base(learn.loader.one_batch(s)[0] for s in range(0, 1600, 25))
    batches, optimizer = learn.loader.batches(), torch.optim.AdamW(vae.vae.parameters(), opt.lr)
    precision, total, step, finite, began = opt.precision or PEERS[opt.model], opt.steps, 0, True, time.process_time()
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
    return vae, step, took, scored(vae, opt.media, precision, opt.final) | dict(finite=finite)


def table(results: list[dict]) -> str:
    "By clip and by group: means over runs, and each run."
    lines = ['| part | clip | floor dB | gain dB | first | later | luma | colour | each run |', '|---|---|---|---|---|---|---|---|---|']
    def row(part, name, clips):
        gain = lambda r, m: statistics.mean(r['scores'][c]['ours'][m] - r['scores'][c]['floor'][m] for c in clips)
        mean = lambda m: statistics.mean(gain(r, m) for r in results)
        floor = statistics.mean(r['scores'][c]['floor']['psnr'] for r in results for c in clips)
        rest = ' | '.join(f'{mean(m):+.2f}' for m in ('first', 'later', 'luma', 'colour'))
        each = ', '.join(f'{gain(r, "psnr"):+.2f}' for r in results)
        return f'| {part} | {name} | {floor:.2f} | **{mean("psnr"):+.2f}** | {rest} | {each} |'
    for part, groups in dict(dev=DEV, final=FINAL).items():
        there = {g: [c for c in clips if c in results[0]['scores']] for g, clips in groups.items()}
        real = [c for g, clips in there.items() for c in clips if g != 'text']
        lines += [row(part, c, [c]) for clips in there.values() for c in clips] + [row(part, f'*{g}*', clips) for g, clips in there.items() if len(clips) > 1]
        lines += [row(part, '**all but text**', real)] if real else []
    return '\n'.join(lines)


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('--minutes', type=float, default=10); p.add_argument('--steps', type=int, default=0); p.add_argument('--seed', type=int, default=0)
    p.add_argument('--model', choices=('ours', *PEERS), default='ours'); p.add_argument('--final', action='store_true', help='train on people of the development set, too; score on the final set')
    p.add_argument('--lr', type=float, default=5e-4, help='of the others'); p.add_argument('--kl', type=float, default=1e-7, help='of the others')
    p.add_argument('--precision', default='', help='of the others, instead of the one that is faster on a CPU')
    p.add_argument('--set', nargs='*', default=[], metavar='NAME=VALUE', help='other parameters of the job')
    p.add_argument('--keep', default='', help='folder for our trained model'); p.add_argument('--table', nargs='*', help='only print a table of these results')
    opt = p.parse_args()
    if opt.table: print(table([json.loads(Path(f).read_text()) for f in opt.table])); return
    opt.media, opt.more = media_clips(), {k: yaml.safe_load(v) for k, v in (s.split('=') for s in opt.set)}
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as root:
        data = training_folder(opt.media, [*TRAIN, 'bedroom', 'juggle', *(DEV['people'] if opt.final else [])], Path(root)/'video')
        if opt.model == 'ours':
            steps = opt.steps
            if not steps: ours(opt, data, root, 5, True); steps = int(60*opt.minutes/(ours(opt, data, root, 40, True)[1]/40))
            model, took, result = ours(opt, data, root, steps)
            count = sum(q.numel() for q in model.parameters())
        else:
            vae, steps, took, result = other(opt, data, root, 60*opt.minutes)
            count = sum(q.numel() for q in vae.vae.parameters())
    print(json.dumps(dict(model=opt.model, seed=opt.seed, set=opt.more, steps=steps, cpu_seconds=round(took, 1), parameters=count, **result)))


if __name__ == '__main__': main()
