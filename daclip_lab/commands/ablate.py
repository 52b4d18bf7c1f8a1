"""ablate: run a study, and list those that there are."""

import argparse
import shlex
import sys
from pathlib import Path

from daclip_lab.commands import arguments
from daclip_lab.errors import InputError
from daclip_lab.files.storage import atomic_write, check_output, check_output_folder, write_text


def add_to(commands: arguments.Commands) -> None:
    """Add the command to the parser."""
    add = arguments.command(commands, ablate, *arguments.NETWORKS).add_argument
    add("study", nargs="?", metavar="STUDY", help="its name, or your own as module:NAME")
    add("--list", action="store_true", help="list the studies, and end")
    add("--out", metavar="DIR", help="results; the runs that it holds are not done again")
    add("--parallel", type=int, default=1, metavar="N", help="runs at a time (default: 1)")
    add("--seeds", type=int, metavar="K", help="runs of each variant (default: the study's own)")
    add("--variants", nargs="+", metavar="NAME", help="only these variants")
    for part in ("train", "test"):
        photos = f"folders of clean photos to {part} on (default: the sample photos)"
        add(f"--{part}", nargs="+", metavar="DIR", help=photos)
    imports = "modules to import first, such as one that registers a restorer"
    add("--imports", nargs="+", default=[], metavar="MODULE", help=imports)
    add("--smoke", action="store_true", help="at a size that runs in seconds, to try it out")
    publish = "afterwards copy what is worth keeping: table, description, crops of one seed"
    add("--publish", metavar="DIR", help=publish)
    page = "write a page on all published studies, with a figure of each beside it, and end"
    add("--page", metavar="FILE", help=page)


def ablate(options: argparse.Namespace) -> None:
    """Run a study of what matters: variants, each under several seeds; an interrupted one goes on."""
    if options.list:
        return print(listing())
    if options.page:
        return write_page(Path(options.page))
    if options.study is None or options.out is None:
        raise InputError("wanted: ablate STUDY --out DIR; ablate --list names the studies")

    from contextlib import closing

    from tqdm.auto import tqdm

    from daclip_lab.ablation.background import BAR, show
    from daclip_lab.ablation.engine import run_study
    from daclip_lab.ablation.power import power_sentence
    from daclip_lab.ablation.results import StudyResults
    from daclip_lab.ablation.studies import study
    from daclip_lab.data.photos import image_folder, sample_photos

    chosen = study(options.study)
    if options.smoke:
        chosen = chosen.smoke()
    train, test = (
        image_folder(*folders) if folders else sample_photos(part)
        for part, folders in (("train", options.train), ("test", options.test))
    )
    runs = run_study(
        chosen,
        options.out,
        seeds=options.seeds,
        variants=options.variants,
        train=train,
        test=test,
        parallel=options.parallel,
        device=options.device,
        imports=options.imports,
        weights=options.weights,
        command=command_line(options),
    )
    print(power_sentence(chosen, options.seeds or chosen.seeds, len(test)))
    try:
        with closing(runs), tqdm(total=None, desc=chosen.name, bar_format=BAR) as bar:
            for progress in runs:
                show(progress, bar)
    except KeyboardInterrupt:
        print(f"{options.out} keeps what is done: the same command goes on there", file=sys.stderr)
        raise
    results = StudyResults.read(options.out)
    print(comparisons(results))
    if options.publish:
        results.publish(options.publish)


def listing() -> str:
    """The studies as text: name, number of runs, whether results are published, question."""
    from daclip_lab.ablation.results import StudyResults
    from daclip_lab.ablation.studies import NAMES, study

    lines = []
    for name in NAMES:
        found = study(name)
        try:
            StudyResults.published(name)
            state = "published"
        except InputError:
            state = "not run"
        runs = f"{len(found.variants)} x {found.seeds} runs"
        lines.append(f"{name:13}{runs:14}{state:11}{found.question}")
    return "\n".join(lines)


def comparisons(results) -> str:
    """The differences that a study is for, as text."""
    from daclip_lab.ablation.statistics import compare

    info = results.info
    table = compare(results.table, info, info["metric"])
    lines = [f"{info['metric']}: difference in {info['unit']}, with 95 % intervals for all at once"]
    for row in table.itertuples():
        interval = f"{row.difference:+.3g} ({row.low_all:+.3g} to {row.high_all:+.3g})"
        lines.append(f"{row.variant} against {row.against}: {interval}, {row.decided}")
    return "\n".join(lines)


def write_page(file: Path) -> None:
    """Write the page on all published studies, and the figure of each into a folder named like the page."""
    from daclip_lab.ablation.page import page
    from daclip_lab.ablation.power import published
    from daclip_lab.figures.ablation.headline import conditioning_bars
    from daclip_lab.figures.ablation.studies import study_figure
    from daclip_lab.figures.primitives import figure_png

    file = check_output(file, {".md"})
    folder = check_output_folder(file.with_suffix(""))
    folder.mkdir(exist_ok=True)
    for results in published():
        draw = conditioning_bars if results.info["name"] == "headline" else study_figure
        with atomic_write(folder / f"{results.info['name']}.png") as part:
            part.write_bytes(figure_png(draw(results)))
    write_text(file, page(folder.name))


def command_line(options: argparse.Namespace) -> str:
    """The command as it would be typed, for the description of the results."""
    words = ["daclip-lab", "ablate", options.study]
    for name in ("out", "parallel", "seeds", "variants", "train", "test", "device", "imports"):
        if value := getattr(options, name):
            words += [f"--{name}", *map(str, value if isinstance(value, list) else [value])]
    if options.weights != "lab":
        words += ["--weights", options.weights]
    return shlex.join(words + ["--smoke"] * options.smoke)
