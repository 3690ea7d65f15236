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


for part, option, place in each("encoder"):

    rule:
        name:
            f"{part}encoder"
        input:
            layout.data / "captions.jsonl",
        output:
            manifest_of(place.encoder),
        log:
            f"logs/{settings.name}/{part}encoder.log",
        conda:
            "../../environment.yml"
        params:
            config=CONFIG,
            option=option,
        shell:
            "dsacap encoder --config {params.config} {params.option} 2>&1 | tee {log}"


for part, option, place in each("features"):

    rule:
        name:
            f"{part}features"
        input:
            layout.data / "captions.jsonl",
            manifest_of(place.encoder),
        output:
            place.features / "index.json",
            manifest_of(place.features),
        log:
            f"logs/{settings.name}/{part}features.log",
        conda:
            "../../environment.yml"
        threads: 1 + place.config.encoder.workers
        resources:
            gpu=GPUS,
        params:
            config=CONFIG,
            option=option,
        shell:
            "dsacap features --config {params.config} {params.option} 2>&1 | tee {log}"


rule pixels:
    input:
        layout.data / "captions.jsonl",
        manifest_of(layout.encoder),
    output:
        layout.pixels / "index.json",
        manifest_of(layout.pixels),
    log:
        f"logs/{settings.name}/pixels.log",
    conda:
        "../../environment.yml"
    threads: 1 + settings.encoder.workers
    params:
        config=CONFIG,
    shell:
        "dsacap pixels --config {params.config} 2>&1 | tee {log}"


# Their files lie beside what is declared, for the reason given at `train`.
for part, option, place in generators():

    rule:
        name:
            f"{part}generator"
        input:
            place.sight.features / "index.json",
            layout.data / "vocabulary.json",
        output:
            manifest_of(place.generator),
        log:
            f"logs/{settings.name}/{part}generator.log",
        priority: 2  # the longest chain begins here: tuning, captions and scores wait for it
        conda:
            "../../environment.yml"
        resources:
            gpu=GPUS,
        params:
            config=CONFIG,
            option=option,
        shell:
            "dsacap generator --config {params.config} {params.option} 2>&1 | tee {log}"
