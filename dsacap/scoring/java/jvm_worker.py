"""The process that holds the Java machine: one job a line on stdin, one answer a line on stdout, as JSON. `jvm.py` runs this file.

It imports nothing of DSACap's, so that it starts fast and from anywhere. All scores come from the official classes:

- METEOR's `MeteorScorer` and `MeteorStats`, called as its own command line (`-stdio -l en -norm`) calls them, but that each distinct
  text is normalised once and each distinct pair aligned once. Its jar is the class path, since it looks its tables up there; SPICE's
  copy of it holds the same classes and tables.
- SPICE's `SpiceParser`, `SceneGraph` and `SpiceStats`, called as its `SpiceScorer` calls them, in a class loader of their own.
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

# In SPICE's spelling -> the field of its class TupleFilter.
_CATEGORIES = {
    name: f"{name.lower()}Filter"
    for name in ("Object", "Attribute", "Relation", "Cardinality", "Color", "Size")
}


def main() -> None:
    answers = os.fdopen(os.dup(1), "w", encoding="ascii")
    os.dup2(2, 1)  # Java prints as it likes; the answers keep the pipe to themselves
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
    os._exit(0)  # the parent has ended, perhaps by kill -9: no job may outlive it


def _answer(job: dict[str, Any]) -> dict[str, Any]:
    try:
        return {"result": JOBS[job.pop("job")](**job)}
    except jpype.JException as error:
        cause = error
        while cause.getCause() is not None:  # what reflection wraps
            cause = cause.getCause()
        return {"error": str(cause.toString())}
    except Exception as error:
        return {"error": f"{type(error).__name__}: {error}"}


# ------------------------------------------------------------------------------------------------------------------ METEOR


def meteor_load(threads: int) -> None:
    """Makes METEOR ready."""
    _meteor_scorers(threads)


def meteor_normal(texts: list[str]) -> list[str]:
    """What `MeteorScorer` makes of texts before it aligns them, where it is asked to normalise."""
    normal, english = (
        jpype.JClass("edu.cmu.meteor.util.Normalizer").normalizeLine,
        jpype.JClass("edu.cmu.meteor.util.Constants").LANG_EN,
    )
    return [str(normal(text, english, True).toLowerCase()) for text in texts]


def meteor_align(
    texts: list[str], groups: list[list[int]], paraphrases: str, threads: int
) -> list[tuple[float, str]]:
    """For each group, a caption and its references by their places in `texts`: METEOR's score and, as `SCORE` prints it, the line of
    counts of the reference that scores best, the first such. Texts are normal, and `paraphrases` is a table of what matters to them."""
    table = jpype.JClass("edu.cmu.meteor.aligner.ParaphraseTransducer")(
        jpype.JClass("java.io.File")(paraphrases).toURI().toURL()
    )
    scorers = _meteor_scorers(threads)
    for scorer in scorers:
        aligner = _open(scorer.getClass().getDeclaredField("aligner")).get(scorer)
        _open(aligner.getClass().getDeclaredField("paraphrase")).set(aligner, table)
    pairs = list(
        dict.fromkeys((caption, reference) for caption, *said in groups for reference in said)
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
        max((found[caption, reference] for reference in said), key=lambda one: one.score)
        for caption, *said in groups
    ]
    return [(float(one.score), str(one.toString())) for one in best]


def _score_all(scorer: Any, strings: Any, pairs: list[tuple[int, int]]) -> Any:
    """`scorer.getMeteorStats(strings[caption], strings[reference])` of each pair, as a loop that Java runs: were each called from here,
    it would take a sixth longer, and the threads would wait for one another."""
    handles, method_type = (
        jpype.JClass("java.lang.invoke.MethodHandles"),
        jpype.JClass("java.lang.invoke.MethodType").methodType,
    )
    string, statistics = (
        strings.getClass().getComponentType(),
        jpype.JClass("edu.cmu.meteor.scorer.MeteorStats").class_,
    )
    score = handles.publicLookup().findVirtual(
        scorer.getClass(), "getMeteorStats", method_type(statistics, string, string)
    )
    sides = [jpype.JArray(jpype.JInt)(side) for side in zip(*pairs, strict=True)]
    places = [handles.arrayElementGetter(side.getClass()).bindTo(side) for side in sides]
    texts = [
        handles.filterReturnValue(
            place, handles.arrayElementGetter(strings.getClass()).bindTo(strings)
        )
        for place in places
    ]
    of_two = handles.filterArguments(
        score.bindTo(scorer), 0, *texts
    )  # the places of a caption and a reference -> their score
    of_one = handles.permuteArguments(of_two, method_type(statistics, jpype.JInt.class_), [0, 0])
    step = jpype.JClass("java.lang.invoke.MethodHandleProxies").asInterfaceInstance(
        jpype.JClass("java.util.function.IntFunction").class_, of_one
    )
    return jpype.JClass("java.util.stream.IntStream").range(0, len(pairs)).mapToObj(step).toArray()


def meteor_scores(counts: list[str], threads: int) -> list[float]:
    """The score of each line of counts, perhaps sums, as `EVAL` prints it."""
    scorer, scores = (
        _meteor_scorers(threads)[0],
        [jpype.JClass("edu.cmu.meteor.scorer.MeteorStats")(line) for line in counts],
    )
    for one in scores:
        scorer.computeMetrics(one)
    return [float(one.score) for one in scores]


@cache
def _meteor_scorers(threads: int) -> list[Any]:
    """One for each thread, without paraphrases; they share WordNet's synonyms."""
    with tempfile.NamedTemporaryFile(suffix=".gz") as nothing:
        nothing.write(gzip.compress(b""))
        nothing.flush()
        properties = jpype.JClass("java.util.Properties")()
        for name, value in {"language": "en", "paraFile": nothing.name}.items():
            properties.setProperty(name, value)
        scorer = jpype.JClass("edu.cmu.meteor.scorer.MeteorScorer")
        first = scorer(jpype.JClass("edu.cmu.meteor.scorer.MeteorConfiguration")(properties))
    return [first, *(scorer(first) for _ in range(threads - 1))]


# ------------------------------------------------------------------------------------------------------------------- SPICE


def spice_tuples(captions: list[str], jars: list[str], annotators: str) -> list[list[list[str]]]:
    """The tuples of each caption, in SPICE's order: (object), (object, attribute) or (subject, object, relation).

    One at a time: CoreNLP parses a list on as many threads as there are processors, whatever its settings say, and captions that are
    parsed side by side now and then take words from each other.
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
    """For each image, given as the tuples of its captions and of its references: category -> SPICE's counts and scores.

    A score that is undefined, since the references have no tuple of the category, is null.
    """
    statistics, graph, synonyms = _spice_scorer(tuple(jars))
    scorer = statistics()
    for number, sides in enumerate(images):
        graphs = [_scene(graph(synonyms, True), tuples) for tuples in sides]
        scorer.score(jpype.JClass("java.lang.Integer")(number), *graphs, True)
    return [image["scores"] for image in json.loads(str(scorer.toJSONString()))]


def _scene(graph: Any, tuples: list[list[str]]) -> Any:
    """What `SceneGraph.addTuple` does, without a list for each tuple."""
    add = (None, graph.addObject, graph.addAttribute, graph.addRelation)
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
    """A maker of statistics, the class of scene graphs, and WordNet's synonyms as METEOR has them."""
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
    """SPICE's parser and its method `generateTuples`, which is protected.

    The pipeline is what its class Annotator would make (6 s), but for the annotators, which it has fixed.
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
    """Copies the grammar's rules to where its innermost loop finds each beside the one it reads before: a fifth less CPU time a caption.

    That loop mostly waits for memory. The copies are equal to the rules they replace, and rules are compared by their values.
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
        with (
            tempfile.NamedTemporaryFile() as copy
        ):  # what is read from a file is laid out as it comes
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
