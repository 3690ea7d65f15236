# The stages. What each one reads, writes and runs is in the table of stages
# (dsacap/runs/stage_table.py); here is how Snakemake starts it.


# Stages of the whole configuration, and of rows that are not trained here.
for rule_name, stage, options, place, row in jobs_by_name():

    rule:
        name:
            rule_name
        input:
            planned_files(place, stage.verb, row)[0],
        output:
            planned_files(place, stage.verb, row)[1],
        log:
            f"logs/{settings.name}/{rule_name}.log",
        priority: PRIORITIES.get(stage.verb, 0)
        conda:
            "../../environment.yml"
        threads: threads_of(stage, place)
        resources:
            **gpus_of(stage),
        params:
            verb=stage.verb,
            config=CONFIG,
            options=options,
        shell:
            "dsacap {params.verb} --config {params.config} {params.options} 2>&1 | tee {log}"


# Stages of trained rows: `train`, `tune`, `caption`, `score` and so on.
for stage in stages_here():
    rows = rows_by_wildcards(stage)
    if not rows:
        continue
    written = [pattern(path, rows[0]) for path in planned_files(layout, stage.verb, rows[0])[1]]
    of_row = "{system}-seed{seed}-{key}"
    if "{file}" in written[0]:
        of_row = f"{of_row}-{{file}}"

    rule:
        name:
            rule_of(stage)
        input:
            needed_by(stage.verb),
        output:
            written,
        log:
            f"logs/{settings.name}/{stage.verb}-{of_row}.log",
        wildcard_constraints:
            system=any_of({system for system, _ in rows}),
        priority: PRIORITIES.get(stage.verb, 0)
        conda:
            "../../environment.yml"
        threads: threads_of(stage, layout)
        resources:
            **gpus_of(stage),
        params:
            verb=stage.verb,
            config=CONFIG,
        shell:
            "dsacap {params.verb} --config {params.config} "
            "--system {wildcards.system} --seed {wildcards.seed} 2>&1 | tee {log}"


# A row by itself: `snakemake --cores all row_ar`. What is finished is kept by `dsacap keep`.
for system in settings.systems:

    rule:
        name:
            f"row_{system}"
        input:
            [layout.scores(system, seed) for seed in settings.seeds_of(system)],
