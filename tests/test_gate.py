"Twenty seconds of training must pay, and must pay through the frames: this is what a broken alignment fails."
from trainlab.run.config import configure
from trainlab.vsr.train import Config, train


def test_it_learns_from_its_frames(tmp_path):
    run = train(configure(Config, dict(root=str(tmp_path), steps=400, preview_every=400, save_every=0)))
    scores = run.scores().iloc[0]
    assert scores.db_over_bicubic > .5 and scores.db_from_frames > .4
