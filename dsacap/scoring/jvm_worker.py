"""The process that holds the Java machine: one job a line on stdin, one answer a line on stdout, as JSON. `jvm.py` runs this file.

It imports nothing of DSACap's, so that it starts fast and from anywhere. All scores come from the official classes:

- METEOR's `MeteorScorer` and `MeteorStats`, called as its own command line (`-stdio -l en -norm`) calls them. Its jar is the class
  path, since it looks its tables up there; SPICE's copy of it holds the same classes and tables.
- SPICE's `SpiceParser`, `SceneGraph` and `SpiceStats`, called as its `SpiceScorer` calls them, in a class loader of their own.
"""

import json
import os
import queue
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any

import jpype

# In SPICE's spelling -> the field of its class TupleFilter.
_CATEGORIES = {name: f"{name.lower()}Filter" for name in ("Object", "Attribute", "Relation", "Cardinality", "Color", "Size")}


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


def meteor_counts(captions: list[str], references: list[list[str]], paraphrases: str, threads: int) -> list[str]:
    """The line of counts of each caption against its references, as `SCORE` prints it."""
    pairs = list(zip(captions, references, strict=True))
    with ThreadPoolExecutor(threads) as pool:
        shares = list(pool.map(_count, _meteor_scorers(paraphrases, threads), [pairs[k::threads] for k in range(threads)]))
    return [shares[i % threads][i // threads] for i in range(len(pairs))]


def meteor_scores(counts: list[str], paraphrases: str, threads: int) -> tuple[float, list[float]]:
    """The corpus score and that of each line of counts, as `EVAL` prints them."""
    statistics = jpype.JClass("edu.cmu.meteor.scorer.MeteorStats")
    scorer, total, scores = _meteor_scorers(paraphrases, threads)[0], statistics(), []
    for line in counts:
        one = statistics(line)
        scorer.computeMetrics(one)
        scores.append(float(one.score))
        total.addStats(one)
    scorer.computeMetrics(total)
    return float(total.score), scores


@cache
def _meteor_scorers(paraphrases: str, threads: int) -> list[Any]:
    """One for each thread; they share the tables, which take 1.2 GB and 5 to 10 s to load."""
    options = {"language": "en", "norm": "true", "paraFile": paraphrases}  # METEOR's own guess of the file fails on a space in it
    properties = jpype.JClass("java.util.Properties")()
    for name, value in options.items():
        properties.setProperty(name, value)
    scorer = jpype.JClass("edu.cmu.meteor.scorer.MeteorScorer")
    first = scorer(jpype.JClass("edu.cmu.meteor.scorer.MeteorConfiguration")(properties))
    return [first, *(scorer(first) for _ in range(threads - 1))]


def _count(scorer: Any, pairs: list[tuple[str, list[str]]]) -> list[str]:
    array_list = jpype.JClass("java.util.ArrayList")
    return [str(scorer.getMeteorStats(jpype.JString(caption), array_list(said)).toString()) for caption, said in pairs]


# ------------------------------------------------------------------------------------------------------------------- SPICE


def spice_tuples(captions: list[str], jars: list[str], annotators: str, threads: int) -> list[list[list[str]]]:
    """The tuples of each caption, in SPICE's order: (object), (object, attribute) or (subject, object, relation)."""
    parser, generate = _spice_parser(tuple(jars), annotators, threads)
    tuples = generate.invoke(parser, jpype.JClass("java.util.ArrayList")(captions))
    return [[[str(word) for word in each] for each in tuples.get(jpype.JString(caption))] for caption in captions]


def spice_scores(images: list[tuple[list, list]], jars: list[str]) -> list[dict[str, dict[str, Any]]]:
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
    return lambda: statistics(filters, jpype.JClass("java.lang.Boolean")(False)), _spice_class("SceneGraph", jars), synonyms


@cache
def _spice_parser(jars: tuple[str, ...], annotators: str, threads: int) -> tuple[Any, Any]:
    """SPICE's parser and its method `generateTuples`, which is protected.

    The pipeline is what its class Annotator would make (1.2 GB, 6 s), but for the annotators, which it has fixed.
    """
    parser = _spice_class("SpiceParser", jars)(None, threads, jpype.JClass("java.lang.Boolean")(True))
    settings = {"annotators": annotators, "depparse.extradependencies": "MAXIMAL", "threads": str(threads)}
    properties = jpype.JClass("java.util.Properties")()
    for name, value in settings.items():
        properties.setProperty(name, value)
    annotator = _open(parser.getClass().getDeclaredField("annotator")).get(parser)
    pipeline = jpype.JClass("edu.stanford.nlp.pipeline.StanfordCoreNLP", loader=_loader(jars))(properties)
    _open(annotator.getClass().getDeclaredField("pipeline")).set(annotator, pipeline)
    return parser, _open(parser.getClass().getDeclaredMethod("generateTuples", jpype.JClass("java.util.List").class_))


def _open(member: Any) -> Any:
    member.setAccessible(True)
    return member


JOBS = {job.__name__: job for job in (meteor_counts, meteor_scores, spice_tuples, spice_scores)}

if __name__ == "__main__":
    main()
