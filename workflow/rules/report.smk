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
