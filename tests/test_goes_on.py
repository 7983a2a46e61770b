"What people do with a run of super-resolution on a folder of videos: move it, add to it, go on, branch off, look back."
import os, shutil, time
import numpy as np, pytest, torch
from fastai.callback.core import Callback
from trainlab.media.video import write_video
from trainlab.replay.again import replay
from trainlab.replay.past import at
from trainlab.run.config import configure
from trainlab.run.folder import RunError, run_at
from trainlab.run.weights import Weights
from trainlab.vsr.train import system as vsr


def film(k: int):
    y, x = np.mgrid[:64, :80]
    for t in range(20): yield np.stack([127 + 90*np.sin((x + (k + 1)*t)/(7 + k)), 127 + 90*np.cos((y - t)/(9 + k)), (2*x + 3*y + 5*t) % 256], -1).astype(np.uint8)


@pytest.fixture
def home(tmp_path):
    for k in range(3): write_video(tmp_path/'films'/f'clip_{k}.mp4', film(k), preset='ultrafast')
    return tmp_path


def config(home, **kw):
    told = dict(root=str(home/'runs'), data=str(home/'films'), frames=3, crop=16, num_blocks=3, base_channels=24, batch_size=2, steps=6, warmup=0, schedule='constant',
                save_every=2, preview_every=0, log_every=1, device='cpu', keep=0, previews=0, lr=1e-3)
    return configure(vsr.config, told | kw)


def weights(run): return Weights(run.path).tensors()
def same(a, b): return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


class Seen(Callback):
    "Keeps every batch."
    def __init__(self): self.batches = {}
    def before_backward(self): self.batches.setdefault(self.learn.planned.step, []).append([x.clone() for x in (*self.learn.xb, *self.learn.yb)])
    def state_dict(self): return {}


def test_a_folder_that_moves_continues(home):
    vsr.train(config(home, name='stays', steps=4)); stays = vsr.train(config(home, name='stays', steps=6))
    vsr.train(config(home, name='moves', steps=4))
    os.rename(home/'films', home/'elsewhere')
    moves = vsr.train(config(home, name='moves', data=str(home/'elsewhere') + '/', steps=6))
    assert same(weights(stays), weights(moves)) and [c.changed for c in moves.chapters] == [[], ['steps: 4 -> 6']]


def test_a_folder_that_grew_is_named_file_by_file_and_goes_on_when_meant(home):
    run = vsr.train(config(home, name='grows', steps=4))
    write_video(home/'films'/'a_new.mp4', film(5), preset='ultrafast'); (home/'films'/'clip_1.mp4').unlink()
    with pytest.raises(RunError, match='clip_1.mp4: gone\n  a_new.mp4: added') as e: vsr.train(config(home, name='grows'))
    assert 'amend=True' in str(e.value)
    run = vsr.train(config(home, name='grows', amend=True))
    assert list(run.chapters[-1].data['train']) == ['clip_0.mp4', 'clip_2.mp4', 'a_new.mp4']          # old ones keep their place
    assert len(run.records('train')) == 6 and run.records('chapter').step.tolist() == [4]
    with pytest.raises(RunError, match='clip_1.mp4: gone'): at(run, 2).batch
    assert len(at(run, 5).samples) == 2


def test_a_file_of_the_same_size_with_other_content_is_noticed(home):
    run = vsr.train(config(home, name='swapped', steps=4)); path = home/'films'/'clip_1.mp4'; content = bytearray(path.read_bytes())
    content[-9] ^= 1; path.write_bytes(content)
    with pytest.raises(RunError, match='clip_1.mp4: its content changed'): vsr.train(config(home, name='swapped'))


@pytest.mark.parametrize('workers', [0, 2])
def test_a_step_shows_what_it_trained_on_and_runs_again_to_the_bit(home, workers):
    seen = Seen()
    vsr.train(config(home, name='looked', steps=4, workers=workers), cbs=[seen])
    run = vsr.train(config(home, name='looked', steps=8, workers=workers, lr=1e-4, batch_size=1, gradient_accumulation=2, amend=True), cbs=[seen])
    for step in range(8):
        for mine, theirs in zip(at(run, step).batches, seen.batches[step], strict=True): assert all(torch.equal(a, b) for a, b in zip(mine, theirs, strict=True))
    began = time.perf_counter(); table = at(run, 7).samples; took = time.perf_counter() - began
    assert {'file', 'item', 'key'} <= set(table.columns) and took < 5
    assert replay(run, 1, 8).equal == 7
    assert len(at(run, 5).losses()) == 2


def test_a_fork_goes_its_own_way_and_outlives_its_parent(home):
    parent = vsr.train(config(home, name='parent'))
    fork = dict(root=str(home/'runs'), fork_from=f'{parent.path}@4', device='cpu')
    twin = vsr.train(configure(vsr.config, fork | dict(name='twin')))
    assert same(weights(parent), weights(twin)) and twin.config.data == str(home/'films')
    lower = vsr.train(configure(vsr.config, fork | dict(name='lower', lr=1e-5)))
    assert not same(weights(parent), weights(lower)) and lower.chapters[-1].changed == ['lr: 0.001 -> 1e-05']
    assert all(torch.equal(a, b) for a, b in zip(at(parent, 5).batch, at(lower, 5).batch))
    shutil.rmtree(parent.path)
    longer = vsr.train(configure(vsr.config, fork | dict(name='lower', lr=1e-5, steps=8)))
    assert len(longer.records('train')) == 8


def state(run): return {p.relative_to(run.path): p.read_bytes() for p in run.path.rglob('*') if p.is_file() and p.name != 'run.json'}


def test_what_is_refused_has_changed_nothing(home):
    run = vsr.train(config(home, name='stays')); before, info = state(run), run.info
    for wrong, says in ((dict(resume_from=2, lr=1e-4), 'set amend=True'), (dict(resume_from=3), 'There are 2, 4, 6'), (dict(base_channels=32, amend=True), 'cannot change'),
                        (dict(steps=100, warmup=50, phases=[dict(name='other', steps=3)], amend=True), 'beside phases'), (dict(fork_from=f'{run.path}@4'), 'has begun already')):
        with pytest.raises(Exception, match=says): vsr.train(config(home, name='stays', **wrong))
        assert state(run) == before and run.info['chapters'] == info['chapters'] and run.finished
    told = {k: v for k, v in config(home, name='stays').model_dump().items() if k not in ('steps', 'warmup')}
    with pytest.raises(RunError, match="phase 'train', which is not among other"): vsr.train(configure(vsr.config, told | dict(phases=[dict(name='other', steps=9)], amend=True)))
    assert state(run) == before and run.info['chapters'] == info['chapters'] and run.finished
    assert vsr.train(config(home, name='stays')).path == run.path


def test_an_error_before_the_first_step_of_a_chapter_leaves_no_chapter(home):
    run = vsr.train(config(home, name='poison')); (home/'films'/'junk.mp4').write_bytes(b'no video at all' * 50)
    with pytest.raises(Exception, match='junk.mp4'): vsr.train(config(home, name='poison', amend=True, steps=9))
    assert len(run.chapters) == 1 and run.finished
    (home/'films'/'junk.mp4').unlink(); longer = vsr.train(config(home, name='poison', steps=8)); assert len(longer.records('train')) == 8


def test_a_finished_run_without_checkpoints_is_not_begun_anew(home):
    run = vsr.train(config(home, name='tidy')); kept = weights(run); shutil.rmtree(run.path/'checkpoints')
    assert same(weights(vsr.train(config(home, name='tidy', log_every=2))), kept)
    with pytest.raises(RunError, match='has no checkpoints any more'): vsr.train(config(home, name='tidy', steps=9))


def test_a_fork_may_ask_for_a_default(home):
    parent = vsr.train(config(home, name='parent')); default = vsr.config.model_fields['lr'].default
    fork = dict(root=str(home/'runs'), fork_from=f'{parent.path}@4', device='cpu')
    assert vsr.train(configure(vsr.config, fork | dict(name='plain', lr=default))).config.lr == default
    with pytest.raises(RunError, match='has begun already, as a fork of'): vsr.train(configure(vsr.config, fork | dict(name='plain', fork_from=f'{parent.path}@2')))
    with pytest.raises(RunError, match='and not as a fork'): vsr.train(config(home, name='parent', fork_from=str(vsr.train(config(home, name='other', steps=2)).path)))


def test_a_run_that_ended_early_goes_on_when_it_is_told_to(home):
    told = dict(name='early', best='-loss', early_stopping=1, preview_every=2, lr=.05, clip=0.)
    run = vsr.train(config(home, **told, steps=40)); ended = run.records('train').step.iloc[-1]
    assert ended < 40 and run.info['best']['step'] in run.checkpoints.steps()
    on = vsr.train(config(home, **told, steps=60)); assert on.records('train').step.iloc[-1] > ended
    fork = vsr.train(configure(vsr.config, dict(root=str(home/'runs'), fork_from=str(run.path), name='on', device='cpu', steps=80))); assert fork.config.best == '-loss'


class Gone(Callback):
    "Takes a clip's frames out of the cache after a step, and puts them back after another."
    def __init__(self, after, until): self.after, self.until = after, until
    def state_dict(self): return {}
    def after_batch(self):
        file = self.learn.loader.sources['clips'].clips[1].frames.file
        if self.learn.step == self.after: os.rename(file, f'{file}.away')
        if self.learn.step == self.until: os.rename(f'{file}.away', file)


def test_a_sample_that_cannot_be_made_any_more_ends_the_run_or_is_left_out_and_told(home):
    many = dict(batch_size=4); whole = vsr.train(config(home, name='whole', **many))
    with pytest.raises(RuntimeError, match="of 'clips' could not be made: MediaError.*cannot be read any more"): vsr.train(config(home, name='stops', **many), cbs=[Gone(3, 99)])
    stopped = run_at(home/'runs'/'stops'); last = stopped.checkpoints.steps()[-1]
    assert last >= 3 and 'cannot be read any more' in stopped.info['history'][-1]['error']
    assert same(weights(vsr.train(config(home, name='stops', **many))), weights(whole))                   # made anew at the start
    skips = vsr.train(config(home, name='skips', bad_files='skip', **many), cbs=[Gone(2, 5)])
    told, rows = skips.records('redrawn'), skips.records('train')
    assert len(told) and set(told.step) <= {3, 4, 5} and told.why.str.contains('cannot be read any more').all()
    assert rows.samples.eq(4).all() and rows.batch_sum[:2].equals(whole.records('train').batch_sum[:2]) and not rows.batch_sum.equals(whole.records('train').batch_sum)
    again = replay(skips, 0, 6); assert again.frame.same_batch.tolist() == [s not in set(told.step - 1) for s in range(6)]
    assert 'the data is not what it was' in repr(again)


def test_a_step_shows_the_samples_that_were_drawn_for_those_that_could_not_be_made(home):
    run = vsr.train(config(home, name='holes', bad_files='skip', batch_size=4), cbs=[seen := Seen(), Gone(2, 5)])
    holes = set(run.records('redrawn').step - 1)
    assert holes and holes < set(range(6)) and all(at(run, s).same for s in range(6))
    for s in range(6):
        for mine, theirs in zip(at(run, s).batches, seen.batches[s], strict=True): assert all(torch.equal(a, b) for a, b in zip(mine, theirs, strict=True))


def test_a_file_that_was_left_out_may_be_taken_away_but_is_a_new_one_when_put_right(home):
    good = (home/'films'/'clip_1.mp4').read_bytes()
    (home/'films'/'clip_1.mp4').write_bytes(good[:200])
    with pytest.warns(UserWarning, match='1 of 3 files are left out'): run = vsr.train(config(home, name='most', bad_files='skip', steps=3))
    assert [*run.chapters[0].data['train']] == ['clip_0.mp4', 'clip_2.mp4'] and [*run.chapters[0].data['left']] == ['clip_1.mp4']
    (home/'films'/'clip_1.mp4').unlink()
    run = vsr.train(config(home, name='most', bad_files='skip', steps=4))                                                     # as the warning says
    assert [c.changed for c in run.chapters] == [[], ['steps: 3 -> 4']] and all(at(run, s).same for s in range(4))
    (home/'films'/'clip_1.mp4').write_bytes(good)
    with pytest.raises(RunError, match='clip_1.mp4: added'): vsr.train(config(home, name='most', bad_files='skip', steps=6))
    run = vsr.train(config(home, name='most', bad_files='skip', steps=6, amend=True))
    assert [*run.chapters[-1].data['train']] == ['clip_0.mp4', 'clip_2.mp4', 'clip_1.mp4'] and all(at(run, s).same for s in range(6))


def test_a_change_in_the_middle_of_a_long_file_is_noticed(home):
    write_video(home/'films'/'noise.mp4', (np.random.default_rng(i).integers(0, 256, (128, 160, 3), np.uint8) for i in range(20)), preset='ultrafast')
    vsr.train(config(home, name='middle', steps=2))
    data = bytearray((home/'films'/'noise.mp4').read_bytes()); assert len(data) > 4*65536
    data[len(data)//2] ^= 1; (home/'films'/'noise.mp4').write_bytes(data)
    with pytest.raises(RunError, match='noise.mp4: its content changed'): vsr.train(config(home, name='middle', steps=4))


def test_a_fork_of_what_was_moved_aside_has_the_records_of_that_history(home):
    run = vsr.train(config(home, name='turns', steps=8)); truth = run.records('train').loss.tolist()
    vsr.train(config(home, name='turns', steps=8, resume_from=4, lr=1e-2, amend=True))
    aside = next((run.path/'checkpoints'/'later').glob('step_00000008_????????'))
    fork = vsr.train(config(home, name='fork', steps=9, fork_from=str(aside)))
    assert fork.records('train').loss.tolist()[:8] == truth and fork.records('chapter').step.tolist() == [8]


def test_scores_of_other_held_out_clips_are_not_compared(home, capsys):
    told = dict(name='judged', valid=['clip_2*'], preview_every=2, best='psnr')
    vsr.train(config(home, **told, steps=4)); rng = np.random.default_rng(0)
    write_video(home/'films'/'clip_2.mp4', (rng.integers(0, 256, (64, 80, 3)).astype(np.uint8) for _ in range(20)), preset='ultrafast')
    run = vsr.train(config(home, **told, steps=6)); valid = run.records('valid').set_index('step').psnr
    assert valid[6] < valid[2] - 10 and run.info['best']['value'] == valid.loc[4:].max() and 'clip_2.mp4: its content changed): scores do not compare' in capsys.readouterr().out
    run = vsr.train(config(home, **told, steps=8)); assert 'do not compare' not in capsys.readouterr().out and len(run.chapters) == 3


@pytest.mark.parametrize('first, then', [('adamw', 'muon'), ('muon', 'adamw')])
def test_another_optimizer_goes_on(home, first, then):
    run = vsr.train(config(home, optimizer=first))
    with pytest.raises(RunError, match=f'optimizer: {first} -> {then}'): vsr.train(config(home, optimizer=then, steps=8))
    longer = vsr.train(config(home, optimizer=then, steps=8, amend=True))
    assert longer.finished and longer.chapters[-1].step == 6 and longer.records('train').step.tolist() == [*range(1, 9)]
    fork = vsr.train(config(home, name='fork', fork_from=f'{run.path}@4', optimizer=then))
    again = vsr.train(config(home, name='again', fork_from=f'{run.path}@4', optimizer=then))
    assert fork.finished and same(weights(fork), weights(again)) and not same(weights(fork), weights(longer))
