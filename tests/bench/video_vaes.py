"""Video VAEs of VidTok's and LeanVAE's shape, 4x8x8 with 16 channels, small enough to be trained beside ours for as long.

Written from the papers (VidTok: arXiv 2412.13061; LeanVAE: arXiv 2503.14325) and from what their public code does; every line here is our own.
Left out of both: discriminator, perceptual loss and chunks; of LeanVAE single images. Clips are (b, 3, 4n + 1, h, w) in [-1, 1].
"""
from types import SimpleNamespace
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from trainlab.nn.latents import Posterior

CHANNELS = 16


def frames_of(x: Tensor) -> Tensor: return x.transpose(1, 2).flatten(0, 1)                 # (b, c, t, h, w) -> (b t, c, h, w)
def clips_of(x: Tensor, b: int) -> Tensor: return x.unflatten(0, (b, -1)).transpose(1, 2)  # and back


class ChannelNorm(nn.LayerNorm):
    "Layer norm over channels, of (b, c, ...)."
    def forward(self, x): return super().forward(x.movedim(1, -1)).movedim(-1, 1)


class CausalConv(nn.Conv3d):
    "Zeros stand for the frames before the first."
    def forward(self, x):
        (t, h, w), stride = self.kernel_size, self.stride[0]
        return super().forward(F.pad(x, (w//2, w//2, h//2, h//2, t - stride, 0)))


class Residual(nn.Module):
    "Norm, SiLU and a convolution, twice."
    def __init__(self, inside: int, outside: int, conv, zero: bool = False):
        super().__init__()
        self.way = nn.Sequential(ChannelNorm(inside, 1e-6), nn.SiLU(), conv(inside, outside), ChannelNorm(outside, 1e-6), nn.SiLU(), conv(outside, outside))
        self.past = nn.Identity() if inside == outside else nn.Conv2d(inside, outside, 1)
        if zero: nn.init.zeros_(self.way[-1].weight); nn.init.zeros_(self.way[-1].bias)

    def forward(self, x): return self.past(x) + self.way(x)


def in_space(a, b): return nn.Conv2d(a, b, 3, padding=1)
def in_time(a, b): return CausalConv(a, b, (3, 1, 1))
def in_both(a, b): return CausalConv(a, b, 3)


class Factored(nn.Module):
    "A residual block a frame, and one along time, which starts at zero."
    def __init__(self, inside: int, outside: int):
        super().__init__()
        self.space, self.time = Residual(inside, outside, in_space), Residual(outside, outside, in_time, zero=True)

    def forward(self, x): return self.time(clips_of(self.space(frames_of(x)), len(x)))


class FrameAttention(nn.Module):
    def __init__(self, width: int):
        super().__init__()
        self.norm, self.qkv, self.out = ChannelNorm(width, 1e-6), nn.Conv2d(width, 3*width, 1), nn.Conv2d(width, width, 1)

    def forward(self, x):
        y = frames_of(x)
        q, k, v = self.qkv(self.norm(y)).flatten(2).transpose(1, 2).chunk(3, -1)
        found = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(y.shape)
        return x + clips_of(self.out(found), len(x))


class Mixed(nn.Module):
    "Two ways to half or twice the frames, or the width: a plain one and a learned one, by a learned share."
    def __init__(self, plain, learned):
        super().__init__()
        self.plain, self.learned, self.share = plain, learned, nn.Parameter(torch.tensor(2.))

    def forward(self, x):
        a = self.share.sigmoid()
        return a*self.plain(x) + (1 - a)*self.learned(x)


class Down(nn.Module):
    def __init__(self, width: int, time: bool):
        super().__init__()
        self.space = nn.Conv2d(width, width, 3, stride=2)
        plain = lambda x: F.avg_pool3d(F.pad(x, (0, 0, 0, 0, 1, 0)), (3, 1, 1), (2, 1, 1))
        self.time = Mixed(plain, CausalConv(width, width, 3, stride=(2, 1, 1))) if time else nn.Identity()

    def forward(self, x): return self.time(clips_of(self.space(F.pad(frames_of(x), (0, 1, 0, 1))), len(x)))


class Up(nn.Module):
    def __init__(self, width: int, time: bool):
        super().__init__()
        self.space, self.twice = in_space(width, width), time
        self.time = Mixed(nn.Identity(), in_both(width, width)) if time else nn.Identity()

    def forward(self, x):
        y = clips_of(self.space(F.interpolate(frames_of(x), scale_factor=2.)), len(x))
        return self.time(y.repeat_interleave(2, 2) if self.twice else y)


def middle(width: int): return [Residual(width, width, in_both), FrameAttention(width), Residual(width, width, in_both)]


class VidTok(nn.Module):
    "Residual blocks in space and in time apart; time is halved where space is halved for the last two times."
    def __init__(self, width: int = 32, multiples: tuple[int, ...] = (1, 2, 4, 4), blocks: int = 2):
        super().__init__()
        self.config, widths = dict(z_dim=CHANNELS), [width*m for m in multiples]
        down, inside = [in_both(3, width)], width
        for i, w in enumerate(widths):
            for _ in range(blocks): down.append(Factored(inside, w)); inside = w
            if i < len(widths) - 1: down.append(Down(w, time=i > 0))
        self.encoder = nn.Sequential(*down, *middle(inside), ChannelNorm(inside, 1e-6), nn.SiLU(), in_both(inside, 2*CHANNELS))
        up = [in_both(CHANNELS, inside), *middle(inside)]
        for i, w in reversed(list(enumerate(widths))):
            for _ in range(blocks + 1): up.append(Factored(inside, w)); inside = w
            if i > 0: up.append(Up(w, time=i > 1))
        self.decoder = nn.Sequential(*up, ChannelNorm(inside, 1e-6), nn.SiLU(), in_both(inside, 3))
        for m in self.modules():
            if isinstance(m, nn.Conv2d): m.to(memory_format=torch.channels_last)
            if isinstance(m, nn.Conv3d): m.to(memory_format=torch.channels_last_3d)

    def encode(self, x: Tensor):
        padded = torch.cat([x[:, :, :1].expand(-1, -1, 3, -1, -1), x], 2)
        return SimpleNamespace(latent_dist=Posterior(*self.encoder(padded).chunk(2, 1)))

    def decode(self, z: Tensor): return SimpleNamespace(sample=self.decoder(z)[:, :, 3:])


def haar(x: Tensor, dims: tuple[int, ...]) -> Tensor:
    "Orthonormal Haar bands of (b, c, ...), the lowest first: (b, c 2^dims, ...)."
    for d in dims:
        a, b = x.unflatten(d, (-1, 2)).unbind(d + 1)
        x = torch.cat([a + b, a - b], 1)*.5**.5
    return x

def unhaar(x: Tensor, dims: tuple[int, ...]) -> Tensor:
    for d in reversed(dims):
        low, high = x.chunk(2, 1)
        x = torch.stack([low + high, low - high], d + 1).flatten(d, d + 1)*.5**.5
    return x

def patches(x: Tensor, t: int) -> Tensor:
    "(b, c, n t, 4 h, 4 w) -> (b, n, h, w, c t 16)."
    b, c, n, h, w = x.shape
    return x.view(b, c, n//t, t, h//4, 4, w//4, 4).permute(0, 2, 4, 6, 1, 3, 5, 7).flatten(4)

def unpatches(x: Tensor, t: int) -> Tensor:
    b, n, h, w, c = x.shape
    return x.view(b, n, h, w, c//(16*t), t, 4, 4).permute(0, 4, 1, 5, 2, 6, 3, 7).reshape(b, c//(16*t), n*t, 4*h, 4*w)


class FeedForward(nn.Module):
    "A layer norm and a gated layer of 8/3 of the width (GEGLU)."
    def __init__(self, width: int):
        super().__init__()
        inner = int(8/3*width)
        self.norm, self.enter, self.leave = nn.LayerNorm(width), nn.Linear(width, 2*inner, bias=False), nn.Linear(inner, width, bias=False)

    def forward(self, x):
        value, gate = self.enter(self.norm(x)).chunk(2, -1)
        return self.leave(F.gelu(gate)*value)


class NeighbourhoodAware(nn.Module):
    "NAF: a depthwise causal 3x3x3 convolution, then a feed-forward layer, so many times."
    def __init__(self, width: int, layers: int, residual: bool = True):
        super().__init__()
        self.residual = residual
        self.near, self.forward_ = (nn.ModuleList(make() for _ in range(layers)) for make in (lambda: CausalConv(width, width, 3, groups=width), lambda: FeedForward(width)))

    def forward(self, x):  # (b, n, h, w, c)
        for near, forward in zip(self.near, self.forward_):
            for step in (lambda v: near(v.movedim(-1, 1)).movedim(1, -1), forward): x = x + step(x) if self.residual else step(x)
        return x


class Shrinkage(nn.Module):
    "The channels as measurements, and what they are of found again by unrolled shrinkage (ISTA)."
    def __init__(self, width: int, iterations: int = 2, layers: int = 2):
        super().__init__()
        phi = torch.randn(CHANNELS, width)*width**-.5
        self.phi, self.back = nn.Parameter(phi), nn.Parameter(phi.T.clone())
        self.ways = nn.ModuleList(nn.ModuleList(NeighbourhoodAware(width, layers, residual=False) for _ in range(2)) for _ in range(iterations))
        self.steps, self.thresholds = nn.Parameter(torch.ones(iterations)), nn.Parameter(torch.full((iterations,), .01))

    def measured(self, x: Tensor) -> Tensor: return x @ self.phi.T

    def found(self, z: Tensor) -> Tensor:
        x = z @ self.back.T
        for (there, back), step, threshold in zip(self.ways, self.steps, self.thresholds):
            x = x - step*((self.measured(x) - z) @ self.phi)
            y = there(x)
            x = x + back(y.sign()*F.relu(y.abs() - threshold))
        return x


class LeanVAE(nn.Module):
    "Patches of Haar bands; the lowest band and the rest apart, then together; the first frame has a transform of its own."
    def __init__(self, low: int = 32, high: int = 96, apart: int = 2, together: int = 4):
        super().__init__()
        self.config, self.low, width = dict(z_dim=CHANNELS), low, low + high
        sizes = dict(first=(3*16, 3*16*3), later=(3*32, 3*32*7))
        self.enter = nn.ModuleDict({k: nn.ModuleList([nn.Linear(a, low), nn.Linear(b, high)]) for k, (a, b) in sizes.items()})
        self.leave = nn.ModuleDict({k: nn.ModuleList([nn.Linear(low, a), nn.Linear(high, b)]) for k, (a, b) in sizes.items()})
        layers = lambda: nn.ModuleDict(dict(low=NeighbourhoodAware(low, apart), high=NeighbourhoodAware(high, apart), both=NeighbourhoodAware(width, together)))
        self.encoder, self.decoder, self.bottleneck, self.logvar = layers(), layers(), Shrinkage(width), nn.Linear(width, CHANNELS)

    def encode(self, x: Tensor):
        bands = dict(first=haar(x[:, :, :1], (3, 4)), later=haar(x[:, :, 1:], (2, 3, 4)))
        low, high = (torch.cat([self.enter[k][i](patches(v[:, part], 1 if k == 'first' else 2)) for k, v in bands.items()], 1)
                     for i, part in enumerate((slice(None, 3), slice(3, None))))
        y = self.encoder['both'](torch.cat([self.encoder['low'](low), self.encoder['high'](high)], -1))
        return SimpleNamespace(latent_dist=Posterior(self.bottleneck.measured(y).movedim(-1, 1), self.logvar(y).movedim(-1, 1)))

    def decode(self, z: Tensor):
        y = self.decoder['both'](self.bottleneck.found(z.movedim(1, -1)))
        ends = self.decoder['low'](y[..., :self.low]), self.decoder['high'](y[..., self.low:])
        bands = {k: torch.cat([unpatches(leave(end[:, part]), t) for leave, end in zip(self.leave[k], ends)], 1)
                 for k, part, t in (('first', slice(None, 1), 1), ('later', slice(1, None), 2))}
        return SimpleNamespace(sample=torch.cat([unhaar(bands['first'], (3, 4)), unhaar(bands['later'], (2, 3, 4))], 2))
