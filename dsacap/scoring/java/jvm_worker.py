"""The process that runs the Java virtual machine; `jvm.py` starts this file.

It reads one job per line from stdin and writes one answer per line to stdout, both as JSON. It
imports nothing else of this package, so that it starts fast and from any folder. All scores come
from the official classes:

- METEOR's `MeteorScorer` and `MeteorStats`, called as METEOR's own command line (`-stdio -l en
  -norm`) calls them, except that each distinct text is normalised once and each distinct pair
  aligned once. METEOR's jar is the class path, because it looks up its tables there; SPICE's copy
  of it has the same classes and tables.
- SPICE's `SpiceParser`, `SceneGraph` and `SpiceStats`, called as SPICE's `SpiceScorer` calls them,
  in a class loader of their own.
"""

import gzip
import json
import os
import queue
import sys
import tempfile
import threading
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from itertools import repeat
from typing import Any

import jpype

# Category in SPICE's spelling -> field of SPICE's class TupleFilter.
_CATEGORIES = {
    name: f"{name.lower()}Filter"
    for name in ("Object", "Attribute", "Relation", "Cardinality", "Color", "Size")
}


def main() -> None:
    """Start Java with the settings in the first line of stdin, then answer jobs for ever."""
    answers = os.fdopen(os.dup(1), "w", encoding="ascii")
    os.dup2(2, 1)  # what Java prints goes to stderr, so that the pipe carries answers only
    lines: queue.SimpleQueue[str] = queue.SimpleQueue()
    threading.Thread(target=_read, args=(lines,), daemon=True).start()
    settings = json.loads(lines.get())
    jpype.startJVM(settings["libjvm"], *settings["options"], classpath=settings["classpath"])
    while True:
        answers.write(json.dumps(_answer(json.loads(lines.get()))) + "\n")
        answers.flush()


def _read(lines: queue.SimpleQueue) -> None:
    for line in sys.stdin:
        lines.put(line)
    os._exit(0)  # the parent has ended, perhaps by kill -9, and no job may outlive it


def _answer(job: dict[str, Any]) -> dict[str, Any]:
    try:
        return {"result": JOBS[job.pop("job")](**job)}
    except jpype.JException as error:
        cause = error
        while cause.getCause() is not None:  # reflection wraps the actual error
            cause = cause.getCause()
        return {"error": str(cause.toString())}
    except Exception as error:
        return {"error": f"{type(error).__name__}: {error}"}


# ---------------------------------------------------------------------------------------- METEOR


def meteor_load(threads: int) -> None:
    """Load METEOR, so that later jobs need not wait for it."""
    _meteor_scorers(threads)


def meteor_normal(texts: list[str]) -> list[str]:
    """Normalise texts as `MeteorScorer` does before it aligns them, if normalising is requested."""
    normalize = jpype.JClass("edu.cmu.meteor.util.Normalizer").normalizeLine
    english = jpype.JClass("edu.cmu.meteor.util.Constants").LANG_EN
    return [str(normalize(text, english, True).toLowerCase()) for text in texts]


def meteor_align(
    texts: list[str], groups: list[list[int]], paraphrases: str, threads: int
) -> list[tuple[float, str]]:
    """Align captions with their references, and score them.

    Args:
        texts: The distinct captions and references, normalised.
        groups: For each caption, its index in `texts`, then those of its references.
        paraphrases: Path of the part of METEOR's paraphrase table that matters to the texts.
        threads: How many threads align.

    Returns:
        For each group, the score of the best reference (of equal ones, the first) and its line of
        counts as METEOR's `SCORE` prints it.
    """
    table = jpype.JClass("edu.cmu.meteor.aligner.ParaphraseTransducer")(
        jpype.JClass("java.io.File")(paraphrases).toURI().toURL()
    )
    scorers = _meteor_scorers(threads)
    for scorer in scorers:
        aligner = _open(scorer.getClass().getDeclaredField("aligner")).get(scorer)
        _open(aligner.getClass().getDeclaredField("paraphrase")).set(aligner, table)
    pairs = list(
        dict.fromkeys((caption, reference) for caption, *others in groups for reference in others)
    )
    strings = jpype.JArray(jpype.JClass("java.lang.String"))(texts)
    shares = [share for k in range(threads) if (share := pairs[k::threads])]
    found: dict[tuple[int, int], Any] = {}
    with ThreadPoolExecutor(threads) as pool:
        for share, scores in zip(
            shares, pool.map(_score_all, scorers, repeat(strings), shares), strict=True
        ):
            found |= zip(share, scores, strict=True)
    best = [
        max((found[caption, reference] for reference in others), key=lambda one: one.score)
        for caption, *others in groups
    ]
    return [(float(one.score), str(one.toString())) for one in best]


def _score_all(scorer: Any, strings: Any, pairs: list[tuple[int, int]]) -> Any:
    """Return `scorer.getMeteorStats(strings[caption], strings[reference])` of each pair.

    The loop runs in Java. Calling each from Python would take a sixth longer, and the threads
    would wait for one another.
    """
    handles = jpype.JClass("java.lang.invoke.MethodHandles")
    method_type = jpype.JClass("java.lang.invoke.MethodType").methodType
    string = strings.getClass().getComponentType()
    statistics = jpype.JClass("edu.cmu.meteor.scorer.MeteorStats").class_
    score = handles.publicLookup().findVirtual(
        scorer.getClass(), "getMeteorStats", method_type(statistics, string, string)
    )
    sides = [jpype.JArray(jpype.JInt)(side) for side in zip(*pairs, strict=True)]
    indices = [handles.arrayElementGetter(side.getClass()).bindTo(side) for side in sides]
    texts = [
        handles.filterReturnValue(
            index, handles.arrayElementGetter(strings.getClass()).bindTo(strings)
        )
        for index in indices
    ]
    # First a function of two indices into the pairs, of the caption and of the reference; then of
    # one index for both.
    of_two = handles.filterArguments(score.bindTo(scorer), 0, *texts)
    of_one = handles.permuteArguments(of_two, method_type(statistics, jpype.JInt.class_), [0, 0])
    step = jpype.JClass("java.lang.invoke.MethodHandleProxies").asInterfaceInstance(
        jpype.JClass("java.util.function.IntFunction").class_, of_one
    )
    return jpype.JClass("java.util.stream.IntStream").range(0, len(pairs)).mapToObj(step).toArray()


def meteor_scores(counts: list[str], threads: int) -> list[float]:
    """Score lines of counts as METEOR's `EVAL` does; a line may be a sum over images."""
    scorer = _meteor_scorers(threads)[0]
    scores = [jpype.JClass("edu.cmu.meteor.scorer.MeteorStats")(line) for line in counts]
    for one in scores:
        scorer.computeMetrics(one)
    return [float(one.score) for one in scores]


@cache
def _meteor_scorers(threads: int) -> list[Any]:
    """Return one scorer per thread, without paraphrases; they share WordNet's synonyms."""
    with tempfile.NamedTemporaryFile(suffix=".gz") as no_paraphrases:
        no_paraphrases.write(gzip.compress(b""))
        no_paraphrases.flush()
        properties = jpype.JClass("java.util.Properties")()
        for name, value in {"language": "en", "paraFile": no_paraphrases.name}.items():
            properties.setProperty(name, value)
        scorer = jpype.JClass("edu.cmu.meteor.scorer.MeteorScorer")
        first = scorer(jpype.JClass("edu.cmu.meteor.scorer.MeteorConfiguration")(properties))
    return [first, *(scorer(first) for _ in range(threads - 1))]


# ----------------------------------------------------------------------------------------- SPICE


def spice_tuples(captions: list[str], jars: list[str], annotators: str) -> list[list[list[str]]]:
    """Parse captions.

    They are parsed one at a time: CoreNLP parses a list on as many threads as there are
    processors, whatever its settings say, and captions that are parsed at the same time
    occasionally take words from each other.

    Args:
        captions: Tokenised captions.
        jars: Paths of the jars of SPICE and CoreNLP.
        annotators: CoreNLP's setting of this name.

    Returns:
        The tuples of each caption, in SPICE's order: (object), (object, attribute) or (subject,
        object, relation).
    """
    parser, generate = _spice_parser(tuple(jars), annotators)
    found = []
    for caption in captions:
        tuples = generate.invoke(parser, jpype.JClass("java.util.ArrayList")([caption]))
        found.append([[str(word) for word in each] for each in tuples.get(jpype.JString(caption))])
    return found


def spice_scores(
    images: list[tuple[list, list]], jars: list[str]
) -> list[dict[str, dict[str, Any]]]:
    """Score images by SPICE.

    Args:
        images: For each image, the tuples of its captions and those of its references.
        jars: Paths of the jars of SPICE and CoreNLP.

    Returns:
        For each image, category -> SPICE's counts and scores. A score is None if it is undefined
        because the references have no tuple of the category.
    """
    new_statistics, graph, synonyms = _spice_scorer(tuple(jars))
    scorer = new_statistics()
    for number, sides in enumerate(images):
        graphs = [_scene(graph(synonyms, True), tuples) for tuples in sides]
        scorer.score(jpype.JClass("java.lang.Integer")(number), *graphs, True)
    return [image["scores"] for image in json.loads(str(scorer.toJSONString()))]


def _scene(graph: Any, tuples: list[list[str]]) -> Any:
    """Add tuples to a graph as `SceneGraph.addTuple` does, without making a Java list of each."""
    add = {1: graph.addObject, 2: graph.addAttribute, 3: graph.addRelation}
    for each in tuples:
        add[len(each)](*each)
    return graph


@cache
def _loader(jars: tuple[str, ...]) -> Any:
    file = jpype.JClass("java.io.File")
    return jpype.JClass("java.net.URLClassLoader")([file(jar).toURI().toURL() for jar in jars])


def _spice_class(name: str, jars: tuple[str, ...]) -> Any:
    return jpype.JClass(f"edu.anu.spice.{name}", loader=_loader(jars))


@cache
def _spice_scorer(jars: tuple[str, ...]) -> tuple[Any, Any, Any]:
    """Return a constructor of statistics, the class of scene graphs, and METEOR's synonyms."""
    filters, fields = jpype.JClass("java.util.HashMap")(), _spice_class("TupleFilter", jars)
    for category, field in _CATEGORIES.items():
        filters.put(category, getattr(fields, field))
    url = jpype.JClass("java.net.URL")
    folder = jpype.JClass("edu.cmu.meteor.util.Constants").DEFAULT_SYN_DIR_URL.toString()
    tables = [url(f"{folder}/english.{name}") for name in ("exceptions", "synsets", "relations")]
    synonyms = jpype.JClass("edu.cmu.meteor.aligner.SynonymDictionary")(*tables)
    statistics = _spice_class("SpiceStats", jars)
    return (
        lambda: statistics(filters, jpype.JClass("java.lang.Boolean")(False)),
        _spice_class("SceneGraph", jars),
        synonyms,
    )


@cache
def _spice_parser(jars: tuple[str, ...], annotators: str) -> tuple[Any, Any]:
    """Return SPICE's parser and its protected method `generateTuples`.

    The pipeline is the one that SPICE's class Annotator would make (6 s), apart from the list of
    annotators, which is fixed there.
    """
    parser = _spice_class("SpiceParser", jars)(None, 1, jpype.JClass("java.lang.Boolean")(True))
    settings = {"annotators": annotators, "depparse.extradependencies": "MAXIMAL", "threads": "1"}
    properties = jpype.JClass("java.util.Properties")()
    for name, value in settings.items():
        properties.setProperty(name, value)
    annotator = _open(parser.getClass().getDeclaredField("annotator")).get(parser)
    pipeline = jpype.JClass("edu.stanford.nlp.pipeline.StanfordCoreNLP", loader=_loader(jars))(
        properties
    )
    _open(annotator.getClass().getDeclaredField("pipeline")).set(annotator, pipeline)
    _put_rules_in_reading_order(pipeline, jars)
    return parser, _open(
        parser.getClass().getDeclaredMethod("generateTuples", jpype.JClass("java.util.List").class_)
    )


def _put_rules_in_reading_order(pipeline: Any, jars: tuple[str, ...]) -> None:
    """Lay out the grammar's rules in memory in the order in which the innermost loop reads them.

    That loop mostly waits for memory, and this saves a fifth of the CPU time of a caption. The
    rules are replaced by equal copies, and they are compared by their values only.
    """
    annotators = jpype.JClass(
        "edu.stanford.nlp.pipeline.AnnotationPipeline", loader=_loader(jars)
    ).class_.getDeclaredField("annotators")
    of_class = jpype.JClass(
        "edu.stanford.nlp.pipeline.ParserAnnotator", loader=_loader(jars)
    ).class_
    (annotator,) = (each for each in _open(annotators).get(pipeline) if of_class.isInstance(each))
    grammar = _open(of_class.getDeclaredField("parser")).get(annotator).bg
    files = jpype.JClass("edu.stanford.nlp.io.IOUtils", loader=_loader(jars))
    for rules in (
        _open(grammar.getClass().getDeclaredField(f"splitRulesWith{side}")) for side in ("LC", "RC")
    ):
        # Objects that are read from a file are laid out in memory in the order of the file.
        with tempfile.NamedTemporaryFile() as copy:
            files.writeObjectToFile(rules.get(grammar), copy.name)
            rules.set(grammar, files.readObjectFromFile(copy.name))


def _open(member: Any) -> Any:
    member.setAccessible(True)
    return member


JOBS = {
    job.__name__: job
    for job in (meteor_load, meteor_normal, meteor_align, meteor_scores, spice_tuples, spice_scores)
}

if __name__ == "__main__":
    main()
