# Downloads, which are no stages: what they fetch is checked by hash.
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
