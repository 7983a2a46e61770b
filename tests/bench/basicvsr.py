"""A network of BasicVSR's class (arXiv 2012.02181): two recurrences over the whole window, features warped along the motion.

From the paper: a state runs from the last frame to the first and another from the first to the last, each warped by the flow
to the next frame, joined with its picture and passed through residual blocks; both are merged and enlarged by a pixel shuffle.
Here: motion by the same Lucas-Kanade as ours instead of a trained SPyNet, the output of the middle frame alone, which is what
the samples have a truth for, a bicubic base, one enlargement by the scale, and one residual for all colours, as the loss is of
the luma.
"""
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from trainlab.nn.blocks import ResidualBlock, Tail, bicubic_up, warp
from trainlab.nn.metrics import luma
from trainlab.vsr.flow import as_float, exact, lucas_kanade


class BasicVSR(nn.Module):
    def __init__(self, channels: int = 32, blocks: int = 3, scale: int = 3):
        super().__init__()
        self.scale, self.channels = scale, channels
        enter, body = (lambda: nn.Conv2d(3 + channels, channels, 3, padding=1)), (lambda: nn.Sequential(*(ResidualBlock(channels) for _ in range(blocks))))
        self.ways = nn.ModuleList(nn.ModuleDict(dict(enter=enter(), body=body())) for _ in range(2))
        self.merge = nn.Conv2d(2*channels, channels, 1)
        self.last = nn.Conv2d(channels, channels, 3, padding=1)
        self.tail = Tail(channels, 1, scale)
        self.to(memory_format=torch.channels_last)

    def forward(self, lr: Tensor) -> Tensor:  # (b, t, 3, h, w) -> (b, 3, scale*h, scale*w)
        x = as_float(lr)
        (b, t), middle = x.shape[:2], x.shape[1]//2
        with exact(lr.device), torch.no_grad(): y = (luma(x.flatten(0, 1)) - 16)/219
        y, ends = y.view(b, t, 1, *x.shape[-2:]), []
        for way, order in zip(self.ways, (range(middle + 1), range(t - 1, middle - 1, -1))):
            state, before = x.new_zeros(b, self.channels, *x.shape[-2:]), None
            for i in order:
                if before is not None:
                    with exact(lr.device), torch.no_grad(): flow = lucas_kanade(y[:, i], y[:, before])[:, 0]
                    state = warp(state.float(), flow)
                entered = way['enter'](torch.cat([x[:, i] - .5, state], 1).contiguous(memory_format=torch.channels_last))
                state, before = way['body'](F.leaky_relu(entered, .1)), i
            ends.append(state)
        found = F.leaky_relu(self.last(F.leaky_relu(self.merge(torch.cat(ends, 1)), .1)), .1)
        detail = self.tail(found).float()
        with torch.autocast(lr.device.type, enabled=False): return bicubic_up(x[:, middle], self.scale) + detail
