rule report:
    input:
        [layout.scores(*run) for run in layout.runs],
        layout.scores(HUMAN, 0),
        layout.latency,
    output:
        md=report(layout.table, category="Tables", caption="../report/table.rst"),
        csv=layout.table.with_suffix(".csv"),
        json=layout.table.with_suffix(".json"),
    log:
        f"logs/{settings.name}/report.log",
    conda:
        "../../environment.yml"
    params:
        config=CONFIG,
    shell:
        "dsacap report --config {params.config} 2>&1 | tee {log}"


# Not part of the default table: SPICE of every caption drawn, which takes longer than all else.
rule report_samples:
    input:
        [layout.sample_scores(*run) for run in layout.runs],
    output:
        layout.sample_table,
        layout.sample_table.with_suffix(".csv"),
    log:
        f"logs/{settings.name}/report-samples.log",
    conda:
        "../../environment.yml"
    params:
        config=CONFIG,
    shell:
        "dsacap report-samples --config {params.config} 2>&1 | tee {log}"


rule report_captions:
    input:
        [layout.captions(*run) for run in layout.runs],
        layout.data / "captions.jsonl",
    output:
        layout.caption_page,
    log:
        f"logs/{settings.name}/report-captions.log",
    conda:
        "../../environment.yml"
    params:
        config=CONFIG,
    shell:
        "dsacap report-captions --config {params.config} 2>&1 | tee {log}"
