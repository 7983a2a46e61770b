"Reads everything from settings.ini."
from configparser import ConfigParser
from pathlib import Path
from setuptools import find_packages, setup

here = Path(__file__).parent
config = ConfigParser(delimiters=['='], interpolation=None)
config.read(here/'settings.ini', encoding='utf-8')
cfg = config['DEFAULT']
extras = {k.removesuffix('_requirements'): v.split() for k, v in cfg.items() if k.endswith('_requirements')}

setup(
    name=cfg['lib_name'], version=cfg['version'], description=cfg['description'], license='Apache-2.0',
    author=cfg['author'], author_email=cfg['author_email'], url=cfg['git_url'], keywords=cfg['keywords'],
    long_description=(here/'README.md').read_text(encoding='utf-8'), long_description_content_type='text/markdown',
    packages=find_packages(include=['trainlab', 'trainlab.*']), python_requires='>=' + cfg['min_python'],
    install_requires=cfg['requirements'].split(), extras_require=extras, zip_safe=False,
    entry_points={'console_scripts': ['trainlab = trainlab.launch.cli:main'],
                  'papermill.engine': ['trainlab = trainlab.launch.job:Engine'],
                  'nbdev': [f"{cfg['lib_name']}={cfg['lib_path']}._modidx:d"]},
)
