"""`python -m llm.parallel plan`: see plan/command.py."""

import sys

if __name__ == "__main__":
    try:
        from llm.runs.commands import Command, run_command  # here, so that a Ctrl-C during the import ends below

        COMMANDS = {"plan": Command("llm.parallel.plan.command", "PlanOptions", "how to split a model over many GPUs")}
        sys.exit(run_command("python -m llm.parallel", COMMANDS))
    except KeyboardInterrupt:
        sys.exit(130)  # 128 + SIGINT
