"""Score a trained video VAE on a folder of clips as VidTok (Tang et al. 2024) scores on the 30 clips of MCL-JCV.

    python tests/bench/bench_mcl_jcv.py ~/MCL-JCV runs/video_vae
    python tests/bench/bench_mcl_jcv.py ~/MCL-JCV runs/video_vae --lpips heads.pth      # the heads of LPIPS (alex)
    python tests/bench/bench_mcl_jcv.py ~/MCL-JCV runs/video_vae --windows 1            # the first 17 frames of each clip

Get the clips from https://mcl.usc.edu/mcl-jcv-dataset/ (they are not here). Each is decoded with a shorter side of 256; scored
is the middle 256x256 of windows of 17 frames, one behind the other from the first frame on; what is left at the end is not.
RGB PSNR of frames, SSIM of their luma, LPIPS; means over windows, then over clips, and the floor beside them: the linear
codec of the same compression that the model was fitted with. VidTok measures SSIM on RGB, so only PSNR and LPIPS compare with
its table (KL causal, 4x8x8, 16 channels: 35.04 dB, LPIPS .047). Prints a table, a row a clip, and the means.
"""
import argparse, os, statistics
os.environ.setdefault('OMP_NUM_THREADS', '1')
from pathlib import Path
import torch
from trainlab.media.frames import cached_frames
from trainlab.media.video import find_videos, probe
from trainlab.nn.perceptual import LPIPS
from trainlab.video_vae.linear_codec import as_signed
from trainlab.video_vae.metrics import frame_psnr, frame_ssim
from trainlab.video_vae.train import load_model

SIDE, FRAMES = 256, 17


def windows(path: Path, most: int):
    "(1, 3, 17, 256, 256) in [-1, 1] each."
    video = probe(path)
    if video.frames < FRAMES or min(video.width, video.height) < SIDE:
        raise SystemExit(f'{path}: {video.frames} frames of {video.width}x{video.height}; at least {FRAMES} of {SIDE}x{SIDE} are scored. Take it out of the folder.')
    count = min(video.frames//FRAMES, most or video.frames)
    frames = cached_frames(video, count*FRAMES, count*FRAMES, stop=count*FRAMES, side=SIDE)
    top, left = ((s - SIDE)//2 for s in frames.shape[1:3])
    for i in range(count):
        x = frames[i*FRAMES:(i + 1)*FRAMES, top:top + SIDE, left:left + SIDE]
        yield as_signed(torch.from_numpy(x.copy()).permute(3, 0, 1, 2))[None]


def measured(real: torch.Tensor, fake: torch.Tensor, lpips) -> dict[str, float]:
    found = dict(psnr=frame_psnr(fake, real).mean().item(), ssim=frame_ssim(fake, real).mean().item())
    frames = (((x.float() + 1)/2).clamp(0, 1)[0].transpose(0, 1) for x in (fake, real))
    return found | (dict(lpips=lpips(*frames).mean().item()) if lpips else {})


@torch.no_grad()
def score(folder: Path, run: str, most: int = 0, heads: str = '', device: str = 'auto') -> dict[str, dict[str, float]]:
    "clip -> measures of the model, and of the floor (floor_psnr, ...)."
    model, _ = load_model(run, device)
    place, lpips = next(model.parameters()).device, LPIPS(heads) if heads else None
    rows = {}
    for path in find_videos(folder):
        found = []
        for x in windows(path, most):
            x = x.to(place)
            floor = measured(x, model.floor(x), lpips)
            found.append(measured(x, model(x).reconstruction, lpips) | {f'floor_{k}': v for k, v in floor.items()})
        rows[path.name] = {k: statistics.mean(r[k] for r in found) for k in found[0]}
    return rows | dict(mean={k: statistics.mean(r[k] for r in rows.values()) for k in next(iter(rows.values()))})


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('folder', type=Path, help='with the clips'); p.add_argument('run', help='a finished run of a video VAE')
    p.add_argument('--lpips', default='', help='file of LPIPS heads (alex)'); p.add_argument('--windows', type=int, default=0, help='of each clip at most; 0: all')
    p.add_argument('--device', default='auto')
    opt = p.parse_args()
    rows = score(opt.folder, opt.run, opt.windows, opt.lpips, opt.device)
    print('| clip |', ' | '.join(rows['mean']), '|'); print('|---' + '|---'*len(rows['mean']) + '|')
    for name, row in rows.items(): print('|', name, '|', ' | '.join(f'{v:.3f}' for v in row.values()), '|')


if __name__ == '__main__': main()
