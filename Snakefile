# `snakemake` in this folder finds this file first. The pipeline is in workflow/, where Snakemake's
# workflow catalog looks for it.
include: "workflow/Snakefile"


# An included file sets no default target.
rule default:
    default_target: True
    input:
        rules.all.input,
