"Processes that die alone: the one that started the job, the kernel, a worker, a notebook server. The others end, too, and the same command goes on."
import importlib.util, json, os, re, signal, socket, subprocess, sys, time, urllib.request, uuid
from pathlib import Path
import nbformat, pytest
from nbformat.v4 import new_code_cell, new_notebook
from trainlab.run.weights import Weights
from test_faults import HERE, SCRIPT, alone, ends, finishes, same, start, steps, unprivileged, until

PYTHON = dict(name='python3', display_name='python3', language='python')
KILLED = re.compile(r'Process \d+ of [^ ]+ on [^ ]+ began on [^ ]+ and was killed: what came after step (\d+) is trained again\.')
LINUX = pytest.mark.skipif(not Path('/proc/self/task').exists(), reason='the processes of a job are found in /proc')


def below(pid):
    "All processes that a process has started, and what they have."
    try: found = [int(p) for task in Path(f'/proc/{pid}/task').iterdir() for p in (task/'children').read_text().split()]
    except FileNotFoundError: return []
    return [*found, *(p for child in found for p in below(child))]


def lives(pid):
    try: return Path(f'/proc/{pid}/stat').read_text().rpartition(')')[2].split()[0] not in 'ZX'
    except (FileNotFoundError, ProcessLookupError): return False


def all_end(pids, most=30):
    "They are gone within so many seconds; how long it took."
    began = time.monotonic()
    while left := [p for p in pids if lives(p)]:
        assert time.monotonic() - began < most, f'{left} still live after {most} s'
        time.sleep(.05)
    return time.monotonic() - began


def job(root, *engine, pause=.02, **env):
    "A notebook with one cell that trains, under papermill."
    code = SCRIPT.format(here=str(HERE), root=str(root), name='run', workers=2, pause=pause)
    nbformat.write(new_notebook(cells=[new_code_cell(code)], metadata=dict(kernelspec=PYTHON)), root/'in.ipynb')
    return subprocess.Popen([sys.executable, '-m', 'papermill', 'in.ipynb', 'out.ipynb', '--no-progress-bar', *engine], cwd=root, stdin=subprocess.DEVNULL,
                            stdout=(root/'log').open('w'), stderr=subprocess.STDOUT, env=os.environ | dict(IN_TEST='', PYTHONWARNINGS='ignore') | env)


def training(root, process):
    "Wait until it trains with its workers; the kernel, and those."
    while max(steps(root, 'run'), default=0) < 10:
        assert process.poll() is None, (root/'log').read_text()[-3000:]
        time.sleep(.02)
    [kernel, *_] = below(process.pid)
    return kernel, below(kernel)


def shown(root): return ' '.join(str(o.get('data', o.get('text', ''))) for c in nbformat.read(root/'out.ipynb', 4).cells for o in c.get('outputs', ()))


def goes_on(root, engine, alone, killed):
    "The same command, given at once, comes to the same bits, and says what had happened."
    again = job(root, *engine, pause=0)
    assert again.wait(300) == 0, (root/'log').read_text()[-3000:]
    assert same(Weights(root/'run').tensors(), alone)
    told = KILLED.search(shown(root))
    assert bool(told) == killed and (not told or int(told[1]) >= 10)
    print(told and told[0])


DIED = 'DeadKernelError: Kernel died', 'DeadKernelError: The kernel was killed; by the system, if memory ran out. The same command continues.'
GONE = r'RunError: DataLoader worker \(pid \d+\) is killed by signal: Killed. The system does so if memory runs out. Free some, or give fewer workers, then run the same again: it continues from step \d+\.$'
ENGINE = '--engine', 'trainlab'
CASES = [((), 'papermill'), (ENGINE, 'papermill'), (ENGINE, 'kernel'), (ENGINE, 'worker 0'), (ENGINE, 'worker 1'), ((), 'kernel'), ((), 'worker 0')]


@LINUX
@pytest.mark.parametrize('engine, victim', [pytest.param(*x, marks=() if i == 2 else pytest.mark.slow) for i, x in enumerate(CASES)])
def test_any_process_of_a_job_may_be_killed(tmp_path, alone, engine, victim):
    process = job(tmp_path, *engine); kernel, workers = training(tmp_path, process)
    tree = dict(papermill=process.pid, kernel=kernel) | {f'worker {i}': p for i, p in enumerate(workers)}
    os.kill(tree[victim], signal.SIGKILL)
    code = process.wait(60); said = (tmp_path/'log').read_text()
    if victim == 'papermill': assert code == -signal.SIGKILL
    elif victim == 'kernel': assert code == 138 and said.strip().splitlines()[-1].endswith(DIED[bool(engine)])
    else: assert code == 1 and re.search(GONE, said.strip().splitlines()[-1])
    print(victim, said.strip().splitlines()[-1])
    if victim != 'papermill': assert all_end(tree.values()) < 30
    goes_on(tmp_path, engine, alone, killed=not victim.startswith('worker'))
    all_end(tree.values())


@pytest.fixture
def server(tmp_path):
    "A notebook server on this machine alone; (its process, what asks it, where it notes its kernels)."
    if not importlib.util.find_spec('jupyter_server'): pytest.skip('jupyter_server is not installed')
    with socket.socket() as s:
        s.bind(('127.0.0.1', 0)); port = s.getsockname()[1]
    token, notes = uuid.uuid4().hex, tmp_path/'runtime'
    env = os.environ | {f'JUPYTER_{k}_DIR': str(tmp_path/k.lower()) for k in ('RUNTIME', 'CONFIG', 'DATA')} | dict(IPYTHONDIR=str(tmp_path/'ipython'))
    process = subprocess.Popen([sys.executable, '-m', 'jupyter_server', '--ip=127.0.0.1', f'--port={port}', '--ServerApp.port_retries=0', '--no-browser', '--allow-root',
        f'--IdentityProvider.token={token}', f'--ServerApp.root_dir={tmp_path}'], env=env, stdin=subprocess.DEVNULL, stdout=(tmp_path/'server.log').open('w'), stderr=subprocess.STDOUT)
    def ask(path, **data):
        request = urllib.request.Request(f'http://127.0.0.1:{port}/api{path}', json.dumps(data).encode() if data else None, dict(Authorization=f'token {token}'))
        with urllib.request.urlopen(request, timeout=30) as answer: return json.load(answer)
    end = time.monotonic() + 60
    while True:
        try: ask(''); break
        except OSError:
            assert process.poll() is None and time.monotonic() < end, (tmp_path/'server.log').read_text()
            time.sleep(.1)
    yield process, ask, notes
    process.kill(); process.wait()


def trains_in(server, root):
    "A cell of a notebook that trains; the kernel, and its workers."
    from jupyter_client import BlockingKernelClient
    process, ask, notes = server
    kernel = ask('/kernels', name='python3')['id']
    client = BlockingKernelClient(connection_file=str(notes/f'kernel-{kernel}.json'))
    client.load_connection_file(); client.start_channels(); client.wait_for_ready(60)
    client.execute(SCRIPT.format(here=str(HERE), root=str(root), name='run', workers=2, pause=.02))
    until(root, 'run', 10, process); client.stop_channels()
    [pid] = below(process.pid)[:1]
    return pid, below(pid)


@LINUX
@pytest.mark.parametrize('number', [signal.SIGKILL, pytest.param(signal.SIGTERM, marks=pytest.mark.slow)])
def test_a_notebook_server_that_dies(tmp_path, alone, server, number):
    "Killed, its kernel ends within a second or two, and the next start says so. Told to end, it lets the run save."
    kernel, workers = trains_in(server, tmp_path)
    server[0].send_signal(number); server[0].wait(60)
    print(f'{number.name}: all gone after {all_end([kernel, *workers]):.1f} s')
    again = start(tmp_path, 'run', workers=2, pause=0); said, _ = again.communicate(timeout=300)
    assert again.returncode == 0 and same(Weights(tmp_path/'run').tensors(), alone)
    history = json.loads((tmp_path/'run'/'run.json').read_text())['history']
    if number == signal.SIGKILL: assert KILLED.search(said) and 'stopped' not in history[0]
    else: assert not KILLED.search(said) and history[0]['stopped'] in ('SIGINT', 'SIGTERM')
    print(said.splitlines()[0])


@LINUX
def test_what_a_killed_process_left_is_waited_for(tmp_path, alone):
    "Workers notice within seconds that their trainer is gone; a start at once comes to the same bits, with any version of filelock."
    process = start(tmp_path, 'run', workers=2); until(tmp_path, 'run', 10, process)
    workers = below(process.pid); process.kill(); process.wait()
    again = start(tmp_path, 'run', workers=2, pause=0); said, _ = again.communicate(timeout=300)
    assert again.returncode == 0 and KILLED.search(said) and same(Weights(tmp_path/'run').tensors(), alone)
    all_end(workers)


HOLDS = '''
import fcntl, sys, time
f = open(sys.argv[1], 'a'); fcntl.flock(f, fcntl.LOCK_EX); print('held', flush=True); time.sleep(600)
'''


def holder(root, **who): (root/'.run.holder.json').write_text(json.dumps(dict(pid=1, user='ann', host='desk', since='2026-01-01T12:00:00+00:00') | who))


def test_a_holder_on_another_machine_is_named(tmp_path, alone):
    "While it holds the lock, and when it is gone without having let go."
    other = subprocess.Popen([sys.executable, '-c', HOLDS, str(tmp_path/'.run.lock')], stdout=subprocess.PIPE, text=True); other.stdout.readline(); holder(tmp_path)
    try: ends(start(tmp_path, 'run'), 'run is being trained by process 1 of ann on desk since 2026-01-01T12:00:00+00:00. Wait for it, stop it by a file called STOP in its folder, or take another name.')
    finally: other.kill(); other.communicate()
    again = start(tmp_path, 'run', pause=0); said, _ = again.communicate(timeout=120)
    assert again.returncode == 0 and same(Weights(tmp_path/'run').tensors(), alone)
    assert 'Process 1 of ann on desk began on 2026-01-01T12:00:00+00:00 and was killed: what came after step 0 is trained again. If it still trains there, stop one of the two.' in said


def test_a_holder_file_that_says_nothing_stops_nobody(tmp_path, alone):
    for text in ('{"pi', '[]'):
        (tmp_path/'.run.holder.json').write_text(text)
        assert same(finishes(tmp_path, 'run'), alone) and not (tmp_path/'.run.holder.json').exists()


@pytest.mark.skipif(not hasattr(os, 'geteuid') or os.geteuid() != 0, reason='only root makes files of another user')
def test_a_run_of_somebody_else_is_not_ours_to_train(tmp_path, unprivileged):
    (tmp_path/'.run.lock').touch(0o644); os.chown(tmp_path/'.run.lock', 12345, 12345)
    ends(start(tmp_path, 'run', **unprivileged), '.run.lock belongs to user 12345 and cannot be written (Permission denied). Take another name, or set root to a folder of yours.')


@LINUX
@pytest.mark.slow
def test_a_kernel_that_cannot_know_that_it_is_alone_is_named_and_can_be_stopped(tmp_path, alone):
    "One that another program started in between, as `conda run` does, trains on: a start says who, and how to stop it."
    spec = tmp_path/'kernels'/'wrapped'; spec.mkdir(parents=True)
    (spec/'kernel.json').write_text(json.dumps(dict(argv=['sh', '-c', f'{sys.executable} -m ipykernel_launcher -f "$0"; true', '{connection_file}'], display_name='wrapped', language='python')))
    process = job(tmp_path, '-k', 'wrapped', JUPYTER_PATH=str(tmp_path), pause=.3); shell, [kernel, *workers] = training(tmp_path, process)
    process.kill(); process.wait(); time.sleep(2); assert lives(kernel)
    try:
        ends(start(tmp_path, 'run'), f'run is being trained by process {kernel} of', 'Wait for it, stop it by a file called STOP in its folder, or take another name.')
        (tmp_path/'run'/'STOP').touch(); all_end(workers, 60)
        assert same(finishes(tmp_path, 'run', workers=2), alone)
    finally: os.kill(kernel, signal.SIGKILL)
    all_end([shell, kernel])
