"""qsift doctor: what is installed, and what would help."""

from __future__ import annotations

from dataclasses import asdict

import click

from .options import as_json_option
from .output import print_facts, print_json
from qsift import __version__
from qsift.engine.doctor import advise, examine


@click.command()
@as_json_option
@click.option("--again", is_flag=True, help="Run the self-check of llama.cpp's repacked weights anew, needed or not.")
@click.pass_context
def doctor(context: click.Context, as_json: bool, again: bool) -> None:
    """Show what is installed and what would help."""
    facts = examine(again=again)
    advice = advise(facts)
    if as_json:
        derived = {"repacked_weights": facts.repacked_weights, "advice": [asdict(item) for item in advice]}
        print_json({"qsift": __version__, **asdict(facts), **derived})
    else:
        print_facts(
            {
                "qsift": __version__,
                "llama-cpp-python": facts.llama_cpp_python,
                "python, numpy": f"{facts.python}, {facts.numpy}",
                "system": facts.system,
                "CPU": facts.cpu,
                "CPU can": "this system does not tell" if facts.cpu_features is None else " ".join(facts.cpu_features),
                "built for": " ".join(facts.build_features),
                "GPU in use": facts.gpu,
                "threads": f"{facts.threads} by default (physical cores), of {facts.logical_cpus} CPUs",
                "AMX in CPU": facts.amx_reported,
                "AMX in build": "AMX_INT8" in facts.build_features,
                "self-check": facts.self_check_sentence,
                "repacked weights": None if facts.problem else "on" if facts.repacked_weights else "off",
                "accelerator": None if facts.accelerator is None else str(facts.accelerator),
                "cache folder": facts.cache_folder,
            }
        )
        for item in advice:
            click.echo(f"\n{item.reason}" + (f"\n  {item.command}" if item.command else ""))
    if facts.problem:
        context.exit(1)
