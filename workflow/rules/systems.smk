# Working checkpoints lie beside the declared outputs of `train`, not among them: Snakemake deletes what a failed rule declares,
# and a training that was killed must find its checkpoint again.
RUN = f"{layout.root}/{{system}}-seed{{seed}}-{{key}}"


rule train:
    input:
        layout.features / "index.json",
        layout.data / "vocabulary.json",
        lessons,
        looked_at,
    output:
        f"{RUN}/model.safetensors",
        f"{RUN}/manifest.json",
    log:
        f"logs/{settings.name}/train-{{system}}-seed{{seed}}-{{key}}.log",
    wildcard_constraints:
        system=any_of(name for name, system in settings.systems.items() if not system.tuned_from),
    priority: 1  # before captions and scores, or the longest job would be left for last
    conda:
        "../../environment.yml"
    threads: settings.processes
    resources:
        gpu=GPUS * settings.processes,
    params:
        config=CONFIG,
    shell:
        "dsacap train --config {params.config} --system {wildcards.system} --seed {wildcards.seed} 2>&1 | tee {log}"


# What a distilled system learns from; it lies in the folder of its teacher.
for system, seed in distilled():

    rule:
        name:
            f"teach_{system}_{seed}"
        input:
            layout.system(settings.systems[system].distilled_from.system, seed)
            / "model.safetensors",
        output:
            layout.lessons(system, seed),
            manifest_of(layout.lessons(system, seed)),
        log:
            f"logs/{settings.name}/teach-{system}-seed{seed}.log",
        priority: 1
        conda:
            "../../environment.yml"
        resources:
            gpu=GPUS,
        params:
            config=CONFIG,
            system=system,
            seed=seed,
        shell:
            "dsacap teach --config {params.config} --system {params.system} --seed {params.seed} 2>&1 | tee {log}"


rule tune:
    input:
        trained_before,
        judged_by,
        looked_at,
    output:
        f"{RUN}/model.safetensors",
        f"{RUN}/manifest.json",
    log:
        f"logs/{settings.name}/tune-{{system}}-seed{{seed}}-{{key}}.log",
    wildcard_constraints:
        system=any_of(name for name, system in settings.systems.items() if system.tuned_from),
    priority: 2
    conda:
        "../../environment.yml"
    threads: settings.processes
    resources:
        gpu=GPUS * settings.processes,
    params:
        config=CONFIG,
    shell:
        "dsacap tune --config {params.config} --system {wildcards.system} --seed {wildcards.seed} 2>&1 | tee {log}"


rule caption:
    input:
        trained,
    output:
        f"{RUN}/captions-{{captions}}.json",
        f"{RUN}/captions-{{captions}}.manifest.json",
    log:
        f"logs/{settings.name}/caption-{{system}}-seed{{seed}}-{{key}}-{{captions}}.log",
    conda:
        "../../environment.yml"
    resources:
        gpu=GPUS,
    params:
        config=CONFIG,
    shell:
        "dsacap caption --config {params.config} --system {wildcards.system} --seed {wildcards.seed} 2>&1 | tee {log}"


rule score:
    input:
        captioned,
    output:
        f"{RUN}/scores-{{scores}}.json",
        f"{RUN}/scores-{{scores}}.manifest.json",
    log:
        f"logs/{settings.name}/score-{{system}}-seed{{seed}}-{{key}}-{{scores}}.log",
    conda:
        "../../environment.yml"
    params:
        config=CONFIG,
    shell:
        "dsacap score --config {params.config} --system {wildcards.system} --seed {wildcards.seed} 2>&1 | tee {log}"


for row in (name for name, brought in settings.predictions.items() if brought.checkpoint):

    rule:
        name:
            f"checkpoint_{row}"
        input:
            layout.data / "captions.jsonl",
        output:
            layout.predictions(row),
            manifest_of(layout.predictions(row)),
        log:
            f"logs/{settings.name}/checkpoint-{row}.log",
        conda:
            "../../environment.yml"
        resources:
            gpu=GPUS,
        params:
            config=CONFIG,
            row=row,
        shell:
            "dsacap checkpoint --config {params.config} --row {params.row} 2>&1 | tee {log}"


# Of what has no captions stage: the references, and predictions files.
for system, file in {
    HUMAN: [],
    **{name: [layout.predictions(name)] for name in settings.predictions},
}.items():

    rule:
        name:
            f"score_{system}"
        input:
            layout.data / "captions.jsonl",
            file,
        output:
            layout.scores(system, 0),
            manifest_of(layout.scores(system, 0)),
        log:
            f"logs/{settings.name}/score-{system}.log",
        conda:
            "../../environment.yml"
        params:
            config=CONFIG,
            system=system,
        shell:
            "dsacap score --config {params.config} --system {params.system} 2>&1 | tee {log}"


rule score_samples:
    input:
        captioned,
    output:
        f"{RUN}/sample-scores-{{scores}}.json",
        f"{RUN}/sample-scores-{{scores}}.manifest.json",
    log:
        f"logs/{settings.name}/score-samples-{{system}}-seed{{seed}}-{{key}}-{{scores}}.log",
    conda:
        "../../environment.yml"
    params:
        config=CONFIG,
    shell:
        "dsacap score-samples --config {params.config} --system {wildcards.system} --seed {wildcards.seed} 2>&1 | tee {log}"


if settings.ablation:

    rule complete:
        input:
            trained,
        output:
            f"{RUN}/completions-{{completions}}.json",
            f"{RUN}/completions-{{completions}}.manifest.json",
        log:
            f"logs/{settings.name}/complete-{{system}}-seed{{seed}}-{{key}}-{{completions}}.log",
        conda:
            "../../environment.yml"
        resources:
            gpu=GPUS,
        params:
            config=CONFIG,
        shell:
            "dsacap complete --config {params.config} --system {wildcards.system} --seed {wildcards.seed} 2>&1 | tee {log}"


if settings.judge:

    rule reconstruct:
        input:
            captioned,
            [manifest_of(place.generator) for _, _, place in generators()],
        output:
            f"{RUN}/reconstructions-{{reconstructions}}.json",
            f"{RUN}/reconstructions-{{reconstructions}}.manifest.json",
        log:
            f"logs/{settings.name}/reconstruct-{{system}}-seed{{seed}}-{{key}}-{{reconstructions}}.log",
        conda:
            "../../environment.yml"
        resources:
            gpu=GPUS,
        params:
            config=CONFIG,
        shell:
            "dsacap reconstruct --config {params.config} --system {wildcards.system} --seed {wildcards.seed} 2>&1 | tee {log}"

    rule reconstruct_human:
        input:
            layout.data / "captions.jsonl",
            [manifest_of(place.generator) for _, _, place in generators()],
        output:
            layout.reconstructions(HUMAN, 0),
            manifest_of(layout.reconstructions(HUMAN, 0)),
        log:
            f"logs/{settings.name}/reconstruct-human.log",
        conda:
            "../../environment.yml"
        resources:
            gpu=GPUS,
        params:
            config=CONFIG,
            system=HUMAN,
        shell:
            "dsacap reconstruct --config {params.config} --system {params.system} 2>&1 | tee {log}"


rule inspect:
    input:
        f"{RUN}/model.safetensors",
    output:
        f"{RUN}/inside-{{inside}}.json",
        f"{RUN}/inside-{{inside}}.manifest.json",
    log:
        f"logs/{settings.name}/inspect-{{system}}-seed{{seed}}-{{key}}-{{inside}}.log",
    wildcard_constraints:
        system=any_of(system for system, _ in layout.inspected),
    conda:
        "../../environment.yml"
    resources:
        gpu=GPUS,
    params:
        config=CONFIG,
    shell:
        "dsacap inspect --config {params.config} --system {wildcards.system} --seed {wildcards.seed} 2>&1 | tee {log}"


# All cores: nothing else may run beside a measurement.
rule time:
    input:
        [
            layout.system(system, settings.seeds[0]) / "model.safetensors"
            for system in settings.systems
        ],
    output:
        layout.latency,
        manifest_of(layout.latency),
    log:
        f"logs/{settings.name}/time.log",
    conda:
        "../../environment.yml"
    threads: workflow.cores
    resources:
        gpu=GPUS,
    params:
        config=CONFIG,
    shell:
        "dsacap time --config {params.config} 2>&1 | tee {log}"


# A row by itself: `snakemake --cores all row_ar`. What is finished is kept by `dsacap keep`.
for system in settings.systems:

    rule:
        name:
            f"row_{system}"
        input:
            [layout.scores(system, seed) for seed in settings.seeds_of(system)],
