"A complete system: it learns to take noise out of video, of the built-in clips or of a folder of videos."
import numpy as np, torch
from torch import Tensor, nn
from trainlab.engine.phases import TrainConfig
from trainlab.media.clips import list_clips, train_clips, valid_clips
from trainlab.media.pictures import pixels, side_by_side
from trainlab.nn.metrics import psnr
from trainlab.run.config import setting
from trainlab.system import Data, System


class Config(TrainConfig, defaults=dict(name='denoise', steps=200, lr=2e-3)):
    size: int = setting(64, 'pixels a side of a sample', ge=8)
    sigma: float = setting(.1, 'deviation of the noise, where black to white is 1', gt=0)


class Noisy:
    "Squares of frames, with noise and without."
    def __init__(self, clips, cfg): self.clips, self.cfg, self.names = clips, cfg, [c.name for c in clips]
    def __len__(self): return len(self.clips)

    def item(self, index: int, rng: np.random.Generator | None) -> tuple[Tensor, Tensor]:
        rng, clip, n = rng or np.random.default_rng(index), self.clips[index], self.cfg.size
        t, y, x = rng.integers([len(clip), clip.height - n + 1, clip.width - n + 1])
        clean = clip[t][y:y + n, x:x + n].transpose(2, 0, 1)/255
        noisy = clean + self.cfg.sigma*rng.normal(size=clean.shape)
        return torch.from_numpy(noisy).float(), torch.from_numpy(clean).float()


class Denoiser(nn.Sequential):
    def forward(self, noisy: Tensor) -> Tensor: return noisy - super().forward(noisy)


def files(cfg): return list_clips(cfg.data, cfg.valid)
def data(cfg, files):
    train, valid = train_clips(files, 1, share=cfg.hold_out), valid_clips(files, 1, 4, share=cfg.hold_out)
    return Data(Noisy(train, cfg), Noisy(valid, cfg))

def model(cfg, facts): return Denoiser(nn.Conv2d(3, 32, 5, padding=2), nn.GELU(), nn.Conv2d(32, 3, 5, padding=2))
def loss(cfg, model): return nn.functional.mse_loss
def scores(learn): return dict(psnr=psnr(learn.pred, *learn.yb), psnr_noisy=psnr(*learn.xb, *learn.yb))


@torch.no_grad()
def draw(model, name, noisy, clean):
    ours = model(noisy[None].to(next(model.parameters()).device))[0]
    return side_by_side(dict(noisy=pixels(noisy), ours=pixels(ours), truth=pixels(clean)))


system = System(Config, data, model, loss, scores, draw=draw, files=files)
train, load_model = system.train, system.load
