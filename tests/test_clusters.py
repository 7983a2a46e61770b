"Sweeps on Ray and on submitit's executor for this machine: workers and kernels are killed; all rows come, and no bit differs."
import importlib.util, json, os, shutil, signal, subprocess, sys, tempfile, threading
from pathlib import Path
import pytest
from test_sweep import JOB, TINY, alone, gone, holder, out_of_test, same, saved, until   # noqa: F401, two of them are fixtures
from trainlab.launch.sweep import sweep
from trainlab.run.folder import RunError

CLUSTERS = dict(ray=dict(on='ray', ray=dict(num_cpus=1)), slurm=dict(on='slurm', at_once=2, slurm=dict(cluster='local', minutes=30)))
MODULES = dict(ray='ray', slurm='submitit')
NAMES = 'rates-lr=0.001', 'rates-lr=0.002'


@pytest.fixture(autouse=True)
def ray_here(monkeypatch):
    "Ray's own files go with the test; their path must be short."
    folder = tempfile.mkdtemp(prefix='r', dir='/tmp'); monkeypatch.setenv('RAY_TMPDIR', folder); yield
    shutil.rmtree(folder, ignore_errors=True)

@pytest.fixture(params=[pytest.param('ray', marks=pytest.mark.slow), 'slurm'])
def cluster(request):
    there(MODULES[request.param]); return CLUSTERS[request.param]

def there(module):
    "Ray must not be imported here: it reads how to listen when it is."
    if importlib.util.find_spec(module) is None: pytest.skip(f'{module} is not installed')


def parent(pid): return int(Path(f'/proc/{pid}/stat').read_text().rpartition(')')[2].split()[1])
def history(root, name): return json.loads((root/name/'run.json').read_text())['history']

def kill_once(root, name, above):
    "SIGKILL for the process so many above the one that trains, once something is saved."
    def kill():
        until(lambda: saved(root, name) >= 10, most=300); pid = holder(root, name)
        for _ in range(above): pid = parent(pid)
        at[name] = saved(root, name); os.kill(pid, signal.SIGKILL)
    at = {}; threading.Thread(target=kill, daemon=True).start()
    return at


@pytest.mark.skipif(sys.platform != 'linux', reason='processes are followed through /proc')
def test_a_killed_worker_and_a_killed_kernel_go_on_and_a_failing_job_is_told(tmp_path, alone, cluster):
    worker, kernel = kill_once(tmp_path, NAMES[0], 2), kill_once(tmp_path, NAMES[1], 0)
    rows = {r['trial']: r for r in sweep(JOB, dict(lr=[1e-3, 2e-3, 'fast']), fixed=TINY, name='rates', root=tmp_path, **cluster)}
    assert {n: r['state'] for n, r in rows.items()} == {NAMES[0]: 'finished', NAMES[1]: 'finished', 'rates-lr=fast': 'failed'}, rows
    assert "lr = 'fast' does not fit" in rows['rates-lr=fast']['error'] and worker and kernel
    for name, at in (worker | kernel).items(): assert len(history(tmp_path, name)) == 2 and history(tmp_path, name)[1]['from_step'] >= at
    assert history(tmp_path, NAMES[0])[0].get('stopped') == 'SIGINT'          # its worker is gone: it saved
    assert same(tmp_path, alone, NAMES)


def test_trials_on_ray_have_the_bits_of_one_process(tmp_path, alone):
    there('ray')
    [row] = sweep(JOB, dict(lr=[1e-3]), fixed=TINY, name='rates', root=tmp_path, **CLUSTERS['ray'])
    assert row['state'] == 'finished' and len(history(tmp_path, NAMES[0])) == 1 and same(tmp_path, alone, NAMES[:1])


def command(root, on):
    given = ['--on', 'ray', '--ray', 'num_cpus=1'] if on == 'ray' else ['--on', 'slurm', '--slurm', 'cluster=local minutes=30']
    return [sys.executable, '-m', 'trainlab.launch.cli', 'sweep', str(JOB), '--vary', 'lr=1e-3', '--name', 'rates', '--root', str(root), *given,
            '--fixed', ' '.join(f'{k}={v}' for k, v in TINY.items())]

@pytest.mark.parametrize('on, number', [('slurm', signal.SIGINT), *(pytest.param(*p, marks=pytest.mark.slow) for p in (
    ('ray', signal.SIGINT), ('ray', signal.SIGTERM), ('slurm', signal.SIGTERM)))])
def test_a_stopped_sweep_saves_and_the_same_goes_on(tmp_path, alone, on, number):
    there(MODULES[on]); cluster = CLUSTERS[on]
    first = subprocess.Popen(command(tmp_path, on), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True)
    until(lambda: saved(tmp_path, NAMES[0]) >= 5, first, 300); trainer = holder(tmp_path, NAMES[0]); first.send_signal(number); said, _ = first.communicate(timeout=300)
    assert first.returncode == 128 + number and gone(trainer), said
    at = saved(tmp_path, NAMES[0]); assert history(tmp_path, NAMES[0])[-1]['stopped'] == 'SIGINT' and not (tmp_path/'rates-jobs'/'STOP').exists()
    [row] = sweep(JOB, dict(lr=[1e-3]), fixed=TINY, name='rates', root=tmp_path, **cluster)
    assert row['state'] == 'finished' and history(tmp_path, NAMES[0])[-1]['from_step'] == at and same(tmp_path, alone, NAMES[:1])


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != 'linux', reason='elsewhere jobs outlive a killed sweep')
def test_a_killed_sweep_on_ray_leaves_no_job_and_goes_on(tmp_path, alone):
    there('ray')
    first = subprocess.Popen(command(tmp_path, 'ray'), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    until(lambda: saved(tmp_path, NAMES[0]) >= 5, first, 300); trainer = holder(tmp_path, NAMES[0]); first.kill(); first.wait()
    [row] = sweep(JOB, dict(lr=[1e-3]), fixed=TINY, name='rates', root=tmp_path, **CLUSTERS['ray'])     # at once: it waits for the run's lock
    assert row['state'] == 'finished' and gone(trainer) and same(tmp_path, alone, NAMES[:1])


@pytest.mark.slow
def test_what_slurm_takes_back_saves_and_goes_on(tmp_path, alone):
    there('submitit')
    from trainlab.launch.slurm import OnSlurm
    from trainlab.launch.sweep import Given, run_all
    from trainlab.launch.jobs import Job
    from trainlab.launch.trials import trials
    place, home = OnSlurm(1, dict(cluster='local', minutes=30)), tmp_path/'rates-jobs'; home.mkdir()
    job = Job(trials('rates', dict(lr=[1e-3]), fixed=TINY, root=tmp_path)[0], JOB, home)
    def preempt():
        until(lambda: saved(tmp_path, NAMES[0]) >= 10, most=300); os.kill(parent(parent(holder(tmp_path, NAMES[0]))), signal.SIGUSR2)
    threading.Thread(target=preempt, daemon=True).start()
    [row] = run_all(place, Given([job], [job.trial]), home)
    assert row['state'] == 'finished' and len(history(tmp_path, NAMES[0])) == 2 and history(tmp_path, NAMES[0])[0]['stopped'] == 'SIGINT', row
    assert job.vain == 0 and same(tmp_path, alone, NAMES[:1])


@pytest.mark.parametrize('module, on, name', [('ray', 'ray', 'ray'), ('submitit', 'slurm', 'slurm')])
def test_what_is_not_installed_is_said_with_what_to_install(tmp_path, monkeypatch, module, on, name):
    monkeypatch.setitem(sys.modules, module, None); monkeypatch.delenv('RAY_ADDRESS', raising=False)
    with pytest.raises(RunError, match=rf"pip install 'trainlab\[{name}\]'"): sweep(JOB, {}, root=tmp_path, on=on)
