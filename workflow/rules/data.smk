for archive, remote in downloads().items():

    rule:
        name:
            f"download_{archive.stem}"
        output:
            archive,
        log:
            f"logs/{settings.name}/download-{archive.stem}.log",
        conda:
            "../../environment.yml"
        params:
            file=archive,
            config=CONFIG,
        shell:
            "dsacap download --config {params.config} --file {params.file} 2>&1 | tee {log}"

    if remote.unpack:

        rule:
            name:
                f"unpack_{archive.stem}"
            input:
                archive,
            output:
                *remote.unpack,
            log:
                f"logs/{settings.name}/unpack-{archive.stem}.log",
            conda:
                "../../environment.yml"
            params:
                config=CONFIG,
            shell:
                "dsacap unpack --config {params.config} --file {input} 2>&1 | tee {log}"


rule data:
    input:
        source_files(),
    output:
        layout.data / "captions.jsonl",
        layout.data / "vocabulary.json",
        manifest_of(layout.data),
    log:
        f"logs/{settings.name}/data.log",
    conda:
        "../../environment.yml"
    params:
        config=CONFIG,
    shell:
        "dsacap data --config {params.config} 2>&1 | tee {log}"


rule encoder:
    input:
        layout.data / "captions.jsonl",
    output:
        manifest_of(layout.encoder),
    log:
        f"logs/{settings.name}/encoder.log",
    conda:
        "../../environment.yml"
    params:
        config=CONFIG,
    shell:
        "dsacap encoder --config {params.config} 2>&1 | tee {log}"


rule features:
    input:
        layout.data / "captions.jsonl",
        manifest_of(layout.encoder),
    output:
        layout.features / "index.json",
        manifest_of(layout.features),
    log:
        f"logs/{settings.name}/features.log",
    conda:
        "../../environment.yml"
    params:
        config=CONFIG,
    shell:
        "dsacap features --config {params.config} 2>&1 | tee {log}"


if settings.generator:

    # Its files lie beside what is declared, for the reason given at `train`.
    rule generator:
        input:
            layout.features / "index.json",
            layout.data / "vocabulary.json",
        output:
            manifest_of(layout.generator),
        log:
            f"logs/{settings.name}/generator.log",
        priority: 1
        conda:
            "../../environment.yml"
        resources:
            gpu=GPUS,
        params:
            config=CONFIG,
        shell:
            "dsacap generator --config {params.config} 2>&1 | tee {log}"
