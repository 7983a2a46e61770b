"""Train on real clips and score on others, against bicubic and against the same model without its neighbours.

    python tests/bench/bench_vsr_real.py --steps 15000 --seed 0
    python tests/bench/bench_vsr_real.py --table runs/bench_vsr/*.json

Trained on the natural and animated clips of the media folder (see `trainlab.media.samples.media_folder`); scored on Vid4
calendar, carphone, one signer, and the last 30 frames of bigbuckbunny and of moon, of which only the frames before are
trained on. x3, MATLAB's bicubic degradation; PSNR of the luma, 3 pixels cut off every side.
"""
import argparse, json, statistics, tempfile, time
from pathlib import Path
import numpy as np, torch
from trainlab.engine.device import autocast
from trainlab.run.config import configure
from trainlab.media.samples import media_folder
from trainlab.media.video import probe, read_frames, read_image, write_video
from trainlab.nn.metrics import psnr
from trainlab.vsr.data import DEGRADATIONS
from trainlab.vsr.train import Config, enlarged, load_model, stilled, train

TRAIN = ('bikes.mp4 blocks.mp4 cars.mp4 face_talk.mp4 faces_short.mp4 juggle.mp4 asl_again.mkv asl_brother.mkv asl_help.mkv asl_no.mkv asl_student.mkv '
         'asl_yes.mkv asl_bird.mkv asl_milk.mkv asl_please.mkv asl_sorry.mkv asl_thanks.mkv asl_learn.mkv asl_school.mkv asl_walk.mkv').split()
TRIMMED = ('bigbuckbunny.mp4', 'moon.avi')  # trained on without their last `LAST` frames
LAST = 30


def training_folder(media: Path, to: Path) -> Path:
    "Links to the clips, and the beginnings of the two that are also scored."
    to.mkdir(parents=True, exist_ok=True)
    for name in TRAIN:
        if not (to/name).exists(): (to/name).symlink_to((media/'video'/name).resolve())
    for name in TRIMMED:
        video, out = probe(media/'video'/name), to/f'{Path(name).stem}_start.mp4'
        if not out.exists(): write_video(out, iter(read_frames(media/'video'/name, range(video.frames - LAST))), fps=video.fps, crf=2)
    return to


def scored(media: Path) -> dict:
    "name -> (frames (t, h, w, 3) uint8, which of them are scored)"
    def ends(name, n): total = probe(media/'video'/name).frames; return read_frames(media/'video'/name, range(total - n, total))
    calendar = np.stack([read_image(p) for p in sorted((media/'vid4/calendar/GT').glob('*.png'))])
    clips = dict(calendar=(calendar, 4), carphone=(ends('carphone.mp4', 120), 4), asl_book=(ends('asl_book.mkv', 60), 6),
                 bigbuckbunny_end=(ends('bigbuckbunny.mp4', LAST), 5), moon_end=(ends('moon.avi', LAST), 5))
    return {k: (x, range(0, len(x), every)) for k, (x, every) in clips.items()}


@torch.no_grad()
def score(model, clip: np.ndarray, which, frames: int, precision: str) -> dict:
    "Mean PSNR over frames, in dB; beyond the ends the last frame is repeated."
    device = next(model.parameters()).device
    clip = clip[:, :clip.shape[1]//3*3, :clip.shape[2]//3*3]
    lr = torch.from_numpy(DEGRADATIONS['bicubic'](clip, 3)).permute(0, 3, 1, 2)
    rows = []
    for i in which:
        x = lr[[min(max(j, 0), len(lr) - 1) for j in range(i - frames//2, i + frames//2 + 1)]][None].to(device)
        gt = torch.from_numpy(clip[i]).permute(2, 0, 1)[None].to(device)
        with autocast(device, precision): ours, alone = model(x), model(stilled(x))
        rows.append([psnr(y, gt, 3).item() for y in (enlarged(x), ours, alone)])
    bicubic, ours, alone = np.mean(rows, 0)
    return dict(bicubic=bicubic, ours=ours, gain=ours - bicubic, from_frames=ours - alone)


def table(results: list[dict]) -> str:
    "Mean over seeds, and their range."
    lines = ['| clip | bicubic dB | ours dB | gain dB | from its frames dB | gain by seed |', '|---|---|---|---|---|---|']
    for clip in results[0]['scores']:
        rows = [r['scores'][clip] for r in results]
        m = {k: statistics.mean(r[k] for r in rows) for k in rows[0]}
        seeds = ', '.join(f'{r["gain"]:+.2f}' for r in rows)
        lines.append(f'| {clip} | {m["bicubic"]:.2f} | {m["ours"]:.2f} | **{m["gain"]:+.2f}** | {m["from_frames"]:+.2f} | {seeds} |')
    return '\n'.join([f'{results[0]["config"]["steps"]} steps, {statistics.mean(r["train_seconds"] for r in results):.0f} s of training, {len(results)} seeds', '', *lines])


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('--steps', type=int, default=15000); p.add_argument('--seed', type=int, default=0); p.add_argument('--root', default='runs/bench_vsr')
    p.add_argument('--frames', type=int, default=7); p.add_argument('--run-frames', type=int, default=0, help='frames when scored; 0: as trained')
    p.add_argument('--set', nargs='*', default=[], metavar='NAME=VALUE', help='other parameters of the job')
    p.add_argument('--table', nargs='*', help='only print a table of these results')
    opt = p.parse_args()
    if opt.table: print(table([json.loads(Path(f).read_text()) for f in opt.table])); return
    media = media_folder()
    if media is None: raise SystemExit('the media folder is missing: set TRAINLAB_DATA')
    import yaml
    root, more = Path(opt.root), {k: yaml.safe_load(v) for k, v in (s.split('=') for s in opt.set)}
    name = f'steps{opt.steps}_seed{opt.seed}' + ''.join(f'_{k}{v}' for k, v in more.items())
    cfg = configure(Config, dict(name=name, root=str(root), data=str(training_folder(media, root/'clips')), steps=opt.steps, seed=opt.seed, frames=opt.frames,
                                 preview_every=opt.steps, save_every=1000) | more)
    began = time.monotonic(); run = train(cfg)
    model, _ = load_model(run)
    frames = opt.run_frames or cfg.frames
    scores = {k: score(model, x, which, frames, cfg.precision) for k, (x, which) in scored(media).items()}
    result = dict(config=cfg.model_dump(), train_seconds=run.records('train').seconds.max(), wall_seconds=time.monotonic() - began, run_frames=frames, scores=scores)
    (root/f'{name}_f{frames}.json').write_text(json.dumps(result, indent=1))
    print(table([result]))


if __name__ == '__main__': main()
