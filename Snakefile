# The pipeline, from captions and photos to results/table.md:
#
#     snakemake --cores all results/table.md
#
# A rule calls one verb of the command line (`dsacap VERB`); where files lie is decided by dsacap/layout.py for both.
include: "workflow/rules/common.smk"
include: "workflow/rules/data.smk"
include: "workflow/rules/systems.smk"
include: "workflow/rules/report.smk"


rule all:
    default_target: True
    input:
        layout.table,
