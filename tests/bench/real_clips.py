"The real clips that benchmarks train on and score with: no scene, person or film is in two parts."
from pathlib import Path
from trainlab.media.samples import media_folder

TRAIN = 'bigbuckbunny bbb_film_0_30 bikes blocks cars face_talk asl_again asl_help asl_no asl_yes'.split()


def media_clips() -> Path:
    "The media folder, or the end of the program."
    found = media_folder()
    if found is None: raise SystemExit('the media folder is missing: set TRAINLAB_DATA')
    return found

def place(media: Path, name: str) -> Path:
    "The file of a clip."
    return next((media/'video').glob(f'{name}.*'))

def training_folder(media: Path, names: list[str], to: Path) -> Path:
    "A folder of links to the clips."
    to.mkdir(parents=True, exist_ok=True)
    for path in (place(media, name) for name in names):
        if not (to/path.name).exists(): (to/path.name).symlink_to(path.resolve())
    return to
