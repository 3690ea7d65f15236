"""The verbs for the user's own files: `validate`, `score`, `compare`, `page`, `caption`, `export`.

`score` and `caption` are stages too, when they are given a system of a configuration and no files.
"""

import argparse
from pathlib import Path

from dsacap.cli.contents import Contents
from dsacap.cli.reading import (
    add_document_frequencies,
    add_reading,
    add_references,
    check_standard_input,
    filled,
    filled_path,
    reading_of,
)
from dsacap.cli.stages import opened, row_of, run_stage_verb
from dsacap.common.errors import UserError
from dsacap.common.outputs import output_path

_SEED = "which of the configuration's seeds (default: %(default)s)"


def add_validate(contents: Contents) -> None:
    """Add the verb `validate`."""
    text = "check a file of captions, a split, photos or a configuration"
    valid = contents.add_parser("validate", text, run=_validate)
    text = "predictions, annotations, a split, a folder or zip of photos, a configuration"
    valid.add_argument("files", type=Path, nargs="+", metavar="FILE", help=text)
    add_references(valid)


def add_verbs(contents: Contents) -> None:
    """Add the verbs that score captions and caption photos."""
    _add_score(contents)
    _add_compare(contents)
    _add_page(contents)
    _add_convert(contents)
    _add_caption(contents)
    text = "write a trained system to a new folder, for `dsacap caption --from` and "
    export = contents.verb("export", f"{text}`dsacap.load`", run=_export, row=True)
    export.add_argument("folder", type=Path, metavar="FOLDER", help="must not exist yet")


def _add_score(contents: Contents) -> None:
    text = "score a predictions file; or, as a stage, a system's captions"
    score = contents.verb("score", text, f"{text} (`--system human`: the references)", run=_score)
    text = "captions to score, in any form of docs/scoring.md; - for standard input"
    score.add_argument("predictions", type=Path, nargs="?", help=text)
    score.add_argument("--system", help="a system of the configuration, or human")
    score.add_argument("--seed", type=int, default=0, help=_SEED)
    add_references(score)
    add_document_frequencies(score)
    text = "train captions (COCO), for novelty and the leak check"
    score.add_argument("--train", type=Path, nargs="+", metavar="FILE", help=text)
    text = (
        "fail if SPICE cannot be computed, or leave it out (default: compute it if possible); the "
        "first time its parser is downloaded (385 MB), and a new caption takes 40 ms"
    )
    score.add_argument("--spice", action=argparse.BooleanOptionalAction, help=text)
    text = "with several captions per image, compute AllSPICE and the best of k by SPICE too"
    score.add_argument("--all-spice", action="store_true", help=text)
    score.add_argument("--bertscore", action="store_true", help="compute BERTScore too")
    text = (
        "a transformers model, by name or folder; one that bert-score does not know also needs a "
        "layer, as in my-bert:9 (default: roberta-large)"
    )
    score.add_argument("--bertscore-model", type=filled, metavar="MODEL", help=text)
    text = "folder or zip of photos, for CLIPScore, which needs no references"
    score.add_argument("--photos", type=filled_path, help=text)
    text = "open_clip's name of the encoder for CLIPScore (default: %(default)s)"
    score.add_argument("--encoder", default="ViT-B-32", help=text)
    text = "the encoder's pretrained tag or file (default: %(default)s)"
    score.add_argument("--pretrained", default="openai", help=text)
    text = "write all scores, per image too; - for standard output"
    score.add_argument("--json", type=output_path, metavar="FILE", help=text)
    text = (
        "write metric, image_id, value, ci_low, ci_high, and the domain where there are domains; "
    )
    text += "image_id is empty for the corpus"
    score.add_argument("--csv", type=output_path, metavar="FILE", help=text)


def _add_compare(contents: Contents) -> None:
    text = "compare captions of several systems on the same images"
    compare = contents.add_parser("compare", text, run=_compare)
    text = "captions, in any form of docs/scoring.md"
    compare.add_argument("files", type=Path, nargs="+", metavar="FILE", help=text)
    add_references(compare)
    add_document_frequencies(compare)
    text = "fail if SPICE cannot be computed, or leave it out (default: compute it if possible)"
    compare.add_argument("--spice", action=argparse.BooleanOptionalAction, help=text)
    text = "write scores, ranks, differences and signatures; - for standard output"
    compare.add_argument("--json", type=output_path, metavar="FILE", help=text)
    text = "write a row for each metric and pair"
    compare.add_argument("--csv", type=output_path, metavar="FILE", help=text)
    text = "write the table of scores and ranks"
    compare.add_argument("--latex", type=output_path, metavar="FILE", help=text)
    text = "write a page of these results and of the images on which the systems differ most"
    compare.add_argument("--html", type=output_path, metavar="FILE", help=text)
    text = "folder or zip of the photos that the page shows"
    compare.add_argument("--photos", type=filled_path, help=text)


def _add_page(contents: Contents) -> None:
    text = "write a page with a leaderboard of your systems and each photo with its captions"
    more = f"{text}; the page of a configuration is written by `dsacap report-page`"
    page = contents.add_parser("page", text, more, run=_page)
    text = "captions, in any form of docs/scoring.md"
    page.add_argument("files", type=Path, nargs="+", metavar="FILE", help=text)
    add_references(page)
    text = "fail if SPICE cannot be computed, or leave it out (default: compute it if possible)"
    page.add_argument("--spice", action=argparse.BooleanOptionalAction, help=text)
    text = "the folder of the photos; the page loads them from there"
    page.add_argument("--photos", type=filled_path, metavar="FOLDER", help=text)
    place, text = Path("page.html"), "the page; - for standard output (default: %(default)s)"
    page.add_argument("--output", type=output_path, default=place, metavar="FILE", help=text)


def _add_convert(contents: Contents) -> None:
    text = "write captions of any form as a results file for COCO's and nocaps' servers"
    sub = contents.add_parser("convert", text, run=_convert)
    text = "captions, in any form of docs/scoring.md; - for standard input"
    sub.add_argument("captions", type=Path, help=text)
    text = "the results file; - for standard output"
    sub.add_argument("--output", type=output_path, required=True, metavar="FILE", help=text)
    add_reading(sub)


def _add_caption(contents: Contents) -> None:
    text = "caption photos of your own; or, as a stage, the test split by a system's decodings"
    photos = contents.verb("caption", text, run=_caption)
    text = "file, folder or zip of photos, or - for standard input"
    photos.add_argument("photos", nargs="*", metavar="PHOTO", help=text)
    text = "a system that `dsacap export` wrote"
    photos.add_argument("--from", dest="folder", type=Path, metavar="FOLDER", help=text)
    photos.add_argument("--system", help="a trained system of the configuration")
    text = "with --system: which of the configuration's seeds; with --from: the seed of decodings "
    photos.add_argument("--seed", type=int, help=f"{text}that sample (default: 0)")
    text = "a decoding of the system (default: the first one of its configuration)"
    photos.add_argument("--decoding", metavar="NAME", help=text)
    text = "captions per photo, for a decoding that samples (default: 1)"
    photos.add_argument("--samples", type=int, metavar="N", help=text)
    photos.add_argument("--json", action="store_true", help="print a line of JSON for each photo")
    text = "the photo's id in its data set, to draw the same captions as the stage did"
    photos.add_argument("--image-id", type=int, metavar="ID", help=text)


def _validate(options: argparse.Namespace) -> int:
    from dsacap.cli.validate import validate_all

    check_standard_input([*options.files, *(options.references or [])])
    return int(not validate_all(options.files, options.references or [], reading_of(options)))


def _score(options: argparse.Namespace) -> int:
    if bool(options.predictions) == bool(options.system):
        raise UserError(
            "score: give either a predictions file (with --references or --photos), or --system"
        )
    if options.system:
        return run_stage_verb(options)
    from dsacap.cli.score import score_file

    score_file(options)
    return 0


def _convert(options: argparse.Namespace) -> int:
    from dsacap.cli.convert import convert

    convert(options)
    return 0


def _compare(options: argparse.Namespace) -> int:
    from dsacap.cli.compare import compare_files

    compare_files(options)
    return 0


def _page(options: argparse.Namespace) -> int:
    from dsacap.cli.page import page_of_files

    page_of_files(options)
    return 0


def _caption(options: argparse.Namespace) -> int:
    from dsacap.cli.caption import caption_photos, check

    check(options)
    if options.folder:
        from dsacap.common.machine import device_of
        from dsacap.export.reading import read_folder

        caption_photos(options, read_folder(options.folder, device_of("auto")))
        return 0
    if not options.photos:
        return run_stage_verb(options)
    from dsacap.common import arithmetic
    from dsacap.export.writing import from_run

    layout = opened(options.config)
    row = row_of(layout, options)
    arithmetic.prepare(layout.config.arithmetic, layout.config.device)
    caption_photos(options, from_run(layout, *row))
    return 0


def _export(options: argparse.Namespace) -> int:
    from dsacap.export.writing import export_system

    layout = opened(options.config)
    export_system(layout, *row_of(layout, options), options.folder)
    print(f"exported to {options.folder}; its README.md says how to use it")
    return 0
