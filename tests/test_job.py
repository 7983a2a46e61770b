"Notebooks as jobs: what a mistyped parameter, a signal and a second start do."
import json, os, re, signal, subprocess, sys, time
from pathlib import Path
import pytest, yaml
from trainlab.run.checkpoint import verify
from trainlab.run.config import configure, parameters_cell
from trainlab.run.folder import RunError
from trainlab.audio_vae.train import system as audio_vae
from trainlab.video_vae.finetune import system as finetune
from trainlab.video_vae.train import system as video_vae
from trainlab.vsr.train import system as vsr

REPO = Path(__file__).parent.parent
JOB = REPO/'nbs'/'train_vsr.ipynb'
SYSTEMS = dict(train_vsr=vsr, train_video_vae=video_vae, train_audio_vae=audio_vae, finetune=finetune)
TINY = dict(steps=400, num_blocks=3, crop=24, batch_size=1, preview_every=400, save_every=1000)


def papermill(folder, *args, **parameters):
    "A job, started; its output goes to a file."
    pairs = [str(x) for k, v in (TINY | parameters).items() for x in ('-p', k, v)]
    return subprocess.Popen([sys.executable, '-m', 'papermill', str(JOB), 'out.ipynb', '--no-progress-bar', *args, *pairs], cwd=folder,
                            stdin=subprocess.DEVNULL, stdout=(folder/'log').open('w'), stderr=subprocess.STDOUT, env=os.environ | dict(IN_TEST=''))


def steps(folder, name='vsr'):
    "Training steps on record."
    path = folder/'runs'/name/'metrics.jsonl'
    rows = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    return [r['step'] for r in rows if r['kind'] == 'train']


@pytest.mark.parametrize('wrong, says', [(dict(fraems=5), "'fraems' is no parameter. Did you mean frames: int = 7"), (dict(lr='fast'), "lr = 'fast' does not fit"),
                                         (dict(learning_rate=1), "'learning_rate' is called lr here: lr: float = 0.001")])
def test_wrong_parameters_end_at_once(tmp_path, wrong, says):
    job = papermill(tmp_path, **wrong)
    assert job.wait(120) != 0
    assert says in (tmp_path/'log').read_text()
    assert not (tmp_path/'runs').exists()


@pytest.mark.parametrize('number', [pytest.param(signal.SIGINT, marks=pytest.mark.slow), signal.SIGTERM])
def test_a_signal_saves_and_the_same_command_continues(tmp_path, number):
    job = papermill(tmp_path, '--engine', 'trainlab')
    while len(steps(tmp_path)) < 20 and job.poll() is None: time.sleep(.02)
    began = time.monotonic(); job.send_signal(number)
    checkpoints = tmp_path/'runs'/'vsr'/'checkpoints'
    while not list(checkpoints.glob('step_*')) and time.monotonic() - began < 30: time.sleep(.01)
    took = time.monotonic() - began
    assert job.wait(60) == 128 + number
    [folder] = checkpoints.glob('step_*'); verify(folder)
    at = int(folder.name[5:]); out = json.loads((tmp_path/'out.ipynb').read_text())
    assert steps(tmp_path) == list(range(1, at + 1)) and out['metadata']['papermill']['stopped'] == number.name
    assert took < 3, took            # one step and a second, and what a busy machine adds
    print(f'{number.name}: a checkpoint at step {at}, {took:.2f} s after the signal')

    assert papermill(tmp_path, '--engine', 'trainlab').wait(300) == 0
    assert steps(tmp_path) == list(range(1, TINY['steps'] + 1))
    assert json.loads((tmp_path/'runs/vsr/run.json').read_text())['history'][1]['from_step'] == at

    before = (tmp_path/'runs/vsr/metrics.jsonl').read_bytes()
    assert papermill(tmp_path).wait(120) == 0
    assert (tmp_path/'runs/vsr/metrics.jsonl').read_bytes() == before


@pytest.mark.parametrize('job', SYSTEMS)
def test_the_parameters_cell_is_what_its_config_says(job):
    cells = json.loads((REPO/'nbs'/f'{job}.ipynb').read_text())['cells']
    [cell] = [''.join(c['source']) for c in cells if 'parameters' in c['metadata'].get('tags', [])]
    assert cell == parameters_cell(SYSTEMS[job].config)


@pytest.mark.parametrize('preset', sorted(p.stem for p in (REPO/'nbs/presets').glob('*.yaml')))
def test_presets_are_accepted(preset):
    text = (REPO/'nbs/presets'/f'{preset}.yaml').read_text()
    job = re.search(r'# papermill nbs/(\w+)\.ipynb out\.ipynb -f nbs/presets/' + preset, text)[1]   # the command it documents
    cfg = configure(SYSTEMS[job].config, yaml.safe_load(text))
    if job == 'train_vsr': assert cfg.name == f'vsr_{preset}' and preset in (f'{cfg.category}_{cfg.frames}', f'{cfg.category}_reference')
    else: assert cfg.name == preset and cfg.plan(dict.fromkeys(cfg.curriculum.shapes, 1000)).total > 0


def test_a_documented_curriculum_is_trained(tmp_path):
    "The phases of a preset, made small, through papermill's own reading of YAML."
    phases = yaml.safe_load((REPO/'nbs/presets/video_vae_lora_then_full.yaml').read_text())['phases']
    small = yaml.safe_dump(dict(phases=[p | dict(resolution=32, frames=5, steps=4, warmup=1) for p in phases], preview_every=0, batch_size=2, rank=2))
    done = subprocess.run([sys.executable, '-m', 'papermill', str(REPO/'nbs/train_video_vae.ipynb'), 'out.ipynb', '--no-progress-bar', '-y', small], cwd=tmp_path,
                          stdin=subprocess.DEVNULL, capture_output=True, text=True, env=os.environ | dict(IN_TEST=''), timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    marks = [json.loads(line) for line in (tmp_path/'runs/video_vae/metrics.jsonl').read_text().splitlines() if '"mark"' in line]
    assert [(m['step'], m['phase']) for m in marks] == [(1, 'adapter'), (5, 'all')]


def test_a_finished_run_says_what_its_own_job_accepts(tmp_path):
    "Its config.yaml, given with `papermill -f`, is the run again, and the run is finished."
    common = dict(root=str(tmp_path), steps=4, resolution=16, frames=5, batch_size=2, preview_every=0)
    base = video_vae.train(configure(video_vae.config, common | dict(name='base')))
    values = common | dict(init_from=str(base.path), training_mode='lora_then_full', full_steps=2, rank=2)
    run = finetune.train(configure(finetune.config, values))
    again = configure(finetune.config, yaml.safe_load((run.path/'config.yaml').read_text()))
    assert again == run.config and again.training_mode == 'lora_then_full'
    before = (run.path/'metrics.jsonl').read_bytes()
    assert finetune.train(again).path == run.path and (run.path/'metrics.jsonl').read_bytes() == before
    with pytest.raises(RunError, match='full_lr: 1e-05 -> 0.001'): finetune.train(again.model_copy(update=dict(full_lr=1e-3)))
