rule report:
    input:
        [layout.scores(*run) for run in layout.runs],
        [layout.scores(scored, 0) for scored in (HUMAN, *settings.predictions)],
        layout.latency,
        [settings.published] if settings.published else [],
    output:
        md=report(layout.table, category="Tables", caption="../report/table.rst"),
        csv=layout.table.with_suffix(".csv"),
        json=layout.table.with_suffix(".json"),
        cited=[layout.table.with_suffix(".bib"), layout.table.with_suffix(".tex")],
        svg=report(
            layout.table.with_suffix(".svg"), category="Tables", caption="../report/table.rst"
        ),
        diversity=[diversity_plot_of(layout.table)] if settings.diversity else [],
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


# Not part of the default table: every system that shows its inside is loaded once more for it.
rule report_page:
    input:
        layout.table.with_suffix(".json"),
        [layout.inside(*run) for run in layout.inspected if has_weights(*run)],
    output:
        report(layout.page, category="Page", caption="../report/page.rst"),
    log:
        f"logs/{settings.name}/report-page.log",
    conda:
        "../../environment.yml"
    params:
        config=CONFIG,
    shell:
        "dsacap report-page --config {params.config} 2>&1 | tee {log}"


# Not part of the default table: captions of degraded test photos by every row.
rule report_degraded:
    input:
        [layout.robustness(*run) for run in layout.degradable],
    output:
        layout.robustness_table,
        layout.robustness_table.with_suffix(".csv"),
    log:
        f"logs/{settings.name}/report-degraded.log",
    conda:
        "../../environment.yml"
    params:
        config=CONFIG,
    shell:
        "dsacap report-degraded --config {params.config} 2>&1 | tee {log}"


if settings.trials:

    rule report_trials:
        input:
            [
                layout.tried(system, trial).validation(system, seed)
                for (system, seed), trial in layout.trials
            ],
        output:
            layout.trials_table,
            layout.trials_table.with_suffix(".csv"),
        log:
            f"logs/{settings.name}/report-trials.log",
        conda:
            "../../environment.yml"
        params:
            config=CONFIG,
        shell:
            "dsacap report-trials --config {params.config} 2>&1 | tee {log}"


if settings.judge:

    rule report_ablation:
        input:
            [layout.scores(*run) for run in layout.runs],
            [layout.reconstructions(*run) for run in layout.runs],
            [layout.scores(scored, 0) for scored in (HUMAN, *settings.predictions)],
            layout.reconstructions(HUMAN, 0),
        output:
            report(layout.ablation_table, category="Tables", caption="../report/ablation.rst"),
            layout.ablation_table.with_suffix(".csv"),
            [diversity_plot_of(layout.ablation_table)] if settings.diversity else [],
        log:
            f"logs/{settings.name}/report-ablation.log",
        conda:
            "../../environment.yml"
        params:
            config=CONFIG,
        shell:
            "dsacap report-ablation --config {params.config} 2>&1 | tee {log}"


if settings.ablation:

    rule report_claims:
        input:
            [layout.scores(*run) for run in layout.runs],
            [layout.reconstructions(*row) for row in [*layout.runs, (HUMAN, 0)]]
            if settings.ablation.compares_reconstructions
            else [],
            [layout.completions(*run) for run in layout.runs if run[0] in layout.completed],
            [layout.latency] if settings.ablation.decodings_tested("images_per_s") else [],
        output:
            report(layout.claims, category="Tables", caption="../report/claims.rst"),
            layout.claims.with_suffix(".csv"),
        log:
            f"logs/{settings.name}/report-claims.log",
        conda:
            "../../environment.yml"
        params:
            config=CONFIG,
        shell:
            "dsacap report-claims --config {params.config} 2>&1 | tee {log}"
