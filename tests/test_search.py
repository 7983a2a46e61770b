"Searches with Optuna: a trial is pruned and continued, a search is interrupted and goes on; no bit differs from an undisturbed run."
import json, os, signal, sys, threading
import pytest
from test_sweep import JOB, TINY, alone, out_of_test, same, saved, until   # noqa: F401, two of them are fixtures
from trainlab.launch import search as module
from trainlab.launch.sweep import sweep
from trainlab.run.folder import RunError

VALIDATED = TINY | dict(preview_every=10)
NAMES = 'rates-lr=0.001', 'rates-lr=0.002'

@pytest.fixture
def optuna(monkeypatch):
    monkeypatch.setattr(module, 'LOOK_EVERY', .1); found = pytest.importorskip('optuna'); found.logging.set_verbosity(found.logging.WARNING); return found

def search(study, root, trials=2, score='psnr'):
    return module.search(JOB, study, lambda t: dict(lr=t.suggest_categorical('lr', [1e-3, 2e-3])), trials, score, VALIDATED, 'rates', root, at_once=2)
def both(study):
    for lr in (1e-3, 2e-3): study.enqueue_trial(dict(lr=lr))
    return study
def history(root, name): return json.loads((root/name/'run.json').read_text())['history']


def test_a_pruned_trial_has_saved_and_the_plain_job_goes_on(tmp_path, alone, optuna):
    class First(optuna.pruners.BasePruner):
        def prune(self, study, trial): return trial.params['lr'] == 1e-3
    study = both(optuna.create_study(direction='maximize', pruner=First()))
    rows = {r['trial']: r for r in search(study, tmp_path)}; at = saved(tmp_path, NAMES[0])
    assert {n: r['state'] for n, r in rows.items()} == {NAMES[0]: 'pruned', NAMES[1]: 'finished'} and 10 <= at < 60, rows
    told = {t.params['lr']: t for t in study.trials}; assert told[1e-3].state.name == 'PRUNED' and told[2e-3].value == rows[NAMES[1]]['psnr']
    assert list(told[2e-3].intermediate_values) == [10, 20, 30, 40, 50, 60] and not (tmp_path/NAMES[0]/'STOP').exists()
    assert {r['trial']: r['state'] for r in search(study, tmp_path)} == {NAMES[0]: 'pruned', NAMES[1]: 'finished'} and saved(tmp_path, NAMES[0]) == at
    [row] = sweep(JOB, dict(lr=[1e-3]), fixed=VALIDATED, name='rates', root=tmp_path)
    assert row['state'] == 'finished' and history(tmp_path, NAMES[0])[-1]['from_step'] == at and same(tmp_path, alone, NAMES)
    assert {r['trial']: r['state'] for r in search(study, tmp_path)} == dict.fromkeys(NAMES, 'finished')


@pytest.mark.slow
def test_an_interrupted_search_goes_on_with_its_trials(tmp_path, alone, optuna):
    storage = f'sqlite:///{tmp_path}/study.db'
    def study(): return optuna.create_study(study_name='rates', storage=storage, direction='maximize', load_if_exists=True)
    both(study())
    def interrupt(): until(lambda: all(saved(tmp_path, n) >= 10 for n in NAMES), most=300); os.kill(os.getpid(), signal.SIGINT)
    threading.Thread(target=interrupt, daemon=True).start()
    with pytest.raises(KeyboardInterrupt): list(search(study(), tmp_path))
    assert [t.state.name for t in study().trials] == ['RUNNING']*2
    rows = list(search(study(), tmp_path)); assert sorted(r['trial'] for r in rows) == list(NAMES) and {r['state'] for r in rows} == {'finished'}
    assert all(len(history(tmp_path, n)) == 2 and history(tmp_path, n)[1]['from_step'] >= 10 for n in NAMES) and same(tmp_path, alone, NAMES)
    assert {t.params['lr']: t.value for t in study().trials} == {r['lr']: r['psnr'] for r in rows}
    fresh = both(optuna.create_study(direction='maximize'))       # it knows nothing; the runs are there
    assert {r['trial'] for r in search(fresh, tmp_path)} == set(NAMES) and [t.state.name for t in fresh.trials] == ['COMPLETE']*2


def test_a_score_that_is_none_is_told_with_those_there_are(tmp_path, optuna):
    few = dict(VALIDATED, steps=4, warmup=1, preview_every=4); study = optuna.create_study()
    [row] = module.search(JOB, study, lambda t: dict(lr=t.suggest_categorical('lr', [1e-3])), 1, 'beauty', few, 'one', tmp_path)
    assert row['state'] == 'failed' and 'beauty is no score of one-lr=0.001. There are: ' in row['error'] and 'psnr' in row['error'] and study.trials[0].state.name == 'FAIL'


def test_without_optuna_it_is_said_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, 'optuna', None)
    with pytest.raises(RunError, match=r"pip install 'trainlab\[optuna\]'"): module.search(JOB, None, None, root=tmp_path)
